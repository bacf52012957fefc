"""Reading bars again: what the service says of some intervals, and how much of that can be believed already.

The service may be behind its own feed, so that a bar of a moment ago still lacks trades, or is not there. That it has
something newer shows that it is past a bar; where the market is quiet, a minute does. An answer without any bar shows
nothing at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from trio_projectx._timeframe import NS_PER_SECOND, Timeframe
from trio_projectx.bars import Anchor
from trio_projectx.bars.edges import Edges, enclosing
from trio_projectx.bars.mending import Known
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.aside import aside
from trio_projectx.history.fetch import Fetches, Found
from trio_projectx.history.fold import fold
from trio_projectx.history.table import PastBar
from trio_projectx.history.units import Source, edges_looked_at, source_of
from trio_projectx.market import PriceGrid

#: Newest of the service's bars of a contract since an instant, with volume; None if there is none.
Newest: TypeAlias = Callable[[str, int], Awaitable[int | None]]
_QUIET_NS: Final = 60 * NS_PER_SECOND
#: Bars put in at once, between two batches of live trades.
_PIECE: Final = 50
NOT_YET: Final = "the service shows nothing newer yet, so its bars may still grow"
_DAMAGED: Final = "the service's bars of this time are no bars (see the log)"


@attrs.frozen(slots=True)
class Piece:
    """What is known of ``[low, high)``: these bars, and no trade elsewhere."""

    low: int
    high: int
    known: tuple[Known, ...]


@attrs.frozen(slots=True)
class Doubt:
    """Of ``[low, high)`` nothing is known yet, and why."""

    low: int
    high: int
    why: str


@attrs.frozen(slots=True)
class Reading:
    """Pieces and doubts, together all of the time that was asked for."""

    pieces: tuple[Piece, ...]
    doubts: tuple[Doubt, ...]


class BarReader:
    """Reads the service's bars for streams that have gaps."""

    def __init__(self, fetcher: Fetches, newest: Newest) -> None:
        self._fetcher = fetcher
        self._newest = newest
        self._seen: dict[str, int] = {}  # up to where the service has shown bars

    async def read(
        self,
        instrument: Instrument,
        frame: Timeframe,
        anchor: Anchor,
        edges: Edges,
        low: int,
        high: int,
        *,
        clock: Callable[[], int],
    ) -> Reading:
        """Return what the service says of ``[low, high)``, which are whole bars that are over.

        ``clock`` is the exchange's, int64 ns.

        :raises TrioProjectXError: as `Fetcher.fetch`.
        """
        first = min(low, edges.locate(low).low)  # trades of closed hours may belong to it
        looks = edges_looked_at(frame, anchor, first, high)
        source = await aside(lambda: source_of(frame, anchor, first, high), looks)
        found = await self._fetcher.fetch(instrument, source, first, high, urgency=Urgency.FILL)
        if found.has_undated:
            return Reading((), (Doubt(low, high, _DAMAGED),))
        until = await self._believed_until(instrument, edges, found, low, high, clock)

        def work() -> Reading:
            return _read(instrument, source, edges, found, low, until, high)

        return await aside(work, len(found.candles))

    async def _believed_until(
        self,
        instrument: Instrument,
        edges: Edges,
        found: Found,
        low: int,
        high: int,
        clock: Callable[[], int],
    ) -> int:
        contract_id = instrument.contract_id
        if self._seen.get(contract_id, high - 1) < high:
            newest = await self._newest(contract_id, high)
            if newest is not None:
                self._seen[contract_id] = newest
        if self._seen.get(contract_id, high - 1) >= high:
            return high
        if not found.candles:
            return low
        if clock() >= high + _QUIET_NS:
            return high
        return max(low, enclosing(edges, found.candles[-1].start)[0])


def _read(
    instrument: Instrument, source: Source, edges: Edges, found: Found, low: int, until: int, high: int
) -> Reading:
    contract_id, candles = instrument.contract_id, found.candles
    bars = fold(contract_id, candles, source.step_ns, edges, now_ns=high, known_from=low, bad=found.bad).bars
    spoiled = {enclosing(edges, start) for start in found.bad}
    spoiled |= {(bar.start, bar.end) for bar in bars if bar.partial}
    doubts = [
        Doubt(max(low, s), min(until, e), _DAMAGED) for s, e in sorted(spoiled) if s < until and e > low
    ]
    if until < high:
        doubts.append(Doubt(until, high, NOT_YET))
    known = [_known(bar, instrument.grid) for bar in bars]
    return Reading(tuple(_pieces(low, high, known, doubts)), tuple(doubts))


def known_of(bars: Sequence[PastBar], grid: PriceGrid) -> tuple[Known, ...]:
    """Return bars of history in ticks; those that are not whole are left out."""
    return tuple(_known(bar, grid) for bar in bars if not bar.partial)


def _known(bar: PastBar, grid: PriceGrid) -> Known:
    ticks = [grid.ticks(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    # Each was looked at when the page was read (`candles`).
    open_, high, low, close = (each for each in ticks if each is not None)
    return Known(bar.start, bar.end, open_, high, low, close, bar.volume, bar.trade_date, bar.scheduled)


def _pieces(low: int, high: int, known: Sequence[Known], doubts: Sequence[Doubt]) -> Iterator[Piece]:
    """Cut what is not doubted into pieces of a size that holds nobody up; both are in order."""
    bars = iter(known)
    following = next(bars, None)
    for doubt in (*doubts, Doubt(high, high, "")):
        inside: list[Known] = []
        while following is not None and following.start < doubt.low:
            if len(inside) == _PIECE:
                yield Piece(low, following.start, tuple(inside))
                low, inside = following.start, []
            inside.append(following)
            following = next(bars, None)
        if low < doubt.low:
            yield Piece(low, doubt.low, tuple(inside))
        low = max(low, doubt.high)
        while following is not None and following.start < low:
            following = next(bars, None)
