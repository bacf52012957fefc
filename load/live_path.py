"""Nothing beside the live path slows it: history that hangs, disks that are full or never answer, under full load.

In real time, in one process: the simulator plays a tape of so many trades a second over a stream in memory, and a
gateway makes bars of eight kinds of them. Each run is held against a plain one that went before it.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import pyarrow as pa
import trio
from judge import Received, judge, judge_bars

import trio_projectx as px
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import KINDS
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import Recorder, open_recorder
from trio_projectx.journal.scan import dataset
from trio_projectx.market import PriceGrid, TradeBatch
from trio_projectx.simulator import Fault, FaultHandle, Simulator, open_simulator

T = TypeVar("T")

CONTRACT: Final = "CON.F.US.MNQ.U26"
GRID: Final = PriceGrid.from_tick_size(0.25)
FRAMES: Final = ("1s", "2s", "5s", "10s", "30s", "1m", "tick:100", "tick:1000")
#: A bar is closed by the first trade behind it: what is measured is the way, and no waiting for late trades.
PROMPT: Final = px.Limits(lateness_ms=0.0)
_SECOND: Final = 1_000_000_000
#: The disk of a journal that is to be full soon.
_ROOM: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
#: A run may take so many times as long as a plain one, and so much more, at its median and at its 99th percentile.
#: Nothing may ever stand still for a second.
SLOWER: Final = 2.0
SLOWER_MS: Final = {"p50": 2.0, "p99": 50.0}
STILL_MS: Final = 1000.0
#: Where the process waited for a processor for more than this share of the time, its figures say nothing.
BUSY: Final = 0.2
#: How much more memory there may be at the end (FAULTS.md, I5).
GROWN_MIB: Final = 32.0

_TOO_BUSY: Final = (
    "other processes took too much of the machine: how long things take was not judged; run it again"
)

Case: TypeAlias = Literal["plain", "hung-rest", "full-disk", "hung-disk"]
Beside: TypeAlias = "Mapping[str, object]"


@attrs.frozen
class Spread:
    """A distribution, in milliseconds."""

    p50: float
    p99: float
    most: float
    count: int

    @classmethod
    def of(cls, ns: array[int]) -> Spread:
        """Return that of a column of ns."""
        ranked = sorted(ns)
        if not ranked:
            return cls(math.nan, math.nan, math.nan, 0)

        def at(share: float) -> float:
            return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))] / 1e6, 3)

        return cls(at(0.5), at(0.99), round(ranked[-1] / 1e6, 3), len(ranked))


@attrs.define
class Live:
    """What one run has seen."""

    seconds: float
    start_ns: int
    step_ns: int
    read_at: array[int]
    """When each trade of the tape was read, by its number; 0 if it was not."""
    received: Received = attrs.Factory(Received)
    trade_ns: array[int] = attrs.Factory(lambda: array("q"))
    bars: list[px.Bar] = attrs.Factory(list)
    bars_at: array[int] = attrs.Factory(lambda: array("q"))
    backlog: int = 0
    """Trades that the simulator had sent and nobody had got yet, at most."""
    late_ms: float = 0.0
    """How late trio's own timers were at most."""
    memory: list[float] = attrs.Factory(list)
    cpu_wait_s: float = 0.0

    def number(self, ts_ns: int) -> int:
        """Return which trade of the tape has this stamp."""
        return (ts_ns - self.start_ns) // self.step_ns

    def closed_by(self, bar: px.Bar) -> int:
        """Return the number of the trade that closed a bar: the last of its own, or the first behind it."""
        if bar.timeframe.startswith("tick:"):
            assert bar.last_ts is not None
            return self.number(bar.last_ts)
        return -((self.start_ns - bar.end) // self.step_ns)


@attrs.frozen
class Run:
    """One run, judged."""

    case: Case
    trades: int
    missing: int
    """In gaps that were told."""
    gaps: int
    bars: int
    whole_seconds: int
    """Bars of a second that are whole, and those of the truth."""
    trade_ms: Spread
    """From the read of the socket to the hands of the reader."""
    bar_ms: Spread
    """From the read of the trade that closes a bar to the hands of the reader."""
    backlog: int
    late_ms: float
    grown_mib: float
    exit_s: float
    cpu_wait_s: float
    """How long the thread that runs trio was ready to run and had no processor, in all."""
    seconds: float
    is_balanced: bool
    beside: Beside
    """What became of that which was wrong."""
    wrong: tuple[str, ...] = ()

    def faults(self, *plain: Run) -> list[str]:
        """Return what is wrong with it, and where it is slower than all of ``plain``."""
        wrong = list(self.wrong)
        if not self.is_balanced:
            wrong.append("the ledger does not balance")
        if self.grown_mib > GROWN_MIB:
            wrong.append(f"{self.grown_mib:.1f} MiB more memory at the end than after a third")
        if self.exit_s > 5.0:
            wrong.append(f"leaving took {self.exit_s:.1f} s")
        return wrong + ([_TOO_BUSY] if self.is_noisy else self._slow(plain))

    @property
    def is_noisy(self) -> bool:
        """Whether other processes had too much of the machine."""
        return self.cpu_wait_s > BUSY * self.seconds

    def _slow(self, plain: Iterable[Run]) -> list[str]:
        wrong: list[str] = []
        for what in ("trade_ms", "bar_ms"):
            mine = getattr(self, what)
            if not mine.most <= STILL_MS:
                wrong.append(f"{what}: {mine.most} ms at most")
            for share, more_ms in SLOWER_MS.items():
                took = getattr(mine, share)
                before = max((getattr(getattr(each, what), share) for each in plain), default=math.inf)
                if not took <= SLOWER * before + more_ms:
                    wrong.append(f"{what}: {share} is {took} ms, and {before} ms without")
        return wrong


def run(case: Case, seconds: float, trades_per_s: int, seed: int, folder: Path | None = None) -> Run:
    """Run one case; ``folder`` is where a journal is written, None for one that is removed afterwards."""
    gc.collect()
    if folder is not None:
        return trio.run(_run, case, seconds, trades_per_s, seed, folder)
    with tempfile.TemporaryDirectory() as made:
        return trio.run(_run, case, seconds, trades_per_s, seed, Path(made))


def run_quietly(case: Case, seconds: float, trades_per_s: int, seed: int) -> Run:
    """Run one case, again (twice) where other processes had too much of the machine."""
    found = run(case, seconds, trades_per_s, seed)
    for _ in range(2):
        if found.is_noisy:
            found = run(case, seconds, trades_per_s, seed)
    return found


def tape(start_ns: int, seconds: float, trades_per_s: int, seed: int) -> pa.Table:
    """Return trades that are all the same time apart."""
    count, step = int(seconds * trades_per_s), _SECOND // trades_per_s
    ticks = [80_000 + (number * 7919 + seed) % 41 + number // 997 % 200 for number in range(count)]
    columns = {
        "ts_event": pa.array(range(start_ns, start_ns + count * step, step), pa.int64()),
        "price": [each / 4 for each in ticks],
        "volume": [1 + number % 5 for number in range(count)],
        "side": pa.array([number % 2 for number in range(count)], pa.int8()),
    }
    return pa.table(columns)


async def _run(case: Case, seconds: float, trades_per_s: int, seed: int, folder: Path) -> Run:
    start_ns = (time.time_ns() // _SECOND + 2) * _SECOND
    played = tape(start_ns, seconds, trades_per_s, seed)
    live = Live(seconds, start_ns, _SECOND // trades_per_s, array("q", bytes(8 * played.num_rows)))
    async with open_simulator(port=None, seed=seed, replay=played, contract=CONTRACT) as sim:
        config = attrs.evolve(px.GatewayConfig.simulated(sim.url), connect=sim.connect, limits=PROMPT)
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(px.open_gateway(config))
            other = await stack.enter_async_context(_BESIDE[case](gateway, sim, folder, live))
            statistics = await _stream(gateway, sim, live, other)
            left = trio.current_time()
        exit_s = trio.current_time() - left
        truth = sim.truth()
        assert sim.statistics().crashes == 0
    sound = judge(live.received, truth)
    wrong = other.wrong(sound.trades)
    seconds_bars = [
        bar for bar in live.bars if bar.timeframe == "1s" and getattr(bar, "source", "live") == "live"
    ]
    tail = sim_tail(live, truth)
    if tail:
        wrong.append(f"{tail} trades at the end did not come")
    return Run(
        case, sound.trades, sound.missing, sound.gaps, len(live.bars), judge_bars(seconds_bars, truth),
        Spread.of(live.trade_ns), Spread.of(_bar_ns(live)), live.backlog, round(live.late_ms, 1), _grown(live.memory),
        round(exit_s, 2), round(live.cpu_wait_s, 2), seconds, statistics.market.ledger.balanced, other.told(),
        tuple(wrong),
    )  # fmt: skip


def sim_tail(live: Live, truth: pa.Table) -> int:
    """Return how many trades of the truth are younger than the last that came."""
    return sum(
        ts > live.received.last_ts
        for ts in truth["ts_event"].slice(max(0, truth.num_rows - 5000)).to_pylist()
    )


def _grown(memory: list[float]) -> float:
    """Return how much more memory the last third took than the second, at their lowest (MiB)."""
    third = len(memory) // 3
    if not third:
        return 0.0
    return round(min(memory[-third:]) - min(memory[third : 2 * third]), 1)


async def _stream(gateway: px.Gateway, sim: Simulator, live: Live, other: Other) -> px.GatewayStatistics:
    waited_s = _cpu_wait_s()
    async with (
        gateway.open_trades(CONTRACT, events=True, capacity=1 << 17) as trades,
        gateway.open_bars(CONTRACT, *FRAMES, events=True, capacity=1 << 16) as bars,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_take_trades, trades, live, other)
        nursery.start_soon(_take_bars, bars, live)
        nursery.start_soon(_watch, sim, live)
        with trio.move_on_after(live.seconds * 2 + 30):
            await sim.replay_done.wait()
            await trio.sleep(1.0)
        statistics = gateway.statistics()
        nursery.cancel_scope.cancel()
    live.cpu_wait_s = _cpu_wait_s() - waited_s
    return statistics


async def _take_trades(trades: px.Stream[px.Trade | px.Gap], live: Live, other: Other) -> None:
    rows: list[px.Trade] = []
    async for item in trades:
        if not live.received.take(item):
            continue
        assert isinstance(item, px.Trade)
        live.trade_ns.append(time.time_ns() - item.ts_recv)
        live.read_at[live.number(item.ts_event)] = item.ts_recv
        if rows and (rows[-1].ts_recv != item.ts_recv or len(rows) >= 500):
            other.offer(rows)
            rows = []
        rows.append(item)


async def _take_bars(bars: px.Stream[px.Bar | px.BarRevised | px.Gap], live: Live) -> None:
    async for item in bars:
        if isinstance(item, px.Bar):
            live.bars.append(item)
            live.bars_at.append(time.time_ns())


def _bar_ns(live: Live) -> array[int]:
    """Return how long each bar took from the read of the trade that closed it; those that a gap closed have none."""
    found = array("q")
    for bar, at in zip(live.bars, live.bars_at, strict=True):
        number = live.closed_by(bar) if getattr(bar, "source", "live") == "live" else -1
        if 0 <= number < len(live.read_at) and live.read_at[number]:
            found.append(at - live.read_at[number])
    return found


async def _watch(sim: Simulator, live: Live) -> None:
    while True:
        due = trio.current_time() + 0.1
        await trio.sleep_until(due)
        live.late_ms = max(live.late_ms, (trio.current_time() - due) * 1000)
        state = sim.replay_state
        assert state is not None
        if state.sent:
            got = live.number(live.received.last_ts) + 1 if live.received.last_ts else 0
            live.backlog = max(live.backlog, state.sent - got) if got else live.backlog
            live.memory.append(_memory_mib())


def _cpu_wait_s() -> float:
    """Return how long this thread, the first of the process, has waited for a processor; 0 where nobody says."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / _SECOND
    except (OSError, IndexError):
        return 0.0


def _memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / (1 << 20)


# -- what is wrong beside the live path


class Other:
    """Nothing is wrong."""

    def offer(self, trades: list[px.Trade]) -> None:
        """Take what one read has brought."""

    def told(self) -> Beside:
        """Return what there is to tell."""
        return {}

    def wrong(self, trades: int) -> list[str]:
        """Return what did not go as it should; ``trades`` came."""
        return []


@asynccontextmanager
async def _nothing(gateway: px.Gateway, sim: Simulator, folder: Path, live: Live) -> AsyncGenerator[Other]:
    yield Other()


@attrs.define
class _Hung(Other):
    """Every request for bars hangs: of those who ask for history, and of the gaps that are to be filled."""

    handle: FaultHandle
    gateway: px.Gateway
    resets: int = 0
    asked: int = 0
    gave_up: int = 0
    answered: int = 0
    missing: int | None = None

    def told(self) -> Beside:
        counts = {"requests_hung": self.handle.struck, "asked": self.asked, "gave_up": self.gave_up}
        return {**counts, "resets": self.resets, "holes_at_the_end": self.missing}

    def wrong(self, trades: int) -> list[str]:
        wrong = ["no request hung"] if not self.handle.struck else []
        if self.answered:
            wrong.append(f"{self.answered} requests were answered")
        if self.missing == 0:
            wrong.append("there was no gap to be filled")
        return wrong


@asynccontextmanager
async def _hung_rest(gateway: px.Gateway, sim: Simulator, folder: Path, live: Live) -> AsyncGenerator[Other]:
    fault = Fault("hang", hub="rest", phase="rest", path="/api/history/*", count=0)
    hung = _Hung(sim.inject(fault), gateway)
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(_ask, hung, number)
        nursery.start_soon(_lose, hung, sim, live.seconds)
        try:
            yield hung
        finally:
            if hasattr(gateway, "coverage"):
                hung.missing = len(gateway.coverage(CONTRACT).missing)
            nursery.cancel_scope.cancel()


async def _ask(hung: _Hung, number: int) -> None:
    while True:
        hung.asked += 1
        try:
            await hung.gateway.history("MES", "1m", count=500 + number)
        except px.ConnectTimeout:
            hung.gave_up += 1
        else:
            hung.answered += 1


async def _lose(hung: _Hung, sim: Simulator, seconds: float) -> None:
    """Lose the market hub at a fifth and at two fifths of the time."""
    while (state := sim.replay_state) is not None and not state.sent:
        await trio.sleep(0.05)
    for _ in range(2):
        await trio.sleep(seconds / 5)
        sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        hung.resets += 1


class FullDisk(Disk):
    """A real disk that has room for a megabyte."""

    def __init__(self) -> None:
        self.room = _ROOM

    def write(self, fd: int, data: bytes) -> int:
        """Write what fits."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(fd, data[: self.room])
        self.room -= written
        return written


class HungDisk(Disk):
    """A disk whose sync does not return, from the second one on, until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.syncs = 0

    def sync(self, fd: int) -> None:
        """Wait."""
        self.syncs += 1
        if self.syncs > 1:
            self.go_on.wait()
        super().sync(fd)


@attrs.define
class _Recorded(Other):
    """A recorder is given every trade, and its disk fails."""

    recorder: Recorder
    folder: Path
    events: list[object]
    is_fed: bool = True
    """Whether this hands the trades over; a gateway's recorder takes them itself, and all else that comes."""
    found: int | None = None

    def offer(self, trades: list[px.Trade]) -> None:
        if not self.is_fed:
            return
        columns = zip(
            *((t.ts_event, GRID.ticks(t.price), t.volume, int(t.side)) for t in trades), strict=True
        )
        ts, ticks, volume, side = map(list, columns)
        batch = TradeBatch(CONTRACT, ts, [each or 0 for each in ticks], volume, side, trades[0].ts_recv)
        self.recorder.trades(batch, GRID)

    def told(self) -> Beside:
        counts = attrs.asdict(self.recorder.statistics())
        kinds = {type(event).__name__ for event in self.events}
        return {"journal": counts, "told": sorted(kinds), "events": len(self.events), "read_back": self.found}

    def wrong(self, trades: int) -> list[str]:
        counts = self.recorder.statistics()
        wrong = []
        if counts.offered != counts.written + counts.lost + counts.waiting + counts.in_hand:
            wrong.append(f"the journal's rows do not add up: {counts}")
        if not counts.lost or not counts.written or not self.events:
            wrong.append(f"nothing failed, or nothing was told of it: {counts}, {self.events[:2]}")
        if self.found is None or self.found < counts.written:
            wrong.append(f"{counts.written} rows were acknowledged, and {self.found} can be read")
        return wrong


@asynccontextmanager
async def _recording(folder: Path, disk: Disk, options: JournalOptions) -> AsyncGenerator[_Recorded]:
    events: list[object] = []
    async with open_recorder(folder / "journal", options=options, tell=events.append, disk=disk) as recorder:
        recorded = _Recorded(recorder, folder, events)
        yield recorded
    recorded.found = _read_back(folder / "journal")


@asynccontextmanager
async def _recording_all(
    gateway: px.Gateway, folder: Path, options: JournalOptions
) -> AsyncGenerator[_Recorded]:
    """Record by the gateway's own recorder: frames too, where there is one."""
    events: list[object] = []
    async with gateway.open_events(capacity=10_000) as told, trio.open_nursery() as nursery:
        nursery.start_soon(_note, told, events)
        async with gateway.open_recorder(folder / "journal", options=options) as recorder:
            recorded = _Recorded(recorder, folder, events, is_fed=False)
            yield recorded
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    recorded.found = _read_back(folder / "journal")


async def _note(told: px.Stream[px.GatewayEvent | px.Dropped], events: list[object]) -> None:
    async for event in told:
        if type(event).__name__.startswith("Journal"):
            events.append(event)


def _read_back(root: Path) -> int:
    """Return how many rows can be read; of trades, each once and in order."""
    rows = dataset(root, "trades").to_table(columns=["ts_event"])["ts_event"].to_pylist()
    assert rows == sorted(set(rows)), "a row is there twice, or out of order"
    return len(rows) + sum(dataset(root, kind).count_rows() for kind in KINDS if kind != "trades")


@asynccontextmanager
async def _full_disk(gateway: px.Gateway, sim: Simulator, folder: Path, live: Live) -> AsyncGenerator[Other]:
    options = JournalOptions(retry_s=1.0, sync_s=0.2, close_s=1.0)
    is_small = os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize <= 4 * _ROOM
    if not is_small:
        recording = _recording(folder, FullDisk(), options)
    elif hasattr(gateway, "open_recorder"):
        recording = _recording_all(gateway, folder, options)
    else:
        recording = _recording(folder, Disk(), options)
    async with recording as recorded:
        yield recorded


@asynccontextmanager
async def _hung_disk(gateway: px.Gateway, sim: Simulator, folder: Path, live: Live) -> AsyncGenerator[Other]:
    disk = HungDisk()
    options = JournalOptions(sync_s=0.2, close_s=1.0, slow_s=0.5, queue_rows=100_000)
    try:
        async with _recording(folder, disk, options) as recorded:
            yield recorded
    finally:
        disk.go_on.set()


_BESIDE: Final = {
    "plain": _nothing,
    "hung-rest": _hung_rest,
    "full-disk": _full_disk,
    "hung-disk": _hung_disk,
}


# -- a disk that is full for real


def run_on_small_disk(seconds: float, trades_per_s: int, seed: int) -> tuple[Beside, list[str]] | None:
    """Run "full-disk" on a file system of 1 MB in a process of its own; None where that cannot be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        script = 'mount -t tmpfs -o size=1m,mode=0700 tmpfs "$0" && exec "$@"'
        numbers = [str(each) for each in (seconds, trades_per_s, seed)]
        command = ["unshare", "-rm", "sh", "-c", script, folder, sys.executable, __file__, folder, *numbers]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except FileNotFoundError:
            return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return None if "mount" in done.stderr or "unshare" in done.stderr else ({}, [done.stderr[-2000:]])
    found = json.loads(lines[-1])
    return found["figures"], found["wrong"]


def main(arguments: Iterable[str]) -> None:
    """Run "plain" and "full-disk" in the folder that is named, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("trades_per_s", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args(list(arguments))
    how = options.seconds, options.trades_per_s, options.seed
    before = run_quietly("plain", *how)
    found = run("full-disk", *how, folder=options.folder)
    after = run_quietly("plain", *how)
    print(
        json.dumps({"figures": attrs.asdict(found), "wrong": found.faults(before, after)}, default=str),
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
