"""The whole stack under a course of faults: who reads, what is looked at, and what must hold. In any time, real or not.

Used by `soak` (virtual time, one process) and `endurance` (real time, real sockets, the simulator in another process).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import attrs
import trio
from memory import Held, held
from rows import Row, Strike, rows, strike
from spool import Compared, Spool
from world import World

import trio_projectx as px
from trio_projectx.flow.ledger import Ledger

#: A burst of so many times the rate, so long, in each so many seconds: the mean is 1.3 times the rate in between.
BURST_S: Final = 10.0
BURST_EVERY_S: Final = 300.0
TIMES: Final = 10.0
LIVE_LEAST: Final = 0.999
DRIFT_MOST_KIB: Final = 1024
#: The share of the looks that warm up: rings of bars, of bars that may be revised, and caches fill.
WARM_SHARE: Final = 1 / 2
#: Looks that make up one figure of memory.
_LOOKS: Final = 6
Item: TypeAlias = "px.Bar | px.BarRevised | px.Gap | px.Dropped"


@attrs.frozen
class Course:
    """How often what is done, in seconds of trio's clock."""

    seconds: float
    trades_per_s: float = 10.0
    """In the mean, bursts included, while the market is open."""
    look_s: float = 600.0
    """How often everything is looked at."""
    aside_s: float = 30.0
    """Looks are so much before that: at the full hour connections are being replaced."""
    fault_s: float = 900.0
    """How often a fault is put in."""
    first_s: float = 100.0
    last_s: float = 700.0
    """How long before the end the last one is, so that what it broke can be mended."""
    lasts_s: float | None = None
    """How long each is in place; None: as long as its row says."""
    back_s: float = 120.0
    """How long after a fault was taken out the hub may still be on its way back."""
    settled_s: float = 60.0
    """Tasks and descriptors are compared where the last fault is so long ago."""
    warm_s: float = 24 * 3600.0
    """In a course that is shorter than this too much fills up for memory to be judged."""
    pooled: int = 0
    """Descriptors that a pool of HTTP connections may have open or not."""


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
        return Template(name, "2025-11-26T12:00:00Z", px.Anchor.session(px.Sessions.cme("EQ")), closes=True)
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

    @asynccontextmanager
    async def opened(
        self, gateway: px.Gateway, contract: str, frames: Sequence[str], anchor: px.Anchor
    ) -> AsyncGenerator[None]:
        """Have its stream for the length of the block: the prompt one has late bars revised, too."""
        late, capacity = ("revise", 10_000) if self.spool is not None else ("count", 64)
        async with gateway.open_bars(
            contract, *frames, anchor=anchor, overflow=self.policy, events=True, late=late, capacity=capacity
        ) as self.stream:
            yield

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
        if got not in (s.delivered, s.delivered - 1):  # one may be on its way into the hands of its reader
            wrong.append(f"{self.policy}: {s.delivered} delivered, {got} came")
        if self.told > s.dropped:
            wrong.append(f"{self.policy}: {s.dropped} dropped, {self.told} told")
        return wrong


@attrs.define
class Watched:
    """What a run has seen so far."""

    course: Course
    stage: Template
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

    @property
    def contract_id(self) -> str:
        """The contract whose bars are read."""
        stream = self.readers[0].stream
        assert stream is not None
        return stream.contract_id

    def blame(self, *sentences: str) -> None:
        """Note what is wrong; some of it is enough."""
        at = trio.current_time() - self.began
        self.wrong += [f"at {at:.0f} s: {each}" for each in sentences][: max(0, 20 - len(self.wrong))]

    def live_share(self, until: float) -> float:
        """Return for which share of the time outside faults (and the way back) the market hub was LIVE."""
        outages = [(each.at, each.over + self.course.back_s) for each in self.strikes]
        outside, live = until - self.began, 0.0
        for begin, end in outages:
            outside -= max(0.0, min(end, until) - begin)
        ends = [at for at, _ in self.states[1:]] + [until]
        for (begin, state), end in zip(self.states, ends, strict=True):
            if state is px.HubState.LIVE:
                live += end - begin
                live -= sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in outages)
        return live / outside if outside > 0 else 1.0


def ledger_of(gateway: px.Gateway) -> Ledger:
    """Return where every trade is."""
    return gateway.statistics().ledger


def readers(spool: Spool) -> list[Reader]:
    """Return one prompt reader, and three that are always too slow."""
    return [
        Reader(px.Overflow.ERROR, 0.0, spool),
        Reader(px.Overflow.DROP_OLDEST, 3.0),
        Reader(px.Overflow.DROP_NEWEST, 5.0),
        Reader(px.Overflow.CONFLATE, 7.0),
    ]


async def run(
    world: World, gateway: px.Gateway, watched: Watched, seed: int, root: trio.lowlevel.Task,
    seen: Callable[[], int], tell: Callable[[str], None], nursery: trio.Nursery,
) -> None:  # fmt: skip
    """Go the course; ``seen`` takes what was traded since the last look. Tasks are left running in ``nursery``."""
    course = watched.course
    await nursery.start(_listen, gateway, watched)
    await nursery.start(_read_user, gateway, watched)
    for reader in watched.readers:
        nursery.start_soon(reader.read)
    nursery.start_soon(_drive, world, watched, random.Random(f"{seed}/bursts"))
    nursery.start_soon(_break, world, gateway, watched, random.Random(f"{seed}/faults"))
    for number in range(1, int(course.seconds / course.look_s) + 1):
        await trio.sleep_until(watched.began + course.look_s * number - course.aside_s)
        watched.trades += seen()
        _look(gateway, watched, root)
        tell(_line(watched))


