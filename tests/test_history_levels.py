"""The three levels as a doubter meets them: cancelled, failing, hanging, two at once, of another tier or version."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import trio
from history_tools import DAY, HOUR, INSTRUMENT, MINUTE, MNQ, SECOND, T0, FakeService, candle, wire
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import AuthError, CacheQuarantined
from trio_projectx.connection.answers import BarsQuestion, WireCandle
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history import levels as levels_module
from trio_projectx.history import store as store_module
from trio_projectx.history.cache import CachedFetcher
from trio_projectx.history.candles import Candle
from trio_projectx.history.fetch import Fetcher, Progress
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.levels import Levels
from trio_projectx.history.ring import Ring
from trio_projectx.history.store import BarStore, Stored
from trio_projectx.history.units import MINUTE as MINUTES
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.writer import Claim

BARS = [candle(T0 + n * MINUTE) for n in range(3 * 1440) if n % 11]
LATER = T0 + 90 * DAY
STORES: list[BarStore] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while STORES:
        STORES.pop().close()


def fetcher(
    root: Path | None,
    service: object,
    now: int = LATER,
    live: bool | None = False,
    disk: Disk | None = None,
    tell: object = None,
) -> CachedFetcher:
    """One of a process of its own: the ones before it have ended."""
    while STORES:
        STORES.pop().close()
    store = None
    if root is not None:
        store = BarStore(root, disk)
        STORES.append(store)
    levels = Levels(store, Ring(20_000), lambda: now, tell)  # type: ignore[arg-type]
    return CachedFetcher(Fetcher(service, live=live), levels, lambda: now)  # type: ignore[arg-type]


async def get(source: CachedFetcher, start: int = T0, end: int = T0 + 3 * DAY) -> list[Candle]:
    return (await source.fetch(INSTRUMENT, MINUTES, start, end)).candles


def inside(start: int, end: int, bars: list[Candle] = BARS) -> list[Candle]:
    return [bar for bar in bars if start <= bar.start < end]


def covered(root: Path) -> Intervals:
    ledger = BarStore(root).ledger(MNQ, MINUTES)  # it only reads
    return Intervals() if ledger is None else ledger.covered


def temporary(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))


# Memory


async def test_memory_is_a_level_also_without_a_disk(autojump_clock: object) -> None:
    service = FakeService(BARS)
    source = fetcher(None, service)
    assert await get(source) == BARS
    service.asked.clear()
    assert await get(source, T0 + DAY, T0 + 2 * DAY) == inside(T0 + DAY, T0 + 2 * DAY)
    assert service.asked == []


async def test_of_a_time_that_goes_on_only_what_is_new_is_asked_for(autojump_clock: object) -> None:
    """The end of most requests is now; what lies behind it is known."""
    now = T0 + 2 * DAY
    service = FakeService(inside(T0, now))
    source = fetcher(None, service, now)
    assert await get(source, T0, now) == service.bars
    known = service.bars[-1].start
    later = FakeService(inside(T0, now + HOUR))
    source = CachedFetcher(Fetcher(later, live=False), source._levels, lambda: now + HOUR)
    assert await get(source, T0, now + HOUR) == later.bars
    # The last quarter of an hour may have got a late trade since, as the very last bar has here.
    assert {question.start_ns for question in later.asked} == {known - 15 * MINUTE}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-60, 300), st.integers(-60, 300), st.integers(1, 80) | st.none(), st.integers(0, 60)
        ),
        min_size=1,
        max_size=7,
    ),
    st.integers(5, 300),
    st.integers(2, 60),
    st.booleans(),
)
def test_the_levels_together_say_what_the_service_says(
    asks: list[tuple[int, int, int | None, int]], ring: int, cap: int, inclusive: bool
) -> None:
    """Any order of requests, by time and by count, while time goes on and the last bar is forming."""
    everything = [candle(T0 + n * MINUTE) for n in range(240) if n % 5 and not 100 < n < 130]

    now = T0 + 60 * MINUTE

    def clock() -> int:
        return now

    async def main() -> None:
        nonlocal now
        levels = Levels(None, Ring(ring), clock)
        for start, end, count, goes in asks:
            now += goes * MINUTE // 2
            bars = [bar for bar in everything if bar.start <= now]
            if bars:  # one that is forming has not seen all of its trades
                last = bars[-1]
                forming = last.start + MINUTE > now
                bars[-1] = (
                    Candle(last.start, last.open, last.open, last.open, last.open, 1) if forming else last
                )
            service = FakeService(bars, cap=cap, inclusive=inclusive)
            source = CachedFetcher(Fetcher(service, live=False), levels, clock)
            low, high = T0 + start * MINUTE, T0 + end * MINUTE
            found = await source.fetch(INSTRUMENT, MINUTES, low, high, count=count)
            expected = [bar for bar in bars if low <= bar.start < high]
            assert found.candles == [bar for bar in expected if bar.start >= found.known_from]
            assert len(found.candles) >= (len(expected) if count is None else min(count, len(expected)))
            assert found.known_from == max(low, T0 - 60 * MINUTE) or count is not None or low >= high

    trio.run(main)


# What is not kept


async def test_an_answer_without_bars_is_never_kept(tmp_path: Path) -> None:
    """An empty success may come of a service, or an account, that does not show what there is."""
    service = FakeService([])
    source = fetcher(tmp_path, service)
    assert await get(source) == []
    assert not covered(tmp_path)
    service.bars, service._folded = BARS, {}
    assert await get(source) == BARS


async def test_a_time_long_before_the_first_bar_is_asked_for_again(tmp_path: Path) -> None:
    """The service shows minutes of 63 days; that there were none before is not for ever."""
    service = FakeService(inside(T0 + 2 * DAY, T0 + 3 * DAY))
    await get(fetcher(tmp_path, service), T0 - 3 * DAY, T0 + 3 * DAY)
    assert list(covered(tmp_path)) == [(service.bars[0].start, T0 + 3 * DAY)]
    whole = FakeService(BARS)
    assert await get(fetcher(tmp_path, whole), T0 - 3 * DAY, T0 + 3 * DAY) == BARS


async def test_a_time_long_after_the_last_bar_is_asked_for_again(tmp_path: Path) -> None:
    service = FakeService(inside(T0, T0 + DAY))
    await get(fetcher(tmp_path, service), T0, T0 + 20 * DAY)
    assert list(covered(tmp_path)) == [(T0, service.bars[-1].start + MINUTE)]
    assert await get(fetcher(tmp_path, FakeService(BARS)), T0, T0 + 20 * DAY) == BARS


async def test_a_weekend_is_known_to_be_one(tmp_path: Path) -> None:
    bars = [*inside(T0, T0 + DAY), *inside(T0 + 2 * DAY + HOUR, T0 + 3 * DAY)]
    service = FakeService(bars)
    await get(fetcher(tmp_path, service), T0 - DAY, T0 + 3 * DAY)
    service.asked.clear()
    again = fetcher(tmp_path, service)
    assert await get(again, T0 - DAY, T0 + 3 * DAY) == bars
    assert await get(again, T0 + DAY, T0 + 2 * DAY) == []
    assert service.asked == []


async def test_the_time_of_a_bad_bar_is_asked_for_again(tmp_path: Path) -> None:
    """Else a bar that was off the grid once would be missing for good, and untold the second time."""
    bad = BARS[100]
    service = FakeService([bar for bar in BARS if bar is not bad])
    crooked = wire(bad)
    crooked.h = 1.0
    service.extra = [crooked]
    found = await fetcher(tmp_path, service).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)
    assert (len(found.candles), found.faults.total() > 0) == (len(BARS) - 1, True)
    for again, missing in ((service, 1), (FakeService(BARS), 0), (FakeService([]), 0)):
        again.asked.clear()
        found = await fetcher(tmp_path, again).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)
        assert len(found.candles) == len(BARS) - missing
        assert bool(found.faults) is bool(missing)
        assert all(bad.start <= q.start_ns and q.end_ns <= bad.start + MINUTE + SECOND for q in again.asked)


# Cancelled, failing, hanging


class Stopping:
    """A service that stops answering after so many pages."""

    def __init__(self, service: FakeService, pages: int, error: Exception | None = None) -> None:
        self._service, self._pages, self._error = service, pages, error

    async def __call__(self, question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        if len(self._service.asked) >= self._pages:
            if self._error is not None:
                raise self._error
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return await self._service(question, urgency)


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_what_came_before_it_was_cancelled_or_failed_is_kept(tmp_path: Path, how: str) -> None:
    service = FakeService(BARS, cap=500)
    told: list[Progress] = []
    error = AuthError("no") if how == "refused" else None
    source = fetcher(tmp_path, Stopping(service, 4, error))
    with trio.CancelScope() as scope:

        def tell(progress: Progress) -> None:
            told.append(progress)
            if progress.pages == 4 and error is None:
                scope.cancel()

        try:
            await source.fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY, tell=tell)
        except AuthError:
            assert error is not None
    assert [each.pages for each in told] == [1, 2, 3, 4]  # each page is told, also with a cache
    assert [each.share for each in told] == sorted(each.share for each in told)
    (known,) = covered(tmp_path)
    assert known[1] == T0 + 3 * DAY
    assert known[0] <= BARS[-1900].start
    assert temporary(tmp_path) == []
    service.asked.clear()
    assert await get(fetcher(tmp_path, service)) == BARS
    assert all(question.end_ns <= known[0] for question in service.asked[:1])
    assert max(question.end_ns for question in service.asked) <= known[0]


class FailsAt(Disk):
    """Every call is counted; the n-th, and all that follow, fail."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")

    def make_folder(self, folder: Path) -> None:
        self._count()
        super().make_folder(folder)

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        self._count()
        return super().write(fd, data[:8_000])

    def sync(self, fd: int) -> None:
        self._count()
        super().sync(fd)

    def rename(self, path: Path, new: Path) -> None:
        self._count()
        super().rename(path, new)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        super().sync_folder(folder)


