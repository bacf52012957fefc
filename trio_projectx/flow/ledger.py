"""The conservation ledger: where every trade of a contract went, as an equation that is checked, not hoped for.

Per contract and timeframe of an open stream, in trades, at every instant::

    received = before + in_bars + forming + late + rejected + in_flight

``before`` is what had passed the builders before the stream was opened, so that each stream's row balances by
itself. The counts are made at different places by different code (the reader, the validator, the builders); the
equation is what ties them.
"""

from __future__ import annotations

import attrs

from trio_projectx._timeframe import Timeframe


@attrs.define(slots=True)
class TradeCounts:
    """The plain counters of one contract, each incremented at one place only."""

    received: int = 0
    """By the reader, for every trade object that came for this contract."""
    taken: int = 0
    """By the validator task, out of the first channel."""
    accepted: int = 0
    rejected: int = 0
    built: int = 0
    """By the contract task, out of the second channel, after all its builders had them."""


@attrs.frozen(slots=True)
class LedgerRow:
    """One contract and timeframe of one open stream, in trades."""

    contract_id: str
    timeframe: Timeframe
    received: int
    before: int
    in_bars: int
    forming: int
    late: int
    rejected: int
    in_flight: int

    @property
    def balanced(self) -> bool:
        """Whether every trade received is accounted for."""
        rest = self.before + self.in_bars + self.forming + self.late + self.rejected + self.in_flight
        return self.received == rest


@attrs.frozen(slots=True)
class Ledger:
    """All rows; an empty ledger is balanced."""

    rows: tuple[LedgerRow, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether every row is balanced."""
        return all(row.balanced for row in self.rows)
