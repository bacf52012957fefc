"""Putting the service's bars into those of a set: where a gap has touched them, and before the first of them. Pure.

A bar of ours that a gap has touched may lack trades; the service's bar of the same interval does not. So the service's
counts, unless it holds less than was seen: then it is not whole itself, and ours stays as it is, still ``partial``.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from trio_projectx._errors import TimeframeError
from trio_projectx._events import Bar, BarRevised
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.columns import Row
from trio_projectx.bars.edges import Edges, enclosing
from trio_projectx.bars.freeze import Freezer, ticks_of
from trio_projectx.bars.rungs import TimeRung
from trio_projectx.bars.undo import Journal

AFTER_ALL: Final = 1 << 80


@attrs.frozen(slots=True)
class Known:
    """The service's bar of one interval: prices in ticks, a volume above 0."""

    start: int
    end: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trade_date: datetime.date | None = None
    scheduled: bool = True


@attrs.frozen(slots=True)
class Mended:
    """What became of some time: bars that changed, in order, and intervals of which less is known than was seen."""

    revised: tuple[BarRevised, ...] = ()
    conflicts: tuple[tuple[int, int], ...] = ()


class Mender:
    """Mends the closed bars of the timeframes of one set; each step is all or nothing."""

    __slots__ = ("_drops", "_freezer", "_journal", "_rungs")

    def __init__(
        self, rungs: Mapping[Timeframe, TimeRung], freezer: Freezer, journal: Journal, *, drops: bool
    ) -> None:
        self._rungs = rungs
        self._freezer = freezer
        self._journal = journal
        self._drops = drops

    def edges(self, frame: Timeframe) -> Edges:
        """Return the intervals of one timeframe, as its builder has them.

        :raises TimeframeError: for one that the set does not have, or whose bars do not end by time.
        """
        return self._rung(frame).edges

    def touched(self, frame: Timeframe, start: int, end: int) -> tuple[int, int]:
        """Return from where to where the intervals go that ``[start, end]`` touches."""
        edges = self.edges(frame)
        return enclosing(edges, start)[0], enclosing(edges, end)[1]

    def first_start(self, frame: Timeframe) -> int:
        """Return the start of the first bar there is, closed or open; `AFTER_ALL` if there is none."""
        rung = self._rung(frame)
        starts = [part.start for part in rung.builder.open_parts()]
        opens = [rung.edges.locate(start).start for start in starts]
        closed = rung.columns.first_start()
        return min([*opens, *(() if closed is None else (closed,))], default=AFTER_ALL)

    def mend(self, frame: Timeframe, known: Iterable[Known], low: int, high: int) -> Mended:
        """Put what is known of ``[low, high)`` into the bars that lie in it; all of them must be closed.

        What is not ``known`` there had no trade. ``known`` may be in any order, and hold a bar in several versions
        (that of the greatest volume counts: bars grow).
        """
        rung = self._rung(frame)
        best = self._best(known, low, high)
        stored = {
            row.bar.start: row for row in rung.columns.rows(low, high, self._freezer.contract_id, frame)
        }
        rows: list[Row] = []
        revised: list[BarRevised] = []
        conflicts: list[tuple[int, int]] = []
        close = rung.columns.close_before(low)
        last: OpenBar | None = None
        for start in sorted(best.keys() | stored.keys()):
            row, bar = stored.get(start), best.get(start)
            if row is not None and _holds_more(row, bar):
                conflicts += [(row.bar.start, row.bar.end)] if row.bar.source == "live" else []
                now = row
            else:
                now = self._mended(frame, row, bar, close)
            if now is not row:
                rows.append(now)
                is_new = row is None or (row.bar.synthetic and bar is not None)
                revised.append(BarRevised(now.bar, 0, is_new))
            close = now.ticks[-1]
            last = _open(now)
        if rows:
            revised += self._write(rung, rows, last)
        return Mended(tuple(revised), tuple(conflicts))

    def _mended(self, frame: Timeframe, row: Row | None, bar: Known | None, close: int | None) -> Row:
        """Return what takes the place of ``row``: itself, where nothing changes."""
        if bar is not None and (row is None or not _is_same(row, bar)):
            made = _made(bar, "history" if row is None or _is_all_history(row.bar) else "mixed")
            return Row(self._freezer.bar(frame, made, partial=False), ticks_of(made))
        assert row is not None
        if row.bar.synthetic and close is not None and row.ticks[-1] != close:
            # Nobody has traded in it: it has the close of the bar before it.
            made = OpenBar(row.bar.start, row.bar.end, close, row.bar.trade_date, row.bar.scheduled)
            return Row(self._freezer.bar(frame, made, partial=False), ticks_of(made))
        return Row(attrs.evolve(row.bar, partial=False), row.ticks) if row.bar.partial else row

    def lead(self, frame: Timeframe, known: Iterable[Known], count: int) -> list[Bar]:
        """Put the last ``count`` of ``known`` before the first bar there is, and return them."""
        rung, first = self._rung(frame), self.first_start(frame)
        best = self._best((bar for bar in known if bar.end <= first), -AFTER_ALL, AFTER_ALL)
        made = [_made(best[start], "history") for start in sorted(best)[-count:]]
        rows = [Row(self._freezer.bar(frame, bar, partial=False), ticks_of(bar)) for bar in made]
        if rows:
            self._write(rung, rows, None)
        return [row.bar for row in rows]

    def _best(self, known: Iterable[Known], low: int, high: int) -> dict[int, Known]:
        best: dict[int, Known] = {}
        for bar in known:
            before = best.get(bar.start)
            is_wanted = low <= bar.start and bar.end <= high and (bar.scheduled or not self._drops)
            if is_wanted and (before is None or bar.volume > before.volume):
                best[bar.start] = bar
        return best

    def _write(self, rung: TimeRung, rows: list[Row], last: OpenBar | None) -> list[BarRevised]:
        try:
            followers = rung.mend(rows, last, self._freezer, self._journal)
        except BaseException:  # Ctrl-C may strike anywhere: readers see all of it, or nothing
            self._journal.undo()
            raise
        self._journal.keep()
        return followers

    def _rung(self, frame: Timeframe) -> TimeRung:
        found = self._rungs.get(frame)
        if found is None:
            raise TimeframeError(
                f'"{frame}" bars are not mended: they do not end by time, or are not of this set'
            )
        return found


def _holds_more(row: Row, bar: Known | None) -> bool:
    """Whether more was seen than the service says there was."""
    if row.bar.synthetic:
        return False
    if bar is None:
        return row.bar.volume > 0
    _, high, low, _ = row.ticks
    return row.bar.volume > bar.volume or high > bar.high or low < bar.low


def _is_all_history(bar: Bar) -> bool:
    return bar.source == "history" or bar.synthetic


def _is_same(row: Row, bar: Known) -> bool:
    return (row.bar.volume, *row.ticks) == (bar.volume, bar.open, bar.high, bar.low, bar.close)


def _open(row: Row) -> OpenBar:
    """Return a row as far as the bars behind it have to do with it."""
    return OpenBar(row.bar.start, row.bar.end, row.ticks[-1], row.bar.trade_date, row.bar.scheduled)


def _made(bar: Known, source: Literal["history", "mixed"]) -> OpenBar:
    made = OpenBar(
        bar.start, bar.end, bar.high, bar.trade_date, bar.scheduled, is_partial=False, source=source
    )
    made.low, made.open, made.close, made.volume = bar.low, bar.open, bar.close, bar.volume
    made.first_ts, made.last_ts = bar.start, bar.end - 1
    return made
