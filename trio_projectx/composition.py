"""Puts a gateway together: endpoints, hubs, pipelines, and the tasks that keep them going."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from trio_projectx._config import Endpoint, GatewayConfig
from trio_projectx._errors import ConfigError
from trio_projectx._events import HubName
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.bucket import ConnectBucket
from trio_projectx.connection.epoch import EpochCounts
from trio_projectx.connection.hub import Hub
from trio_projectx.connection.line import LineTools
from trio_projectx.connection.lists import Rest
from trio_projectx.connection.negotiate import is_loopback
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.connection.pacer import Pacer
from trio_projectx.connection.refresher import TokenRefresher
from trio_projectx.connection.rest import RestClient
from trio_projectx.connection.service import Service
from trio_projectx.connection.sites import Site, Sites
from trio_projectx.connection.watch import MarketWatch
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.flow.board import EventBoard
from trio_projectx.flow.books import Books
from trio_projectx.flow.event_log import log_event
from trio_projectx.flow.open_streams import OpenStreams
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.room import Room
from trio_projectx.flow.sampler import Totals
from trio_projectx.flow.subscriptions import D, Sink
from trio_projectx.flow.taps import Taps
from trio_projectx.flow.user_pipeline import UserPipeline
from trio_projectx.history.door import HistoryDoor
from trio_projectx.history.gap_fill import GapFiller
from trio_projectx.history.reading import BarReader
from trio_projectx.machine import Machine, ReadMemory, check, reader_of, watch_machine
from trio_projectx.market import Decoded
from trio_projectx.market.user import UserDecoded
from trio_projectx.streams import Streams


@attrs.frozen(slots=True)
class Parts:
    """What a `Gateway` is made of."""

    config: GatewayConfig
    streams: Streams
    market_hub: Hub[Decoded]
    user_hub: Hub[UserDecoded]
    watch: MarketWatch
    taps: Taps
    sites: Sites
    refreshers: tuple[TokenRefresher, ...]
    history: HistoryDoor
    fills: GapFiller
    rest: Rest
    books: Books
    machine: Machine


@asynccontextmanager
async def open_parts(
    config: GatewayConfig, at_looks: Callable[[], None] = lambda: None
) -> AsyncGenerator[Parts]:
    """Log in, and own all tasks of a gateway until the block is left; ``at_looks`` is called every few seconds."""
    _refuse_clear_text(config)
    read_memory = reader_of(config)
    check(config, read_memory)
    async with AsyncExitStack() as stack:
        sites = Sites([await _open_site(config, endpoint, stack) for endpoint in config.all_endpoints])
        service = Service(sites, config.wall_clock, config.timeouts.rest_s)
        await service.log_in()
        async with open_background_tasks("gateway") as tasks:
            parts = _assemble(config, sites, service, tasks, read_memory, at_looks)
            try:
                yield parts
            finally:
                _end(parts)
                parts.history.close()


async def _open_site(config: GatewayConfig, endpoint: Endpoint, stack: AsyncExitStack) -> Site:
    rest = RestClient(
        endpoint.rest_url,
        connect=config.connect,
        deadline_s=config.timeouts.rest_s,
        body_limit=config.limits.rest_body_bytes,
        pacer=Pacer(),
    )
    await stack.enter_async_context(rest)
    return Site(
        endpoint,
        rest,
        TokenSource(
            config.credentials,
            rest.login,
            rest.validate,
            wall_clock=config.wall_clock,
            deadline_s=config.timeouts.refresh_s,
        ),
        HubAddress(endpoint.market_hub_url, config, rest),
        HubAddress(endpoint.user_hub_url, config, rest),
    )


def _assemble(
    config: GatewayConfig,
    sites: Sites,
    service: Service,
    tasks: BackgroundTasks,
    read_memory: ReadMemory,
    at_looks: Callable[[], None],
) -> Parts:
    board, taps = EventBoard(), Taps()
    bucket = ConnectBucket(config.reconnect.connect_burst, config.reconnect.connects_per_s)
    rng = random.Random()  # noqa: S311  it spreads attempts, and protects nothing
    numbers = itertools.count(1)

    def tools(hub: HubName, sink: Sink[D], on_proof: Callable[[], None]) -> LineTools[D]:
        counts = EpochCounts(tasks=tasks.counts)
        return LineTools(hub, config, sites, sink, bucket, rng, lambda: next(numbers), counts, on_proof, taps)

    watch = MarketWatch(config, service.newest_bar_ns, tasks, board.tell)
    door = HistoryDoor(service, watch.exchange_ns, config.history, board.tell)
    fills = _fills(config, door, watch, tasks, board)
    opened = OpenStreams(board.tell, config.wall_clock, config.limits.buffer_warn_share)
    rooms = [Room(hub, config.limits.batches_in_flight, opened.blocking) for hub in ("market", "user")]
    market = MarketPipeline(config.limits, tasks, watch, taps, fills, rooms[0])
    user = UserPipeline(config.limits, tasks, config.wall_clock, rooms[1])
    market_hub = Hub(tools("market", market, market.proved), tasks, board.tell)
    user_hub = Hub(tools("user", user, _nothing), tasks, board.tell)
    market.room.on_held, user.room.on_held = market_hub.held_back, user_hub.held_back
    board.listen(log_event)
    board.listen(watch.changed)
    watch.begin(market_hub)

    def look() -> None:
        market_hub.look()
        user_hub.look()

    refreshers = [
        TokenRefresher(site.tokens, config.refresh, config.timeouts, config.wall_clock, rng, board.tell, look)
        for site in sites
    ]
    for refresher in refreshers:
        tasks.start_soon(refresher.run, name="token refresher")
    streams = Streams(config.limits, service, market_hub, user_hub, market, user, watch, board, opened, fills)
    rest = Rest(service, 2 * config.timeouts.rest_s)
    books = _books(config, streams, (market_hub.tools.counts, user_hub.tools.counts), tasks)
    watch.turn = books.turn

    def folders() -> list[Path]:
        cache = config.history.cache
        return [*taps.folders, *([] if cache is None else [cache])]

    machine = watch_machine(
        config, read_memory, streams, (market_hub, user_hub), door.shed, books, folders, at_looks
    )
    tasks.start_soon(machine.pressure.run, name="memory watch")
    tasks.start_soon(machine.disks.run, name="disk watch")
    return Parts(
        config,
        streams,
        market_hub,
        user_hub,
        watch,
        taps,
        sites,
        tuple(refreshers),
        door,
        fills,
        rest,
        books,
        machine,
    )


def _books(
    config: GatewayConfig, streams: Streams, counts: Sequence[EpochCounts], tasks: BackgroundTasks
) -> Books:
    market = streams.market

    def totals() -> Totals:
        return market.totals(sum([each.text_rate.total for each in counts]))

    tell = streams.board.tell
    return Books(market.timings, totals, streams.ledger, tell, config.wall_clock, tasks.counts)


def _fills(
    config: GatewayConfig, door: HistoryDoor, watch: MarketWatch, tasks: BackgroundTasks, board: EventBoard
) -> GapFiller:
    reader = BarReader(door.fresh, door.newest_bar_ns)
    clocks = watch.exchange_ns, config.wall_clock
    return GapFiller(door.history_of, reader, tasks, config.history, *clocks, board.tell)


def _nothing() -> None:
    """User events close no bar."""


def _end(parts: Parts) -> None:
    parts.market_hub.close()
    parts.user_hub.close()
    streams = parts.streams
    streams.market.end()
    streams.user.end()
    streams.board.end()


def _refuse_clear_text(config: GatewayConfig) -> None:
    """Refuse to send a secret over plain http to another machine; a door of the user's own is the user's matter."""
    if config.connect is not None:
        return
    for endpoint in config.all_endpoints:
        for url in (endpoint.rest_url, endpoint.market_hub_url, endpoint.user_hub_url):
            parts = urlsplit(url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                raise ConfigError(
                    f"http://{parts.hostname} would carry the API key and the token in clear; use https"
                )
