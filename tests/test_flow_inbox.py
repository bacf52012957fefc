"""The channel into a contract's task: bounded, counted, and woken without an item."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx.flow.inbox import Inbox
from trio_projectx.flow.room import BufferStatistics


async def test_it_is_bounded_and_counts(autojump_clock: MockClock) -> None:
    inbox = Inbox[int]("x batches", 2)
    assert inbox.is_empty
    with trio.move_on_after(1) as scope:
        for item in range(3):
            await inbox.post(item)
    assert scope.cancelled_caught
    assert inbox.statistics() == BufferStatistics("x batches", 2, 2, 2)
    assert [inbox.get_nowait(), await inbox.get()] == [0, 1]
    with pytest.raises(trio.WouldBlock):
        inbox.get_nowait()
    assert inbox.statistics() == BufferStatistics("x batches", 2, 0, 2)


async def test_a_nudge_wakes_who_waits_and_is_left_out_where_nobody_does() -> None:
    inbox = Inbox[int]("x batches", 2)
    inbox.nudge()
    assert inbox.is_empty
    got: list[int | None] = []
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            got.append(await inbox.get())

        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        inbox.nudge()
    assert got == [None]
    assert inbox.statistics().queued == 0


async def test_what_waits_for_room_is_counted_while_it_goes_in() -> None:
    inbox = Inbox[int]("x batches", 1)
    await inbox.post(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.post, 1)
        await wait_all_tasks_blocked()
        counts = [inbox.statistics().queued]
        for _ in range(2):
            inbox.get_nowait()
            counts.append(inbox.statistics().queued)
    assert counts == [2, 1, 0]
    assert inbox.statistics().queued == 0
