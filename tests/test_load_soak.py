"""The soak in short, and what it would see: `nox -s soak` lets two days go by."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import heavy
import pyarrow as pa
import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim
from memory import Held, give_back
from rows import Row, Strike, fault_of, rows, strike
from soak import soak
from source import block
from spool import Compared, Spool, compare
from stack import Course, Reader, Watched, _drawn, drift_of, template
from trio.testing import MockClock
from world import open_elsewhere

import trio_projectx as px
from trio_projectx.simulator import Fault
from trio_projectx.simulator.faults.catalogue import SPECS

SECOND = 10**9
STRIKE_ROW = Row("tcp_reset", "stream", "market")
STRIKE = Strike(STRIKE_ROW, Fault("tcp_reset"), 0.0, 1.0, 1, (0, 0))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_hour_of_the_whole_stack_with_faults() -> None:
    found = soak("24x7", 1.0, 5)
    assert found.wrong == ()
    assert found.figures["faults"] == 4
    assert found.compared["bars"] > 3600


def test_the_same_seed_goes_the_same_way() -> None:
    one, again = (soak("cme", 1 / 6, 7) for _ in range(2))
    assert one.wrong == again.wrong == ()
    assert one.figures["faults"] == 1
    assert one.compared["bars"] > 250
    assert (one.digest, one.figures["events"]) == (again.digest, again.figures["events"])


# -- what it would see


def bar(frame: str, start: int, **changes: object) -> px.Bar:
    made = px.Bar(
        "C", px.Timeframe(frame), start * SECOND, (start + 1) * SECOND, 10.0, 12.0, 9.0, 11.0, 7, 3, None, 0, 0,
        10.0, start * SECOND, start * SECOND,
    )  # fmt: skip
    return attrs.evolve(made, **changes)  # type: ignore[arg-type]


def judged(folder: Path, bars: Sequence[px.Bar], lies: Sequence[tuple[int, int]] = ()) -> Compared:
    """Hold one-second bars against four seconds of a truth whose bars are all that of `bar`."""
    rows_ = [
        (start * SECOND + at, price, volume) for start in range(4) for at, (price, volume) in enumerate(TRUE)
    ]
    columns = [pa.array(column) for column in zip(*rows_, strict=True)]
    table = pa.table(
        [*columns, pa.array([0] * len(rows_), pa.int8())], names=["ts_event", "price", "volume", "side"]
    )
    with Spool(folder, ["1s"]) as spool:
        with pa.OSFile(str(spool.truth_path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        for each in bars:
            spool.take(each)
        return compare(spool, px.Anchor.utc(), 4 * SECOND, lies)


TRUE = [(10.0, 1), (12.0, 2), (9.0, 3), (11.0, 1)]
WHOLE = [bar("1s", start) for start in range(4)]


def test_bars_that_are_the_truths_are_right(tmp_path: Path) -> None:
    found = judged(tmp_path, [attrs.evolve(WHOLE[2], volume=1), *WHOLE])
    assert (found.bars, found.equal, found.first, found.wrong) == (4, 3, 1, ())


@pytest.mark.parametrize(
    "bars",
    [
        [*WHOLE[:2], WHOLE[3]],
        [*WHOLE, bar("1s", 2, volume=8)],
        [*WHOLE, bar("1s", 2, high=12.25)],
        [*WHOLE, bar("1s", 2, partial=True)],
        [*WHOLE, bar("1s", -1)],
    ],
    ids=["missing", "volume", "high", "partial", "made up"],
)
def test_a_bar_that_is_not_the_truths_is_seen(tmp_path: Path, bars: list[px.Bar]) -> None:
    assert "1 bars are not the truth's" in judged(tmp_path, bars).wrong


def test_where_the_wire_lied_a_bar_is_excused_and_counted(tmp_path: Path) -> None:
    bars = [*WHOLE, bar("1s", 2, volume=8)]
    found = judged(tmp_path, bars, [(2 * SECOND, 2 * SECOND + 5)])
    assert (found.excused, found.wrong) == (1, ())
    assert judged(tmp_path, bars, [(SECOND, SECOND + 5)]).wrong


def test_time_that_is_not_live_outside_faults_counts() -> None:
    watched = Watched(Course(1000.0, back_s=10.0), template("cme"), [], 0.0)
    watched.states = [(0.0, px.HubState.LIVE), (400.0, px.HubState.RECONNECTING), (410.0, px.HubState.LIVE)]
    assert watched.live_share(1000.0) == 0.99
    at = attrs.evolve(STRIKE, at=395.0, over=401.0)
    watched.strikes = [at]
    assert watched.live_share(1000.0) == 1.0


def test_memory_that_grows_after_the_warming_up_is_seen() -> None:
    flat = [(0.0, Held(100 + 50 * (at < 20), 1, 1)) for at in range(60)]
    assert drift_of(flat)[0] == 0
    growing = [(0.0, Held(100 + at, 1, 1)) for at in range(60)]
    assert drift_of(growing)[0] == 24


def test_names_that_python_remembers_are_given_back() -> None:
    give_back()
    before = sys.getallocatedblocks()
    names = [f"no {number}" for number in range(3000)]
    for name in names:
        getattr(Held, name, None)
    del names, name
    give_back()
    assert sys.getallocatedblocks() - before < 300


def test_a_reader_whose_counts_do_not_add_up_is_seen() -> None:
    class Stream:
        def statistics(self) -> px.StreamStatistics:
            return px.StreamStatistics("s", px.Overflow.DROP_OLDEST, 5, 10, 4, 0, 5, 2, 5, 0)

    reader = Reader(px.Overflow.DROP_OLDEST, 1.0, stream=Stream(), told=6)  # type: ignore[arg-type]
    balance, came, told = reader.faults()
    assert "balance" in balance
    assert "0 came" in came
    assert "6 told" in told


# -- what is done


class Nowhere:
    """A world in which nothing happens."""

    async def inject(self, fault: Fault) -> str:
        return "f1"

    async def struck(self, name: str) -> int:
        return 1

    async def clear(self) -> None:
        pass

    def now_ns(self) -> int:
        return 7 * SECOND


async def test_the_first_record_that_is_sent_twice_has_trades_of_the_step_before(
    autojump_clock: MockClock,
) -> None:
    row = Row("trades_duplicated", "stream", "market")
    found = await strike(Nowhere(), None, row, random.Random(1))  # type: ignore[arg-type]
    assert (found.lies, found.market_ns[0]) == (True, 6 * SECOND)


def test_every_fault_of_the_catalogue_is_drawn_but_those_that_end_streams() -> None:
    assert {row.name for row in rows()} == set(SPECS) - {"subscribe_refused"}


def test_faults_that_nobody_could_notice_wait_for_the_market_to_open() -> None:
    deck = [STRIKE_ROW, Row("mute_data", "stream", "market")]
    assert _drawn(list(deck), has_data=True).name == "mute_data"
    assert _drawn(list(deck), has_data=False).name == "tcp_reset"


def test_each_row_can_be_put_in() -> None:
    for row in rows():
        fault = fault_of(row, random.Random(1))
        assert fault.name == row.name
        assert row.phase in fault.phases


async def test_a_simulator_in_another_process(tmp_path: Path) -> None:
    async with open_elsewhere(time.time_ns, 50.0, seed=3) as world:
        name = await world.inject(Fault("tcp_reset", hub="market", phase="stream"))
        async with px.open_gateway(px.GatewayConfig.simulated(world.url)) as gateway:
            async with gateway.open_trades("MNQ", events=True) as trades:
                contract_id = None
                async for item in trades:
                    contract_id = item.contract_id
                    if isinstance(item, px.Gap):
                        break
        assert await world.struck(name) == 1
        await world.clear()
        assert contract_id is not None
        await world.truth(tmp_path / "truth", contract_id)
        assert pa.ipc.open_stream(pa.memory_map(str(tmp_path / "truth"))).read_all().num_rows > 0
        assert await world.crashes() == 0


@pytest.mark.slow
def test_a_second_of_the_load_loses_nothing() -> None:
    found = heavy.steady(1.0, 10_000)
    assert found.wrong == ()
    assert found.sent == found.received == 10_000
    assert found.whole >= 100
    assert found.bar_ms.count >= 100


def test_a_bar_of_the_load_that_is_not_what_was_sent_is_seen() -> None:
    wanted = heavy.Wanted(tuple(block(10_000)))
    first = wanted.slices[0]
    made = bar(
        "1s", 5, timeframe=px.Timeframe("tick:100"), open=first.prices[0], close=first.prices[-1],
        high=max(first.prices), low=min(first.prices), volume=first.volume, first_ts=5 * SECOND,
    )  # fmt: skip
    parts = wanted.parts(made)
    assert parts is not None
    assert wanted.is_right(made, *parts)
    assert not wanted.is_right(attrs.evolve(made, volume=made.volume - 1), *parts)


async def test_what_opens_after_a_gap_that_ended_in_a_quiet_market_is_whole(
    autojump_clock: MockClock,
) -> None:
    """The hub is lost while nobody trades and the gap is told; the first bar after it has nothing to do with it."""
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with gateway.open_bars(CONTRACT, "1s", events=True) as bars:
            await trio.sleep(100)
            sim.set_trades_per_s(0.0)
            await trio.sleep(20)
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
            await trio.sleep(20)
            while not isinstance(gap := await bars.receive(), px.Gap):
                pass
            sim.set_trades_per_s(20.0)
            behind = [await bars.receive() for _ in range(50)]
    made = [each for each in behind if isinstance(each, px.Bar)]
    assert gap.end < made[0].start
    assert [each.partial for each in made] == [False] * len(made)
