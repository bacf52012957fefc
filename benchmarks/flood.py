"""A hub that is nothing but bytes made beforehand: what is measured over it is the client alone."""

from __future__ import annotations

import base64
import hashlib
import json
import random

import trio

from trio_projectx.market import format_stamp

CONTRACT = "CON.F.US.MNQ.Z26"
START = 1_787_172_660_000_000_000
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes) -> bytes:
    """One final, unmasked text frame."""
    n = len(payload)
    if n < 126:
        return bytes((0x81, n)) + payload
    if n < 65536:
        return b"\x81\x7e" + n.to_bytes(2, "big") + payload
    return b"\x81\x7f" + n.to_bytes(8, "big") + payload


def trade_record(trades: list[dict[str, object]]) -> bytes:
    body = {"type": 1, "target": "GatewayTrade", "arguments": [CONTRACT, trades]}
    return json.dumps(body, separators=(",", ":")).encode() + b"\x1e"


def make_trades(n: int, per_second: float, seed: int = 1) -> list[dict[str, object]]:
    """A random walk of ``n`` trades in the shape of the live wire, ``per_second`` a second of event time."""
    rng = random.Random(seed)
    ts, ticks, out = START, 118_000, []
    for _ in range(n):
        ts += int(rng.expovariate(per_second) * 1e9)
        ticks += rng.choice((-1, 0, 0, 1))
        out.append(
            {
                "symbolId": "F.US.MNQ",
                "price": ticks / 4,
                "timestamp": format_stamp(ts // 1_000_000 * 1_000_000, 3),
                "type": rng.randint(0, 1),
                "volume": rng.choice((1, 1, 1, 2, 3, 10)),
                "contractId": CONTRACT,
            }
        )
    return out


def frames_of(trades: list[dict[str, object]], per_record: int = 1, records_per_frame: int = 1) -> bytes:
    """The trades as WebSocket bytes."""
    out, step = [], per_record * records_per_frame
    for i in range(0, len(trades), step):
        part = trades[i : i + step]
        records = [trade_record(part[k : k + per_record]) for k in range(0, len(part), per_record)]
        out.append(frame(b"".join(records)))
    return b"".join(out)


class FloodStream(trio.abc.Stream):
    """Answers the upgrade, the handshake and the subscription, and then gives ``flood`` as fast as it is read."""

    def __init__(self, flood: bytes, chunk: int = 65536) -> None:
        self._flood = flood
        self._chunk = chunk
        self._pos = 0
        self._ready = bytearray()
        self._flooding = False
        self._wake = trio.Event()
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        data = bytes(data)
        if data.startswith(b"GET "):
            (key,) = (
                line.split(b": ")[1]
                for line in data.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            self._ready += (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        elif data[0] == 0x88:
            self._ready += b"\x88\x02\x03\xe8"
            self._flooding = False
        elif data[0] == 0x81:
            self._answer(unmask(data))
        self._wake.set()

    def _answer(self, payload: bytes) -> None:
        if b'"protocol"' in payload:
            self._ready += frame(b"{}\x1e")
        elif b"Subscribe" in payload:
            call = json.loads(payload.split(b"\x1e")[0])
            answer = {"type": 3, "invocationId": call["invocationId"], "result": None}
            self._ready += frame(json.dumps(answer).encode() + b"\x1e")
            self._flooding = not call["target"].startswith("Un")

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            if self._ready:
                data, self._ready = bytes(self._ready), bytearray()
                return data
            if self._flooding and self._pos < len(self._flood):
                size = min(self._chunk, max_bytes or self._chunk)
                data = self._flood[self._pos : self._pos + size]
                self._pos += size
                return data
            self._wake = trio.Event()
            await self._wake.wait()

    async def aclose(self) -> None:
        self._closed = True
        self._wake.set()
        await trio.lowlevel.checkpoint()


def unmask(data: bytes) -> bytes:
    """The payload of one masked client frame shorter than 64 KiB."""
    n, at = data[1] & 0x7F, 2
    if n == 126:
        n, at = int.from_bytes(data[2:4], "big"), 4
    mask = data[at : at + 4]
    return bytes(b ^ mask[i % 4] for i, b in enumerate(data[at + 4 : at + 4 + n]))
