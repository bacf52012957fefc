"""How much per second, over the last ten seconds or so, as arithmetic on times that are handed in."""

from __future__ import annotations

from typing import Final

#: Windows shorter than this say more about one read than about a rate.
_LEAST_S: Final = 1.0


class Rate:
    """Bytes, records, or whatever is added, per second; `add` and `per_s` cost the same however much there was.

    ``now`` is monotonic seconds. The rate is that of a window of ``window_s`` that ends now: what was added in the
    present fixed window, and of the one before it the share that still lies inside, as if it had come evenly.
    In the first window it is the mean since the start. A single burst is forgotten after two windows.
    """

    __slots__ = ("_before", "_has_before", "_now", "_since", "_until", "_window_s", "total")

    def __init__(self, now: float, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._since = now
        self._until = now + window_s
        self._before = 0
        self._has_before = False
        self._now = 0
        self.total = 0
        """All that was ever added."""

    def add(self, amount: int, now: float) -> None:
        """Count ``amount`` more; a time before that of an earlier call is taken for the present."""
        if now >= self._until:
            self._turn(now)
        self._now += amount
        self.total += amount

    def _turn(self, now: float) -> None:
        passed = int((now - self._since) // self._window_s)
        self._before = self._now if passed <= 1 else 0  # 0: at the very edge, where division rounds down
        self._now = 0
        self._has_before = True
        self._since = max(self._since + passed * self._window_s, self._until)
        self._until = self._since + self._window_s

    def per_s(self, now: float) -> float:
        """Return the rate; reading it changes nothing."""
        window_s = self._window_s
        age = max(now - self._since, 0.0)
        if age >= window_s:
            left = max(2 * window_s - age, 0.0)
            return self._now * left / (window_s * window_s)
        if not self._has_before:
            return self._now / max(age, min(_LEAST_S, window_s))
        return (self._before * (window_s - age) / window_s + self._now) / window_s
