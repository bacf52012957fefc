"""One timeframe of a bar set: which bars are open, which trade is late, what is handed on.

A bar is final when the watermark (youngest stamp so far, less the lateness) has reached its end; until then
it is open, and within the lateness several are. Whether a trade is late is decided by the trades that
arrived before it and by nothing else, so how they were cut into batches changes no bar and no count.

Builders form trees. A builder hands each bar it closes to its ``children``, the coarser timeframes that are
made of whole bars of it. A trade that is late for it (and counted, or put into its past) may be in time for
them: it is offered to them one by one, after everything that is final has been handed on, so that a tie of
stamps is still resolved by order of arrival.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from typing import Final, NamedTuple

import attrs

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.edges import Edges, Slot
from trio_projectx.bars.past import Past
from trio_projectx.bars.undo import Journal, State, growth_of, restore, state_of
from trio_projectx.market.batch import TradeBatch

#: Before every stamp and after every edge, whatever lateness is taken from them; no int64 reaches them.
BEFORE_ALL: Final = -(1 << 80)
AFTER_ALL: Final = 1 << 80
#: Runs no longer than this are added trade by trade: to call the built-in functions costs about as much.
_SHORT_RUN: Final = 6
_by_start: Final = operator.attrgetter("start")


def _place_start(place: tuple[Slot, OpenBar]) -> int:
    return place[0].start


@attrs.frozen(slots=True)
class BarCounts:
    """Where the trades of one timeframe went.

    At every instant ``received == in_bars + forming + late + outside + failed``.
    """

    received: int
    """Trades handed to the bar set."""
    in_bars: int
    """Trades in bars that are closed."""
    forming: int
    """Trades in bars that are open."""
    late: int
    """Trades whose interval was final when they came; they are in no bar of this timeframe."""
    outside: int = 0
    """Trades in closed hours that were left out (``outside="drop"``)."""
    unscheduled: int = 0
    """Trades in closed hours, whatever became of them: advice, no term of the equation."""
    revised: int = 0
    """Trades that came late and were put into their bars nevertheless; they are counted in ``in_bars``."""
    failed: int = 0
    """Trades of batches that the builder of this timeframe could not take; told by `BuilderFailed`."""


class _Before(NamedTuple):
    """A builder before an update."""

    open: dict[int, OpenBar]
    states: list[State]
    in_bars: int
    late: int
    next_end: int
    current: OpenBar | None
    low: int
    high: int


class Builder:
    """The open bars of one timeframe.

    ``source`` is the builder whose closed bars are folded here; without one, trades come by `feed`.
    ``closed`` collects closed bars in order of ``start`` until the owner takes them. ``next_end`` is the
    least ``end`` of the open bars (`AFTER_ALL` if there is none).
    """

    __slots__ = (
        "_before",
        "_before_run",
        "_current",
        "_high",
        "_journal",
        "_locate",
        "_low",
        "_open",
        "children",
        "closed",
        "in_bars",
        "late",
        "next_end",
        "past",
        "source",
        "timeframe",
    )

    def __init__(
        self,
        timeframe: Timeframe,
        edges: Edges,
        source: Builder | None,
        past: Past | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.timeframe = timeframe
        self._journal = Journal() if journal is None else journal
        self._before: _Before | None = None
        self._before_run: tuple[OpenBar, State] | None = None
        self.source = source
        self.children: list[Builder] = []
        self.closed: list[OpenBar] = []
        self.past = past
        self.in_bars = 0
        self.late = 0
        self.next_end = AFTER_ALL
        self._locate = edges.locate
        self._open: dict[int, OpenBar] = {}
        self._current: OpenBar | None = None  # the open bar last added to; never one that is final
        self._low = self._high = 0  # stamps from low to below high are all its; with none, there are none
        if source is not None:
            source.children.append(self)

    def touch(self) -> None:
        """Remember how it is: it is about to change."""
        if self._before is None:
            bars = self._open
            states = [state_of(bar) for bar in bars.values()]
            self._before = _Before(
                dict(bars),
                states,
                self.in_bars,
                self.late,
                self.next_end,
                self._current,
                self._low,
                self._high,
            )
            self._journal.note(self)

    def keep(self) -> None:
        """Forget how it was."""
        self._before = self._before_run = None

    def undo(self) -> None:
        """Be as it was before the update: its open bars, its counts, and nothing closed."""
        if self._before is not None:
            self._open, states, self.in_bars, self.late, self.next_end = self._before[:5]
            self._current, self._low, self._high = self._before[5:]
            for bar, state in zip(self._open.values(), states, strict=True):
                restore(bar, state)
        if self._before_run is not None:
            restore(*self._before_run)
        self.closed = []
        self.keep()

    def stand_alone(self) -> None:
        """Take in what the finer builders have not handed on, and take trades from now on."""
        if self.source is not None:
            self.touch()
            for part in sorted(self.source.open_parts(), key=_by_start):
                self.bar_at(part.start, part.open).fold(part)

    def feed(
        self, batch: TradeBatch, low_ts: int, high_ts: int, in_order: bool, youngest: int, lateness: int
    ) -> bool:
        """Add a batch; return whether `next_end` may have changed, of this builder or of a coarser one.

        ``low_ts``, ``high_ts`` and ``in_order`` describe the batch's stamps; ``youngest`` is the youngest
        stamp before it.
        """
        bar = self._current
        if bar is not None and self._low <= low_ts and high_ts < self._high:
            # Every stamp is below the end of an open bar, so none of them can make it final for the next one.
            if self._before is None and self._before_run is None:
                self._before_run = bar, growth_of(bar)
                self._journal.note(self)
            columns = batch.ts_event, batch.ticks, batch.volume, batch.side
            if len(batch.ts_event) > _SHORT_RUN:
                bar.add_run(*columns, low_ts, high_ts)
            else:
                for ts, ticks, volume, side in zip(*columns, strict=True):
                    bar.add(ts, ticks, volume, side)
            return False
        self.touch()
        if in_order and low_ts >= youngest - lateness:
            self._feed_in_order(batch)
        else:
            self._feed_each(batch, youngest, lateness)
        return True

    def _feed_in_order(self, batch: TradeBatch) -> None:
        """Add trades of which none can be late, bar by bar."""
        ts, ticks, volume, side = batch.ts_event, batch.ticks, batch.volume, batch.side
        at, count = 0, len(ts)
        while at < count:
            bar = self.bar_at(ts[at], ticks[at])
            end, far = self._high, at + _SHORT_RUN
            if far < count and ts[far] < end:
                stop = bisect_left(ts, end, far, count)
                run = slice(at, stop)
                bar.add_run(ts[run], ticks[run], volume[run], side[run], ts[at], ts[stop - 1])
                at = stop
            else:
                while at < count and ts[at] < end:
                    bar.add(ts[at], ticks[at], volume[at], side[at])
                    at += 1

    def _feed_each(self, batch: TradeBatch, youngest: int, lateness: int) -> None:
        """Add trades in any order of stamps, judging each by those before it."""
        for ts, ticks, volume, side in zip(
            batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True
        ):
            bar = self._current
            if bar is not None and self._low <= ts < self._high:
                bar.add(ts, ticks, volume, side)
            else:
                self.offer(ts, ticks, volume, side, youngest - lateness)
            if ts > youngest:
                youngest = ts

    def offer(self, ts: int, ticks: int, volume: int, side: int, watermark: int) -> None:
        """Add one trade, or count it as late and offer it to the coarser builders."""
        self.touch()
        slot = self._locate(ts)
        if slot.end > watermark:
            self.bar_at(ts, ticks).add(ts, ticks, volume, side)
            return
        self.settle(watermark)
        if self.past is not None and self.past.revise(slot, ts, ticks, volume, side):
            self.in_bars += 1
        else:
            self.late += 1
        for child in self.children:
            child.offer(ts, ticks, volume, side, watermark)

    def bar_at(self, ts: int, ticks: int) -> OpenBar:
        """Return the open bar of ``ts``, opening it if needed; its interval must not be final."""
        bar = self._current
        if bar is not None and self._low <= ts < self._high:
            return bar
        start, end, self._low, self._high, trade_date, is_scheduled = self._locate(ts)
        bar = self._open.get(start)
        if bar is None:
            bar = self._open[start] = OpenBar(start, end, ticks, trade_date, is_scheduled)
            if end < self.next_end:
                self.next_end = end
        self._current = bar
        return bar

    def settle(self, watermark: int) -> None:
        """Close the bars that are final, here and in all coarser builders, the finest first."""
        if self.next_end <= watermark:
            self._close(sorted((bar for bar in self._open.values() if bar.end <= watermark), key=_by_start))
        for child in self.children:
            child.settle(watermark)

    def _close(self, due: list[OpenBar]) -> None:
        self.touch()
        for child in self.children:
            child.touch()
        for bar in due:
            del self._open[bar.start]
            self.in_bars += bar.trades
            for child in self.children:
                child.bar_at(bar.start, bar.open).fold(bar)
        self.closed += due
        if self.past is not None:
            self.past.remember(due)
        self.next_end = min((bar.end for bar in self._open.values()), default=AFTER_ALL)
        self._current = None
        self._low = self._high = 0

    def open_parts(self) -> list[OpenBar]:
        """Return the open bars here and of all finer sources: what this timeframe's open bars are made of."""
        own = list(self._open.values())
        return own if self.source is None else own + self.source.open_parts()

    def own_open_volume(self) -> int:
        """Return the volume of the open bars here, without what the finer sources have not handed on."""
        return sum(bar.volume for bar in self._open.values())

    def forming(self) -> OpenBar | None:
        """Return a copy of the youngest open bar with everything in it, or None."""
        parts = self.open_parts()
        if not parts:
            return None
        places = [(self._locate(part.start), part) for part in parts]
        youngest, part = max(places, key=_place_start)
        whole = OpenBar(youngest.start, youngest.end, part.open, youngest.trade_date, youngest.is_scheduled)
        for place, part in places:
            if place.start == youngest.start:
                whole.fold(part)
        return whole

    def take_closed(self) -> list[OpenBar]:
        """Return what `closed` has collected, and begin anew."""
        closed, self.closed = self.closed, []
        if self.past is not None:
            closed += self.past.give(closed)
        return closed
