"""Where the items of a handler are: each is in exactly one place at every instant."""

from __future__ import annotations

import enum
from typing import Literal

import attrs

from trio_projectx._handler_events import HandlerKind
from trio_projectx.flow.stream import StreamStatistics
from trio_projectx.handlers.failures import FailureCount


class Outcome(enum.Enum):
    """What became of a call."""

    HANDLED = "handled"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    FELL_BACK = "fell_back"
    LEFT = "left"
    """It was cancelled from outside, or ended by what nothing may hide."""


@attrs.frozen(slots=True)
class SkippedItems:
    """Items that a handler was not given, by why."""

    rate: int
    """Beyond ``rate_per_s``."""
    breaker: int
    """While the breaker was open, and there was no fallback."""
    overflow: int
    """Left out by the overflow policy of its stream."""
    conflated: int
    """Replaced by newer ones of the same key while they waited."""
    own: int
    """Events about handlers of events, which none of them gets: they would go on for ever."""
    left: int
    """Waiting, or in a call, when `run_handlers` was cancelled or the handler was removed."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.rate + self.breaker + self.overflow + self.conflated + self.own + self.left


@attrs.frozen(slots=True)
class HandlerStatistics:
    """Counts of one handler since it was registered, in items where nothing else is said.

    ``offered == handled + failed + timed_out + fell_back + skipped.total + queued + running``, always.
    """

    name: str
    kind: HandlerKind
    state: Literal["idle", "opening", "running", "removed"]
    breaker: Literal["closed", "open", "half_open"]
    offered: int
    """What its streams were offered."""
    handled: int
    failed: int
    """Its call raised, or its fallback's."""
    timed_out: int
    """Its call took longer than its deadline, or its fallback's."""
    fell_back: int
    """Taken by the fallback while the breaker was open."""
    skipped: SkippedItems
    queued: int
    """Waiting for it now."""
    running: int
    """In the call that is under way."""
    calls: int
    """Calls, those of the fallback included."""
    slow: int
    """Calls that kept the event loop for longer than ``blocking_s``."""
    longest_s: float
    """The longest call."""
    batch_size: int
    """The most items that the next batch may hold; 1 where it takes none."""
    failures: tuple[FailureCount, ...]
    last_failure: str
    """Type and escaped text; empty if there was none."""

    @property
    def balanced(self) -> bool:
        """Whether every item offered is accounted for."""
        done = self.handled + self.failed + self.timed_out + self.fell_back
        return self.offered == done + self.skipped.total + self.queued + self.running


@attrs.define(slots=True)
class Counts:
    """The counters of one handler; those of the stream it reads now are the stream's."""

    offered: int = 0
    overflow: int = 0
    conflated: int = 0
    handled: int = 0
    failed: int = 0
    timed_out: int = 0
    fell_back: int = 0
    rate: int = 0
    breaker: int = 0
    own: int = 0
    left: int = 0
    taken: int = 0
    """Taken out of the stream, and not in a call yet."""
    running: int = 0
    calls: int = 0
    slow: int = 0
    longest_s: float = 0.0

    def begin(self) -> None:
        """Note that a call begins with what was taken."""
        self.running, self.taken = self.taken, 0
        self.calls += 1

    def end(self, outcome: Outcome) -> None:
        """Note what became of the call under way."""
        items, self.running = self.running, 0
        match outcome:
            case Outcome.HANDLED:
                self.handled += items
            case Outcome.FAILED:
                self.failed += items
            case Outcome.TIMED_OUT:
                self.timed_out += items
            case Outcome.FELL_BACK:
                self.fell_back += items
            case Outcome.LEFT:
                self.left += items

    def skip(self, reason: Literal["rate", "breaker", "own", "left"], items: int) -> None:
        """Note that ``items`` of what was taken are not handled."""
        self.taken -= items
        match reason:
            case "rate":
                self.rate += items
            case "breaker":
                self.breaker += items
            case "own":
                self.own += items
            case "left":
                self.left += items

    def leave(self, before: StreamStatistics, after: StreamStatistics) -> None:
        """Take over the counts of a stream that was closed between these two."""
        self.offered += after.offered
        self.overflow += before.dropped
        self.conflated += after.conflated
        self.left += after.dropped - before.dropped

    def skipped(self, now: StreamStatistics | None) -> SkippedItems:
        """Return what was skipped, with what the present stream has counted."""
        overflow = self.overflow + (0 if now is None else now.dropped)
        conflated = self.conflated + (0 if now is None else now.conflated)
        return SkippedItems(self.rate, self.breaker, overflow, conflated, self.own, self.left)
