"""From the inside of a bar to the `Bar` that is given out: here, and only here, ticks become floats."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.market.grid import PriceGrid

_OfTrades: TypeAlias = tuple[int | None, int | None, int | None, float | None, int | None, int | None]


@attrs.frozen(slots=True)
class Freezer:
    """Makes the bars of one contract."""

    contract_id: str
    grid: PriceGrid

    def bar(self, timeframe: Timeframe, bar: OpenBar, *, partial: bool, closed: bool = True) -> Bar:
        """Return ``bar`` as it is now."""
        num, den = self.grid.num, self.grid.den
        trades, buy_volume, sell_volume, vwap, first_ts, last_ts = self._of_trades(bar)
        return Bar(
            contract_id=self.contract_id,
            timeframe=timeframe,
            start=bar.start,
            end=bar.end,
            open=bar.open * num / den,
            high=bar.high * num / den,
            low=bar.low * num / den,
            close=bar.close * num / den,
            volume=bar.volume,
            trades=trades,
            trade_date=bar.trade_date,
            buy_volume=buy_volume,
            sell_volume=sell_volume,
            vwap=vwap,
            first_ts=first_ts,
            last_ts=last_ts,
            partial=partial,
            scheduled=bar.is_scheduled,
            synthetic=not bar.volume,
            closed=closed,
            source=bar.source,
        )

    def _of_trades(self, bar: OpenBar) -> _OfTrades:
        """Return the number of trades, bought, sold, mean price, first and last stamp; None where nobody knows."""
        num, den = self.grid.num, self.grid.den
        if bar.source != "live":
            return None, None, None, None, None, None
        if bar.volume:
            # Exact but for this one, correctly rounded, division.
            vwap = bar.notional * num / (den * bar.volume)
            return bar.trades, bar.buy_volume, bar.sell_volume, vwap, bar.first_ts, bar.last_ts
        # Nobody traded, or (a brick) a trade only passed through, whose stamp it has.
        return bar.trades, bar.buy_volume, bar.sell_volume, bar.close * num / den, bar.start, bar.start


def ticks_of(bar: OpenBar) -> tuple[int, int, int, int]:
    """Return open, high, low and close in ticks."""
    return bar.open, bar.high, bar.low, bar.close
