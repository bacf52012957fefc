"""The inside of one bar while it is open: sums and extremes, in whole ticks and whole contracts.

Adding is commutative but for one rule: of trades with the same stamp, the one that arrived first is nearer to
the open and the one that arrived last nearer to the close. Everything is an exact Python integer; floats are
made once, when the bar is closed.
"""

from __future__ import annotations

import datetime
import itertools
import operator
from typing import Final

import attrs

from trio_projectx._events import BarSource, Side

_SELL: Final = int(Side.SELL)
_BUY: Final = int(Side.BUY)
_UNKNOWN: Final = int(Side.UNKNOWN)
# No stamp of int64 reaches these; trades of closed hours may lie before the start of their bar.
_BEFORE_ALL: Final = -(1 << 80)
_AFTER_ALL: Final = 1 << 80


@attrs.define(slots=True, eq=False)
class OpenBar:
    """A bar that may still grow; made empty, with the price of any trade that is about to be added.

    Prices are in ticks. An empty one has its stamps crossed, so that the first trade added is both the open
    and the close without being asked for specially. ``notional`` is the sum of ticks times volume.
    """

    start: int
    end: int
    high: int
    trade_date: datetime.date | None = None
    is_scheduled: bool = True
    is_partial: bool | None = None
    """None until the bar was given out for the first time."""
    late_trades: int = 0
    source: BarSource = "live"
    """Other than "live", it is one of the service's: only its prices and its volume are known."""
    low: int = attrs.field(init=False)
    open: int = attrs.field(init=False)
    close: int = attrs.field(init=False)
    volume: int = attrs.field(init=False, default=0)
    trades: int = attrs.field(init=False, default=0)
    buy_volume: int = attrs.field(init=False, default=0)
    sell_volume: int = attrs.field(init=False, default=0)
    notional: int = attrs.field(init=False, default=0)
    first_ts: int = attrs.field(init=False)
    last_ts: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.low = self.open = self.close = self.high
        self.first_ts = _AFTER_ALL
        self.last_ts = _BEFORE_ALL

    def add(self, ts: int, ticks: int, volume: int, side: int) -> None:
        """Add one trade of this bar's interval."""
        if ts < self.first_ts:
            self.first_ts = ts
            self.open = ticks
        if ts >= self.last_ts:
            self.last_ts = ts
            self.close = ticks
        if ticks > self.high:
            self.high = ticks
        elif ticks < self.low:
            self.low = ticks
        self.volume += volume
        self.trades += 1
        self.notional += ticks * volume
        if side == _BUY:
            self.buy_volume += volume
        elif side == _SELL:
            self.sell_volume += volume

    def add_run(
        self, ts: list[int], ticks: list[int], volume: list[int], side: list[int], low_ts: int, high_ts: int
    ) -> None:
        """Add trades that are all of this bar's interval, in order of arrival, in any order of stamps.

        ``low_ts`` and ``high_ts`` are the least and the greatest of ``ts``, which the caller has at hand.
        The built-in functions go over the columns at a tenth of the cost of a loop of Python.
        """
        if low_ts < self.first_ts:
            self.first_ts = low_ts
            self.open = ticks[ts.index(low_ts)]
        if high_ts >= self.last_ts:
            self.last_ts = high_ts
            self.close = ticks[-1] if ts[-1] == high_ts else ticks[~ts[::-1].index(high_ts)]
        high, low, total = max(ticks), min(ticks), sum(volume)
        if high > self.high:
            self.high = high
        if low < self.low:
            self.low = low
        self.volume += total
        self.trades += len(ts)
        self.notional += sum(map(operator.mul, ticks, volume))
        if _UNKNOWN in side:
            self.buy_volume += sum(itertools.compress(volume, [s == _BUY for s in side]))
            self.sell_volume += sum(itertools.compress(volume, [s == _SELL for s in side]))
        else:
            sold = sum(itertools.compress(volume, side))  # BUY is 0
            self.sell_volume += sold
            self.buy_volume += total - sold

    def fold(self, finer: OpenBar) -> None:
        """Add all trades of ``finer``, whose interval lies in this one's."""
        if finer.first_ts < self.first_ts:
            self.first_ts = finer.first_ts
            self.open = finer.open
        if finer.last_ts >= self.last_ts:
            self.last_ts = finer.last_ts
            self.close = finer.close
        if finer.high > self.high:
            self.high = finer.high
        if finer.low < self.low:
            self.low = finer.low
        self.volume += finer.volume
        self.trades += finer.trades
        self.buy_volume += finer.buy_volume
        self.sell_volume += finer.sell_volume
        self.notional += finer.notional
