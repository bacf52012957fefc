"""A service's request limit, "so many in so many seconds", as arithmetic on times handed in.

Nobody says what kind of window the service counts by (GATEWAY.md section 1). This one is right for all of them (fixed,
sliding, bucket), and whatever the network does to the distance between two requests: the service counts a request
somewhere between its sending and its answer, so it takes its place here from the one until so many seconds after
the other.
"""

from __future__ import annotations

import math
from collections import deque

from trio_projectx._errors import ConfigError


class Window:
    """At most ``count`` requests in any ``seconds``; times are monotonic seconds that never go back.

    `begin` and `end` stand around each request. `free_at` says when the next one may begin.
    """

    def __init__(self, count: int, seconds: float) -> None:
        if count < 1 or not 0 < seconds < math.inf:
            raise ConfigError(
                f"a window is a whole number of requests in some seconds, not {count}/{seconds}"
            )
        self.count = count
        self.seconds = seconds
        self._under_way = 0
        self._ended: deque[float] = deque()  # at most `count`: what is older never decides
        self._held_until = -math.inf

    def free_at(self, now: float, keep: int = 0) -> float:
        """Return when one more request fits and leaves ``keep`` others room; `math.inf`: when one of them has ended."""
        while self._ended and self._ended[0] + self.seconds <= now:
            self._ended.popleft()
        start = max(now, self._held_until)
        too_many = self._under_way + len(self._ended) - max(1, self.count - keep) + 1
        if too_many <= 0:
            return start
        if too_many > len(self._ended):
            return math.inf
        return max(start, self._ended[too_many - 1] + self.seconds)

    def used(self, now: float) -> int:
        """Return how many requests take a place at ``now``."""
        return self._under_way + sum(ended + self.seconds > now for ended in self._ended)

    def begin(self) -> None:
        """Count a request that is sent now."""
        self._under_way += 1

    def end(self, now: float) -> None:
        """Note that a request was answered, or given up: the service may have counted it until now."""
        assert self._under_way > 0
        self._under_way -= 1
        self._ended.append(now)

    def hold(self, until: float) -> None:
        """Let nothing begin before ``until``: the service said that it has had too many."""
        self._held_until = max(self._held_until, until)

    @property
    def held_until(self) -> float:
        """Until when nothing begins, whatever there is room for."""
        return self._held_until
