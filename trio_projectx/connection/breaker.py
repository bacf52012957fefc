"""The breaker on connections that die young: three states.

A back-off sees failures to connect. A service that takes every connection and ends it at once (ASP.NET Core answers
what it holds for our protocol error with a Close record that allows to reconnect, for ever; SIGNALR.md section 7) gives
it none. After as many young deaths in a row as the options say the breaker OPENs: no attempt for its time. Then it is
HALF_OPEN for one attempt by way of trial. A trial that lives is the end of it; one that dies young opens it again, for
twice the time. A trial that never becomes live says nothing of that: the next one may come ``breaker_s`` later.

So from its opening on to a trial that lived there is at most one attempt in each ``breaker_s``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trio_projectx._config import Reconnect


class BreakerState(enum.Enum):
    """Whether attempts are let through."""

    CLOSED = "closed"
    """All of them."""
    OPEN = "open"
    """None."""
    HALF_OPEN = "half_open"
    """One, which is under way, or was."""


class Step(enum.Enum):
    """What happens to a breaker."""

    TRIP = "one young death too many"
    TRY = "an attempt"
    HEAL = "a life that was long enough"


_S = BreakerState

TRANSITIONS: Final[Mapping[BreakerState, Mapping[Step, BreakerState]]] = MappingProxyType(
    {
        _S.CLOSED: {Step.TRIP: _S.OPEN, Step.TRY: _S.CLOSED, Step.HEAL: _S.CLOSED},
        _S.OPEN: {Step.TRY: _S.HALF_OPEN},
        _S.HALF_OPEN: {Step.TRIP: _S.OPEN, Step.TRY: _S.HALF_OPEN, Step.HEAL: _S.CLOSED},
    }
)


class YoungDeaths:
    """The breaker of one line, whose connections come one after the other. Times are monotonic seconds, handed in."""

    def __init__(self, options: Reconnect) -> None:
        self._options = options
        self._state = BreakerState.CLOSED
        self._deaths = 0
        self._time = 0.0
        self._due = 0.0

    @property
    def state(self) -> BreakerState:
        """The present state; that a trial lives on is only seen when it ends."""
        return self._state

    @property
    def deaths(self) -> int:
        """Young deaths in a row."""
        return self._deaths

    def wait(self, now: float) -> float:
        """Return for how many seconds no attempt may be made."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._due - now)

    def started(self, now: float) -> None:
        """Note an attempt that begins now; its caller has waited."""
        self._step(Step.TRY)
        if self._state is BreakerState.HALF_OPEN:
            self._due = now + self._options.breaker_s

    def died(self, now: float, life_s: float) -> None:
        """Note the end of a connection that was live for ``life_s``; one that never was is not told here."""
        if self._state is BreakerState.OPEN:
            if now < self._due:
                return  # it cannot have been an attempt of after the opening
            self.started(now)
        if life_s >= self._options.young_s:
            self._deaths = 0
            self._step(Step.HEAL)
            return
        self._deaths += 1
        if self._state is BreakerState.HALF_OPEN:
            self._open(now, 2 * self._time)
        elif self._deaths >= self._options.young_deaths:
            self._open(now, self._options.breaker_s)

    def _open(self, now: float, time_s: float) -> None:
        self._step(Step.TRIP)
        self._time = min(time_s, max(self._options.breaker_s, self._options.breaker_cap_s))
        self._due = now + self._time

    def _step(self, step: Step) -> None:
        self._state = TRANSITIONS[self._state][step]
