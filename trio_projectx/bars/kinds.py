"""Bars that end by what was traded, not by time: ticks, volume, turnover, range, and bricks.

Trades go into them in order of arrival, so that a bar that was given out never changes; inside a bar, open and
close are by stamp, as everywhere. ``start`` is the first stamp of a bar, ``end`` one nanosecond past the last.
All is decided in whole ticks and contracts.
"""

from __future__ import annotations

from trio_projectx._timeframe import BarKind
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.undo import Journal, State, restore, state_of
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid


class KindBuilder:
    """Builds the bars of one kind from trades; ``received == in_bars + forming`` in trades, at every instant.

    A trade that is split over bars is counted in the one where it begins; a brick that a trade only passes
    through has no volume.
    """

    __slots__ = ("_bar", "_before", "_brick", "_limit", "in_bars", "kind")

    def __init__(self, kind: BarKind, grid: PriceGrid) -> None:
        self.kind = kind
        self.in_bars = 0
        self._bar: OpenBar | None = None
        self._brick: tuple[int, int] | None = None  # low and high of the last brick
        self._before: tuple[OpenBar | None, State | None, tuple[int, int] | None, int] | None = None
        # A turnover in ticks times contracts, rounded up: the least that is enough.
        is_turnover = kind.kind == "dollar"
        self._limit = -(-kind.size * grid.den // grid.num) if is_turnover else kind.size

    def touch(self, journal: Journal) -> None:
        """Remember how it is: it is about to change."""
        if self._before is None:
            bar = self._bar
            self._before = bar, None if bar is None else state_of(bar), self._brick, self.in_bars
            journal.note(self)

    def keep(self) -> None:
        """Forget how it was."""
        self._before = None

    def undo(self) -> None:
        """Be as it was before the update."""
        if self._before is not None:
            self._bar, state, self._brick, self.in_bars = self._before
            if self._bar is not None and state is not None:
                restore(self._bar, state)
        self._before = None

    @property
    def open_volume(self) -> int:
        """The volume of the bar that is open."""
        return 0 if self._bar is None else self._bar.volume

    @property
    def forming(self) -> OpenBar | None:
        """The bar that is open, if one is; it goes on changing."""
        return None if self._bar is None else _dated(self._bar)

    def update(self, batch: TradeBatch) -> list[OpenBar]:
        """Add trades in their order, and return the bars that they completed."""
        closed: list[OpenBar] = []
        add = {"volume": self._split, "range": self._range, "renko": self._bricks}.get(
            self.kind.kind, self._whole
        )
        for ts, ticks, volume, side in zip(
            batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True
        ):
            add(closed, ts, ticks, volume, side)
        self.in_bars += sum(bar.trades for bar in closed)
        return closed

    def flush(self) -> list[OpenBar]:
        """Return the open bar, if there is one, as though it were complete."""
        closed: list[OpenBar] = []
        if self._bar is not None and self.kind.kind != "renko":
            self._close(closed)
        self.in_bars += sum(bar.trades for bar in closed)
        return closed

    def _open_bar(self, ticks: int) -> OpenBar:
        if self._bar is None:
            self._bar = OpenBar(0, 0, ticks)
        return self._bar

    def _close(self, closed: list[OpenBar]) -> None:
        if self._bar is not None:
            closed.append(_dated(self._bar))
            self._bar = None

    def _whole(self, closed: list[OpenBar], ts: int, ticks: int, volume: int, side: int) -> None:
        """Ticks and turnover: a trade is in one bar."""
        bar = self._open_bar(ticks)
        bar.add(ts, ticks, volume, side)
        if (bar.trades if self.kind.kind == "tick" else bar.notional) >= self._limit:
            self._close(closed)

    def _split(self, closed: list[OpenBar], ts: int, ticks: int, volume: int, side: int) -> None:
        is_first = True
        while volume:
            bar = self._open_bar(ticks)
            piece = min(volume, self._limit - bar.volume)
            bar.add(ts, ticks, piece, side)
            bar.trades -= not is_first
            volume -= piece
            is_first = False
            if bar.volume == self._limit:
                self._close(closed)

    def _range(self, closed: list[OpenBar], ts: int, ticks: int, volume: int, side: int) -> None:
        bar = self._open_bar(ticks)
        if max(bar.high, ticks) - min(bar.low, ticks) > self._limit:
            self._close(closed)
            bar = self._open_bar(ticks)
        bar.add(ts, ticks, volume, side)

    def _bricks(self, closed: list[OpenBar], ts: int, ticks: int, volume: int, side: int) -> None:
        size = self._limit
        base = ticks // size * size
        low, high = (base, base) if self._brick is None else self._brick
        self._open_bar(ticks).add(ts, ticks, volume, side)
        while ticks >= high + size or ticks <= low - size:
            start, level = (high, high + size) if ticks >= high + size else (low, low - size)
            low, high = min(start, level), max(start, level)
            bar = self._open_bar(ticks)
            if not bar.trades:
                bar.first_ts = bar.last_ts = ts
            bar.open, bar.close, bar.low, bar.high = start, level, low, high
            self._close(closed)
        self._brick = low, high


def _dated(bar: OpenBar) -> OpenBar:
    bar.start, bar.end = bar.first_ts, bar.last_ts + 1
    return bar
