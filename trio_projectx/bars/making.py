"""What each timeframe of a set of bars is made of."""

from __future__ import annotations

import attrs

from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.builder import Builder
from trio_projectx.bars.columns import BarColumns
from trio_projectx.bars.fill import Filler
from trio_projectx.bars.kinds import KindBuilder
from trio_projectx.bars.past import Past
from trio_projectx.bars.policies import Fill
from trio_projectx.bars.rungs import KindRung, TimeRung
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.standing import Standing
from trio_projectx.bars.undo import Journal
from trio_projectx.market.grid import PriceGrid


@attrs.frozen(slots=True)
class Making:
    """What the timeframes of one set have in common; see `BarSet` for what each of it means."""

    contract_id: str
    grid: PriceGrid
    anchor: Anchor
    outside: Outside
    fill: Fill
    lateness_ns: int
    partial_first: bool
    bars_kept: int
    revisable: int
    """Closed bars of each that late trades may revise; 0: none."""
    in_ticks: bool
    journal: Journal

    def by_time(self, frame: Timeframe, rank: int, source: Builder | None) -> TimeRung:
        """Return the rung of a timeframe, which takes the closed bars of ``source``, or trades."""
        past = Past(self.revisable, self.journal) if self.revisable else None
        edges, sessions = self.anchor.edges(frame, self.outside), self.anchor.sessions
        builder = Builder(frame, edges, source, past, self.journal)
        filler = None if self.fill is None or sessions is None else Filler(edges, sessions)
        standing, attaches = self._standing(frame, self.lateness_ns), self.outside == "attach"
        return TimeRung(frame, rank, builder, self._columns(), filler, standing, edges, attaches)

    def by_kind(self, kind: BarKind, rank: int) -> KindRung:
        """Return the rung of a kind of bars that do not end by time."""
        builder = KindBuilder(kind, self.grid)
        return KindRung(kind, rank, builder, self._columns(), self._standing(kind))

    def _columns(self) -> BarColumns:
        return BarColumns(self.bars_kept, in_ticks=self.in_ticks)

    def _standing(self, frame: Timeframe, late_ns: int = 0) -> Standing:
        return Standing(self.contract_id, frame, joins_late=self.partial_first, late_ns=late_ns)
