"""The service's bars, folded into the bars of a timeframe and an anchor."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from trio_projectx.bars.edges import Edges, Slot
from trio_projectx.history.candles import Candle
from trio_projectx.history.table import PastBar


@attrs.define(slots=True)
class Folded:
    """The bars, oldest first, and what was left out."""

    bars: list[PastBar] = attrs.field(factory=list[PastBar])
    forming: int = 0
    """Bars that were not over when the answer came: 1 at most where our clock is right."""
    straddling: int = 0
    """Bars of the service's that reach over the end of one of ours; it is in ours, which is ``partial``."""


def fold(
    contract_id: str,
    candles: Iterable[Candle],
    step_ns: int,
    edges: Edges,
    *,
    now_ns: int,
    known_from: int,
    bad: Iterable[int] = (),
) -> Folded:
    """Fold ``candles``, each ``step_ns`` long, oldest first, into the intervals of ``edges``.

    A bar whose end is after ``now_ns`` is left out. That a candle opened at some time shows that the service's clock
    was there too, so a clock of ours that is behind drops no more than the last bar. Where the candles begin
    (``known_from``) within an interval, its bar is left out as well. A bar in which one was ``bad`` (it opened at
    that time, and could not be read) is ``partial``.
    """
    folded = Folded()
    found: dict[tuple[int, int], PastBar] = {}
    slot: Slot | None = None
    for candle in candles:
        now_ns = max(now_ns, candle.start)
        if slot is None or not slot.low <= candle.start < slot.high:
            slot = edges.locate(candle.start)
        if slot.start < known_from:
            continue
        # Not only the last bar may go on: a day may close for hours, which have bars of their own, and open again.
        bar = found.get((slot.start, slot.end))
        if bar is None:
            bar = found[slot.start, slot.end] = _begun(contract_id, slot, candle)
        else:
            _add(bar, candle)
        if candle.start + step_ns > slot.end:
            folded.straddling += 1
            bar.partial = True
    for start in bad:
        spoiled = found.get(edges.interval(start))
        if spoiled is not None:
            spoiled.partial = True
    folded.bars = [bar for bar in sorted(found.values(), key=_start) if bar.end <= now_ns]
    folded.forming = len(found) - len(folded.bars)
    return folded


def _start(bar: PastBar) -> int:
    return bar.start


def _begun(contract_id: str, slot: Slot, candle: Candle) -> PastBar:
    return PastBar(
        contract_id,
        slot.start,
        slot.end,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        slot.trade_date,
        slot.is_scheduled,
    )


def _add(bar: PastBar, candle: Candle) -> None:
    bar.high = max(bar.high, candle.high)
    bar.low = min(bar.low, candle.low)
    bar.close = candle.close
    bar.volume += candle.volume
