"""From the inside of a bar to the `Bar` that is given out: here, and only here, ticks become floats."""

from __future__ import annotations

import attrs

from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.market.grid import PriceGrid


@attrs.frozen(slots=True)
class Freezer:
    """Makes the bars of one contract."""

    contract_id: str
    grid: PriceGrid

    def bar(self, timeframe: Timeframe, bar: OpenBar, *, partial: bool, closed: bool = True) -> Bar:
        """Return ``bar`` as it is now."""
        if bar.source != "live":
            return self._of_service(timeframe, bar, partial=partial)
        num, den = self.grid.num, self.grid.den
        close = bar.close * num / den
        if bar.volume:
            first_ts, last_ts = bar.first_ts, bar.last_ts
            # Exact but for this one, correctly rounded, division.
            vwap = bar.notional * num / (den * bar.volume)
        else:
            # Nobody traded, or (a brick) a trade only passed through, whose stamp it has.
            first_ts = last_ts = bar.start
            vwap = close
        return Bar(
            contract_id=self.contract_id,
            timeframe=timeframe,
            start=bar.start,
            end=bar.end,
            open=bar.open * num / den,
            high=bar.high * num / den,
            low=bar.low * num / den,
            close=close,
            volume=bar.volume,
            trades=bar.trades,
            trade_date=bar.trade_date,
            buy_volume=bar.buy_volume,
            sell_volume=bar.sell_volume,
            vwap=vwap,
            first_ts=first_ts,
            last_ts=last_ts,
            partial=partial,
            scheduled=bar.is_scheduled,
            synthetic=not bar.volume,
            closed=closed,
        )

    def _of_service(self, timeframe: Timeframe, bar: OpenBar, *, partial: bool) -> Bar:
        num, den = self.grid.num, self.grid.den
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
            trades=None,
            trade_date=bar.trade_date,
            buy_volume=None,
            sell_volume=None,
            vwap=None,
            first_ts=None,
            last_ts=None,
            partial=partial,
            scheduled=bar.is_scheduled,
            source=bar.source,
        )


def ticks_of(bar: OpenBar) -> tuple[int, int, int, int]:
    """Return open, high, low and close in ticks."""
    return bar.open, bar.high, bar.low, bar.close
