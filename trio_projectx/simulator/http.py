"""The HTTP/1.1 side of a connection: requests in, answers out, until it becomes a WebSocket or ends.

h11 does the protocol; nothing a client sends gets past it unbounded (head 64 KiB, body 64 KiB), and each step
has a deadline, so a client can neither crash the simulator nor make it hold anything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import msgspec
import trio

from trio_projectx._logs import fields
from trio_projectx.simulator.identity import Identity

_log = logging.getLogger("trio_projectx")

HEAD_BYTES: Final = 64 * 1024
BODY_BYTES: Final = 64 * 1024
#: The whole next request has to be there after this long (Kestrel: 130 s idle, 30 s for the head).
REQUEST_S: Final = 60.0
SEND_S: Final = 10.0
_READ_BYTES: Final = 64 * 1024

JsonBody: TypeAlias = (
    "bool | int | float | str | list[JsonBody] | dict[str, JsonBody] | msgspec.Struct | None"
)


@attrs.frozen(slots=True)
class Request:
    """One request. ``path`` (no trailing slash) and names are in lower case: ASP.NET ignores their case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@attrs.frozen(slots=True)
class Response:
    """One answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    chunks: Callable[[], Iterator[bytes]] | None = None
    """Instead of ``body``: what is sent piece by piece, when its length is not known or too long to hold."""


@attrs.frozen(slots=True)
class Upgrade:
    """The answer that ends HTTP on this connection: it becomes the WebSocket of a hub."""

    key: str
    """Of the request's Sec-WebSocket-Key."""
    identity: Identity
    ticket: str | None
    """The id that negotiate gave out, if there was one."""
    expires_ns: int = 0
    """When the token that let it in ends, by the wall clock."""
    may_resume: bool = False
    """Whether negotiate granted stateful reconnect."""


@attrs.frozen(slots=True)
class Raw:
    """Bytes instead of an answer; then the connection is closed, or (``hangs``) left as it is."""

    chunks: Callable[[], Iterator[bytes]]
    hangs: bool = False


@attrs.frozen(slots=True)
class Rework:
    """The right answer, but to another question, and changed: ``request`` is what is answered instead."""

    request: Request
    change: Callable[[Response], Response]


Answer: TypeAlias = "Callable[[Request], Response | Upgrade | Awaitable[Response]]"
Meddle: TypeAlias = "Callable[[Request], Awaitable[Response | Raw | Rework | None]]"
"""Asked before `Answer`; what it returns, if not None, is the answer, or what is done to it."""


def json_response(body: JsonBody, status: int = 200) -> Response:
    """Return ``body`` as an answer in JSON."""
    return Response(status, msgspec.json.encode(body), "application/json; charset=utf-8")


_TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Payload Too Large",
    500: "Internal Server Error",
}


def problem(status: int, detail: str) -> Response:
    """Return an error in the form of ASP.NET (ProblemDetails, GATEWAY.md 1)."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return Response(status, msgspec.json.encode(body), "application/problem+json; charset=utf-8")


class Conversation:
    """HTTP on one stream; `run` it once."""

    def __init__(self, stream: trio.abc.Stream, answer: Answer, meddle: Meddle | None = None) -> None:
        self._stream = stream
        self._answer = answer
        self._meddle = meddle
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def run(self) -> tuple[Upgrade, bytes] | None:
        """Answer requests until the connection ends (None), or becomes a WebSocket.

        Then the answer that made it one is returned, with the bytes that were read beyond the request.
        """
        try:
            return await self._run()
        except h11.RemoteProtocolError as exc:
            await self._refuse(exc.error_status_hint)
        except (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            trio.TooSlowError,
            h11.LocalProtocolError,
        ):
            pass
        return None

    async def _run(self) -> tuple[Upgrade, bytes] | None:
        while True:
            with trio.fail_after(REQUEST_S):
                request = await self._next_request()
            if request is None:
                return None
            reply = await self._meddled(request) or await self._reply(request)
            if isinstance(reply, Rework):
                reply = await self._reworked(reply)
            if isinstance(reply, Upgrade):
                return reply, self._wire.trailing_data[0]
            if isinstance(reply, Raw):
                await self._send_raw(reply)
                return None
            await self._send(reply)
            if self._wire.our_state is not h11.DONE or self._wire.their_state is not h11.DONE:
                return None
            self._wire.start_next_cycle()

    async def _reworked(self, rework: Rework) -> Response | Upgrade:
        reply = await self._reply(rework.request)
        return rework.change(reply) if isinstance(reply, Response) else reply

    async def _meddled(self, request: Request | Response) -> Response | Raw | Rework | None:
        if self._meddle is None or isinstance(request, Response):
            return None
        return await self._meddle(request)

    async def _send_raw(self, reply: Raw) -> None:
        for chunk in reply.chunks():
            with trio.fail_after(SEND_S):
                await self._stream.send_all(chunk)
        while reply.hangs and await self._stream.receive_some(_READ_BYTES):
            pass

    async def _reply(self, request: Request | Response) -> Response | Upgrade:
        if isinstance(request, Response):
            return request
        try:
            answer = self._answer(request)
            return answer if isinstance(answer, Response | Upgrade) else await answer
        except Exception:  # noqa: BLE001 -- a bug in a route is this request's 500, and is told in the log
            _log.exception(
                "the simulator failed to answer %s %s",
                request.method,
                request.path,
                extra=fields("simulator_failed"),
            )
            return problem(500, "the simulator failed; its log says why")

    async def _next_request(self) -> Request | Response | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        if self._wire.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.send_all(self._wire.send(go_on) or b"")
        body = bytearray()
        while isinstance(data := await self._next_event(), h11.Data):
            body += data.data
            if len(body) > BODY_BYTES:
                return problem(413, f"the simulator takes bodies of up to {BODY_BYTES} bytes")
        return None if isinstance(data, h11.ConnectionClosed) else _request(head, bytes(body))

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            event = self._wire.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._wire.receive_data(bytes(await self._stream.receive_some(_READ_BYTES)))

    async def _send(self, reply: Response) -> None:
        length = ("Content-Length", str(len(reply.body)))
        headers = [
            ("Content-Type", reply.content_type),
            length if reply.chunks is None else ("Transfer-Encoding", "chunked"),
            ("Server", "trio_projectx-simulator"),
            *reply.headers,
        ]
        status_line = h11.Response(status_code=reply.status, headers=headers, reason=_phrase(reply.status))
        head = self._wire.send(status_line) or b""
        for chunk in (reply.body,) if reply.chunks is None else reply.chunks():
            await self._send_bytes(head + (self._wire.send(h11.Data(data=chunk)) or b""))
            head = b""
        await self._send_bytes(head + (self._wire.send(h11.EndOfMessage()) or b""))

    async def _send_bytes(self, data: bytes) -> None:
        if data:
            with trio.fail_after(SEND_S):
                await self._stream.send_all(data)

    async def _refuse(self, status: int) -> None:
        if self._wire.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            await self._send(problem(status, "this is not HTTP"))


def _request(head: h11.Request, body: bytes) -> Request | Response:
    try:
        parts = urlsplit(head.target.decode("ascii"))
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return problem(400, "the request's target is not a URL")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
    path = parts.path.lower().rstrip("/") or "/"
    query = {name.lower(): value for name, value in pairs}
    return Request(head.method.decode("latin-1"), path, query, headers, body)


def _phrase(status: int) -> str:
    """Return the reason of the status line, which clients show; a status that nobody has named has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
