"""What comes for one handler: items one by one or in batches, and the waits for them, from which it can be woken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import Dropped
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.entry import Entry
from trio_projectx.handlers.own import is_own

#: How long items that wait are handled before other tasks run, where no call waits for anything.
_SLICE_S: Final = 0.010


class Wake:
    """Ends the wait of one task; from then on it waits for nothing."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self.is_set = False

    def set(self) -> None:
        """End the wait, and all to come."""
        self.is_set = True
        self._scope.cancel(reason="the handler was removed, or the run ends")

    def wait(self, deadline: float = math.inf) -> trio.CancelScope:
        """Return the scope to wait in; it holds no call of a handler."""
        self._scope = trio.CancelScope(deadline=deadline)
        if self.is_set:
            self._scope.cancel(reason="the handler was removed, or the run ends")
        return self._scope


class Inlet:
    """Takes items out of a stream; what it has taken is in ``counts.taken``."""

    def __init__(
        self, entry: Entry, stream: Stream[object], wake: Wake, on_dropped: Callable[[Dropped], None]
    ) -> None:
        self._entry = entry
        self._stream = stream
        self._wake = wake
        self._on_dropped = on_dropped
        self._held: Dropped | None = None
        self._slice_began = -math.inf

    async def next(self) -> tuple[object, ...]:
        """Take what the next call is to get, or wait for it; nothing where there was something else to do first.

        :raises trio.EndOfChannel: at the end of the stream; when woken, where nothing waits.
        """
        if self._held is not None:
            mark, self._held = self._held, None
            self._on_dropped(mark)
        await self._wait_for_rate()
        first = await self._one()
        if first is None:
            return ()
        items = [first]
        batch = self._entry.batch
        while batch is not None and len(items) < batch.size and self._held is None:
            item = self._one_more()
            if item is None:
                break
            items.append(item)
        return tuple(items)

    async def _wait_for_rate(self) -> None:
        """Let items wait for the next batch, in the stream, until it may come."""
        rate = self._entry.rate
        if self._entry.batch is None or rate is None:
            return
        notices = self._entry.notices
        while not self._entry.is_removed and (wait_s := rate.wait(trio.current_time())):
            if self._wake.is_set:  # the run ends: what waits is handled, but no faster than it may be
                await trio.sleep(wait_s)
                continue
            with self._wake.wait(notices.due):
                await trio.sleep(wait_s)
            notices.flush(trio.current_time())

    async def _one(self) -> object | None:
        await self._let_others_run()
        try:
            item = self._stream.receive_nowait()
        except trio.WouldBlock:
            item = await self._wait()
        return self._item(item)

    async def _let_others_run(self) -> None:
        if trio.current_time() - self._slice_began > _SLICE_S:
            await trio.lowlevel.checkpoint()
            self._slice_began = trio.current_time()
            self._entry.notices.flush(self._slice_began)  # where items always wait, nothing else does

    async def _wait(self) -> object | None:
        if self._wake.is_set:
            raise trio.EndOfChannel
        notices, item = self._entry.notices, None
        with self._wake.wait(notices.due):
            item = await self._stream.receive()
        self._slice_began = trio.current_time()
        notices.flush(self._slice_began)
        return item

    def _one_more(self) -> object | None:
        try:
            item = self._stream.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError, TrioProjectXError):
            return None  # it comes again, for the next call
        if isinstance(item, Dropped):
            self._tell(item)
            self._held = item  # it stands behind this batch
            return None
        return self._item(item)

    def _item(self, item: object | None) -> object | None:
        if item is None:
            return None
        if isinstance(item, Dropped):
            self._tell(item)
            self._on_dropped(item)
            return None
        counts = self._entry.counts
        counts.taken += 1
        if is_own(item, self._entry.kind):
            counts.skip("own", 1)
            return None
        return item

    def _tell(self, mark: Dropped) -> None:
        self._entry.notices.skipped("overflow", mark, trio.current_time())
