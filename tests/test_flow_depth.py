"""The order book from the wire to the user: whole at its beginning, and whenever something may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim
from replay_tools import recording
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx._config import Limits
from trio_projectx.flow.depth import BookStream, DepthFlow, DepthOutlet, TopOutlet
from trio_projectx.flow.keys import depth_key, depth_stamp
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.surroundings import Alone
from trio_projectx.market import PriceGrid
from trio_projectx.simulator import Fault

Levels = dict[tuple[str, float], int]
Item = px.Depth | px.Gap | px.Dropped
STAMP = "2026-08-19T20:51:31.417+00:00"
SIDES = {px.DepthKind.BID: "bid", px.DepthKind.BEST_BID: "bid", px.DepthKind.NEW_BEST_BID: "bid",
         px.DepthKind.ASK: "ask", px.DepthKind.BEST_ASK: "ask", px.DepthKind.NEW_BEST_ASK: "ask"}  # fmt: skip


def apply(levels: Levels, item: px.Depth) -> None:
    """Follow a stream of depth as its reader would, by the rules of docs/depth.md."""
    if item.is_snapshot:
        levels.clear()
        assert item.changes[0].kind is px.DepthKind.RESET
    for change in item.changes:
        side = SIDES.get(change.kind)
        if change.kind is px.DepthKind.RESET:
            levels.clear()
        if side is None or change.price is None:
            continue
        if change.kind not in (px.DepthKind.BID, px.DepthKind.ASK) and change.size:
            sign = 1 if side == "bid" else -1
            for each, price in list(levels):
                gone = (
                    (price - change.price) * sign > 0 if each == side else (change.price - price) * sign >= 0
                )
                if gone:
                    del levels[each, price]
        levels.pop((side, change.price), None)
        if change.size:
            levels[side, change.price] = change.size


def top(levels: Levels, n: int) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    bids, asks = (
        sorted((p, s) for (each, p), s in levels.items() if each == side) for side in ("bid", "ask")
    )
    return bids[::-1][:n], asks[:n]


def shown(book: px.Book) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    bids, asks = ([(each.price, each.size) for each in side] for side in (book.bids, book.asks))
    return bids, asks


def waiting(stream: trio.abc.ReceiveChannel) -> list:
    found = []
    while True:
        try:
            found.append(stream.receive_nowait())  # type: ignore[attr-defined]
        except trio.WouldBlock:
            return found


def followed(items: Iterable[Item]) -> Levels:
    """The book at the end; changes behind a hole are not followed before a snapshot."""
    levels: Levels = {}
    is_known = False
    for item in items:
        if isinstance(item, px.Depth):
            is_known |= item.is_snapshot
            if is_known:
                apply(levels, item)
        else:
            is_known = False
    assert is_known
    return levels


async def test_both_streams_show_the_same_book_and_whoever_comes_later_gets_it_whole(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_book(CONTRACT, levels=5, overflow=px.Overflow.BLOCK, capacity=100_000) as books,
        gateway.open_depth(CONTRACT) as depth,
    ):
        await trio.sleep(5)
        async with gateway.open_depth("MNQ") as later, gateway.open_book("MNQ") as best:
            await trio.sleep(5)
            levels: Levels = {}
            by_stamp: dict[int, px.Book] = {}
            for book in waiting(books):
                by_stamp[book.ts_event] = book
            seen = 0
            items = waiting(depth)
            for item in items:
                apply(levels, item)
                seen += item.ts_event in by_stamp
                assert item.top in ("open", "locked")
            assert seen > 200
            newest = by_stamp[items[-1].ts_event]
            assert shown(newest) == top(levels, 5)
            assert newest == books.newest
            assert newest.best_bid is not None
            assert newest.best_ask is not None
            assert newest.best_bid.price < newest.best_ask.price
            others = waiting(later)
            assert [item.is_snapshot for item in others] == [True] + [False] * (len(others) - 1)
            assert followed(others) == levels
            (last,) = waiting(best)
            assert shown(last) == top(levels, 10)
            (contract,) = gateway.statistics().market.contracts
            assert contract.depth.accepted > 500
            assert contract.depth.received == contract.depth.accepted + contract.depth.rejected.total


async def test_behind_an_outage_comes_a_gap_and_then_the_whole_book(autojump_clock: MockClock) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_depth(CONTRACT, events=True) as depth,
        gateway.open_book(
            CONTRACT, levels=1000, events=True, overflow=px.Overflow.BLOCK, capacity=9999
        ) as books,
    ):
        await trio.sleep(3)
        before = waiting(depth)
        sim.inject(Fault("tcp_reset", hub="market"))
        await trio.sleep(3)
        after = waiting(depth)
        gap, whole = after[0], after[1]
        assert isinstance(gap, px.Gap)
        assert gap.start == before[-1].ts_event
        assert whole.is_snapshot
        assert whole.ts_event == gap.end
        assert not any(item.is_snapshot for item in after[2:])
        assert sum(isinstance(book, px.Gap) for book in waiting(books)) == 1
        assert books.newest is not None
        assert shown(books.newest) == top(followed(after), 1000)


async def test_make_before_break_hands_the_book_over_without_a_gap(autojump_clock: MockClock) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_depth(CONTRACT, events=True) as depth,
        gateway.open_book(CONTRACT, levels=1000) as books,
    ):
        await trio.sleep(3)
        await gateway.refresh_token()
        await trio.sleep(10)
        items = waiting(depth)
        assert sim.statistics().hub_connections == 2
        assert not any(isinstance(item, px.Gap) for item in items)
        assert [item.is_snapshot for item in items].count(True) == 2
        assert books.newest is not None
        assert shown(books.newest) == top(followed(items), 1000)


@pytest.mark.parametrize("overflow", [px.Overflow.DROP_OLDEST, px.Overflow.DROP_NEWEST])
async def test_behind_what_was_dropped_comes_the_whole_book(
    autojump_clock: MockClock, overflow: px.Overflow
) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_book(CONTRACT, levels=1000) as books,
        gateway.open_depth(CONTRACT, overflow=overflow, capacity=20) as depth,
    ):
        await trio.sleep(5)
        items: list[Item] = waiting(depth)
        assert (
            sum(item.count for item in items if isinstance(item, px.Dropped))
            == depth.statistics().dropped
            > 50
        )
        with trio.move_on_after(3):
            async for item in depth:
                items.append(item)
        assert books.newest is not None
        assert shown(books.newest) == top(followed(items), 1000)
        assert depth.statistics().balanced


async def test_what_cannot_be_is_said(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        with pytest.raises(px.ConfigError, match="open_book gives its newest state"):
            async with gateway.open_depth("MNQ", overflow=px.Overflow.CONFLATE):
                pass
        with pytest.raises(px.ConfigError, match="levels must be a whole number"):
            async with gateway.open_book("MNQ", levels=0):
                pass


async def test_depth_is_recorded_and_its_frames_play_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with recording(gateway, tmp_path, autojump_clock, ("frames", "depth")):
            async with gateway.open_depth("MNQ", events=True) as depth:
                await trio.sleep(2)
                sim.inject(Fault("tcp_reset", hub="market"))
                await trio.sleep(2.0123)
                then = waiting(depth)
    again: list[Item] = []
    async with px.open_replay(tmp_path) as replay, replay.open_depth("MNQ", events=True) as depth:
        async for item in depth:
            again.append(item)
    assert again[: len(then)] == then
    files = [path for path in tmp_path.rglob("*.parquet") if "depth" in str(path)]  # noqa: ASYNC240
    rows = sum(pq.read_metadata(path).num_rows for path in files)  # type: ignore[no-untyped-call]
    assert rows >= sum(
        len(item.changes) for item in then if isinstance(item, px.Depth) and not item.is_snapshot
    )


# -- the flow alone


def row(kind: int, price: float, size: int) -> dict[str, object]:
    return {"timestamp": STAMP, "type": kind, "price": price, "volume": size, "currentVolume": 0}


WHOLE = [row(6, 0, 0), row(2, 10.0, 1), row(1, 10.5, 2)]


def flow() -> tuple[DepthFlow, Pipe[px.Depth | px.Gap], DepthOutlet]:
    made = DepthFlow("X", PriceGrid.from_tick_size(0.25), Limits(), Alone())
    pipe: Pipe[px.Depth | px.Gap] = make_pipe("x", 100, px.Overflow.ERROR, stamp=depth_stamp, key=depth_key)
    outlet = DepthOutlet(Feed(pipe), tell_gaps=True)
    made.attach(outlet)
    made.join(1)
    made.acknowledged(1)
    made.begin(outlet)
    return made, pipe, outlet


def taken(pipe: Pipe[px.Depth | px.Gap]) -> list[str]:
    """G for a gap, S for a snapshot, the number of changes for others."""
    found: list[str] = []
    while not pipe.buffer.is_empty:
        item = pipe.take()
        found.append("G" if isinstance(item, px.Gap) else "S" if item.is_snapshot else str(len(item.changes)))  # type: ignore[union-attr]
    return found


async def test_only_the_line_that_speaks_is_heard() -> None:
    made, pipe, _ = flow()
    await made.judge(WHOLE, 1, 1)
    made.join(2)
    assert not made.is_level(2)
    await made.judge([row(2, 9.75, 5)], 2, 1)
    await made.judge([*WHOLE, row(2, 9.75, 5)], 3, 2)
    assert made.is_level(2)
    assert taken(pipe) == ["S", "1"]
    await made.leave(1, "gone", 4)
    await made.judge([row(2, 9.5, 5)], 5, 2)
    assert taken(pipe) == ["S", "1"]


async def test_where_nobody_has_the_book_there_is_a_gap() -> None:
    made, pipe, _ = flow()
    await made.judge(WHOLE, 1, 1)
    made.join(2)
    made.acknowledged(2)
    await made.leave(1, "gone", 4)
    await made.judge([row(2, 9.75, 5)], 5, 1)
    assert made.strays == 1
    await made.judge(WHOLE, 6, 2)
    assert taken(pipe) == ["S", "G", "S"]


async def test_where_the_one_that_speaks_has_nothing_the_other_does(autojump_clock: MockClock) -> None:
    made, pipe, _ = flow()
    made.join(2)
    made.acknowledged(2)
    await made.judge(WHOLE, 6, 2)
    assert taken(pipe) == []
    await made.settle(2, 7)
    await made.judge([row(2, 9.75, 5)], 8, 2)
    assert taken(pipe) == ["G", "S", "1"]


async def test_rows_that_are_wrong_change_nothing_and_are_counted() -> None:
    made, pipe, _ = flow()
    await made.judge([row(2, 10.1, 1), None, 5, {"type": 2}], 1, 1)
    assert taken(pipe) == []
    assert not made.is_level(1)
    counts = made.counts
    assert (counts.received, counts.accepted, counts.nulls, counts.rejected.total) == (4, 0, 1, 3)
    assert len(made.rejections) == 3


async def test_a_book_of_which_a_row_was_rejected_says_so_until_it_is_begun_anew() -> None:
    made, pipe, _ = flow()
    made.join(2)
    made.acknowledged(2)
    await made.judge(WHOLE, 1, 1)
    await made.judge(WHOLE, 1, 2)
    await made.judge([row(2, 10.1, 1)], 2, 1)  # off the grid, and nothing else
    await made.judge([row(2, 9.75, 5)], 3, 1)
    await made.judge([row(2, 9.75, 6)], 3, 1)
    await made.leave(1, "lost", 4)  # the other one has a book of its own, of which nothing was rejected
    await made.judge([row(2, 9.75, 7), row(2, 10.1, 1)], 5, 2)
    await made.judge([row(2, 10.1, 1), row(6, 0, 0), row(2, 9.75, 8)], 6, 2)
    items: list[px.Depth] = []
    while not pipe.buffer.is_empty:
        items.append(pipe.take())  # type: ignore[arg-type]
    assert [item.is_doubtful for item in items] == [False, True, True, False, True, False]
    assert [item.is_snapshot for item in items] == [True, False, False, True, False, False]


async def test_a_book_stream_begins_with_what_is_known() -> None:
    made, _, _ = flow()
    await made.judge(WHOLE, 1, 1)
    pipe: Pipe[px.Book | px.Gap] = make_pipe("x", 1, px.Overflow.CONFLATE, stamp=depth_stamp, key=depth_key)
    outlet = TopOutlet(Feed(pipe), levels=1)
    made.attach(outlet)
    await made.judge([row(2, 9.75, 5)], 2, 1)
    assert pipe.buffer.is_empty  # it is not acknowledged yet
    made.begin(outlet)
    await wait_all_tasks_blocked()
    book = pipe.take()
    assert isinstance(book, px.Book)
    assert (book.best_bid, book.best_ask, book.top) == (px.BookLevel(10.0, 1), px.BookLevel(10.5, 2), "open")
    stream = BookStream(pipe, outlet)
    assert stream.newest == book
    await made.leave(1, "gone", 3)
    assert stream.newest is None
