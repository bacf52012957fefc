"""A breaker: stops asking what fails again and again, and tries it anew after a while."""

from __future__ import annotations

from typing import Final, Literal

from trio_projectx._timeframe import NS_PER_SECOND

BreakerState = Literal["closed", "open", "half_open"]
#: Failures in a row that open it.
_FAILURES: Final = 3
_FIRST_NS: Final = NS_PER_SECOND
_LONGEST_NS: Final = 60 * NS_PER_SECOND


class Breaker:
    """Three states, by event time (int64 ns), so that the same trades always come to the same.

    ======== =========== ====================================================
    state    on failure  on success, or with time
    ======== =========== ====================================================
    closed   open, after three in a row   closed: the count begins anew
    open                 half open, after 1 s; twice as long each time, to 60 s
    half open open       closed
    ======== =========== ====================================================
    """

    __slots__ = ("_failures", "_pause_ns", "_until", "state")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self._failures = 0
        self._pause_ns = _FIRST_NS
        self._until = 0

    def allows(self, now_ns: int) -> bool:
        """Whether to try; what is open becomes half open with that, and one try is made."""
        if self.state == "open" and now_ns >= self._until:
            self.state = "half_open"
        return self.state != "open"

    def failed(self, now_ns: int) -> None:
        """Note that a try failed."""
        self._failures += 1
        if self.state == "half_open":
            self._pause_ns = min(2 * self._pause_ns, _LONGEST_NS)
        if self.state == "half_open" or self._failures >= _FAILURES:
            self.state = "open"
            self._until = now_ns + self._pause_ns

    def succeeded(self) -> None:
        """Note that a try succeeded."""
        self.state = "closed"
        self._failures = 0
        self._pause_ns = _FIRST_NS
