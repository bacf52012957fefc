"""The books of a gateway, or of a replay: what is measured beside the counters, and the ledger looked at now and then.

A task that exists anyhow takes a `turn` every few seconds; nothing here is done per trade.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_projectx._events import GatewayEvent, LedgerBroken
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx.flow.background import TaskCounts
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.sampler import RateStatistics, Sampler, Totals
from trio_projectx.flow.sketch import Distribution, Rotating
from trio_projectx.flow.timings import LatencyStatistics, Timings

_log: Final = logging.getLogger("trio_projectx")
#: How long a window of the distributions is.
_WINDOW_S: Final = 60.0


@attrs.frozen(slots=True)
class LoopStatistics:
    """How late this task was woken, looked at every five seconds, in ns: what else runs in the loop takes so long."""

    last_lag_ns: int
    recent: Distribution
    """Of the last one or two minutes."""
    lifetime: Distribution


class Books:
    """What is kept beside the counters; times are trio's clock, ``wall_clock`` dates what is told."""

    def __init__(
        self,
        timings: Timings,
        totals: Callable[[], Totals],
        ledger: Callable[[], Ledger],
        tell: Callable[[GatewayEvent], None],
        wall_clock: Callable[[], int],
        tasks: TaskCounts,
    ) -> None:
        now = trio.current_time()
        self.tasks = tasks
        self._timings = timings
        self._totals = totals
        self._ledger = ledger
        self._tell = tell
        self._wall_clock = wall_clock
        self._sampler = Sampler(now, totals())
        self._rotates_at = now + _WINDOW_S
        self._broken: frozenset[str] = frozenset()
        self._loop = Rotating()
        self._lag_ns = self._worst_ns = 0
        self._has_turned = False

    def turn(self, now: float) -> float:
        """Do what is due, and return when the next turn is."""
        due_at = self._sampler.due_at
        if now < due_at:
            return due_at
        self._has_turned = True
        self._lag_ns = round((now - due_at) * 1e9)
        self._worst_ns = max(self._worst_ns, self._lag_ns)
        self._loop.add(self._lag_ns)
        self._sampler.sample(now, self._totals())
        if now >= self._rotates_at:
            self._rotates_at = now + _WINDOW_S
            self._loop.rotate()
            self._timings.rotate()
        self._check()
        return self._sampler.due_at

    def _check(self) -> None:
        """Tell of rows that do not balance, once for as long as it lasts."""
        broken = {row.name: row for row in self._ledger().broken}
        for name in broken.keys() - self._broken:
            row = broken[name]
            _log.error(
                "the ledger does not balance: %s",
                escape(str(row)),
                extra=fields("ledger_broken", row=escape(name), came=row.came, accounted=row.accounted),
            )
            self._tell(LedgerBroken(name, row.came, row.accounted, self._wall_clock()))
        self._broken = frozenset(broken)

    @property
    def lag_s(self) -> tuple[float, float] | None:
        """How late the last turn was, and the worst of all, in seconds; None before the first."""
        if not self._has_turned:
            return None
        return self._lag_ns / 1e9, self._worst_ns / 1e9

    def latency(self) -> LatencyStatistics:
        """Return how long data took."""
        return self._timings.statistics()

    def loop(self) -> LoopStatistics:
        """Return how late this was woken."""
        return LoopStatistics(self._lag_ns, self._loop.recent(), self._loop.lifetime())

    def rates(self) -> RateStatistics:
        """Return what comes per second."""
        return self._sampler.statistics(trio.current_time(), self._totals())
