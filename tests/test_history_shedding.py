"""History when memory is scarce: most of it, then all of it leaves memory, and what is bulk waits."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
from history_tools import FakeService, candle
from hypothesis import given
from hypothesis import strategies as st
from simulator_tools import START_NS
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.composition import open_parts
from trio_projectx.connection.answers import BarsQuestion
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.candles import Candle
from trio_projectx.history.fetch import Progress
from trio_projectx.history.levels import Levels
from trio_projectx.history.ring import Ring
from trio_projectx.history.shedding import HistoryShed
from trio_projectx.simulator import open_simulator

N, T, H, S, L = px.MemoryLevel
DAY = 86_400 * 10**9
MINUTE = 60 * 10**9
KEY = ("C", "1m", False)
QUESTION = BarsQuestion("C", 2, 1, 0, 10 * MINUTE, 10, live=False)


def minutes(count: int) -> list[Candle]:
    return [candle(n * MINUTE) for n in range(count)]


@given(st.lists(st.integers(1, 40), max_size=8), st.integers(0, 30), st.integers(0, 100))
def test_a_ring_that_shrinks_keeps_the_youngest_and_knows_from_when_on(
    sizes: list[int], bars_kept: int, most: int
) -> None:
    ring = Ring(100, 1000)
    for n, size in enumerate(sizes):
        ring.put((f"C{n}", "1m", False), 0, size * MINUTE, minutes(size))
    before = len(ring)
    assert ring.limit(bars_kept, most) == before - len(ring)
    held = [n for n in range(len(sizes)) if ring.span((f"C{n}", "1m", False)) != (0, 0)]
    assert len(ring) <= max(most, bars_kept)  # one is always kept whole
    for n in held:
        start, end = ring.span((f"C{n}", "1m", False))
        found = ring.before((f"C{n}", "1m", False), 0, end)
        assert found is not None
        assert found == (start, minutes(sizes[n])[-bars_kept:])
    if not bars_kept:
        assert len(ring) == 0
        ring.put(KEY, 0, MINUTE, minutes(1))
        assert len(ring) == 0


def made(*, is_on_disk: bool = False) -> tuple[HistoryShed, Ring, FakeService]:
    ring, service = Ring(20_000), FakeService(minutes(20))
    shed = HistoryShed(Levels(None, ring, lambda: 0), service, 20_000, is_on_disk=is_on_disk)
    return shed, ring, service


def test_each_level_has_its_size_and_says_what_it_changes() -> None:
    shed, ring, _ = made(is_on_disk=True)
    ring.put(KEY, 0, 6000 * MINUTE, minutes(6000))
    assert [shed.at(level) for level in (N, T, N)] == [(), (), ()]
    assert shed.at(H) == (
        "5,000 bars of history of each contract are kept in memory (1,000 went; the cache folder has them)",
    )
    assert (shed.at(H), len(ring)) == ((), 5000)
    gone, waits = shed.at(S)
    assert gone.startswith("0 bars of history of each contract are kept in memory (5,000 went; ")
    assert waits == "bulk requests for history wait"
    assert shed.at(L) == ()
    assert shed.at(T) == ("up to 20,000 bars of history of each contract are kept in memory again",)
    ring.put(KEY, 0, 6000 * MINUTE, minutes(6000))
    assert len(ring) == 6000


async def test_bulk_waits_and_what_live_streams_need_does_not(autojump_clock: MockClock) -> None:
    shed, _, service = made()
    shed.at(S)
    assert len(await shed.ask(QUESTION, Urgency.FILL)) == 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shed.ask, QUESTION, Urgency.BULK)
        await trio.sleep(30)
        assert len(service.asked) == 1
        shed.at(H)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.asked) == 2
    shed.at(S)
    with pytest.raises(
        px.ConnectTimeout, match="waits until memory is less scarce, for more than 60 s already"
    ):
        await shed.ask(QUESTION, Urgency.BULK)


@pytest.mark.slow
async def test_what_memory_gave_up_the_cache_folder_has(tmp_path: Path) -> None:
    """On the real clock, because the cache reads in a thread; the service is asked once."""
    reading = px.MemoryReading(100, 900, "a test")
    async with open_simulator(port=None, wall_clock=lambda: START_NS) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            connect=sim.connect,
            wall_clock=lambda: START_NS,
            history=px.HistoryOptions(cache=tmp_path),
            limits=px.Limits(bars_kept=1, stream_items=1),
            memory=px.MemoryOptions(read=lambda: attrs.evolve(reading, available=1 << 40)),
        )
        async with open_parts(config) as parts:
            tables, pages, left = [], [], []
            for _ in range(2):
                told: list[Progress] = []
                window = {"start": START_NS - 20 * DAY, "end": START_NS - 10 * DAY}
                tables.append(await parts.history.history("MNQ", "1h", tell=told.append, **window))  # type: ignore[arg-type]
                pages.append(told[-1].pages)
                left.append(parts.history.shed.at(S))  # bulk requests wait, and this one is none
            await parts.machine.disks.look()
            disks = parts.machine.health().disks
    assert tables[0].num_rows > 100
    assert tables[0].slice(0).to_pydict() == tables[1].to_pydict()
    assert pages[0] > 0
    assert pages[1] == 0
    assert "the cache folder has them" in left[0][0]
    assert [(disk.folder, disk.is_well) for disk in disks] == [(str(tmp_path), True)]
