"""Faults of requests: other answers than the right one. Name to function; see `catalogue`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.wire import noise
from trio_projectx.simulator.http import JsonBody, Raw, Request, Response, json_response

Answer: TypeAlias = Callable[[Armed, Request], Response | Raw]

_JSON: Final = "application/json; charset=utf-8"
_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"
)
_PIECE: Final = 64 * 1024
#: Every field that an answer of any route has to have, and none of its type.
_TYPES: Final = msgspec.json.encode(
    {
        "token": 7, "newToken": [], "success": "true", "errorCode": "0", "errorMessage": 5, "contracts": {"a": 1},
        "contract": [], "accounts": "none", "bars": 3, "orders": False, "positions": 1.5, "trades": "x",
        "negotiateVersion": "1", "connectionId": 5, "connectionToken": {}, "availableTransports": "WebSockets",
    }
)  # fmt: skip


def _status(armed: Armed, _: Request) -> Response:
    fault = armed.fault
    headers = () if fault.retry_after_s is None else (("Retry-After", str(fault.retry_after_s)),)
    if fault.status == 401:
        headers = (*headers, ("WWW-Authenticate", "Bearer"))
    return Response(fault.status, fault.body.encode(), headers=headers)


def _body(armed: Armed, request: Request) -> Response | Raw:
    return _BODIES[armed.fault.chosen_kind](armed, request)


def _head(size: int) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {_JSON}\r\nContent-Length: {size}\r\nServer: trio_projectx-simulator\r\n\r\n"
    ).encode()


def _huge(armed: Armed, _: Request) -> Raw:
    def chunks() -> Iterator[bytes]:
        size = armed.fault.size_bytes
        yield _head(size)
        for at in range(0, size, _PIECE):
            yield b" " * min(_PIECE, size - at)

    return Raw(chunks)


def _declared(armed: Armed, _: Request) -> Raw:
    del armed
    return Raw(lambda: iter((_head(1 << 40), b'{"success":')), hangs=True)


def _truncated(armed: Armed, _: Request) -> Raw:
    del armed
    return Raw(lambda: iter((_head(1000), b'{"success":true,')))


def _redirect(armed: Armed, request: Request) -> Response:
    if request.path.endswith("/negotiate"):
        body = msgspec.json.encode(
            {"negotiateVersion": 1, "url": armed.fault.url, "accessToken": "simulated"}
        )
        return Response(200, body, _JSON)
    return Response(307, headers=(("Location", armed.fault.url),))


_BODIES: Final[Mapping[str, Answer]] = MappingProxyType(
    {
        "garbage": lambda armed, _: Response(200, noise(armed), _JSON),
        "html": lambda armed, _: Response(200, _HTML, "text/html"),
        "empty": lambda armed, _: Response(200, b"", _JSON),
        "types": lambda armed, _: Response(200, _TYPES, _JSON),
        "array": lambda armed, _: Response(200, b"[1,2,3]", _JSON),
        "truncated": _truncated,
        "declared": _declared,
        "huge": _huge,
        "redirect": _redirect,
    }
)

#: What an answer holds beside its envelope, by the end of the path; it is null in a refusal.
_PAYLOADS: Final = {
    "auth/loginkey": "token", "auth/loginapp": "token", "auth/validate": "newToken",
    "account/search": "accounts", "contract/search": "contracts", "contract/available": "contracts",
    "contract/searchbyid": "contract", "history/retrievebars": "bars", "order/place": "orderId",
}  # fmt: skip


def _refused(armed: Armed, request: Request) -> Response:
    fault = armed.fault
    payload = _PAYLOADS.get(request.path.removeprefix("/api/"))
    body: dict[str, JsonBody] = {} if payload is None else {payload: None}
    told: dict[str, JsonBody] = {"errorCode": fault.error_code, "errorMessage": fault.error or None}
    return json_response({**body, "success": False, **told})


REQUESTS: Final[Mapping[str, Answer]] = MappingProxyType(
    {"http_status": _status, "http_body": _body, "http_refused": _refused}
)
"""``hang`` at a request is not here: `engine` then waits instead of answering."""
