"""When to try again: the reconnect policy, a function of what has happened so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

DEFAULT_DELAYS_S: Final = (0.0, 2.0, 10.0, 30.0)
"""The delays of the official clients (DefaultReconnectPolicy.ts); after the last attempt they give up."""


@attrs.frozen(slots=True)
class RetryContext:
    """What a policy is asked with, before each attempt to reconnect."""

    failed_attempts: int
    """0 before the first attempt; starts again after a success."""
    elapsed_s: float
    """Since the connection was lost."""
    reason: str | None
    """Why the last attempt failed, or, before the first, why the connection was lost."""


ReconnectPolicy: TypeAlias = Callable[[RetryContext], float | None]
"""Returns the seconds to wait before the next attempt, or None to give up; raising is giving up too."""


def delays(seconds: Sequence[float]) -> ReconnectPolicy:
    """Return the policy that waits ``seconds[n]`` before attempt ``n`` and gives up after the last."""
    fixed = tuple(seconds)

    def policy(context: RetryContext) -> float | None:
        return fixed[context.failed_attempts] if context.failed_attempts < len(fixed) else None

    return policy


def next_delay(policy: ReconnectPolicy, context: RetryContext) -> float | str:
    """Return the delay that ``policy`` wants, in seconds, or a text that says why there is none."""
    try:
        delay = policy(context)
    except MemoryError:
        raise
    except Exception as exc:  # noqa: BLE001 - the user's code; raising means "stop", as in both clients
        return f"the reconnect policy raised {type(exc).__name__}"
    if delay is None:
        return f"no attempt was left after {context.failed_attempts}"
    if not 0 <= delay < math.inf:
        return f"the reconnect policy wants to wait {delay} seconds"
    return delay
