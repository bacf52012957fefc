"""One registered handler: what is called, how, and what was counted; it outlives each `run_handlers`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, TypeAlias

import attrs
import trio

from trio_projectx._events import Dropped, GatewayEvent
from trio_projectx._handler_events import HandlerKind
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.breaker import CallBreaker
from trio_projectx.handlers.counts import Counts, HandlerStatistics
from trio_projectx.handlers.failures import FailureBook
from trio_projectx.handlers.notices import BREAKER_NAMES, Notices
from trio_projectx.handlers.options import HandlerOptions
from trio_projectx.handlers.pace import BatchSize, CallRate
from trio_projectx.handlers.target import Target, is_async

Source: TypeAlias = Callable[[], AbstractAsyncContextManager[Stream[object]]]
"""Opens the stream of a handler."""

State: TypeAlias = Literal["idle", "opening", "running", "removed"]


@attrs.frozen(slots=True)
class Wish:
    """What somebody asks for when a handler is registered."""

    kind: HandlerKind
    source: Source
    stamp: Callable[..., int]
    """The instant of an item, for marks."""
    handler: Callable[..., object]
    fallback: Callable[..., object] | None = None
    on_skipped: Callable[[Dropped], object] | None = None
    options: HandlerOptions = attrs.field(factory=HandlerOptions)
    batch: bool = False
    weak: bool = False


class Entry:
    """The state of a registered handler. It keeps no `Wish`: that holds what a weak handler must not."""

    def __init__(
        self,
        name: str,
        wish: Wish,
        *,
        tell: Callable[[GatewayEvent], None],
        wall_clock: Callable[[], int],
        on_removed: Callable[[Entry], None],
        on_gone: Callable[[Entry], None],
    ) -> None:
        options = wish.options
        self.on_removed = on_removed
        self._on_gone = on_gone
        self.name = name
        self.kind: HandlerKind = wish.kind
        self.source = wish.source
        self.stamp = wish.stamp
        self.options = options
        self.state: State = "idle"
        self.stream: Stream[object] | None = None
        self.missed = 0
        """Items that were not given to it since its breaker opened."""
        self.took_s = 0.0
        """The last call."""
        self.on_end: Callable[[], None] = _nobody
        """Ends the wait of its task."""
        self.handler = self._target(wish.handler, weak=wish.weak)
        self.fallback = self._beside(wish, wish.fallback)
        self.on_skipped = self._beside(wish, wish.on_skipped)
        self.breaker = CallBreaker(options)
        per_s = options.rate_per_s
        self.rate = None if per_s is None else CallRate(per_s, options.rate_burst)
        most, aim_s = options.batch_most, options.batch_aim_s
        self.batch = BatchSize(most, aim_s, is_limited=per_s is not None) if wish.batch else None
        self.counts = Counts()
        self.failures = FailureBook()
        self.notices = Notices(name, wish.kind, tell, wall_clock)

    @property
    def is_removed(self) -> bool:
        """Whether it is to be called no more."""
        return self.state == "removed"

    def becomes(self, state: State) -> None:
        """Note what its task does; what was removed stays so."""
        if not self.is_removed:
            self.state = state

    def remove(self) -> None:
        """Call it no more, now or later; a call that is under way goes on."""
        if not self.is_removed:
            self.state = "removed"
            self.on_removed(self)
            self.leave()  # a call that is stuck must hold nobody who would wait for the stream
            self.on_end()

    def leave(self) -> None:
        """Close its stream, take over the counts of that, and tell what is missing; the second time that is nothing."""
        stream, self.stream = self.stream, None
        if stream is None:
            return
        before, mark = stream.statistics(), stream.unread_mark()
        stream.close()
        self.counts.leave(before, stream.statistics())
        if mark is not None:
            self.notices.skipped("overflow", mark, trio.current_time())
        self.tell()

    def tell(self) -> None:
        """Tell what waits to be told."""
        if self.notices.due < math.inf:
            self.notices.flush(trio.current_time(), force=True)

    def statistics(self) -> HandlerStatistics:
        """Return a snapshot of the counts."""
        counts, now = self.counts, None if self.stream is None else self.stream.statistics()
        return HandlerStatistics(
            name=self.name,
            kind=self.kind,
            state=self.state,
            breaker=BREAKER_NAMES[self.breaker.state],
            offered=counts.offered + (0 if now is None else now.offered),
            handled=counts.handled,
            failed=counts.failed,
            timed_out=counts.timed_out,
            fell_back=counts.fell_back,
            skipped=counts.skipped(now),
            queued=counts.taken + (0 if now is None else now.queued),
            running=counts.running,
            calls=counts.calls,
            slow=counts.slow,
            longest_s=counts.longest_s,
            batch_size=1 if self.batch is None else self.batch.size,
            failures=self.failures.counts(),
            last_failure=self.failures.last,
        )

    def _target(self, function: Callable[..., object], *, weak: bool) -> Target:
        return Target(function, weak=weak, thread=self.options.thread, on_gone=self._gone)

    def _beside(self, wish: Wish, function: Callable[..., object] | None) -> Target | None:
        """Make a target of what stands beside the handler: a method keeps no object alive that the handler must not.

        That of another object does: nobody else may hold it, and it would be gone at once.
        """
        if function is None:
            return None
        thread = wish.options.thread and not is_async(function)
        is_of_it = inspect.ismethod(function) and function.__self__ is getattr(wish.handler, "__self__", None)
        weak = wish.weak and is_of_it
        return Target(function, weak=weak, thread=thread, on_gone=_nobody)

    def _gone(self) -> None:
        self._on_gone(self)


def _nobody() -> None:
    """Nobody wants to know."""
