"""The WebSocket under a hub: texts out, texts in, one end. The client's only importer of trio_websocket.

What trio-websocket leaves open is closed here, each by one thing:

- it waits for ever when TCP ends before the upgrade is answered: `JoiningStream` tells, and a deadline stands
  above;
- a cancelled send leaves half a frame on the wire: `JoiningStream.send_all` then closes the connection;
- ``aclose()`` has no limit: it runs under ``close_s``, shielded, and the stream is closed whatever came of it;
- after a protocol error, or a message above the limit, it neither closes the stream nor stops piling up what
  comes: the stream then reads as ended, and is closed when its reader has ended;
- a crash of its reader would cancel the block it was opened in: it ends the transport instead;
- a refused upgrade's body is unbounded, and an answer without a length never ends: the answer is read here;
- it reads 4 KiB at once and pays 13 us per message: `JoiningStream` reads 64 KiB and joins texts.

One hazard stays, and is wanted: while ``_QUEUE`` messages wait to be received, nothing is read from the
socket, so that TCP holds the server back. Then its pings are not answered either, nor ours. A hub's server
sends none (SIGNALR.md section 3), and whoever blocks the hub for longer than the server allows is
disconnected by it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, cast

import attrs
import trio
import trio_websocket
from trio.abc import Stream

from trio_projectx._config import Connect
from trio_projectx._errors import ConnectError, ConnectTimeout, ProtocolError, TrioProjectXError
from trio_projectx._redact import escape, install_redaction
from trio_projectx.connection.joining import JOIN_LIMIT, JoiningStream
from trio_projectx.connection.network import close_forcefully, open_network_stream
from trio_projectx.connection.upgrade import Target, UpgradeRefused, check_headers, parse_target, read_refusal
from trio_projectx.flow.background import TaskCounts, open_background_tasks, reraise, without_cancelled

__all__ = ["CloseReason", "Transport", "TransportClosed", "UpgradeRefused", "open_transport"]

_ABNORMAL: Final = 1006
_QUEUE: Final = 2
"""Messages received ahead: one of them is what one read gave (64 KiB), so this is memory, not latency."""
_PINGS: Final = 256
"""Pings that may be unanswered at once, so that a peer which answers none costs no memory without end."""


@attrs.frozen(slots=True)
class CloseReason:
    """Why a transport ended: a close code (1006: without a Close frame) and a text, escaped and capped."""

    code: int
    reason: str


class TransportClosed(TrioProjectXError):
    """The connection has ended, by either side; ``code`` and ``reason`` as in `CloseReason`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the WebSocket has ended: {self.code}{f' ({self.reason})' if self.reason else ''}"


class Transport:
    """One live WebSocket; made by `open_transport`."""

    def __init__(self, connection: _Connection, websocket: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection
        self._websocket = websocket
        self._pings = 0

    @property
    def closed(self) -> CloseReason | None:
        """Why the connection has ended, or None while it lives."""
        return self._connection.closed

    @property
    def bytes_in(self) -> int:
        """Bytes read, those of the upgrade's answer included."""
        return self._connection.stream.bytes_in

    @property
    def read_at(self) -> float:
        """When bytes were read last (trio's clock)."""
        return self._connection.stream.read_at

    @property
    def bytes_out(self) -> int:
        """Bytes sent, those of the upgrade's request included."""
        return self._connection.stream.bytes_out

    @property
    def frames_in(self) -> int:
        """WebSocket frames received."""
        return self._connection.stream.frames_in

    @property
    def frames_out(self) -> int:
        """WebSocket frames left of ``frames_in`` after neighbouring texts were joined."""
        return self._connection.stream.frames_out

    @property
    def is_within_message(self) -> bool:
        """Whether a message is coming in and is not whole yet."""
        return self._connection.stream.is_within_message

    async def receive(self) -> str:
        """Return the next text; one text may hold what came as several, in order, whole.

        What came before the end is returned before the end is raised. Cancellation loses nothing. A binary
        message is taken for its UTF-8 text.

        :raises TransportClosed: the connection has ended.
        :raises ProtocolError: a binary message is not UTF-8.
        """
        try:
            message = await self._websocket.get_message()
        except trio_websocket.ConnectionClosed:
            raise await self._connection.ending() from self._connection.cause
        if isinstance(message, str):
            return message
        try:
            return message.decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"a binary message of {len(message)} bytes is not UTF-8") from None

    async def send(self, text: str) -> None:
        """Send ``text`` as one message; for one task only, which makes the order.

        If it is not taken within ``send_s`` seconds, or is cancelled half-way, the connection is closed.

        :raises TransportClosed: the connection has ended, or the text was not taken in time.
        """
        self._connection.send_due = trio.current_time() + self._connection.send_s
        with trio.move_on_at(self._connection.send_due):
            try:
                await self._websocket.send_message(text)
            except trio_websocket.ConnectionClosed:
                raise await self._connection.ending() from self._connection.cause
            self._connection.send_due = math.inf
            return
        await self._connection.abort(self._connection.took_nothing)
        raise await self._connection.ending()

    async def ping(self, timeout_s: float) -> float:
        """Send a WebSocket ping; return the seconds until its pong.

        It measures the way to the server and back, and how long received messages wait here to be taken.

        :raises trio.TooSlowError: no pong within ``timeout_s``; the connection goes on.
        :raises TransportClosed: the connection has ended.
        """
        self._pings += 1
        started = trio.current_time()
        with trio.move_on_after(timeout_s) as scope, self._connection.ending_cancels(scope):
            try:
                await self._websocket.ping((self._pings % _PINGS).to_bytes(2, "big"))
            except trio_websocket.ConnectionClosed:
                raise await self._connection.ending() from self._connection.cause
            except ValueError:
                raise trio.TooSlowError(f"the last {_PINGS - 1} pings have no pong") from None
            return trio.current_time() - started
        if self.closed is not None:
            raise await self._connection.ending() from self._connection.cause
        raise trio.TooSlowError(f"no pong within {timeout_s:g} s")


