"""Bars of quiet markets close by the monotonic clock while the hub is live; forming bars are shown; in virtual time."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx import Anchor, Bar, BarRevised, Dropped, Limits, Overflow
from trio_projectx.bars import BarSet
from trio_projectx.bars.policies import Late
from trio_projectx.flow.buffers import Buffer
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.gaps import Broken
from trio_projectx.flow.keys import bar_key, bar_stamp
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe
from trio_projectx.flow.surroundings import Alone, Surroundings
from trio_projectx.market import PriceGrid, Reason, Refusal, WireQuote, WireTrade, format_stamp

ID = "CON.F.US.MNQ.Z26"
GRID = PriceGrid.from_tick_size("0.25")
S = 10**9
T0 = 1_787_172_660
Items = Stream[Bar | BarRevised]


def wire(at_s: float, price: float = 100.25) -> WireTrade:
    return WireTrade(price=price, timestamp=format_stamp(round((T0 + at_s) * S), 3), volume=1, type=0)


def outlet_of(
    pipeline: ContractPipeline,
    *,
    late: Late = "count",
    update_every_s: float | None = None,
    skip_first: bool = False,
    partial_first: bool = False,
    frames: tuple[str, ...] = ("1s", "5s"),
) -> Items:
    bars = BarSet(
        ID,
        frames,
        anchor=Anchor.utc(),
        grid=GRID,
        lateness_ns=S // 20,
        partial_first=skip_first or partial_first,
        late=late,
    )
    pipe: Pipe[Bar | BarRevised] = make_pipe("bars", 99, Overflow.ERROR, stamp=bar_stamp, key=bar_key)
    pipeline.attach(
        BarOutlet(
            bars,
            Feed(pipe),
            before=0,
            joined=-1,
            update_every_s=update_every_s,
            skip_first=skip_first,
            tell_events=late == "revise",
        )
    )
    return Stream(pipe)


async def receive(pipeline: ContractPipeline, *trades: WireTrade, line: int = 0) -> None:
    pipeline.counts.received += len(trades)
    pipeline.counts.waiting_raw += len(trades)
    await pipeline.judge(list(trades), ts_recv=0, serial=0, line=line)
    await wait_all_tasks_blocked()


def waiting(stream: Items) -> list[tuple[str, int, bool]]:
    found: list[tuple[str, int, bool]] = []
    while True:
        try:
            item = stream.receive_nowait()
        except trio.WouldBlock:
            return found
        bar = item.bar if isinstance(item, BarRevised) else item
        found.append((bar.timeframe, bar.start // S - T0, bar.closed))


def closed(stream: Items) -> list[Bar]:
    found: list[Bar] = []
    while True:
        try:
            item = stream.receive_nowait()
        except trio.WouldBlock:
            return found
        assert isinstance(item, Bar)
        found.append(item)


@asynccontextmanager
async def running(around: Surroundings | None = None) -> AsyncGenerator[ContractPipeline]:
    pipeline = ContractPipeline(ID, GRID, Limits(), around)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        yield pipeline
        nursery.cancel_scope.cancel()


async def test_a_quiet_bar_closes_when_its_end_and_the_lateness_have_passed(
    autojump_clock: MockClock,
) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline)
        await receive(pipeline, wire(0.4))
        began = trio.current_time()
        for wanted, after in ((("1s", 0, True), 0.65), (("5s", 0, True), 4.65)):
            item = await stream.receive()
            assert isinstance(item, Bar)
            assert (item.timeframe, item.start // S - T0, item.closed) == wanted
            assert trio.current_time() - began == pytest.approx(after)
        with trio.move_on_after(10_000):
            await stream.receive()
        assert waiting(stream) == []


async def test_it_sleeps_until_the_edge_and_does_not_poll(mock_clock: MockClock) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline, frames=("1m",))
        await receive(pipeline, wire(0))
        for _ in range(59):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == pytest.approx(
                60.05 - trio.current_time(), abs=1e-6
            )
        assert waiting(stream) == []
        mock_clock.jump(1.06)
        await wait_all_tasks_blocked()
        assert waiting(stream) == [("1m", 0, True)]


@pytest.mark.parametrize(("wall_s", "is_whole"), [(0, True), (T0 + 200, True), (T0 + 9999, False)])
async def test_nothing_closes_by_the_clock_while_no_connection_brings_it(
    autojump_clock: MockClock, wall_s: int, is_whole: bool
) -> None:
    """What is forming has a hole, and is no whole bar however late it closes.

    What begins behind the gap is whole. Where the gap ends without a trade, the later of two clocks says it: the
    exchange's as the stamps before have shown it, and ours.
    """
    async with running(Alone(lambda: wall_s * S)) as pipeline:
        stream = outlet_of(pipeline, partial_first=True, frames=("1s",))
        pipeline.join(1)
        await pipeline.acknowledged(1, trio.current_time())
        await receive(pipeline, wire(0.4), wire(1.4), line=1)
        assert waiting(stream) == [("1s", 0, True)]
        await pipeline.leave(1, Broken("gone", 0, 0), 0)
        await trio.sleep(100)
        assert waiting(stream) == []
        pipeline.join(2)
        await trio.sleep(100)
        assert waiting(stream) == []  # asked for, and not acknowledged
        await pipeline.acknowledged(2, trio.current_time())
        await trio.sleep(1.9)
        assert waiting(stream) == []
        await trio.sleep(0.2)
        first = await stream.receive()
        await receive(pipeline, wire(300.4), wire(301.4), wire(302.4), line=2)
        found = [first, *[await stream.receive() for _ in range(2)]]
        assert [(bar.start // S - T0, bar.partial) for bar in found if isinstance(bar, Bar)] == [
            (1, True),
            (300, not is_whole),
            (301, not is_whole),
        ]


@pytest.mark.parametrize("is_acknowledged", [True, False])
async def test_a_trade_that_is_sent_again_ends_no_gap_before_the_subscription(
    autojump_clock: MockClock, is_acknowledged: bool
) -> None:
    """The clock of the exchange is one minute on when a line joins that begins with what came before the loss."""
    async with running(Alone(lambda: 0)) as pipeline:
        stream = outlet_of(pipeline, partial_first=True, frames=("1s",))
        pipeline.join(1)
        await pipeline.acknowledged(1, trio.current_time())
        await receive(pipeline, wire(0.4), wire(1.4), line=1)
        await pipeline.leave(1, Broken("gone", 0, 0), 0)
        start = trio.current_time()
        pipeline.join(2, (T0 + 60) * S, start)
        await trio.sleep(1)
        if is_acknowledged:
            await pipeline.acknowledged(2, start + 1, (T0 + 61) * S)
        await receive(pipeline, wire(1.6), wire(30.4), wire(61.4), wire(62.4), wire(63.4), line=2)
        await wait_all_tasks_blocked()
        assert [(bar.start // S - T0, bar.partial) for bar in closed(stream)] == [
            (0, True),
            (1, True),
            (30, True),
            (61, True),
            (62, False),
        ]


async def test_a_trade_that_was_held_since_before_the_loss_ends_no_gap(autojump_clock: MockClock) -> None:
    async with running(Alone(lambda: 0)) as pipeline:
        stream = outlet_of(pipeline, partial_first=True, frames=("1s",))
        pipeline.join(1)
        await pipeline.acknowledged(1, trio.current_time())
        await receive(pipeline, wire(0.4), wire(1.4), wire(1.6, 200.0), line=1)
        await pipeline.leave(1, Broken("gone", 0, 0), 0)
        pipeline.join(2, (T0 + 60) * S, trio.current_time())
        quote = WireQuote(best_bid=200.0, best_ask=200.25, timestamp=format_stamp((T0 + 2) * S, 3))
        await pipeline.merge(quote, 0)  # the market is there: the trade counts
        await wait_all_tasks_blocked()
        assert pipeline.counts.held == 0
        assert pipeline.has_gap
        await pipeline.acknowledged(2, trio.current_time(), (T0 + 61) * S)
        await receive(pipeline, wire(70.1, 200.0), wire(71.1, 200.0), wire(72.1, 200.0), line=2)
        found = [(bar.start // S - T0, bar.partial, bar.volume) for bar in closed(stream)]
        assert found == [(0, True, 1), (1, True, 2), (70, True, 1), (71, False, 1)]


@pytest.mark.parametrize("in_doubt", [False, True])
async def test_where_a_line_beside_another_is_settled_in_doubt_there_is_a_gap(
    autojump_clock: MockClock, in_doubt: bool
) -> None:
    async with running(Alone(lambda: (T0 + 60) * S)) as pipeline:
        stream = outlet_of(pipeline, partial_first=True, frames=("1s",))
        pipeline.join(1)
        await pipeline.acknowledged(1, trio.current_time())
        for at in range(6):
            await receive(pipeline, wire(at + 0.4), line=1)
            await trio.sleep(1)
        await trio.sleep(9)
        pipeline.join(2)
        await pipeline.acknowledged(2, trio.current_time())
        assert pipeline.doubts(2, 0.0, 30.0) is None
        await trio.sleep(6)
        assert pipeline.doubts(2, 6.0, 30.0) is True
        await pipeline.settle(2, Broken("silent", 0, 0), 0, in_doubt=in_doubt)
        await wait_all_tasks_blocked()
        assert pipeline.has_gap is in_doubt
        assert pipeline.is_level(2)
        await trio.sleep(3)
        assert not pipeline.has_gap
        assert len(closed(stream)) == 6


class Proof(Alone):
    """Connections that prove only what a test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.until, self.asked = -math.inf, list[float]()

    def proved_until(self, contract_id: str) -> float:
        assert contract_id == ID
        return self.until

    def prove(self, until: float) -> None:
        self.asked.append(until)