async def test_a_disk_that_fails_at_any_step_costs_no_bar_and_invents_none(tmp_path: Path) -> None:
    """The state that each step leaves is what a process that dies there leaves."""
    bars = inside(T0 + 18 * HOUR, T0 + 23 * HOUR)
    for step in range(40):
        root, service = tmp_path / str(step), FakeService(bars)
        await get(fetcher(root, service), T0 + 20 * HOUR, T0 + 22 * HOUR)
        disk = FailsAt(step)
        assert await get(fetcher(root, service, disk=disk), T0 + 18 * HOUR, T0 + 23 * HOUR) == bars
        after = covered(root)
        stored = BarStore(root).load(MNQ, MINUTES, T0, T0 + 3 * DAY)
        assert stored.covered == after
        assert stored.candles == [bar for bar in bars if after.covers(bar.start, bar.start + 1)]
        assert await get(fetcher(root, service), T0 + 18 * HOUR, T0 + 23 * HOUR) == bars
        if disk.left > 0:
            break
    assert 10 < step < 39


class Hangs(Disk):
    def __init__(self) -> None:
        self.go_on = threading.Event()

    def sync(self, fd: int) -> None:
        self.go_on.wait(20)


async def test_a_disk_that_hangs_holds_up_no_cancellation_and_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service, disk = FakeService(BARS), Hangs()
    source = fetcher(tmp_path, service, disk=disk)
    try:
        with trio.move_on_after(0.3) as scope:
            await get(source)
        assert scope.cancelled_caught  # within the two seconds that a last write gets, and no twenty
        monkeypatch.setattr(levels_module, "DISK_S", 0.2)
        assert await get(source) == BARS
        assert "has not answered in 0.2 s" in caplog.text
        assert await get(source, T0, T0 + 2 * DAY) == inside(T0, T0 + 2 * DAY)
    finally:
        disk.go_on.set()
    with trio.fail_after(10):
        while source._levels._threads.borrowed_tokens:
            await trio.sleep(0.01)
    source._levels.close()
    assert await get(fetcher(tmp_path, service)) == BARS


