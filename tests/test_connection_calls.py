"""Calls that wait for their completion."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_projectx import ConnectionLost, SubscriptionError
from trio_projectx.connection.calls import PendingCalls
from trio_projectx.signalr import CallCompleted, CallFailed


async def test_any_number_of_tasks_wait_for_one_outcome(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    call = calls.add("1", "Subscribe")
    got: list[object] = []

    async def wait() -> None:
        got.append(await call.wait(10))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.sleep(9)
        calls.settle(CallCompleted("1", [1, 2]))
    assert got == [[1, 2]] * 5
    assert await call.wait(0) == [1, 2]


async def test_each_waiter_gets_an_error_of_its_own(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    call = calls.add("1", "Subscribe")
    calls.settle(CallFailed("1", "no such contract"))
    errors: list[SubscriptionError] = []
    for _ in range(2):
        with pytest.raises(SubscriptionError, match="the hub refused Subscribe: no such contract") as raised:
            await call.wait(10)
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert errors[0].text == "no such contract"


async def test_a_wait_is_bounded_and_a_late_answer_still_counts(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    call = calls.add("1", "Subscribe")
    with pytest.raises(SubscriptionError, match="did not acknowledge Subscribe within 15 s"):
        await call.wait(15)
    assert trio.current_time() == pytest.approx(15)
    calls.settle(CallCompleted("1", None))
    assert await call.wait(15) is None


async def test_an_outcome_at_the_deadline_counts(autojump_clock: MockClock) -> None:
    for _ in range(20):  # trio shuffles what is due together
        calls = PendingCalls()
        call = calls.add("1", "Subscribe")

        async def settle(calls: PendingCalls = calls) -> None:
            await trio.sleep(1)
            calls.settle(CallCompleted("1", 7))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle)
            try:
                assert await call.wait(1) == 7
            except SubscriptionError:
                assert not call.done.is_set()


async def test_the_outcome_of_a_call_that_is_not_ours_is_left(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    call = calls.add("1", "Subscribe")
    calls.settle(CallCompleted("2", "for somebody else"))
    calls.settle(CallFailed("1", "no"))
    calls.settle(CallCompleted("1", "too late"))
    assert call.result is None
    with pytest.raises(SubscriptionError):
        await call.wait(1)


async def test_what_is_left_fails_with_the_connection(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    done, left = calls.add("1", "A"), calls.add("2", "B")
    calls.settle(CallCompleted("1", 1))
    error = ConnectionLost("gone")
    calls.fail_all(error)
    calls.fail_all(ConnectionLost("again"))
    assert await done.wait(1) == 1
    with pytest.raises(ConnectionLost, match="gone") as raised:
        await left.wait(1)
    assert raised.value is not error


async def test_cancelling_one_waiter_leaves_the_call_to_the_others(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    call = calls.add("1", "Subscribe")
    with trio.move_on_after(1) as scope:
        await call.wait(10)
    assert scope.cancelled_caught
    calls.settle(CallCompleted("1", None))
    assert await call.wait(1) is None


async def test_who_asked_to_be_called_is_called_once_with_the_outcome_there(
    autojump_clock: MockClock,
) -> None:
    calls = PendingCalls()
    seen: list[tuple[bool, object, object]] = []

    def note() -> None:
        seen.append((call.done.is_set(), call.result, call.error))

    for event in (CallCompleted("1", 7), CallFailed("1", "no"), None):
        call = calls.add("1", "Subscribe", note)
        assert seen == []
        if event is None:
            calls.fail_all(ConnectionLost("gone"))
        else:
            calls.settle(event)
            calls.settle(event)
        calls.fail_all(ConnectionLost("gone"))
        ((was_set, result, error),) = seen
        assert was_set
        assert (result, error) == (call.result, call.error)
        seen.clear()


def test_where_the_outcome_stood_is_noted() -> None:
    calls = PendingCalls()
    first, second = calls.add("1", "A"), calls.add("2", "B")
    calls.settle(CallCompleted("1", None), 41)
    calls.settle(CallFailed("2", "no"), 42)
    assert (first.position, second.position) == (41, 42)


def test_a_refusal_is_cleaned_of_secrets() -> None:
    calls = PendingCalls(lambda text: text.replace("secret", "***"))
    call = calls.add("1", "Subscribe")
    calls.settle(CallFailed("1", "the token secret is bad"))
    assert isinstance(call.error, SubscriptionError)
    assert call.error.text == "the token *** is bad"
    assert "secret" not in str(call.error)
