"""What waits to be sent to one hub connection: bounded, joined into frames, never in anybody's way.

The market offers (and is told when there is no room); whoever may wait puts (back-pressure). One task takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs
import trio

#: The largest frame seen from the real server was 55 KB (SIGNALR.md section 3); frames end at a record's
#: border.
FRAME_CHARS = 56_000
#: Whoever may wait does so from here on, so that a replay is never far ahead of its subscriber.
PUT_CHARS = 256_000


def frames(records: Iterable[str]) -> list[str]:
    """Join ``records``, in order, to as few texts as stay below `FRAME_CHARS` (a longer record stays alone)."""
    texts: list[str] = []
    waiting: list[str] = []
    chars = 0
    for record in records:
        if waiting and chars + len(record) > FRAME_CHARS:
            texts.append("".join(waiting))
            waiting, chars = [], 0
        waiting.append(record)
        chars += len(record)
    return [*texts, "".join(waiting)] if waiting else texts


@attrs.define(slots=True, eq=False)
class Outbox:
    """A queue of texts (whole records each) of at most ``limit`` characters in all, one text excepted."""

    limit: int
    _texts: deque[str] = attrs.Factory(deque[str])
    _chars: int = 0
    _finishing: bool = False
    _abandoned: bool = False
    _sending: bool = False
    _work: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _room: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken in: what is offered or put then goes nowhere, silently."""
        return self._finishing or self._abandoned

    @property
    def is_finished(self) -> bool:
        """Whether it was closed in good order, by `finish`."""
        return self._finishing and not self._abandoned

    def offer(self, text: str) -> bool:
        """Take ``text`` in if there is room; say whether. A closed outbox says yes and drops it."""
        if self.is_closed:
            return True
        if self._chars + len(text) > self.limit and self._texts:
            return False
        self._add(text)
        return True

    def has_room(self, text: str) -> bool:
        """Whether `put` would take ``text`` in (or throw it away) at once."""
        most = min(self.limit, PUT_CHARS)
        return not self._texts or self._chars + len(text) <= most or self.is_closed

    async def put(self, text: str) -> bool:
        """Take ``text`` in, waiting while `PUT_CHARS` wait already; False (at once) when it is closed."""
        await trio.lowlevel.checkpoint()
        while not self.has_room(text):
            await self._room.park()
        if self.is_closed:
            return False
        self._add(text)
        return True

    async def wait_sent(self) -> bool:
        """Wait until all that was taken in has gone to the socket; False if it was abandoned first."""
        await trio.lowlevel.checkpoint()
        while (self._texts or self._sending) and not self._abandoned:
            await self._room.park()
        return not self._abandoned

    async def take(self) -> str | None:
        """Return the next frame's text; None when the outbox was finished and is empty, or was abandoned."""
        self._sending = False
        self._room.unpark_all()
        await trio.lowlevel.checkpoint()
        while not self._texts and not self.is_closed:
            await self._work.park()
        if self._abandoned or not self._texts:
            return None
        self._sending = True
        return self._frame()

    def finish(self, last: str) -> None:
        """Let ``last`` be the last text: `take` gives what waits, then it, then None."""
        if not self.is_closed:
            self._add(last)
            self._finishing = True
            self._wake()

    def abandon(self) -> None:
        """Throw away what waits: the connection is gone."""
        self._abandoned = True
        self._texts.clear()
        self._chars = 0
        self._wake()

    def _add(self, text: str) -> None:
        self._texts.append(text)
        self._chars += len(text)
        self._work.unpark_all()

    def _frame(self) -> str:
        texts = [self._texts.popleft()]
        chars = len(texts[0])
        while self._texts and chars + len(self._texts[0]) <= FRAME_CHARS:
            chars += len(self._texts[0])
            texts.append(self._texts.popleft())
        self._chars -= chars
        return "".join(texts)

    def _wake(self) -> None:
        self._work.unpark_all()
        self._room.unpark_all()
