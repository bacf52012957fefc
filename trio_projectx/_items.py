"""The values that streams are made of: frozen, complete, in the field's own words.

All instants are int64 nanoseconds since 1970-01-01T00:00Z: ``ts_event`` is the exchange's stamp, ``ts_recv``
the injected wall clock when the record was read. Prices are float64 and exactly the decimal that was on the
wire (each was checked to be a whole number of ticks). Volumes are whole contracts.
"""

from __future__ import annotations

import datetime
import enum
from typing import Literal, TypeAlias

import attrs
import pendulum

from trio_projectx._timeframe import Timeframe


class Overflow(enum.Enum):
    """What a stream does with an item for which it has no room; each of them counts what is lost."""

    ERROR = "error"
    """Nothing is left out silently: the stream breaks, and `receive` raises `SlowConsumer`."""
    DROP_OLDEST = "drop_oldest"
    """The oldest waiting item makes room; a `Dropped` stands in its place."""
    DROP_NEWEST = "drop_newest"
    """The new item is left out; a `Dropped` follows the items that were there."""
    CONFLATE = "conflate"
    """The new item replaces the waiting one of the same key (a contract's quote, a bar's timeframe)."""
    BLOCK = "block"
    """The feed waits for this stream, and so does the socket, and so may every other stream of the hub."""


class Side(enum.IntEnum):
    """Who was the aggressor of a trade (TradeLogType of the Gateway's wire; UNKNOWN when it did not say)."""

    BUY = 0
    SELL = 1
    UNKNOWN = -1


@attrs.frozen(slots=True)
class Trade:
    """One trade of one contract."""

    contract_id: str
    ts_event: int
    ts_recv: int
    price: float
    volume: int
    side: Side


@attrs.frozen(slots=True)
class Quote:
    """The state of a contract's quote after a sparse update was merged into it.

    A field is None until the service has sent it once. ``volume`` is the session's cumulative volume, never a
    trade's size; ``open``, ``high``, ``low`` and ``change`` are the session's too (GATEWAY.md section 2.3).
    """

    contract_id: str
    ts_event: int
    ts_recv: int
    bid: float | None = None
    ask: float | None = None
    last: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    change: float | None = None
    change_percent: float | None = None
    volume: int | None = None

    @property
    def is_crossed(self) -> bool:
        """Whether the bid is above the ask: one of the two is old, or the feed is wrong for a moment."""
        return self.bid is not None and self.ask is not None and self.bid > self.ask

    @property
    def is_locked(self) -> bool:
        """Whether the bid is the ask."""
        return self.bid is not None and self.bid == self.ask


BookTop: TypeAlias = Literal["unknown", "open", "locked", "crossed"]
"""How the best bid stands to the best ask; both locked and crossed are legal for a moment."""


class DepthKind(enum.IntEnum):
    """What a row is about (DomType of the Gateway's wire); UNKNOWN also for numbers that nobody has documented."""

    UNKNOWN = 0
    ASK = 1
    BID = 2
    BEST_ASK = 3
    BEST_BID = 4
    TRADE = 5
    RESET = 6
    LOW = 7
    HIGH = 8
    NEW_BEST_BID = 9
    NEW_BEST_ASK = 10
    FILL = 11


@attrs.frozen(slots=True)
class DepthChange:
    """One row of a record of depth. ``price`` is None for RESET, which clears the book; ``size`` 0 ends a level."""

    kind: DepthKind
    ts_event: int
    price: float | None
    size: int


@attrs.frozen(slots=True)
class Depth:
    """What one record says of a contract's order book, in its order.

    With ``is_snapshot`` it is the whole book: forget what you had (it begins with a RESET, and then has every level).
    So a stream begins, and so it goes on where changes are missing: behind a `Gap`, a `Dropped`.
    """

    contract_id: str
    ts_event: int
    """The stamp of the last row."""
    ts_recv: int
    changes: tuple[DepthChange, ...]
    is_snapshot: bool
    top: BookTop
    is_doubtful: bool = False
    """Whether a row was rejected since the book was last begun: a level may not be as the exchange has it."""


@attrs.frozen(slots=True)
class BookLevel:
    """A price and the size that is offered there."""

    price: float
    size: int