async def test_a_quiet_bar_closes_only_when_nothing_can_be_on_the_line(autojump_clock: MockClock) -> None:
    proof = Proof()
    async with running(proof) as pipeline:
        stream = outlet_of(pipeline, frames=("1s",))
        began = trio.current_time()
        await receive(pipeline, wire(0.4))
        await trio.sleep(50)
        assert waiting(stream) == []
        assert proof.asked == [pytest.approx(began + 0.65)]  # once, and for that time
        proof.until = began + 0.6
        pipeline.nudge()
        await trio.sleep(1)
        assert waiting(stream) == []  # proved, but for less
        proof.until = began + 0.66
        pipeline.nudge()
        await wait_all_tasks_blocked()
        assert waiting(stream) == [("1s", 0, True)]


async def test_a_trade_that_was_on_the_line_after_all_is_in_its_bar(autojump_clock: MockClock) -> None:
    proof = Proof()
    async with running(proof) as pipeline:
        stream = outlet_of(pipeline, frames=("1s",))
        await receive(pipeline, wire(0.4))
        await trio.sleep(50)  # a line that is slower than any lateness
        await receive(pipeline, wire(0.9, 101.0))
        await trio.sleep(1)
        proof.until = trio.current_time()
        pipeline.nudge()
        bar = await stream.receive()
        assert isinstance(bar, Bar)
        assert (bar.close, bar.trades) == (101.0, 2)
        (row,) = [row for outlet in pipeline.outlets for row in outlet.rows(ID, pipeline.counts)]
        assert (row.late, row.balanced) == (0, True)


