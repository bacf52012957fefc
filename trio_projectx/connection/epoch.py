"""One connection of one hub, from the first byte to its loss: an epoch. Nothing brings an epoch back.

Tasks: the one that runs `Epoch.run` reads, and it alone ends the epoch; a writer is the only one that sends
records, and pings the hub when there is nothing else to send; a probe measures the round trip. The last two live in
a nursery that `run` owns.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import attrs
import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import (
    AuthError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    ProtocolError,
    TrioProjectXError,
)
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.calls import Call, PendingCalls
from trio_projectx.connection.negotiator import HubAddress, TokenRefused
from trio_projectx.connection.transport import Transport, TransportClosed, UpgradeRefused, open_transport
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.market import Decoded, Decoder
from trio_projectx.signalr import (
    NEED_DATA,
    CallCompleted,
    CallFailed,
    CloseReceived,
    ConnectionFailed,
    ConnectionState,
    Event,
    Handshaken,
    HandshakeFailed,
    HubConnection,
    InvocationReceived,
    JsonValue,
    Malformed,
)

_log = logging.getLogger("trio_projectx")

#: Records that wait to be sent. They are subscriptions and pings: few, and small.
_OUTBOX: Final = 4096

Deliver = Callable[[Decoded, int], Awaitable[None]]


@attrs.define(slots=True)
class EpochCounts:
    """Plain counters of one epoch; read them with `Epoch.statistics`."""

    texts: int = 0
    records: int = 0
    bulk_texts: int = 0
    malformed: int = 0
    ignored_targets: int = 0


class Epoch:
    """One connection; make it, then let a task run `run`."""

    def __init__(self, name: str, address: HubAddress, tokens: TokenSource, config: GatewayConfig, deliver: Deliver) -> None:
        self.name = name
        self._address = address
        self._tokens = tokens
        self._config = config
        self._deliver = deliver
        self._decoder = Decoder()
        self._hub = HubConnection(malformed="count", record_limit=config.limits.record_bytes)
        self._calls = PendingCalls()
        self._outbox, self._to_send = trio.open_memory_channel[str](_OUTBOX)
        self._malformed_since = -math.inf
        self._malformed_recently = 0
        self.counts = EpochCounts()
        self.settled = trio.Event()
        """Set when the epoch is live, or has failed to become so."""
        self.live = False
        self.ended = False
        self.error: TrioProjectXError | None = None
        self.round_trip_s: float | None = None

    async def run(self) -> None:
        """Connect, and read until the connection is lost; `error` then says why. Raises only what is a bug.

        `error` is a `ConnectionLost` if the epoch had been live.
        """
        try:
            await self._run()
        except TransportClosed as exc:
            self._fail(ConnectError(f"{self.name}: the connection ended before it was ready: {exc}"), exc)
        except TrioProjectXError as exc:
            self._fail(exc, exc.__cause__)
        finally:
            self.live, self.ended = False, True
            reason = str(self.error or f"{self.name}: the gateway was closed")
            self._hub.lost(reason)
            self._calls.fail_all(ConnectionLost(reason))
            self.settled.set()

    def _fail(self, error: TrioProjectXError, cause: BaseException | None) -> None:
        if self.live and not isinstance(error, ConnectionLost):
            text = str(cause) if isinstance(cause, TransportClosed) else str(error)
            error = ConnectionLost(f"{self.name}: connection lost: {text}")
        error.__cause__ = cause
        self.error = error
        _log.warning("%s", error)

    def invoke(self, target: str, *arguments: JsonValue) -> Call:
        """Send a call; await its `Call.wait` for the outcome.

        :raises ConnectionLost: if this epoch is not live, or its writer is hopelessly behind.
        """
        if not self.live or self._hub.state is not ConnectionState.CONNECTED:
            raise ConnectionLost(f"{self.name}: not connected: {self.error or 'closing, or not yet open'}")
        invocation_id, text = self._hub.invoke(target, *arguments)
        call = self._calls.add(invocation_id, target)
        self._post(text)
        return call

    def _post(self, text: str) -> None:
        try:
            self._outbox.send_nowait(text)
        except trio.WouldBlock:
            raise ConnectionLost(f"{self.name}: {_OUTBOX} records wait to be sent; the hub takes none") from None

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            transport = await self._open(stack)
            await self._handshake(transport)
            self.live = True
            self._post(self._hub.ping())
            self.settled.set()
            try:
                async with open_background_tasks() as tasks:
                    tasks.start_soon(self._write, transport)
                    tasks.start_soon(self._probe, transport)
                    await self._read(transport)
            finally:
                await self._say_goodbye(transport)

    async def _open(self, stack: AsyncExitStack) -> Transport:
        """Open the transport for as long as ``stack`` stands; a token that is refused is renewed once."""
        token = await self._tokens.token()
        try:
            return await self._open_with(token, stack)
        except TokenRefused:
            self._tokens.renew(token)
        except UpgradeRefused as exc:
            if exc.status != 401:
                raise self._refused(exc) from exc
            self._tokens.renew(token)
        try:
            return await self._open_with(await self._tokens.token(), stack)
        except UpgradeRefused as exc:
            raise self._refused(exc) from exc

    async def _open_with(self, token: str, stack: AsyncExitStack) -> Transport:
        timeouts = self._config.timeouts
        where = await self._address.resolve(token)
        opening = open_transport(
            where.url,
            connect=self._config.connect,
            headers=where.headers,
            connect_s=timeouts.connect_s,
            send_s=timeouts.send_s,
            close_s=timeouts.close_s,
            max_message_bytes=self._config.limits.record_bytes,
        )
        return await stack.enter_async_context(opening)

    def _refused(self, exc: UpgradeRefused) -> TrioProjectXError:
        match exc.status:
            case 401:
                return AuthError(f"{self.name}: the hub refused the token (HTTP 401), also a fresh one: {exc.text}")
            case 403:
                return AuthError(f"{self.name}: the hub forbids this user (HTTP 403): {exc.text}")
            case 404:
                return ConnectError(f"{self.name}: there is no hub at this address (HTTP 404); check the hub's URL")
            case _:
                return exc

    async def _handshake(self, transport: Transport) -> None:
        seconds = self._config.timeouts.handshake_s
        with trio.move_on_after(seconds) as scope:
            await transport.send(self._hub.start())
            while (event := self._hub.next_event()) is NEED_DATA:
                self._hub.receive_text(await transport.receive())
        if scope.cancelled_caught:
            raise ConnectTimeout(f"{self.name}: no answer to the handshake within {seconds:g} s")
        if isinstance(event, HandshakeFailed):
            raise ConnectError(f"{self.name}: the hub refused the handshake: {event.error}")
        if not isinstance(event, Handshaken):
            raise ProtocolError(f"{self.name}: no handshake was answered")

    async def _write(self, transport: Transport) -> None:
        while True:
            text: str | None = None
            with trio.move_on_after(self._config.timeouts.keep_alive_s):
                text = await self._to_send.receive()
            await transport.send(self._hub.ping() if text is None else text)

    async def _probe(self, transport: Transport) -> None:
        seconds = self._config.timeouts.probe_s
        while True:
            try:
                self.round_trip_s = await transport.ping(seconds)
            except trio.TooSlowError:
                # Pongs are no sign of life on this wire (FAULTS.md row 17): the hub's own records are.
                self.round_trip_s = None
            await trio.sleep(seconds)

    async def _read(self, transport: Transport) -> None:
        server_s = self._config.timeouts.server_s
        with trio.CancelScope() as silence:
            await self._drain()
            while True:
                silence.deadline = trio.current_time() + server_s
                text = await transport.receive()
                # What we wait for below is not the server's silence.
                silence.deadline = math.inf
                await self._take(text, self._config.wall_clock())
        if silence.cancelled_caught:
            raise ConnectionLost(f"{self.name}: no record for {server_s:g} s (not even a ping)")

    async def _take(self, text: str, ts_recv: int) -> None:
        self.counts.texts += 1
        if self._hub.is_bulk(text):
            decoded = self._decoder.bulk(text)
            if decoded is not None:
                self.counts.bulk_texts += 1
                self._hub.bulk_received(decoded.records)
                await self._deliver(decoded, ts_recv)
                return
        self._hub.receive_text(text)
        await self._drain()

    async def _drain(self) -> None:
        while (event := self._hub.next_event()) is not NEED_DATA:
            await self._handle(event)

    async def _handle(self, event: Event) -> None:
        match event:
            case InvocationReceived():
                await self._invoked(event)
            case CallCompleted() | CallFailed():
                self._calls.settle(event)
            case CloseReceived(error=error, allow_reconnect=allowed):
                again = "" if allowed else ", and asked not to come back"
                raise ConnectionLost(f"{self.name}: the hub closed the connection{again}: {error or 'no reason given'}")
            case ConnectionFailed(reason=reason):
                raise ConnectionLost(f"{self.name}: the hub broke the protocol: {reason}")
            case Malformed(reason=reason):
                self._count_malformed(reason)
            case _:
                pass

    async def _invoked(self, event: InvocationReceived) -> None:
        invocation = event.invocation
        if invocation.invocation_id is not None:
            self._post(self._hub.complete(invocation.invocation_id))
        decoded = self._decoder.invocation(invocation.target, invocation.arguments)
        await self._deliver(decoded, self._config.wall_clock())

    def _count_malformed(self, reason: str) -> None:
        self.counts.malformed += 1
        now = trio.current_time()
        if now - self._malformed_since > 60:
            self._malformed_since, self._malformed_recently = now, 0
            _log.warning("%s: a record could not be read and was left out: %s", self.name, reason)
        self._malformed_recently += 1
        most = self._config.limits.malformed_per_minute
        if self._malformed_recently > most:
            raise ConnectionLost(f"{self.name}: more than {most} unreadable records in a minute, the last: {reason}")

    async def _say_goodbye(self, transport: Transport) -> None:
        """Send Close, as the official clients do; the transport's own close follows, bounded."""
        if transport.closed is None and self._hub.state is ConnectionState.CONNECTED:
            with trio.move_on_after(1, shield=True):
                try:
                    await transport.send(self._hub.close())
                except TransportClosed:
                    pass
