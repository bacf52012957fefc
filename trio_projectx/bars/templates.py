"""Where segments of sessions come from: a list, or a weekly rule with exceptions, written as text.

Hours are those of one trade date, on the local clock: ``"-1d 17:00 > 16:00"`` opens the day before at 17:00
and closes at 16:00; several segments are parted by commas; no text means that there are none. A weekly rule
names trade dates: ``"Mon-Thu -1d 17:00 > 16:00; Fri -1d 17:00 > 12:15"``.
"""

from __future__ import annotations

import datetime
import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol, TypeAlias

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._redact import escape
from trio_projectx._timeframe import NS_PER_SECOND
from trio_projectx.bars.edges import EPOCH, FIRST_DAY, LAST_DAY
from trio_projectx.bars.zones import Zone

_DAY: Final = 86_400
_HOURS: Final = re.compile(
    r"(?:([+-][0-7])d )?([0-2][0-9]):([0-5][0-9]) > (?:([+-][0-7])d )?([0-2][0-9]):([0-5][0-9])", re.ASCII
)
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BLOCK: Final = 64  # trade dates for which segments are made at a time
_BLOCKS_KEPT: Final = 1024
#: Trade dates looked through for the next one that has a segment.
_LONGEST_CLOSURE: Final = 400


class Segment(NamedTuple):
    """Hours in which trades are expected: int64 ns ``open <= ts < close``, of the trade date ``day``.

    ``day`` counts from 1970-01-01.
    """

    open: int
    close: int
    day: int

    @property
    def trade_date(self) -> datetime.date:
        """The trade date."""
        return datetime.date.fromordinal(self.day + EPOCH)


class Around(NamedTuple):
    """The segment of an instant, if it is in one, and its neighbours, if there are any near."""

    before: Segment | None
    here: Segment | None
    after: Segment | None


Span: TypeAlias = tuple[int, int]  # seconds on the local clock since midnight of the trade date
Hours: TypeAlias = tuple[Span, ...]


class Source(Protocol):
    """Segments in order: disjoint, their trade dates never running backwards."""

    def around(self, ts_ns: int) -> Around:
        """Return where an instant lies among them."""
        ...

    def first_from(self, day: int) -> Segment | None:
        """Return the first segment of trade date ``day`` or a later one, if one is near."""
        ...

    def last_before(self, day: int) -> Segment | None:
        """Return the last segment of a trade date before ``day``, if one is near."""
        ...


def _among(segments: Sequence[Segment], ts_ns: int) -> Around:
    at = bisect_right(segments, ts_ns, key=_open) - 1
    found = segments[at] if at >= 0 else None
    after = segments[at + 1] if at + 1 < len(segments) else None
    if found is not None and ts_ns < found.close:
        return Around(segments[at - 1] if at > 0 else None, found, after)
    return Around(found, None, after)


def _open(segment: Segment) -> int:
    return segment.open


def _day(segment: Segment) -> int:
    return segment.day


@attrs.frozen(slots=True, cache_hash=True)
class Listed:
    """Segments that were listed one by one."""

    segments: tuple[Segment, ...]

    def __attrs_post_init__(self) -> None:
        check_order(self.segments)

    def around(self, ts_ns: int) -> Around:
        """Return where an instant lies; beyond the list it has one neighbour only."""
        return _among(self.segments, ts_ns)

    def first_from(self, day: int) -> Segment | None:
        """Return the first segment of that trade date or a later one."""
        at = bisect_left(self.segments, day, key=_day)
        return self.segments[at] if at < len(self.segments) else None

    def last_before(self, day: int) -> Segment | None:
        """Return the last segment of an earlier trade date."""
        at = bisect_left(self.segments, day, key=_day)
        return self.segments[at - 1] if at else None


class Era(NamedTuple):
    """A weekly rule that holds from trade date ``since`` on: the hours of Monday to Sunday."""

    since: int
    week: tuple[Hours, ...]


