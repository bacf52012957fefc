"""Where a contract's data may have a hole, from the loss of its last connection to the first thing after it."""

from __future__ import annotations

import math
from typing import Final

import attrs

from trio_projectx._events import Gap

#: A new subscription that brings nothing for this long ends the gap: the market is quiet, and the reader is told.
QUIET_S: Final = 2.0


@attrs.frozen(slots=True)
class Broken:
    """The last connection that brought a contract is gone, or in doubt; ``serial`` reads came before that."""

    cause: str
    serial: int
    at_ns: int
    """Since when something may be missing, if nothing has come at all: from when the subscription began."""
    since_ns: int | None = None
    """Since when at the latest something may be wrong, although more has come."""


def differing(count: int, since_ns: int, serial: int) -> Broken:
    """Return what to tell of so many trades that a connection brought more often than another: twice, or not at all."""
    cause = f"one connection brought {count} trades more than another: they may be there twice"
    return Broken(cause, serial, since_ns, since_ns)


@attrs.frozen(slots=True)
class Covered:
    """A connection brings it again; ``now`` is trio's clock."""

    now: float


class GapWatch:
    """The gap of one contract that is open now, if any."""

    def __init__(self, contract_id: str) -> None:
        self._contract_id = contract_id
        self._broken: Broken | None = None
        self._start = 0
        self._covered_at = math.inf
        self.last_ts: int | None = None
        """The stamp of the last item that went on."""

    @property
    def start(self) -> int:
        """Since when things may be missing, while a gap is open."""
        return self._start

    @property
    def is_open(self) -> bool:
        """Whether a gap is open."""
        return self._broken is not None

    def begin(self, broken: Broken) -> None:
        """A gap begins, or goes on (the first cause stays)."""
        self._covered_at = math.inf
        if self._broken is None:
            self._broken = broken
            self._start = broken.at_ns if self.last_ts is None else self.last_ts
        if broken.since_ns is not None:
            self._start = min(self._start, broken.since_ns)

    def covered(self, covered: Covered) -> None:
        """From now on things come again; what covers it later, beside another, changes nothing."""
        if self._broken is not None and math.isinf(self._covered_at):
            self._covered_at = covered.now

    @property
    def due_at(self) -> float:
        """When the gap ends although nothing has come (trio's clock); inf if there is none to end."""
        return self._covered_at + QUIET_S

    def end(self, ts_event: int) -> Gap | None:
        """The gap ends at ``ts_event``, that of the next item or our best guess of now; return it if there was one."""
        broken, self._broken, self._covered_at = self._broken, None, math.inf
        if broken is None:
            return None
        return Gap(self._contract_id, self._start, max(self._start, ts_event), broken.cause)
