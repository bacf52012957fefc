"""The two clocks of a live connection, as arithmetic on times that are handed in.

``now`` is a float of seconds on any clock that never goes back (``trio.current_time()``). Facts from
SIGNALR.md section 8: any record of the server is a sign of its life; the client pings when it has sent
nothing for a while, and once right after the handshake, because ASP.NET Core arms its own timeout only with
the first ping; a ping is never answered.
"""

from __future__ import annotations

import math


class KeepAlive:
    """When to ping, and when to give the server up; nothing is due before `start`."""

    def __init__(self, server_timeout_s: float = 30.0, keep_alive_s: float = 15.0) -> None:
        self._server_timeout_s = server_timeout_s
        self._keep_alive_s = keep_alive_s
        self._dead_at = math.inf
        self._ping_at = math.inf

    def start(self, now: float) -> None:
        """Begin with a sign of life at ``now`` and a ping due at once; call it when the handshake is done."""
        self._dead_at = now + self._server_timeout_s
        self._ping_at = now

    def stop(self) -> None:
        """Let nothing be due any more."""
        self._dead_at = self._ping_at = math.inf

    def received(self, now: float) -> None:
        """Note that something of the server arrived at ``now``, be it only a part of a record."""
        if self._dead_at != math.inf:
            self._dead_at = max(self._dead_at, now + self._server_timeout_s)

    def sent(self, now: float) -> None:
        """Note that a record was sent at ``now``, a ping or any other."""
        if self._ping_at != math.inf:
            self._ping_at = max(self._ping_at, now + self._keep_alive_s)

    @property
    def next_deadline(self) -> float:
        """The next time at which `ping_due` or `is_dead` will say yes; infinite before `start`."""
        return min(self._dead_at, self._ping_at)

    def ping_due(self, now: float) -> bool:
        """Whether a ping is to be sent now."""
        return now >= self._ping_at

    def is_dead(self, now: float) -> bool:
        """Whether the server has been silent for the whole of its timeout."""
        return now >= self._dead_at
