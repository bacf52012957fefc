"""Memory, disk, service: what is there is not asked again, and what is not final is not kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from history_tools import DAY, INSTRUMENT, MINUTE, MNQ, SECOND, T0, FakeService, candle
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ContractError
from trio_projectx.bars import Anchor
from trio_projectx.history.cache import CachedFetcher
from trio_projectx.history.candles import Candle
from trio_projectx.history.fetch import Fetcher, Progress
from trio_projectx.history.history import History
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.levels import Levels
from trio_projectx.history.ring import Ring
from trio_projectx.history.store import BarStore
from trio_projectx.history.units import MINUTE as MINUTES
from trio_projectx.history.units import SECOND as SECONDS
from trio_projectx.journal.disk import Disk

UTC = Anchor.utc()
BARS = [candle(T0 + n * MINUTE) for n in range(3 * 1440) if n % 11]
LATER = T0 + 90 * DAY


def cached(root: Path, service: FakeService, now: int = LATER, ring: int = 20_000) -> CachedFetcher:
    return over(root, Fetcher(service, live=False), now, ring)


def opened(root: Path, disk: Disk | None = None) -> BarStore:
    """A store of another process: the one before it has ended, and let others write."""
    close_all()
    STORES.append(BarStore(root, disk))
    return STORES[-1]


STORES: list[BarStore] = []


def close_all() -> None:
    while STORES:
        STORES.pop().close()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def over(
    root: Path | None, fetcher: Fetcher, now: int = LATER, ring: int = 20_000, disk: Disk | None = None
) -> CachedFetcher:
    store = None if root is None else opened(root, disk)
    return CachedFetcher(fetcher, Levels(store, Ring(ring), lambda: now), lambda: now)


def covered(root: Path) -> Intervals:
    ledger = BarStore(root).ledger(MNQ, MINUTES)  # it only reads
    return Intervals() if ledger is None else ledger.covered


async def get(fetcher: CachedFetcher, start: int, end: int) -> list[Candle]:
    return (await fetcher.fetch(INSTRUMENT, MINUTES, start, end)).candles


async def test_what_was_had_is_not_asked_again_not_even_by_the_next_process(tmp_path: Path) -> None:
    service = FakeService(BARS)
    first = await cached(tmp_path, service).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)
    assert first.candles == BARS
    assert first.pages == len(service.asked) > 0
    asked = len(service.asked)
    again = cached(tmp_path, service)
    for _ in range(2):  # of the disk, then of memory
        found = await again.fetch(INSTRUMENT, MINUTES, T0 + DAY, T0 + 2 * DAY)
        assert found.candles == [bar for bar in BARS if T0 + DAY <= bar.start < T0 + 2 * DAY]
        assert (found.pages, len(service.asked)) == (0, asked)


async def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    service = FakeService(BARS)
    fetcher = cached(tmp_path, service)
    for day in (0, 2):
        await fetcher.fetch(INSTRUMENT, MINUTES, T0 + day * DAY, T0 + (day + 1) * DAY)
    service.asked.clear()
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)).candles == BARS
    assert {(q.start_ns >= T0 + DAY, q.end_ns <= T0 + 2 * DAY) for q in service.asked} == {(True, True)}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-60, 300), st.integers(-60, 300)), min_size=1, max_size=6),
    st.integers(5, 400),
)
def test_with_a_cache_it_is_what_it_is_without(asks: list[tuple[int, int]], ring: int) -> None:
    import tempfile

    bars = [candle(T0 + n * MINUTE) for n in range(240) if n % 5]

    async def main(root: Path) -> None:
        fetcher = cached(root, FakeService(bars, cap=50), ring=ring)
        for start, end in asks:
            low, high = T0 + start * MINUTE, T0 + end * MINUTE
            found = await fetcher.fetch(INSTRUMENT, MINUTES, low, high)
            assert found.candles == [bar for bar in bars if low <= bar.start < high]

    with tempfile.TemporaryDirectory() as folder:
        try:
            trio.run(main, Path(folder))
        finally:
            close_all()


async def test_what_is_not_final_is_asked_again(tmp_path: Path) -> None:
    """The bar that is forming, and time in which nothing was traded yet, are not taken for known."""
    now = T0 + 600 * MINUTE + 30 * SECOND
    service = FakeService([bar for bar in BARS if bar.start < T0 + 601 * MINUTE])
    fetcher = cached(tmp_path, service, now)
    await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
    newest = service.bars[-1]
    final = newest.start - 15 * MINUTE
    assert covered(tmp_path).covers(T0, final)
    assert not covered(tmp_path).within(final, T0 + DAY)
    whole = FakeService(
        [
            *[bar for bar in service.bars if bar.start < final],
            # Late trades: of each that was over, too.
            *[candle(bar.start, volume=900) for bar in service.bars if bar.start >= final],
            *[bar for bar in BARS if bar.start > newest.start],
        ]
    )
    for again in (
        CachedFetcher(Fetcher(whole, live=False), fetcher._levels, lambda: now + DAY),
        cached(tmp_path, whole, now + DAY),
    ):
        found = await again.fetch(INSTRUMENT, MINUTES, T0, T0 + DAY)
        assert found.candles == [bar for bar in whole.bars if bar.start < T0 + DAY]
        assert all(q.start_ns >= final for q in whole.asked)


@pytest.mark.parametrize("where", ["parquet", "json", "gone"])
async def test_what_is_damaged_is_quarantined_and_asked_again(tmp_path: Path, where: str) -> None:
    service = FakeService(BARS)
    await cached(tmp_path, service).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)
    (path,) = tmp_path.rglob("*.json" if where == "json" else "*.parquet")  # noqa: ASYNC240
    if where == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 0xFF
        path.write_bytes(data[:-1])
    service.asked.clear()
    assert (await cached(tmp_path, service).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)).candles == BARS
    assert service.asked
    assert (tmp_path / "quarantine").exists() is (where != "gone")
    service.asked.clear()
    assert (await cached(tmp_path, service).fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)).candles == BARS
    assert not service.asked


class Full(Disk):
    def write(self, fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")


async def test_a_full_disk_costs_the_cache_and_not_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = FakeService(BARS)
    fetcher = over(tmp_path, Fetcher(service), disk=Full())
    assert (await fetcher.fetch(INSTRUMENT, MINUTES, T0, T0 + 3 * DAY)).candles == BARS
    assert "the cache of bars cannot be used (No space left on device)" in caplog.text
    assert covered(tmp_path).total() == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]  # noqa: ASYNC240


async def test_history_by_count_and_time_is_the_same_with_a_cache(tmp_path: Path) -> None:
    now = T0 + 3 * DAY
    service = FakeService(BARS)
    told: list[Progress] = []
    plain = History(Fetcher(service), lambda: now)
    quick = History(cached(tmp_path, service, now), lambda: now)
    for options in ({"count": 100}, {"count": 5000}, {"start": T0, "end": now}, {"count": 7}):
        expected = await plain.bars(INSTRUMENT, "5m", anchor=UTC, **options)  # type: ignore[arg-type]
        table = await quick.bars(INSTRUMENT, "5m", anchor=UTC, tell=told.append, **options)  # type: ignore[arg-type]
        assert table.equals(expected)
    assert told[-1].share == 1.0


def test_files_are_by_month_and_seconds_by_day(tmp_path: Path) -> None:
    store = opened(tmp_path)
    minutes = [candle(T0 + n * DAY) for n in range(40)]
    store.save(MNQ, MINUTES, Intervals([(T0, T0 + 40 * DAY)]), minutes)
    seconds = [candle(T0 + n * 40_000 * SECOND) for n in range(4)]
    store.save(MNQ, SECONDS, Intervals([(T0, T0 + 2 * DAY)]), random.sample(seconds, 4))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    folder = f"bars/contract={MNQ}"
    assert names == [
        f"{folder}/unit=1m/2026-08.parquet",
        f"{folder}/unit=1m/2026-09.parquet",
        f"{folder}/unit=1s/2026-08-18.parquet",
        f"{folder}/unit=1s/2026-08-19.parquet",
    ]
    assert store.load(MNQ, MINUTES, T0, T0 + 40 * DAY).candles == minutes
    assert store.load(MNQ, SECONDS, T0, T0 + 2 * DAY).candles == seconds
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.parquet")} == {0o600}
    with pytest.raises(ContractError):
        store.load("../../x", MINUTES, T0, T0 + 1)


def test_what_is_saved_again_takes_the_place_of_what_was(tmp_path: Path) -> None:
    store = opened(tmp_path)
    bars = [candle(T0 + n * MINUTE) for n in range(10)]
    store.save(MNQ, MINUTES, Intervals([(T0, T0 + 10 * MINUTE)]), bars)
    new = [candle(T0 + n * MINUTE, 5) for n in (3, 5)]
    store.save(MNQ, MINUTES, Intervals([(T0 + 3 * MINUTE, T0 + 6 * MINUTE)]), new)
    starts = [(bar.start - T0) // MINUTE for bar in store.load(MNQ, MINUTES, T0, T0 + DAY).candles]
    assert starts == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert store.load(MNQ, MINUTES, T0 + 3 * MINUTE, T0 + 6 * MINUTE).candles == new


def test_the_ring_keeps_the_youngest_and_no_hole() -> None:
    ring, key = Ring(5), ("c", "1m", False)
    bars = [candle(T0 + n * MINUTE) for n in range(20)]

    def at(*numbers: int) -> list[int]:
        return [T0 + number * MINUTE for number in numbers]

    ring.put(key, *at(0, 4), bars[:4])
    ring.put(key, *at(4, 8), bars[4:8])
    assert ring.span(key) == (T0 + 3 * MINUTE, T0 + 8 * MINUTE)
    assert ring.before(key, *at(2, 8)) == (T0 + 3 * MINUTE, bars[3:8])
    assert ring.before(key, *at(5, 7)) == (T0 + 5 * MINUTE, bars[5:7])
    assert ring.before(key, *at(5, 9)) is None
    assert ring.before(key, *at(0, 3)) is None
    assert ring.before(("c", "1m", True), *at(5, 7)) is None  # of the other tier
    ring.put(key, *at(0, 1), bars[:1])  # older, with a hole between: what is young stays
    assert ring.span(key) == (T0 + 3 * MINUTE, T0 + 8 * MINUTE)
    ring.put(key, *at(10, 12), bars[10:12])  # younger, with a hole between: what is young stays
    assert ring.span(key) == (T0 + 10 * MINUTE, T0 + 12 * MINUTE)
    ring.put(key, *at(8, 11), bars[8:11])  # pages come youngest first
    assert ring.before(key, *at(8, 12)) == (T0 + 8 * MINUTE, bars[8:12])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12), st.integers(1, 40))
def test_what_the_ring_gives_is_all_there_is(spans: list[tuple[int, int]], kept: int) -> None:
    ring, key = Ring(kept), ("c", "1m", False)
    bars = [candle(T0 + n * MINUTE) for n in range(30) if n % 4]
    for low, high in spans:
        start, end = T0 + low * MINUTE, T0 + high * MINUTE
        ring.put(key, start, end, [bar for bar in bars if start <= bar.start < end])
        s, e = ring.span(key)
        found = ring.before(key, s, e)
        assert found == ((s, [bar for bar in bars if s <= bar.start < e]) if s < e else None)
        assert found is None or len(found[1]) <= kept


def test_the_ring_is_bounded_over_all_contracts_and_forgets_the_one_used_longest_ago() -> None:
    ring, bars = Ring(100, most=250), [candle(T0 + n * MINUTE) for n in range(100)]
    keys = [(name, "1m", False) for name in "abcd"]
    for key in keys[:2]:
        ring.put(key, T0, T0 + 100 * MINUTE, bars)
    assert ring.before(keys[0], T0, T0 + MINUTE) is not None
    ring.put(keys[2], T0, T0 + 100 * MINUTE, bars)
    assert [ring.span(key) == (0, 0) for key in keys] == [False, True, False, True]
