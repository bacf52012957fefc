"""How many unreadable records a connection may bring before it is given up (FAULTS.md row 67)."""

from __future__ import annotations

import logging
import math
from collections import deque

import trio

from trio_projectx._errors import ConnectionLost
from trio_projectx._logs import fields

_log = logging.getLogger("trio_projectx")


class MalformedLimit:
    """Counts one connection's unreadable records, and tells of them in the log once a minute at most."""

    def __init__(self, name: str, per_minute: int) -> None:
        self._name = name
        self._per_minute = per_minute
        self._recent: deque[float] = deque()
        self._told_at = -math.inf

    def note(self, reason: str, number: int) -> None:
        """Count one, the hub's ``number``th.

        :raises ConnectionLost: if it is one too many.
        """
        now = trio.current_time()
        if now - self._told_at > 60:
            self._told_at = now
            _log.warning(
                "%s: a record (no. %d) could not be read: %s",
                self._name,
                number,
                reason,
                extra=fields("record_unreadable", hub=self._name, number=number),
            )
        self._recent.append(now)
        while now - self._recent[0] > 60:
            self._recent.popleft()
        if len(self._recent) > self._per_minute:
            raise ConnectionLost(
                f"{self._name}: more than {self._per_minute} unreadable records in a minute, the last: {reason}"
            )