async def test_trades_on_their_way_close_bars_not_the_clock(autojump_clock: MockClock) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline)
        await receive(pipeline, wire(0.4))
        pipeline.counts.received += 1
        pipeline.counts.waiting_raw += 1  # the reader has it, the validator has not
        await receive(pipeline)  # the contract task looks, and sees that
        await trio.sleep(50)
        assert waiting(stream) == []
        pipeline.counts.waiting_raw -= 1
        pipeline.counts.received -= 1
        await receive(pipeline, wire(0.9))
        assert waiting(stream) == []
        await trio.sleep(1)
        assert waiting(stream) == [("1s", 0, True)]


@pytest.mark.parametrize("how", ["rejected", "refused"])
async def test_when_what_was_on_its_way_comes_to_nothing_the_clock_goes_on(
    how: str, autojump_clock: MockClock
) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline)
        await receive(pipeline, wire(0.4))
        pipeline.counts.received += 1
        pipeline.counts.waiting_raw += 1
        pipeline.nudge()
        await trio.sleep(50)
        if how == "rejected":
            await pipeline.judge([wire(0.5, price=-1.0)], ts_recv=0, serial=0)
        else:
            pipeline.refuse(Refusal("GatewayTrade", ID, Reason.SCHEMA, "price: bool", 1), 0)
        await wait_all_tasks_blocked()
        assert waiting(stream) == [("1s", 0, True), ("5s", 0, True)]


