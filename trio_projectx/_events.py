"""What is told beside the data: of connections, of the data of a contract, of the journal. Frozen; ``at`` is our clock.

The values that streams are made of are in `_items`, and may be imported from here too.
"""

from __future__ import annotations

import enum
from typing import Literal, TypeAlias

import attrs

from trio_projectx._flow_events import FlowEvent as FlowEvent
from trio_projectx._flow_events import LedgerBroken as LedgerBroken
from trio_projectx._flow_events import LoopStalled as LoopStalled
from trio_projectx._flow_events import StreamEased as StreamEased
from trio_projectx._flow_events import StreamFilling as StreamFilling
from trio_projectx._handler_events import HandlerEvent as HandlerEvent
from trio_projectx._items import Bar as Bar
from trio_projectx._items import BarRevised as BarRevised
from trio_projectx._items import BarSource as BarSource
from trio_projectx._items import Book as Book
from trio_projectx._items import BookLevel as BookLevel
from trio_projectx._items import Depth as Depth
from trio_projectx._items import DepthChange as DepthChange
from trio_projectx._items import DepthKind as DepthKind
from trio_projectx._items import Dropped as Dropped
from trio_projectx._items import Gap as Gap
from trio_projectx._items import Quote as Quote
from trio_projectx._items import Side as Side
from trio_projectx._items import Trade as Trade
from trio_projectx._items import to_datetime as to_datetime
from trio_projectx._memory import CapacityChanged as CapacityChanged
from trio_projectx._memory import MemoryEvent as MemoryEvent
from trio_projectx._memory import MemoryLevel as MemoryLevel
from trio_projectx._memory import MemoryPressureChanged as MemoryPressureChanged
from trio_projectx._timeframe import Timeframe


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
    BLOCKED = "blocked"
    """Connected, but nothing is read: a stream that was opened with ``overflow=BLOCK`` is not."""
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
    then to those that began before the next trade it takes, and where late trades are put into their bars
    (``late="revise"``) so are those that were given out and would have had them, told by `BarRevised`. ``state`` is
    that of its breaker: "open" asks it nothing for a while. ``first_ts`` and ``last_ts`` are the `ts_event` of the
    first and last of ``trades`` trades
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


@attrs.frozen(slots=True)
class GapFilled:
    """Bars of one timeframe were read again from history, from ``start`` to ``end`` (int64 ns).

    ``revised`` of them changed, or are known to be whole now; streams with ``events=True`` have a `BarRevised` of each.
    """

    contract_id: str
    timeframe: Timeframe
    start: int
    end: int
    revised: int
    at: int


@attrs.frozen(slots=True)
class GapFillFailed:
    """Bars of one timeframe could not be read again; they stay ``partial``, and the gap in `Gateway.coverage`.

    ``retry_in_s`` is None where it is given up: the service goes on showing less than was seen live.
    """

    contract_id: str
    timeframe: Timeframe
    start: int
    end: int
    reason: str
    attempts: int
    retry_in_s: float | None
    at: int


@attrs.frozen(slots=True)
class HistoryMissing:
    """A stream begins without the history that it was to begin with."""

    contract_id: str
    timeframe: Timeframe
    reason: str
    at: int


DataEvent: TypeAlias = (
    BuilderFailed
    | BuilderRecovered
    | RejectionBurst
    | TradesLate
    | GapFilled
    | GapFillFailed
    | HistoryMissing
)
"""What is told of the data of a contract, beside its streams."""


@attrs.frozen(slots=True)
class JournalFailed:
    """Writing failed (disk full, read-only, an error of the disk): ``lost`` rows are not in the journal.

    The live streams go on. Every file can be read to its last acknowledged batch. With ``lost`` 0 it was the sealing of
    finished files, or the end of the last ones: recording goes on, and they are read as they are.
    """

    reason: str
    lost: int
    retry_in_s: float
    at: int
    journal: str = ""
    """Its folder."""


@attrs.frozen(slots=True)
class JournalRecovered:
    """Writing works again; ``lost`` rows are missing in between, that of the failure included."""

    lost: int
    at: int
    journal: str = ""
    """Its folder."""


@attrs.frozen(slots=True)
class JournalOverflowed:
    """The disk was slower than the market: ``lost`` rows found no room in the queue."""

    lost: int
    at: int
    journal: str = ""
    """Its folder."""


@attrs.frozen(slots=True)
class JournalSlow:
    """A write has been under way for ``taken_s`` seconds, and is not over."""

    taken_s: float
    waiting_rows: int
    at: int
    journal: str = ""
    """Its folder."""


@attrs.frozen(slots=True)
class JournalQuarantined:
    """A file was not what was written into it; it was moved, and ``rows_saved`` rows before the damage are kept."""

    name: str
    """Its path in the journal."""
    reason: str
    rows_saved: int
    at: int
    journal: str = ""
    """Its folder."""


@attrs.frozen(slots=True)
class JournalDamaged:
    """A file of a record that is replayed cannot be read to its end; the rows before the damage were played.

    What follows is behind a `Gap`. The file stays where it is.
    """

    name: str
    """Its path in the journal."""
    reason: str
    rows_read: int
    at: int


JournalEvent: TypeAlias = (
    JournalFailed | JournalRecovered | JournalOverflowed | JournalSlow | JournalQuarantined | JournalDamaged
)
"""What a journal tells."""


@attrs.frozen(slots=True)
class CacheQuarantined:
    """A file of the cache of bars was not what was written into it; it was moved away, and its time is asked again."""

    name: str
    """Its path in the cache."""
    reason: str
    at: int


GatewayEvent: TypeAlias = (
    ConnectionEvent | DataEvent | JournalEvent | CacheQuarantined | FlowEvent | HandlerEvent | MemoryEvent
)
"""What ``gateway.open_events()`` streams."""
