"""The ledger of what is known of a contract's time: what we have and from where, what is missing, since when and why.

Pure: instants are handed in. Every instant that was ever told of is in one state: seen live, filled from history, or
missing. What nobody has told of is unknown, which is no gap.
"""

from __future__ import annotations

import attrs

from trio_projectx._events import BarSource
from trio_projectx.history.intervals import Interval, Intervals


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
class CoverageReport:
    """What is known of ``[start, end)``; the lists are in order and, all together, make it up exactly."""

    contract_id: str
    start: int
    end: int
    live: tuple[Interval, ...]
    history: tuple[Interval, ...]
    missing: tuple[Hole, ...]
    unknown: tuple[Interval, ...]
    revised: int
    """Bars that were revised after they had been given."""

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

    def saw(self, start: int, end: int) -> None:
        """Note that ``[start, end)`` was seen live without a break. It takes no hole away: that was one already."""
        for from_, to in self._not_missing(start, end):
            self._history.cut(from_, to)
            self._live.add(from_, to)

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

    def revised(self, bars: int = 1) -> None:
        """Count bars that changed after they had been given."""
        self._revised += bars

    @property
    def holes(self) -> tuple[Hole, ...]:
        """All that is missing, oldest first."""
        return tuple(self._holes)

    def source(self, start: int, end: int) -> BarSource | None:
        """Return what a bar of ``[start, end)`` is made of; None if some of it is missing or unknown."""
        live, history = self._live.within(start, end), self._history.within(start, end)
        if sum(e - s for s, e in (*live, *history)) != end - start:
            return None
        if live and history:
            return "mixed"
        return "live" if live else "history"

    def report(self, start: int, end: int) -> CoverageReport:
        """Return what is known of ``[start, end)``."""
        holes = [
            attrs.evolve(hole, start=max(start, hole.start), end=min(end, hole.end))
            for hole in self._holes
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
        )

    def _not_missing(self, start: int, end: int) -> list[Interval]:
        known = Intervals([(start, end)])
        for hole in self._holes:
            known.cut(hole.start, hole.end)
        return list(known)


def _start(hole: Hole) -> int:
    return hole.start
