"""Where the price goes and when things happen: pure functions of a seed, a contract and a minute.

A market is not a walk that has to be run from its start. The price at the edge of a minute is fractal noise
(a sum of octaves, each a line through points drawn from a generator seeded with the point's own name), so any
minute of any day can be made by itself: clients that come late, come back, or ask for the past see one and
the same market. The sum is bounded, so that a market which runs a thousand times too fast for a week still
has a sane price.
"""

from __future__ import annotations

import math
from random import Random
from typing import Final

MINUTE_NS: Final = 60_000_000_000
#: Times inside a minute are drawn in units of 100 ns, the finest the wire shows.
UNIT_NS: Final = 100
UNITS: Final = MINUTE_NS // UNIT_NS

_OCTAVES: Final = (1, 4, 16, 64, 256, 1024)
#: Ticks of the first octave; all octaves together move a minute by some ten points of MNQ (40 ticks).
_SWING: Final = 24.0
#: Shares of events that sit in the burst at the minute's open and in random bursts, and their decay in units.
_AT_OPEN, _IN_BURSTS = 0.12, 0.30
_OPEN_DECAY, _BURST_DECAY = 1.2e7, 2.5e6


def level(seed: int, contract_id: str, minute: int) -> float:
    """Return the price at the start of ``minute`` (minutes since 1970), in ticks from the contract's base."""
    total = 0.0
    for period in _OCTAVES:
        index, offset = divmod(minute, period)
        swing = _SWING * math.sqrt(period)
        here = _point(seed, contract_id, period, index)
        there = _point(seed, contract_id, period, index + 1)
        total += swing * (here + (there - here) * offset / period)
    return total


def _point(seed: int, contract_id: str, period: int, index: int) -> float:
    return Random(f"{seed}/{contract_id}/path/{period}/{index}").uniform(-1.0, 1.0)


def times(rng: Random, mean: float) -> list[int]:
    """Return the sorted times of about ``mean`` events in a minute, in units of 100 ns from its start."""
    count = max(0, round(rng.gauss(mean, math.sqrt(mean))))
    centres = [rng.randrange(UNITS) for _ in range(rng.randrange(2, 8))]
    drawn = [_time(rng, centres) for _ in range(count)]
    return sorted(time for time in drawn if time < UNITS)


def _time(rng: Random, centres: list[int]) -> int:
    where = rng.random()
    if where < _AT_OPEN:
        return int(rng.expovariate(1 / _OPEN_DECAY))
    if where < _IN_BURSTS:
        return rng.choice(centres) + int(rng.expovariate(1 / _BURST_DECAY))
    return rng.randrange(UNITS)
