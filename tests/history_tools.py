"""A service of bars, as bad as it can be and as GATEWAY.md says, without a socket: what `Fetcher` asks."""

from __future__ import annotations

import random
from bisect import bisect_left

import attrs

from trio_projectx.connection.answers import BarsQuestion, WireCandle
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.connection.routes import BarsRefused
from trio_projectx.history.candles import Candle
from trio_projectx.market import PriceGrid, format_stamp

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_787_011_200 * SECOND  # 2026-08-18T00:00:00Z, a Tuesday
MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size(0.25)
INSTRUMENT = Instrument(MNQ, GRID)
STEPS = {1: SECOND, 2: MINUTE, 3: HOUR}


def candle(start: int, seed: int = 0, volume: int = 7) -> Candle:
    """A good bar, the same one for the same arguments."""
    rng = random.Random(start // SECOND * 31 + seed)
    open_, close = (20_000 + rng.randrange(400) / 4 for _ in range(2))
    high, low = max(open_, close) + rng.randrange(8) / 4, min(open_, close) - rng.randrange(8) / 4
    return Candle(start, open_, high, low, close, volume + rng.randrange(50))


def wire(bar: Candle) -> WireCandle:
    stamp = format_stamp(bar.start, 0, "+00:00")
    return WireCandle(stamp, bar.open, bar.high, bar.low, bar.close, bar.volume)


def folded(bars: list[Candle], step: int) -> list[Candle]:
    """The bars of a longer step, counted from 1970: written without the code under test."""
    found: dict[int, list[Candle]] = {}
    for bar in sorted(bars, key=lambda bar: bar.start):
        found.setdefault(bar.start // step * step, []).append(bar)
    return [
        Candle(
            start,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            sum(part.volume for part in parts),
        )
        for start, parts in sorted(found.items())
    ]


def _start(bar: Candle) -> int:
    return bar.start


@attrs.define
class FakeService:
    """Answers questions from ``minutes`` (or seconds), with every trap that is switched on."""

    bars: list[Candle]
    cap: int = 20_000
    inclusive: bool = False
    tier: bool = False
    shuffled: bool = False
    doubled: int = 0
    limit_most: int = 1 << 30
    failures: list[Exception] = attrs.field(factory=list)
    asked: list[BarsQuestion] = attrs.field(factory=list)
    extra: list[WireCandle] = attrs.field(factory=list)
    _folded: dict[int, list[Candle]] = attrs.field(factory=dict)

    async def __call__(self, question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        self.asked.append(question)
        if self.failures:
            raise self.failures.pop(0)
        if question.limit > self.limit_most:
            raise BarsRefused("bars refused: errorCode 4", 4)
        return self.answer(question)

    def answer(self, question: BarsQuestion) -> list[WireCandle]:
        if question.live is not self.tier:
            return []
        end = question.end_ns + (1 if self.inclusive else 0)
        step = STEPS[question.unit] * question.number
        if step not in self._folded:
            self._folded[step] = folded(self.bars, step)
        bars = self._folded[step]
        low = bisect_left(bars, question.start_ns, key=_start)
        high = bisect_left(bars, end, key=_start)
        found = bars[max(low, high - min(question.limit, self.cap)) : high][::-1]
        found += found[: self.doubled]
        if self.shuffled:
            random.Random(len(self.asked)).shuffle(found)
        return [wire(bar) for bar in found] + self.extra
