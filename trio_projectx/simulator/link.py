"""One hub connection as the server sees it: handshake, records both ways, pings, and the ways it ends.

Tasks of a link: on each transport a writer (the only sender of messages), a reader, and a pump between it and
the WebSocket, which notices its loss while the reader waits for a call; next to them the calls under way
(`calls.Desk`), the watch over its token and, with stateful reconnect, the acknowledger. A link has one
transport; with stateful reconnect it outlives the loss of one and waits for the next.
"""

from __future__ import annotations

import math
from typing import Final

import trio
from trio_websocket import ConnectionClosed

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import (
    Ack,
    CancelInvocation,
    Close,
    HandshakeResponse,
    Ping,
    Sequence,
    write_handshake_response,
)
from trio_projectx.simulator.calls import Desk
from trio_projectx.simulator.identity import Identity
from trio_projectx.simulator.incoming import (
    Answer,
    Call,
    Incoming,
    Item,
    read_record,
)
from trio_projectx.simulator.methods import HubMethods
from trio_projectx.simulator.outbox import Outbox
from trio_projectx.simulator.outgoing import CLOSE, CLOSE_AND_COME_BACK, CLOSE_WITH_ERROR, PING
from trio_projectx.simulator.resumption import ACK_S, Resumption
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.streams import reset_stream
from trio_projectx.simulator.transports import NORMAL, Greeting, Transport

#: The version of the protocol that has stateful reconnect.
_STATEFUL: Final = 2
#: How often a link looks at the clock for its token, as the real server does.
_TOKEN_S: Final = 1.0


