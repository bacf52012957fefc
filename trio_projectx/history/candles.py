"""From what the service sends as bars to bars that can be trusted, or a reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from trio_projectx.connection.answers import WireCandle
from trio_projectx.market import PriceGrid, Reason, StampError, StampRangeError, parse_stamp
from trio_projectx.market.reasons import price_reason

#: More than any bar ever had, and the sum of as many as a month has seconds is an int64 yet.
_VOLUME_MOST: Final = 1 << 40
Fault: TypeAlias = Reason | str
#: What only a bar can have wrong; the values are stable, as `Reason`'s are.
UNALIGNED: Final = "unaligned"
"""It does not open where a bar of this length does."""
CROOKED: Final = "crooked"
"""Its high or low is not the highest or lowest of its prices."""
UNTRADED: Final = "untraded"
"""Its volume is 0: an interval without a trade has no bar."""


@attrs.frozen(slots=True)
class Candle:
    """A bar of the service's: int64 ns of its opening, prices on the contract's grid, whole contracts above 0."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: int


def opening(candle: Candle) -> int:
    """Return when it opens: what bars are sorted by."""
    return candle.start


@attrs.define(slots=True)
class Page:
    """One answer, read: ``size`` bars. ``starts`` are the openings of all that have one, the bad ones too.

    ``bad`` are those of bars that stand for trades and were left out; ``undated`` have no opening that can be read.
    """

    size: int = 0
    candles: list[Candle] = attrs.field(factory=list[Candle])
    starts: list[int] = attrs.field(factory=list[int])
    bad: list[int] = attrs.field(factory=list[int])
    undated: int = 0
    faults: Counter[Fault] = attrs.field(factory=Counter[Fault])


def read_page(wire: Iterable[WireCandle], grid: PriceGrid | None, step_ns: int) -> Page:
    """Judge each bar by itself: one bad one does not take its neighbours with it."""
    page = Page()
    for each in wire:
        page.size += 1
        start = _start(each.t)
        if isinstance(start, int):
            page.starts.append(start)
        found = start if isinstance(start, Reason) else _candle(each, start, grid, step_ns)
        if isinstance(found, Candle):
            page.candles.append(found)
            continue
        page.faults[found] += 1
        if not isinstance(start, int):
            page.undated += 1
        elif found != UNTRADED:
            page.bad.append(start)
    return page


def _start(text: str) -> int | Reason:
    try:
        return parse_stamp(text)
    except StampRangeError:
        return Reason.STAMP_RANGE
    except StampError:
        return Reason.STAMP_FORM


def _candle(wire: WireCandle, start: int, grid: PriceGrid | None, step_ns: int) -> Candle | Fault:
    if start % step_ns:
        return UNALIGNED
    o, h, l, c, v = wire.o, wire.h, wire.l, wire.c, wire.v  # noqa: E741  the wire's names
    if o is None or h is None or l is None or c is None or v is None:
        return Reason.SCHEMA
    for price in (o, h, l, c):
        fault = _price_fault(price, grid)
        if fault is not None:
            return fault
    if not (l <= min(o, c) and h >= max(o, c)):
        return CROOKED
    if not 0 <= v <= _VOLUME_MOST or v != int(v):
        return Reason.SIZE
    return Candle(start, float(o), float(h), float(l), float(c), int(v)) if v else UNTRADED


def _price_fault(price: float, grid: PriceGrid | None) -> Reason | None:
    fault = price_reason(price)
    if fault is None and grid is not None and grid.ticks(float(price)) is None:
        return Reason.OFF_GRID
    return fault
