"""Heikin-Ashi: bars of averages, made of bars. A way to look at bars, not prices that were traded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from trio_projectx._events import Bar


def heikin_ashi(bars: Iterable[Bar]) -> Iterator[Bar]:
    """Give each bar of one timeframe, in order, with the prices of its Heikin-Ashi candle.

    Close is the mean of open, high, low and close; open the mean of the candle before's open and close (of the
    first: of the bar's own); high and low include both. All else stays what it was. The prices lie off the grid,
    and floats are rounded as they are computed. Of a live stream, feed closed bars only.
    """
    before: Bar | None = None
    for bar in bars:
        close = (bar.open + bar.high + bar.low + bar.close) / 4
        opens = (bar.open + bar.close) / 2 if before is None else (before.open + before.close) / 2
        before = attrs.evolve(
            bar, open=opens, high=max(bar.high, opens, close), low=min(bar.low, opens, close), close=close
        )
        yield before
