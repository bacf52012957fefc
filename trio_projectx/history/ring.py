"""The nearest level of history: the youngest bars, in memory."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, TypeAlias

import attrs

from trio_projectx.history.candles import Candle, opening
from trio_projectx.history.intervals import Interval

Key: TypeAlias = tuple[str, str, bool]
"""Contract, unit, and the tier of data."""
#: How many times as many bars are kept of all contracts and units together as of one.
TIMES: Final = 10


@attrs.define(slots=True)
class _Held:
    start: int
    end: int
    candles: list[Candle]


class Ring:
    """The youngest bars of each contract and unit that were asked for: at most ``bars_kept`` of each, ``most`` in all.

    Of all together it is `TIMES` as many where nothing else is said.

    What is kept of one is a single span of time, without a hole. Of all together what was used longest ago goes first.
    """

    def __init__(self, bars_kept: int, most: int | None = None) -> None:
        self._bars_kept = bars_kept
        self._most = TIMES * bars_kept if most is None else most
        self._held: dict[Key, _Held] = {}  # in the order of their use

    def span(self, key: Key) -> Interval:
        """Return the time of which all bars are here; an empty one if none is."""
        held = self._held.get(key)
        return (0, 0) if held is None else (held.start, held.end)

    def before(self, key: Key, low: int, high: int) -> tuple[int, list[Candle]] | None:
        """Return from when on (at or after ``low``) all before ``high`` is here, and that; None if nothing is."""
        held = self._held.get(key)
        if held is None or not held.start < high <= held.end:
            return None
        self._held[key] = self._held.pop(key)
        low = max(low, held.start)
        return low, _cut(held.candles, low, high)

    def put(self, key: Key, start: int, end: int, candles: list[Candle]) -> None:
        """Keep bars that are final, and all that there were in ``[start, end)``.

        What does not touch what is here takes its place if it is younger, and is not kept if it is older.
        """
        held = self._held.pop(key, None)
        if start >= end or (held is not None and end < held.start):
            fresh = held
        elif held is None or held.end < start:
            fresh = _Held(start, end, list(candles))
        else:
            before, after = _cut(held.candles, held.start, start), _cut(held.candles, end, held.end)
            fresh = _Held(min(start, held.start), max(end, held.end), [*before, *candles, *after])
        if fresh is None or not self._bars_kept:
            return
        _cap(fresh, self._bars_kept)
        self._held[key] = fresh
        self._bound()

    def __len__(self) -> int:
        """How many bars there are, of all contracts and units."""
        return sum(len(held.candles) for held in self._held.values())

    def limit(self, bars_kept: int, most: int) -> int:
        """Keep so many from now on, of each and in all; 0 keeps none. Return how many went."""
        before = len(self)
        self._bars_kept, self._most = bars_kept, most
        for held in self._held.values():
            _cap(held, bars_kept)
        if not bars_kept:
            self._held.clear()
        self._bound()
        return before - len(self)

    def _bound(self) -> None:
        size = len(self)
        while size > self._most and len(self._held) > 1:
            oldest = next(iter(self._held))
            size -= len(self._held.pop(oldest).candles)


def _cap(held: _Held, bars_kept: int) -> None:
    if bars_kept and len(held.candles) > bars_kept:
        held.candles = held.candles[-bars_kept:]
        held.start = held.candles[0].start


def _cut(candles: list[Candle], low: int, high: int) -> list[Candle]:
    return candles[bisect_left(candles, low, key=opening) : bisect_left(candles, high, key=opening)]
