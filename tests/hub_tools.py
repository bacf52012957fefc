"""A hub, or a whole gateway, against a scripted market with any number of connections."""

from __future__ import annotations

import base64
import datetime
import itertools
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import attrs
import trio
import trio_websocket
from scripted import (
    MNQ,
    PING,
    START_NS,
    Gathered,
    Hub,
    Json,
    Network,
    Request,
    Script,
    Wire,
    completion,
    config_for,
    open_network,
    open_sites,
    record,
    trade,
    virtual_wall,
)

import trio_projectx as px
from trio_projectx.connection.bucket import ConnectBucket
from trio_projectx.connection.epoch import EpochCounts
from trio_projectx.connection.hub import Hub as ClientHub
from trio_projectx.connection.line import LineTools
from trio_projectx.connection.sites import Sites
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.market import Decoded

EP = "CON.F.US.EP.U26"
TRADES = Subscription(Kind.TRADES, MNQ)
QUOTES = Subscription(Kind.QUOTES, MNQ)
OTHER = Subscription(Kind.TRADES, EP)
ORDERS = Subscription(Kind.ORDERS, 7)

Row = tuple[int, float, int]
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed)


def jwt(number: int, seconds: float) -> str:
    """A token that says that it was issued now and lives so long."""
    now = virtual_wall() / 1e9
    claims = {"iat": now, "exp": now + seconds, "n": number}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl{number:04d}"


def ends_at(token: str | None) -> float:
    """When a token of `jwt` ends, by trio's clock."""
    assert token is not None
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(claims["exp"]) - START_NS / 1e9


def stamp(ts_ns: int) -> str:
    """A stamp as the service writes it, in milliseconds."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 10**9, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ns // 10**6 % 1000:03d}+00:00"


@attrs.define(eq=False, slots=False)
class Link:
    """One connection, as the service sees it."""

    number: int
    hub: Hub
    wire: Wire
    bearer: str | None
    opened_at: float
    held: set[tuple[str, Json]] = attrs.Factory(set)
    """Kind and subject of the subscriptions that were acknowledged."""
    calls: list[tuple[float, str, Json]] = attrs.Factory(list)
    gone_at: float | None = None

    @property
    def is_up(self) -> bool:
        return self.gone_at is None

    async def send(self, *records: str) -> None:
        if self.is_up:
            with suppress(*_GONE):
                await self.hub.send(*records)

    async def close(self, **fields: Json) -> None:
        """Send a Close record."""
        await self.send(record(type=7, **fields))

    def reset(self) -> None:
        self.wire.reset()


class Service:
    """The hubs of a service, a script for `Network`: it acknowledges, pings, and does what a test asks for."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.attempts: list[float] = []
        """When an upgrade was asked for."""
        self.delay_s = 0.0
        """How long an answer to a call takes."""
        self.refuse: dict[Json, str] = {}
        """Subjects whose calls are refused, and with which text."""
        self.ignore: set[Json] = set()
        """Subjects whose calls are never answered."""
        self.at_upgrade: Callable[[Wire, Request], Awaitable[bool]] | None = None
        """Is asked first; True if it has answered."""
        self.at_open: Callable[[Link], Awaitable[None]] | None = None
        """Happens right after the handshake."""
        self.ping_s = 9.7
        self.wall: Callable[[], int] = virtual_wall
        """The exchange's clock."""
        self.rows: list[Row] = []
        """All trades of MNQ that were published."""

    async def __call__(self, wire: Wire, request: Request) -> None:
        self.attempts.append(trio.current_time())
        if self.at_upgrade is not None and await self.at_upgrade(wire, request):
            return
        hub = await wire.accept()
        await hub.shake()
        link = Link(len(self.links), hub, wire, request.bearer, trio.current_time())
        self.links.append(link)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, link)
                if self.at_open is not None:
                    nursery.start_soon(self.at_open, link)
                await self._answer(link, nursery)
        finally:
            link.gone_at = trio.current_time()

    async def _ping(self, link: Link) -> None:
        while True:
            await trio.sleep(self.ping_s)
            await link.send(PING)

    async def _answer(self, link: Link, nursery: trio.Nursery) -> None:
        while True:
            call_id, target, arguments = await link.hub.call()
            subject = arguments[0] if arguments else None
            link.calls.append((trio.current_time(), target, subject))
            await trio.sleep(self.delay_s)
            if subject in self.ignore:
                continue
            if subject in self.refuse:
                await link.send(completion(call_id, error=self.refuse[subject]))
                continue
            kind = target.removeprefix("Subscribe").removeprefix("Unsubscribe")
            (link.held.add if target.startswith("Subscribe") else link.held.discard)((kind, subject))
            await link.send(completion(call_id))

    @property
    def up(self) -> list[Link]:
        return [link for link in self.links if link.is_up]

    @property
    def targets(self) -> list[str]:
        return [target for link in self.links for _, target, _ in link.calls]

    def holding(self, subject: Json = MNQ, kind: str = "ContractTrades") -> list[Link]:
        return [link for link in self.up if (kind, subject) in link.held]

    async def publish(self, n: int = 1, contract_id: str = MNQ) -> None:
        """Trade ``n`` times, each trade to each connection that is subscribed now."""
        records = [self._trade(contract_id) for _ in range(n)]
        for link in self.holding(contract_id):
            await link.send(*records)

    def _trade(self, contract_id: str) -> str:
        number = len(self.rows)
        ts_ns = self.wall() // 10**6 * 10**6
        row = ts_ns, 20000.0 + number % 40 / 4, 1 + number % 7
        if contract_id == MNQ:
            self.rows.append(row)
        return trade(row[1], row[2], contract_id, timestamp=stamp(ts_ns))

    async def market(self, every_s: float = 0.1, contract_id: str = MNQ) -> None:
        """Trade for ever."""
        while True:
            await self.publish(1, contract_id)
            await trio.sleep(every_s)

    def most_up(self) -> int:
        """How many connections stood at once, at most."""
        return max((sum(_stood(link, at.opened_at) for link in self.links) for at in self.links), default=0)


