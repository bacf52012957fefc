"""What the tests of the simulator share: a virtual wall clock and a plain hub client that is not the library's own."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.frame_protocol import FrameProtocol

from trio_projectx.simulator import Simulator

#: 2026-08-19T20:51:00Z: the start of a minute.
START_NS = 1_787_172_660_000_000_000
HANDSHAKE = '{"protocol":"json","version":1}\x1e'
HANDSHAKE_2 = '{"protocol":"json","version":2}\x1e'


def virtual_wall() -> int:
    return START_NS + int(trio.current_time() * 1e9)


async def until(condition: Callable[[], object], within_s: float) -> None:
    """Wait until ``condition()`` holds; fail after ``within_s``."""
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.01)


def masked(*texts: str) -> bytes:
    """Return the bytes of a client's text frames."""
    protocol = FrameProtocol(client=True, extensions=[])
    return b"".join(protocol.send_data(text, fin=True) for text in texts)


def upgrade_head(token: str, hub: str = "market") -> bytes:
    """Return the bytes of a client's upgrade request."""
    return (
        f"GET /hubs/{hub} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


class HubClient:
    """A WebSocket to a hub: sends texts, keeps what came, one entry per frame."""

    def __init__(self, ws: WebSocketConnection) -> None:
        self.ws = ws
        self.frames: list[str] = []

    async def send(self, *records: object) -> None:
        await self.ws.send_message("".join(json.dumps(record) + "\x1e" for record in records))

    async def frame(self) -> str:
        message = await self.ws.get_message()
        assert isinstance(message, str)
        self.frames.append(message)
        return message

    async def records(self, count: int) -> list[dict]:
        """Receive until at least ``count`` records have come; return all since the last call of this."""
        text = ""
        while text.count("\x1e") < count:
            text += await self.frame()
        return split(text)

    async def shake_hands(self) -> None:
        await self.ws.send_message(HANDSHAKE)
        assert await self.frame() == "{}\x1e"

    async def call(self, target: str, *arguments: object, call_id: str = "1") -> dict:
        """Invoke and return the completion; what comes before it is kept in `frames`."""
        await self.send({"type": 1, "invocationId": call_id, "target": target, "arguments": list(arguments)})
        while True:
            for record in split(await self.frame()):
                if record["type"] == 3:
                    return record

    async def until_closed(self) -> int:
        """Receive until the server closes; return the WebSocket close code."""
        with suppress(ConnectionClosed):
            while True:
                await self.frame()
        reason = self.ws.closed
        assert reason is not None
        return reason.code


def split(text: str) -> list[dict]:
    assert text.endswith("\x1e"), text[-80:]
    return [json.loads(record) for record in text.split("\x1e")[:-1]]


def trades_in(frames: list[str]) -> list[dict]:
    records = [record for frame in frames for record in split(frame)]
    return [
        trade
        for record in records
        if record.get("target") == "GatewayTrade"
        for trade in record["arguments"][1]
    ]


@asynccontextmanager
async def open_hub(
    simulator: Simulator | None,
    hub: str = "market",
    *,
    hands: bool = True,
    token: str | None = None,
    queue: int = 1,
    over: trio.abc.Stream | None = None,
) -> AsyncGenerator[HubClient]:
    """Connect over a stream in memory, or over the one that is given."""
    if over is None:
        assert simulator is not None
        over = await simulator.connect("127.0.0.1", simulator.port, tls=False)
    if token is None:
        assert simulator is not None
        token = simulator.mint_token()
    stream, bearer = over, f"Bearer {token}".encode()
    async with stream, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(
            nursery,
            stream,
            "127.0.0.1",
            f"/hubs/{hub}",
            extra_headers=[(b"Authorization", bearer)],
            message_queue_size=queue,
            max_message_size=1 << 24,
        )
        client = HubClient(ws)
        if hands:
            await client.shake_hands()
        yield client
        nursery.cancel_scope.cancel()


async def ask(sim: Simulator, method: str, path: str) -> dict:
    async with await sim.connect("h", 1, tls=False) as stream:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n"
        await stream.send_all(f"{head}Authorization: Bearer {sim.mint_token()}\r\n\r\n".encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    return json.loads(answer.partition(b"\r\n\r\n")[2] or b"{}")


async def negotiate(sim: Simulator) -> str:
    answer = await ask(sim, "POST", "/hubs/market/negotiate?negotiateVersion=1&useStatefulReconnect=true")
    assert list(answer) == [
        "useStatefulReconnect",
        "negotiateVersion",
        "connectionId",
        "connectionToken",
        "availableTransports",
    ]
    return answer["connectionToken"]


@asynccontextmanager
async def transport(sim: Simulator, ticket: str, token: str | None = None) -> AsyncGenerator[HubClient]:
    stream = await sim.connect("h", 1, tls=False)
    bearer = (token or sim.mint_token()).encode()
    async with stream, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(
            nursery,
            stream,
            "h",
            f"/hubs/market?id={ticket}",
            extra_headers=[(b"Authorization", b"Bearer " + bearer)],
            message_queue_size=1000,
            max_message_size=1 << 24,
        )
        client = HubClient(ws)
        client.stream = stream  # type: ignore[attr-defined]
        yield client
        nursery.cancel_scope.cancel()


async def begin(client: HubClient, version: int = 2) -> None:
    await client.ws.send_message(HANDSHAKE_2.replace("2", str(version)))
    assert await client.frame() == "{}\x1e"


async def lose(client: HubClient) -> None:
    """Break the stream, as a network does."""
    client.stream.reset()  # type: ignore[attr-defined]
    with suppress(ConnectionClosed):
        while True:
            await client.ws.get_message()
