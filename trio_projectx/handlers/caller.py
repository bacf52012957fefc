"""The calls of one handler: rate, breaker, fallback, deadline, and what becomes of each.

Exceptions of a handler end here. What no handler may hide passes: `trio.Cancelled` where the call is cancelled,
KeyboardInterrupt and their like, and MemoryError, which is no handler's failure.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import trio

from trio_projectx._events import Dropped
from trio_projectx.connection.breaker import BreakerState
from trio_projectx.flow.background import reraise
from trio_projectx.flow.buffers import joined
from trio_projectx.handlers.counts import Outcome
from trio_projectx.handlers.entry import Entry
from trio_projectx.handlers.failures import describe, is_of_memory
from trio_projectx.handlers.parting import parted
from trio_projectx.handlers.target import Gone, Target

#: What became of a call, what it failed of, and what it raised that is not the handler's.
_Attempt: TypeAlias = tuple[Outcome, tuple[str, str] | None, BaseException | None]


class Caller:
    """Calls one handler with what is taken for it, one call after the other."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        deadline_s = entry.options.deadline_s
        self._deadline_s = math.inf if deadline_s is None else deadline_s
        self._untold: Dropped | None = None
        """Skipped since the last call, and not told to ``on_skipped``."""

    def dropped(self, mark: Dropped) -> None:
        """Note that the stream had to leave items out here."""
        self._untold = joined(self._untold, mark)

    async def handle(self, items: tuple[object, ...]) -> None:
        """Make one call with ``items``, which were taken, or skip them.

        :raises Gone: if the object of a weak handler is no more.
        """
        entry, now = self._entry, trio.current_time()
        if entry.batch is None and entry.rate is not None and entry.rate.wait(now):
            self._skip("rate", items, now)
            return
        is_open = not entry.breaker.allows(now)
        entry.missed += len(items) if is_open else 0
        target = entry.fallback if is_open else entry.handler
        if target is None or (is_open and target.is_gone):
            self._skip("breaker", items, now)
            return
        await self._tell_skipped()
        if entry.is_removed:
            return  # meanwhile: what was taken is counted as left
        if entry.rate is not None:
            entry.rate.take(trio.current_time())
        await self._call(target, items, is_fallback=is_open)

    async def finish(self) -> None:
        """Tell what was skipped since the last call: there is no other."""
        await self._tell_skipped()

    def _skip(self, reason: Literal["rate", "breaker"], items: tuple[object, ...], now: float) -> None:
        stamps = [self._entry.stamp(item) for item in items]
        mark = Dropped(len(items), min(stamps), max(stamps))
        self._entry.counts.skip(reason, len(items))
        self._entry.notices.skipped(reason, mark, now)
        self._untold = joined(self._untold, mark)

    async def _tell_skipped(self) -> None:
        mark, self._untold = self._untold, None
        if mark is not None and self._entry.on_skipped is not None:
            _, failure, passing = await self._attempt(self._entry.on_skipped, mark)
            if failure is not None:
                self._note_failure(("on_skipped", ": ".join(failure)), opened=False)
            if passing is not None:
                reraise(passing)

    async def _call(self, target: Target, items: tuple[object, ...], *, is_fallback: bool) -> None:
        entry, outcome = self._entry, Outcome.LEFT
        argument = items[0] if entry.batch is None else items
        entry.counts.begin()
        try:
            outcome, failure, passing = await self._attempt(target, argument)
            if outcome is Outcome.LEFT:
                pass  # it neither failed nor succeeded
            elif is_fallback:
                outcome = self._after_fallback(outcome, failure)
            else:
                self._after_call(failure, len(items))
        finally:
            entry.counts.end(outcome)
        if passing is not None:
            reraise(passing)

    async def _attempt(self, target: Target, argument: object) -> _Attempt:
        """Call under the deadline."""
        failure, left, passing = None, None, None
        began = trio.current_time()
        scope = trio.CancelScope(deadline=began + self._deadline_s)
        try:
            # Within the try: a nursery of the handler's puts what fails at its deadline into a group with Cancelled,
            # which is an Exception only when the scope has taken that out. A function is in the scope too: a scope that
            # it leaves open would stay on the task of all its calls, and ends with this one.
            with scope:
                left = target.begin(argument)
                if left is not None:
                    await left
        except Gone as exc:
            if target is self._entry.handler:
                raise
            failure = describe(exc)
        except Exception as exc:  # one handler's failure, whatever it is, concerns no other
            if is_of_memory(exc):
                raise
            failure = describe(exc)
        except (trio.Cancelled, BaseExceptionGroup) as exc:  # noqa: ASYNC103  `_call` raises what is not the handler's
            failure, passing = parted(exc)
        took_s = trio.current_time() - began
        self._note_time(took_s, has_kept_loop=left is None)
        if failure is not None:
            return Outcome.FAILED, failure, passing
        if passing is not None:
            return Outcome.LEFT, None, passing
        if scope.cancelled_caught or took_s > self._deadline_s:
            return Outcome.TIMED_OUT, ("deadline", f"a call took longer than {self._deadline_s} s"), None
        return Outcome.HANDLED, None, None

    def _note_time(self, took_s: float, *, has_kept_loop: bool) -> None:
        entry = self._entry
        entry.took_s = took_s
        entry.counts.longest_s = max(entry.counts.longest_s, took_s)
        if has_kept_loop and took_s > entry.options.blocking_s:
            entry.counts.slow += 1
            entry.notices.slow(took_s, trio.current_time())

    def _after_call(self, failure: tuple[str, str] | None, items: int) -> None:
        entry = self._entry
        if entry.batch is not None and entry.stream is not None:
            entry.batch.note(entry.took_s, items=items, are_waiting=entry.stream.statistics().queued > 0)
        if failure is not None:
            self._note_failure(failure, opened=entry.breaker.failed(trio.current_time()))
        elif entry.breaker.succeeded():
            missed, entry.missed = entry.missed, 0
            entry.notices.recovered(missed, trio.current_time())

    def _after_fallback(self, outcome: Outcome, failure: tuple[str, str] | None) -> Outcome:
        if failure is None:
            return Outcome.FELL_BACK
        self._note_failure(("fallback", ": ".join(failure)), opened=False)
        return outcome

    def _note_failure(self, failure: tuple[str, str], *, opened: bool) -> None:
        entry = self._entry
        entry.failures.note(*failure)
        state: BreakerState = entry.breaker.state
        entry.notices.failed(entry.failures.last, state, opened=opened, now=trio.current_time())
