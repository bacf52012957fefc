"""Putting history into live bars that a gap has touched: once, in order, and told what changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from trio_projectx._events import Bar, BarSource
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.table import PastBar

_NUMBERS: Final = ("open", "high", "low", "close", "volume")


@attrs.frozen(slots=True)
class MergedBar:
    """A bar, where it is from, and whether all of its time is known.

    Of ``history`` and ``mixed`` only start, end, open, high, low, close, volume and trade date are known.
    """

    bar: Bar | PastBar
    source: BarSource
    is_complete: bool


@attrs.frozen(slots=True)
class Merge:
    """The bars of one timeframe after a fill, oldest first, and what the fill did."""

    bars: tuple[MergedBar, ...]
    changed: tuple[MergedBar, ...]
    """Those that are new or other than the live ones: each is a `BarRevised`."""
    mismatches: int
    """Bars that were seen whole, and of which the service says something else: the live one stays."""


def merged(live: Iterable[Bar], past: Sequence[PastBar], coverage: Coverage) -> Merge:
    """Merge closed bars of one contract and timeframe with the service's of the same intervals.

    ``past`` may be in any order, and hold a bar more than once (the one of the greatest volume counts: bars grow). A
    live bar counts where all its time was seen; elsewhere the service's does, if it is whole; what neither has whole
    stays as it was, incomplete.
    """
    by_start: dict[int, PastBar] = {}
    for each in past:
        known = by_start.get(each.start)
        if known is None or each.volume > known.volume:
            by_start[each.start] = each
    found: dict[int, MergedBar] = {}
    changed: list[int] = []
    mismatches = 0
    for bar in live:
        history = by_start.pop(bar.start, None)
        was_seen = not bar.partial and coverage.source(bar.start, bar.end) == "live"
        if history is None or history.partial or was_seen:
            found[bar.start] = MergedBar(bar, "live", was_seen)
            mismatches += was_seen and history is not None and not history.partial and differ(bar, history)
            continue
        is_mixed = coverage.source(bar.start, bar.end) == "mixed"
        found[bar.start] = MergedBar(history, "mixed" if is_mixed else "history", is_complete=True)
        if differ(bar, history) or bar.partial:
            changed.append(bar.start)
    for start, history in by_start.items():
        found[start] = MergedBar(history, "history", not history.partial)
        changed.append(start)
    bars = tuple(found[start] for start in sorted(found))
    return Merge(bars, tuple(found[start] for start in sorted(changed)), mismatches)


def differ(bar: Bar, past: PastBar) -> bool:
    """Whether two bars of one interval say different things of what both know."""
    return any(getattr(bar, name) != getattr(past, name) for name in _NUMBERS)
