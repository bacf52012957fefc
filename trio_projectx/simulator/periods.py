"""The periods that bars of the history routes cover: units 1 to 6 of GATEWAY.md 1.3, any number of each.

Seconds, minutes and hours are counted from 1970 in UTC. A day is a trade date: it opens at 17:00 Chicago time of
the calendar day before. Weeks go from the open of Monday's trade date, months from that of the first of the month,
and several days, weeks or months are counted from the year 1.
"""

from __future__ import annotations

import datetime
import enum
from typing import Final
from zoneinfo import ZoneInfo

_SECOND_NS: Final = 1_000_000_000
_CHICAGO: Final = ZoneInfo("America/Chicago")
_OPEN: Final = datetime.time(17)
#: From 17:00 on it is the next date.
_TO_MIDNIGHT: Final = datetime.timedelta(hours=7)


class Unit(enum.IntEnum):
    """The ``unit`` of a bar; 0 and 7 (ticks) are refused."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    WEEK = 5
    MONTH = 6


_SPANS: Final = {Unit.SECOND: _SECOND_NS, Unit.MINUTE: 60 * _SECOND_NS, Unit.HOUR: 3600 * _SECOND_NS}


def period(unit: Unit, number: int, ns: int) -> tuple[int, int]:
    """Return start and end (int64 ns) of the period of ``number`` units that ``ns`` lies in.

    :raises OverflowError: where the calendar does not reach (a period that ends after the year 9999).
    """
    if unit in _SPANS:
        span = _SPANS[unit] * number
        start = ns // span * span
        return start, start + span
    date = trade_date(ns)
    try:
        if unit is Unit.MONTH:
            first = (date.year * 12 + date.month - 1) // number * number
            return opened(_month(first)), opened(_month(first + number))
        size = number * (7 if unit is Unit.WEEK else 1)
        # 0001-01-01 was a Monday, and has the ordinal 1.
        first = (date.toordinal() - 1) // size * size + 1
        return opened(_day(first)), opened(_day(first + size))
    except ValueError:
        raise OverflowError("the period ends after the year 9999") from None


def trade_date(ns: int) -> datetime.date:
    """Return the trade date of the instant ``ns``."""
    local = datetime.datetime.fromtimestamp(ns // _SECOND_NS, _CHICAGO).replace(tzinfo=None)
    return (local + _TO_MIDNIGHT).date()


def opened(date: datetime.date) -> int:
    """Return the instant (int64 ns) at which the trade date ``date`` opened."""
    eve = date - datetime.timedelta(days=1)
    return int(datetime.datetime.combine(eve, _OPEN, _CHICAGO).timestamp()) * _SECOND_NS


def _day(ordinal: int) -> datetime.date:
    # The first day there is has no eve; nobody asks for its bar.
    return datetime.date.fromordinal(max(2, ordinal))


def _month(months: int) -> datetime.date:
    year, month = divmod(months, 12)
    return datetime.date(year, month + 1, 1) if year else datetime.date(1, 1, 2)
