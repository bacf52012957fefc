"""The local clock against the exchange's, from the stamps of the data alone; nothing is rejected for it.

A record that came is younger than its way here, so the least of (our clock when it was read, less its stamp) is the
difference of the clocks and the shortest way. That is told as the skew; what is above it is delay.
"""

from __future__ import annotations

from typing import Final

#: A window is believed from so many reads on, each younger than all before it, over so long: what a service shows
#: of the past when it is subscribed to (the last quote of Friday, the last 50 trades) is not taken for the present.
_READS: Final = 5
_SPAN_S: Final = 1.0
#: If our wall clock and the monotonic one part by more than this between two reads, ours was set, or the machine
#: slept.
_STEP_NS: Final = 500_000_000
_LEAVE: Final = 0.8
_NEVER: Final = 1 << 80
_NS_PER_MS: Final = 1_000_000


class _Window:
    """What one window has seen; the second least stands for the least, as one stamp in the future is no clock."""

    __slots__ = ("first_at", "least", "newest", "reads", "second")

    def __init__(self) -> None:
        self.first_at = 0.0
        self.reads = 0
        self.newest = -_NEVER
        self.least = _NEVER
        self.second = _NEVER

    def add(self, lag: int, stamp: int, now: float) -> None:
        if not self.reads:
            self.first_at = now
        self.reads += 1
        self.newest = stamp
        if lag < self.least:
            self.least, self.second = lag, self.least
        elif lag < self.second:
            self.second = lag


class SkewEstimate:
    """How far our clock is ahead of the exchange's, and how late the data are; fed once per read.

    Two windows of ``window_s`` take turns, so that an estimate is between one and two of them old, and costs the same
    at any rate. Where too little comes to say anything, the last estimate stays. A step of the local clock (or a
    sleep of the machine, which looks the same) makes it forget all; data tell anew within five reads and a second.
    """

    __slots__ = (
        "_lag",
        "_newest",
        "_now",
        "_past",
        "_present",
        "_skew",
        "_smooth",
        "_turn_at",
        "_wall",
        "_window_s",
        "is_skewed",
    )

    def __init__(self, window_s: float = 30.0) -> None:
        self._window_s = window_s
        self._wall: int | None = None
        self._now = 0.0
        self.is_skewed = False
        """What `judge` said last."""
        self._present, self._past = _Window(), _Window()
        self._newest = -_NEVER  # of both windows
        self._turn_at = 0.0
        self._skew: int | None = None
        self._lag: int | None = None
        self._smooth: int | None = None

    def heard(self, ts_event_ns: int, ts_recv_ns: int, now: float) -> None:
        """Note a read: the youngest stamp of a trade or quote in it, our wall clock when it was read, and ``now``."""
        self._look_for_step(ts_recv_ns, now)
        if now >= self._turn_at:
            self._turn(now)
        if ts_event_ns <= self._newest:
            return  # a younger one came earlier: this one was on a longer way, and says nothing of the clocks
        self._newest = ts_event_ns
        lag = ts_recv_ns - ts_event_ns
        present, past = self._present, self._past
        present.add(lag, ts_event_ns, now)
        first_at = past.first_at if past.reads else present.first_at
        if present.reads + past.reads >= _READS and now - first_at >= _SPAN_S:
            self._skew = min(present.second, past.second)
            self._smooth = lag if self._smooth is None else self._smooth + ((lag - self._smooth) >> 3)
            self._lag = lag

    def _look_for_step(self, wall_ns: int, now: float) -> None:
        """Compare how far the two clocks went since they were last looked at."""
        last, self._wall = self._wall, wall_ns
        moved = 0 if last is None else wall_ns - last - round((now - self._now) * 1e9)
        self._now = now
        if not -_STEP_NS < moved < _STEP_NS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        self._present, self._past = _Window(), _Window()
        self._newest = -_NEVER
        self._turn_at = now + self._window_s
        self._skew = self._lag = self._smooth = None

    def _turn(self, now: float) -> None:
        is_long_ago = now >= self._turn_at + self._window_s
        self._past = _Window() if is_long_ago else self._present
        self._present = _Window()
        self._newest = self._past.newest
        self._turn_at = now + self._window_s if is_long_ago else self._turn_at + self._window_s

    @property
    def skew_ms(self) -> float | None:
        """How far our clock is ahead, in ms, the shortest way of a record included; None before data that say so."""
        return None if self._skew is None else self._skew / _NS_PER_MS

    @property
    def lag_ms(self) -> float | None:
        """Our clock less the stamp, in ms, smoothed over some eight reads; what our clock is off is in it.

        It is that of the last read that told something, however long ago; None before one.
        """
        return None if self._smooth is None else self._smooth / _NS_PER_MS

    @property
    def last_lag_ms(self) -> float | None:
        """The same of the last read alone."""
        return None if self._lag is None else self._lag / _NS_PER_MS

    def exchange_ns(self, wall_ns: int, now: float) -> int:
        """Return what the exchange's clock shows when ours shows ``wall_ns``: the same where nothing is known.

        It is behind by the shortest way of a record. A step of our clock since the last look is seen here too.
        """
        self._look_for_step(wall_ns, now)
        return wall_ns if self._skew is None else wall_ns - self._skew

    def judge(self, limit_ms: float) -> bool | None:
        """Return True when the skew is found beyond the limit, False when it is back below 80 % of it, else None.

        Either is returned once, and ``is_skewed`` then says the same.
        """
        if self._skew is None:
            return None
        off = abs(self._skew)
        is_skewed = off >= limit_ms * _LEAVE * _NS_PER_MS if self.is_skewed else off > limit_ms * _NS_PER_MS
        if is_skewed == self.is_skewed:
            return None
        self.is_skewed = is_skewed
        return is_skewed
