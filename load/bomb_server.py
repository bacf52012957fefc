"""The other side of the memory bombs, in a process of its own, so that what it holds is not the client's.

A simulator, and a door before it that passes every connection on, until it is told what to answer a request with.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

import attrs
import trio

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator, open_simulator

_PIECE: Final = 64 * 1024
_MIB: Final = 1 << 20
#: Just below the client's limits of one record, and of one answer.
_RECORD: Final = px.Limits().record_bytes - 64
_WHOLE: Final = px.Limits().rest_body_bytes - 1024
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

# What a request is answered with


def _endless(head: bytes, piece: bytes, size: int = 256 * _MIB) -> Iterator[bytes]:
    yield head
    for _ in range(size // len(piece)):
        yield piece


def _chunked(body: Iterable[bytes]) -> Iterator[bytes]:
    yield _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for piece in body:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _sized(body: bytes, status: bytes = b"200 OK") -> Iterator[bytes]:
    yield b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    yield body


def _gzipped() -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(b" " * _MIB) for _ in range(256)) + packer.flush()
    yield _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    yield body


def _listed(name: str, one: str, size: int) -> Iterator[bytes]:
    """Give a body of ``size`` bytes that says it is a success, with as many ``one`` as fit."""
    head = f'{{"success":true,"errorCode":0,"errorMessage":null,"{name}":['
    many = (size - len(head) - 2) // (len(one) + 1)
    return _sized((head + ",".join([one] * many) + "]}").encode())


_BAR: Final = '{"t":"2026-08-19T18:00:00+00:00","o":1.25,"h":1.25,"l":1.25,"c":1.25,"v":1}'
_CONTRACT: Final = '{"id":"CON.F.US.MNQ.U26","name":"MNQU6","description":"","tickSize":0.25,"tickValue":0.5}'
ANSWERS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "endless headers": lambda: _endless(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 1000 + b"\r\n"),
    "endless header line": lambda: _endless(b"HTTP/1.1 200 OK\r\nx-long: ", b"y" * _PIECE),
    "endless status line": lambda: _endless(b"HTTP/1.1 200 ", b"y" * _PIECE),
    "endless interim answers": lambda: _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 32 * _MIB),
    "endless chunks": lambda: _chunked([b" " * _PIECE] * 4096),
    "endless small chunks": lambda: _chunked([b" "] * 2_000_000),
    "endless chunk extension": lambda: _endless(
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * _PIECE
    ),
    "endless body": lambda: _endless(_HEAD + b"\r\n", b" " * _PIECE),
    "body of 64 MiB": lambda: _endless(_HEAD + b"Content-Length: 67108864\r\n\r\n", b" " * _PIECE, 64 * _MIB),
    "declared 2**63": lambda: iter([_HEAD + b"Content-Length: 9223372036854775808\r\n\r\n"]),
    "gzip": _gzipped,
    "nested": lambda: _sized(b"[" * 1_000_000),
    "refused with 64 MiB": lambda: _endless(
        b"HTTP/1.1 503 No\r\nContent-Length: 67108864\r\n\r\n", b"x" * _PIECE, 64 * _MIB
    ),
    "bars to the limit": lambda: _listed("bars", _BAR, _WHOLE),
    "empty bars to the limit": lambda: _listed("bars", '{"t":""}', _WHOLE),
    "contracts to the limit": lambda: _listed("contracts", _CONTRACT, _WHOLE),
    "empty contracts to the limit": lambda: _listed("contracts", '{"id":""}', _WHOLE),
    "unknown lists to the limit": lambda: _listed("x", "[]", _WHOLE),
    "a text to the limit": lambda: _sized(
        b'{"success":false,"errorCode":1,"errorMessage":"%b"}' % (b"x" * _WHOLE)
    ),
    "escapes to the limit": lambda: _sized(
        b'{"success":false,"errorCode":1,"errorMessage":"%b"}' % (b"\\u0001" * (_WHOLE // 6))
    ),
    "a number to the limit": lambda: _sized(b'{"success":true,"errorCode":%b}' % (b"1" * _WHOLE)),
}

# What live hub connections are sent


def _call(target: str, arguments: str) -> str:
    return f'{{"type":1,"target":"{target}","arguments":{arguments}}}\x1e'


def _trade(contract: str, price: str = "20000.25", stamp: str = "2026-08-19T18:30:00.123456+00:00") -> str:
    return f'{{"symbolId":"{contract}","price":{price},"timestamp":"{stamp}","type":0,"volume":1}}'


def _stuffed(head: str, one: str, tail: str, size: int = _RECORD) -> Iterator[str]:
    """Give three records of nearly the longest length there is."""
    many = (size - len(head) - len(tail)) // (len(one) + 1)
    for _ in range(3):
        yield f"{head}{','.join([one] * many)}{tail}\x1e"


def _flood(one: Callable[[int], str], count: int = 200_000) -> Iterator[str]:
    """Give ``count`` records, each another, in frames of 500."""
    for at in range(0, count, 500):
        yield "".join(one(n) for n in range(at, at + 500))


_MNQ: Final = "CON.F.US.MNQ.U26"
_LONG: Final = "x" * 120
_TO_MNQ: Final = f'{{"type":1,"target":"GatewayTrade","arguments":["{_MNQ}",'

FLOODS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "trades to the limit": lambda: _stuffed(_TO_MNQ + "[", _trade(_MNQ), "]]}"),
    "empty trades to the limit": lambda: _stuffed(_TO_MNQ + "[", "{}", "]]}"),
    "empty lists to the limit": lambda: _stuffed(_TO_MNQ + "[", "[]", "]]}"),
    "nulls to the limit": lambda: _stuffed(_TO_MNQ + "[", "null", "]]}"),
    "depth to the limit": lambda: _stuffed(
        f'{{"type":1,"target":"GatewayDepth","arguments":["{_MNQ}",[', "{}", "]]}"
    ),
    "depth of numbers to the limit": lambda: _stuffed(
        '{"type":1,"target":"GatewayDepth","arguments":["x",[', "0.5", "]]}"
    ),
    "arguments to the limit": lambda: _stuffed('{"type":1,"target":"GatewayTrade","arguments":[', "[]", "]}"),
    "unknown target with lists": lambda: _stuffed('{"type":1,"target":"Nobody","arguments":[', "[]", "]}"),
    "completion with lists": lambda: _stuffed('{"type":3,"invocationId":"1","result":[', "[]", "]}"),
    "completion with objects": lambda: _stuffed('{"type":3,"invocationId":"1","result":[', "{}", "]}"),
    "headers to the limit": lambda: _stuffed('{"type":6,"headers":[', "[]", "]}"),
    "unknown field with lists": lambda: _stuffed('{"type":6,"x":[', "[]", "]}"),
    "unknown type with lists": lambda: _stuffed('{"type":99,"x":[', "[]", "]}"),
    "close with a long text": lambda: iter(
        [f'{{"type":7,"error":"{"x" * 3_000_000}","allowReconnect":true}}\x1e']
    ),
    "a price of 3 million digits": lambda: _stuffed(_TO_MNQ, _trade(_MNQ, "1" * 3_000_000), "]}"),
    "a price of 3 million decimals": lambda: _stuffed(_TO_MNQ, _trade(_MNQ, "1." + "1" * 3_000_000), "]}"),
    "an exponent of 3 million digits": lambda: _stuffed(_TO_MNQ, _trade(_MNQ, "1e" + "9" * 3_000_000), "]}"),
    "a stamp of 3 million characters": lambda: _stuffed(_TO_MNQ, _trade(_MNQ, stamp="2" * 3_000_000), "]}"),
    "a contract of 3 million characters": lambda: _stuffed(_TO_MNQ, _trade("C" * 3_000_000), "]}"),
    "unknown targets": lambda: _flood(lambda n: _call(f"{_LONG}{n}", "[1]")),
    "unknown contracts": lambda: _flood(
        lambda n: _call("GatewayTrade", f'["{_LONG}{n}",{_trade(f"{_LONG}{n}")}]')
    ),
    "unknown symbols": lambda: _flood(lambda n: _call("GatewayTrade", f'["{_MNQ}",{_trade(f"{_LONG}{n}")}]')),
    "quotes of unknown contracts": lambda: _flood(
        lambda n: _call("GatewayQuote", f'["{_LONG}{n}",{{"symbol":"{_LONG}{n}","lastPrice":1}}]')
    ),
    "completions of nobody's calls": lambda: _flood(
        lambda n: f'{{"type":3,"invocationId":"{_LONG}{n}"}}\x1e'
    ),
    "items of nobody's streams": lambda: _flood(
        lambda n: f'{{"type":2,"invocationId":"{_LONG}{n}","item":1}}\x1e'
    ),
    "unknown types": lambda: _flood(lambda n: f'{{"type":{n + 100},"x":"{_LONG}"}}\x1e'),
    "pings": lambda: _flood(lambda n: f'{{"type":6,"x":"{_LONG}{n}"}}\x1e'),
    "stamps": lambda: _flood(
        lambda n: _call(
            "GatewayTrade",
            f'["{_MNQ}",{_trade(_MNQ, stamp=f"2026-08-19T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}+00:00")}]',
        )
    ),
    "prices": lambda: _flood(lambda n: _call("GatewayTrade", f'["{_MNQ}",{_trade(_MNQ, f"{n}.25")}]')),
    "prices off the grid": lambda: _flood(
        lambda n: _call("GatewayTrade", f'["{_MNQ}",{_trade(_MNQ, f"{n}.1")}]')
    ),
    "acks": lambda: _flood(lambda n: f'{{"type":8,"sequenceId":{n + 1}}}\x1e'),
}


@attrs.define
class Door:
    """Passes connections on to the simulator, but answers requests whose head has ``match`` with ``answer``."""

    port: int
    match: bytes = b""
    answer: str = ""
    struck: int = 0
    scopes: list[trio.CancelScope] = attrs.Factory(list)

    def arm(self, match: str, answer: str) -> None:
        """Answer so from now on (``match`` empty: no longer), and end what is being passed on."""
        self.match, self.answer, self.struck = match.encode(), answer, 0
        for scope in self.scopes:
            scope.cancel()

    async def serve(self, client: trio.SocketStream) -> None:
        """Serve one connection."""
        try:
            async with client:
                head = await _head_of(client)
                if self.match and self.match in head:
                    self.struck += 1
                    for piece in ANSWERS[self.answer]():
                        await client.send_all(piece)
                    await client.send_eof()
                    await trio.sleep(1)
                    return
                await self._pass_on(client, head)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has had enough

    async def _pass_on(self, client: trio.SocketStream, head: bytes) -> None:
        async with (
            await trio.open_tcp_stream("127.0.0.1", self.port) as server,
            trio.open_nursery() as nursery,
        ):
            self.scopes = [*(each for each in self.scopes if not each.cancel_called), nursery.cancel_scope]
            await server.send_all(head)
            nursery.start_soon(_pump, client, server, nursery.cancel_scope)
            nursery.start_soon(_pump, server, client, nursery.cancel_scope)


async def _head_of(client: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await client.receive_some()
        if not piece:
            break
        head += piece
    return head


async def _pump(source: trio.SocketStream, to: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        async for piece in source:
            await to.send_all(piece)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


async def _flood_all(sim: Simulator, name: str, hub: str) -> int:
    """Send a flood to the hub's connections of now; return how many texts they took."""
    sent = 0
    links = [link for link in sim._hubs.links.values() if link.identity.hub == hub]
    for text in FLOODS[name]():
        for link in links:
            sent += await link.outbox.put(text)
        if all(link.is_over for link in links):
            break
    return sent


