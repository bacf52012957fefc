"""How often a handler is called, and with how much: arithmetic on times that are handed in."""

from __future__ import annotations

import math
from typing import Final

#: What rounding may leave of a wait that is over.
_NOTHING_S: Final = 1e-9


class CallRate:
    """At most ``burst + T * per_s`` calls in any ``T`` seconds (the generic cell rate algorithm, ITU-T I.371).

    Not the connections' bucket: nobody waits in a row here, so there is nothing to reserve or to give back.
    """

    __slots__ = ("_ahead", "_every", "_regular")

    def __init__(self, per_s: float, burst: int) -> None:
        self._every = 1.0 / per_s
        self._ahead = (burst - 1) * self._every
        self._regular = -math.inf

    def wait(self, now: float) -> float:
        """Return for how many seconds no call may be made."""
        wait = self._regular - self._ahead - now
        return wait if wait > _NOTHING_S else 0.0

    def take(self, now: float) -> None:
        """Note a call that is made now."""
        self._regular = max(self._regular, now) + self._every


class BatchSize:
    """How many items the next batch may hold: twice as many while items wait, half as many after a slow call.

    Slow is what takes longer than ``aim_s``, and than two calls with one item: where one item alone takes that long,
    as in a request over a network, smaller batches would only take longer for all of them. It begins with 1, or with
    ``most`` where calls are few because they are limited.
    """

    __slots__ = ("_aim_s", "_most", "_single_s", "size")

    def __init__(self, most: int, aim_s: float, *, is_limited: bool = False) -> None:
        self._most = most
        self._aim_s = aim_s
        self._single_s = 0.0
        self.size = most if is_limited else 1

    def note(self, took_s: float, *, items: int, are_waiting: bool) -> None:
        """Note a call with ``items``, and whether more were waiting behind them."""
        if items == 1:
            self._single_s = took_s
        if took_s > max(self._aim_s, 2 * self._single_s):
            self.size = max(1, min(self.size, items) // 2)
        elif are_waiting and items >= self.size:
            self.size = min(2 * self.size, self._most)
