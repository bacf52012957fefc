"""Between the history of a stream and its first live bar: live items wait until the history is before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from trio_projectx._events import Bar, BarRevised, Gap
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars import BarSet
from trio_projectx.bars.mending import Known

Item: TypeAlias = Bar | BarRevised | Gap
#: Live items that may wait for the history of a stream at least, however small its capacity: nobody can read them yet.
ROOM: Final = 1_000
Want: TypeAlias = Callable[[Timeframe, int, int], None]


def nothing(frame: Timeframe, low: int, high: int) -> None:
    """Nobody reads bars again."""


@attrs.define(slots=True, eq=False)
class Seam:
    """What one ``open_bars(history=count)`` remembers until its history has come, or does not.

    ``room`` is how many live items may wait for it.
    """

    count: int
    room: int
    held: list[Item] | None = attrs.field(factory=list[Item])
    """Live items that wait; None when they do not wait any more."""
    is_full: bool = False
    """Whether live items had no room to wait any longer: the history comes too late for this stream."""
    first_ts: int | None = None
    """The stamp of the first trade that was received without anything missing before it."""
    until_ts: int | None = None
    """Up to when trades were missing behind it, if they were: it had been sent again (`Bringers.ends`)."""
    _ends: dict[Timeframe, int] = attrs.field(factory=dict[Timeframe, int])

    def hold(self, items: Sequence[Item]) -> bool:
        """Let ``items`` wait; False if they are not to, or there is no room for them."""
        if self.held is None:
            return False
        if len(self.held) + len(items) > self.room:
            self.is_full = True
            return False
        self.held += items
        return True

    def take_held(self) -> list[Item]:
        """Return what has waited; nothing waits from now on."""
        held, self.held = self.held or [], None
        return held

    def lead(self, bars: BarSet, found: Mapping[Timeframe, Sequence[Known]]) -> list[Bar]:
        """Put what was found before the first bar of each timeframe, and return it in the order of its ends."""
        lead: list[tuple[int, int, Bar]] = []
        for rank, frame in enumerate(bars.timeframes):
            bars_before = bars.mender.lead(frame, found.get(frame, ()), self.count) if frame in found else []
            lead += [(bar.end, rank, bar) for bar in bars_before]
            if bars_before:
                self._ends[frame] = bars_before[-1].end
        return [bar for _, _, bar in sorted(lead, key=_place)]

    @property
    def last_end(self) -> int | None:
        """The latest end of a bar of the history."""
        return max(self._ends.values(), default=None)

    def ask(self, bars: BarSet, want: Want) -> None:
        """Have read again what was forming when live trades began, and what lies between the history and that.

        Does nothing before the first trade, or while items wait.
        """
        if self.first_ts is None or self.held is not None:
            return
        last_ts = self.first_ts if self.until_ts is None else self.until_ts
        for frame in bars.timeframes:
            if not isinstance(frame, BarKind):
                low, high = bars.mender.touched(frame, self.first_ts, last_ts)
                want(frame, min(low, self._ends.get(frame, low)), high)


def _place(found: tuple[int, int, Bar]) -> tuple[int, int]:
    return found[:2]
