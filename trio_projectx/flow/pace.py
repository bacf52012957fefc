"""How often a contract has trades, and how long it may therefore go without one. Pure."""

from __future__ import annotations

from typing import Final

#: An interval is compared with the longest of this time at least, and of so many: trades come in bursts.
_WINDOW_S: Final = 60.0
_WINDOW: Final = 16
#: A market is quiet for that many times the longest of its recent intervals, and no longer.
_TIMES: Final = 2.0
#: So many intervals are a pace.
_KNOWN: Final = 4


class Pace:
    """The recent intervals between reads that had trades of one contract; times are trio's clock."""

    def __init__(self) -> None:
        self.last: float | None = None
        """The last such read."""
        self._from: float | None = None
        self._begin = 0.0
        self._count = self._known = 0
        self._present = 0.0
        self._past = 0.0

    def heard(self, now: float) -> None:
        """Note a read."""
        before, self.last, self._from = self._from, now, now
        if before is None:
            return
        if self._count >= _WINDOW and now - self._begin >= _WINDOW_S:
            self._past, self._present, self._count, self._begin = self._present, 0.0, 0, now
        self._count += 1
        self._known += 1
        self._present = max(self._present, now - before)

    def broken(self) -> None:
        """Note that reads were missed: the interval from the last one to the next is none."""
        self._from = None

    @property
    def patience_s(self) -> float | None:
        """For how long it may have no trade; None before its pace is known."""
        return None if self._known < _KNOWN else _TIMES * max(self._present, self._past)
