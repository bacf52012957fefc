"""The two clocks of a simulator: the wall (for tokens) and the market (for everything that trades)."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio


@attrs.frozen(slots=True)
class MarketClock:
    """Market time: starts at the wall clock, then runs ``speed`` times as fast as trio's clock.

    It never looks at the wall again, so a wall clock that is set back does not turn the market around, and
    under a virtual trio clock the market is virtual too.
    """

    speed: float
    start_ns: int
    _origin: float

    @classmethod
    def started(cls, speed: float, wall_clock: Callable[[], int]) -> MarketClock:
        """Start the clock now."""
        return cls(speed, wall_clock(), trio.current_time())

    def now_ns(self) -> int:
        """Return the market's time as int64 ns; it never goes back."""
        return self.start_ns + int((trio.current_time() - self._origin) * self.speed * 1e9)
