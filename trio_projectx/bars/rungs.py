"""The timeframes of a bar set, from the finest to the coarsest, and the policies they keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.builder import AFTER_ALL, Builder
from trio_projectx.bars.columns import BarColumns
from trio_projectx.bars.edges import DAY_NS
from trio_projectx.bars.fill import Filler
from trio_projectx.bars.kinds import KindBuilder
from trio_projectx.bars.past import Past
from trio_projectx.bars.session_edges import Outside

Late = Literal["count", "revise"]
Fill = Literal["previous"] | None


@attrs.frozen(slots=True, eq=False)
class Rung:
    """One timeframe of the cascade; ``rank`` counts from the finest."""

    timeframe: Timeframe
    rank: int
    builder: Builder
    columns: BarColumns
    filler: Filler | None

    def take_closed(self, watermark: int) -> list[OpenBar]:
        """Return what has closed, with the gaps between filled if they are to be."""
        closed = self.builder.take_closed()
        if self.filler is None or not (closed or self.filler.next_end <= watermark):
            return closed
        closed.sort(key=_by_end)
        filled = self.filler.fill(closed, None if watermark == AFTER_ALL else watermark)
        if filled and self.builder.past is not None:
            self.builder.past.note_given(filled[-1].end)
        return filled

    @property
    def next_end(self) -> int:
        """The watermark at which the next bar closes."""
        own = self.builder.next_end
        return own if self.filler is None else min(own, self.filler.next_end)


def _by_end(bar: OpenBar) -> int:
    return bar.end


def check_outside(outside: Outside) -> Outside:
    """Return ``outside`` if it is one.

    :raises ConfigError: if it is none.
    """
    if outside not in ("own", "attach", "drop"):
        raise ConfigError(f'outside must be "own", "attach" or "drop", not {outside!r:.40}')
    return outside


_USUAL_DAYS: Final = {"d": 1, "w": 7, "M": 30}


def _usual_length(frame: Timeframe) -> int:
    step = frame.step_ns
    return _USUAL_DAYS[frame.unit] * frame.n * DAY_NS if step is None else step


@attrs.frozen(slots=True, eq=False)
class KindRung:
    """One kind of bars that do not end by time."""

    kind: BarKind
    builder: KindBuilder
    columns: BarColumns


def check_late_and_fill(late: Late, fill: Fill, anchor: Anchor) -> None:
    """Refuse what is no policy, or cannot be honoured under ``anchor``.

    :raises ConfigError: with a sentence.
    """
    if late not in ("count", "revise"):
        raise ConfigError(f'late must be "count" or "revise", not {late!r:.40}')
    if fill not in (None, "previous"):
        raise ConfigError(f'fill must be None or "previous", not {fill!r:.40}')
    if fill is not None and anchor.sessions is None:
        raise ConfigError(
            'fill="previous" fills scheduled hours, and this anchor has none: use Anchor.session(...)'
        )


def make_rung(
    anchor: Anchor,
    outside: Outside,
    late: Late,
    fill: Fill,
    bars_kept: int,
    frame: Timeframe,
    rank: int,
    source: Builder | None,
) -> Rung:
    """Make one timeframe, fed by ``source`` or, without one, by trades."""
    edges = anchor.edges(frame, outside)
    builder = Builder(frame, edges, source, Past() if late == "revise" else None)
    filler = None if fill is None or anchor.sessions is None else Filler(edges, anchor.sessions)
    return Rung(frame, rank, builder, BarColumns(bars_kept), filler)


def cascade(
    frames: Sequence[Timeframe],
    anchor: Anchor,
    outside: Outside,
    make: Callable[[Timeframe, int, Builder | None], Rung],
) -> dict[Timeframe, Rung]:
    """Build the builders from the finest to the coarsest, each on the coarsest that nests in it."""
    rungs: dict[Timeframe, Rung] = {}
    for rank, frame in enumerate(sorted(frames, key=_usual_length)):
        finer = [rung.builder for rung in rungs.values() if anchor.nests(rung.timeframe, frame, outside)]
        rungs[frame] = make(frame, rank, finer[-1] if finer else None)
    return rungs
