"""The timeframes of a bar set, from the finest to the coarsest: what each takes, and what it gives out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import attrs

from trio_projectx._events import Bar, BarRevised
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.builder import AFTER_ALL, Builder
from trio_projectx.bars.columns import BarColumns, Row
from trio_projectx.bars.edges import DAY_NS, Edges
from trio_projectx.bars.fill import Filler
from trio_projectx.bars.freeze import Freezer, ticks_of
from trio_projectx.bars.kinds import KindBuilder
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.standing import Standing
from trio_projectx.bars.undo import Journal
from trio_projectx.market.batch import TradeBatch


class Step(NamedTuple):
    """What happens to a bar set at a time: a batch, or (without one) event time that goes on."""

    batch: TradeBatch | None
    low_ts: int
    high_ts: int
    in_order: bool
    youngest: int
    """The youngest stamp before it."""
    watermark: int
    """After it; `AFTER_ALL` closes everything."""


#: The fields of a `Step`: as a bare tuple they are made in a third of the time.
StepFields: TypeAlias = tuple[TradeBatch | None, int, int, bool, int, int]


class Yield(NamedTuple):
    """What a step gives out: bars with their place among those of other timeframes, and revisions."""

    bars: list[tuple[int, int, Bar]]
    revised: list[BarRevised]


class Rung(Protocol):
    """One timeframe, or one kind of bars."""

    @property
    def standing(self) -> Standing:
        """How it stands."""
        ...

    def take(self, step: Step, lateness: int, freezer: Freezer, journal: Journal) -> Yield:
        """Do all of one step, by itself."""
        ...

    def spoil(self, stamps: Sequence[int], freezer: Freezer, journal: Journal) -> list[BarRevised]:
        """Trades of these stamps, sorted, could not be taken: have no bar that was given out be taken for whole."""
        ...

    @property
    def next_end(self) -> int:
        """The watermark at which the next bar closes."""
        ...


@attrs.frozen(slots=True, eq=False)
class TimeRung:
    """One timeframe of the cascade; ``rank`` counts from the finest."""

    timeframe: Timeframe
    rank: int
    builder: Builder
    columns: BarColumns
    filler: Filler | None
    standing: Standing
    edges: Edges
    attaches: bool = False
    """Whether trades of closed hours are in the bar that follows them."""

    @property
    def next_end(self) -> int:
        """The watermark at which the next bar closes."""
        own = self.builder.next_end
        return own if self.filler is None else min(own, self.filler.next_end)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to collect, whatever the watermark."""
        builder = self.builder
        return not builder.closed and self.filler is None and builder.past is None

    def take(self, step: Step, lateness: int, freezer: Freezer, journal: Journal) -> Yield:
        """Do all of one step, by itself; the builder must stand alone."""
        if step.batch is not None:
            self.standing.join(step.batch.ts_event[0], journal)
            self.builder.feed(step.batch, step.low_ts, step.high_ts, step.in_order, step.youngest, lateness)
        self.builder.settle(step.watermark)
        return self.collect(step.watermark, freezer, journal)

    def collect(self, watermark: int, freezer: Freezer, journal: Journal) -> Yield:
        """Give out what has closed and what was revised, and write it into the columns."""
        closed = self._take_closed(watermark, journal)
        past = self.builder.past
        changed = [] if past is None else past.take_revised()
        if not closed and not changed:
            return Yield([], [])
        journal.note(self.columns)
        bars: list[tuple[int, int, Bar]] = []
        for open_bar in sorted(closed, key=_by_end):
            row = self._row(open_bar, freezer)
            self.columns.append(row)
            bars.append((open_bar.end, self.rank, row.bar))
        return Yield(bars, self._revise(changed, freezer, journal) if changed else [])

    def _take_closed(self, watermark: int, journal: Journal) -> list[OpenBar]:
        """Return what has closed, with the gaps between filled if they are to be."""
        closed = self.builder.take_closed()
        if self.filler is None or not (closed or self.filler.next_end <= watermark):
            return closed
        self.filler.touch(journal)
        closed.sort(key=_by_end)
        filled = self.filler.fill(closed, None if watermark == AFTER_ALL else watermark)
        if filled and self.builder.past is not None:
            self.builder.past.note_given(filled[-1].end)
        return filled

    def _row(self, bar: OpenBar, freezer: Freezer) -> Row:
        if bar.is_partial is None:
            bar.is_partial = self._may_lack(bar)
        return Row(freezer.bar(self.timeframe, bar, partial=bar.is_partial), ticks_of(bar))

    def _may_lack(self, bar: OpenBar) -> bool:
        """Whether trades of it may be missing; the first bar of a session may have some of the hours before it."""
        first_ts = min(bar.start, self.edges.locate(bar.start).low) if self.attaches else bar.start
        return self.standing.is_partial(first_ts)

    def _revise(self, changed: Sequence[OpenBar], freezer: Freezer, journal: Journal) -> list[BarRevised]:
        revised: list[BarRevised] = []
        rows: list[Row] = []
        for bar in changed:
            is_new = bar.is_partial is None
            rows.append(self._row(bar, freezer))
            revised.append(BarRevised(rows[-1].bar, bar.late_trades, is_new))
        self.columns.revise(rows)
        if self.filler is not None:
            self.filler.touch(journal)
            for bar in changed:
                self.filler.revised(bar)
                revised += self._carry_on(bar, freezer)
        return revised

    def spoil(self, stamps: Sequence[int], freezer: Freezer, journal: Journal) -> list[BarRevised]:
        """Mark the bars that late trades would have changed as partial; where they change none, nothing is missing."""
        past = self.builder.past
        if past is None:
            return []
        stamps = sorted({self._place_of(ts) for ts in stamps})
        past.spoil(stamps)
        changed = past.take_revised()
        journal.note(self.columns)
        revised = self._revise(changed, freezer, journal) if changed else []
        rows = self._spoiled_synthetic(stamps, [bar.end for bar in changed], freezer.contract_id)
        if rows:
            self.columns.revise(rows)
        return [*revised, *(BarRevised(row.bar, 0) for row in rows)]

    def _place_of(self, ts: int) -> int:
        """Return an instant within the bar of a trade's stamp: one of closed hours may belong to a later bar."""
        try:
            return self.edges.locate(ts).start
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  sessions may be anybody's, and may be what has failed; all others have it in itself
            return ts

    def _spoiled_synthetic(self, stamps: Sequence[int], ends: list[int], contract_id: str) -> list[Row]:
        """Return the synthetic bars at the stamps, and those whose close comes from there or from bars of ``ends``."""
        if self.filler is None:
            return []
        found: dict[int, Row] = {}
        for ts in stamps:
            row = self.columns.row_at(ts, contract_id, self.timeframe)
            if row is not None and row.bar.synthetic:
                found[row.bar.end] = row
        for end in (*found, *ends):
            for each in self.columns.synthetic_after(end):
                row = self.columns.row_at(each.start, contract_id, self.timeframe)
                if row is not None:
                    found[each.end] = row
        rows = (
            Row(attrs.evolve(row.bar, partial=True), row.ticks)
            for row in found.values()
            if not row.bar.partial
        )
        return sorted(rows, key=lambda row: row.bar.end)

    def mend(
        self, rows: Sequence[Row], last: OpenBar | None, freezer: Freezer, journal: Journal
    ) -> list[BarRevised]:
        """Write bars that are known to be whole now; return the synthetic ones behind ``last`` that change with it.

        Trades that come for them after that are late, whatever the policy: they may be in these bars already.
        """
        journal.note(self.columns)
        self.columns.revise(rows)
        past = self.builder.past
        if past is not None:
            past.finish([row.bar.start for row in rows])
        revised: list[BarRevised] = []
        if self.filler is not None and last is not None:
            self.filler.touch(journal)
            self.filler.revised(last)
            revised += self._carry_on(last, freezer)
        return revised

    def _carry_on(self, bar: OpenBar, freezer: Freezer) -> list[BarRevised]:
        """Give all synthetic bars behind a revised one its close: that is what they are, however many there are."""
        rows: list[Row] = []
        for each in self.columns.synthetic_after(bar.end):
            made = OpenBar(each.start, each.end, bar.close, each.trade_date)
            row = Row(freezer.bar(self.timeframe, made, partial=each.partial), ticks_of(made))
            if row.bar.close == each.close:
                break
            rows.append(row)
        if rows:
            self.columns.revise(rows)
        return [BarRevised(row.bar, 0) for row in rows]

    def forming(self, freezer: Freezer) -> Bar | None:
        """Return the youngest open bar as it is now."""
        bar = self.builder.forming()
        if bar is None:
            return None
        return freezer.bar(self.timeframe, bar, partial=self._may_lack(bar), closed=False)


