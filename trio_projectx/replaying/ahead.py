"""Reading ahead: a thread has the next piece ready while this one is played. And pacing: when to play it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import trio

T = TypeVar("T")
#: Less than this nobody waits for: the system does not wake anybody more exactly.
_SOON_S: Final = 0.001


class Ahead(Generic[T]):
    """An iterator that blocks, as a channel: `run` is its task, and reads one item ahead.

    ``turn`` is called with trio's clock after each.
    """

    def __init__(
        self,
        items: Iterator[T],
        threads: trio.CapacityLimiter,
        turn: Callable[[float], object] = lambda now: None,
    ) -> None:
        self._turn = turn
        self._items = items
        self._threads = threads
        self._send, self.receive = trio.open_memory_channel[T](0)

    async def run(self) -> None:
        """Read until the end. Cancelled, a read that hangs is left behind, and its iterator not touched again."""
        async with self._send:
            while True:
                item = await trio.to_thread.run_sync(
                    next, self._items, None, abandon_on_cancel=True, limiter=self._threads
                )
                if item is None:
                    return
                await self._send.send(item)
                self._turn(trio.current_time())


class Pace:
    """Waits until something is due: ``speed`` times as fast as it was, or not at all (None)."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[float, float] | None = None
        self._last = 0.0

    def restart(self) -> None:
        """What comes next is due at once: there was a pause in the record, and its clock is another one."""
        self._origin = None

    async def until(self, at_s: float) -> None:
        """Wait for what stands at ``at_s`` (seconds of any clock of the record); a clock set back starts anew."""
        if self._speed is None:
            return
        now = trio.current_time()
        if self._origin is None or at_s < self._last:
            self._origin = (now, at_s)
        self._last = at_s
        due = self._origin[0] + (at_s - self._origin[1]) / self._speed
        if due > now + _SOON_S:
            await trio.sleep_until(due)
