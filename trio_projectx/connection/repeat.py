"""Asking again: only what is safe to repeat, only after what may pass, never beyond one deadline for all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina
import trio

from trio_projectx._errors import ConfigError, ConnectError, ConnectTimeout, GatewayError, TrioProjectXError
from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.routes import ROUTES

T = TypeVar("T")
#: Statuses of a service, or of a proxy before it, that has a moment of weakness.
_PASSING: Final = (408, 425, 500, 502, 503, 504)


def is_passing(exc: Exception) -> bool:
    """Whether asking again may help: not reached, too busy, or an error of the service's own (HTTP 5xx)."""
    if isinstance(exc, TryLater):
        return True
    if isinstance(exc, GatewayError):
        return exc.code in _PASSING
    return isinstance(exc, ConnectError)


def _wait(exc: Exception) -> bool | float:
    # Who was told to come later waits at the pacer, for exactly so long.
    return 0.0 if isinstance(exc, TryLater) and exc.holds_all else is_passing(exc)


async def repeated(
    path: str,
    ask: Callable[[], Awaitable[T]],
    *,
    deadline_s: float,
    attempts: int | None = 8,
    wait_s: float = 0.25,
    wait_most_s: float = 10.0,
) -> T:
    """Return ``await ask()``, asked again (after 0.25 s, 0.5 s and so on, with jitter) while what it raises may pass.

    ``ask`` waits for the pacer itself, so that time counts too. ``attempts`` None is as many as the deadline holds.

    :raises ConnectTimeout: after ``deadline_s`` in all; its ``__cause__`` is what the last attempt failed of.
    :raises ConfigError: if ``path`` is a route that must not be asked twice.
    :raises TrioProjectXError: what the last attempt raised, or the first that asking again does not help.
    """
    route = ROUTES.get(path)
    if route is None or not route.is_repeatable:
        raise ConfigError(f"{path} is not asked again: doing it twice may do more than doing it once")
    last: TrioProjectXError | None = None
    with trio.move_on_after(deadline_s):
        # stamina's own timeout is of the system's clock; trio's is the one that virtual time moves.
        async for attempt in stamina.retry_context(
            _wait,
            attempts=attempts,
            timeout=None,
            wait_initial=wait_s,
            wait_max=wait_most_s,
            wait_jitter=wait_s,
        ):
            with attempt:
                try:
                    return await ask()
                except TrioProjectXError as exc:
                    last = exc
                    raise
    raise ConnectTimeout(f"{route.what}: no answer within {deadline_s:g} s, all attempts together") from last