# Several at once


async def test_several_that_ask_for_the_same_time_do_no_harm(tmp_path: Path) -> None:
    service = FakeService(BARS, cap=700)
    source, found = fetcher(tmp_path, service), []

    async def one(start: int, end: int) -> None:
        found.append(await get(source, start, end) == inside(start, end))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, T0 + number % 3 * HOUR, T0 + 3 * DAY - number // 3 * HOUR)
    assert found == [True] * 6
    service.asked.clear()
    assert await get(fetcher(tmp_path, service)) == BARS
    assert service.asked == []


async def test_two_gateways_write_in_turns_and_lose_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_TURNS", 500)  # however busy this machine is
    service = FakeService(BARS)
    stores = [BarStore(tmp_path), BarStore(tmp_path)]
    sources = [
        CachedFetcher(Fetcher(service, live=False), Levels(store, Ring(20_000), lambda: LATER), lambda: LATER)
        for store in stores
    ]

    async def work(source: CachedFetcher, offset: int) -> None:
        for hour in range(offset, 40, 2):
            low, high = T0 + hour * HOUR, T0 + (hour + 1) * HOUR
            assert await get(source, low, high) == inside(low, high)

    async with trio.open_nursery() as nursery:
        for offset, source in enumerate(sources):
            nursery.start_soon(work, source, offset)
    assert covered(tmp_path).covers(BARS[0].start, T0 + 40 * HOUR)
    service.asked.clear()
    assert await get(sources[0], T0 + HOUR, T0 + 39 * HOUR) == inside(T0 + HOUR, T0 + 39 * HOUR)
    assert service.asked == []


