"""What the tests of faults share: our client on a simulator in virtual time, and what must hold whatever goes wrong.

`watch` lets our client stream and takes down all that a user could see of it; `check` holds that against the truth
(FAULTS.md, invariants I1 to I3, I5, I6 and I8). No secret may be in anything of it: `unseen_secrets` (I10).
"""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import attrs
import pyarrow as pa
import pytest
import trio
from simulator_tools import START_NS, virtual_wall

import trio_projectx as px
from trio_projectx.flow.keys import trade_stamp
from trio_projectx.simulator import Fault, FaultHandle, Simulator, open_simulator
from trio_projectx.simulator.tokens import TokenOffice
from trio_projectx.simulator.user_events import UserAction, UserKind

CONTRACT = "CON.F.US.MNQ.U26"
#: What a fault's own options are in tests: the real sizes only cost time.
SMALL = {"record_bytes": 8 << 20, "size_bytes": 3000}
#: Every wait a tenth of what it is, for tests that are about what happens and not about the bound itself.
TENTH = px.Timeouts(
    connect_s=1, handshake_s=1.5, subscribe_s=1.5, server_s=3, keep_alive_s=1.5, rest_s=3, send_s=1, close_s=0.5,
    probe_s=1.5, record_s=12, refresh_s=3, stall_s=3, overlap_s=0.2,
)  # fmt: skip
#: The same of the simulator's own timers.
TENTH_SIM = {"keep_alive_s": 1.5, "client_timeout_s": 3.0, "handshake_s": 1.5}
API_KEY = "canary-api-key-7f3a"

Row = tuple[int, float, int, int]
"""A trade: stamp, price, volume, side."""
BarRow = tuple[int, float, float, float, float, int, int]


def config_for(sim: Simulator, **changes: object) -> px.GatewayConfig:
    config = px.GatewayConfig.simulated(sim.url)
    return attrs.evolve(config, **{"connect": sim.connect, "wall_clock": virtual_wall, **changes})


@asynccontextmanager
async def open_sim(seed: int = 5, **options: object) -> AsyncGenerator[Simulator]:
    options = {"wall_clock": virtual_wall, **options}
    async with open_simulator(port=None, seed=seed, **options) as sim:
        yield sim


# -- what a user sees


@attrs.frozen
class Sample:
    """How everything stood at a moment of trio's clock."""

    at: float
    market: px.HubState
    user: px.HubState
    silent_s: float
    """Since the market hub had data, or became what it is."""
    is_balanced: bool
    tasks: int
    """Tasks of our client."""


@attrs.frozen
class Published:
    """An event of an account that the simulator sent to ``receivers`` connections."""

    order_id: int
    at_ns: int
    receivers: int


