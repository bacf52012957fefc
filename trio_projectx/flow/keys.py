"""For the items of streams: the instant that dates one in a `Dropped`, and what one must share with another to
replace it under ``CONFLATE``. A `Gap` replaces nothing and is replaced by nothing.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Hashable

from trio_projectx._events import (
    Bar,
    BarRevised,
    Book,
    BuilderFailed,
    BuilderRecovered,
    CacheQuarantined,
    CapacityChanged,
    Depth,
    Gap,
    GapFilled,
    GapFillFailed,
    GatewayEvent,
    HistoryMissing,
    HubStateChanged,
    JournalDamaged,
    JournalFailed,
    JournalOverflowed,
    JournalQuarantined,
    JournalRecovered,
    JournalSlow,
    LedgerBroken,
    Quote,
    RejectionBurst,
    StreamEased,
    StreamFilling,
    Trade,
    TradesLate,
)
from trio_projectx._handler_events import (
    HandlerFailed,
    HandlerRecovered,
    HandlerSkipped,
    HandlerSlow,
    HandlerStopped,
)


def bar_stamp(item: Bar | BarRevised | Gap) -> int:
    """Return the start of a bar, or of a gap."""
    return item.bar.start if isinstance(item, BarRevised) else item.start


def bar_key(item: Bar | BarRevised | Gap) -> Hashable:
    """Return the timeframe; a revision replaces an earlier one of the same bar, and no bar that closed."""
    match item:
        case Bar():
            return item.timeframe
        case BarRevised():
            return item.bar.timeframe, item.bar.start
        case Gap():
            return item


def trade_stamp(item: Trade | Gap) -> int:
    """Return its stamp."""
    return item.ts_event if isinstance(item, Trade) else item.start


def trade_key(item: Trade | Gap) -> Hashable:
    """Return the contract."""
    return item.contract_id if isinstance(item, Trade) else item


def quote_stamp(item: Quote | Gap) -> int:
    """Return its stamp."""
    return item.ts_event if isinstance(item, Quote) else item.start


def quote_key(item: Quote | Gap) -> Hashable:
    """Return the contract."""
    return item.contract_id if isinstance(item, Quote) else item


def depth_stamp(item: Depth | Book | Gap) -> int:
    """Return its stamp."""
    return item.start if isinstance(item, Gap) else item.ts_event


def depth_key(item: Depth | Book | Gap) -> Hashable:
    """Return the contract."""
    return item if isinstance(item, Gap) else item.contract_id


def event_stamp(item: GatewayEvent) -> int:
    """Return when it was told, by our clock."""
    return item.at


def event_key(item: GatewayEvent) -> Hashable:
    """Return its kind, and whose it is: of which hub, bars, records, journal and file, handler."""
    match item:
        case HubStateChanged():
            return type(item), item.hub
        case (
            BuilderFailed()
            | BuilderRecovered()
            | TradesLate()
            | GapFilled()
            | GapFillFailed()
            | HistoryMissing()
        ):
            return type(item), item.contract_id, item.timeframe
        case CacheQuarantined() | JournalDamaged():
            return type(item), item.name
        case RejectionBurst():
            return type(item), item.contract_id, item.what
        case LedgerBroken():
            return type(item), item.row
        case StreamFilling() | StreamEased() | CapacityChanged():
            return type(item), item.stream
        case JournalQuarantined():
            return type(item), item.journal, item.name
        case JournalFailed() | JournalRecovered() | JournalOverflowed() | JournalSlow():
            return type(item), item.journal
        case HandlerSkipped():
            return type(item), item.handler, item.reason
        case HandlerFailed() | HandlerRecovered() | HandlerSlow() | HandlerStopped():
            return type(item), item.handler
        case _:
            return type(item), None