async def test_who_finds_another_writing_only_reads_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_TURNS", 2)
    service = FakeService(BARS)
    assert BarStore(tmp_path).save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), inside(T0, T0 + DAY))
    other = Claim(tmp_path / "bars", Disk())  # in the middle of writing
    try:
        second = fetcher(tmp_path, service)
        assert await get(second) == BARS
        assert min(question.start_ns for question in service.asked) >= T0 + DAY  # it reads what is there
        assert list(covered(tmp_path)) == [(T0, T0 + DAY)]  # and writes nothing
        text = "another gateway writes into the cache of bars; this one only reads meanwhile"
        assert caplog.text.count(text) == 1
    finally:
        other.release()
    assert await get(fetcher(tmp_path, service)) == BARS
    assert list(covered(tmp_path)) == [(T0, T0 + 3 * DAY)]


CHILD = """
import sys, time
from pathlib import Path
from history_tools import DAY, MINUTE, MNQ, T0, candle
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.store import BarStore, Stored
from trio_projectx.history.units import MINUTE as MINUTES
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.writer import Claim
from trio_projectx.journal.writer import Claim
root = Path(sys.argv[1])
bars = [candle(T0 + n * MINUTE) for n in range(1440) if n % 11]
BarStore(root).save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), bars)
claim = Claim(root / "bars", Disk())
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_writes_leaves_the_right_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_TURNS", 2)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdout is not None
    store = BarStore(tmp_path)
    try:
        assert process.stdout.readline() == b"ready\n"
        more = Intervals([(T0 + DAY, T0 + 2 * DAY)])
        assert not store.save(MNQ, MINUTES, more, inside(T0 + DAY, T0 + 2 * DAY))
        assert store.load(MNQ, MINUTES, T0, T0 + DAY).candles == inside(T0, T0 + DAY)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert store.save(MNQ, MINUTES, more, inside(T0 + DAY, T0 + 2 * DAY))
        assert store.load(MNQ, MINUTES, T0, T0 + 3 * DAY).candles == inside(T0, T0 + 2 * DAY)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_a_reader_never_sees_time_promised_whose_bars_are_not_there(tmp_path: Path) -> None:
    writer, reader, done = BarStore(tmp_path), BarStore(tmp_path), threading.Event()

    def write() -> None:
        rng = random.Random(5)
        while not done.is_set():
            low = rng.randrange(70)
            start, end = T0 + low * HOUR, T0 + (low + 1) * HOUR
            writer.save(MNQ, MINUTES, Intervals([(start, end)]), inside(start, end))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(60):
            stored = reader.load(MNQ, MINUTES, T0, T0 + 3 * DAY)
            assert stored.candles == [bar for bar in BARS if stored.covered.covers(bar.start, bar.start + 1)]
    finally:
        done.set()
        thread.join()
        writer.close()
    assert reader.take_damages() == []


# Damage


async def test_a_file_is_judged_by_what_it_holds_and_told(tmp_path: Path) -> None:
    service = FakeService(BARS)
    told: list[CacheQuarantined] = []
    await get(fetcher(tmp_path, service))
    (path,) = tmp_path.rglob("*.parquet")  # noqa: ASYNC240
    good, mode = path.read_bytes(), path.stat().st_mode & 0o777
    assert mode == 0o600
    table = pq.read_table(path)  # type: ignore[no-untyped-call]
    nulls = table.set_column(1, "open", [[None] * table.num_rows])
    bad = [
        table.take(list(range(table.num_rows))[::-1]),
        nulls.cast(table.schema),
        table.drop_columns("volume"),
    ]
    for number, each in enumerate([*bad, None, b"", good[: len(good) // 2]]):
        if each is None:
            pq.write_table(table.replace_schema_metadata(None), path)  # type: ignore[no-untyped-call]
        elif isinstance(each, bytes):
            path.write_bytes(each)
        else:
            pq.write_table(each, path)  # type: ignore[no-untyped-call]
        service.asked.clear()
        assert await get(fetcher(tmp_path, service, tell=told.append)) == BARS
        assert service.asked
        assert len(told) == number + 1
        assert len(list((tmp_path / "quarantine").iterdir())) == number + 1  # none takes the place of another
    assert {each.name for each in told} == {str(path.relative_to(tmp_path))}
    assert all(each.reason for each in told)


def test_the_ledger_on_disk_does_not_promise_what_is_damaged_any_more(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    STORES.append(store)
    store.save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), inside(T0, T0 + DAY))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    assert store.load(MNQ, MINUTES, T0, T0 + DAY).candles == []
    assert not covered(tmp_path)


def test_a_hole_in_what_is_saved_is_one_also_where_something_was_known(tmp_path: Path) -> None:
    store, end = BarStore(tmp_path), T0 + DAY
    STORES.append(store)
    store.save(MNQ, MINUTES, Intervals([(T0, end)]), inside(T0, end))
    parts = Intervals([(T0, T0 + HOUR), (T0 + 2 * HOUR, T0 + 3 * HOUR)])
    store.save(MNQ, MINUTES, parts, inside(T0, T0 + HOUR) + inside(T0 + 2 * HOUR, T0 + 3 * HOUR))
    assert list(covered(tmp_path)) == [(T0, T0 + HOUR), (T0 + 2 * HOUR, end)]


@pytest.mark.parametrize("month", ["2026-08", "2026-09", "2026-10"])
async def test_one_damaged_month_of_several_leaves_no_hole(tmp_path: Path, month: str) -> None:
    bars = [candle(T0 + n * HOUR) for n in range(60 * 24)]
    service = FakeService(bars)
    await get(fetcher(tmp_path, service), T0, T0 + 60 * DAY)
    (path,) = tmp_path.rglob(f"{month}.parquet")  # noqa: ASYNC240
    path.write_bytes(path.read_bytes()[:-9])
    service.asked.clear()
    assert await get(fetcher(tmp_path, service), T0, T0 + 60 * DAY) == bars
    assert len(service.asked) in (1, 2)  # of that month alone


async def test_who_may_not_write_leaves_a_damaged_file_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_TURNS", 2)
    service = FakeService(BARS)
    await get(fetcher(tmp_path, service))
    (path,) = tmp_path.rglob("*.parquet")  # noqa: ASYNC240
    path.write_bytes(path.read_bytes()[:-9])
    service.asked.clear()
    other = Claim(tmp_path / "bars", Disk())
    assert await get(fetcher(tmp_path, service)) == BARS
    other.release()
    assert service.asked
    assert path.exists()
    assert not (tmp_path / "quarantine").exists()


def test_what_another_process_has_mended_meanwhile_is_taken(tmp_path: Path) -> None:
    """Between a look at a damaged file and the right to write the other one has written it anew."""
    reader, writer = BarStore(tmp_path), BarStore(tmp_path)
    day = Intervals([(T0, T0 + DAY)])
    writer.save(MNQ, MINUTES, day, inside(T0, T0 + DAY))
    (path,) = tmp_path.rglob("*.parquet")
    good = path.read_bytes()
    path.write_bytes(good[:-9])

    class Slow(Disk):
        def make_folder(self, folder: Path) -> None:  # the first step to the right to write
            path.write_bytes(good)
            super().make_folder(folder)

    reader._disk = Slow()
    assert reader.load(MNQ, MINUTES, T0, T0 + DAY) == Stored(inside(T0, T0 + DAY), day)
    assert reader.take_damages() == []
    assert list(covered(tmp_path)) == list(day)


def test_a_reader_touches_nothing(tmp_path: Path) -> None:
    BarStore(tmp_path).save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), inside(T0, T0 + DAY))
    (path,) = tmp_path.rglob("coverage.json")
    path.write_text("{")
    before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
    reader = BarStore(tmp_path, is_reader=True)
    assert list(reader.shelves()) == []
    assert reader.load(MNQ, MINUTES, T0, T0 + DAY).candles == []
    assert not reader.save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), [])
    assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before
    assert [each.is_moved for each in reader.take_damages()] == [False, False]


# Tiers and versions


async def test_bars_of_two_tiers_are_never_in_one_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = [candle(bar.start, 9) for bar in BARS]
    await get(fetcher(tmp_path, FakeService(BARS)), T0, T0 + 2 * DAY)
    service = FakeService(other, tier=True)
    open_ = fetcher(tmp_path, service, live=None)  # the account has changed, and nobody knows yet
    assert await get(open_) == other
    assert open_.tier is True
    assert "were of live=False; they go" in caplog.text
    service.asked.clear()
    again = fetcher(tmp_path, service, live=None)
    assert await get(again) == other
    assert (again.tier, service.asked) == (True, [])
    assert await get(fetcher(tmp_path, FakeService(BARS), live=False)) == BARS


@pytest.mark.parametrize("what", ["ledger", "bars"])
async def test_what_a_later_version_has_written_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    service = FakeService(BARS)
    await get(fetcher(tmp_path, service))
    if what == "ledger":
        (path,) = tmp_path.rglob("coverage.json")  # noqa: ASYNC240
        assert json.loads(path.read_text())["format"] == 1
        path.write_text('{"format":2,"spans":"something else"}')
    else:
        (path,) = tmp_path.rglob("*.parquet")  # noqa: ASYNC240
        table = pq.read_table(path)  # type: ignore[no-untyped-call]
        assert table.schema.metadata[b"trio_projectx.bars"] == b"1"
        marks = {**table.schema.metadata, b"trio_projectx.bars": b"2"}
        pq.write_table(table.replace_schema_metadata(marks), path)  # type: ignore[no-untyped-call]
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}  # noqa: ASYNC240
    service.asked.clear()
    source = fetcher(tmp_path, service)
    for _ in range(2):
        assert await get(source) == BARS
        assert await get(source, T0 - DAY, T0 + DAY) == inside(T0, T0 + DAY)
    assert service.asked
    assert before == {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}  # noqa: ASYNC240
    assert caplog.text.count("a later version has written") == 1


def test_shelves_are_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.save(MNQ, MINUTES, Intervals([(T0, T0 + DAY)]), inside(T0, T0 + DAY))
    for strange in ("contract=../unit=1m", "contract=CON.F.US.MNQ.Z26/unit=1x", "contract=x/unit=1m"):
        folder = tmp_path / "bars" / strange
        folder.mkdir(parents=True)
        (folder / "coverage.json").write_text('{"format":1,"live":false,"covered":[]}')
    (shelf,) = store.shelves()
    store.close()
    assert (shelf.contract_id, shelf.unit, list(shelf.ledger.covered)) == (MNQ, "1m", [(T0, T0 + DAY)])
