"""The ledger of what is known of a contract's time: what we have and from where, what is missing, since when and why.

Pure: instants are handed in. Every instant that was ever told of is in one state: seen live, filled from history, or
missing. What nobody has told of is unknown, which is no gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from trio_projectx._events import BarRevised, BarSource
from trio_projectx._timeframe import Timeframe
from trio_projectx.history.intervals import Interval, Intervals

_REVISIONS: Final = 256
#: Pieces of the ledger, at most; beyond, the oldest are forgotten: they are unknown again.
_PIECES_MOST: Final = 4096


@attrs.frozen(slots=True)
class Hole:
    """Time of which trades may be missing; ``[start, end)``, int64 ns."""

    start: int
    end: int
    cause: str
    """Why, in a sentence."""
    attempts: int = 0
    """How often it was tried to fill it."""
    last_failure: str | None = None
    """Why that has failed the last time."""


@attrs.frozen(slots=True)
class Revision:
    """A bar that was revised from history; ``at`` is when, by our clock."""

    timeframe: Timeframe
    start: int
    end: int
    source: BarSource
    is_new: bool
    at: int


@attrs.frozen(slots=True)
class CoverageReport:
    """What is known of ``[start, end)``; the lists are in order and, all together, make it up exactly.

    ``live``: trades were received without a break. ``history``: bars were read from the service's history, and put
    in where something was missing. ``missing``: trades may be missing, and nothing has filled that yet. ``unknown``:
    nobody wanted it. All instants are the exchange's clock, int64 ns.
    """

    contract_id: str
    start: int
    end: int
    live: tuple[Interval, ...]
    history: tuple[Interval, ...]
    missing: tuple[Hole, ...]
    unknown: tuple[Interval, ...]
    revised: int
    """Bars that were revised from history after they had closed, in all."""
    revisions: tuple[Revision, ...] = ()
    """The last of them, oldest first; at most 256."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing; time nobody has asked for counts as missing here."""
        return not (self.missing or self.unknown)


