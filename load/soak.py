"""Two days of a market in virtual time, with a fault every quarter of an hour, and everything accounted for.

The whole stack in one process: the simulator, trio-websocket at both ends of bounded streams in memory, login and
refreshes, gap fill, bars of eight timeframes, and four readers with four policies. docs/load.md says what must hold.
"""

from __future__ import annotations

import gc
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio
import trio.testing
from ground import seed_scheduler
from memory import Held, held
from rows import Row, Strike, rows, strike
from spool import Compared, Spool, compare

import trio_projectx as px
from trio_projectx.simulator import Simulator, open_simulator
from trio_projectx.testing import virtual_wall_clock

CONTRACT: Final = "CON.F.US.MNQ.Z25"
FRAMES: Final = ("1s", "5s", "30s", "1m", "5m", "15m", "1h", "1d")
#: How often everything is looked at, and a fault put in; virtual seconds.
LOOK_S: Final = 600.0
FAULT_S: Final = 900.0
#: Looks are so much before the full ten minutes: at the full hour connections are being replaced.
ASIDE_S: Final = 30.0
#: When the first fault comes; how long before the end the last one, so that what it broke can be mended.
FIRST_S: Final = 100.0
LAST_S: Final = 700.0
#: A burst of ten times the rate, so long, in each so many seconds: the mean rate is 1.3 times the rate between bursts.
BURST_S: Final = 10.0
BURST_EVERY_S: Final = 300.0
TIMES: Final = 10.0
TRADES_PER_S: Final = 10.0
#: How long after a fault was taken out the hub may still be on its way back.
BACK_S: Final = 120.0
#: Tasks and descriptors are compared where the last fault is so long ago.
SETTLED_S: Final = 60.0
LIVE_LEAST: Final = 0.999
DRIFT_MOST_KIB: Final = 1024
#: The share of the looks that warm up: rings of bars, of bars that may be revised, and caches fill.
WARM_SHARE: Final = 1 / 3
#: The market is looked at twice a second, so that a frame has a real one's 1 to 10 records.
STEP_S: Final = 0.5
Item: TypeAlias = "px.Bar | px.BarRevised | px.Gap | px.Dropped"


@attrs.frozen
class Template:
    """When the market is open, and from when on it is watched."""

    name: str
    start: str
    anchor: px.Anchor
    closes: bool
    """Whether nothing is traded while the anchor's sessions are closed."""


def template(name: str) -> Template:
    """Return the template ``24x7`` (over the end of summer time, and a holiday), or ``cme`` (over Thanksgiving)."""
    if name == "cme":
        return Template(name, "2025-11-26T20:00:00Z", px.Anchor.session(px.Sessions.cme("EQ")), closes=True)
    always = px.Sessions.weekly(
        "America/Chicago", "Mon-Sun 00:00 > 24:00", exceptions={"2025-11-03": ""}, name="24x7"
    )
    return Template(name, "2025-11-01T18:00:00Z", px.Anchor.session(always), closes=False)


@attrs.define
class Reader:
    """One reader of bars, and what it got."""

    policy: px.Overflow
    pause_s: float
    """How long it sleeps after each item; 0 for one that is prompt."""
    spool: Spool | None = None
    stream: px.BarStream[px.Bar | px.BarRevised | px.Gap | px.Dropped] | None = None
    kinds: Counter[str] = attrs.Factory(Counter)
    told: int = 0
    """Items that were told as dropped."""

    async def read(self) -> None:
        """Read until cancelled."""
        assert self.stream is not None
        async for item in self.stream:
            self.take(item)
            if self.pause_s:
                await trio.sleep(self.pause_s)

    def take(self, item: Item) -> None:
        """Note one item."""
        self.kinds[type(item).__name__] += 1
        if isinstance(item, px.Dropped):
            self.told += item.count
        elif self.spool is not None and not isinstance(item, px.Gap):
            self.spool.take(item.bar if isinstance(item, px.BarRevised) else item)

    def faults(self) -> list[str]:
        """Return what does not add up."""
        assert self.stream is not None
        s = self.stream.statistics()
        wrong: list[str] = []
        if s.offered != s.delivered + s.conflated + s.dropped + s.queued:
            wrong.append(f"{s} does not balance")
        got = self.kinds.total() - self.kinds["Dropped"]
        if got != s.delivered:
            wrong.append(f"{self.policy}: {s.delivered} delivered, {got} came")
        if self.told > s.dropped:
            wrong.append(f"{self.policy}: {s.dropped} dropped, {self.told} told")
        return wrong


