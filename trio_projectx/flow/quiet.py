"""The event clock of one contract between its trades."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class EventClock:
    """The youngest trade's stamp, and the monotonic time (seconds of trio's clock) at which it was seen.

    From there on the exchange's clock is assumed to go as ours does. Our wall clock is not asked, so that its
    jumps move nothing.
    """

    ts_event: int
    seen_at: float

    def time_of(self, ts_event: int) -> float:
        """Return the monotonic time at which the exchange's clock shows ``ts_event``."""
        return self.seen_at + (ts_event - self.ts_event) / 1e9

    def ts_at(self, now: float) -> int:
        """Return what the exchange's clock shows at ``now`` (trio's clock)."""
        return self.ts_event + round((now - self.seen_at) * 1e9)
