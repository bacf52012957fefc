"""Bars for scheduled intervals in which nobody traded: synthetic, at the close before them, without volume."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from trio_projectx._logs import fields
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.builder import AFTER_ALL, BEFORE_ALL
from trio_projectx.bars.edges import Edges, Slot
from trio_projectx.bars.sessions import Sessions
from trio_projectx.bars.templates import Segment
from trio_projectx.bars.undo import Journal

_log: Final = logging.getLogger("trio_projectx")
#: Bars put into one gap at most, more than a session has seconds: a stamp from far away must not fill memory.
_MOST: Final = 100_000


class Filler:
    """Fills the gaps of one timeframe, once its first bar has closed.

    ``next_end`` is the watermark at which the next gap is one (`AFTER_ALL` before the first bar).
    """

    __slots__ = ("_before", "_last_end", "_locate", "_next", "_price", "_sessions", "next_end")

    def __init__(self, edges: Edges, sessions: Sessions) -> None:
        self._locate = edges.locate
        self._sessions = sessions
        self._price = 0
        self._last_end = BEFORE_ALL  # of the bar whose close that is
        self._next: Slot | None = None  # the first scheduled slot that nothing was given for
        self.next_end = AFTER_ALL
        self._before: tuple[int, int, Slot | None, int] | None = None

    def touch(self, journal: Journal) -> None:
        """Remember how it is: it is about to change."""
        if self._before is None:
            self._before = self._price, self._last_end, self._next, self.next_end
            journal.note(self)

    def keep(self) -> None:
        """Forget how it was."""
        self._before = None

    def undo(self) -> None:
        """Be as it was before the update."""
        if self._before is not None:
            self._price, self._last_end, self._next, self.next_end = self._before
        self._before = None

    def revised(self, bar: OpenBar) -> None:
        """Note that a bar was changed, or found, that may be the last one before what comes next."""
        if bar.end >= self._last_end:
            self._price, self._last_end = bar.close, bar.end

    def fill(self, closed: Sequence[OpenBar], watermark: int | None) -> list[OpenBar]:
        """Return ``closed`` (in order of their ends) with the gaps before them, and up to ``watermark``, filled."""
        found: list[OpenBar] = []
        for bar in closed:
            # Also before one outside of the sessions: what lies before it follows the bar before it.
            found += self._until(bar.end)
            if bar.is_scheduled:
                self._move_on(bar.end)
            self._price, self._last_end = bar.close, bar.end
            found.append(bar)
        if watermark is not None:
            found += self._until(watermark + 1)
        return found

    def _until(self, end: int) -> list[OpenBar]:
        """Return synthetic bars of the slots that end before ``end``."""
        found: list[OpenBar] = []
        while self._next is not None and self._next.end < end:
            if len(found) == _MOST:
                _log.warning(
                    "a gap of more than %s empty bars before %s ns is not filled",
                    _MOST,
                    end,
                    extra=fields("empty_bars_left_out", before=end),
                )
                self._stop()
                break
            slot = self._next
            found.append(OpenBar(slot.start, slot.end, self._price, slot.trade_date))
            self._move_on(slot.end)
        return found

    def _move_on(self, at: int) -> None:
        segment = self._segment_from(at)
        if segment is None:
            self._stop()
            return
        slot = self._locate(max(at, segment.open))
        self._next = slot
        self.next_end = slot.end

    def _segment_from(self, at: int) -> Segment | None:
        around = self._sessions.around(at)
        return around.after if around.here is None else around.here

    def _stop(self) -> None:
        self._next = None
        self.next_end = AFTER_ALL