@attrs.define
class Watched:
    """What a run has seen so far."""

    readers: list[Reader]
    began: float
    strikes: list[Strike] = attrs.Factory(list)
    states: list[tuple[float, px.HubState]] = attrs.Factory(list)
    """Each state of the market hub, and from when on."""
    events: Counter[str] = attrs.Factory(Counter)
    failures: Counter[str] = attrs.Factory(Counter)
    """Why gaps could not be filled, and how often."""
    given_up: int = 0
    helds: list[tuple[float, Held]] = attrs.Factory(list)
    wrong: list[str] = attrs.Factory(list)
    trades: int = 0
    open_s: float = 0.0
    """For how long the market was open."""
    fault: tuple[float, float] | None = None
    """When the fault of this moment was put in, and is taken out."""

    def blame(self, *sentences: str) -> None:
        """Note what is wrong; some of it is enough."""
        at = trio.current_time() - self.began
        self.wrong += [f"at {at:.0f} s: {each}" for each in sentences][: max(0, 20 - len(self.wrong))]

    def live_share(self, until: float) -> float:
        """Return for which share of the time outside faults (and `BACK_S` behind them) the market hub was LIVE."""
        outages = [(each.at, each.over + BACK_S) for each in self.strikes]
        outside, live = until - self.began, 0.0
        for begin, end in outages:
            outside -= max(0.0, min(end, until) - begin)
        ends = [at for at, _ in self.states[1:]] + [until]
        for (begin, state), end in zip(self.states, ends, strict=True):
            if state is px.HubState.LIVE:
                live += end - begin
                live -= sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in outages)
        return live / outside if outside > 0 else 1.0


@attrs.frozen
class Soaked:
    """What a soak has come to."""

    template: str
    hours: float
    trades: int
    trades_per_s: float
    """While the market was open."""
    texts: int
    faults: int
    struck: int
    rows: int
    """Of the catalogue, different ones."""
    outages: int
    logins: int
    live_share: float
    compared: Mapping[str, object]
    readers: Mapping[str, Mapping[str, int]]
    events: Mapping[str, int]
    tasks: int
    descriptors: int
    failures: Mapping[str, int]
    drift_kib: float
    memory_kib: tuple[int, int]
    """At the end of the warming up, and at the end."""
    real_s_per_hour: float
    digest: str
    wrong: tuple[str, ...]

    def faults_found(self) -> list[str]:
        """Return what did not hold."""
        return list(self.wrong)


def soak(name: str, hours: float, seed: int, *, look: Callable[[str], None] | None = None) -> Soaked:
    """Let ``hours`` of the market of a template go by."""
    began = time.monotonic()
    gc.collect()
    gc.freeze()  # what was imported is looked at once, and not at each look
    with tempfile.TemporaryDirectory() as folder:

        async def run() -> Soaked:
            seed_scheduler(seed)
            return await _soak(template(name), hours, seed, Path(folder), look or (lambda _: None))

        try:
            found = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
        finally:
            gc.unfreeze()
    return attrs.evolve(found, real_s_per_hour=round((time.monotonic() - began) / hours, 2))


def config_for(sim: Simulator, wall: Callable[[], int]) -> px.GatewayConfig:
    """Return the configuration: a token an hour, and no more bars kept than fill up while it warms up."""
    return attrs.evolve(
        px.GatewayConfig.simulated(sim.url),
        connect=sim.connect,
        wall_clock=wall,
        negotiate=True,
        limits=px.Limits(bars_kept=256),
        refresh=px.Refresh(share=0.8, jitter=0.0),
    )


@asynccontextmanager
async def _opened(
    stage: Template, seed: int, spool: Spool
) -> AsyncGenerator[tuple[Simulator, px.Gateway, Watched]]:
    wall = virtual_wall_clock(stage.start)
    wall()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(
            open_simulator(
                port=None, seed=seed, wall_clock=wall, token_ttl_s=4500, step_s=STEP_S, candles_kept=3600
            )
        )
        gateway = await stack.enter_async_context(px.open_gateway(config_for(sim, wall)))
        gateway._parts.market_hub.tools.rng.seed(
            seed
        )  # of the back-off, so that a seed goes the same way again
        watched = Watched(_readers(spool), trio.current_time())
        for reader in watched.readers:
            late = "revise" if reader.spool is not None else "count"
            reader.stream = await stack.enter_async_context(
                gateway.open_bars(
                    CONTRACT,
                    *FRAMES,
                    anchor=stage.anchor,
                    overflow=reader.policy,
                    events=True,
                    late=late,
                    capacity=10_000 if reader.spool is not None else 64,
                )  # fmt: skip
            )
        yield sim, gateway, watched


