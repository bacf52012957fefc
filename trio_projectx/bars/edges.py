"""Intervals of one timeframe: which one an instant belongs to (BAR_TIME.md, "Specification").

Hot paths ask only where a stamp leaves the span of the bar before it; everything here is int64 nanoseconds,
floored, and depends on nothing that was asked before.
"""

from __future__ import annotations

import datetime
from typing import Final, NamedTuple, Protocol

import attrs

from trio_projectx._timeframe import NS_PER_SECOND, Timeframe

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
DAY_NS: Final = 86_400 * NS_PER_SECOND
#: Day 0 is 1970-01-01, in every count of days here.
EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_FIRST_MONDAY: Final = -3  # 1969-12-29
#: Bars of closed hours in a row that are looked through for the session behind them.
_CLOSED_MOST: Final = 16
#: Whole years whose every instant, in any zone, has int64 nanoseconds.
FIRST_DAY: Final = datetime.date(1679, 1, 1).toordinal() - EPOCH
LAST_DAY: Final = datetime.date(2262, 1, 1).toordinal() - EPOCH


class Slot(NamedTuple):
    """A bar's interval ``[start, end)``, and stamps ``low <= ts < high`` which are all of this bar.

    Those are fewer than the interval's where closed hours lie in it (a week of sessions), and more where
    trades of closed hours were attached to it. ``trade_date`` is None outside sessions; ``is_scheduled`` is
    false for a bar in hours in which its sessions have none.
    """

    start: int
    end: int
    low: int
    high: int
    trade_date: datetime.date | None = None
    is_scheduled: bool = True


class Edges(Protocol):
    """The intervals of one timeframe under one anchor."""

    @property
    def first_ts(self) -> int:
        """The earliest instant (int64 ns) from which on every interval has its edges inside int64."""
        ...

    @property
    def last_ts(self) -> int:
        """The latest such instant."""
        ...

    def locate(self, ts_ns: int) -> Slot:
        """Return the one slot with ``low <= ts_ns < high``."""
        ...

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return ``(start, end)`` of that slot."""
        ...


def enclosing(edges: Edges, ts_ns: int) -> tuple[int, int]:
    """Return ``(start, end)`` of the bar of an instant; in closed hours, of the longer one in which they lie, if any.

    A day that is halted at noon has hours between its segments that are no part of it: they have bars of their own,
    inside of its interval.
    """
    slot = after = edges.locate(ts_ns)
    for _ in range(_CLOSED_MOST):
        if after.is_scheduled or after.end > edges.last_ts:
            break
        after = edges.locate(after.end)
    if after.start < slot.start:
        return after.start, max(after.end, slot.end)
    return slot.start, slot.end


@attrs.frozen(slots=True)
class FixedEdges:
    """Intervals of one length, counted from ``origin_ns`` in both directions."""

    step_ns: int
    origin_ns: int = 0

    @property
    def first_ts(self) -> int:
        """The first edge inside int64."""
        return self.origin_ns - (self.origin_ns - INT64_MIN) // self.step_ns * self.step_ns

    @property
    def last_ts(self) -> int:
        """The last nanosecond before the last edge inside int64."""
        return self.origin_ns + (INT64_MAX - self.origin_ns) // self.step_ns * self.step_ns - 1

    def locate(self, ts_ns: int) -> Slot:
        """Return the slot from the edge at or before ``ts_ns`` to the next one (also before 1970)."""
        start = ts_ns - (ts_ns - self.origin_ns) % self.step_ns
        end = start + self.step_ns
        return Slot(start, end, start, end)

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return the edge at or before ``ts_ns``, and the next one."""
        return self.locate(ts_ns)[:2]


@attrs.frozen(slots=True)
class DateGroups:
    """Runs of ``n`` dates, ISO weeks or months, by whole numbers, so that no history is needed."""

    unit: str
    n: int

    @classmethod
    def of(cls, timeframe: Timeframe) -> DateGroups:
        """Return the groups of a timeframe of d, w or M."""
        return cls(timeframe.unit, timeframe.n)

    def around(self, day: int) -> tuple[int, int]:
        """Return the first day of the group of ``day``, and of the next group."""
        if self.unit == "M":
            date = datetime.date.fromordinal(day + EPOCH)
            first = (date.year * 12 + date.month - 1) // self.n * self.n
            return _month_day(first), _month_day(first + self.n)
        length, origin = (self.n, 0) if self.unit == "d" else (7 * self.n, _FIRST_MONDAY)
        first = day - (day - origin) % length
        return first, first + length

    def hold(self, fine: DateGroups) -> bool:
        """Whether each group here is made of whole groups of ``fine``."""
        if self.unit == "M":
            return self.n % fine.n == 0 if fine.unit == "M" else (fine.unit, fine.n) == ("d", 1)
        if fine.unit == "M":
            return False
        length, origin = (self.n, 0) if self.unit == "d" else (7 * self.n, _FIRST_MONDAY)
        step, start = (fine.n, 0) if fine.unit == "d" else (7 * fine.n, _FIRST_MONDAY)
        return length % step == 0 and (origin - start) % step == 0

    def whole_days(self) -> tuple[int, int]:
        """Return the first and last day of those whose group lies within `FIRST_DAY` and `LAST_DAY`."""
        first, following = self.around(FIRST_DAY)
        start = first if first >= FIRST_DAY else following
        return start, self.around(LAST_DAY)[0] - 1


def _month_day(months: int) -> int:
    """Return the first day of a month that is counted from January of year 0; far ones end at the calendar's."""
    year, month = divmod(months, 12)
    if year < datetime.MINYEAR:
        return datetime.date.min.toordinal() - EPOCH - 1
    if year > datetime.MAXYEAR:
        return datetime.date.max.toordinal() - EPOCH + 1
    return datetime.date(year, month + 1, 1).toordinal() - EPOCH


class Days(Protocol):
    """Local dates as instants; dates never run backwards, so that the days are intervals."""

    def start_of(self, day: int) -> int:
        """Return the first instant (int64 ns) of day ``day``."""
        ...

    def day_of(self, ts_ns: int) -> int:
        """Return the last day whose first instant is at or before ``ts_ns``."""
        ...


@attrs.frozen(slots=True)
class UtcDays:
    """Days of UTC."""

    def start_of(self, day: int) -> int:
        """Return 00:00Z of the day."""
        return day * DAY_NS

    def day_of(self, ts_ns: int) -> int:
        """Return the day of an instant."""
        return ts_ns // DAY_NS


@attrs.frozen(slots=True)
class DateEdges:
    """Intervals of d, w and M over the days of some zone."""

    groups: DateGroups
    days: Days

    @property
    def first_ts(self) -> int:
        """The start of the first group inside the years that int64 holds whole."""
        return self.days.start_of(self.groups.whole_days()[0])

    @property
    def last_ts(self) -> int:
        """The last instant of the last such group."""
        return self.days.start_of(self.groups.whole_days()[1] + 1) - 1

    def locate(self, ts_ns: int) -> Slot:
        """Return the slot of the group of the day of ``ts_ns``."""
        first, following = self.groups.around(self.days.day_of(ts_ns))
        start, end = self.days.start_of(first), self.days.start_of(following)
        return Slot(start, end, start, end)

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return the first instants of that group and of the next."""
        return self.locate(ts_ns)[:2]