class Coverage:
    """The ledger of one contract."""

    def __init__(self, contract_id: str) -> None:
        self.contract_id = contract_id
        self._live = Intervals()
        self._history = Intervals()
        self._holes: list[Hole] = []
        self._revised = 0
        self._revisions: deque[Revision] = deque(maxlen=_REVISIONS)
        self._since: int | None = None  # from when on trades are received now
        self._broken: tuple[int, str] | None = None  # since when they may be missing now, and why

    def begin(self, at_ns: int) -> None:
        """Trades are received without a break from now on."""
        self._broken = None
        if self._since is None:
            self._since = at_ns

    def breaks(self, at_ns: int, cause: str) -> None:
        """They may be missing from ``at_ns`` on."""
        self.end(at_ns)
        if self._broken is None:
            self._broken = at_ns, cause

    def end(self, at_ns: int | None) -> None:
        """Nobody receives them any more; what came after ``at_ns`` was nothing."""
        if self._since is not None and at_ns is not None:
            self.saw(self._since, at_ns)
        self._since = self._broken = None

    def saw(self, start: int, end: int) -> None:
        """Note that ``[start, end)`` was seen live without a break. It takes no hole away: that was one already."""
        for from_, to in self._not_missing(start, end):
            self._history.cut(from_, to)
            self._live.add(from_, to)
        self._bound()

    def lost(self, start: int, end: int, cause: str) -> None:
        """Note a gap. It is missing until it is `filled`, also where it was thought to be known."""
        if start >= end:
            return
        fresh = Intervals([(start, end)])
        for hole in self._holes:
            fresh.cut(hole.start, hole.end)
        self._live.cut(start, end)
        self._history.cut(start, end)
        self._holes += [Hole(s, e, cause) for s, e in fresh]
        self._holes.sort(key=_start)
        self._bound()

    def _bound(self) -> None:
        """Forget the older half, where there is too much; every act that adds pieces ends with this."""
        if len(self._holes) + len(self._live) + len(self._history) <= _PIECES_MOST:
            return
        starts = sorted([s for s, _ in (*self._live, *self._history)] + [hole.start for hole in self._holes])
        middle = starts[len(starts) // 2]
        self._live.cut(starts[0], middle)
        self._history.cut(starts[0], middle)
        self._holes = [hole for hole in self._holes if hole.start >= middle]

    def failed(self, start: int, end: int, why: str) -> None:
        """Note that it was tried to fill ``[start, end)``, and why that failed: it stays missing."""
        self._holes = [
            attrs.evolve(hole, attempts=hole.attempts + 1, last_failure=why)
            if max(start, hole.start) < min(end, hole.end)
            else hole
            for hole in self._holes
        ]

    def filled(self, start: int, end: int) -> None:
        """Note that everything of ``[start, end)`` is known from history, where it was not seen live."""
        if start >= end:
            return
        left: list[Hole] = []
        for hole in self._holes:
            rest = Intervals([(hole.start, hole.end)])
            rest.cut(start, end)
            left += [attrs.evolve(hole, start=s, end=e) for s, e in rest]
        self._holes = left
        for from_, to in self._live.missing(start, end):
            self._history.add(from_, to)
        self._bound()

    def had(self, start: int, end: int) -> None:
        """Note that bars of ``[start, end)`` were had from history, where nobody has told of that time yet."""
        for from_, to in self._not_missing(start, end):
            for s, e in self._live.missing(from_, to):
                self._history.add(s, e)
        self._bound()

    def revised(self, bars: Sequence[BarRevised], at: int) -> None:
        """Note bars that changed after they had closed."""
        self._revised += len(bars)
        for each in bars[-_REVISIONS:]:
            bar = each.bar
            self._revisions.append(Revision(bar.timeframe, bar.start, bar.end, bar.source, each.is_new, at))

    @property
    def holes(self) -> tuple[Hole, ...]:
        """All that is missing, oldest first."""
        return tuple(self._holes)

    @property
    def first(self) -> int | None:
        """The earliest instant that anything was told of; None if nothing was."""
        firsts = [next(iter(each))[0] for each in (self._live, self._history) if len(each)]
        firsts += [hole.start for hole in self._holes[:1]]
        firsts += [each for each in (self._since, self._broken and self._broken[0]) if each is not None]
        return min(firsts, default=None)

    def report(self, start: int | None, end: int | None, now: int | None = None) -> CoverageReport:
        """Return what is known of ``[start, end)``; None is the first that is known, and ``now``."""
        if now is not None and self._since is not None:
            self.saw(self._since, now)
        end = (now or 0) if end is None else end
        first = self.first
        start = (end if first is None else first) if start is None else start
        holes = [
            attrs.evolve(hole, start=max(start, hole.start), end=min(end, hole.end))
            for hole in (*self._holes, *self._open_hole(now))
            if max(start, hole.start) < min(end, hole.end)
        ]
        unknown = Intervals([(start, end)])
        live, history = self._live.within(start, end), self._history.within(start, end)
        for from_, to in (*live, *history, *((hole.start, hole.end) for hole in holes)):
            unknown.cut(from_, to)
        return CoverageReport(
            self.contract_id,
            start,
            end,
            tuple(live),
            tuple(history),
            tuple(holes),
            tuple(unknown),
            self._revised,
            tuple(self._revisions),
        )

    def _open_hole(self, now: int | None) -> list[Hole]:
        """Return the gap that is open now, as far as nobody has told of that time yet."""
        if self._broken is None or now is None:
            return []
        start, cause = self._broken
        return [Hole(s, e, cause) for s, e in self._not_missing(start, now)]

    def _not_missing(self, start: int, end: int) -> list[Interval]:
        known = Intervals([(start, end)])
        for hole in self._holes:
            known.cut(hole.start, hole.end)
        return list(known)


def _start(hole: Hole) -> int:
    return hole.start