@attrs.frozen(slots=True, cache_hash=True)
class Weekly:
    """A weekly rule, exceptions to it, and what part of the day is wanted (None: all of it)."""

    zone: Zone
    eras: tuple[Era, ...]
    exceptions: tuple[tuple[int, Hours], ...] = ()
    window: Span | None = None
    _by_day: dict[int, Hours] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_by_day", dict(self.exceptions))
        starts = {era.since for era in self.eras if era.since > FIRST_DAY}
        for day in sorted({0, *starts, *self._by_day}):
            check_order([each for near in range(day - 8, day + 9) for each in self.of_date(near)])

    def of_date(self, day: int) -> list[Segment]:
        """Make the segments of one trade date; what a change of the clocks left nothing of is left out."""
        instant, midnight = self.zone.first_instant, day * _DAY
        found: list[Segment] = []
        for opens, closes in self._hours(day):
            span = instant(midnight + opens) * NS_PER_SECOND, instant(midnight + closes) * NS_PER_SECOND
            if span[0] < span[1]:
                found.append(Segment(*span, day))
        return found

    def _hours(self, day: int) -> Hours:
        hours = self._by_day.get(day)
        if hours is None:
            era = self.eras[bisect_right(self.eras, day, key=_since) - 1]
            hours = era.week[(day + 3) % 7]  # 1970-01-01 was a Thursday
        if self.window is None:
            return hours
        least, most = self.window
        cut = ((max(least, opens), min(most, closes)) for opens, closes in hours)
        return tuple((opens, closes) for opens, closes in cut if opens < closes)

    def around(self, ts_ns: int) -> Around:
        """Return where an instant lies; a neighbour is found for sure if it is nearer than a month."""
        return _among(_near(self, ts_ns // (NS_PER_SECOND * _DAY * _BLOCK)), ts_ns)

    def first_from(self, day: int) -> Segment | None:
        """Return the first segment of that trade date or of one of the next year's."""
        for each in range(max(day, FIRST_DAY), min(day + _LONGEST_CLOSURE, LAST_DAY)):
            found = self.of_date(each)
            if found:
                return found[0]
        return None

    def last_before(self, day: int) -> Segment | None:
        """Return the last segment of a trade date of the year before."""
        for each in range(min(day, LAST_DAY) - 1, max(day - _LONGEST_CLOSURE, FIRST_DAY), -1):
            found = self.of_date(each)
            if found:
                return found[-1]
        return None


def _since(era: Era) -> int:
    return era.since


@functools.lru_cache(maxsize=_BLOCKS_KEPT)
def _near(source: Weekly, number: int) -> tuple[Segment, ...]:
    """Return the segments of the trade dates of one block of days, and of half a block on either side."""
    first = number * _BLOCK - _BLOCK // 2
    return tuple(each for day in range(first, first + 2 * _BLOCK) for each in source.of_date(day))


def check_order(segments: Sequence[Segment]) -> None:
    """Refuse segments that are empty, overlap, or whose trade dates run backwards."""
    for each in segments:
        if each.open >= each.close:
            raise ConfigError(f"a segment of {each.trade_date} closes before it opens")
    for one, other in pairwise(segments):
        if other.open < one.close or other.day < one.day:
            raise ConfigError(
                f"the segments of {one.trade_date} and {other.trade_date} overlap, or are not in order"
            )


def parse_hours(text: str) -> Hours:
    """Read the hours of a trade date, such as ``"-1d 17:00 > 12:00, 17:00 > +1d 16:00"``; "" is none.

    :raises ConfigError: if they cannot be read, or a segment closes before it opens.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return tuple(_span(part) for part in parts)


def _span(part: str) -> Span:
    match = _HOURS.fullmatch(part)
    if match is None:
        raise ConfigError(f'{escape(part, 60)!r} are no hours such as "-1d 17:00 > 16:00"')
    ends = [int(match[i] or 0) * _DAY + int(match[i + 1]) * 3600 + int(match[i + 2]) * 60 for i in (1, 4)]
    if ends[0] >= ends[1] or int(match[2]) > 24 or int(match[5]) > 24:
        raise ConfigError(f"{part!r}: it must open before it closes, both between 00:00 and 24:00")
    return ends[0], ends[1]


def parse_week(rule: str) -> tuple[Hours, ...]:
    """Read a weekly rule: for Monday to Sunday, the hours of that trade date.

    :raises ConfigError: if it cannot be read, or names a weekday twice.
    """
    week: list[Hours | None] = [None] * 7
    for part in rule.split(";"):
        days, _, hours = part.strip().partition(" ")
        for weekday in _weekdays(days):
            if week[weekday] is not None:
                raise ConfigError(f"{_WEEKDAYS[weekday]} is named twice in {rule!r:.80}")
            week[weekday] = parse_hours(hours)
    return tuple(hours or () for hours in week)


def _weekdays(text: str) -> range:
    first, _, last = text.partition("-")
    if first in _WEEKDAYS and (last or first) in _WEEKDAYS:
        found = range(_WEEKDAYS.index(first), _WEEKDAYS.index(last or first) + 1)
        if found:
            return found
    raise ConfigError(f'{escape(text, 40)!r} is no weekday such as "Mon", nor a run such as "Mon-Fri"')


def day_number(date: object) -> int:
    """Return a date, or the text of one, as days since 1970-01-01.

    :raises ConfigError: if it is none, or outside the years 1679 to 2261.
    """
    parse: Callable[[str], datetime.date] = datetime.date.fromisoformat
    try:
        found = parse(date) if isinstance(date, str) else date
    except ValueError:
        found = None
    if isinstance(found, datetime.datetime) or not isinstance(found, datetime.date):
        raise ConfigError(f'{date!r:.40} is no date such as "2026-11-27"')
    day = found.toordinal() - EPOCH
    if not FIRST_DAY <= day < LAST_DAY:
        raise ConfigError(f"{found} is beyond the years whose nanoseconds fit into int64")
    return day
