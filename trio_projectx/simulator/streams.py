"""A connected pair of byte streams in memory: bounded, breakable, and the same on every run.

trio's memory streams hold any number of bytes and cannot be reset, so neither back-pressure nor a lost
connection can be tried with them. These behave as TCP does where a program can tell: a send waits while the
other side's buffer is full, a half-close lets what is on its way arrive, a reset destroys it.
"""

from __future__ import annotations

import operator
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Protocol, runtime_checkable

import attrs
import trio

#: What Linux gives a loopback socket at first is of this order; small enough that tests meet the bound.
DEFAULT_CAPACITY = 64 * 1024


@attrs.define(slots=True, eq=False)
class _Way:
    """One direction. ``moved`` wakes both ends: each looks again for itself."""

    capacity: int
    data: bytearray = attrs.Factory(bytearray)
    ended: bool = False
    """The sender will send no more."""
    deaf: bool = False
    """The receiver is closed: what is sent goes nowhere."""
    broken: bool = False
    moved: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def wake(self) -> None:
        self.moved.unpark_all()


class BreakableStream(trio.abc.HalfCloseableStream):
    """One end of a pair from `breakable_pair`.

    Cancelling ``send_all`` leaves an unknown part of the data sent, as with any stream; cancelling
    ``receive_some`` loses nothing.
    """

    def __init__(self, outgoing: _Way, incoming: _Way) -> None:
        self._out = outgoing
        self._in = incoming
        self._closed = False
        self._sending = False
        self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting while the other side's buffer is full.

        :raises trio.BrokenResourceError: if the other end is closed or the connection was reset.
        """
        with self._one_sender():
            await trio.lowlevel.checkpoint()
            rest = memoryview(data)
            while self._can_send() and rest:
                taken = rest[: self._out.capacity - len(self._out.data)]
                if taken:
                    self._out.data += taken
                    rest = rest[len(taken) :]
                    self._out.wake()
                else:
                    await self._out.moved.park()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room for a byte, or until sending would fail at once."""
        with self._one_sender():
            await trio.lowlevel.checkpoint()
            while self._can_wait() and len(self._out.data) >= self._out.capacity:
                await self._out.moved.park()

    async def send_eof(self) -> None:
        """Half-close: the other end reads what is on its way, then the end of the stream."""
        with self._one_sender():
            await trio.lowlevel.checkpoint()
            self._check_open()
            self._out.ended = True
            self._out.wake()

    async def wait_taken(self) -> None:
        """Wait until the other end has received all that was sent, or never will."""
        await trio.lowlevel.checkpoint()
        while self._out.data and not (self._closed or self._out.broken or self._out.deaf):
            await self._out.moved.park()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return 1 to ``max_bytes`` bytes, or ``b""`` at the end of the stream.

        :raises trio.BrokenResourceError: if the connection was reset; bytes not yet read are gone then.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._one_receiver():
            await trio.lowlevel.checkpoint()
            while self._must_wait():
                await self._in.moved.park()
            taken = bytes(self._in.data[:max_bytes])
            del self._in.data[:max_bytes]
            self._in.wake()
            return taken

    async def aclose(self) -> None:
        """Close both directions; what was sent can still be read at the other end."""
        self._close()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Break the connection at once, as a TCP reset does: both ends fail, bytes on their way are lost."""
        for way in (self._out, self._in):
            way.broken = True
            way.data.clear()
            way.wake()
        self._close()

    def _close(self) -> None:
        self._closed = self._out.ended = self._in.deaf = True
        self._in.data.clear()
        self._out.wake()
        self._in.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the stream is closed")

    def _can_send(self) -> bool:
        self._check_open()
        if self._out.ended:
            raise trio.ClosedResourceError("send_eof was called on this end")
        if self._out.broken or self._out.deaf:
            raise trio.BrokenResourceError("the other end of the stream is gone")
        return True

    def _can_wait(self) -> bool:
        self._check_open()
        return not (self._out.broken or self._out.deaf)

    def _must_wait(self) -> bool:
        self._check_open()
        if self._in.broken:
            raise trio.BrokenResourceError("the connection was reset")
        return not self._in.data and not self._in.ended

    @contextmanager
    def _one_sender(self) -> Generator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    @contextmanager
    def _one_receiver(self) -> Generator[None]:
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            yield
        finally:
            self._receiving = False


class PrefixedStream(trio.abc.Stream):
    """A stream: first ``head`` is read from it, then, after `open`, ``rest``, then what comes from below."""

    def __init__(self, stream: trio.abc.Stream, head: bytes, rest: bytes) -> None:
        self._stream = stream
        self._head = head
        self._rest = rest
        self._opened = trio.Event()

    def open(self) -> None:
        """Let reading go on behind the head."""
        self._opened.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive from the head, the rest or the stream; the first two come whole, whatever ``max_bytes``."""
        if self._head:
            await trio.lowlevel.checkpoint()
            head, self._head = self._head, b""
            return head
        await self._opened.wait()
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send on the stream below."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait on the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()


#: No socket tells what its peer has read; on loopback this is long enough.
_SOCKET_TAKEN_S = 0.01


async def wait_taken(stream: trio.abc.Stream) -> None:
    """Wait until the other end has (over a socket: probably) received what was sent. Without a deadline."""
    if isinstance(stream, BreakableStream):
        await stream.wait_taken()
    else:
        await trio.sleep(_SOCKET_TAKEN_S)


@runtime_checkable
class Resettable(Protocol):
    """A stream that can be broken at once."""

    def reset(self) -> None:
        """Break it."""
        ...


def reset_stream(stream: trio.abc.Stream) -> None:
    """Break ``stream`` at once: a reset in memory, a TCP RST on a socket; other kinds are not touched."""
    if isinstance(stream, Resettable):
        stream.reset()
    elif isinstance(stream, trio.SocketStream):
        with suppress(OSError):  # it may be closed already
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


def breakable_pair(capacity: int = DEFAULT_CAPACITY) -> tuple[BreakableStream, BreakableStream]:
    """Return two connected ends; each direction holds at most ``capacity`` bytes on their way."""
    if capacity < 1:
        raise ValueError("a stream needs room for at least 1 byte")
    there, back = _Way(capacity), _Way(capacity)
    return BreakableStream(there, back), BreakableStream(back, there)
