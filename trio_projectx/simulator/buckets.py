"""How many requests a token may make: sliding windows, as strict as the documentation (GATEWAY.md 1).

Pure: whoever asks hands in the time. The window slides: at no moment have more than so many requests been let
through in the seconds before it. A request that is refused does not count.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

#: Keys that are remembered; the one that asked longest ago goes.
KEYS_MAX: Final = 4096


@attrs.frozen(slots=True)
class Limit:
    """At most ``most`` requests in ``within_s`` seconds."""

    most: int
    within_s: float


HISTORY_LIMIT: Final = Limit(50, 30.0)
OTHER_LIMIT: Final = Limit(200, 60.0)


@attrs.define(slots=True, eq=False)
class Buckets:
    """One bucket for each key under one limit."""

    limit: Limit
    _times: dict[str, deque[float]] = attrs.Factory(dict[str, "deque[float]"])

    def take(self, key: str, now_s: float) -> int:
        """Count a request; return 0 if it may pass, else after how many whole seconds one would."""
        times = self._times.pop(key, None) or deque[float](maxlen=self.limit.most)
        self._times[key] = times
        self._forget(now_s)
        while times and times[0] <= now_s - self.limit.within_s:
            times.popleft()
        if len(times) < self.limit.most:
            times.append(now_s)
            return 0
        return max(1, math.ceil(times[0] + self.limit.within_s - now_s))

    def _forget(self, now_s: float) -> None:
        """Forget keys that ask no more: a client takes a new one with each token, and has the whole limit by then."""
        while len(self._times) > 1:
            first = next(iter(self._times))
            times = self._times[first]
            if len(self._times) <= KEYS_MAX and times and times[-1] > now_s - self.limit.within_s:
                return
            del self._times[first]
