"""What is told of one handler: at once where it is news, and together where there is much of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from trio_projectx._events import Dropped, GatewayEvent
from trio_projectx._handler_events import (
    HandlerFailed,
    HandlerKind,
    HandlerRecovered,
    HandlerSkipped,
    HandlerSlow,
    HandlerStopped,
    SkipReason,
)
from trio_projectx._logs import fields
from trio_projectx.connection.breaker import BreakerState
from trio_projectx.flow.buffers import joined

_log: Final = logging.getLogger("trio_projectx")
#: Of each kind of event there is one in this time at most.
_EVERY_S: Final = 1.0

BreakerName: TypeAlias = Literal["closed", "open", "half_open"]
BREAKER_NAMES: Final[Mapping[BreakerState, BreakerName]] = {
    BreakerState.CLOSED: "closed",
    BreakerState.OPEN: "open",
    BreakerState.HALF_OPEN: "half_open",
}


@attrs.define(slots=True, eq=False)
class Notices:
    """Tells what becomes of one handler. Times are monotonic seconds; ``wall_clock`` stamps the events."""

    handler: str
    kind: HandlerKind
    tell: Callable[[GatewayEvent], None]
    wall_clock: Callable[[], int]
    _failures: int = 0
    _failures_total: int = 0
    _reason: str = ""
    _state: BreakerState = BreakerState.CLOSED
    _skipped: dict[SkipReason, Dropped] = attrs.field(factory=dict[SkipReason, Dropped], init=False)
    _skipped_total: dict[SkipReason, int] = attrs.field(factory=dict[SkipReason, int], init=False)
    _slow: int = 0
    _longest_s: float = 0.0
    _next_at: float = -math.inf

    @property
    def due(self) -> float:
        """When to `flush` at the latest; `math.inf` if nothing waits."""
        is_empty = not (self._failures or self._skipped or self._slow)
        return math.inf if is_empty else self._next_at

    def failed(self, reason: str, state: BreakerState, *, opened: bool, now: float) -> None:
        """Note that a call failed; that it opened the breaker is told at once."""
        self._failures += 1
        self._failures_total += 1
        self._reason, self._state = reason, state
        self.flush(now, force=opened)

    def skipped(self, reason: SkipReason, what: Dropped, now: float) -> None:
        """Note items that the handler is not given."""
        self._skipped[reason] = joined(self._skipped.get(reason), what)
        self._skipped_total[reason] = self._skipped_total.get(reason, 0) + what.count
        self.flush(now)

    def slow(self, took_s: float, now: float) -> None:
        """Note a call that kept the event loop."""
        self._slow += 1
        self._longest_s = max(self._longest_s, took_s)
        self.flush(now)

    def recovered(self, skipped: int, now: float) -> None:
        """Tell that the breaker closed."""
        self._state = BreakerState.CLOSED
        self.flush(now, force=True)
        self.tell(HandlerRecovered(self.handler, self.kind, skipped, self.wall_clock()))

    def stopped(self, reason: str, now: float) -> None:
        """Tell that its stream broke, behind all that waits to be told."""
        self.flush(now, force=True)
        _log.error(
            "%s gets nothing more: %s",
            self.handler,
            reason,
            extra=fields("handler_stopped", handler=self.handler),
        )
        self.tell(HandlerStopped(self.handler, self.kind, reason, self.wall_clock()))

    def flush(self, now: float, *, force: bool = False) -> None:
        """Tell what waits, if it is time, or if it is forced."""
        if not force and now < self.due:
            return
        if self.due == math.inf:
            return
        self._next_at = now + _EVERY_S
        self._flush_failures()
        self._flush_skipped()
        self._flush_slow()

    def _flush_failures(self) -> None:
        if not self._failures:
            return
        count, self._failures = self._failures, 0
        total, reason = self._failures_total, self._reason
        _log.warning(
            "%s failed (%d times, %d in all): %s",
            self.handler,
            count,
            total,
            reason,
            extra=fields("handler_failed", handler=self.handler, count=count),
        )
        state = BREAKER_NAMES[self._state]
        self.tell(HandlerFailed(self.handler, self.kind, count, total, state, reason, self.wall_clock()))

    def _flush_skipped(self) -> None:
        waiting, self._skipped = self._skipped, {}
        for reason, mark in waiting.items():
            total = self._skipped_total[reason]
            _log.warning(
                "%s was not given %d items (%s; %d in all)",
                self.handler,
                mark.count,
                reason,
                total,
                extra=fields("handler_skipped", handler=self.handler, reason=reason, count=mark.count),
            )
            span = mark.first_ts, mark.last_ts
            self.tell(
                HandlerSkipped(self.handler, self.kind, reason, mark.count, total, *span, self.wall_clock())
            )

    def _flush_slow(self) -> None:
        if not self._slow:
            return
        calls, longest_s = self._slow, self._longest_s
        self._slow, self._longest_s = 0, 0.0
        _log.warning(
            "%s kept the event loop for %.3f s",
            self.handler,
            longest_s,
            extra=fields("handler_slow", handler=self.handler, taken_s=longest_s),
        )
        self.tell(HandlerSlow(self.handler, self.kind, calls, longest_s, self.wall_clock()))
