"""Which bars of the service's a timeframe is made of, so that no bar of ours cuts one of theirs in two.

The service's days, weeks and months are not a market's sessions (they open at 17:00 Chicago time, and do not equal
settlement bars: GATEWAY.md section 1.3), and from where it counts bars of several hours nobody says. So days and longer
are made of hours, or of minutes where a session opens or closes within an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from trio_projectx._errors import TimeframeError
from trio_projectx._timeframe import NS_PER_SECOND, BarKind, Timeframe
from trio_projectx.bars import Anchor
from trio_projectx.bars.edges import DAY_NS

_MINUTE: Final = 60 * NS_PER_SECOND
_HOUR: Final = 60 * _MINUTE
#: Edges that are looked at one by one, at most; beyond, minutes are asked for, which every edge fits.
_EDGES_MOST: Final = 20_000


@attrs.frozen(slots=True)
class Source:
    """``number`` of the wire's ``unit`` (1 second, 2 minute, 3 hour), ``step_ns`` long, counted from 1970."""

    unit: int
    number: int
    step_ns: int

    @property
    def label(self) -> str:
        """As a timeframe: ``5m``."""
        return f"{self.number}{'smh'[self.unit - 1]}"


SECOND: Final = Source(1, 1, NS_PER_SECOND)
MINUTE: Final = Source(2, 1, _MINUTE)
HOUR: Final = Source(3, 1, _HOUR)


def source_of(timeframe: Timeframe, anchor: Anchor, start_ns: int, end_ns: int) -> Source:
    """Return the longest bars of the service's that every bar of ``timeframe`` from start to end is made of.

    :raises TimeframeError: for bars that do not end by time, which the service does not have.
    """
    if isinstance(timeframe, BarKind):
        raise TimeframeError(
            f'there is no history of "{timeframe}" bars: the service has none, nor its trades'
        )
    choice = _candidates(timeframe)
    edges = list(_edges(timeframe, anchor, start_ns, end_ns))
    if len(edges) > _EDGES_MOST:
        return MINUTE if timeframe.unit != "s" else SECOND
    for source in choice:
        if all(edge % source.step_ns == 0 for edge in edges):
            return source
    return SECOND


def edges_looked_at(timeframe: Timeframe, anchor: Anchor, start_ns: int, end_ns: int) -> int:
    """Return how many edges `source_of` looks at, about: those of a zone one by one, of sessions a few each day."""
    step = timeframe.step_ns
    if step is None or anchor.zone is None:
        return 2 * (end_ns - start_ns) // DAY_NS
    return (end_ns - start_ns) // step


def _candidates(timeframe: Timeframe) -> tuple[Source, ...]:
    if timeframe.unit == "s":
        several = Source(1, timeframe.n, timeframe.n * NS_PER_SECOND)
        return (several, SECOND) if 60 % timeframe.n == 0 else (SECOND,)
    if timeframe.unit == "m":
        several = Source(2, timeframe.n, timeframe.n * _MINUTE)
        return (several, MINUTE) if 60 % timeframe.n == 0 else (MINUTE,)
    return (HOUR, MINUTE)


def _edges(timeframe: Timeframe, anchor: Anchor, start_ns: int, end_ns: int) -> Iterator[int]:
    """Yield instants between which bars lie as between all others; one more than `_EDGES_MOST` at most."""
    step, edges = timeframe.step_ns, anchor.edges(timeframe)
    yield from edges.interval(start_ns)
    if step is not None and anchor.sessions is not None:
        # From the open of each segment in steps, cut at its close.
        days = [_date(anchor, ts) for ts in (start_ns, end_ns)]
        for _, opens, closes in anchor.sessions.segments(*days):
            yield from (opens, opens + step, closes)
    elif step is not None and anchor.zone is None:
        return  # all intervals are alike
    else:
        at = edges.interval(start_ns)[1]
        for _ in range(_EDGES_MOST + 1):
            yield at  # the last one too: a bar of the service's may reach over it
            if at >= end_ns:
                return
            at = edges.interval(at)[1]


def _date(anchor: Anchor, ts_ns: int) -> str:
    assert anchor.sessions is not None
    around = anchor.sessions.around(ts_ns)
    segment = around.here or around.before or around.after
    assert segment is not None
    return segment.trade_date.isoformat()