@attrs.define
class Seen:
    """What our client got, and how it ended."""

    trades: list[px.Trade] = attrs.Factory(list)
    bars: list[px.Bar] = attrs.Factory(list)
    revised: list[px.BarRevised] = attrs.Factory(list)
    items: list[px.Trade | px.Gap] = attrs.Factory(list)
    """The stream of trades as it came: with its gaps."""
    user_items: list[px.UserItem] = attrs.Factory(list)
    published: list[Published] = attrs.Factory(list)
    events: list[tuple[float, px.ConnectionEvent]] = attrs.Factory(list)
    samples: list[Sample] = attrs.Factory(list)
    error: px.TrioProjectXError | None = None
    ended_at: float | None = None
    exit_s: float | None = None
    """How long it took to leave everything, where our client had not given up before."""
    statistics: px.GatewayStatistics | None = None
    health: str = ""
    gateway: px.Gateway | None = None

    def note(self, gateway: px.Gateway) -> None:
        """Take down how it stands; the first time counts."""
        if self.ended_at is None:
            self.ended_at = trio.current_time()
            self.statistics = gateway.statistics()
            self.health = repr(gateway.health())

    @property
    def rows(self) -> list[Row]:
        return [row_of(trade) for trade in self.trades]

    @property
    def gaps(self) -> list[px.Gap]:
        return [item for item in self.items if isinstance(item, px.Gap)]

    @property
    def rejected(self) -> int:
        assert self.statistics is not None
        return sum(each.rejected.total for each in self.statistics.market.contracts)

    @property
    def late(self) -> int:
        """Trades that came too late for their bar."""
        assert self.statistics is not None
        return sum(row.late for row in self.statistics.market.ledger.rows)

    @property
    def whole_bars(self) -> list[px.Bar]:
        return [bar for bar in self.bars if not bar.partial]

    @property
    def mended(self) -> list[BarRow]:
        """Bars that were revised and are whole, as they are in the end."""
        last = {each.bar.start: each.bar for each in self.revised}
        return [row(bar) for bar in last.values() if not bar.partial]

    @property
    def connects(self) -> int:
        assert self.statistics is not None
        return self.statistics.connects + self.statistics.user_connects

    def told(self, kind: type) -> list:
        """Return the events of one kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def outages(self, hub: str = "market") -> list[tuple[float, float | None]]:
        """Return when the hub was lost, and when it was live again (None: not until the end)."""
        found: list[tuple[float, float | None]] = []
        for at, event in self.events:
            if not isinstance(event, px.HubStateChanged) or event.hub != hub:
                continue
            if event.state is px.HubState.RECONNECTING:
                found.append((at, None))
            elif event.state is px.HubState.LIVE and found and found[-1][1] is None:
                found[-1] = found[-1][0], at
        return found

    def down_s(self, hub: str = "market") -> float:
        """Return how long the hub was lost in all; infinite if it still is."""
        return sum(float("inf") if end is None else end - start for start, end in self.outages(hub))


def row_of(trade: px.Trade) -> Row:
    return trade.ts_event, trade.price, trade.volume, int(trade.side)


async def watch(
    sim: Simulator,
    seconds: float,
    seen: Seen | None = None,
    *,
    user: bool = False,
    look_s: float = 0.25,
    **changes: object,
) -> Seen:
    """Stream trades and bars of one contract for ``seconds``, or until our client gives up; never an untyped error.

    With ``user``, events of an account are published all the time and streamed too. ``look_s`` is the time between two
    looks at how everything stands, which becomes longer after a hundred seconds.
    """
    seen = Seen() if seen is None else seen
    with trio.move_on_after(seconds) as scope:
        try:
            async with px.open_gateway(config_for(sim, **changes)) as gateway:
                seen.gateway = gateway
                try:
                    await _stream(sim, gateway, seen, look_s, user=user)
                finally:
                    seen.note(gateway)
        except* px.TrioProjectXError as group:
            seen.error = first_of(group)
    if scope.cancelled_caught:
        seen.exit_s = trio.current_time() - scope.deadline
    if seen.ended_at is None:
        seen.ended_at = trio.current_time()
    return seen


def first_of(group: BaseExceptionGroup[px.TrioProjectXError]) -> px.TrioProjectXError:
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _stream(sim: Simulator, gateway: px.Gateway, seen: Seen, look_s: float, *, user: bool) -> None:
    async with AsyncExitStack() as stack:
        events = await stack.enter_async_context(gateway.open_events(capacity=100_000))
        telling = await stack.enter_async_context(trio.open_nursery())
        telling.start_soon(_collect_events, events, seen)
        telling.start_soon(_sample, gateway, seen, look_s, trio.lowlevel.current_task())
        try:
            bars = await stack.enter_async_context(gateway.open_bars(CONTRACT, "1s", events=True))
            trades = await stack.enter_async_context(gateway.open_trades(CONTRACT, events=True))
            async with trio.open_nursery() as nursery:
                if user:
                    items = await stack.enter_async_context(gateway.open_user_events())
                    nursery.start_soon(_collect, items, seen.user_items)
                    (outlet,) = gateway._streams.user.outlets
                    telling.start_soon(_publish, sim, outlet.accounts[0], seen)
                nursery.start_soon(_collect_bars, bars, seen)
                nursery.start_soon(_collect_trades, trades, seen)
        finally:
            seen.note(gateway)  # while there are streams, which are what the ledger is about
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()  # the last events
            telling.cancel_scope.cancel()


async def _collect(stream: trio.abc.ReceiveChannel[object], into: list[object]) -> None:
    async for item in stream:
        into.append(item)


async def _collect_bars(stream: trio.abc.ReceiveChannel[px.Bar | px.Gap], seen: Seen) -> None:
    async for item in stream:
        if isinstance(item, px.Bar):
            seen.bars.append(item)
        elif isinstance(item, px.BarRevised):
            seen.revised.append(item)


async def _collect_trades(stream: trio.abc.ReceiveChannel[px.Trade | px.Gap], seen: Seen) -> None:
    async for item in stream:
        seen.items.append(item)
        if isinstance(item, px.Trade):
            seen.trades.append(item)


async def _collect_events(stream: trio.abc.ReceiveChannel[px.ConnectionEvent], seen: Seen) -> None:
    async for event in stream:
        seen.events.append((trio.current_time(), event))


async def _sample(gateway: px.Gateway, seen: Seen, look_s: float, client: trio.lowlevel.Task) -> None:
    while True:
        await trio.sleep(look_s if len(seen.samples) < 400 else max(look_s, 1.0))
        health, ledger = gateway.health(), gateway.statistics().market.ledger
        seen.samples.append(
            Sample(
                trio.current_time(),
                health.market.state,
                health.user.state,
                min(health.market.data_age_s or 0.0, health.market.since_s),
                ledger.balanced,
                tasks_below(client),
            )
        )


def tasks_below(task: trio.lowlevel.Task) -> int:
    """Return how many tasks live in nurseries of ``task``, and in theirs."""
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return len(children) + sum(tasks_below(child) for child in children)


ACCOUNT_FIELDS = {
    "contractId": CONTRACT,
    "creationTimestamp": "2026-08-19T20:49:25.3938333+00:00",
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 1,
}


async def _publish(sim: Simulator, account_id: int, seen: Seen) -> None:
    """Let something happen to an account every now and then."""
    while True:
        order_id = len(seen.published) + 1
        entity = {"id": order_id, "accountId": account_id, **ACCOUNT_FIELDS}
        receivers = sim.publish(UserKind.ORDERS, account_id, UserAction.UPDATE, entity)
        seen.published.append(Published(order_id, virtual_wall(), receivers))
        await trio.sleep(0.23)


async def meet(
    sim: Simulator, fault: Fault, *, at: float, until: float, user: bool = False, **changes: object
) -> tuple[Seen, FaultHandle]:
    """Let our client stream from 0 s until ``until`` and meet ``fault``, put in at ``at`` seconds."""
    seen = Seen()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await watch(sim, until, seen, user=user, **changes)

        if at:
            nursery.start_soon(run)
            await trio.sleep(at)
            handle = sim.inject(fault)
        else:
            handle = sim.inject(fault)
            nursery.start_soon(run)
    return seen, handle


async def ask(sim: Simulator, method: str, target: str, body: str = "") -> tuple[int, object]:
    """Send one request; return the status and what the answer says as JSON."""
    async with await sim.connect("h", 1, tls=False) as stream:
        size = len(body.encode())
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        await stream.send_all((head + body).encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    text = answer.partition(b"\r\n\r\n")[2]
    return int(answer[9:12]), json.loads(text) if text else None


# -- what must hold


def oracle(rows: Iterable[Row]) -> list[BarRow]:
    """One-second bars of trades by brute force: start, open, high, low, close, volume, trades."""
    bars: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row[0]):
        bars.setdefault(row[0] // 10**9, []).append(row)
    return [_bar(second, trades) for second, trades in sorted(bars.items())]


def _bar(second: int, trades: list[Row]) -> BarRow:
    prices = [trade[1] for trade in trades]
    volume = sum(trade[2] for trade in trades)
    return second * 10**9, prices[0], max(prices), min(prices), prices[-1], volume, len(trades)


def row(bar: px.Bar) -> BarRow:
    return bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades


def said(rows: Iterable[BarRow]) -> set[tuple[object, ...]]:
    """All of a bar but the number of its trades, which history does not know."""
    return {each[:6] for each in rows}


def truth_rows(table: pa.Table, contract: str = CONTRACT) -> list[Row]:
    table = table.filter(pa.compute.equal(table["contract_id"], contract))
    columns = (table[name].to_pylist() for name in ("ts_event", "price", "volume", "side"))
    return list(zip(*columns, strict=True))


@attrs.define
class Account:
    """What became of each trade of the truth from the first delivered one on."""

    untold: list[Row] = attrs.Factory(list)
    """Missing, and in no gap that was told at their place."""
    missed: int = 0
    """Missing, and in such a gap."""
    made_up: list[Row] = attrs.Factory(list)
    """Delivered, and not in the truth (there)."""
    tail: list[Row] = attrs.Factory(list)
    """Behind the last one delivered."""


def account_for(items: Sequence[px.Trade | px.Gap], sent: Sequence[Row]) -> Account:
    """Lay what was delivered beside what was sent, both in order."""
    first = next((item for item in items if isinstance(item, px.Trade)), None)
    if first is None:
        return Account(tail=list(sent))
    starts = [at for at, each in enumerate(sent) if each == row_of(first)]
    if not starts:
        return Account(made_up=[row_of(item) for item in items if isinstance(item, px.Trade)])
    return min((_laid_from(at, items, sent) for at in starts), key=lambda each: len(each.untold))


def _laid_from(at: int, items: Sequence[px.Trade | px.Gap], sent: Sequence[Row]) -> Account:
    account, gaps = Account(), []
    for item in items:
        if isinstance(item, px.Gap):
            gaps.append(item)
            continue
        try:
            found = sent.index(row_of(item), at)
        except ValueError:
            account.made_up.append(row_of(item))
            continue
        for missing in sent[at:found]:
            if any(gap.start <= missing[0] <= gap.end for gap in gaps):
                account.missed += 1
            else:
                account.untold.append(missing)
        at, gaps = found + 1, []
    account.tail = list(sent[at:])
    return account


def check(
    seen: Seen,
    sim: Simulator,
    *,
    extra: int = 0,
    untold: int = 0,
    bound_s: float = 30.0,
    is_live: bool | None = None,
    slack_s: float = 0.2,
    in_order: bool = True,
    clocked: bool = False,
) -> Account:
    """Hold what our client got against the truth, and what it told against how it was.

    I1: every trade is delivered once, in order, or lies in a gap that was told there, but for ``untold`` that the
    fault itself has kept back. I2: nothing else is delivered, but for ``extra`` that the fault has made up and that no
    validation can know from real ones; bars are those of the trades that came, and whole ones, those that were read
    again included, those of the truth.
    I3: each change of state was told, and the hub never said LIVE when it had been silent for ``bound_s``. I6: there
    was no storm. I8: leaving was prompt. The ledger balanced whenever it was looked at. With ``in_order`` False the
    fault has changed the order: bars then have less than what came where some came late. With ``clocked`` the service
    kept trades back while it answered pings, so that the clock may have closed a bar before anybody could know: such a
    bar lies in a gap.
    """
    sent = truth_rows(sim.truth())
    account = account_for(seen.items if in_order else sorted(seen.items, key=trade_stamp), sent)
    assert len(account.made_up) <= extra, account.made_up
    assert len(account.untold) <= untold, account.untold
    gaps = seen.gaps if clocked else []
    kept = [
        bar for bar in seen.whole_bars if all(bar.end <= gap.start or gap.end < bar.start for gap in gaps)
    ]
    made, whole = [row(bar) for bar in seen.bars], [row(bar) for bar in kept]
    wanted = oracle(seen.rows)
    if in_order or not seen.late:
        assert made == wanted[: len(made)]
        assert extra or untold or set(whole) <= set(oracle(sent))
        # What was traded before anybody was let in is in the simulator's history, and not in its truth.
        known = [bar for bar in seen.mended if sent and bar[0] >= sent[0][0]]
        assert extra or untold or said(known) <= said(oracle(sent))
    assert_told(seen, bound_s)
    if seen.statistics is not None:
        assert seen.statistics.market.ledger.balanced
        lasted = 0.0 if not seen.samples else seen.samples[-1].at - seen.samples[0].at
        assert seen.connects <= 5 + 1 + lasted  # the bucket: a burst of 5, and one a second
    assert all(sample.is_balanced for sample in seen.samples)
    assert seen.exit_s is None or seen.exit_s <= 5.0
    if is_live is not None and seen.samples:
        assert (seen.samples[-1].market is px.HubState.LIVE) is is_live
    if is_live:
        last = seen.samples[-1].at - slack_s
        assert all(virtual_s(missing[0]) > last for missing in account.tail), account.tail[0]
        assert len(made) >= len(wanted) - 2
    assert sim.statistics().crashes == 0
    return account


def virtual_s(ts_ns: int) -> float:
    """Return the virtual time of a stamp of the market, which runs with our clock."""
    return (ts_ns - START_NS) / 1e9


def assert_told(seen: Seen, bound_s: float) -> None:
    """I3: the events say what `Gateway.health` says, and LIVE is never said of what is dead."""
    states = {"market": px.HubState.IDLE, "user": px.HubState.IDLE}
    events = list(seen.events)
    for sample in seen.samples:
        could_be = {(states["market"], states["user"])}
        # What was told at the very time of the sample may have been so before it, or after it.
        while events and events[0][0] <= sample.at:
            at, event = events.pop(0)
            if isinstance(event, px.HubStateChanged):
                assert event.before is states[event.hub], event
                assert event.reason
                states[event.hub] = event.state
                if at < sample.at:
                    could_be.clear()
                could_be.add((states["market"], states["user"]))
        assert (sample.market, sample.user) in could_be, sample
        # At the very time of a change it may be that of which the change is the end.
        if sample.market is px.HubState.LIVE and len(could_be) == 1:
            assert sample.silent_s <= bound_s + 0.1, sample


def check_user(seen: Seen, *, until_s: float = float("inf")) -> None:
    """I1 for user events: each that was published is delivered once, in order, or lies in a gap.

    Those of the last moments, and of the time before the stream was open, may be on their way.
    """
    got = [item.order_id for item in seen.user_items if isinstance(item, px.OrderUpdate)]
    gaps = [item for item in seen.user_items if isinstance(item, px.Gap)]
    assert got == sorted(set(got))
    assert got, "no user event came"
    last = (seen.samples[-1].at if seen.samples else 0.0) - 0.3
    for each in seen.published[got[0] :]:
        at = virtual_s(each.at_ns)
        if each.order_id in set(got) or at > min(last, until_s):
            continue
        assert any(gap.start <= each.at_ns <= gap.end for gap in gaps), (each, gaps)


def assert_steady(seen: Seen, before_s: float) -> None:
    """I5: as many tasks at the end as before ``before_s``."""
    before = [sample.tasks for sample in seen.samples if sample.at <= before_s]
    assert before
    assert seen.samples[-1].tasks == before[-1], [sample.tasks for sample in seen.samples]


# -- no secret


@contextmanager
def unseen_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Seen]]:
    """Log everything at DEBUG; at the end no token and no key is in it, nor in what the `Seen` put into the list show.

    To be entered by the test, not by a fixture: pytest's own handlers, which would keep each record and take as long as
    all the rest, are put aside meanwhile.
    """
    tokens: list[str] = []
    mint = TokenOffice.mint

    def noted(office: TokenOffice, user: str, ttl_s: float) -> str:
        tokens.append(mint(office, user, ttl_s))
        return tokens[-1]

    monkeypatch.setattr(TokenOffice, "mint", noted)
    out, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    level, handlers = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(logging.DEBUG)
    shown: list[Seen] = []
    try:
        yield shown
    finally:
        root.handlers = handlers
        root.setLevel(level)
    text = out.getvalue() + "".join(_shown(seen) for seen in shown)
    assert_no_secret(text, API_KEY, *tokens)


def _shown(seen: Seen) -> str:
    error = "" if seen.error is None else "".join(traceback.format_exception(seen.error)) + repr(seen.error)
    everything = (seen.events, seen.statistics, seen.gaps, seen.gateway, seen.user_items)
    return error + seen.health + "".join(repr(each) for each in everything)


def assert_no_secret(text: str, *secrets: str) -> None:
    """Neither whole nor in pieces: the payload of a JWT is as good as the whole."""
    for secret in secrets:
        for piece in (secret, *secret.split(".")[1:]):
            assert piece not in text


def counted(rows: Iterable[Row]) -> Counter[Row]:
    return Counter(rows)
