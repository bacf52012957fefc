"""What a market pipeline has counted."""

from __future__ import annotations

import attrs

from trio_projectx.flow.contract_items import ContractStatistics
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.room import BufferStatistics


@attrs.frozen(slots=True)
class PipelineStatistics:
    """Counts of a gateway's market data beside those of each contract."""

    contracts: tuple[ContractStatistics, ...]
    ledger: Ledger
    records: int
    """Records decoded as market data, pings in the same text included."""
    unrouted_trades: int
    """Trades (and unreadable ones) of contracts that no stream has been opened for."""
    unrouted_quotes: int
    null_entries: int
    """``null`` where a trade or quote could have been; the service sends these (GATEWAY.md section 4)."""
    unrouted_depths: int
    depths: int
    """Records of depth."""
    user_events: int
    logouts: int
    unknown_targets: int
    held_back: int
    """How often the socket waited for more than five seconds for a stream with ``overflow=BLOCK``."""
    buffers: tuple[BufferStatistics, ...]
    """Between the reader and the validator, in reads; between it and each contract's builders, in batches."""


@attrs.define(slots=True)
class PipelineCounts:
    """Plain counters; fields are those of `PipelineStatistics`."""

    records: int = 0
    unrouted_trades: int = 0
    unrouted_quotes: int = 0
    null_entries: int = 0
    unrouted_depths: int = 0
    depths: int = 0
    user_events: int = 0
    logouts: int = 0
    unknown_targets: int = 0
