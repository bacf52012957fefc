"""When the token is renewed: before it ends, again and again where that fails, and told either way.

This task touches no connection. The source keeps its token until there is another (see `auth`); the hubs learn of a
new one by ``renewed`` and replace their connections themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final

import trio

from trio_projectx._config import Refresh, Timeouts
from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import ConnectionEvent, TokenRefreshed, TokenRefreshFailed
from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.auth import CredentialsRefused, TokenSource

#: How long this task sleeps at most. trio's clock stands still while the machine sleeps, so that a token may be old
#: long before the clock says so: a look at the wall clock now and then finds it.
_LOOK_S: Final = 300.0
#: A token whose rest is shorter than this (our clock is ahead, say) is renewed no more often than so.
_SHORTEST_S: Final = 1.0
#: Times nearer than this are now: a wait may be too short to be told from none beside the clock's own reading.
_NEAR_S: Final = 0.001
#: How long a Retry-After is honoured at most.
_LONGEST_WAIT_S: Final = 600.0
#: Doublings of the time between attempts that are counted; more are above any cap.
_DOUBLINGS: Final = 30


class TokenRefresher:
    """Keeps the token of one `TokenSource` young; the gateway owns the task that does `run`.

    ``tell`` gets a `TokenRefreshed` for each new token, whoever got it, and a `TokenRefreshFailed` for each failure of
    a refresh; ``renewed`` is called after the former. Both are called in a task of ours and must not block.
    """

    def __init__(
        self,
        tokens: TokenSource,
        options: Refresh,
        timeouts: Timeouts,
        wall_clock: Callable[[], int],
        rng: Random,
        tell: Callable[[ConnectionEvent], None],
        renewed: Callable[[], None],
    ) -> None:
        self._tokens = tokens
        self._options = options
        self._timeouts = timeouts
        self._wall_clock = wall_clock
        self._rng = rng
        self._tell = tell
        self._renewed = renewed
        self._failures_told = tokens.failures
        self._is_attempting = False
        self.last_error: str | None = None
        """Why the last refresh failed; None since there is a newer token."""
        self._plan()

    def expires_in_s(self) -> float | None:
        """Return how long the present token still lives (below 0: it has expired); None if it does not say."""
        seconds = self._tokens.expires_in_s()
        return None if math.isinf(seconds) else seconds

    def refreshed_ago_s(self) -> float | None:
        """Return how long ago the present token was got; None if there is none."""
        return self._tokens.age_s if self._tokens.generation else None

    async def run(self) -> None:
        """Renew the token at its time, for ever. Raises nothing of the service's; cancel it to end it.

        At ``refresh.share`` of the token's lifetime, somewhat earlier by ``refresh.jitter``; each attempt is given up
        after ``timeouts.refresh_s``. What fails is tried again after ``refresh.retry_s``, doubled up to
        ``retry_cap_s``, also when the token has expired; but where the service refuses the API key itself, not until
        there is another token by another way. A token that does not say when it ends is never renewed here.
        """
        while True:
            self._follow()
            wait_s = self._due_in()
            if wait_s is not None and wait_s < _NEAR_S:
                await self._attempt()
                continue
            with trio.move_on_after(_LOOK_S if wait_s is None else min(wait_s, _LOOK_S)):
                await self._tokens.changed.wait()

    async def refresh_now(self) -> None:
        """Renew the token at once, whatever its age; return when there is a newer one, and it was told.

        Many who ask at once share one request. Cancelling fails nobody else. If it fails, the schedule stays as it is.

        :raises TrioProjectXError: as `TokenSource.refresh`; the present token stays in use.
        """
        try:
            await self._tokens.refresh(self._timeouts.refresh_s)
        except TrioProjectXError as exc:
            self._failed(exc)
            raise
        self._follow()

    async def _attempt(self) -> None:
        self._is_attempting = True
        try:
            await self.refresh_now()
        except TrioProjectXError:
            pass  # it was told, and is tried again
        finally:
            self._is_attempting = False

    # -- the schedule

    def _follow(self) -> None:
        """If there is another token than the one planned for, plan for it, and tell, unless it is the first."""
        if self._tokens.generation == self._planned:
            return
        is_first = self._planned == 0
        self._plan()
        if not is_first:
            self._tell(TokenRefreshed(self._tokens.expires_at_ns, self._wall_clock()))
            self._renewed()

    def _plan(self) -> None:
        self._planned = self._tokens.generation
        self._retries = 0
        self._retry_at: float | None = None
        self._is_hopeless = False
        self.last_error = None
        self._due_age_s = self._age_to_renew_at()

    def _age_to_renew_at(self) -> float | None:
        lifetime_s = self._tokens.lifetime_s
        if lifetime_s is None:
            return None
        if lifetime_s <= 0 and self._planned > 1:
            # New, and over by our clock: that is wrong, and asking at once for another would go on like this.
            return self._options.retry_cap_s
        earlier = 1 - self._options.jitter * self._rng.random()
        return max(_SHORTEST_S, lifetime_s * self._options.share * earlier)

    def _due_in(self) -> float | None:
        """Return the seconds until the next attempt; None if there is none by time."""
        if self._is_hopeless:
            return None
        if self._retry_at is not None:
            return self._retry_at - trio.current_time()
        return None if self._due_age_s is None else self._due_age_s - self._tokens.age_s

    # -- failures

    def _failed(self, exc: TrioProjectXError) -> None:
        """Note and tell a failure; once, though several tasks may have waited for the same answer."""
        if self._tokens.failures == self._failures_told:
            return
        self._failures_told = self._tokens.failures
        if self._is_attempting:
            self._put_off(exc)
        wait_s, expires_in_s = self._due_in(), self.expires_in_s()
        self.last_error = self._tokens.hide(str(exc))
        over = "; the token has expired" if expires_in_s is not None and expires_in_s <= 0 else ""
        retry_in_s = None if wait_s is None else max(0.0, wait_s)
        self._tell(TokenRefreshFailed(self.last_error + over, retry_in_s, expires_in_s, self._wall_clock()))

    def _put_off(self, exc: TrioProjectXError) -> None:
        if isinstance(exc, CredentialsRefused):
            self._is_hopeless = True
            return
        wait_s = min(self._options.retry_cap_s, self._options.retry_s * 2.0 ** min(self._retries, _DOUBLINGS))
        if isinstance(exc, TryLater) and exc.retry_after_s is not None:
            wait_s = max(wait_s, min(exc.retry_after_s, _LONGEST_WAIT_S))
        self._retries += 1
        self._retry_at = trio.current_time() + wait_s
