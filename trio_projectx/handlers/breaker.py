"""The breaker of a handler: failures within a window open it, and one call by way of trial closes it again.

Its states and steps are those of the breaker on connections; what opens this one are failures that lie near enough to
each other, however many calls between them did not fail.
"""

from __future__ import annotations

from collections import deque

from trio_projectx.connection.breaker import TRANSITIONS, BreakerState, Step
from trio_projectx.handlers.options import HandlerOptions


class CallBreaker:
    """Three states, by monotonic seconds that are handed in. Calls come one after the other.

    ========= ============================================ ==================================
    state     on failure                                   on success, or with time
    ========= ============================================ ==================================
    CLOSED    OPEN, if it is one too many in the window    CLOSED
    OPEN      (no call is made)                            HALF_OPEN, after the open time
    HALF_OPEN OPEN, for twice the time, up to the cap      CLOSED
    ========= ============================================ ==================================
    """

    __slots__ = ("_failed_at", "_options", "_time_s", "_until", "state")

    def __init__(self, options: HandlerOptions) -> None:
        self.state = BreakerState.CLOSED
        self._options = options
        self._failed_at: deque[float] = deque(maxlen=options.failures)
        self._time_s = options.open_s
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Whether to call; what was open long enough becomes half open with that, and one call is made."""
        if self.state is BreakerState.OPEN and now >= self._until:
            self._step(Step.TRY)
        return self.state is not BreakerState.OPEN

    def failed(self, now: float) -> bool:
        """Note that a call failed; returns whether that opened it."""
        if self.state is BreakerState.HALF_OPEN:
            self._open(now, min(2 * self._time_s, self._options.open_cap_s))
            return True
        self._failed_at.append(now)
        is_full = len(self._failed_at) == self._options.failures
        if not is_full or now - self._failed_at[0] > self._options.window_s:
            return False
        self._open(now, self._options.open_s)
        return True

    def succeeded(self) -> bool:
        """Note that a call succeeded; returns whether that closed it."""
        if self.state is BreakerState.CLOSED:
            return False
        self._step(Step.HEAL)
        self._failed_at.clear()
        return True

    def _open(self, now: float, time_s: float) -> None:
        self._step(Step.TRIP)
        self._failed_at.clear()
        self._time_s = time_s
        self._until = now + time_s

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state][step]
