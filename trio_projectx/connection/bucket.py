"""How many connections a gateway may open in a time, whatever its hubs and the service do.

A token bucket, kept as a schedule: each call gets the earliest time at which one more connection still fits, and
that time is never changed. In any window of ``T`` seconds there are at most ``burst + T * per_s`` of them. The schedule
knows only those that were not given back, so that a cancelled wait costs nothing, now or later.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import attrs


@attrs.frozen(slots=True, eq=False)
class Slot:
    """The right to open one connection at ``at`` (monotonic seconds), or later."""

    at: float

    def wait(self, now: float) -> float:
        """Return how long its owner has to wait, in seconds."""
        return max(0.0, self.at - now)


class ConnectBucket:
    """A bucket of ``burst`` connections that fills by ``per_s`` each second; it is full at first.

    Times are monotonic seconds, handed in, and never go back.
    """

    def __init__(self, burst: int, per_s: float) -> None:
        self._every = 1.0 / per_s
        self._ahead = (burst - 1) * self._every
        # The generic cell rate algorithm (ITU-T I.371): the next one may come `_ahead` before its regular time.
        self._regular = -math.inf
        self._slots: list[Slot] = []  # those to come, in their order; what has gone is in `_regular`

    def reserve(self, now: float) -> Slot:
        """Take the next slot, and wait for `Slot.at`; `release` it if that comes to nothing."""
        while self._slots and self._slots[0].at < now:
            self._regular = self._after(self._regular, self._slots.pop(0).at)
        index, at = self._earliest(now)
        slot = Slot(at)
        self._slots.insert(index, slot)
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back whose time has not come; for any other, also one given back before, nothing happens."""
        if slot in self._slots:
            self._slots.remove(slot)

    @contextmanager
    def turn(self, now: float) -> Generator[float]:
        """Take a slot for a block that waits the given seconds, and does nothing else.

        If the block raises, as by cancellation, nobody goes and the slot is given back.
        """
        slot = self.reserve(now)
        try:
            yield slot.wait(now)
        except BaseException:  # whatever it is: who does not go takes no slot
            self.release(slot)
            raise

    def _earliest(self, now: float) -> tuple[int, float]:
        """Return the place and the time of the earliest slot that leaves all the later ones as they are."""
        regular = self._regular
        for index, slot in enumerate(self._slots):
            at = max(now, regular - self._ahead)
            if self._fits(self._after(regular, at), index):
                return index, at
            regular = self._after(regular, slot.at)
        return len(self._slots), max(now, regular - self._ahead)

    def _fits(self, regular: float, index: int) -> bool:
        for later in range(index, len(self._slots)):
            at = self._slots[later].at
            if at < regular - self._ahead:
                return False
            regular = self._after(regular, at)
        return True

    def _after(self, regular: float, at: float) -> float:
        """Return the regular time of the next one, after one at ``at``."""
        return max(regular, at) + self._every