def _stood(link: Link, at: float) -> bool:
    return link.opened_at <= at and (link.gone_at is None or link.gone_at > at)


@attrs.define(eq=False)
class Told:
    """Events, and when they were told."""

    events: list[tuple[float, px.ConnectionEvent]] = attrs.Factory(list)

    def __call__(self, event: px.ConnectionEvent) -> None:
        self.events.append((trio.current_time(), event))

    def of(self, kind: type) -> list[px.ConnectionEvent]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def states(self, hub: str = "market") -> list[tuple[float, str]]:
        return [
            (at, event.state.name)
            for at, event in self.events
            if isinstance(event, px.HubStateChanged) and event.hub == hub
        ]


@attrs.define(eq=False)
class Bench:
    """The two hubs of one gateway with sinks that keep what they get, no pipeline and no REST but the login."""

    network: Network
    sites: Sites
    hub: ClientHub[Decoded]
    user: ClientHub[Decoded]
    sink: Gathered
    user_sink: Gathered
    told: Told
    bucket: ConnectBucket

    @property
    def connects(self) -> int:
        return self.hub.tools.counts.connects


@asynccontextmanager
async def running(script: Script, *, seed: int = 1, **changes: object) -> AsyncGenerator[Bench]:
    """Hubs for the length of the block; leaving it leaves nothing open (`open_network` asserts it)."""
    rest = changes.pop("rest", None)
    async with open_network(script, rest) as network:  # type: ignore[arg-type]
        config = config_for(network, **changes)
        async with open_sites(config) as sites, open_background_tasks("gateway") as tasks:
            bucket = ConnectBucket(config.reconnect.connect_burst, config.reconnect.connects_per_s)
            numbers, rng, told = itertools.count(1), random.Random(seed), Told()
            sinks = {"market": Gathered(), "user": Gathered()}

            def hub(name: px.HubName, sink: Gathered) -> ClientHub[Decoded]:
                tools = LineTools(
                    name, config, sites, sink, bucket, rng, lambda: next(numbers), EpochCounts(), lambda: None
                )
                return ClientHub(tools, tasks, told)

            market, user = hub("market", sinks["market"]), hub("user", sinks["user"])
            yield Bench(network, sites, market, user, sinks["market"], sinks["user"], told, bucket)
            market.close()
            user.close()


@attrs.define(eq=False)
class GatewayBench:
    """A whole gateway, what it told, and one stream of trades that was read all the time."""

    network: Network
    gateway: px.Gateway
    told: Told
    got: list[px.Trade] = attrs.Factory(list)
    gaps: list[px.Gap] = attrs.Factory(list)
    error: px.TrioProjectXError | None = None
    nursery: trio.Nursery | None = None

    @property
    def rows(self) -> list[Row]:
        return [(each.ts_event, each.price, each.volume) for each in self.got]

    @property
    def hub(self) -> ClientHub[Decoded]:
        return self.gateway._streams.market_hub

    async def stream(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read trades until the stream breaks."""
        try:
            async with self.gateway.open_trades(MNQ, events=True) as trades:
                task_status.started()
                async for each in trades:
                    self.gaps.append(each) if isinstance(each, px.Gap) else self.got.append(each)
        except px.TrioProjectXError as exc:
            self.error = exc


async def nothing_newer(wire: Wire, request: Request) -> None:
    """REST that logs in, and has no bars: the market is quiet."""
    if request.path == "/api/History/retrieveBars":
        await wire.reply_json(bars=[])
    else:
        await wire.network.log_in(wire, request)


@asynccontextmanager
async def open_bench(script: Script, **changes: object) -> AsyncGenerator[GatewayBench]:
    """A gateway with a stream of trades that is read all the time."""
    token = changes.pop("token", None)
    rest = changes.pop("rest", nothing_newer)
    async with open_network(script, rest) as network:  # type: ignore[arg-type]
        if token is not None:
            network.token = token  # type: ignore[assignment]
        async with px.open_gateway(config_for(network, **changes)) as gateway:
            bench = GatewayBench(network, gateway, Told())
            gateway._streams.board.listen(bench.told)
            async with trio.open_nursery() as nursery:
                bench.nursery = nursery
                await nursery.start(bench.stream)
                yield bench
                nursery.cancel_scope.cancel()


def check_rows(bench: GatewayBench, service: Service) -> None:
    """I1 and I2: what came is a part of the truth, in order, and what is missing lies in told gaps."""
    got, truth = bench.rows, service.rows
    positions = {row: index for index, row in enumerate(truth)}
    assert len(positions) == len(truth), "the truth is of different trades"
    indexes = [positions[row] for row in got]
    assert indexes == sorted(set(indexes)), "doubled, or out of order"
    missing = [row for row in truth[indexes[0] : indexes[-1] + 1] if row not in set(got)] if got else []
    for ts_ns, *_ in missing:
        assert any(gap.start <= ts_ns <= gap.end for gap in bench.gaps), "lost without a word"
