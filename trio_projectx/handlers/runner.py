"""The task of one handler: it opens the stream, reads it, and calls. What the handler does delays nobody else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import trio

from trio_projectx._errors import TrioProjectXError
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.caller import Caller
from trio_projectx.handlers.entry import Entry
from trio_projectx.handlers.failures import describe
from trio_projectx.handlers.inlet import Inlet, Wake
from trio_projectx.handlers.target import Gone


class Runner:
    """Calls one handler for as long as it is registered, and its stream brings something."""

    def __init__(
        self, entry: Entry, begin: trio.Event, on_failure: Callable[[TrioProjectXError], None]
    ) -> None:
        self.opened = trio.Event()
        """Set when its stream is open, and also when it will never be."""
        self._entry = entry
        self._begin = begin
        self._on_failure = on_failure
        self._wake = Wake()
        self._scope = trio.CancelScope()
        self.over = trio.Event()
        """Set when it has returned."""

    @property
    def is_of_events(self) -> bool:
        """Whether its handler is told of the others."""
        return self._entry.kind == "event"

    def drain(self) -> None:
        """Handle what waits, and no more."""
        self._wake.set()

    def cancel(self) -> None:
        """Let it end at once, with the call that is under way."""
        self._scope.cancel(reason="the time that the end of a run may take is over")

    async def run(self) -> None:
        """Open the stream and call the handler; returns at the end of either."""
        entry = self._entry
        entry.on_end = self._wake.set
        try:
            with self._scope:
                await self._open_and_read()
        except TrioProjectXError as exc:
            entry.notices.stopped(": ".join(describe(exc)), trio.current_time())
            self._on_failure(exc)
        except trio.ClosedResourceError:
            pass  # the gateway was closed before its stream was open
        finally:
            entry.on_end = _nobody
            self._entry.becomes("idle")
            self.opened.set()
            entry.tell()
            self.over.set()

    async def _open_and_read(self) -> None:
        if self._entry.is_removed:
            return  # before this task began
        async with AsyncExitStack() as stack:
            self._entry.becomes("opening")
            with self._wake.wait() as opening:
                self._entry.stream = await stack.enter_async_context(self._entry.source())
            stream = self._entry.stream
            if opening.cancelled_caught or stream is None:
                return
            try:
                await self._read(stream)
            finally:
                self._entry.leave()

    async def _read(self, stream: Stream[object]) -> None:
        self.opened.set()
        with self._wake.wait():
            await self._begin.wait()
        self._entry.becomes("running")
        caller = Caller(self._entry)
        inlet = Inlet(self._entry, stream, self._wake, caller.dropped)
        try:
            while not self._entry.is_removed:
                items = await inlet.next()
                if items and not self._entry.is_removed:
                    await caller.handle(items)
        except trio.EndOfChannel:  # the gateway was closed, or this was woken and nothing waits
            if not self._entry.is_removed:
                await caller.finish()
        except trio.ClosedResourceError:
            pass  # it was removed
        except Gone:
            self._entry.remove()
        finally:
            self._entry.counts.skip("left", self._entry.counts.taken)


def _nobody() -> None:
    """Nobody wants to know."""
