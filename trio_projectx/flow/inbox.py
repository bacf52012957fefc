"""The bounded channel into a contract's own task."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

from trio_projectx.flow.room import BufferStatistics

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items in their order, ``capacity`` of them at most; whoever posts one more waits."""

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._capacity = capacity
        self._queued = self._high_water = 0
        self._send, self._receive = trio.open_memory_channel[T | None](capacity)

    async def post(self, item: T) -> None:
        """Put an item in; waits while there is no room. Cancelled, it has put nothing in."""
        try:
            self._send.send_nowait(item)  # a hop without waiting costs a twentieth of one with
        except trio.WouldBlock:
            await self._post(item)
        else:
            self._queued += 1
        if self._queued > self._high_water:
            self._high_water = self._queued

    async def _post(self, item: T) -> None:
        # Counted before it waits: whoever makes room takes it in, and may have taken it out, before this task goes on.
        self._queued += 1
        try:
            await self._send.send(item)
        except BaseException:  # also when cancelled: it was not put in
            self._queued -= 1
            raise

    def nudge(self) -> None:
        """Let the task look again, if it waits: it gets None."""
        if self._receive.statistics().tasks_waiting_receive:
            self._send.send_nowait(None)

    def get_nowait(self) -> T | None:
        """Return the next item; `trio.WouldBlock` if there is none."""
        return self._got(self._receive.receive_nowait())

    async def get(self) -> T | None:
        """Return the next item when there is one; None is a nudge."""
        return self._got(await self._receive.receive())

    def _got(self, item: T | None) -> T | None:
        self._queued -= item is not None
        return item

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._receive.statistics().current_buffer_used

    def statistics(self) -> BufferStatistics:
        """Return a snapshot; what waits for room stands above the capacity."""
        return BufferStatistics(self._name, self._capacity, self._queued, self._high_water)
