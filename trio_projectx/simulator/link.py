"""One hub connection as the server sees it: handshake, records both ways, pings, and the ways it ends.

Tasks of a link: the writer (the only sender of messages; the link lives as long as it does), the reader, and
the worker, which runs invocations one at a time (MaximumParallelInvocationsPerClient is 1) while pings are
still read.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import (
    RECORD_SEPARATOR,
    Close,
    Completion,
    HandshakeResponse,
    Invocation,
    Message,
    Ping,
    StreamInvocation,
    parse_handshake_request,
    parse_record,
    write_handshake_response,
    write_message,
)
from trio_projectx.simulator.identity import Identity
from trio_projectx.simulator.outbox import Outbox
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.streams import reset_stream

PING: Final = write_message(Ping())
CLOSE: Final = write_message(Close())
CLOSE_AND_COME_BACK: Final = write_message(Close(allow_reconnect=True))
#: For every fault of the client: a record that cannot be read or is too long, silence (SIGNALR.md section 7).
CLOSE_WITH_ERROR: Final = write_message(Close(error="Connection closed with an error.", allow_reconnect=True))
_VERSIONS: Final = (0, 1, 2)
#: The close code of RFC 6455 for an orderly end, from either side.
_NORMAL: Final = 1000
#: Invocations that wait for the one under way; more wait in the socket.
_WAITING: Final = 64


class Link:
    """A live hub connection."""

    def __init__(
        self,
        identity: Identity,
        ws: WebSocketConnection,
        stream: trio.abc.Stream,
        settings: Settings,
        counters: Counters,
    ) -> None:
        self.identity = identity
        self.outbox = Outbox(settings.outbox_chars)
        self.subscriptions: dict[str, None] = {}
        """Names as ``/control/state`` shows them, in order: ``GatewayTrade CON.F.US.MNQ.Z26``."""
        self.keep_alive_s = math.inf if identity.hub == "silent" else settings.keep_alive_s
        self._ws = ws
        self._stream = stream
        self._settings = settings
        self._counters = counters
        self._partial = ""
        self._pinged = False
        self._is_stuck = False
        self._send_work, self._receive_work = trio.open_memory_channel[Invocation](_WAITING)

    async def run(self, invoke: Invoke) -> str:
        """Be the server's side until the connection is over; say how it ended."""
        async with trio.open_nursery() as nursery:
            try:
                error = await self._shake_hands()
            except ConnectionClosed:
                return "lost"
            answer = write_handshake_response(HandshakeResponse(error))
            if error is None:
                self.outbox.offer(answer)
                nursery.start_soon(self._read)
                nursery.start_soon(self._work, invoke)
            else:
                self.outbox.finish(answer)
            await self._write()
            nursery.cancel_scope.cancel(reason="the hub connection is over")
        closed = self._ws.closed
        return "graceful" if closed is not None and closed.code == _NORMAL else "lost"

    def finish(self, last: str) -> None:
        """Close in good order: what waits is sent, then the record ``last``, then WebSocket 1000."""
        self.outbox.finish(last)

    def drop(self) -> None:
        """Reset the byte stream at once: no Close record, no close frame."""
        self.outbox.abandon()
        reset_stream(self._stream)

    def drop_slow(self) -> None:
        """Give up on a client that does not read."""
        self._counters.dropped_slow += 1
        self.drop()

    async def _shake_hands(self) -> str | None:
        """Read the handshake request; return what is wrong with it."""
        with trio.move_on_after(self._settings.handshake_s):
            while RECORD_SEPARATOR not in self._partial:
                try:
                    self._partial += _text(await self._ws.get_message())
                    self._check_length(self._partial.partition(RECORD_SEPARATOR)[0])
                except ProtocolError:
                    return "An unexpected error occurred during connection handshake."
            record, _, self._partial = self._partial.partition(RECORD_SEPARATOR)
            return _handshake_fault(record)
        return "Handshake was canceled."

    async def _read(self) -> None:
        try:
            while await self._digest():
                timeout_s = self._settings.client_timeout_s if self._pinged else math.inf
                with trio.move_on_after(timeout_s) as scope:
                    self._partial += _text(await self._ws.get_message())
                if scope.cancelled_caught:
                    return self.finish(CLOSE_WITH_ERROR)
        except ProtocolError:
            self.finish(CLOSE_WITH_ERROR)
        except ConnectionClosed:
            self.outbox.abandon()

    async def _digest(self) -> bool:
        """Handle the whole records that are there; False when the client has closed."""
        *records, self._partial = self._partial.split(RECORD_SEPARATOR)
        for record in records:
            self._check_length(record)
            message = None if self._is_stuck else parse_record(record)
            if message is None:
                # A record of an unknown type: the real server (9.0.7) reads on, and never acts again.
                self._is_stuck = True
            elif not await self._handle(message):
                return False
        self._check_length(self._partial)
        return True

    async def _handle(self, message: Message) -> bool:
        match message:
            case Invocation():
                await self._send_work.send(message)
            case StreamInvocation():
                # There are no streams here yet, and an unknown one is answered like an unknown method.
                error = f"Failed to invoke '{message.target}' due to an error on the server."
                told = f"{error} HubException: Method does not exist."
                await self.outbox.put(
                    write_message(Completion(invocation_id=message.invocation_id, error=told))
                )
            case Ping():
                self._pinged = True
            case Close():
                self.finish(CLOSE)
                return False
            case _:
                # Items and completions of unknown ids, acks and sequences without stateful reconnect: the
                # real server drops them too. Streams and client results come with the full simulator.
                pass
        return True

    def _check_length(self, record: str) -> None:
        limit = self._settings.record_bytes
        if len(record) >= limit or (len(record) * 4 >= limit and len(record.encode()) >= limit):
            raise ProtocolError("the record is too long")

    async def _work(self, invoke: Invoke) -> None:
        async for invocation in self._receive_work:
            completion = await invoke(self, invocation)
            if completion is not None:
                await self.outbox.put(write_message(completion))

    async def _write(self) -> None:
        text: str | None = ""
        while text is not None:
            text = PING
            with trio.move_on_after(self.keep_alive_s):
                text = await self.outbox.take()
            if text is not None and not await self._send(text):
                return
        if self.outbox.is_finished:
            with trio.move_on_after(self._settings.close_s):
                await self._ws.aclose(1000)

    async def _send(self, text: str) -> bool:
        with trio.move_on_after(self._settings.send_s) as scope:
            try:
                await self._ws.send_message(text)
            except ConnectionClosed:
                self.outbox.abandon()
                return False
        if scope.cancelled_caught:
            self.drop_slow()
        return not scope.cancelled_caught


Invoke: TypeAlias = Callable[[Link, Invocation], Awaitable[Completion | None]]


def _text(message: str | bytes) -> str:
    """Return the text of a frame; the real server takes JSON in binary frames too."""
    if isinstance(message, str):
        return message
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ProtocolError("the bytes are not UTF-8") from None


def _handshake_fault(record: str) -> str | None:
    try:
        request = parse_handshake_request(record)
    except ProtocolError:
        return "An unexpected error occurred during connection handshake."
    if request.protocol != "json":
        return f"The protocol '{request.protocol}' is not supported."
    if request.version not in _VERSIONS:
        return f"The server does not support version {request.version} of the 'json' protocol."
    return None
