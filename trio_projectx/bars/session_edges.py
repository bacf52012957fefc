"""Intervals of sessions: counted from the open of a segment, never across a break, days by trade date."""

from __future__ import annotations

from typing import Literal

import attrs

from trio_projectx.bars.edges import DateGroups, Edges, Slot
from trio_projectx.bars.sessions import Sessions
from trio_projectx.bars.templates import Around, Segment

Outside = Literal["own", "attach", "drop"]


def _in_closed_hours(outside: Edges, around: Around, ts_ns: int) -> Slot:
    """Return a slot of the grid of UTC, cut where the neighbouring segments end and begin."""
    start, end = outside.interval(ts_ns)
    if around.before is not None:
        start = max(start, around.before.close)
    if around.after is not None:
        end = min(end, around.after.open)
    return Slot(start, end, start, end, None, is_scheduled=False)


def _attached_from(around: Around, here: Segment, ts_ns: int) -> int:
    """Return from when on closed hours belong to ``here``: the close of the segment before it."""
    return min(ts_ns, here.open) if around.before is None else around.before.close


@attrs.frozen(slots=True)
class SessionEdges:
    """Intervals of s, m and h: steps of elapsed time from a segment's open, the last one cut at its close.

    ``grid`` is the grid of UTC of the same timeframe, for trades of closed hours that get bars of their own.
    Where ``attach`` is true, they belong to the first bar of the segment that follows instead.
    """

    sessions: Sessions
    step_ns: int
    grid: Edges
    attach: bool

    @property
    def first_ts(self) -> int:
        """That of the grid."""
        return self.grid.first_ts

    @property
    def last_ts(self) -> int:
        """That of the grid."""
        return self.grid.last_ts

    def locate(self, ts_ns: int) -> Slot:
        """Return the slot of an instant."""
        around = self.sessions.around(ts_ns)
        here = around.here
        if here is not None:
            return self._within(around, here, ts_ns, ts_ns)
        after = around.after
        if self.attach and after is not None:
            return self._within(around, after, after.open, ts_ns)
        return _in_closed_hours(self.grid, around, ts_ns)

    def _within(self, around: Around, here: Segment, at: int, ts_ns: int) -> Slot:
        start = at - (at - here.open) % self.step_ns
        end = min(start + self.step_ns, here.close)
        low = _attached_from(around, here, ts_ns) if self.attach and start == here.open else start
        return Slot(start, end, low, end, here.trade_date)

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return ``(start, end)`` of the slot of an instant."""
        return self.locate(ts_ns)[:2]


@attrs.frozen(slots=True)
class TradeDateEdges:
    """Intervals of d, w and M: all segments of a group of trade dates, from first open to last close."""

    sessions: Sessions
    groups: DateGroups
    grid: Edges
    attach: bool

    @property
    def first_ts(self) -> int:
        """That of the grid."""
        return self.grid.first_ts

    @property
    def last_ts(self) -> int:
        """That of the grid."""
        return self.grid.last_ts

    def locate(self, ts_ns: int) -> Slot:
        """Return the slot of an instant; its stamps are those of one segment, for closed hours lie between."""
        around = self.sessions.around(ts_ns)
        here = around.here
        if here is None:
            if not self.attach or around.after is None:
                return _in_closed_hours(self.grid, around, ts_ns)
            here = around.after
        first, following = self.groups.around(here.day)
        opens = self.sessions.source.first_from(first)
        closes = self.sessions.source.last_before(following)
        # `here` is of the group; a source that finds nothing near would contradict itself.
        assert opens is not None
        assert closes is not None
        low = _attached_from(around, here, ts_ns) if self.attach else here.open
        return Slot(opens.open, closes.close, low, here.close, closes.trade_date)

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return ``(start, end)`` of the slot of an instant."""
        return self.locate(ts_ns)[:2]