def _line(watched: Watched) -> str:
    at, last = watched.helds[-1]
    what = (
        f"{last.memory_kib} KiB, {last.tasks} tasks, {watched.trades} trades, {len(watched.strikes)} faults"
    )
    return f"{(at - watched.began) / 3600:7.3f} h: {what}" + (
        f", WRONG: {watched.wrong}" if watched.wrong else ""
    )


def _look(gateway: px.Gateway, watched: Watched, root: trio.lowlevel.Task) -> None:
    """Look at everything that must hold at every instant."""
    ledger = ledger_of(gateway)
    if not ledger.balanced:
        watched.blame(f"the ledger does not balance: {ledger}")
    for reader in watched.readers:
        watched.blame(*reader.faults())
    now, found = trio.current_time(), held(root)
    before = next((each for _, each in watched.helds), None)
    is_quiet = watched.fault is None and all(
        now - each.over >= watched.course.settled_s for each in watched.strikes[-1:]
    )
    if before is not None and is_quiet:
        most = before.descriptors + watched.course.pooled
        if found.tasks > before.tasks or found.descriptors > most:
            watched.blame(f"{found}, and in the beginning {before}")
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


async def _drive(world: World, watched: Watched, rng: random.Random) -> None:
    """Let the market be quiet, burst, and rest."""
    base = watched.course.trades_per_s / (1 + (TIMES - 1) * BURST_S / BURST_EVERY_S)
    is_open, was = True, -1.0
    while True:
        start = trio.current_time()
        at = rng.uniform(0, BURST_EVERY_S - BURST_S)
        for rate, begin in ((base, 0.0), (TIMES * base, at), (base, at + BURST_S)):
            await trio.sleep_until(start + begin)
            is_open = _is_open(watched.stage, world.now_ns())
            if was != rate * is_open:
                was = rate * is_open
                await world.set_rate(was)
        await trio.sleep_until(start + BURST_EVERY_S)
        watched.open_s += BURST_EVERY_S * is_open


def _is_open(stage: Template, ts_ns: int) -> bool:
    sessions = stage.anchor.sessions
    return not stage.closes or sessions is None or sessions.around(ts_ns).here is not None


async def _break(world: World, gateway: px.Gateway, watched: Watched, rng: random.Random) -> None:
    """Put in a fault every so often: all rows in an order that is drawn, then again in another."""
    deck: list[Row] = []
    course = watched.course
    end = watched.began + course.seconds
    for number in range(1_000_000):
        await trio.sleep_until(watched.began + course.first_s + course.fault_s * number)
        if trio.current_time() > end - course.last_s:
            return
        if len(deck) < 20:
            more = rows()
            rng.shuffle(more)
            deck = more + deck
        row = _drawn(deck, has_data=_has_data(watched.stage, world.now_ns()))
        watched.fault = (trio.current_time(), trio.current_time() + row.lasts_s)
        watched.strikes.append(await strike(world, gateway, row, rng, course.lasts_s))
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


def drift_of(helds: list[tuple[float, Held]]) -> tuple[float, int, int]:
    """Return how much more memory the last hour held than the first after the warming up, at their medians."""
    warm = helds[int(len(helds) * WARM_SHARE) :]

    def median(some: list[tuple[float, Held]]) -> int:
        return sorted(each.memory_kib for _, each in some)[len(some) // 2]

    first, last = median(warm[:_LOOKS]), median(warm[-_LOOKS:])
    return float(last - first), first, last


def verdict(
    watched: Watched, health: px.Health, compared: Compared, now: float, crashes: int
) -> tuple[str, ...]:
    """Return everything that did not hold."""
    wrong = [*watched.wrong, *compared.wrong]
    share, (drift, *_) = watched.live_share(now), drift_of(watched.helds)
    if share < LIVE_LEAST:
        wrong.append(f"LIVE for {share:.4%} of the time outside faults")
    if health.market.state is not px.HubState.LIVE:
        wrong.append(f"in the end the market hub is {health.market.state}")
    if missed := [each for each in watched.strikes if not each.struck]:
        wrong.append(f"{len(missed)} faults never struck: {[each.row for each in missed][:5]}")
    if watched.course.seconds >= watched.course.warm_s and drift > DRIFT_MOST_KIB:
        wrong.append(f"{drift:.0f} KiB more memory than after the warming up")
    if crashes:
        wrong.append(f"the simulator failed {crashes} times; see the log")
    return tuple(wrong)


def figures(
    watched: Watched, statistics: px.GatewayStatistics, health: px.Health, now: float
) -> Mapping[str, object]:
    """Return what there is to say of a course."""
    drift, warm, last = drift_of(watched.helds)
    return {
        "trades": watched.trades,
        "trades_per_s": round(watched.trades / (watched.open_s or now - watched.began), 2),
        "texts": statistics.texts,
        "faults": len(watched.strikes),
        "rows": len({each.row for each in watched.strikes}),
        "outages": health.market.outages,
        "logins": statistics.logins,
        "live_share": round(watched.live_share(now), 6),
        "readers": {each.policy.value: dict(each.kinds) for each in watched.readers},
        "events": dict(watched.events),
        "not_filled": dict(watched.failures),
        "tasks": watched.helds[-1][1].tasks,
        "descriptors": watched.helds[-1][1].descriptors,
        "memory_kib": {"warm": warm, "end": last, "drift": round(drift)},
    }
