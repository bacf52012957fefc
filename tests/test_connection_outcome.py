"""What many wait for at once."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_projectx import AuthError, ConnectionLost
from trio_projectx.connection.outcome import Outcome


async def test_success_reaches_all_who_wait_and_all_who_come(autojump_clock: MockClock) -> None:
    outcome = Outcome()
    there: list[float] = []

    async def wait() -> None:
        await outcome.wait()
        there.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.sleep(1)
        assert there == []
        outcome.succeed()
    await wait()
    assert there == [1.0] * 6


async def test_each_gets_an_error_of_its_own_with_its_cause(autojump_clock: MockClock) -> None:
    outcome = Outcome()
    error = AuthError("no")
    error.__cause__ = OSError("below")
    errors: list[AuthError] = []

    async def wait() -> None:
        with pytest.raises(AuthError, match="no") as raised:
            await outcome.wait()
        errors.append(raised.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(1)
        outcome.fail(error)
    await wait()
    assert len({id(each) for each in (*errors, error)}) == 5
    assert all(each.__cause__ is error.__cause__ for each in errors)


async def test_who_has_begun_to_wait_gets_what_happened_first(autojump_clock: MockClock) -> None:
    """A hub that is lost in the instant after it was live was live: who waited is not told of the loss here."""
    for _ in range(20):  # trio shuffles what is due together
        outcome = Outcome()

        async def wait(outcome: Outcome = outcome) -> None:
            await outcome.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            outcome.succeed()
            outcome = Outcome()  # as the hub does: what happens after it is another outcome
            outcome.fail(ConnectionLost("later"))


async def test_a_wait_can_be_cancelled(autojump_clock: MockClock) -> None:
    outcome = Outcome()
    with trio.move_on_after(2) as scope:
        await outcome.wait()
    assert scope.cancelled_caught
