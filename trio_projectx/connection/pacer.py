"""Turns at the service's REST limits, shared by everything in one gateway that asks.

Own, and not the library `limits`: that one counts by the wall clock, which may jump, starts a thread when it is
made, and does not know when a request has ended (`window`).
"""

from __future__ import annotations

import enum
import math
from bisect import insort
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.window import Window


class Lane(enum.Enum):
    """Which of the service's limits a request counts for (GATEWAY.md section 1)."""

    HISTORY = "history"
    """``History/retrieveBars``: 50 in 30 s."""
    OTHER = "other"
    """Every other endpoint: 200 in 60 s."""


class Urgency(enum.IntEnum):
    """Who goes first where several wait."""

    LIVE = 0
    """What live streams need: tokens, contracts, a look whether the market goes on."""
    FILL = 1
    """The filling of gaps, and the bars before a stream's first."""
    BULK = 2
    """History that somebody asked for; it leaves a fifth of each limit to the others."""


#: The documented limits (GATEWAY.md section 1).
LIMITS: Final = {Lane.HISTORY: (50, 30.0), Lane.OTHER: (200, 60.0)}
#: A 429 without Retry-After: so long nothing is asked, doubled by each that follows, at most the window's length.
_PAUSE_S: Final = 1.0
#: A Retry-After beyond this is not believed: one bad answer is not to end REST for a day.
PAUSE_MOST_S: Final = 300.0


@attrs.frozen(slots=True)
class PacerStatistics:
    """A snapshot of one lane."""

    sent: int
    used: int
    """Requests that take a place in the window now."""
    waiting: int
    refusals: int
    """Answers of "too many requests" (429)."""
    paused_s: float
    """How long nothing is asked yet; 0 if that is not so."""


@attrs.define(slots=True, eq=False)
class _Waiter:
    urgency: Urgency
    number: int
    bell: Bell = attrs.field(factory=Bell)

    def __lt__(self, other: _Waiter) -> bool:
        return (self.urgency, self.number) < (other.urgency, other.number)


class _Queue:
    """Those who wait for a turn in one lane, the most urgent first; only the first one looks at the clock."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.sent = self.refusals = self._arrived = 0
        self._streak = 0
        self._waiters: list[_Waiter] = []

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    async def turn(self, urgency: Urgency) -> None:
        """Wait, begin a request, and return; who is cancelled has taken nothing."""
        await trio.lowlevel.checkpoint()
        me = _Waiter(urgency, self._arrived)
        self._arrived += 1
        insort(self._waiters, me)
        keep = self.window.count // 5 if urgency is Urgency.BULK else 0
        try:
            while (at := self._free_at(me, keep)) > trio.current_time():
                await me.bell.wait(at)
            self.window.begin()
        finally:
            self._waiters.remove(me)
            self.ring()
        self.sent += 1

    def _free_at(self, me: _Waiter, keep: int) -> float:
        if self._waiters[0] is not me:
            return math.inf
        return self.window.free_at(trio.current_time(), keep)

    def ring(self) -> None:
        """Let the first one look again."""
        if self._waiters:
            self._waiters[0].bell.ring()

    def refused(self, retry_after_s: float | None) -> None:
        self.refusals += 1
        wait_s = min(_PAUSE_S * 2.0 ** min(self._streak, 30), self.window.seconds)
        self._streak += 1
        if retry_after_s is not None:
            wait_s = min(retry_after_s, PAUSE_MOST_S)
        self.window.hold(trio.current_time() + wait_s)
        self.ring()

    def answered(self) -> None:
        self._streak = 0


class Pacer:
    """The limits of one REST base, for one token; give each endpoint of a gateway its own."""

    def __init__(self, limits: Mapping[Lane, tuple[int, float]] = LIMITS) -> None:
        self._queues = {lane: _Queue(Window(*limits[lane])) for lane in Lane}

    @asynccontextmanager
    async def turn(self, lane: Lane, urgency: Urgency = Urgency.LIVE) -> AsyncGenerator[None]:
        """Wait for a turn, for a block that is one request.

        Where the block raises a `TryLater` that holds all, nothing of this lane is asked for as long as the service
        wants; without ``Retry-After`` that is 1 s, then 2, and so on up to the window's length. Waiting has no limit
        of its own: set a deadline. Cancelled while it waits, it has used nothing up; cancelled later, its request
        counts.
        """
        queue = self._queues[lane]
        await queue.turn(urgency)
        try:
            yield
        except TryLater as exc:
            if exc.holds_all:
                queue.refused(exc.retry_after_s)
            raise
        else:
            queue.answered()
        finally:
            queue.window.end(trio.current_time())
            queue.ring()

    def statistics(self, lane: Lane) -> PacerStatistics:
        """Return a snapshot of one lane."""
        queue, now = self._queues[lane], trio.current_time()
        paused_s = max(0.0, queue.window.held_until - now)
        return PacerStatistics(queue.sent, queue.window.used(now), queue.waiting, queue.refusals, paused_s)
