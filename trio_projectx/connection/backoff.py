"""When to try again: per outage, with full jitter, on monotonic seconds handed in.

An outage begins when a connection ends (or the first attempt of all fails), and is over when one has lived for
``refill_s``; a shorter life is a part of it. Its first attempt is made at once. Before the n-th later one lies a
time drawn evenly from 0 to ``base_s * 2**n``, at most ``cap_s``: even when a thousand clients lose the same service
at once, they do not come back in step.

That alone would find a service that is back after 8 s more than 8 s later in one case of four, and up to ``cap_s``:
the exponent follows the number of attempts, and short draws make many. So nothing is drawn from beyond what the
outage has lasted by then, or 8 s where that is more (``base_s``, where that is more still). A service that refuses
at once and is back after T seconds is then tried at most ``max(T, 8)`` seconds later: the last refusal came before
T, and the wait after it is not longer than what had passed by then (FAULTS.md row 20).
"""

from __future__ import annotations

import math
import random
from typing import Final

from trio_projectx._config import Reconnect

RETRY_AFTER_MAX_S: Final = 600.0
"""What a service may ask to wait; of a longer Retry-After only so much is honoured, lest one answer ends the feed."""
PROMPT_S: Final = 8.0
"""Waits up to this are never cut to the length of the outage."""


class Backoff:
    """The back-off of one line; tell it the end of each attempt by `failed` or `lived`, then ask `delay`."""

    def __init__(self, options: Reconnect, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self._since: float | None = None
        self._attempts = 0
        self._ceiling = min(options.base_s, options.cap_s)
        self._waited = 0.0
        self._due = -math.inf

    @property
    def attempts(self) -> int:
        """Attempts of this outage that have ended: failed, or come to a life shorter than ``refill_s``."""
        return self._attempts

    @property
    def since(self) -> float | None:
        """When this outage began, be it over or not; None before the first."""
        return self._since

    def delay(self, now: float) -> float:
        """Return the seconds from ``now`` to the next attempt: 0, or what is left of the wait."""
        return max(0.0, self._due - now)

    def failed(self, now: float, took_s: float, retry_after_s: float | None = None) -> None:
        """Note an attempt that took ``took_s`` and never became live.

        One that took longer than the wait before it has its own duration count as a part of the wait after it: a
        service whose handshake is slow is not tried less often than one that refuses at once. The time that the
        service asked to wait is waited at least, up to `RETRY_AFTER_MAX_S`.
        """
        if self._since is None:
            self._since = now - took_s
        slow_s = took_s if took_s > self._waited else 0.0
        wait_s = max(0.0, self._draw(now - self._since) - slow_s)
        if retry_after_s is not None:
            wait_s = max(wait_s, min(retry_after_s, RETRY_AFTER_MAX_S))
        self._wait(now, wait_s)

    def lived(self, now: float, life_s: float) -> None:
        """Note the end of a connection that was live for ``life_s``: a new outage, or more of the last one."""
        if self._since is None or life_s >= self._options.refill_s:
            self._begin(now)
        else:
            self._wait(now, self._draw(now - self._since))

    def exhausted(self, now: float) -> str | None:
        """Return, as a sentence, that this outage's attempts or its time are used up; None while they are not.

        Ask before and after the wait: with ``max_s``, the last wait ends when that is over.
        """
        most, most_s = self._options.max_attempts, self._options.max_s
        if most is not None and self._attempts >= most:
            return f"given up after {self._attempts} attempts (reconnect.max_attempts)"
        if most_s is not None and self._since is not None and now - self._since >= most_s:
            return f"given up after {most_s:g} s (reconnect.max_s)"
        return None

    def _begin(self, now: float) -> None:
        self._since = now
        self._attempts = 0
        self._ceiling = min(self._options.base_s, self._options.cap_s)
        self._wait(now, 0.0)

    def _draw(self, elapsed_s: float) -> float:
        """Count an attempt, and return the wait that follows it."""
        self._attempts += 1
        # Doubled step by step: 2 to the power of a day's attempts is no float any more.
        self._ceiling = min(self._options.cap_s, 2 * self._ceiling)
        longest = max(self._options.base_s, PROMPT_S, elapsed_s)
        return self._rng.uniform(0.0, min(self._ceiling, longest))

    def _wait(self, now: float, wait_s: float) -> None:
        self._waited, self._due = wait_s, now + wait_s
        if self._options.max_s is not None and self._since is not None:
            self._due = min(self._due, self._since + self._options.max_s)
