"""Calls that end otherwise than they should, and what stands beside a handler."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
import trio
from handler_tools import Desk, settle
from trio.testing import MockClock

import trio_projectx as px


async def test_what_a_handlers_own_nursery_raises_at_the_deadline_stays_with_it(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleaning up failed")

    async def handler(item: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    one = desk.add(handler, deadline_s=1)
    async with desk.running():
        desk.feeds["x"].offer(1)
        await settle(2)
        now = one.statistics()
        assert now.failed == 1
        assert now.balanced


@pytest.mark.parametrize("error", [MemoryError(), ExceptionGroup("x", [ValueError(), MemoryError()])])
async def test_memory_that_runs_out_in_a_handler_comes_out(
    autojump_clock: MockClock, error: Exception
) -> None:
    desk = Desk()

    def handler(_: int) -> None:
        raise error

    one = desk.add(handler)
    with pytest.raises(ExceptionGroup) as caught:
        async with desk.running():
            desk.feeds["x"].offer(1)
            await settle(1)
    assert caught.value.subgroup(MemoryError) is not None
    now = one.statistics()
    assert (now.skipped.left, now.failed, now.balanced) == (1, 0, True)


async def test_what_stands_beside_a_weak_handler_is_kept_unless_it_is_of_the_same_object(
    autojump_clock: MockClock,
) -> None:
    desk, got = Desk(), list[object]()

    class Has:
        def bad(self, item: int) -> None:
            raise ValueError

        def good(self, item: object) -> None:
            got.append(item)

    obj = Has()
    one = desk.add(obj.bad, weak=True, fallback=Has().good, on_skipped=Has().good, failures=1, capacity=2)
    two = desk.add(obj.bad, weak=True, fallback=obj.good, on_skipped=obj.good, stream="y")
    gc.collect()
    async with desk.running():
        for item in range(4):
            desk.feeds["x"].offer(item)
        await settle(1)
        assert got == [px.Dropped(2, 0, 1), 3]
        assert (one.is_removed, one.statistics().fell_back, one.statistics().skipped.breaker) == (False, 1, 0)
        del obj
        gc.collect()
        await settle(0.1)
        assert one.is_removed
        assert two.is_removed


async def test_the_rate_counts_from_the_call_not_from_what_went_before_it(autojump_clock: MockClock) -> None:
    desk, at = Desk(), list[float]()

    async def on_skipped(_: px.Dropped) -> None:
        await trio.sleep(3)

    def handler(_: int) -> None:
        at.append(trio.current_time())

    desk.add(handler, on_skipped=on_skipped, rate_per_s=0.5)
    async with desk.running():
        for item in range(10):
            desk.feeds["x"].offer(item)
            await settle(1)
    assert len(at) > 2
    assert all(b - a >= 2 - 1e-6 for a, b in pairwise(at)), at


async def test_one_that_is_removed_while_it_is_told_what_it_missed_is_not_called(
    autojump_clock: MockClock,
) -> None:
    desk, got = Desk(), list[object]()

    async def on_skipped(mark: px.Dropped) -> None:
        await trio.sleep(2)

    one = desk.add(got.append, capacity=1, on_skipped=on_skipped)
    async with desk.running():
        for i in range(5):
            desk.feeds["x"].offer(i)
        await settle(1)
        one.remove()
        await settle(3)
        assert got == []
        assert one.statistics().balanced


async def test_what_is_told_of_skipped_items_spans_them_though_they_are_out_of_order(
    autojump_clock: MockClock,
) -> None:
    desk, marks = Desk(), list[px.Dropped]()

    def bad(_: object) -> None:
        raise ValueError

    desk.add(bad, stream="one", failures=1, open_s=3, on_skipped=marks.append)
    desk.add(bad, stream="many", batch=True, batch_most=9, failures=1, open_s=3, on_skipped=marks.append)
    async with desk.running():
        for feed in desk.feeds.values():
            for item in (9, 5, 8, 2, 7):
                feed.offer(item)
        await settle(4)
        for feed in desk.feeds.values():
            feed.offer(1)
        await settle(1)
    assert marks == [px.Dropped(4, 2, 8)] * 2
    assert {(e.first_ts, e.last_ts) for e in desk.of(px.HandlerSkipped)} <= {(5, 5), (2, 8), (5, 8)}  # type: ignore[attr-defined]
    assert all(e.first_ts <= e.last_ts for e in desk.of(px.HandlerSkipped))  # type: ignore[attr-defined]
