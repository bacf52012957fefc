"""What a stream of bars tells of its data: trades that all come late, builders that fail, bars that are left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx import (
    Anchor,
    Bar,
    BarRevised,
    BuilderFailed,
    DataEvent,
    Gap,
    Limits,
    Overflow,
    ProtocolError,
    TradesLate,
)
from trio_projectx.bars import BarSet
from trio_projectx.bars.edges import Slot
from trio_projectx.bars.policies import Late
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.keys import bar_key, bar_stamp, event_key, event_stamp
from trio_projectx.flow.ledger import TradeCounts
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.market import PriceGrid, TradeBatch, format_stamp

ID = "CON.F.US.MNQ.Z26"
S = 10**9
BASE = 1_000_000_000


def batch(*seconds: float) -> TradeBatch:
    n = len(seconds)
    return TradeBatch(ID, [round((BASE + s) * S) for s in seconds], [400] * n, [1] * n, [0] * n, 77)


class Bench:
    """An outlet, its pipe and what it told."""

    def __init__(self, *frames: str, late: Late = "count", **options: bool) -> None:
        self.told: list[DataEvent] = []
        self.bars = BarSet(
            ID,
            frames,
            anchor=Anchor.utc(),
            grid=PriceGrid(1, 4),
            lateness_ns=0,
            late=late,
            partial_first=True,
        )
        self.pipe: Pipe[Bar | BarRevised | Gap] = make_pipe(
            "bars", 99_999, Overflow.ERROR, stamp=bar_stamp, key=bar_key
        )
        self.outlet = BarOutlet(
            self.bars, Feed(self.pipe), before=0, joined=-1, tell=self.told.append, **options
        )
        self.counts = TradeCounts()

    async def take(self, *seconds: float) -> None:
        self.outlet.due += len(seconds)
        self.counts.received += len(seconds)
        await self.outlet.take(batch(*seconds), 1)
        assert all(row.balanced for row in self.outlet.rows(ID, self.counts))

    def items(self) -> list[Bar | BarRevised | Gap]:
        found: list[Bar | BarRevised | Gap] = []
        while not self.pipe.buffer.is_empty:
            found.append(self.pipe.take())  # type: ignore[arg-type]
        return found


async def test_trades_that_are_all_late_for_the_finest_bars_are_told_once() -> None:
    """A stamp within the tolerance may be ten seconds ahead: bars of 1s miss all that time, and someone says so."""
    bench = Bench("1m", "1s", "1h")
    await bench.take(0, 0.5, 9)
    for number in range(50):
        await bench.take(*[1 + number / 10 + k / 100 for k in range(5)])
    (told,) = bench.told
    assert isinstance(told, TradesLate)
    assert (told.contract_id, told.timeframe, told.trades, told.at) == (ID, "1s", 200, 77)
    await bench.take(9.5)
    for _ in range(40):
        await bench.take(*[1.5] * 5)
    assert len(bench.told) == 2
    assert bench.pipe.failure is None  # the longer ones have them


async def test_trades_that_are_late_for_every_bar_break_the_stream() -> None:
    bench = Bench("1s", "1m")
    await bench.take(0, 300)
    for _ in range(40):
        await bench.take(*[1.5] * 5)
    assert isinstance(bench.pipe.failure, ProtocolError)
    assert len(bench.told) == 1


async def test_a_bar_that_was_left_out_is_not_revised_either() -> None:
    bench = Bench("1s", late="revise", skip_first=True, tell_events=True)
    await bench.take(0.2, 1.2, 2.2)
    await bench.take(0.3, 1.3)
    items = bench.items()
    assert [
        (type(item), (item if isinstance(item, Bar) else item.bar).start // S - BASE) for item in items
    ] == [  # type: ignore[union-attr]
        (Bar, 1),
        (BarRevised, 1),
    ]


async def test_a_builder_that_cannot_close_its_bar_does_not_hold_the_others_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "trio_projectx")
    bench = Bench("1s", "5s")
    await bench.take(0.1)
    rung = bench.bars._rungs["5s"]
    locate: Callable[[int], Slot] = rung.builder._locate

    def broken(ts: int) -> Slot:
        raise ArithmeticError("no such bar")

    rung.builder._locate = broken
    clock = EventClock((BASE * S) + S // 10, trio.current_time())
    with trio.fail_after(5):
        await bench.outlet.wake(clock, trio.current_time() + 100)
    assert [(item.timeframe, item.closed) for item in bench.items() if isinstance(item, Bar)] == [
        ("1s", True)
    ]
    failures = [each for each in bench.told if isinstance(each, BuilderFailed)]
    assert 1 <= len(failures) <= 3
    assert bench.outlet.closes_at(clock) > trio.current_time() + 100
    rung.builder._locate = locate
    for second in range(5, 40):
        await bench.take(second)
    last = [item for item in bench.items() if isinstance(item, Bar) and item.timeframe == "5s"][-1]
    assert (last.trades, last.partial) == (5, False)


def test_events_of_data_are_told_apart_and_dated() -> None:
    late = TradesLate(ID, "1s", 200, 5)  # type: ignore[arg-type]
    failed = BuilderFailed(ID, "5m", 1, 2, 3, "open", "x", 9)  # type: ignore[arg-type]
    assert (event_stamp(late), event_stamp(failed)) == (5, 9)
    assert event_key(late) != event_key(failed) == event_key(failed)


@pytest.mark.parametrize("count", [5_000, 20_000])
async def test_a_burst_in_one_record_is_in_the_bars_to_the_last_trade(count: int) -> None:
    """FAULTS.md rows 55, 98 and 99: an array of trades is taken whole, in order, into one update of all timeframes."""
    stamps = [
        (BASE + 60) * 1000 + i * 90_000 // count for i in range(count)
    ]  # ms: a minute and a half of them
    entries = [
        {"price": 100.0 + i % 5, "volume": 1 + i % 4, "timestamp": format_stamp(ms * 10**6, 3), "type": i % 2}
        for i, ms in enumerate(stamps)
    ]
    text = json.dumps({"type": 1, "target": "GatewayTrade", "arguments": [ID, entries]}) + "\x1e"
    bench = Bench("1s", "1m", "tick:100")
    async with open_background_tasks() as tasks:
        market = MarketPipeline(Limits(), tasks)
        market.contract(ID, PriceGrid(1, 4)).attach(bench.outlet)
        found = market.bulk(text)
        assert found is not None
        await market.deliver(found, (BASE + 200) * S)
        await wait_all_tasks_blocked()
        ledger = market.statistics().ledger
        assert ledger.balanced
        assert {(row.received, row.rejected, row.late, row.in_flight) for row in ledger.rows} == {
            (count, 0, 0, 0)
        }
    bars = [item for item in bench.items() if isinstance(item, Bar)]
    for frame, step in (("1s", 1000), ("1m", 60_000)):
        members: dict[int, list[int]] = {}
        for i, ms in enumerate(stamps):
            members.setdefault(ms // step * step, []).append(i)
        wanted = [
            (ms, 100.0 + i[0] % 5, 100.0 + i[-1] % 5, sum(1 + k % 4 for k in i), len(i))
            for ms, i in sorted(members.items())
        ]
        made = [
            (bar.start // 10**6, bar.open, bar.close, bar.volume, bar.trades)
            for bar in bars
            if bar.timeframe == frame
        ]
        assert len(made) >= len(wanted) - 1  # our clock may have closed the last one already
        assert made == wanted[: len(made)]
    assert [bar.trades for bar in bars if bar.timeframe == "tick:100"] == [100] * (count // 100)