class _Connection:
    """The life of one connection: the task that runs trio-websocket's reader, the opening, the end."""

    def __init__(self, stream: Stream, target: Target, max_message_bytes: int, send_s: float) -> None:
        self.stream = JoiningStream(
            stream,
            join_limit=min(JOIN_LIMIT, max_message_bytes),
            on_early_end=self._set_settled,
            deaf=self._is_deaf,
        )
        self.send_s = send_s
        self.send_due = math.inf
        self._target = target
        self._max_message_bytes = max_message_bytes
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._settled = trio.Event()  # opened, or never to be opened
        self._over = trio.Event()  # the reader has ended and the stream is closed
        self._closing = False
        self._failure: Exception | None = None
        self._aborted: CloseReason | None = None
        self._waits: set[trio.CancelScope] = set()
        # Shielded: the closing handshake needs a reader although the block is being cancelled. `close` ends
        # it.
        self._scope = trio.CancelScope(shield=True)

    def _set_settled(self) -> None:
        self._settled.set()

    def _is_deaf(self) -> bool:
        return self._websocket is not None and self._websocket.closed is not None and not self._closing

    async def run(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Run until the connection has ended or `close` is called; then nothing of it is left open."""
        try:
            with self._scope:
                await self._run_reader(headers)
        finally:
            await close_forcefully(self.stream)  # noqa: ASYNC102  it shields itself
            self._over.set()
            self._settled.set()
            for scope in self._waits:
                scope.cancel()

    async def _run_reader(self, headers: list[tuple[bytes, bytes]]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._websocket = await trio_websocket.wrap_client_stream(
                    nursery,
                    cast("trio.SocketStream", self.stream),  # any Stream will do, its docstring says
                    self._target.host_header,
                    self._target.resource,
                    extra_headers=headers,
                    message_queue_size=_QUEUE,
                    max_message_size=self._max_message_bytes,
                    receive_buffer_size=None,
                )
                self._settled.set()
        except BaseException as exc:  # noqa: BLE001, ASYNC103  its reader's death ends the transport, not the block
            self._failure = _failure_in(exc)

    async def wait_open(self, deadline: float, connect_s: float) -> Transport:
        """Wait until the server has said 101.

        :raises ConnectError: of the kind that fits what came instead.
        """
        with trio.move_on_at(deadline):
            await self._settled.wait()
        if self._websocket is not None:
            return Transport(self, self._websocket)
        error = self._why_not_open(connect_s)
        # trio-websocket's own exception for a refusal prints all the server sent, unescaped.
        raise error from None if isinstance(error, UpgradeRefused) else self.cause

    def _why_not_open(self, connect_s: float) -> ConnectError:
        where, answer = self._target.where, bytes(self.stream.answer)
        if self.stream.upgraded and self._failure is not None:
            why = escape(str(_root(self._failure)))
            return ConnectError(f"{where} said 101, but not as a WebSocket server does: {why}")
        refusal = read_refusal(answer, where)
        if refusal is not None:
            return refusal
        if answer and not answer.startswith(b"HTTP/1."[: len(answer)]):
            text = escape(answer.decode("latin-1"))
            return ConnectError(f"{where} does not speak HTTP; it sent {text!r}")
        if not self._settled.is_set():
            return ConnectTimeout(f"{where} did not answer the WebSocket upgrade within {connect_s:g} s")
        if self._failure is not None:
            return ConnectError(f"the WebSocket upgrade at {where} failed: {escape(str(self._failure))}")
        return ConnectError(f"{where} hung up before it had answered the WebSocket upgrade")

    async def close(self, close_s: float) -> None:
        """Close with the closing handshake if there is somebody to shake hands with; then end the reader."""
        if self.closed is None and self._websocket is not None:
            self._closing = True
            with trio.move_on_after(close_s, shield=True) as scope, self.ending_cancels(scope):
                await self._websocket.aclose()
        self._scope.cancel()

    async def abort(self, reason: str) -> None:
        """Close the stream at once, and let ``reason`` be why, unless the other side said why before."""
        # A send that is cut off closes the stream itself, and its reader may be quicker to see that than we.
        if self.closed is None or self.closed.code == _ABNORMAL:
            self._aborted = CloseReason(_ABNORMAL, reason)
        await close_forcefully(self.stream)

    @property
    def closed(self) -> CloseReason | None:
        """Why the connection has ended, or None while it lives."""
        if self._aborted is not None:
            return self._aborted
        reason = self._websocket.closed if self._websocket is not None else None
        if reason is not None and reason.code != _ABNORMAL:
            return CloseReason(reason.code, escape(reason.reason or ""))
        if reason is not None or self._over.is_set():
            return CloseReason(_ABNORMAL, self._how_it_broke())
        return None

    @property
    def took_nothing(self) -> str:
        """Why a connection ended whose peer let a send time out."""
        return f"the other side took nothing for {self.send_s:g} s"

    @property
    def cause(self) -> Exception | None:
        """The exception of a library below that ended the connection, if one did."""
        return self._failure or self.stream.error

    def _how_it_broke(self) -> str:
        if self._failure is not None:
            return escape(f"trio-websocket failed: {self._failure!r}")
        if trio.current_time() >= self.send_due:
            return (
                self.took_nothing
            )  # the send is being cut off right now, and a reader was quicker to see it
        if self.stream.error is not None:
            return escape(f"the connection broke: {self.stream.error}")
        return "the other side hung up without a Close frame"

    async def ending(self) -> TransportClosed:
        """Return the end as a new exception, once trio-websocket has let go of it."""
        if self.closed is None:
            await self._over.wait()  # no deadline: nothing but cleanup is left to do in `run`
        closed = self.closed or CloseReason(_ABNORMAL, "")
        return TransportClosed(closed.code, closed.reason)

    @contextmanager
    def ending_cancels(self, scope: trio.CancelScope) -> Generator[None]:
        """Cancel ``scope`` when the connection ends: trio-websocket forgets those who wait for a pong."""
        self._waits.add(scope)
        try:
            yield
        finally:
            self._waits.discard(scope)


@asynccontextmanager
async def open_transport(
    url: str,
    *,
    connect: Connect | None,
    headers: Sequence[tuple[bytes, bytes]],
    connect_s: float,
    send_s: float,
    close_s: float,
    max_message_bytes: int,
    tasks: TaskCounts | None = None,
) -> AsyncGenerator[Transport]:
    """Open a WebSocket at ``url`` (http, https, ws or wss; its query is sent, and printed nowhere).

    ``connect`` opens the byte stream (None: `open_network_stream`); ``headers`` go with the upgrade request.
    TCP, TLS and upgrade together take ``connect_s`` seconds at most; each send ``send_s``. Leaving the block,
    for whatever reason, sends a Close frame and awaits the other side's for ``close_s`` seconds at most,
    shielded from cancellation; then no task is left and the stream is closed. Exceptions of the block come
    out as they are; the connection's end cancels no block, `Transport.receive` and `Transport.send` raise it.
    A received message of more than ``max_message_bytes`` characters ends the connection with 1009. Its task is one of
    those that ``tasks`` counts.

    :raises ConnectTimeout: ``connect_s`` is over.
    :raises UpgradeRefused: the server answered with another HTTP status than 101.
    :raises ConnectError: no way to the host, bad TLS, or an answer that is no WebSocket server's.
    :raises ConfigError: ``url`` or ``headers`` cannot be sent.
    """
    target = parse_target(url)
    sent = check_headers(headers)
    install_redaction()
    deadline = trio.current_time() + connect_s
    stream = await _connect(target, connect or open_network_stream, deadline, connect_s)
    try:
        connection = _Connection(stream, target, max_message_bytes, send_s)
        async with open_background_tasks("connection", tasks) as background:
            background.start_soon(connection.run, sent)
            try:
                yield await connection.wait_open(deadline, connect_s)
            finally:
                await connection.close(close_s)  # noqa: ASYNC102  it shields and bounds itself
    finally:
        await close_forcefully(stream)  # noqa: ASYNC102  it shields itself


async def _connect(target: Target, connect: Connect, deadline: float, connect_s: float) -> Stream:
    with trio.move_on_at(deadline):
        try:
            return await connect(target.host, target.port, tls=target.tls)
        except OSError as exc:
            raise ConnectError(f"no connection to {target.where}: {escape(str(exc))}") from exc
    raise ConnectTimeout(f"no connection to {target.where} within {connect_s:g} s")


def _root(exc: BaseException) -> BaseException:
    """Return what ``exc`` began with: wsproto says what is wrong, then fails to tell the server so."""
    while exc.__context__ is not None:
        exc = exc.__context__
    return exc


def _failure_in(exc: BaseException) -> Exception:
    """Return the first failure of code in ``exc``; raise what is none (cancellation, Ctrl-C, no memory)."""
    real = without_cancelled(exc)
    while isinstance(real, BaseExceptionGroup):
        real = cast("BaseExceptionGroup[BaseException]", real).exceptions[0]
    if isinstance(real, MemoryError) or not isinstance(real, Exception):
        reraise(real or exc)
    return real
