"""The conservation ledger: where every trade of a contract went, as an equation that is checked, not hoped for.

Per contract and timeframe of an open stream, in trades, at every instant::

    received = before + in_bars + forming + late + outside + rejected + duplicates + builder_failed + in_flight

The counts are made at different places by different code (the reader, the channels, the validator, the builders);
the equation is what ties them. ``before`` is what had passed the builders when the stream was opened, so that each
stream's row balances by itself.
"""

from __future__ import annotations

import attrs

from trio_projectx._timeframe import Timeframe


@attrs.define(slots=True)
class TradeCounts:
    """The plain counters of one contract, each changed at one place only."""

    received: int = 0
    """By the reader, for every trade object that came for this contract."""
    waiting_raw: int = 0
    """Up by the reader, down by the validator task: what is between them."""
    rejected: int = 0
    """By the validator task."""
    held: int = 0
    """By the validator task: trades in quarantine, which is a part of ``in_flight``."""
    duplicates: int = 0
    """By the validator task: trades that another connection had brought already."""
    unlevel: int = 0
    """By the validator task: trades of a connection that is not level with the others yet, a part of ``in_flight``."""
    waiting_valid: int = 0
    """Up by the validator task, down by the contract task when all its outlets had the batch."""
    built: int = 0
    """By the contract task."""


@attrs.frozen(slots=True)
class LedgerRow:
    """One contract and timeframe of one open stream, in trades."""

    contract_id: str
    timeframe: Timeframe
    received: int
    before: int
    in_bars: int
    """In closed bars."""
    forming: int
    """In bars that are still open."""
    late: int
    rejected: int
    builder_failed: int
    in_flight: int
    """In the channels between reader, validator and builders, or in the validator's quarantine."""
    duplicates: int = 0
    """Had come on another connection already."""
    outside: int = 0
    """In closed hours, and left out for that (``outside="drop"``)."""

    @property
    def balanced(self) -> bool:
        """Whether every trade received is accounted for."""
        built = self.in_bars + self.forming + self.late + self.outside
        left_out = self.rejected + self.duplicates + self.builder_failed
        return self.received == self.before + built + left_out + self.in_flight


@attrs.frozen(slots=True)
class Ledger:
    """All rows; an empty ledger is balanced."""

    rows: tuple[LedgerRow, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether every row is balanced."""
        return all(row.balanced for row in self.rows)
