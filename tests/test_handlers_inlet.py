"""Waits of a handler: from which it is woken, and what it does not do then."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from handler_tools import Desk, settle
from trio.testing import MockClock

import trio_projectx as px


async def test_one_that_is_removed_while_it_waits_for_its_rate_is_not_called(
    autojump_clock: MockClock,
) -> None:
    desk, got = Desk(), list[object]()
    one = desk.add(got.append, batch=True, rate_per_s=0.1)
    async with desk.running():
        desk.feeds["x"].offer(1)
        await settle(1)
        desk.feeds["x"].offer(2)
        await settle(1)
        one.remove()
        await settle(1)
        assert got == [(1,)]
        assert one.statistics().skipped.left == 1


async def test_removed_in_the_step_in_which_an_item_came(autojump_clock: MockClock) -> None:
    desk, got = Desk(), list[object]()
    one = desk.add(got.append)
    async with desk.running():
        await settle(1)
        desk.feeds["x"].offer(2)
        one.remove()
        await settle(1)
        assert got == []


async def test_one_that_is_removed_before_its_task_begins_opens_nothing(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        one = desk.add(print, stream="y")
        one.remove()
        await settle(1)
        assert "y" not in desk.opened


async def test_what_waits_to_be_told_is_told_though_items_always_wait(autojump_clock: MockClock) -> None:
    desk = Desk()

    async def handler(item: int) -> None:
        await trio.sleep(0.4)
        if item in (0, 1):
            raise ValueError(item)

    desk.add(handler, failures=100)
    async with desk.running():
        for i in range(100):
            desk.feeds["x"].offer(i)
        await settle(10)
        assert sum(e.failures for e in desk.of(px.HandlerFailed)) == 2


async def test_the_end_of_a_run_calls_nobody_faster_than_its_rate(autojump_clock: MockClock) -> None:
    desk, at = Desk(grace_s=5), list[float]()
    desk.add(lambda item: at.append(trio.current_time()), batch=True, batch_most=1, rate_per_s=1)
    with pytest.raises(ExceptionGroup):
        async with desk.running():
            desk.add(print, stream="y")
            await settle()
            for i in range(6):
                desk.feeds["x"].offer(i)
            await settle()
            desk.feeds["y"].fail(px.ConnectionLost("x"))
            await trio.sleep(20)
    assert all(b - a >= 1 - 1e-6 for a, b in pairwise(at)), at
