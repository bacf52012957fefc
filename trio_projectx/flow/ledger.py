"""The conservation ledger: where every trade of a contract went, as an equation that is checked, not hoped for.

Per contract and timeframe of an open stream, in trades, at every instant::

    received = before + in_bars + forming + late + outside + rejected + duplicates + builder_failed + in_flight

The counts are made at different places by different code (the reader, the channels, the validator, the builders);
the equation is what ties them. ``before`` is what had passed the builders when the stream was opened, so that each
stream's row balances by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

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

    @property
    def in_flight(self) -> int:
        """How many are between reader and streams, or held."""
        return self.waiting_raw + self.held + self.unlevel + self.waiting_valid

    def row(self, contract_id: str) -> ContractRow:
        """Return the contract's row of the ledger."""
        return ContractRow(
            contract_id, self.received, self.built, self.rejected, self.duplicates, self.in_flight
        )


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
    def name(self) -> str:
        """What the row is of."""
        return f"{self.timeframe} bars of {self.contract_id}"

    @property
    def came(self) -> int:
        """The left side of the equation."""
        return self.received

    @property
    def accounted(self) -> int:
        """The right side."""
        built = self.in_bars + self.forming + self.late + self.outside
        left_out = self.rejected + self.duplicates + self.builder_failed
        return self.before + built + left_out + self.in_flight

    @property
    def balanced(self) -> bool:
        """Whether every trade received is accounted for."""
        return self.received == self.accounted


@attrs.frozen(slots=True)
class ContractRow:
    """One contract, in trades, whatever streams are open for it."""

    contract_id: str
    received: int
    given: int
    """To the streams that were open then."""
    rejected: int
    duplicates: int
    in_flight: int
    """Between reader and streams, or in the validator's quarantine."""

    @property
    def name(self) -> str:
        """What the row is of."""
        return f"all trades of {self.contract_id}"

    @property
    def came(self) -> int:
        """The left side of the equation."""
        return self.received

    @property
    def accounted(self) -> int:
        """The right side."""
        return self.given + self.rejected + self.duplicates + self.in_flight

    @property
    def balanced(self) -> bool:
        """Whether every trade received is accounted for."""
        return self.received == self.accounted


@attrs.frozen(slots=True)
class StreamRow:
    """One stream, in items."""

    name: str
    """How the stream is called: its kind, " of ", and whose items they are."""
    offered: int = 0
    delivered: int = 0
    conflated: int = 0
    dropped: int = 0
    queued: int = 0

    @property
    def came(self) -> int:
        """The left side of the equation."""
        return self.offered

    @property
    def accounted(self) -> int:
        """The right side."""
        return self.delivered + self.conflated + self.dropped + self.queued

    @property
    def balanced(self) -> bool:
        """Whether every item offered is accounted for."""
        return self.offered == self.accounted

    @property
    def kind(self) -> str:
        """What kind of stream it is: "bars", "trades" and their like."""
        return self.name.partition(" of ")[0]

    def plus(self, other: StreamRow) -> StreamRow:
        """Return the sums, under this one's name."""
        return StreamRow(
            self.name,
            self.offered + other.offered,
            self.delivered + other.delivered,
            self.conflated + other.conflated,
            self.dropped + other.dropped,
            self.queued + other.queued,
        )


@attrs.frozen(slots=True)
class UserEventsRow:
    """The user events of all lines of a gateway."""

    received: int = 0
    passed: int = 0
    duplicates: int = 0
    waiting: int = 0
    """Of a line that is not level with another yet."""

    @property
    def name(self) -> str:
        """What the row is of."""
        return "user events of all lines"

    @property
    def came(self) -> int:
        """The left side of the equation."""
        return self.received

    @property
    def accounted(self) -> int:
        """The right side."""
        return self.passed + self.duplicates + self.waiting

    @property
    def balanced(self) -> bool:
        """Whether every event received is accounted for."""
        return self.received == self.accounted


Row: TypeAlias = LedgerRow | ContractRow | StreamRow | UserEventsRow
"""Any row: ``name``, ``came``, ``accounted`` and ``balanced`` are the same of each."""


@attrs.frozen(slots=True)
class Ledger:
    """Where every trade, and every item of a stream, is at one instant; an empty ledger is balanced.

    It has as many rows as there are contracts, open streams and their timeframes: it does not grow with time.
    """

    rows: tuple[LedgerRow, ...] = ()
    """In trades, for each contract and timeframe of the open streams of bars."""
    contracts: tuple[ContractRow, ...] = ()
    """In trades, for each contract that a stream was ever opened for."""
    user: UserEventsRow = attrs.field(factory=UserEventsRow)
    """In events of the user hub."""
    streams: tuple[StreamRow, ...] = ()
    """In items, for each open stream."""
    closed: tuple[StreamRow, ...] = ()
    """In items, the sums of the streams that were closed, by their kind."""

    @property
    def balanced(self) -> bool:
        """Whether every row is balanced."""
        return next(iter(self.broken), None) is None

    @property
    def broken(self) -> Iterator[Row]:
        """The rows that are not balanced."""
        every: tuple[Row, ...]
        every = (*self.rows, *self.contracts, self.user, *self.streams, *self.closed)
        return (row for row in every if not row.balanced)
