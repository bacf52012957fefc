from __future__ import annotations

import math

import pytest

from trio_projectx.signalr import DEFAULT_DELAYS_S, RetryContext, delays
from trio_projectx.signalr.policy import next_delay


def context(failed: int) -> RetryContext:
    return RetryContext(failed_attempts=failed, elapsed_s=1.0, reason="lost")


def test_delays_come_in_order_and_end() -> None:
    given = [0.0, 2.0]
    policy = delays(given)
    given.append(9.0)  # a later change of the caller's list is not a change of the policy
    assert [policy(context(n)) for n in range(4)] == [0.0, 2.0, None, None]


def test_the_default_is_the_clients() -> None:
    assert DEFAULT_DELAYS_S == (0.0, 2.0, 10.0, 30.0)


def test_a_policy_sees_what_happened() -> None:
    seen: list[RetryContext] = []

    def policy(about: RetryContext) -> float | None:
        seen.append(about)
        return 0.5

    assert next_delay(policy, context(3)) == 0.5
    assert seen == [RetryContext(3, 1.0, "lost")]


def test_none_gives_up() -> None:
    assert next_delay(delays([]), context(0)) == "no attempt was left after 0"


@pytest.mark.parametrize("delay", [-1.0, math.nan, math.inf])
def test_a_delay_that_is_none_gives_up(delay: float) -> None:
    assert isinstance(next_delay(lambda _: delay, context(0)), str)


def test_raising_gives_up_and_the_text_is_not_shown() -> None:
    def policy(_: RetryContext) -> float | None:
        raise KeyError("secret")

    assert next_delay(policy, context(0)) == "the reconnect policy raised KeyError"


def test_cancellation_is_not_swallowed() -> None:
    def policy(_: RetryContext) -> float | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next_delay(policy, context(0))
