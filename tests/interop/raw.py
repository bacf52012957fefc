"""A plain WebSocket and plain HTTP, for what no client would send; and what came of it, in comparable form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import attrs
import h11
import trio
from servers import Server
from trio_websocket import ConnectionClosed, wrap_client_stream

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
#: The last call of a script: once it is answered, calls before it are.
MARK = '{"type":1,"invocationId":"end","target":"Add","arguments":[40,2]}\x1e'
_PING = {"type": 6}
_MARKED = {"type": 3, "invocationId": "end", "result": 42}
#: How long to wait for an answer, and for streams that may go on behind the mark.
_QUIET_S = 1.5
_AFTER_S = 0.4


@attrs.frozen(slots=True)
class Transcript:
    """What came back."""

    records: list[Any]
    """Decoded (numbers exactly), in order, without pings and the answer to the mark."""
    lives: bool
    """Whether the mark was answered."""
    code: int | None
    """The close code of the server; None: the WebSocket was still open."""


async def play(server: Server, frames: list[str | bytes], hub: str = "market") -> Transcript:
    """Send ``frames`` one by one on a new WebSocket; listen until the mark, the end, or a long quiet."""
    headers = [(b"Authorization", f"Bearer {await server.token()}".encode())]
    parts = urlsplit(server.hub(hub))
    text, quiet_s = "", _QUIET_S
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    async with stream, trio.open_nursery() as nursery:
        with trio.fail_after(10):
            ws = await wrap_client_stream(
                nursery, stream, parts.netloc, parts.path, extra_headers=headers, max_message_size=1 << 22
            )
        try:
            for frame in frames:
                await ws.send_message(frame)
            while True:
                with trio.fail_after(quiet_s):
                    text += await ws.get_message()
                quiet_s = _AFTER_S if '"end"' in text else _QUIET_S
        except (trio.TooSlowError, ConnectionClosed):
            pass
        code = None if ws.closed is None else int(ws.closed.code)  # trio-websocket echoes the server's
        nursery.cancel_scope.cancel()
    assert text.endswith("\x1e") or not text, text[-100:]
    records = [json.loads(record, parse_float=Decimal) for record in text.split("\x1e")[:-1]]
    kept = [record for record in records if record not in (_PING, _MARKED)]
    return Transcript(kept, _MARKED in records, code)


async def ask(server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, Any]:
    """Return status, reason and body of an HTTP answer; the ids in it are made alike."""
    if headers.get("Authorization") == "good":
        headers = {**headers, "Authorization": f"Bearer {await server.token()}"}
    parts = urlsplit(server.url)
    wire = h11.Connection(h11.CLIENT)
    named = [("Host", parts.netloc), ("Content-Length", "0"), *headers.items()]
    sent = wire.send(h11.Request(method=method, target=path, headers=named)) or b""
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    async with stream:
        with trio.fail_after(5):
            await stream.send_all(sent + (wire.send(h11.EndOfMessage()) or b""))
            status, reason, body = 0, "", b""
            while not isinstance(event := wire.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    wire.receive_data(bytes(await stream.receive_some()))
                elif isinstance(event, h11.Response):
                    status, reason = event.status_code, event.reason.decode()
                elif isinstance(event, h11.Data):
                    body += event.data
    return status, reason, _alike(body.decode())


def _alike(body: str) -> Any:
    try:
        shown = json.loads(body)
    except ValueError:
        return body
    for name in ("connectionId", "connectionToken"):
        if name in shown:
            shown[name] = "ID"
    if "availableTransports" in shown:
        # The simulator speaks WebSockets only, on purpose, and so does not offer what it has not.
        shown["availableTransports"] = shown["availableTransports"][:1]
    return shown
