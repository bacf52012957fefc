from __future__ import annotations

import traceback

import pytest
import trio

from trio_projectx.flow.background import open_background_tasks, without_cancelled


async def fail(exc: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise exc


@pytest.mark.parametrize("exc", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
async def test_the_bodys_exception_arrives_as_it_is(exc: BaseException) -> None:
    with pytest.raises(type(exc)) as info:
        async with open_background_tasks() as tasks:
            tasks.start_soon(trio.sleep_forever)
            raise exc
    assert info.value is exc
    assert "Group" not in "".join(traceback.format_exception(info.value))


@pytest.mark.parametrize("exc", [ValueError("theirs"), KeyboardInterrupt()])
async def test_a_tasks_failure_arrives_plain_and_ends_the_block(exc: BaseException) -> None:
    with pytest.raises(type(exc)) as info:
        async with open_background_tasks() as tasks:
            tasks.start_soon(fail, exc)
            await trio.sleep_forever()
    assert info.value is exc
    assert tasks.statistics().failed == 1


async def test_both_fail_the_bodys_wins_with_a_note() -> None:
    with pytest.raises(ValueError, match="body") as info:
        async with open_background_tasks() as tasks:
            tasks.start_soon(fail, OSError("task"))
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("body")
    assert info.value.__notes__ == ["a background task also failed: OSError('task')"]


async def test_a_group_that_the_user_made_stays_a_group_without_our_cancellation() -> None:
    with pytest.raises(ExceptionGroup) as info:
        async with open_background_tasks() as tasks:
            tasks.start_soon(fail, OSError("task"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("body")
    assert info.group_contains(ValueError)
    assert without_cancelled(info.value) is not None


async def test_leaving_ends_all_tasks_and_counts_them(autojump_clock: trio.testing.MockClock) -> None:
    async with open_background_tasks() as tasks:
        tasks.start_soon(trio.sleep_forever)
        tasks.start_soon(trio.sleep, 1)
        await trio.sleep(2)
        assert (tasks.statistics().alive, tasks.statistics().completed) == (1, 1)
    stats = tasks.statistics()
    assert (stats.alive, stats.completed, stats.failed, stats.cancelled) == (0, 1, 0, 1)


async def test_cancellation_from_outside_passes_through(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with open_background_tasks() as tasks:
            tasks.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_cancel_ends_the_block_quietly() -> None:
    async with open_background_tasks() as tasks:
        tasks.cancel("enough")
        await trio.sleep_forever()
    assert tasks.failure is None


async def test_ctrl_c_in_a_task_goes_before_what_the_body_makes_of_it() -> None:
    """The body sees the consequence first (a stream broke) and raises that; it must not hide the cause."""
    with pytest.raises(KeyboardInterrupt) as info:
        async with open_background_tasks() as tasks:
            tasks.start_soon(fail, KeyboardInterrupt())
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("the stream broke")
    assert info.value.__notes__ == ["the block also failed: OSError('the stream broke')"]


async def test_ctrl_c_is_found_in_groups_of_ours() -> None:
    async def at_once(exc: BaseException) -> None:
        raise exc  # without a checkpoint, at which the other's failure would cancel it

    async def nursery_of_a_library() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at_once, KeyboardInterrupt())
            nursery.start_soon(at_once, ValueError("bystander"))

    with pytest.raises(KeyboardInterrupt):
        async with open_background_tasks() as tasks:
            tasks.start_soon(nursery_of_a_library)
            await trio.sleep_forever()


async def test_a_group_of_one_in_a_task_is_that_one() -> None:
    async def nursery_of_a_library() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, ValueError("alone"))

    with pytest.raises(ValueError, match="alone"):
        async with open_background_tasks() as tasks:
            tasks.start_soon(nursery_of_a_library)
            await trio.sleep_forever()


async def test_after_the_end_nothing_can_be_started() -> None:
    async with open_background_tasks("shop") as tasks:
        pass
    with pytest.raises(trio.ClosedResourceError, match="the shop was closed"):
        tasks.start_soon(trio.sleep_forever)
    assert tasks.statistics().alive == 0
