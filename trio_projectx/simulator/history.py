"""Bars of the past, newest first, as `History/retrieveBars` tells them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from trio_projectx.simulator.candles import SECOND_NS, Candle
from trio_projectx.simulator.past import HOUR, Past
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.periods import Unit, period

_DAY_NS: Final = 86_400 * SECOND_NS
_HOUR_NS: Final = HOUR * MINUTE_NS
#: How far back each unit goes: minutes 63 days, hours a year (GATEWAY.md 1.3); the others are assumptions.
DEPTH_NS: Final = {
    Unit.SECOND: 63 * _DAY_NS,
    Unit.MINUTE: 63 * _DAY_NS,
    Unit.HOUR: 365 * _DAY_NS,
    Unit.DAY: 1825 * _DAY_NS,
    Unit.WEEK: 1825 * _DAY_NS,
    Unit.MONTH: 1825 * _DAY_NS,
}


@attrs.frozen(slots=True)
class BarQuery:
    """Bars of ``number`` units whose start lies at or after ``start_ns`` and before ``end_ns``."""

    start_ns: int
    end_ns: int
    unit: Unit
    number: int
    with_partial: bool
    """Whether the bar that is not over at the time of the question is wanted too."""


def bars(past: Past, query: BarQuery, now_ns: int) -> Iterator[tuple[int, Candle] | None]:
    """Yield start and candle of each bar, newest first; a None is a moment to let others work.

    Spans without a trade have no bar.
    """
    past.look(now_ns)
    start_ns = max(query.start_ns, now_ns - DEPTH_NS[query.unit])
    end_ns = min(query.end_ns, now_ns + 1)
    if start_ns >= end_ns:
        return
    begin, end = period(query.unit, query.number, end_ns - 1)
    whole: Candle | None = None
    for at_ns, candle in _pieces(past, query.unit, start_ns, min(end, now_ns + 1), now_ns):
        if at_ns < begin:
            yield _bar(query, begin, end, whole, start_ns, now_ns)
            begin, end = period(query.unit, query.number, at_ns)
            whole = None
        if begin < start_ns:
            return
        if candle is not None:
            whole = candle if whole is None else candle.merged(whole)
        yield None
    yield _bar(query, begin, end, whole, start_ns, now_ns)


def _bar(
    query: BarQuery, begin: int, end: int, whole: Candle | None, start_ns: int, now_ns: int
) -> tuple[int, Candle] | None:
    wanted = begin >= start_ns and (query.with_partial or end <= now_ns)
    return (begin, whole) if whole is not None and wanted else None


def _pieces(
    past: Past, unit: Unit, start_ns: int, end_ns: int, now_ns: int
) -> Iterator[tuple[int, Candle | None]]:
    """Yield the seconds, minutes or hours that bars of ``unit`` are made of, newest first."""
    if unit is Unit.SECOND:
        for minute in _down(start_ns, end_ns, MINUTE_NS):
            yield minute * MINUTE_NS + MINUTE_NS - 1, None
            for second, candle in reversed(past.seconds(minute, now_ns).items()):
                if start_ns <= second * SECOND_NS < end_ns:
                    yield second * SECOND_NS, candle
    elif unit is Unit.MINUTE:
        for minute in _down(start_ns, end_ns, MINUTE_NS):
            yield minute * MINUTE_NS, past.minute(minute, now_ns)
    else:
        for hour in _down(start_ns, end_ns, _HOUR_NS):
            made = past.made
            # The minutes one by one, so that others get a turn between; then the hour has them at hand.
            for minute in range(hour * HOUR + HOUR - 1, hour * HOUR - 1, -1) if past.is_unmade(hour) else ():
                past.minute(minute, now_ns)
                if past.made > made:
                    made = past.made
                    yield hour * _HOUR_NS, None
            yield hour * _HOUR_NS, past.hour(hour, now_ns)


def _down(start_ns: int, end_ns: int, span_ns: int) -> range:
    """Return the numbers of the spans that touch the time from start to end, the last one first."""
    return range((end_ns - 1) // span_ns, start_ns // span_ns - 1, -1)
