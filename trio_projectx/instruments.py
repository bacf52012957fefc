"""What telemetry shows of a snapshot, as a table: names, units (UCUM), and how each is read.

Labels are few and known beforehand: contracts up to a limit, hubs, kinds of streams, reasons, quantiles. No account,
no name that a user gave, and no text of the service ever becomes one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final, TypeAlias

import attrs

from trio_projectx._events import HubState
from trio_projectx._memory import MemoryLevel
from trio_projectx.connection.health import Health
from trio_projectx.flow.contract_items import ContractStatistics
from trio_projectx.flow.ledger import StreamRow
from trio_projectx.flow.sketch import Distribution
from trio_projectx.gateway_statistics import GatewayStatistics, HubStatistics
from trio_projectx.market import RejectedCounts

Point: TypeAlias = tuple[int | float, Mapping[str, str]]

_KINDS: Final = ("bars", "trades", "quotes", "depth", "book", "user events", "events")
_REASONS: Final = tuple(field.name for field in attrs.fields(RejectedCounts))
_NS: Final = 1e9


class Kind(enum.Enum):
    """What kind of instrument shows it."""

    COUNTER = "counter"
    """Only rises, while the gateway is open."""
    UP_DOWN = "up-down counter"
    """Sums that may fall again."""
    GAUGE = "gauge"
    """A figure of this moment, of which no sum makes sense."""


@attrs.frozen(slots=True)
class View:
    """One snapshot."""

    counted: GatewayStatistics
    health: Health | None
    contracts: int
    """How many contracts are shown by their ids."""
    age_s: float = 0.0

    def by_contract(self, read: Callable[[ContractStatistics], int]) -> Iterator[Point]:
        """Yield a point for each of the first contracts, and the sum of the others."""
        known = self.counted.market.contracts
        for each in known[: self.contracts]:
            yield read(each), {"contract": each.contract_id}
        if others := known[self.contracts :]:
            yield sum(map(read, others)), {"contract": "other"}

    def by_hub(self, read: Callable[[HubStatistics], int | float | None]) -> Iterator[Point]:
        """Yield a point for each hub that has such a figure."""
        for hub in (self.counted.hubs.market, self.counted.hubs.user):
            value = read(hub)
            if value is not None:
                yield value, {"hub": hub.hub}

    def by_stream(self, read: Callable[[StreamRow], int], *, closed: bool = True) -> Iterator[Point]:
        """Yield a point for each kind of streams; with those that were closed, or they would seem to fall."""
        sums: dict[str, int] = {}
        ledger = self.counted.ledger
        for row in (*ledger.streams, *(ledger.closed if closed else ())):
            kind = row.kind if row.kind in _KINDS else "other"
            sums[kind] = sums.get(kind, 0) + read(row)
        return ((value, {"stream": kind}) for kind, value in sums.items())

    def rejected(self) -> Iterator[Point]:
        """Yield the rejected trades of each contract, for each reason that there was."""
        for name in _REASONS:
            for value, labels in self.by_contract(attrgetter(f"rejected.{name}")):
                if value:
                    yield value, {**labels, "reason": name}

    def of_health(self, read: Callable[[Health], float | None]) -> Iterator[Point]:
        """Yield a figure that health has; a replay has none."""
        value = None if self.health is None else read(self.health)
        if value is not None:
            yield value, {}


@attrs.frozen(slots=True)
class Instrument:
    """One row of the table."""

    name: str
    kind: Kind
    unit: str
    description: str
    read: Callable[[View], Iterable[Point]]


def _one(value: float) -> tuple[Point, ...]:
    return ((value, {}),)


def _quantiles(found: Distribution | None) -> Iterator[Point]:
    """Yield three quantiles in seconds; nothing where nothing was measured."""
    if found is not None and found.count:
        for quantile, value in (("0.5", found.p50), ("0.99", found.p99), ("1", found.max)):
            yield value / _NS, {"quantile": quantile}


def _utilisation(view: View) -> Iterator[Point]:
    """Yield, of each kind of streams, that of the fullest."""
    fullest: dict[str, float] = {}
    for each in view.counted.streams:
        kind = each.name.partition(" of ")[0]
        kind = kind if kind in _KINDS else "other"
        fullest[kind] = max(fullest.get(kind, 0.0), each.utilisation)
    return ((value, {"stream": kind}) for kind, value in fullest.items())


def _is_live(hub: HubStatistics) -> int:
    return int(hub.state is HubState.LIVE)


def _held_back(view: View) -> tuple[Point, ...]:
    market, user = view.counted.market.held_back, view.counted.user.held_back
    return (market, {"hub": "market"}), (user, {"hub": "user"})


def _scores(view: View) -> Iterator[Point]:
    if view.health is not None:
        for hub in (view.health.market, view.health.user):
            yield hub.score / 100, {"hub": hub.hub}


def _skew_s(health: Health) -> float | None:
    return None if health.clock.skew_ms is None else health.clock.skew_ms / 1000


def _pressure(health: Health) -> int | None:
    level = health.machine.memory.level
    return None if level is None else list(MemoryLevel).index(level)


_C, _U, _G = Kind.COUNTER, Kind.UP_DOWN, Kind.GAUGE
_P: Final = "trio_projectx."

#: All that is shown; docs/telemetry.md lists the same.
INSTRUMENTS: Final[tuple[Instrument, ...]] = (
    Instrument(
        _P + "records", _C, "{record}", "Records of market data", lambda v: _one(v.counted.market.records)
    ),
    Instrument(
        _P + "trades.received",
        _C,
        "{trade}",
        "Trades received, valid or not",
        lambda v: v.by_contract(lambda c: c.received),
    ),
    Instrument(_P + "trades.rejected", _C, "{trade}", "Trades rejected, by reason", View.rejected),
    Instrument(
        _P + "trades.duplicates",
        _C,
        "{trade}",
        "Trades that had come on another connection already",
        lambda v: v.by_contract(lambda c: c.duplicates),
    ),
    Instrument(
        _P + "trades.unrouted",
        _C,
        "{trade}",
        "Trades of contracts that no stream was opened for",
        lambda v: _one(v.counted.market.unrouted_trades),
    ),
    Instrument(
        _P + "trades.in_flight",
        _U,
        "{trade}",
        "Trades between the reader and the bars, or held",
        lambda v: v.by_contract(lambda c: c.in_flight),
    ),
    Instrument(
        _P + "quotes.merged",
        _C,
        "{quote}",
        "Quotes merged",
        lambda v: v.by_contract(lambda c: c.quotes),
    ),
    Instrument(
        _P + "bars.closed",
        _C,
        "{bar}",
        "Bars closed, of all streams and timeframes",
        lambda v: _one(v.counted.rates.totals.bars),
    ),
    Instrument(
        _P + "gaps",
        _C,
        "{gap}",
        "Times at which no connection brought a contract",
        lambda v: v.by_contract(lambda c: c.gaps),
    ),
    Instrument(
        _P + "ledger.broken",
        _G,
        "{row}",
        "Rows of the ledger that do not balance: 0, or there is a bug",
        lambda v: _one(sum(1 for _ in v.counted.ledger.broken)),
    ),
    Instrument(
        _P + "stream.offered",
        _C,
        "{item}",
        "Items offered to streams",
        lambda v: v.by_stream(lambda r: r.offered),
    ),
    Instrument(
        _P + "stream.delivered",
        _C,
        "{item}",
        "Items that readers took",
        lambda v: v.by_stream(lambda r: r.delivered),
    ),
    Instrument(
        _P + "stream.conflated",
        _C,
        "{item}",
        "Items replaced by younger ones",
        lambda v: v.by_stream(lambda r: r.conflated),
    ),
    Instrument(
        _P + "stream.dropped",
        _C,
        "{item}",
        "Items dropped, or left when a stream was closed",
        lambda v: v.by_stream(lambda r: r.dropped),
    ),
    Instrument(
        _P + "stream.queued",
        _U,
        "{item}",
        "Items that wait for readers",
        lambda v: v.by_stream(lambda r: r.queued, closed=False),
    ),
    Instrument(
        _P + "stream.utilisation", _G, "1", "Share of its capacity that the fullest stream uses", _utilisation
    ),
    Instrument(_P + "hub.live", _G, "1", "1 where a hub is live", lambda v: v.by_hub(_is_live)),
    Instrument(_P + "hub.score", _G, "1", "Health of a hub, from 0 (down) to 1", _scores),
    Instrument(
        _P + "hub.connects",
        _C,
        "{connection}",
        "Connections tried",
        lambda v: v.by_hub(lambda h: h.connects),
    ),
    Instrument(
        _P + "hub.outages",
        _C,
        "{outage}",
        "Times that a live hub was lost",
        lambda v: v.by_hub(lambda h: h.outages),
    ),
    Instrument(_P + "hub.io", _C, "By", "Text received", lambda v: v.by_hub(lambda h: h.received_bytes)),
    Instrument(
        _P + "hub.malformed",
        _C,
        "{record}",
        "Records that could not be read",
        lambda v: v.by_hub(lambda h: h.malformed),
    ),
    Instrument(
        _P + "hub.round_trip",
        _G,
        "s",
        "Last round trip by WebSocket ping",
        lambda v: v.by_hub(lambda h: h.round_trip_s),
    ),
    Instrument(
        _P + "hub.held_back",
        _C,
        "{wait}",
        "Waits of over five seconds for a stream that is not read",
        _held_back,
    ),
    Instrument(
        _P + "data.age",
        _G,
        "s",
        "Time since the last market data",
        lambda v: v.of_health(lambda h: h.market.data_age_s),
    ),
    Instrument(
        _P + "token.lifetime",
        _G,
        "s",
        "Time until the token expires",
        lambda v: v.of_health(lambda h: h.token.expires_in_s),
    ),
    Instrument(
        _P + "clock.skew",
        _G,
        "s",
        "How far our clock is ahead of the exchange's",
        lambda v: v.of_health(_skew_s),
    ),
    Instrument(
        _P + "latency",
        _G,
        "s",
        "From the wire to the bar, over the last one or two minutes",
        lambda v: _quantiles(v.counted.latency.recent_wire_to_bar),
    ),
    Instrument(
        _P + "event_lag",
        _G,
        "s",
        "From the exchange's stamp to our clock, over the last one or two minutes",
        lambda v: _quantiles(v.counted.latency.recent_event_lag),
    ),
    Instrument(
        _P + "loop.lag",
        _G,
        "s",
        "How late a task was woken, over the last one or two minutes",
        lambda v: _quantiles(None if v.counted.loop is None else v.counted.loop.recent),
    ),
    Instrument(
        _P + "memory.used",
        _G,
        "By",
        "Memory used, of the nearest bound",
        lambda v: v.of_health(lambda h: h.machine.memory.used),
    ),
    Instrument(
        _P + "memory.available",
        _G,
        "By",
        "Memory that can still be had",
        lambda v: v.of_health(lambda h: h.machine.memory.available),
    ),
    Instrument(
        _P + "memory.pressure",
        _G,
        "1",
        "Level of memory pressure: 0 is normal, from 1 on something is given up",
        lambda v: v.of_health(_pressure),
    ),
    Instrument(
        _P + "cpu.utilisation",
        _G,
        "1",
        "Processors that the process uses",
        lambda v: v.of_health(lambda h: h.machine.cpu.share),
    ),
    Instrument(
        _P + "tasks.alive", _U, "{task}", "The gateway's own tasks", lambda v: _one(v.counted.tasks.alive)
    ),
    Instrument(
        _P + "tasks.failed", _C, "{task}", "Tasks that raised", lambda v: _one(v.counted.tasks.failed)
    ),
    Instrument(_P + "logins", _C, "{login}", "Logins", lambda v: _one(v.counted.logins)),
    Instrument(_P + "snapshot.age", _G, "s", "How old these figures are", lambda v: _one(v.age_s)),
)
