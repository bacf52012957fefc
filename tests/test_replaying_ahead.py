"""Reading ahead in a thread, and waiting until something is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx.replaying.ahead import Ahead, Pace


async def test_one_item_is_read_ahead_and_no_more() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for n in range(5):
            read.append(n)
            assert threading.current_thread() is not threading.main_thread()
            yield n

    ahead = Ahead(items(), trio.CapacityLimiter(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.run)
        for n in range(5):
            with trio.fail_after(5):
                while len(read) <= n:
                    await trio.sleep(0.001)
            await trio.sleep(0.01)
            assert read == list(range(n + 1))
            assert await ahead.receive.receive() == n
        with pytest.raises(trio.EndOfChannel):
            await ahead.receive.receive()


async def test_what_reading_raises_comes_out() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no")

    ahead = Ahead(items(), trio.CapacityLimiter(1))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ahead.run)
            assert await ahead.receive.receive() == 1
    assert caught.group_contains(OSError)


async def test_a_read_that_hangs_keeps_nobody() -> None:
    hold = threading.Event()

    def items() -> Iterator[int]:
        hold.wait(20)
        yield 1

    ahead = Ahead(items(), trio.CapacityLimiter(1))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ahead.run)
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    hold.set()


@pytest.mark.parametrize(("speed", "at"), [(1.0, [0, 1, 3.5]), (4.0, [0, 0.25, 0.875])])
async def test_things_are_due_as_much_later_as_they_were(
    autojump_clock: MockClock, speed: float, at: list[float]
) -> None:
    pace, began = Pace(speed), trio.current_time()
    for then, due in zip((100.0, 101.0, 103.5), at, strict=True):
        await pace.until(then)
        assert trio.current_time() - began == pytest.approx(due)


async def test_without_a_speed_nothing_waits(autojump_clock: MockClock) -> None:
    pace, began = Pace(None), trio.current_time()
    for then in (0.0, 1e9, 5.0):
        await pace.until(then)
    assert trio.current_time() == began


async def test_a_pause_and_a_clock_that_was_set_back_are_not_waited_for(autojump_clock: MockClock) -> None:
    pace, began = Pace(1.0), trio.current_time()
    await pace.until(100.0)
    pace.restart()
    await pace.until(5000.0)
    await pace.until(5001.0)
    await pace.until(40.0)
    await pace.until(42.0)
    assert trio.current_time() - began == pytest.approx(3.0)


async def test_who_was_late_catches_up(autojump_clock: MockClock) -> None:
    pace, began = Pace(1.0), trio.current_time()
    await pace.until(0.0)
    await trio.sleep(5)
    await pace.until(2.0)
    assert trio.current_time() - began == pytest.approx(5.0)
    await pace.until(6.0)
    assert trio.current_time() - began == pytest.approx(6.0)
