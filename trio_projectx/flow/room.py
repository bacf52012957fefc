"""Room behind a reader: reads that wait for the pipeline are counted, and a reader waits where there are too many.

What is put in never waits, so that a reader which is cancelled has lost nothing; only then does it wait for room. It
waits for long only where a stream with ``overflow=BLOCK`` is not read: that is what its user asked for, and it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_projectx._logs import fields

#: From when on a wait is told as BLOCKED: a reader that is only slow for a moment is none.
_TOLD_AFTER_S: Final = 1.0
#: From when on it is logged and counted.
_LOGGED_AFTER_S: Final = 5.0

_log: Final = logging.getLogger("trio_projectx")


@attrs.frozen(slots=True)
class BufferStatistics:
    """One inner buffer, in items."""

    name: str
    capacity: int
    """Beyond it whoever fills it waits. What was under way by then may stand above it."""
    queued: int
    high_water: int

    @property
    def utilisation(self) -> float:
        """The share of the capacity that is in use."""
        return self.queued / self.capacity


def _nobody(reason: str | None) -> None:
    """Nobody wants to know."""


def _unknown() -> str:
    return "a stream opened with overflow=BLOCK"


class Room:
    """Room for ``limit`` reads of the hub ``name``; several connections may wait for it at a time.

    ``who`` names the stream that is not read. `on_held` is called with a sentence when a wait is long, and with None
    when nobody waits any more.
    """

    def __init__(self, name: str, limit: int, who: Callable[[], str] = _unknown) -> None:
        self.on_held: Callable[[str | None], None] = _nobody
        self.held_back = 0
        """How often somebody waited for more than five seconds."""
        self._name = name
        self._limit = limit
        self._who = who
        self._queued = self._high_water = self._waiting = 0
        self._is_told = False
        self._lot = trio.lowlevel.ParkingLot()

    def put(self) -> None:
        """Count one more."""
        self._queued += 1
        if self._queued > self._high_water:
            self._high_water = self._queued

    def taken(self) -> None:
        """Count one less."""
        self._queued -= 1
        self._lot.unpark_all()

    @property
    def queued(self) -> int:
        """How many there are."""
        return self._queued

    @property
    def is_full(self) -> bool:
        """Whether there are more than it is for."""
        return self._queued > self._limit

    async def wait(self) -> None:
        """Wait until there is room, however long that is; cancelling it changes nothing."""
        self._waiting += 1
        try:
            await self._wait()
        finally:
            self._waiting -= 1
            if self._is_told and not self._waiting:
                self._is_told = False
                self.on_held(None)

    def statistics(self) -> BufferStatistics:
        """Return a snapshot."""
        return BufferStatistics(f"{self._name} reads", self._limit, self._queued, self._high_water)

    async def _wait(self) -> None:
        if await self._within(_TOLD_AFTER_S):
            return
        self._is_told = True
        self.on_held(f"{self._who()} is not read; every stream of the hub waits for it")
        if await self._within(_LOGGED_AFTER_S - _TOLD_AFTER_S):
            return
        self.held_back += 1
        _log.warning(
            "the %s feed is held back for %g s already: %s is not read; every stream of the hub waits for it",
            self._name,
            _LOGGED_AFTER_S,
            self._who(),
            extra=fields("feed_held_back", hub=self._name),
        )
        while self.is_full:
            await self._lot.park()

    async def _within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            while self.is_full:
                await self._lot.park()
            return True
        return False
