"""What a hub method is, and what it has while it runs: its turn."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from trio_projectx.simulator.outgoing import streamed

if TYPE_CHECKING:
    from trio_projectx.simulator.link import Link

#: StreamBufferCapacity: items of an upload that wait for the method; then the connection is not read.
_UPLOAD_ITEMS: Final = 10
#: Of a HubException without one.
NO_TEXT: Final = "Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown."
_SLEEP_MS_MAX: Final = 60_000
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")

#: The JSON texts of a call's arguments.
Arguments: TypeAlias = Sequence[str]


class BindingError(Exception):
    """The arguments do not fit the method's parameters."""


class HubError(Exception):
    """An error whose text the client gets to read (.NET's HubException)."""


class ServerError(Exception):
    """An error whose text stays on the server."""


@attrs.define(slots=True, eq=False)
class Upload:
    """A stream of whole numbers from the client, bounded: `put` waits while the method is behind."""

    error: str | None = None
    """What ended it, if that was not its end."""
    _send: trio.MemorySendChannel[int] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[int](_UPLOAD_ITEMS)

    async def put(self, item: str) -> bool:
        """Take one item (JSON); False if it does not fit, which ends the stream."""
        try:
            value = integer(item)
        except BindingError:
            self.end("Failed to bind Stream message.")
            return False
        try:
            await self._send.send(value)
        except trio.BrokenResourceError:  # the method is over
            return False
        return True

    def end(self, error: str | None) -> None:
        """Let the method read what there is, then the end, or ``error``."""
        self.error = error
        self._send.close()

    def close(self) -> None:
        """Take no more: the method is over."""
        self._receive.close()

    async def sum(self) -> int:
        """Return the sum of all items.

        :raises HubError: if the client ended the stream with an error.
        """
        total = 0
        async for item in self._receive:
            total += item
        if self.error is not None:
            raise HubError(self.error)
        return total


@attrs.define(slots=True, eq=False)
class Turn:
    """One running call of a method."""

    link: Link
    invocation_id: str | None
    ask: Callable[[Turn, str], Awaitable[str]]
    """Calls ``target`` at the client and returns its result as JSON."""
    upload: Upload | None = None
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    waits: trio.Event = attrs.Factory(trio.Event)
    """Set when it waits for something for the first time, or is over: until then nothing else is read, as an
    asynchronous method of .NET runs in its caller's place until it first waits."""

    async def send(self, text: str) -> bool:
        """Send records, waiting while the client is behind; False if the connection is closing."""
        if not self.link.outbox.has_room(text):
            self.waits.set()
        return await self.link.outbox.put(text)

    async def stream(self, item: str) -> None:
        """Send one item (JSON) of the result stream, waiting while the client is behind."""
        await self.send(streamed(self.invocation_id or "", item))

    async def sleep(self, millis: int) -> None:
        """Wait, at most a minute: no client can make a call last for ever."""
        self.waits.set()
        await trio.sleep(min(_SLEEP_MS_MAX, millis) / 1000)

    def uploaded(self) -> Upload:
        """Return the upload stream of a method that takes one, to wait for its items."""
        assert self.upload is not None
        self.waits.set()
        return self.upload


#: The bound method: run it once; it returns its result as JSON (a streaming method: nothing of meaning).
Run: TypeAlias = Callable[[Turn], Awaitable[str]]


@attrs.frozen(slots=True)
class Method:
    """A method of a hub: ``bind`` checks the arguments, before the call has its turn, as .NET does."""

    bind: Callable[[Arguments], Run]
    is_stream: bool = False
    uploads: int = 0


def take(arguments: Arguments, count: int) -> Arguments:
    """Return ``arguments`` if they are ``count``."""
    if len(arguments) != count:
        raise BindingError
    return arguments


def only(arguments: Arguments) -> str:
    """Return the one argument."""
    return take(arguments, 1)[0]


def text(raw: str) -> str | None:
    """Return a .NET string: null is one."""
    if raw == "null":
        return None
    if not raw.startswith('"'):
        raise BindingError
    value: str = json.loads(raw)
    return value


def integer(raw: str, bits: int = 32) -> int:
    """Return a .NET integer: ``1.0`` and ``1e0`` are none."""
    if not _INTEGER.fullmatch(raw):
        raise BindingError
    value = int(raw)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BindingError
    return value


def wrapped(value: int) -> int:
    """Return ``value`` as .NET's unchecked 32 bits."""
    return (value + 2**31) % 2**32 - 2**31
