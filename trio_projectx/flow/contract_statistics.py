"""What was counted of one contract."""

from __future__ import annotations

import attrs

from trio_projectx.market import RejectedCounts


@attrs.frozen(slots=True)
class ContractStatistics:
    """Counts of one contract, in trades; ``rejected`` by reason."""

    contract_id: str
    received: int
    accepted: int
    rejected: RejectedCounts
    in_flight: int
    quotes: int
    rejection_bursts: int
    """Times at which a tenth of the trades or more were rejected; each is logged as it begins."""
    duplicates: int
    """Trades that had come on another connection already."""
    gaps: int
    """Times at which no connection brought it."""
