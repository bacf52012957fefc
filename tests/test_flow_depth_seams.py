"""Where one connection's book follows another's, and where a book is opened again."""

from __future__ import annotations

import trio
from fault_tools import CONTRACT, config_for, open_sim
from test_flow_depth import WHOLE, flow, followed, row, shown, taken, top, waiting
from trio.testing import MockClock

import trio_projectx as px


async def test_where_another_line_takes_over_the_whole_book_comes_though_the_reader_is_behind() -> None:
    made, pipe, _ = flow()
    await made.judge(WHOLE, 1, 1)
    made.join(2)
    made.acknowledged(2)
    for size in range(1, 60):
        await made.judge([row(2, 9.75, size)], 2, 1)
    await made.judge(WHOLE, 3, 2)
    await made.leave(1, "replaced", 4)
    assert taken(pipe)[-1] == "S"


async def test_a_book_that_is_opened_again_is_not_the_old_one(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with gateway.open_book(CONTRACT) as books:
            await trio.sleep(5)
            old = books.newest
            assert old is not None
        await trio.sleep(30)
        async with gateway.open_depth(CONTRACT) as depth, gateway.open_book(CONTRACT, levels=1000) as books:
            await trio.sleep(3)
            items = waiting(depth)
            assert items[0].ts_event > old.ts_event + 20 * 10**9
            assert books.newest is not None
            assert shown(books.newest) == top(followed(items), 1000)


async def test_a_line_that_lags_makes_no_crossed_book_of_two_that_are_not() -> None:
    made, _, _ = flow()
    made.join(2)
    made.acknowledged(2)
    await made.judge([row(6, 0, 0), row(4, 11.0, 1), row(3, 11.5, 2)], 1, 1)
    await made.judge([row(6, 0, 0), row(4, 10.0, 1), row(3, 10.5, 2)], 2, 2)
    await made.judge([row(4, 11.0, 3)], 3, 1)
    assert (made.counts.accepted, made.counts.locked, made.counts.crossed) == (7, 0, 0)
    await made.judge([row(3, 10.75, 3)], 4, 1)
    assert made.counts.crossed == 1
