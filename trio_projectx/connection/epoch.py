"""One connection of one hub, from the first byte to its loss: an epoch. Nothing brings an epoch back.

Tasks: the one that runs `Epoch.run` reads, and it alone ends the epoch, once everything that came has been read; a
writer is the only one that sends records, and pings the hub when there is nothing else to send; a probe measures the
round trip. The last two live in a nursery that `run` owns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Final, Generic

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
from trio_projectx.connection.auth import TokenRefused, TokenSource
from trio_projectx.connection.calls import Call, PendingCalls
from trio_projectx.connection.counts import EpochCounts as EpochCounts
from trio_projectx.connection.endings import HandshakeRefused, HubClosed, LoggedOut, NoSuchHub
from trio_projectx.connection.liveness import Liveness
from trio_projectx.connection.malformed import MalformedLimit
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.connection.transport import Transport, TransportClosed, UpgradeRefused, open_transport
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.subscriptions import D, Sink
from trio_projectx.signalr import (
    NEED_DATA,
    CallCompleted,
    CallFailed,
    CloseReceived,
    ConnectionFailed,
    ConnectionState,
    Event,
    HandshakeFailed,
    Handshaken,
    HubConnection,
    Ignored,
    Invocation,
    InvocationReceived,
    JsonValue,
    Malformed,
)

#: Records that wait to be sent. They are subscriptions and pings: few, and small.
_OUTBOX: Final = 4096
#: How long the Close record may take when an epoch is left; the transport's own close comes after it.
_FAREWELL_S: Final = 0.4


class Epoch(Generic[D]):
    """One connection; make it, then let a task run `run`.

    ``number`` is used once; ``on_change`` is called when the epoch is live, and when it is over; ``on_proof`` when a
    ping was answered; ``on_text``, before its data are passed on, with what was read: number, text, our clock, trio's.
    """

    def __init__(
        self,
        name: str,
        number: int,
        address: HubAddress,
        tokens: TokenSource,
        config: GatewayConfig,
        sink: Sink[D],
        counts: EpochCounts | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_proof: Callable[[], None] = lambda: None,
        on_text: Callable[[int, str, int, float], None] = lambda epoch, text, ts_recv, now: None,
    ) -> None:
        self.name = name
        self.number = number
        self._address = address
        self._tokens = tokens
        self._config = config
        self._sink = sink
        self._on_change = on_change
        self._on_text = on_text
        self._text = ""  # what was read and is not handled yet
        self._hub = HubConnection(malformed="count", record_limit=config.limits.record_bytes)
        self._calls = PendingCalls(tokens.hide)
        self._outbox, self._to_send = trio.open_memory_channel[str](_OUTBOX)
        self._malformed = MalformedLimit(name, config.limits.malformed_per_minute)
        self._mute = False  # the writer has met the end of the connection; the reader meets it in its turn
        self.why_mute: ConnectionLost | None = None
        """What the writer has met; the reader, held back by a stream that blocks, may be long in coming to it."""
        self._killed: TrioProjectXError | None = None
        self._scope = trio.CancelScope()
        self._transport: Transport | None = None
        self.liveness = Liveness(name, config.timeouts, on_proof=on_proof, on_silence=self.fail)
        self.counts = counts or EpochCounts()
        self.token_generation = -1
        """Which of the source's tokens this connection was opened with."""
        self.settled = trio.Event()
        """Set when the epoch is live, or has failed to become so."""
        self.over = trio.Event()
        """Set when the epoch has ended; closing its connection may take some seconds from then on."""
        self.error: TrioProjectXError | None = None
        """Why it has ended; None while it lives, and where it was left."""

    @property
    def live(self) -> bool:
        """Whether the hub has answered the handshake and can be spoken to.

        It ends with the connection, although what came before may still wait to be read.
        """
        return self._hub.state is ConnectionState.CONNECTED and not self._mute

    async def run(self) -> None:
        """Connect, and read until the connection is lost; `error` then says why. Raises only what is a bug.

        `error` is a `ConnectionLost` if the epoch had been live. It is there, and `over` is set, before the
        connection is closed: a peer that is silent would otherwise keep everybody waiting. `stop`, and cancellation,
        end the epoch without an error; the closing is shielded and takes ``close_s`` and 0.4 s at most.
        """
        try:
            with self._scope:
                async with AsyncExitStack() as stack:
                    await self._run(stack)
        finally:
            self.fail_calls()

    def stop(self) -> None:
        """Leave: send Close, and close, in the task that runs `run`."""
        self._scope.cancel(reason="the epoch was left")

    def fail(self, error: TrioProjectXError) -> None:
        """End it for a reason that only somebody else can see."""
        if self.error is None and self._killed is None:
            self._killed = error
            self.stop()

    async def _run(self, stack: AsyncExitStack) -> None:
        try:
            self._transport = await self._open(stack)
            await self._handshake(self._transport)
            await self._serve(self._transport)
        except TrioProjectXError as exc:
            self._fail(exc)
        finally:
            farewell = self._end()
            if self._transport is not None and farewell is not None:
                await _say(self._transport, farewell)  # noqa: ASYNC102  it shields and bounds itself

    def fail_calls(self) -> None:
        """Fail what waits for an answer; for the owner of an epoch that is `over`, as `run` does it late."""
        reason = str(self.error or f"{self.name}: the connection was left")
        self._calls.fail_all(ConnectionLost(reason))

    def invoke(self, target: str, *arguments: JsonValue, then: Callable[[], None] | None = None) -> Call:
        """Send a call; await its `Call.wait` for the outcome, or be called ``then``.

        :raises ConnectionLost: if this epoch is not live, or its writer is hopelessly behind.
        """
        if not self.live:
            raise ConnectionLost(f"{self.name}: not connected: {self.error or 'not yet'}")
        invocation_id, text = self._hub.invoke(target, *arguments)
        self._post(text)
        return self._calls.add(invocation_id, target, then)

    def _post(self, text: str) -> None:
        try:
            self._outbox.send_nowait(text)
        except trio.WouldBlock:
            raise ConnectionLost(
                f"{self.name}: {_OUTBOX} records wait to be sent; the hub takes none"
            ) from None

    def _fail(self, error: TrioProjectXError) -> None:
        was_live = self.settled.is_set()
        if isinstance(error, TransportClosed) and not was_live:
            failure: TrioProjectXError = ConnectError(
                f"{self.name}: the connection ended before it was ready: {error}"
            )
        elif was_live and not isinstance(error, ConnectionLost):
            failure = ConnectionLost(f"{self.name}: connection lost: {error}")
        else:
            failure = error
        if failure is not error:
            failure.__cause__ = error
        self.error = self._tokens.cleaned(failure)

    def _end(self) -> str | None:
        """End, and return the Close record to leave with if there is a hub to read it (official clients do so)."""
        if self._killed is not None and self.error is None:
            self._fail(self._killed)
        farewell = self._hub.close() if self.live else None
        self._hub.lost("the epoch is over")
        self.settled.set()
        self.over.set()
        self._on_change()
        return farewell

    # -- to become live

    async def _open(self, stack: AsyncExitStack) -> Transport:
        """Open the transport for as long as ``stack`` stands."""

        async def open_with(token: str) -> Transport:
            self.token_generation = self._tokens.generation
            return await self._open_with(token, stack)

        return await self._tokens.using(open_with)

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
            tasks=self.counts.tasks,
        )
        try:
            return await stack.enter_async_context(opening)
        except UpgradeRefused as exc:
            refused = self._refused(exc)
            if refused is None:
                raise
            raise refused from exc

    def _refused(self, exc: UpgradeRefused) -> TrioProjectXError | None:
        match exc.status:
            case 401:
                return TokenRefused(f"{self.name}: the hub refused the token (HTTP 401)")
            case 403:
                return AuthError(
                    f"{self.name}: the hub forbids this user (HTTP 403): {exc.text or 'no text'}"
                )
            case 404:
                return NoSuchHub(
                    f"{self.name}: there is no hub at this address (HTTP 404); check the hub's URL"
                )
            case _:
                return None

    async def _handshake(self, transport: Transport) -> None:
        seconds = self._config.timeouts.handshake_s
        with trio.move_on_after(seconds):
            await transport.send(self._hub.start())
            while (event := self._hub.next_event()) is NEED_DATA:
                self._text += (text := await transport.receive())
                self._hub.receive_text(text)
            self._text = self._text.partition("\x1e")[2]
            if isinstance(event, HandshakeFailed) and event.text is not None:
                raise HandshakeRefused(
                    f"{self.name}: the hub refused the handshake: {event.error}", event.text
                )
            if not isinstance(event, Handshaken):
                why = event.error if isinstance(event, HandshakeFailed) else "something else came"
                raise ProtocolError(f"{self.name}: the handshake was not answered: {why}")
            return
        raise ConnectTimeout(f"{self.name}: no answer to the handshake within {seconds:g} s")

    async def _serve(self, transport: Transport) -> None:
        # Before anybody else can send: the server counts our silence from the first ping on.
        self._post(self._hub.ping())
        self.liveness.begin()
        self.settled.set()
        self._on_change()
        async with open_background_tasks(self.name, self.counts.tasks) as tasks:
            tasks.start_soon(self._write, transport)
            tasks.start_soon(self.liveness.probe, transport)
            await self._read(transport)

    # -- the two helpers; the end of the connection ends them, and the reader tells

    async def _write(self, transport: Transport) -> None:
        try:
            while True:
                text: str | None = None
                with trio.move_on_after(self._config.timeouts.keep_alive_s):
                    text = await self._to_send.receive()
                await transport.send(self._hub.ping() if text is None else text)
        except TransportClosed as exc:
            why = self._tokens.hide(f"{self.name}: connection lost: {exc}")
            self._mute, self.why_mute = True, ConnectionLost(why)
            self._on_change()

    # -- reading

    async def _read(self, transport: Transport) -> None:
        await self._drain(self._config.wall_clock())  # what came with the answer to the handshake
        while True:
            text = await self.liveness.receive(transport)
            await self._take(text, self._config.wall_clock())

    async def _take(self, text: str, ts_recv: int) -> None:
        self.counts.texts += 1
        self.counts.text_rate.add(len(text), self.liveness.record_at)
        self._text = text
        if self._hub.is_bulk(text):
            found = self._sink.bulk(text)
            if found is not None:
                self._show_text(ts_recv)
                self.counts.bulk_texts += 1
                self._hub.bulk_received(found.records)
                await self._deliver(found, ts_recv)
                return
        self._hub.receive_text(text)
        await self._drain(ts_recv)

    async def _drain(self, ts_recv: int) -> None:
        """Handle what the hub connection holds; what came together goes on together, also before an end."""
        found: list[D] = []
        ending: ConnectionLost | None = None
        try:
            while (event := self._hub.next_event()) is not NEED_DATA:
                self._handle(event, found)
        except ConnectionLost as exc:
            ending = exc
        self._show_text(ts_recv)
        if found:
            await self._deliver(self._sink.combined(found), ts_recv)
        if ending is not None:
            raise ending

    def _show_text(self, ts_recv: int) -> None:
        """Show what was read: behind what it has told of lines, before its data."""
        text, self._text = self._text, ""
        self._on_text(self.number, text, ts_recv, self.liveness.record_at)

    async def _deliver(self, found: D, ts_recv: int) -> None:
        self.counts.records += found.records
        self.counts.record_rate.add(found.records, self.liveness.record_at)
        self.liveness.is_held_back, began = True, trio.current_time()
        await self._sink.deliver(found, ts_recv, self.number, self.liveness.record_at)
        self.liveness.delivered(began)
        if found.logouts:
            raise LoggedOut(f"{self.name}: the service says that this session was logged out")

    def _handle(self, event: Event, found: list[D]) -> None:
        match event:
            case InvocationReceived(invocation=invocation):
                found.append(self._sink.invocation(invocation.target, invocation.arguments))
                self._answer(invocation)
            case CallCompleted() | CallFailed():
                # Data found before it in the same text is passed on after it, and is not later than it.
                self._calls.settle(event, self._sink.serial + bool(found))
            case CloseReceived(error=error, allow_reconnect=allowed):
                again = "" if allowed else ", and asked not to come back"
                why = error or "no reason given"
                text = f"{self.name}: the hub closed the connection{again}: {why}"
                raise HubClosed(text, allowed, error or "")
            case ConnectionFailed(reason=reason):
                text = f"{self.name}: the hub broke the protocol: {reason}"
                raise ConnectionLost(text) from ProtocolError(reason)
            case Malformed(reason=reason):
                self.counts.malformed += 1
                self._malformed.note(self._tokens.hide(reason), self.counts.malformed)
            case Ignored():
                self.counts.ignored += 1
            case _:
                pass

    def _answer(self, invocation: Invocation) -> None:
        """Answer a call that wants a result with an error: nobody here has one, and the server waits for it."""
        if invocation.invocation_id is not None and not self._mute:
            self._post(self._hub.complete(invocation.invocation_id))


async def _say(transport: Transport, farewell: str) -> None:
    with trio.move_on_after(_FAREWELL_S, shield=True), suppress(TransportClosed):
        if transport.closed is None:
            await transport.send(farewell)