async def test_a_trade_for_a_bar_that_the_clock_closed_is_late(autojump_clock: MockClock) -> None:
    async with running() as pipeline:
        plain, revising = outlet_of(pipeline), outlet_of(pipeline, late="revise")
        await receive(pipeline, wire(0.4))
        await trio.sleep(2)
        assert waiting(plain) == waiting(revising) == [("1s", 0, True)]
        await receive(pipeline, wire(0.9, 101.0))
        assert waiting(plain) == []
        event = await revising.receive()
        assert isinstance(event, BarRevised)
        assert (event.bar.timeframe, event.bar.close, event.late_trades) == ("1s", 101.0, 1)
        rows = [row for outlet in pipeline.outlets for row in outlet.rows(ID, pipeline.counts)]
        assert [(row.late, row.balanced) for row in rows] == [(1, True), (0, True), (0, True), (0, True)]


async def test_every_update_is_conflated_and_gives_way_to_the_closed_bar(autojump_clock: MockClock) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline, update_every_s=0.0)
        for k in range(5):
            await receive(pipeline, wire(0.1 * k, 100.25 + k / 4))
        assert waiting(stream) == [("1s", 0, False), ("5s", 0, False)]
        await receive(pipeline, wire(0.9, 99.0))
        await receive(pipeline, wire(1.2))
        assert waiting(stream) == [("1s", 0, True), ("5s", 0, False), ("1s", 1, False)]
        counts = stream.statistics()
        assert counts.balanced
        assert counts.conflated > 0


async def test_updates_at_an_interval_are_no_more_often_and_the_last_one_comes(
    autojump_clock: MockClock,
) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline, update_every_s=10.0, frames=("1m",))
        await receive(pipeline, wire(0))
        assert waiting(stream) == [("1m", 0, False)]
        await receive(pipeline, wire(1, 98.0))
        await receive(pipeline, wire(2, 99.0))
        assert waiting(stream) == []
        began = trio.current_time()
        item = await stream.receive()
        assert isinstance(item, Bar)
        assert (item.low, item.close, item.closed) == (98.0, 99.0, False)
        assert trio.current_time() - began == pytest.approx(10.0)
        await trio.sleep(30)
        assert waiting(stream) == []


async def test_bars_not_seen_whole_are_left_out_of_the_stream_not_of_the_ledger(
    autojump_clock: MockClock,
) -> None:
    async with running() as pipeline:
        stream = outlet_of(pipeline, skip_first=True, update_every_s=0.0, frames=("1s",))
        await receive(pipeline, wire(0.5))
        assert waiting(stream) == []
        await receive(pipeline, wire(1.2))
        assert waiting(stream) == [("1s", 1, False)]
        await trio.sleep(2)
        assert waiting(stream) == [("1s", 1, True)]
        (row,) = [row for outlet in pipeline.outlets for row in outlet.rows(ID, pipeline.counts)]
        assert (row.in_bars, row.balanced) == (2, True)


def test_the_event_clock_goes_on_from_the_youngest_trade() -> None:
    clock = EventClock(ts_event=5 * S, seen_at=100.0)
    assert [clock.time_of(ts) for ts in (5 * S, 6 * S, 4 * S)] == [100.0, 101.0, 99.0]


@pytest.mark.parametrize("policy", list(Overflow))
def test_looks_take_no_room_and_every_count_balances(policy: Overflow) -> None:
    buffer: Buffer[tuple[str, int]] = Buffer(2, policy, stamp=lambda i: i[1], key=lambda i: i[0])

    def balanced() -> bool:
        return buffer.offered == buffer.delivered + buffer.conflated + buffer.dropped + len(buffer)

    for k in range(3):
        buffer.put_latest(("a", k))
        buffer.put_latest(("b", k))
    assert (len(buffer), buffer.conflated, buffer.is_full, buffer.is_empty) == (2, 4, False, False)
    buffer.put(("a", 9))
    assert (len(buffer), buffer.conflated) == (2, 5)
    assert balanced()
    assert [buffer.get(), buffer.get()] == [("a", 9), ("b", 2)]
    assert buffer.is_empty
    buffer.put_latest(("a", 1))
    assert (buffer.discard(), len(buffer)) == (1, 0)
    assert balanced()
    assert not isinstance(buffer.span(), Dropped)
