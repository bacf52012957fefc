"""The values that flow out of this library: frozen, complete, in the field's own words.

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


@attrs.frozen(slots=True)
class Bar:
    """One bar: the trades of ``contract_id`` with ``start <= ts_event < end``, ordered by (stamp, arrival).

    ``trade_date`` is None under an anchor without sessions, and where ``scheduled`` is false: the bar holds
    trades of hours in which its sessions are closed. ``closed`` is false for a look at a bar that is still
    forming. ``synthetic`` is true for a bar without trades (``fill="previous"``): its prices are the close
    before it, its stamps its own start. ``buy_volume + sell_volume`` is less than
    ``volume`` by the trades whose side the wire did not say. ``partial`` is true where the interval was not
    seen whole (the bar that was forming when the subscription began).
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
    trades: int
    trade_date: datetime.date | None
    buy_volume: int
    sell_volume: int
    vwap: float
    first_ts: int
    last_ts: int
    partial: bool = False
    scheduled: bool = True
    synthetic: bool = False
    closed: bool = True

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
    """A closed bar that changed: trades came for it later than the lateness (``late="revise"``).

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

    ``first_ts`` and ``last_ts`` are the `ts_event` (for bars: the `start`) of the first and last of them.
    """

    count: int
    first_ts: int
    last_ts: int


@attrs.frozen(slots=True)
class Gap:
    """Trades or quotes of ``contract_id`` that may be missing: nothing was subscribed between these two.

    ``start`` is the `ts_event` of the last item before it (or, where there was none, our clock when the
    subscription began), ``end`` that of the first item after it (or the time of the new subscription, where
    none came soon). Every missing item has ``start <= ts_event <= end``. Bars that a gap touches are
    ``partial``. In a stream of user events ``contract_id`` is empty, and the times are our clock's.
    """

    contract_id: str
    start: int
    end: int
    cause: str
    """Why, in a sentence."""


class HubState(enum.Enum):
    """What a hub is doing; `Health` and `HubStateChanged` say why."""

    IDLE = "idle"
    """No stream has needed it yet."""
    CONNECTING = "connecting"
    """On the way to its first live connection."""
    LIVE = "live"
    """Connected, and every subscription acknowledged."""
    STALE = "stale"
    """Connected, but market data that should come do not; this is being looked into."""
    RECONNECTING = "reconnecting"
    """It was live, and some subscription has no connection now."""
    CLOSED = "closed"
    """Over: lost for good, or the gateway was closed."""


HubName: TypeAlias = Literal["market", "user"]


@attrs.frozen(slots=True)
class HubStateChanged:
    """A hub went from one state to another; ``at`` is our wall clock."""

    hub: HubName
    before: HubState
    state: HubState
    reason: str
    at: int


@attrs.frozen(slots=True)
class ConnectionReplaced:
    """A hub's connection was replaced by a newer one.

    ``overlapped`` says that the old one delivered until the new one was level with it, so that nothing is missing;
    otherwise the streams get a `Gap`.
    """

    hub: HubName
    cause: str
    overlapped: bool
    at: int


@attrs.frozen(slots=True)
class ReplacementFailed:
    """A connection that was to replace another, or to stand beside it, could not be had; the old one goes on."""

    hub: HubName
    cause: str
    """Why there was to be another one."""
    reason: str
    retry_in_s: float
    at: int


@attrs.frozen(slots=True)
class TokenRefreshed:
    """There is a new token; the hubs' connections follow. ``expires_at`` is None if it does not say."""

    expires_at: int | None
    at: int


@attrs.frozen(slots=True)
class TokenRefreshFailed:
    """No new token could be had; the live connections are as they were.

    ``retry_in_s`` is None if it is not tried again (the service refused the credentials); ``expires_in_s`` is how
    long the present token lives, None if it does not say.
    """

    reason: str
    retry_in_s: float | None
    expires_in_s: float | None
    at: int


@attrs.frozen(slots=True)
class MarketStalled:
    """A contract is silent in its trading hours for longer than it should be, though its hub is connected."""

    contract_id: str
    silent_s: float
    bound_s: float
    at: int


@attrs.frozen(slots=True)
class SubscriptionRefused:
    """The hub did not take a subscription (again); its streams break with a `SubscriptionError`."""

    hub: HubName
    subscription: str
    """The hub method and its argument."""
    reason: str
    at: int


@attrs.frozen(slots=True)
class ClockSkewed:
    """The local clock and the exchange's differ by more than ``limits.skew_ms``, or no longer do.

    ``skew_ms`` is how far ours is ahead (the shortest way of a record included).
    """

    skew_ms: float
    is_skewed: bool
    at: int


ConnectionEvent: TypeAlias = (
    HubStateChanged
    | ConnectionReplaced
    | ReplacementFailed
    | TokenRefreshed
    | TokenRefreshFailed
    | MarketStalled
    | SubscriptionRefused
    | ClockSkewed
)
"""What is told of the connections."""


@attrs.frozen(slots=True)
class BuilderFailed:
    """The builder of one timeframe could not take trades, also when it was asked a second time.

    None of them is in its bars; the other timeframes have them. Its bars are ``partial`` from those that were open
    then to those that began before the next trade it takes. ``state`` is that of its breaker: "open" asks it
    nothing for a while. ``first_ts`` and ``last_ts`` are the `ts_event` of the first and last of ``trades`` trades
    that no event before has told (0 trades, and both 0, where it was a bar that could not be closed).
    """

    contract_id: str
    timeframe: Timeframe
    trades: int
    first_ts: int
    last_ts: int
    state: Literal["closed", "open", "half_open"]
    reason: str
    at: int


@attrs.frozen(slots=True)
class BuilderRecovered:
    """The builder of one timeframe takes trades again.

    ``trades`` are those it was not given while its breaker was open, from ``first_ts`` to ``last_ts``; they and
    those that `BuilderFailed` told are in none of its bars.
    """

    contract_id: str
    timeframe: Timeframe
    trades: int
    first_ts: int
    last_ts: int
    at: int


@attrs.frozen(slots=True)
class RejectionBurst:
    """Many records of a contract were rejected one after the other (`Gateway.rejections` shows the last ones).

    ``rejected`` of the last ``judged`` trades, or records of ``what``, were; ``reason`` is the most frequent one
    of all times, ``total`` how many there were of all reasons.
    """

    contract_id: str
    what: Literal["trades", "quotes", "depth"]
    rejected: int
    judged: int
    reason: str
    total: int
    at: int


@attrs.frozen(slots=True)
class TradesLate:
    """So many trades in a row came too late for the finest bars of a stream; they are counted, and in none of them.

    A stamp in the future may have closed those bars before their time, or the feed is in disorder beyond
    ``limits.lateness_ms``. It is told once, until trades are in time again.
    """

    contract_id: str
    timeframe: Timeframe
    trades: int
    at: int


DataEvent: TypeAlias = BuilderFailed | BuilderRecovered | RejectionBurst | TradesLate
"""What is told of the data of a contract, beside its streams."""
GatewayEvent: TypeAlias = ConnectionEvent | DataEvent
"""What ``gateway.open_events()`` streams."""


def to_datetime(ts_ns: int, tz: str = "UTC") -> pendulum.DateTime:
    """Show an int64 nanosecond stamp as a date and time in ``tz`` (cut to microseconds: for display only)."""
    seconds, ns = divmod(ts_ns, 1_000_000_000)
    # In UTC first: pendulum's replace() forgets which of two equal wall times it stood on (its fold).
    moment = pendulum.from_timestamp(seconds).replace(microsecond=ns // 1000)
    return moment if tz == "UTC" else moment.in_timezone(tz)
