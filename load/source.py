"""A hub that is nothing but bytes made beforehand, sent at a pace that a simulator cannot make: a process of its own.

It takes commands, a line of JSON each, and answers each with one: ``{"block": N}`` makes the bytes of a second with N
trades; ``{"seconds": S, "pace": P}`` sends them, P times as fast as their stamps run (0: as fast as they are taken).
What is behind its time is sent as fast as it is taken until it no longer is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import select
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Final

import attrs

CONTRACT: Final = "CON.F.US.MNQ.Z26"
#: Pieces that a second is sent in.
SLICES: Final = 100
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SECOND: Final = b"@@@@-@@-@@T@@:@@:@@"
_RECORDS: Final = 5
#: What the system takes before it has gone out: what is slow is to be felt here soon.
_SENDS: Final = 1 << 18
_BASE: Final = 118_000


@attrs.frozen(eq=False)
class Slice:
    """A hundredth of a second: its frames (the second itself is left open), its trades and their volume."""

    data: bytes
    prices: tuple[float, ...]
    volumes: tuple[int, ...]

    @property
    def trades(self) -> int:
        """How many there are."""
        return len(self.volumes)

    @property
    def volume(self) -> int:
        """Of all of them."""
        return sum(self.volumes)


@attrs.frozen
class Sent:
    """What was sent so far by one command."""

    trades: int
    volume: int
    took_s: float


def block(trades: int, seed: int = 1) -> list[Slice]:
    """Return a second of ``trades`` trades (cut to a multiple of `SLICES`), one a record, five records a frame."""
    rng, ticks, made = random.Random(seed), _BASE, []
    for number in range(SLICES):
        records, prices, volumes = list[bytes](), list[float](), list[int]()
        for _ in range(trades // SLICES):
            ticks += rng.choice((-1, 0, 0, 1)) if abs(ticks - _BASE) < 400 else (ticks < _BASE) * 2 - 1
            size = rng.choice((1, 1, 1, 2, 3, 10))
            prices.append(ticks / 4)
            volumes.append(size)
            records.append(
                b'{"type":1,"target":"GatewayTrade","arguments":["%b",[{"symbolId":"F.US.MNQ","price":%b,"timestamp":'
                b'"%b.%03d+00:00","type":%d,"volume":%d,"contractId":"%b"}]]}\x1e'
                % (
                    CONTRACT.encode(),
                    str(ticks / 4).encode(),
                    _SECOND,
                    number * 10,
                    size & 1,
                    size,
                    CONTRACT.encode(),
                )
            )
        frames = (frame(b"".join(records[at : at + _RECORDS])) for at in range(0, len(records), _RECORDS))
        made.append(Slice(b"".join(frames), tuple(prices), tuple(volumes)))
    return made


def frame(payload: bytes) -> bytes:
    """Return one final, unmasked text frame."""
    n = len(payload)
    return (bytes((0x81, n)) if n < 126 else b"\x81\x7e" + n.to_bytes(2, "big")) + payload


class Source:
    """The server's side of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._read = b""
        self._slices: list[Slice] = []
        self._at = 0
        """How many hundredths of a second since 1970 were sent."""

    def greet(self) -> None:
        """Answer the upgrade, the handshake and the subscription."""
        while b"\r\n\r\n" not in self._read:
            self._read += self._socket.recv(65536)
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
        self._socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while not self._answer():
            self._read += self._socket.recv(65536)

    def _answer(self) -> bool:
        """Answer what has come; whether something was subscribed to."""
        is_subscribed = False
        while (taken := _unmasked(self._read)) is not None:
            opcode, payload, self._read = taken
            if opcode == 9:
                self._socket.sendall(b"\x8a" + bytes((len(payload),)) + payload)
            elif opcode == 8:
                self._socket.sendall(b"\x88\x02\x03\xe8")
            elif b'"protocol"' in payload:
                self._socket.sendall(frame(b"{}\x1e"))
            elif b"invocationId" in payload:
                call = json.loads(payload.split(b"\x1e")[0])
                answer = {"type": 3, "invocationId": call["invocationId"], "result": None}
                self._socket.sendall(frame(json.dumps(answer).encode() + b"\x1e"))
                is_subscribed = True
        return is_subscribed

    def load(self, trades: int) -> int:
        """Make the bytes of a second; return how many trades are in it."""
        self._slices = block(trades)
        return sum(each.trades for each in self._slices)

    def send(self, seconds: float, pace: float) -> Sent:
        """Send ``seconds`` of the market, on from the machine's time or from where it is, whichever is later."""
        self._at = max(self._at, int(time.time() * SLICES))
        began, trades, volume = time.monotonic(), 0, 0
        for number in range(int(seconds * SLICES)):
            if pace:
                time.sleep(max(0.0, began + number / SLICES / pace - time.monotonic()))
            part = self._slices[self._at % SLICES]
            second = datetime.fromtimestamp(self._at // SLICES, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
            self._socket.sendall(part.data.replace(_SECOND, second))
            self._at += 1
            trades, volume = trades + part.trades, volume + part.volume
            if select.select([self._socket], [], [], 0)[0]:
                self._read += self._socket.recv(65536)
                self._answer()
        return Sent(trades, volume, time.monotonic() - began)


def _unmasked(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return opcode and payload of a client's frame, and what is behind it; None if it is not whole."""
    if len(data) < 6:
        return None
    n, at = data[1] & 0x7F, 2
    if n == 126:
        n, at = int.from_bytes(data[2:4], "big"), 4
    mask, end = data[at : at + 4], at + 4 + n
    if len(data) < end:
        return None
    return data[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data[at + 4 : end])), data[end:]


def main() -> None:
    """Listen, tell the port, serve one connection, and do what is asked for until the end of the input."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDS)
    with connection:
        source = Source(connection)
        source.greet()
        for line in sys.stdin:
            asked = json.loads(line)
            if "block" in asked:
                print(json.dumps({"trades": source.load(asked["block"])}), flush=True)
            else:
                print(json.dumps(attrs.asdict(source.send(asked["seconds"], asked["pace"]))), flush=True)


if __name__ == "__main__":
    main()
