"""What is to be read again for one timeframe of one stream, and when. Pure: instants are handed in."""

from __future__ import annotations

import math
from typing import Final

import attrs

from trio_projectx.bars.edges import Edges, enclosing
from trio_projectx.history.intervals import Interval, Intervals

#: Attempts in a row in which the service showed less than was seen, after which it is believed to go on so.
CONFLICTS_MOST: Final = 5
#: Spans of one job; where the service shows nothing for weeks there is one for each outage.
SPANS_MOST: Final = 4096


@attrs.define(slots=True, eq=False)
class Job:
    """Bars that are to be read again, as spans of whole bars."""

    edges: Edges
    wanted: Intervals = attrs.field(factory=Intervals)
    not_before: float = -math.inf
    """On trio's clock."""
    attempts: int = 0
    """Attempts in a row that left something to be wanted."""
    conflicts: int = 0
    """The same, where it was that the service shows less than was seen."""

    def ready_ns(self, settle_ns: int) -> int | None:
        """Return the exchange's time at which the first bar that is wanted can be read; None if none is."""
        for start, end in self.wanted:
            return min(end, enclosing(self.edges, start)[1]) + settle_ns
        return None

    def take(self, settled_ns: int) -> Interval | None:
        """Take the first span out that is over by ``settled_ns``, or as much of it as is."""
        for start, end in self.wanted:
            ready = min(end, enclosing(self.edges, settled_ns)[0])
            if ready > start:
                self.wanted.cut(start, ready)
                return start, ready
        return None

    def bound(self) -> Interval | None:
        """Give up the older half where there are too many; return from where to where that goes, None for nothing."""
        if len(self.wanted) <= SPANS_MOST:
            return None
        spans = list(self.wanted)
        gone = spans[0][0], spans[len(spans) // 2][1]
        self.wanted.cut(*gone)
        return gone

    def failed(self, now: float, retry_s: float, cap_s: float) -> float:
        """Note that something is left to be wanted, and return in how many seconds it is tried again."""
        wait_s = min(cap_s, retry_s * 2.0 ** min(self.attempts, 30))
        self.attempts += 1
        self.not_before = now + wait_s
        return wait_s

    def succeeded(self, now: float, settle_s: float) -> None:
        """Note that nothing was left; what remains is read in one go, and not bar by bar as each ends."""
        self.attempts = self.conflicts = 0
        self.not_before = now + settle_s