@attrs.frozen(slots=True)
class Book:
    """The best levels of both sides of a contract's order book, best first, after one record of depth."""

    contract_id: str
    ts_event: int
    ts_recv: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    is_doubtful: bool = False
    """As that of `Depth`."""

    @property
    def best_bid(self) -> BookLevel | None:
        """The highest bid; None where there is none."""
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> BookLevel | None:
        """The lowest ask; None where there is none."""
        return self.asks[0] if self.asks else None

    @property
    def top(self) -> BookTop:
        """How the best bid stands to the best ask."""
        bid, ask = self.best_bid, self.best_ask
        if bid is None or ask is None:
            return "unknown"
        return "open" if bid.price < ask.price else "locked" if bid.price == ask.price else "crossed"


BarSource: TypeAlias = Literal["live", "history", "mixed"]


@attrs.frozen(slots=True)
class Bar:
    """One bar: the trades of ``contract_id`` with ``start <= ts_event < end``, ordered by (stamp, arrival).

    ``trade_date`` is None under an anchor without sessions, and where ``scheduled`` is false: the bar holds
    trades of hours in which its sessions are closed. ``closed`` is false for a look at a bar that is still
    forming. ``synthetic`` is true for a bar without trades (``fill="previous"``): its prices are the close
    before it, its stamps its own start. ``buy_volume + sell_volume`` is less than
    ``volume`` by the trades whose side the wire did not say. ``partial`` is true where the interval was not
    seen whole (the bar that was forming when the subscription began, and what a `Gap` touches).

    ``source`` says where its numbers come from. "live": from trades. "history": from the service's bars, for time of
    which no trade was seen. "mixed": from the service's bars too, where only a part of the trades was seen. The
    service's bars do not say ``trades``, ``buy_volume``, ``sell_volume``, ``vwap``, ``first_ts`` and ``last_ts``: they
    are None then.
    """

    contract_id: str
    timeframe: Timeframe
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int | None
    trade_date: datetime.date | None
    buy_volume: int | None
    sell_volume: int | None
    vwap: float | None
    first_ts: int | None
    last_ts: int | None
    partial: bool = False
    scheduled: bool = True
    synthetic: bool = False
    closed: bool = True
    source: BarSource = "live"

    @property
    def start_time(self) -> pendulum.DateTime:
        """``start`` as a UTC date and time, for showing it (cut to microseconds)."""
        return to_datetime(self.start)

    @property
    def end_time(self) -> pendulum.DateTime:
        """``end`` as a UTC date and time, for showing it (cut to microseconds)."""
        return to_datetime(self.end)


@attrs.frozen(slots=True)
class BarRevised:
    """A closed bar that changed, or is known to be whole now.

    Trades came for it later than the lateness (``late="revise"``), or the service's history was asked what it should
    be after a `Gap` (``bar.source`` says whose numbers it has now).

    Synthetic bars behind it (``fill="previous"``) have its close, so they change with it; of them ``late_trades`` is 0.

    ``bar`` is the whole bar as it is now; it takes the place of the one of the same timeframe and ``start``
    that was given before. Where ``is_new``, there was none, or a synthetic one: no trade had come in time.
    """

    bar: Bar
    late_trades: int
    """Trades put into this bar late, all in all."""
    is_new: bool = False


@attrs.frozen(slots=True)
class Dropped:
    """Items that a stream with a dropping policy had to leave out, told in band where they are missing.

    ``first_ts`` and ``last_ts`` are the least and the greatest `ts_event` (for bars: `start`) of them; a `Gap` among
    them counts from its ``start`` to its ``end``, so that what it told of is inside, too.
    """

    count: int
    first_ts: int
    last_ts: int


@attrs.frozen(slots=True)
class Gap:
    """Trades or quotes of ``contract_id`` that may be missing: nothing was subscribed between these two.

    ``start`` is the `ts_event` of the last item before it (or, where there was none, our clock when the
    subscription began), ``end`` that of the first item after it, or the time of the new subscription, if that
    is later (items of before it are sent again) or no item came soon. Every missing item has
    ``start <= ts_event <= end``. Bars that a gap touches are ``partial``. In a stream of user events
    ``contract_id`` is empty, and the times are our clock's.
    """

    contract_id: str
    start: int
    end: int
    cause: str
    """Why, in a sentence."""


def to_datetime(ts_ns: int, tz: str = "UTC") -> pendulum.DateTime:
    """Show an int64 nanosecond stamp as a date and time in ``tz`` (cut to microseconds: for display only)."""
    seconds, ns = divmod(ts_ns, 1_000_000_000)
    # In UTC first: pendulum's replace() forgets which of two equal wall times it stood on (its fold).
    moment = pendulum.from_timestamp(seconds).replace(microsecond=ns // 1000)
    return moment if tz == "UTC" else moment.in_timezone(tz)
