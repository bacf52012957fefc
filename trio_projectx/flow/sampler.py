"""How much comes per second: totals that are counted anyhow, looked at now and then. Nothing is done per trade."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

import attrs

#: How often a look is due, in seconds.
EVERY_S: Final = 5.0
_WINDOWS_S: Final = (10.0, 60.0, 600.0)


class Totals(NamedTuple):
    """What has come since the beginning."""

    records: int = 0
    """Records of market data."""
    trades: int = 0
    """Trades received, valid or not."""
    quotes: int = 0
    """Quotes that were merged."""
    bars: int = 0
    """Bars that closed, of all streams and timeframes."""
    received_bytes: int = 0
    """Characters (of JSON: bytes) of both hubs; 0 in a replay."""


@attrs.frozen(slots=True)
class Rates:
    """How much came per second, in a window that ends now."""

    seconds: float
    """How long the window is: as long as its name says, and up to five seconds more; less after the beginning."""
    records: float
    trades: float
    quotes: float
    bars: float
    received_bytes: float


@attrs.frozen(slots=True)
class RateStatistics:
    """What has come in all, and per second over three windows."""

    totals: Totals
    ten_seconds: Rates
    minute: Rates
    ten_minutes: Rates


class Sampler:
    """Remembers the totals of the last ten minutes, one every five seconds; ``now`` is trio's clock everywhere."""

    def __init__(self, now: float, totals: Totals) -> None:
        most = round(_WINDOWS_S[-1] / EVERY_S) + 2
        self._samples: deque[tuple[float, Totals]] = deque([(now, totals)], maxlen=most)

    @property
    def due_at(self) -> float:
        """When the next look is due."""
        return self._samples[-1][0] + EVERY_S

    def sample(self, now: float, totals: Totals) -> None:
        """Take a look."""
        self._samples.append((now, totals))

    def statistics(self, now: float, totals: Totals) -> RateStatistics:
        """Return the rates at this moment."""
        return RateStatistics(totals, *(self._rates(now, totals, window_s) for window_s in _WINDOWS_S))

    def _rates(self, now: float, totals: Totals, window_s: float) -> Rates:
        """Return what came since the youngest look that is as old as the window, or the oldest there is."""
        place = bisect_right(self._samples, now - window_s, key=_time)
        then, before = self._samples[max(0, place - 1)]
        seconds = now - then
        if seconds <= 0:
            return Rates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        came = (after - was for after, was in zip(totals, before, strict=True))
        return Rates(seconds, *(each / seconds for each in came))


def _time(sample: tuple[float, Totals]) -> float:
    return sample[0]