def _readers(spool: Spool) -> list[Reader]:
    return [
        Reader(px.Overflow.ERROR, 0.0, spool),
        Reader(px.Overflow.DROP_OLDEST, 3.0),
        Reader(px.Overflow.DROP_NEWEST, 5.0),
        Reader(px.Overflow.CONFLATE, 7.0),
    ]


async def _soak(
    stage: Template, hours: float, seed: int, folder: Path, look: Callable[[str], None]
) -> Soaked:
    spool = Spool(folder, FRAMES)
    root = trio.lowlevel.current_task()
    async with _opened(stage, seed, spool) as (sim, gateway, watched), trio.open_nursery() as nursery:
        events = await nursery.start(_listen, gateway, watched)
        user = await nursery.start(_read_user, gateway, watched)
        for reader in watched.readers:
            nursery.start_soon(reader.read)
        nursery.start_soon(_drive, sim, stage, watched, random.Random(f"{seed}/bursts"))
        nursery.start_soon(_break, sim, gateway, stage, watched, hours, random.Random(f"{seed}/faults"))
        del events, user
        for number in range(1, int(hours * 3600 / LOOK_S) + 1):
            await trio.sleep_until(watched.began + LOOK_S * number - ASIDE_S)
            _look(sim, gateway, watched, root, spool)
            look(_line(watched))
        statistics, health, until_ns = gateway.statistics(), gateway.health(), sim.market_now_ns()
        now = trio.current_time()
        nursery.cancel_scope.cancel()
    if sim.statistics().crashes:
        watched.blame("the simulator failed; see the log")
    lies = [each.market_ns for each in watched.strikes if each.lies]
    compared = compare(spool, stage.anchor, until_ns - 300 * 10**9, lies)
    spool.close()
    return _judged(stage, hours, watched, statistics, health, now, compared)


def _line(watched: Watched) -> str:
    at, last = watched.helds[-1]
    return f"{(at - watched.began) / 3600:6.2f} h  {last.memory_kib} KiB  {last.tasks} tasks  {watched.trades} trades"


def _judged(
    stage: Template, hours: float, watched: Watched, statistics: px.GatewayStatistics, health: px.Health,
    now: float, compared: Compared,
) -> Soaked:  # fmt: skip
    wrong = [*watched.wrong, *compared.wrong]
    share = watched.live_share(now)
    if share < LIVE_LEAST:
        wrong.append(f"LIVE for {share:.4%} of the time outside faults")
    if health.market.state is not px.HubState.LIVE:
        wrong.append(f"in the end the market hub is {health.market.state}")
    if missed := [each for each in watched.strikes if not each.struck]:
        wrong.append(f"{len(missed)} faults never struck: {[each.row for each in missed][:5]}")
    drift, warm, last = _drift(watched.helds)
    if hours >= 24 and drift > DRIFT_MOST_KIB:
        wrong.append(f"{drift:.0f} KiB more memory than after the warming up")
    prompt = watched.readers[0]
    assert prompt.spool is not None
    return Soaked(
        stage.name, hours, watched.trades, round(watched.trades / watched.open_s, 2), statistics.texts, len(watched.strikes),
        sum(each.struck for each in watched.strikes), len({each.row for each in watched.strikes}),
        health.market.outages, statistics.logins, round(share, 6),
        {key: value for key, value in attrs.asdict(compared).items() if key not in ("digest", "wrong")},
        {each.policy.value: dict(each.kinds) for each in watched.readers}, dict(watched.events),
        watched.helds[-1][1].tasks, watched.helds[-1][1].descriptors, dict(watched.failures), round(drift, 1), (warm, last), 0.0,
        compared.digest, tuple(wrong),
    )  # fmt: skip