async def _obey(sim: Simulator, door: Door, command: dict[str, object]) -> object:
    match command:
        case {"fault": dict(fault)}:
            return sim.inject(Fault(**fault)).state.struck
        case {"struck": _}:
            return door.struck + sum(each.struck for each in sim.faults())
        case {"answer": str(answer), "match": str(match)}:
            return door.arm(match, answer)
        case {"flood": str(name), "hub": str(hub)}:
            with trio.move_on_after(30):
                return await _flood_all(sim, name, hub)
            return -1
        case _:
            sim.clear_faults()
            return door.arm("", "")


async def _take_orders(sim: Simulator, door: Door, stream: trio.SocketStream) -> None:
    """Obey one connection's commands, one JSON object a line, and answer each with a line."""
    # Who gives an order may be cancelled, which is what leaving is about.
    async with stream:
        with suppress(trio.BrokenResourceError):
            await _obey_all(sim, door, stream)


async def _obey_all(sim: Simulator, door: Door, stream: trio.SocketStream) -> None:
    waiting = b""
    async for piece in stream:
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            answer = await _obey(sim, door, json.loads(line))
            await stream.send_all(json.dumps(answer).encode() + b"\n")


async def main() -> None:
    """Serve until killed; say where: the port of the service, and that of the commands."""
    async with open_simulator(seed=1) as sim, trio.open_nursery() as nursery:
        door = Door(sim.port)
        ports = []
        for handler in (door.serve, partial(_take_orders, sim, door)):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            ports.append(listeners[0].socket.getsockname()[1])
            nursery.start_soon(trio.serve_listeners, handler, listeners)
        sys.stdout.write("{} {}\n".format(*ports))
        sys.stdout.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
