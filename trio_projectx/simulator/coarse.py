"""The past before anybody looked: few trades in each minute, and long ago in each hour, made at next to no cost.

A day of the market as it is streamed holds over a million trades, and making them takes seconds. What was never
streamed and lies back need not be as dense: here a minute (or an hour) is four trades of a larger size, which give
it its open, high, low and close. They too are pure functions of seed, contract and time, they lie on the same
path as the dense market, and bars of all units are made from them, so all units agree.
"""

from __future__ import annotations

from random import Random
from typing import Final

import attrs

from trio_projectx.market.grid import PriceGrid
from trio_projectx.simulator.candles import Candle
from trio_projectx.simulator.path import level

#: The path is asked at the edges of blocks of so many spans, and a straight line drawn between.
_BLOCK: Final = 32
#: Ticks that the edge of a minute lies off that line at most; of an hour, by the root of 60 more.
_SWING: Final = 24
_MASK: Final = (1 << 64) - 1
#: Four trades of a minute have the volume of a dense one, about 2,200.
_VOLUME_LEAST: Final = 300
_EDGES_KEPT: Final = 65_536


@attrs.define(slots=True, eq=False)
class Coarse:
    """The coarse past of one contract in spans of ``minutes`` (1 or 60), by their number since 1970."""

    seed: int
    contract_id: str
    base_ticks: int
    grid: PriceGrid
    minutes: int = 1
    _salt: int = attrs.field(init=False)
    _swing: int = attrs.field(init=False)
    _edges: dict[int, float] = attrs.field(init=False, factory=dict[int, float])

    def __attrs_post_init__(self) -> None:
        self._salt = Random(f"{self.seed}/{self.contract_id}/coarse/{self.minutes}").getrandbits(64)
        self._swing = round(_SWING * self.minutes**0.5)

    def candle(self, span: int, count: int = 1) -> Candle:
        """Return the candle of ``count`` spans from ``span`` on."""
        first = self._edge(span)
        high, low, last, volume = first, first, first, 0
        there = first
        for at in range(span, span + count):
            bits, here, there = _mixed(self._salt + at), there, self._edge(at + 1)
            last = there + (bits & 3) - 1
            upper, lower = (here, last) if here > last else (last, here)
            high, low = max(high, upper + (bits >> 2 & 15)), min(low, lower - (bits >> 6 & 15))
            volume += (bits >> 11 & 511) + (bits >> 21 & 511) + (bits >> 31 & 511) + (bits >> 41 & 511)
        volume = (volume + 4 * _VOLUME_LEAST * count) * self.minutes
        begin, end = self._stamps(span)[0], self._stamps(span + count - 1)[3]
        o, h, l, c = (self.grid.price(max(1, ticks)) for ticks in (first, high, low, last))  # noqa: E741
        return Candle(begin, end, o, h, l, c, volume)

    def trades(self, span: int) -> list[tuple[int, float, int]]:
        """Return the four trades of one span as stamp (int64 ns, whole milliseconds), price and volume."""
        bits = _mixed(self._salt + span)
        first, last = self._edge(span), self._edge(span + 1) + (bits & 3) - 1
        turns = [max(first, last) + (bits >> 2 & 15), min(first, last) - (bits >> 6 & 15)]
        if bits >> 10 & 1:
            turns.reverse()
        rows: list[tuple[int, float, int]] = []
        for number, (stamp, ticks) in enumerate(zip(self._stamps(span), (first, *turns, last), strict=True)):
            volume = (_VOLUME_LEAST + (bits >> 11 + 10 * number & 511)) * self.minutes
            rows.append((stamp, self.grid.price(max(1, ticks)), volume))
        return rows

    def _stamps(self, span: int) -> list[int]:
        """Return when the trades are: each somewhere in the first three quarters of its quarter of the span."""
        bits = _mixed(self._salt + span)
        quarter, at_ms = 15_000 * self.minutes, span * 60_000 * self.minutes
        drawn = (bits >> 11 + 10 * number & 1023 for number in range(4))
        return [
            (at_ms + quarter * at + quarter * 3 * part // 4096) * 1_000_000 for at, part in enumerate(drawn)
        ]

    def _edge(self, span: int) -> int:
        block, offset = divmod(span, _BLOCK)
        here, there = self._level(block), self._level(block + 1)
        noise = _mixed(self._salt ^ span) % (2 * self._swing + 1) - self._swing
        return self.base_ticks + round(here + (there - here) * offset / _BLOCK) + noise

    def _level(self, block: int) -> float:
        known = self._edges.get(block)
        if known is None:
            if len(self._edges) >= _EDGES_KEPT:
                self._edges.clear()
            known = self._edges[block] = level(self.seed, self.contract_id, block * _BLOCK * self.minutes)
        return known


def _mixed(number: int) -> int:
    """Return 64 bits that look drawn by lot (splitmix64); a generator of its own would cost ten times as much."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
