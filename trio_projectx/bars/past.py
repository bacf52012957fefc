"""Closed bars that late trades may still change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias

from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.edges import INT64_MAX, INT64_MIN, Slot
from trio_projectx.bars.undo import Journal, State, restore, state_of

#: Bars of a timeframe that can be revised; what comes for an older one is counted as late.
REVISABLE: Final = 1000
_Kept: TypeAlias = tuple[
    int, dict[int, OpenBar], int, int, dict[int, OpenBar], list[OpenBar], dict[int, None]
]


class Past:
    """The last closed bars of one timeframe, by their starts.

    A trade for a bar that was not given out yet just goes into it: to whoever reads, it was never late.
    """

    __slots__ = (
        "_bars",
        "_before",
        "_changed",
        "_finished",
        "_forgotten",
        "_given",
        "_journal",
        "_kept",
        "_revised",
        "_unborn",
        "trades",
    )

    def __init__(self, kept: int = REVISABLE, journal: Journal | None = None) -> None:
        self.trades = 0
        self._kept = kept
        self._journal = Journal() if journal is None else journal
        self._before: _Kept | None = None
        self._changed: list[tuple[OpenBar, State]] = []
        self._bars: dict[int, OpenBar] = {}
        self._finished: dict[int, None] = {}
        self._forgotten = INT64_MIN  # no bar that ended by then is remembered
        self._given = INT64_MIN  # no bar that ended after that was given out
        self._revised: dict[int, OpenBar] = {}
        self._unborn: list[OpenBar] = []

    def touch(self) -> None:
        """Remember how it is: it is about to change."""
        if self._before is None:
            self._before = (
                self.trades,
                dict(self._bars),
                self._forgotten,
                self._given,
                dict(self._revised),
                list(self._unborn),
                dict(self._finished),
            )
            self._journal.note(self)

    def keep(self) -> None:
        """Forget how it was."""
        self._before = None
        self._changed.clear()

    def undo(self) -> None:
        """Be as it was before the update."""
        if self._before is not None:
            self.trades, self._bars, self._forgotten, self._given = self._before[:4]
            self._revised, self._unborn, self._finished = self._before[4:]
        for bar, state in reversed(self._changed):
            restore(bar, state)
        self.keep()

    def remember(self, closed: Sequence[OpenBar]) -> None:
        """Remember bars that were closed, in the order of their ends."""
        self.touch()
        for bar in closed:
            self._bars[bar.start] = bar
        while len(self._bars) > self._kept:
            oldest = min(self._bars.values(), key=_end) if self._unborn else next(iter(self._bars.values()))
            self._forgotten = max(self._forgotten, oldest.end)
            del self._bars[oldest.start]

    def revise(self, slot: Slot, ts: int, ticks: int, volume: int, side: int) -> bool:
        """Add a late trade to its bar, which may have to be made; False if that bar is beyond memory."""
        if slot.start in self._finished:
            return False
        self.touch()
        bar = self._bars.get(slot.start)
        if bar is None:
            if slot.end <= self._forgotten:
                return False
            bar = OpenBar(slot.start, slot.end, ticks, slot.trade_date, slot.is_scheduled)
            self._bars[slot.start] = bar
            if slot.end > self._given:
                self._unborn.append(bar)
        elif bar.volume + volume > INT64_MAX:
            return False
        else:
            self._changed.append((bar, state_of(bar)))
        bar.add(ts, ticks, volume, side)
        bar.late_trades += 1
        self.trades += 1
        if slot.end <= self._given:
            self._revised[slot.start] = bar
        return True

    def spoil(self, stamps: Sequence[int]) -> None:
        """Trades of these stamps, sorted, cannot be had: whole bars that they belong to are not whole, and are revised.

        A bar that was not given out yet is left to whoever gives it out.
        """
        self.touch()
        for bar in self._bars.values():
            at = bisect_left(stamps, bar.start)
            if bar.is_partial is False and at < len(stamps) and stamps[at] < bar.end:
                self._changed.append((bar, state_of(bar)))
                bar.is_partial = True
                self._revised[bar.start] = bar

    def finish(self, starts: Sequence[int]) -> None:
        """No trade changes the bars of these starts any more: their numbers are not ours."""
        self.touch()
        for start in starts:
            self._bars.pop(start, None)
            self._revised.pop(start, None)
            self._finished[start] = None
        while len(self._finished) > self._kept:
            del self._finished[next(iter(self._finished))]

    def give(self, closed: Sequence[OpenBar]) -> list[OpenBar]:
        """Note that ``closed`` are given out now; return those that late trades made, which go with them."""
        if closed or self._unborn:
            self.touch()
        unborn, self._unborn = self._unborn, []
        for bar in (*closed, *unborn):
            self.note_given(bar.end)
        return unborn

    def note_given(self, end: int) -> None:
        """Note that something was given out for every interval that ends by ``end``."""
        self.touch()
        self._given = max(self._given, end)

    def take_revised(self) -> list[OpenBar]:
        """Return the bars that changed after they were given out, oldest first, and begin anew."""
        if not self._revised:
            return []
        self.touch()
        revised, self._revised = self._revised, {}
        return sorted(revised.values(), key=_end)


def _end(bar: OpenBar) -> int:
    return bar.end
