"""Open, high, low, close and volume of a span of time; and the record of them that a market keeps as it trades."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.truth import TradeColumns

SECOND_NS: Final = 1_000_000_000
#: What a record keeps: the minutes of 63 days (the service's depth), and seconds of a little more than a day.
MINUTES_KEPT: Final = 63 * 1440
SECONDS_KEPT: Final = 90_000


@attrs.define(slots=True)
class Candle:
    """The trades of a span; ``first_ns`` and ``last_ns`` are the stamps of those that gave open and close.

    Of trades with equal stamps the one that came first is before the others.
    """

    first_ns: int
    last_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: int

    def add(self, ts_ns: int, price: float, volume: int) -> None:
        """Count a trade."""
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        if ts_ns >= self.last_ns:
            self.last_ns, self.close = ts_ns, price
        elif ts_ns < self.first_ns:
            self.first_ns, self.open = ts_ns, price
        self.volume += volume

    def merged(self, other: Candle) -> Candle:
        """Return the candle of the trades of both; of equal stamps those of ``self`` came first."""
        first = other if other.first_ns < self.first_ns else self
        last = self if self.last_ns > other.last_ns else other
        return Candle(
            first.first_ns,
            last.last_ns,
            first.open,
            max(self.high, other.high),
            min(self.low, other.low),
            last.close,
            self.volume + other.volume,
        )


def fold(rows: Iterable[tuple[int, float, int]], span_ns: int) -> dict[int, Candle]:
    """Return the candles of trades (stamp, price, volume) by the number of their span since 1970."""
    candles: dict[int, Candle] = {}
    for ts_ns, price, volume in rows:
        candle = candles.get(ts_ns // span_ns)
        if candle is None:
            candles[ts_ns // span_ns] = Candle(ts_ns, ts_ns, price, price, price, price, volume)
        else:
            candle.add(ts_ns, price, volume)
    return candles


@attrs.define(slots=True, eq=False)
class Record:
    """Seconds and minutes of what was traded since ``from_ns``; complete but for what is too old to keep."""

    from_ns: int
    kept: int | None = None
    """How many seconds, and minutes, are kept; None: `SECONDS_KEPT` and `MINUTES_KEPT`."""
    seconds: dict[int, Candle] = attrs.Factory(dict[int, Candle])
    minutes: dict[int, Candle] = attrs.Factory(dict[int, Candle])
    seconds_from_ns: int = attrs.field(init=False)
    """Seconds that begin before it are not kept (any more)."""

    def __attrs_post_init__(self) -> None:
        self.seconds_from_ns = self.from_ns

    def add(self, trades: TradeColumns) -> None:
        """Count ``trades``; late ones too."""
        for ts_ns, price, volume in zip(trades.ts_event, trades.price, trades.volume, strict=True):
            for candles, span_ns in ((self.seconds, SECOND_NS), (self.minutes, MINUTE_NS)):
                candle = candles.get(ts_ns // span_ns)
                if candle is None:
                    candles[ts_ns // span_ns] = Candle(ts_ns, ts_ns, price, price, price, price, volume)
                else:
                    candle.add(ts_ns, price, volume)
        while len(self.seconds) > (self.kept or SECONDS_KEPT):
            oldest = next(iter(self.seconds))
            del self.seconds[oldest]
            self.seconds_from_ns = max(self.seconds_from_ns, (oldest + 1) * SECOND_NS)
        while len(self.minutes) > (self.kept or MINUTES_KEPT):
            del self.minutes[next(iter(self.minutes))]
