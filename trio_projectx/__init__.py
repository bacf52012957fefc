"""Validated, multi-timeframe bars from the ProjectX (TopstepX) Gateway, for trio.

General layout: the public names come in the order in which data flows. A `GatewayConfig` says where the service is
and who you are; `open_gateway` connects; ``gateway.open_bars(...)`` and its like are streams of the events below;
errors come last.
"""

from __future__ import annotations

import importlib as _importlib
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING

from trio_projectx import bars as bars
from trio_projectx import market as market
from trio_projectx import signalr as signalr
from trio_projectx._config import (
    Credentials as Credentials,
)
from trio_projectx._config import (
    Endpoint as Endpoint,
)
from trio_projectx._config import (
    GatewayConfig as GatewayConfig,
)
from trio_projectx._config import (
    HistoryOptions as HistoryOptions,
)
from trio_projectx._config import (
    Limits as Limits,
)
from trio_projectx._config import (
    MemoryOptions as MemoryOptions,
)
from trio_projectx._config import (
    Overflow as Overflow,
)
from trio_projectx._config import (
    Reconnect as Reconnect,
)
from trio_projectx._config import (
    Refresh as Refresh,
)
from trio_projectx._config import (
    Timeouts as Timeouts,
)
from trio_projectx._errors import (
    AuthError as AuthError,
)
from trio_projectx._errors import (
    ConfigError as ConfigError,
)
from trio_projectx._errors import (
    ConnectError as ConnectError,
)
from trio_projectx._errors import (
    ConnectionLost as ConnectionLost,
)
from trio_projectx._errors import (
    ConnectTimeout as ConnectTimeout,
)
from trio_projectx._errors import (
    ContractError as ContractError,
)
from trio_projectx._errors import (
    GatewayError as GatewayError,
)
from trio_projectx._errors import (
    MemoryExhausted as MemoryExhausted,
)
from trio_projectx._errors import (
    ProtocolError as ProtocolError,
)
from trio_projectx._errors import (
    SlowConsumer as SlowConsumer,
)
from trio_projectx._errors import (
    SubscriptionError as SubscriptionError,
)
from trio_projectx._errors import (
    TimeframeError as TimeframeError,
)
from trio_projectx._errors import (
    TrioProjectXError as TrioProjectXError,
)
from trio_projectx._events import (
    Bar as Bar,
)
from trio_projectx._events import (
    BarRevised as BarRevised,
)
from trio_projectx._events import (
    BuilderFailed as BuilderFailed,
)
from trio_projectx._events import (
    BuilderRecovered as BuilderRecovered,
)
from trio_projectx._events import (
    CacheQuarantined as CacheQuarantined,
)
from trio_projectx._events import (
    CapacityChanged as CapacityChanged,
)
from trio_projectx._events import (
    ClockSkewed as ClockSkewed,
)
from trio_projectx._events import (
    ConnectionEvent as ConnectionEvent,
)
from trio_projectx._events import (
    ConnectionReplaced as ConnectionReplaced,
)
from trio_projectx._events import (
    DataEvent as DataEvent,
)
from trio_projectx._events import (
    Dropped as Dropped,
)
from trio_projectx._events import (
    Gap as Gap,
)
from trio_projectx._events import (
    GapFilled as GapFilled,
)
from trio_projectx._events import (
    GapFillFailed as GapFillFailed,
)
from trio_projectx._events import (
    GatewayEvent as GatewayEvent,
)
from trio_projectx._events import (
    HistoryMissing as HistoryMissing,
)
from trio_projectx._events import (
    HubState as HubState,
)
from trio_projectx._events import (
    HubStateChanged as HubStateChanged,
)
from trio_projectx._events import (
    JournalDamaged as JournalDamaged,
)
from trio_projectx._events import (
    JournalEvent as JournalEvent,
)
from trio_projectx._events import (
    JournalFailed as JournalFailed,
)
from trio_projectx._events import (
    JournalOverflowed as JournalOverflowed,
)
from trio_projectx._events import (
    JournalQuarantined as JournalQuarantined,
)
from trio_projectx._events import (
    JournalRecovered as JournalRecovered,
)
from trio_projectx._events import (
    JournalSlow as JournalSlow,
)
from trio_projectx._events import (
    MarketStalled as MarketStalled,
)
from trio_projectx._events import (
    MemoryEvent as MemoryEvent,
)
from trio_projectx._events import (
    MemoryLevel as MemoryLevel,
)
from trio_projectx._events import (
    MemoryPressureChanged as MemoryPressureChanged,
)
from trio_projectx._events import (
    Quote as Quote,
)
from trio_projectx._events import (
    RejectionBurst as RejectionBurst,
)
from trio_projectx._events import (
    ReplacementFailed as ReplacementFailed,
)
from trio_projectx._events import (
    Side as Side,
)
from trio_projectx._events import (
    SubscriptionRefused as SubscriptionRefused,
)
from trio_projectx._events import (
    TokenRefreshed as TokenRefreshed,
)
from trio_projectx._events import (
    TokenRefreshFailed as TokenRefreshFailed,
)
from trio_projectx._events import (
    Trade as Trade,
)
from trio_projectx._events import (
    TradesLate as TradesLate,
)
from trio_projectx._events import (
    to_datetime as to_datetime,
)
from trio_projectx._flow_events import FlowEvent as FlowEvent
from trio_projectx._flow_events import LedgerBroken as LedgerBroken
from trio_projectx._flow_events import LoopStalled as LoopStalled
from trio_projectx._flow_events import StreamEased as StreamEased
from trio_projectx._flow_events import StreamFilling as StreamFilling
from trio_projectx._handler_events import HandlerEvent as HandlerEvent
from trio_projectx._handler_events import HandlerFailed as HandlerFailed
from trio_projectx._handler_events import HandlerRecovered as HandlerRecovered
from trio_projectx._handler_events import HandlerSkipped as HandlerSkipped
from trio_projectx._handler_events import HandlerSlow as HandlerSlow
from trio_projectx._handler_events import HandlerStopped as HandlerStopped
from trio_projectx._items import Book as Book
from trio_projectx._items import BookLevel as BookLevel
from trio_projectx._items import Depth as Depth
from trio_projectx._items import DepthChange as DepthChange
from trio_projectx._items import DepthKind as DepthKind
from trio_projectx._logs import JsonFormatter as JsonFormatter
from trio_projectx._memory import MemoryReading as MemoryReading
from trio_projectx._timeframe import BarKind as BarKind
from trio_projectx._timeframe import Timeframe as Timeframe
from trio_projectx._user_events import (
    AccountUpdate as AccountUpdate,
)
from trio_projectx._user_events import (
    Action as Action,
)
from trio_projectx._user_events import (
    OrderStatus as OrderStatus,
)
from trio_projectx._user_events import (
    OrderType as OrderType,
)
from trio_projectx._user_events import (
    OrderUpdate as OrderUpdate,
)
from trio_projectx._user_events import (
    PositionType as PositionType,
)
from trio_projectx._user_events import (
    PositionUpdate as PositionUpdate,
)
from trio_projectx._user_events import (
    UserEvent as UserEvent,
)
from trio_projectx._user_events import (
    UserItem as UserItem,
)
from trio_projectx._user_events import (
    UserTrade as UserTrade,
)
from trio_projectx.bars import Anchor as Anchor
from trio_projectx.bars import Sessions as Sessions
from trio_projectx.callbacks import Callbacks as Callbacks
from trio_projectx.connection.lists import Account as Account
from trio_projectx.connection.lists import Contract as Contract
from trio_projectx.connection.lists import Rest as Rest
from trio_projectx.flow.bar_stream import BarStream as BarStream
from trio_projectx.flow.depth import BookStream as BookStream
from trio_projectx.flow.room import BufferStatistics as BufferStatistics
from trio_projectx.flow.stream import Stream as Stream
from trio_projectx.flow.stream import StreamStatistics as StreamStatistics
from trio_projectx.gateway import (
    Gateway as Gateway,
)
from trio_projectx.gateway_statistics import (
    GatewayStatistics as GatewayStatistics,
)
from trio_projectx.handlers.counts import HandlerStatistics as HandlerStatistics
from trio_projectx.handlers.counts import SkippedItems as SkippedItems
from trio_projectx.handlers.failures import FailureCount as FailureCount
from trio_projectx.handlers.options import HandlerOptions as HandlerOptions
from trio_projectx.handlers.registration import Registration as Registration
from trio_projectx.history.coverage import (
    CoverageReport as CoverageReport,
)
from trio_projectx.history.coverage import (
    Hole as Hole,
)
from trio_projectx.history.coverage import (
    Revision as Revision,
)
from trio_projectx.history.fetch import (
    Progress as Progress,
)
from trio_projectx.history.fetch import (
    WrongTier as WrongTier,
)
from trio_projectx.journal.options import JournalOptions as JournalOptions
from trio_projectx.journal.queue import JournalStatistics as JournalStatistics
from trio_projectx.journal.recorder import Recorder as Recorder
from trio_projectx.market_data import MarketData as MarketData
from trio_projectx.opening import (
    open_gateway as open_gateway,
)
from trio_projectx.record_callbacks import RecordCallbacks as RecordCallbacks
from trio_projectx.replay import Replay as Replay
from trio_projectx.replay import open_replay as open_replay

if _TYPE_CHECKING:
    from trio_projectx import simulator as simulator


def __getattr__(name: str) -> _ModuleType:
    """Load the simulator when somebody asks for it: a quarter of the package's import, and programs go without."""
    if name == "simulator":
        return _importlib.import_module("trio_projectx.simulator")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
