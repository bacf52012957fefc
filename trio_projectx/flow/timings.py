"""How long data take: from the wire to the bar, and from the exchange to us; and how many bars come of them."""

from __future__ import annotations

import attrs
import trio

from trio_projectx.flow.sketch import Distribution, Rotating


@attrs.frozen(slots=True, kw_only=True)
class LatencyStatistics:
    """How long data took, in ns; ``recent`` is of the last one or two minutes."""

    wire_to_bar: Distribution
    """From when a batch of trades was read from the socket until every stream had it, its bars made; waiting for a
    reader that asked for it (``BLOCK``) included. Nothing in a replay."""
    recent_wire_to_bar: Distribution
    event_lag: Distribution
    """Our wall clock when a batch was read less its youngest stamp: what the clocks differ by is in it."""
    recent_event_lag: Distribution


class Timings:
    """What the contract tasks of one pipeline have measured: one clock call per batch.

    In a replay (``is_live`` false) there is no wire: it was another day's.
    """

    __slots__ = ("_is_live", "bars", "lag", "wire")

    def __init__(self, *, is_live: bool = False) -> None:
        self._is_live = is_live
        self.bars = 0
        """Bars that have closed, of all streams and timeframes there were."""
        self.wire = Rotating()
        self.lag = Rotating()

    def built(self, read_at: float | None, lag_ns: int) -> None:
        """A batch that was read at ``read_at`` (trio's clock; None where it was held meanwhile) is in its bars now."""
        self.lag.add(lag_ns)
        if read_at is not None and self._is_live:
            self.wire.add(int((trio.current_time() - read_at) * 1e9))

    def rotate(self) -> None:
        """Begin another window."""
        self.wire.rotate()
        self.lag.rotate()

    def statistics(self) -> LatencyStatistics:
        """Return a snapshot."""
        return LatencyStatistics(
            wire_to_bar=self.wire.lifetime(),
            recent_wire_to_bar=self.wire.recent(),
            event_lag=self.lag.lifetime(),
            recent_event_lag=self.lag.recent(),
        )