def _drift(helds: list[tuple[float, Held]]) -> tuple[float, int, int]:
    """Return how much more memory the last hour held than the first after the warming up, at their medians."""
    warm = helds[int(len(helds) * WARM_SHARE) :]

    def median(some: list[tuple[float, Held]]) -> int:
        return sorted(each.memory_kib for _, each in some)[len(some) // 2]

    first, last = median(warm[:6]), median(warm[-6:])
    return float(last - first), first, last


def _look(
    sim: Simulator, gateway: px.Gateway, watched: Watched, root: trio.lowlevel.Task, spool: Spool
) -> None:
    """Look at everything that must hold at every instant."""
    watched.trades += spool.take_truth(sim, CONTRACT)
    statistics = gateway.statistics()
    if not statistics.market.ledger.balanced:
        watched.blame(f"the ledger does not balance: {statistics.market.ledger}")
    for reader in watched.readers:
        watched.blame(*reader.faults())
    now = trio.current_time()
    found = held(root)
    before = next((each for _, each in watched.helds), None)
    quiet = watched.fault is None and (not watched.strikes or now - watched.strikes[-1].over >= SETTLED_S)
    if (
        before is not None
        and quiet
        and (found.tasks, found.descriptors) != (before.tasks, before.descriptors)
    ):
        watched.blame(f"{found} and before {before}")
    watched.helds.append((now, found))


async def _listen(
    gateway: px.Gateway, watched: Watched, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with gateway.open_events(capacity=100_000) as events:
        watched.states.append((trio.current_time(), gateway.health().market.state))
        task_status.started()
        async for event in events:
            watched.events[type(event).__name__] += 1
            if isinstance(event, px.GapFillFailed):
                watched.failures[event.reason[:100]] += 1
                watched.given_up += event.retry_in_s is None
            if isinstance(event, px.HubStateChanged) and event.hub == "market":
                watched.states.append((trio.current_time(), event.state))


async def _read_user(
    gateway: px.Gateway, watched: Watched, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with gateway.open_user_events() as events:
        task_status.started()
        async for event in events:
            watched.events[f"user {type(event).__name__}"] += 1


async def _drive(sim: Simulator, stage: Template, watched: Watched, rng: random.Random) -> None:
    """Let the market be quiet, burst, and rest."""
    base = TRADES_PER_S / (1 + (TIMES - 1) * BURST_S / BURST_EVERY_S)
    while True:
        start = trio.current_time()
        at = rng.uniform(0, BURST_EVERY_S - BURST_S)
        for rate, begin in ((base, 0.0), (TIMES * base, at), (base, at + BURST_S)):
            await trio.sleep_until(start + begin)
            is_open = _is_open(stage, sim.market_now_ns())
            sim.set_trades_per_s(rate if is_open else 0.0)
        await trio.sleep_until(start + BURST_EVERY_S)
        watched.open_s += BURST_EVERY_S * is_open


def _is_open(stage: Template, ts_ns: int) -> bool:
    sessions = stage.anchor.sessions
    return not stage.closes or sessions is None or sessions.around(ts_ns).here is not None


async def _break(
    sim: Simulator, gateway: px.Gateway, stage: Template, watched: Watched, hours: float, rng: random.Random
) -> None:
    """Put in a fault every quarter of an hour: all rows in an order that is drawn, then again in another."""
    deck: list[Row] = []
    end = watched.began + hours * 3600
    for number in range(1_000_000):
        await trio.sleep_until(watched.began + FIRST_S + FAULT_S * number)
        if trio.current_time() > end - LAST_S:
            return
        if len(deck) < 20:
            more = rows()
            rng.shuffle(more)
            deck = more + deck
        row = _drawn(deck, has_data=_has_data(stage, sim.market_now_ns()))
        watched.fault = (trio.current_time(), trio.current_time() + row.lasts_s)
        watched.strikes.append(await strike(sim, gateway, row, rng))
        watched.fault = None


def _has_data(stage: Template, ts_ns: int) -> bool:
    """Whether the market trades now and in two minutes, and the product's own calendar says so."""
    return all(
        px.Sessions.cme("EQ").around(ts_ns + more).here is not None and _is_open(stage, ts_ns + more)
        for more in (0, 120 * 10**9)
    )


def _drawn(deck: list[Row], *, has_data: bool) -> Row:
    """Take the last row of the deck that can strike now."""
    at = next((at for at in reversed(range(len(deck))) if has_data or not deck[at].needs_data), len(deck) - 1)
    return deck.pop(at)


if __name__ == "__main__":
    import sys

    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)
    print(soak(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), look=lambda line: print(line, flush=True)))
