"""Sessions out of pandas_market_calendars (extra ``calendars``), for markets that this library has no table of.

Nothing here is imported before it is asked for: pandas costs a third of a second.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from trio_projectx._errors import ConfigError
from trio_projectx.bars.edges import INT64_MIN
from trio_projectx.bars.sessions import Date, Sessions

_PACKAGE: Final = "pandas_market_calendars"
_NS: Final = "datetime64[ns, UTC]"


def market_calendar(calendar: object, first: Date, last: Date) -> Sessions:
    """Return the sessions of a calendar of pandas_market_calendars, from trade date ``first`` to ``last``, both in.

    Breaks and interruptions of a day part its segments; a break without length parts nothing. The sessions are
    known for these dates only, and there are none beyond: what trades there is outside (and told, once, in the log).

    :param calendar: the name of one, such as "XEUR", or one of its calendar objects, your own class too.
    :raises ConfigError: if pandas_market_calendars is not installed, there is no such calendar, or it has no
        segments between these dates.
    """
    found, name = _calendar(calendar)
    try:
        schedule = found.schedule(start_date=str(first), end_date=str(last), interruptions=True)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"{name} gives no schedule from {first} to {last}: {exc}") from exc
    segments = [each for date, spans in _rows(schedule) for each in _parted(date, spans)]
    if not segments:
        raise ConfigError(f"{name} has no session from {first} to {last}")
    return Sessions.from_segments(segments, f"{name} of {_PACKAGE}")


def _calendar(calendar: object) -> tuple[Any, str]:
    """Return the calendar object, and its name; it is untyped, as the package is."""
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError:
        raise ConfigError(
            f"{_PACKAGE} is not installed: python -m pip install 'trio-projectx[calendars]'"
        ) from None
    if not isinstance(calendar, str):
        if not isinstance(calendar, package.MarketCalendar):
            raise ConfigError(f"calendar must be a name or a calendar of {_PACKAGE}, not {calendar!r:.40}")
        return calendar, str(cast("Any", calendar).name)
    try:
        return package.get_calendar(calendar), calendar
    except (RuntimeError, KeyError, ValueError):  # which of them, depends on its version
        raise ConfigError(f"{_PACKAGE} has no calendar {calendar!r:.40}") from None


def _rows(schedule: Any) -> Iterable[tuple[datetime.date, list[tuple[int, int]]]]:
    """Give each trade date with its open and close, and then the times between them when it is closed, in ns."""

    def column(name: str) -> list[int]:
        return cast("list[int]", schedule[name].astype(_NS).astype("int64").tolist())

    pairs = [("market_open", "market_close"), ("break_start", "break_end")]
    names = [str(each) for each in schedule.columns]
    pairs += [
        (name, name.replace("_start_", "_end_")) for name in names if name.startswith("interruption_start_")
    ]
    columns = [(column(start), column(end)) for start, end in pairs if start in names]
    for at, date in enumerate(schedule.index):
        yield date.date(), [(start[at], end[at]) for start, end in columns]


def _parted(
    date: datetime.date, spans: Sequence[tuple[int, int]]
) -> Iterable[tuple[datetime.date, int, int]]:
    (opens, closes), *pauses = spans
    for start, end in sorted(pauses):
        if start == INT64_MIN or start >= end or end <= opens or start >= closes:  # NaT, or nothing is parted
            continue
        if opens < start:
            yield date, opens, start
        opens = max(opens, end)
    if opens < closes:
        yield date, opens, closes
