"""The bell: no ring is lost, and several are one."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_projectx.connection.bell import Bell


async def test_it_wakes_who_waits_and_is_kept_for_who_does_not_yet(autojump_clock: MockClock) -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait(math.inf)
    assert trio.current_time() == 0
    await bell.wait(5)  # the two rings were one
    assert trio.current_time() == pytest.approx(5)

    async def ring() -> None:
        await trio.sleep(2)
        bell.ring()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring)
        await bell.wait(math.inf)
        assert trio.current_time() == pytest.approx(7)


async def test_a_time_that_is_past_returns_at_once_and_takes_the_ring(autojump_clock: MockClock) -> None:
    bell = Bell()
    for until in (-math.inf, -1.0, 0.0):
        bell.ring()
        await bell.wait(until)
        await bell.wait(until)
    await bell.wait(3)
    assert trio.current_time() == pytest.approx(3)


async def test_a_cancelled_wait_leaves_the_ring_to_the_next(autojump_clock: MockClock) -> None:
    bell = Bell()
    for _ in range(20):  # trio shuffles what is due together
        with trio.CancelScope() as scope:
            bell.ring()
            scope.cancel()
            await bell.wait(math.inf)
        before = trio.current_time()
        await bell.wait(before + 1)
        assert trio.current_time() == before


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_whatever_is_changed_before_a_ring_is_seen(steps: list[tuple[int, int]]) -> None:
    """The use that everything here is made for: a task that looks, and sleeps until it is to look again."""

    async def main() -> None:
        bell = Bell()
        seen = value = 0

        async def look() -> None:
            nonlocal seen
            while True:
                seen = value
                await bell.wait(trio.current_time() + 1000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            for changes, pause in steps:
                for _ in range(changes):
                    value += 1
                    bell.ring()
                await trio.sleep(pause / 100)
                await trio.testing.wait_all_tasks_blocked()
                assert seen == value
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
