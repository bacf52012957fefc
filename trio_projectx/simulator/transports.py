"""One WebSocket of a hub connection: its text as records, and the handshake that comes first."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import RECORD_SEPARATOR
from trio_projectx.simulator.incoming import handshake_version, read_handshake

#: The close codes of RFC 6455 for an orderly end, from either side: said, and without a code.
NORMAL: Final = 1000
_GRACEFUL: Final = (NORMAL, 1005)
#: Frames read ahead of the calls that wait for their turn; then the client is held back.
_FRAMES: Final = 16
#: What the real server says when the handshake is late, and also when it is too long.
CANCELED: Final = "Handshake was canceled."

#: Rounds of the scheduler in which a task that was just started has surely made its first step.
_STEPS: Final = 3


@attrs.frozen(slots=True)
class Greeting:
    """The client's handshake: what is wrong with it, or the version that it asks for."""

    error: str | None = CANCELED
    version: int = 0


@attrs.define(slots=True, eq=False)
class Transport:
    """The WebSocket ``ws`` over ``stream``; a link has one at a time."""

    ws: WebSocketConnection
    stream: trio.abc.Stream
    expires_ns: int
    """When the token that it came with ends, by the wall clock."""
    record_bytes: int
    """The longest record taken, its 0x1e included."""
    over: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Of the reader and the writer on it."""
    is_displaced: bool = False
    """Another one wants its place."""
    is_return: bool = False
    """Its link had one before it."""
    _partial: str = ""
    _frames: tuple[trio.MemorySendChannel[str | bytes], trio.MemoryReceiveChannel[str | bytes]] = (
        attrs.Factory(lambda: trio.open_memory_channel[str | bytes](_FRAMES))
    )
    _utf8: codecs.IncrementalDecoder = attrs.Factory(lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    @property
    def is_graceful(self) -> bool:
        """Whether its WebSocket was closed in good order."""
        return self.ws.closed is not None and self.ws.closed.code in _GRACEFUL

    async def pump(self) -> None:
        """Read frames for `receive` until the WebSocket is closed, also while nobody calls that."""
        with suppress(ConnectionClosed):
            while True:
                await self._frames[0].send(await self.ws.get_message())
        self._frames[0].close()

    async def receive(self) -> None:
        """Wait for the next frame that `pump` has read; `records` has what is whole then.

        :raises trio.EndOfChannel: the WebSocket is closed, and all that came before was received.
        """
        self._take_in(await self._frames[1].receive())

    def records(self) -> Iterator[str]:
        """Yield the whole records that are there; iterate to the end before the next `receive`.

        :raises ProtocolError: the next one is too long, whether its end is there or not.
        """
        *records, self._partial = self._partial.split(RECORD_SEPARATOR)
        for record in records:
            self._check(record)
            yield record
        self._check(self._partial)

    async def give_way(self, timeout_s: float) -> bool:
        """Close the WebSocket with 1000; return whether the client answered that."""
        if self._reason() is not None:
            return self.is_graceful
        ours: CloseReason | None = None
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.ws.aclose)
                for _ in range(_STEPS):  # in the first step of its closing, trio-websocket says why; no event tells
                    if self._reason() is None:
                        await trio.lowlevel.checkpoint()
                # trio-websocket notes its own close first, and the client's, if one comes, in its place.
                ours = self._reason()
        return self._reason() is not ours

    async def shake_hands(self) -> Greeting:
        """Receive the client's handshake, before there is a `pump`.

        :raises trio_websocket.ConnectionClosed: the WebSocket is closed.
        """
        while RECORD_SEPARATOR not in self._partial:
            self._take_in(await self.ws.get_message())
            if self._is_too_long(self._partial.partition(RECORD_SEPARATOR)[0]):
                return Greeting()
        record, _, self._partial = self._partial.partition(RECORD_SEPARATOR)
        error = read_handshake(record)
        return Greeting(error) if error is not None else Greeting(None, handshake_version(record))

    def _take_in(self, message: str | bytes) -> None:
        # The real server takes JSON in binary frames too, in good UTF-8 or not.
        self._partial += message if isinstance(message, str) else self._utf8.decode(message)

    def _reason(self) -> CloseReason | None:
        return self.ws.closed

    def _check(self, record: str) -> None:
        if self._is_too_long(record):
            raise ProtocolError("the record is too long")

    def _is_too_long(self, record: str) -> bool:
        limit = self.record_bytes
        return len(record) >= limit or (len(record) * 4 >= limit and len(record.encode()) >= limit)