@attrs.frozen(slots=True, eq=False)
class KindRung:
    """One kind of bars that do not end by time; ``rank`` puts them behind the others."""

    kind: BarKind
    rank: int
    builder: KindBuilder
    columns: BarColumns
    standing: Standing

    @property
    def next_end(self) -> int:
        """`AFTER_ALL`: no clock closes such a bar."""
        return AFTER_ALL

    def take(self, step: Step, lateness: int, freezer: Freezer, journal: Journal) -> Yield:
        """Do all of one step; there is no lateness here."""
        return self.collect(step.batch, step.watermark, freezer, journal)

    def spoil(self, stamps: Sequence[int], freezer: Freezer, journal: Journal) -> list[BarRevised]:
        """No bar that was given out would have had them."""
        return []

    def collect(self, batch: TradeBatch | None, watermark: int, freezer: Freezer, journal: Journal) -> Yield:
        """Take a batch, and give out and write what it completed."""
        if batch is None and watermark != AFTER_ALL:
            return Yield([], [])
        self.builder.touch(journal)
        closed = self.builder.flush() if batch is None else self.builder.update(batch)
        if not closed:
            return Yield([], [])
        journal.note(self.columns)
        bars: list[tuple[int, int, Bar]] = []
        for open_bar in closed:
            partial = self._is_partial(open_bar, journal)
            row = Row(freezer.bar(self.kind, open_bar, partial=partial), ticks_of(open_bar))
            self.columns.append(row)
            bars.append((AFTER_ALL, self.rank, row.bar))
        return Yield(bars, [])

    def _is_partial(self, bar: OpenBar, journal: Journal) -> bool:
        """The first bar that is completed after an interruption may have a hole, and one that began before its end."""
        is_partial = self.standing.lacks_in(bar.start)
        self.standing.join(bar.start, journal)
        return is_partial

    def forming(self, freezer: Freezer) -> Bar | None:
        """Return the bar that grows, as it is now."""
        bar = self.builder.forming
        if bar is None:
            return None
        return freezer.bar(self.kind, bar, partial=self.standing.lacks_in(bar.start), closed=False)


def _by_end(bar: OpenBar) -> int:
    return bar.end


_USUAL_DAYS: Final = {"d": 1, "w": 7, "M": 30}


def _usual_length(frame: Timeframe) -> int:
    step = frame.step_ns
    return _USUAL_DAYS[frame.unit] * frame.n * DAY_NS if step is None else step


def cascade(
    frames: Sequence[Timeframe],
    anchor: Anchor,
    outside: Outside,
    make: Callable[[Timeframe, int, Builder | None], TimeRung],
) -> dict[Timeframe, TimeRung]:
    """Build the builders from the finest to the coarsest, each on the coarsest that nests in it."""
    rungs: dict[Timeframe, TimeRung] = {}
    for rank, frame in enumerate(sorted(frames, key=_usual_length)):
        finer = [rung.builder for rung in rungs.values() if anchor.nests(rung.timeframe, frame, outside)]
        rungs[frame] = make(frame, rank, finer[-1] if finer else None)
    return rungs