class Link:
    """A live hub connection."""

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        counters: Counters,
        methods: HubMethods,
        *,
        may_resume: bool = False,
    ) -> None:
        self.identity = identity
        self.outbox = Outbox(settings.outbox_chars)
        self.subscriptions: dict[str, None] = {}
        """Names as ``/control/state`` shows them, in order: ``GatewayTrade CON.F.US.MNQ.Z26``."""
        self.keep_alive_s = math.inf if identity.hub == "silent" else settings.keep_alive_s
        self.is_over = False
        self._settings = settings
        self._counters = counters
        self._methods = methods
        self._may_resume = may_resume
        self._resumption: Resumption | None = None
        self._transport: Transport | None = None
        self._next: Transport | None = None
        self._come = trio.Event()
        self._ack = ""
        self._idle = trio.CancelScope()
        self._pinged = False
        self._is_stuck = False
        self._said_goodbye = False

    async def run(self, transport: Transport) -> str:
        """Be the server's side until the connection is over; say how it ended."""
        self._transport = transport
        try:
            async with trio.open_nursery() as nursery:
                if await self._shake_hands(transport):
                    desk = self._methods.desk(self, nursery, self._settings.parallel)
                    nursery.start_soon(self._watch_token)
                    if self._resumption is not None:
                        nursery.start_soon(self._acknowledge, self._resumption)
                    transport = await self._live(transport, desk)
                nursery.cancel_scope.cancel(reason="the hub connection is over")
        finally:
            self.is_over = True
            self.outbox.abandon()
            for left in (self._transport, self._next):
                if left is not None:
                    left.over.set()
        return "graceful" if transport.is_graceful or self._said_goodbye else "lost"

    async def resume(self, transport: Transport) -> None:
        """Go on over ``transport`` (after `displace`); return when that is over."""
        if self._next is not None:
            self._next.over.set()
        transport.is_return = True
        self._next = transport
        self._come.set()
        try:
            await transport.over.wait()
        finally:
            transport.scope.cancel(reason="the WebSocket is gone")

    async def displace(self) -> bool:
        """Close the present transport, if there is one; False if that ended the connection.

        The real server closes the WebSocket; a client that answers this ends its connection with it.
        """
        transport = self._transport
        if transport is not None:
            transport.is_displaced = True
            transport.scope.cancel(reason="another transport came")
            await transport.over.wait()
        return not self.outbox.is_closed

    def finish(self, last: str) -> None:
        """Close in good order: what waits is sent, then the record ``last``, then WebSocket 1000."""
        self.outbox.finish(last)
        if self._resumption is not None:
            self._resumption.wake()
        self._come.set()

    def drop(self) -> None:
        """Reset the byte stream at once: no Close record, no close frame. Only it, if it may come again."""
        if self._transport is not None:
            if self._resumption is None:
                self.outbox.abandon()
            reset_stream(self._transport.stream)

    def drop_slow(self) -> None:
        """Give up on a client that does not read."""
        self._counters.dropped_slow += 1
        self.outbox.abandon()
        self._come.set()
        self.drop()

    async def _live(self, transport: Transport, desk: Desk) -> Transport:
        """Serve one transport after the other; return the last."""
        while True:
            self._transport = transport
            with transport.scope:
                await self._carry(transport, desk)
            if transport.is_displaced:
                if await transport.give_way(self._settings.close_s):
                    self.outbox.abandon()
            elif transport.is_graceful or self._resumption is None:
                self.outbox.abandon()
            self._transport = None
            await trio.aclose_forcefully(transport.stream)
            transport.over.set()
            following = await self._following()
            if following is None:
                return transport
            transport, self._ack = following, ""

    async def _following(self) -> Transport | None:
        """Wait for the next transport of a connection that may have one; None if none comes in time."""
        if not self.outbox.is_closed and self._next is None:
            self._come = trio.Event()
            with trio.move_on_after(self._settings.negotiated_s):
                await self._come.wait()
        following, self._next = self._next, None
        return None if self.outbox.is_closed else following

    async def _carry(self, transport: Transport, desk: Desk) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, transport)
            nursery.start_soon(self._read, transport, desk)
            await self._write(transport)
            nursery.cancel_scope.cancel(reason="the transport is over")

    async def _shake_hands(self, transport: Transport) -> bool:
        """Receive the handshake request and answer it."""
        greeting = Greeting()
        try:
            with trio.move_on_after(self._settings.handshake_s):
                greeting = await transport.shake_hands()
        except ConnectionClosed:
            return False
        answer = write_handshake_response(HandshakeResponse(greeting.error))
        if greeting.error is None:
            if self._may_resume and greeting.version >= _STATEFUL:
                self._resumption = Resumption()
            self.outbox.offer(answer)
            return True
        self.outbox.finish(answer)
        await self._write(transport)
        return False

    async def _read(self, transport: Transport, desk: Desk) -> None:
        try:
            while await self._digest(transport, desk):
                timeout_s = self._settings.client_timeout_s if self._pinged else math.inf
                with trio.move_on_after(timeout_s) as scope:
                    await transport.receive()
                if scope.cancelled_caught:
                    return self.finish(CLOSE_WITH_ERROR)
        except ProtocolError:
            self.finish(CLOSE_WITH_ERROR)
        except trio.EndOfChannel:
            if not self.outbox.is_finished:
                transport.scope.cancel(reason="the client has closed the WebSocket")

    async def _pump(self, transport: Transport) -> None:
        await transport.pump()
        if not (transport.is_graceful or self.outbox.is_finished):
            # At once, also while a call waits for its turn: with stateful reconnect the client comes again.
            transport.scope.cancel(reason="the WebSocket is lost")

    async def _digest(self, transport: Transport, desk: Desk) -> bool:
        """Handle the whole records that are there; False when the client has closed."""
        for record in transport.records():
            message = None if self._is_stuck else read_record(record)
            if message is None:
                # A record of an unknown type: the real server (9.0.7) reads on, and never acts again.
                self._is_stuck = True
            elif not await self._handle(message, desk):
                return False
        return True

    async def _handle(self, message: Incoming, desk: Desk) -> bool:
        match message:
            case Call() | Item() | Answer() | CancelInvocation():
                await self._handle_counted(message, desk)
            case Ping():
                self._pinged = True
            case Close():
                self._said_goodbye = True
                self.finish(CLOSE)
                return False
            case Ack() if self._resumption is not None:
                self._resumption.acked(message.sequence_id)
            case Sequence() if self._resumption is not None:
                self._resumption.resumed(message.sequence_id)
            case _:
                pass  # without stateful reconnect these two mean nothing
        return True

    async def _handle_counted(self, message: Call | Item | Answer | CancelInvocation, desk: Desk) -> None:
        resumption = self._resumption
        if resumption is None or resumption.is_new():
            await desk.take(message)
        if resumption is not None:
            # Not before: a transport that is lost while the call waits for its turn has not delivered it.
            resumption.processed()

    async def _write(self, transport: Transport) -> None:
        if self._resumption is not None and transport.is_return:
            await self._send(transport, self._resumption.replay())
        text: str | None = ""
        while text is not None:
            text = PING
            with trio.move_on_after(self.keep_alive_s):
                text = await self._next_text()
            if text and not await self._send(transport, text):
                return
        if self.outbox.is_finished:
            with trio.move_on_after(self._settings.close_s):
                await transport.ws.aclose(NORMAL)

    async def _next_text(self) -> str | None:
        if self._resumption is None:
            return await self.outbox.take()
        if self._ack:
            ack, self._ack = self._ack, ""
            return ack
        with trio.CancelScope() as self._idle:
            await self._resumption.wait_for_room()
            text = await self.outbox.take()
            if text is not None:
                self._resumption.sending(text)
            return text
        return ""

    async def _send(self, transport: Transport, text: str) -> bool:
        with trio.move_on_after(self._settings.send_s) as scope:
            try:
                await transport.ws.send_message(text)
            except ConnectionClosed:
                return False
        if scope.cancelled_caught:
            self.drop_slow()
        return not scope.cancelled_caught

    async def _acknowledge(self, resumption: Resumption) -> None:
        while True:
            await trio.sleep(ACK_S)
            if self._transport is not None:
                self._ack = resumption.due_ack() or self._ack
            if self._ack:
                # It does not wait for room: both sides may wait for each other's.
                self._idle.cancel(reason="an Ack is due")

    async def _watch_token(self) -> None:
        while self._settings.close_on_expiry:
            await trio.sleep(_TOKEN_S)
            transport = self._transport
            if transport is not None and self._settings.wall_clock() >= transport.expires_ns:
                self.finish(CLOSE_AND_COME_BACK)
