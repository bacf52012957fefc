"""`trio.Cancelled` out of a call: one that somebody cancels ends it, any other is a failure of that handler alone."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable

import pytest
import trio
from handler_tools import Desk, settle
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks

Handler = Callable[[int], Awaitable[None]]


async def kept_cancelled() -> trio.Cancelled:
    """Return one whose scope is over."""
    found: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            found.append(exc)
            raise
    return found[0]


def raises(error: BaseException) -> Handler:
    async def handler(_: int) -> None:
        raise error

    return handler


FOREIGN: list[tuple[Callable[[trio.Cancelled], BaseException], str]] = [
    (lambda old: old, "Cancelled: it was raised where nobody cancels"),
    (lambda old: BaseExceptionGroup("g", [old]), "Cancelled: it was raised where nobody cancels"),
    (lambda old: BaseExceptionGroup("g", [old, ValueError("x")]), "ExceptionGroup: g"),
]


@pytest.mark.parametrize(("make", "told"), FOREIGN)
async def test_one_that_nobody_cancels_is_a_failure_like_any_other(
    autojump_clock: MockClock, make: Callable[[trio.Cancelled], BaseException], told: str
) -> None:
    desk, got = Desk(), list[int]()
    one = desk.add(raises(make(await kept_cancelled())), stream="bad", failures=2, open_s=60)
    desk.add(got.append, stream="good")
    async with desk.running():
        for item in range(4):
            for feed in desk.feeds.values():
                feed.offer(item)
        await settle(2)
        now = one.statistics()
        assert (now.state, now.breaker, now.failed, now.skipped.breaker) == ("running", "open", 2, 2)
        assert now.last_failure.startswith(told)
        assert now.balanced
        assert got == [0, 1, 2, 3]
    assert sum(e.failures for e in desk.of(px.HandlerFailed)) == 2  # type: ignore[attr-defined]


async def test_a_memoised_cancellation_of_one_handler_does_not_end_the_other(
    autojump_clock: MockClock,
) -> None:
    desk, kept = Desk(), list[BaseException]()

    async def look_up() -> None:
        if kept:
            raise kept[0]
        try:
            await trio.sleep_forever()
        except BaseException as exc:
            kept.append(exc)
            raise

    async def first(_: int) -> None:
        with trio.move_on_after(0.2):
            await look_up()

    async def second(_: int) -> None:
        await trio.sleep(0.5)
        await look_up()

    handlers = [desk.add(each, stream=each.__name__) for each in (first, second)]
    async with desk.running():
        for feed in desk.feeds.values():
            feed.offer(1)
        await settle(1)
        assert [each.statistics().state for each in handlers] == ["running", "running"]
        assert [each.statistics().failed for each in handlers] == [0, 1]


async def test_a_fallback_and_on_skipped_may_raise_one_too(autojump_clock: MockClock) -> None:
    desk, old = Desk(), await kept_cancelled()
    bad = raises(old)
    one = desk.add(bad, fallback=bad, on_skipped=bad, failures=1, open_s=60, capacity=1)  # type: ignore[arg-type]
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle()
        desk.feeds["x"].offer(3)
        await settle()
        now = one.statistics()
        assert (now.failed, now.skipped.overflow, now.state) == (2, 2, "running")
        assert [each.type for each in now.failures] == ["on_skipped", "Cancelled", "fallback"]


def leaves_a_scope_open(_: int) -> None:
    scope = trio.CancelScope()
    scope.__enter__()
    scope.cancel()


async def leaves_a_scope_open_later(_: int) -> None:
    await trio.lowlevel.checkpoint()
    leaves_a_scope_open(_)


@pytest.mark.parametrize("handler", [leaves_a_scope_open, leaves_a_scope_open_later])
async def test_a_scope_that_a_call_leaves_open_ends_with_it(
    autojump_clock: MockClock, handler: Callable[[int], object]
) -> None:
    desk = Desk()
    one = desk.add(handler, failures=100)
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
            await settle(1)
        now = one.statistics()
        assert (now.failed, now.state) == (3, "running")
        assert "Cancel scope stack corrupted" in now.last_failure
        one.remove()
        await settle()
        gc.collect()


async def test_who_cancels_the_run_itself_ends_it_with_an_error(autojump_clock: MockClock) -> None:
    desk = Desk()

    async def kills(_: int) -> None:
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.cancel_scope.cancel()

    desk.add(kills)
    with pytest.raises(RuntimeError, match="were ended by one of them"):
        async with open_background_tasks() as tasks:
            tasks.start_soon(desk.handlers.run)
            await settle()
            desk.feeds["x"].offer(1)
            await trio.sleep_forever()


async def cleans_up_badly(_: int) -> None:
    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleaning up failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        await trio.sleep_forever()


@pytest.mark.parametrize("way", ["cancelled", "closed"])
async def test_what_is_raised_because_the_run_ends_is_that_handlers_failure(
    autojump_clock: MockClock, way: str
) -> None:
    desk = Desk(grace_s=1)
    one = desk.add(cleans_up_badly, deadline_s=None)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        desk.feeds["x"].offer(1)
        desk.feeds["x"].offer(2)
        await settle(3)
        if way == "cancelled":
            nursery.cancel_scope.cancel()
        else:
            desk.board.end()
    now = one.statistics()
    assert (now.failed, now.skipped.left, now.balanced) == (1, 1, True)
    (told,) = desk.of(px.HandlerFailed)
    assert told.reason.startswith("ExceptionGroup: ")  # type: ignore[attr-defined]


async def test_what_on_skipped_raises_because_the_run_ends_is_a_failure_too(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    one = desk.add(print, capacity=1, on_skipped=cleans_up_badly)  # type: ignore[arg-type]
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle(1)
    now = one.statistics()
    assert [each.type for each in now.failures] == ["on_skipped"]
    assert (now.failed, now.skipped.left, now.balanced) == (0, 1, True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_nothing_may_hide_comes_out_also_beside_a_cancellation(
    autojump_clock: MockClock, error: type[BaseException], is_cancelled: bool
) -> None:
    desk, old = Desk(), await kept_cancelled()

    async def handler(_: int) -> None:
        try:
            await trio.sleep(5)
        finally:
            raise BaseExceptionGroup("g", [old, error()])

    one = desk.add(handler)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with desk.running():
            desk.feeds["x"].offer(1)
            await settle(1 if is_cancelled else 9)
    assert caught.value.subgroup(error) is not None
    now = one.statistics()
    assert (now.failed, now.skipped.left, now.balanced) == (0, 1, True)
