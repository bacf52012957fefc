"""Volumes that no trade has, by those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Trades in a window; what is usual is the biggest of this one and of the one before it.
_WINDOW: Final = 1000
_EVERY: Final = (1 << 63) - 1


class VolumeBand:
    """Says which volume is plausible: to ``floor``, and to ``times`` the biggest of the last 1,000 to 2,000 trades.

    ``high`` is that bound; with ``times`` 0 there is none.
    """

    __slots__ = ("_before", "_biggest", "_count", "_floor", "_times", "high")

    def __init__(self, times: float, floor: int) -> None:
        self._times = times
        self._floor = floor
        self._biggest = self._before = self._count = 0
        self.high = floor if times else _EVERY

    def note(self, volumes: Sequence[int]) -> None:
        """Note the volumes of trades that were accepted."""
        if not self._times:
            return
        self._biggest = max(self._biggest, *volumes)
        self._count += len(volumes)
        if self._count >= _WINDOW:
            self._before, self._biggest, self._count = self._biggest, 0, 0
        self.high = max(self._floor, int(self._times * max(self._biggest, self._before)))
