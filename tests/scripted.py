"""A gateway that follows a script: the other end of every connection, over real HTTP and WebSocket bytes.

`Network.connect` is a `Connect` for a `GatewayConfig`. Each connection is a bounded pair of streams in memory; its far
end is a `Wire`, which reads HTTP with h11 and becomes a `Hub` (a real trio_websocket server) where the script accepts
an upgrade. Logging in is answered by the network itself, with a new token each time, unless a script does it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import attrs
import h11
import trio
import trio_websocket
import wsproto.utilities

from trio_projectx import ConnectionLost, Credentials, Endpoint, GatewayConfig, SubscriptionError
from trio_projectx.composition import _open_site
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.connection.rest import RestClient
from trio_projectx.connection.sites import Sites
from trio_projectx.flow.subscriptions import Subscription
from trio_projectx.market import Decoded, Decoder, join_decoded
from trio_projectx.signalr import JsonValue
from trio_projectx.simulator.streams import BreakableStream, breakable_pair

START_NS = 1_787_172_660_000_000_000  # 2026-08-19T20:51:00Z
MNQ = "CON.F.US.MNQ.U26"
API_KEY = "api-key-that-nobody-may-see"
REST_URL = "http://rest.test"
HUB_URL = "http://hub.test/hubs/market"
HANDSHAKE = '{"protocol":"json","version":1}\x1e'
PING = '{"type":6}\x1e'

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def token_no(number: int) -> str:
    """The token of the network's ``number``th login: of a JWT's form, so that redaction is put to the test."""
    return f"eyJhbGciOiJIUzI1NiJ9.cGF5bG9hZC1u{number:04d}.c2lnbmF0dXJl{number:04d}"


def virtual_wall() -> int:
    return START_NS + round(trio.current_time() * 1e9)


def record(**fields: Json) -> str:
    return json.dumps(fields) + "\x1e"


def trade(price: float = 20000.25, volume: int = 1, contract_id: str = MNQ, **fields: Json) -> str:
    stamp = "2026-08-19T20:51:30.052+00:00"
    entry: Json = {"price": price, "timestamp": stamp, "type": 0, "volume": volume, **fields}
    return record(type=1, target="GatewayTrade", arguments=[contract_id, [entry]])


def completion(call_id: str, error: str | None = None) -> str:
    return record(type=3, invocationId=call_id, **({"result": None} if error is None else {"error": error}))


@attrs.frozen
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_upgrade(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def bearer(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None


class Gathered:
    """A sink that keeps what it gets, and waits behind ``gate`` where that is not set. The decoder is the real one."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self.got: list[tuple[Decoded, int, int]] = []
        """What was delivered, the time of its read, and the number of the epoch that brought it."""
        self.noted: list[tuple[str, int, Subscription]] = []
        """What became of subscriptions, with the number of the epoch."""
        self.causes: list[str] = []
        """Why something was left."""
        self.refused: list[tuple[Subscription, SubscriptionError]] = []
        self.lost: list[ConnectionLost] = []
        self.level: set[int] = set()
        """Epochs that are level; what is settled becomes so."""
        self.gate = trio.Event()
        self.gate.set()

    @property
    def serial(self) -> int:
        return len(self.got)

    def bulk(self, text: str) -> Decoded | None:
        return self._decoder.bulk(text)

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> Decoded:
        return self._decoder.invocation(target, arguments)

    def combined(self, found: list[Decoded]) -> Decoded:
        return join_decoded(found)

    async def deliver(self, found: Decoded, ts_recv: int, line: int, now: float) -> None:
        self.got.append((found, ts_recv, line))
        await self.gate.wait()

    def join(self, line: int, wanted: Subscription) -> None:
        self.noted.append(("join", line, wanted))

    def acknowledged(self, line: int, wanted: Subscription, position: int) -> None:
        self.noted.append(("acknowledged", line, wanted))

    def leave(self, line: int, wanted: Subscription, cause: str) -> None:
        self.noted.append(("leave", line, wanted))
        self.causes.append(cause)

    def doubts(self, line: int, wanted: Subscription, waited_s: float, most_s: float) -> bool | None:
        return False

    def settle(self, line: int, wanted: Subscription, doubt: str = "") -> None:
        self.noted.append(("settle", line, wanted))
        self.level.add(line)

    def is_level(self, line: int, wanted: Subscription) -> bool:
        return line in self.level

    def refuse(self, wanted: Subscription, error: SubscriptionError) -> None:
        self.refused.append((wanted, error))

    async def lose(self, error: ConnectionLost) -> None:
        self.lost.append(error)
        await trio.lowlevel.checkpoint()

    def prices(self, line: int | None = None) -> list[float]:
        """The prices of all trades, or of those that one epoch brought."""
        found = [found for found, _, number in self.got if line in (None, number)]
        return [trade.price for each in found for trades in each.trades.values() for trade in trades]


class _Replayed(trio.abc.Stream):
    """``stream``, with ``head`` to be read once more: the upgrade was read before trio_websocket reads it."""

    def __init__(self, stream: trio.abc.Stream, head: bytes) -> None:
        self._stream = stream
        self._head = head

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._head:
            await trio.lowlevel.checkpoint()
            head, self._head = self._head, b""
            return head
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Wire:
    """The far end of one connection."""

    def __init__(self, stream: BreakableStream, network: Network, nursery: trio.Nursery) -> None:
        self.stream = stream
        self.network = network
        self.nursery = nursery
        self._http = h11.Connection(h11.SERVER)
        self._read = b""

    async def request(self) -> Request | None:
        """Return the next HTTP request; None when the client has gone."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        self._read = b""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self.stream.receive_some(65536))
                self._read += data
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif head is None:
                return None
            else:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, bytes(body))

    async def reply(self, status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """Answer the last request; the connection stays open."""
        all_headers = [("Content-Length", str(len(body))), *headers]
        events = (
            h11.Response(status_code=status, headers=all_headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        await self.stream.send_all(b"".join(self._http.send(event) or b"" for event in events))

    async def reply_json(self, **fields: Json) -> None:
        envelope: dict[str, Json] = {"success": True, "errorCode": 0, "errorMessage": None}
        await self.reply(200, json.dumps({**envelope, **fields}).encode())

    async def accept(self) -> Hub:
        """Say 101 to the upgrade that was just read."""
        request = await trio_websocket.wrap_server_stream(self.nursery, _Replayed(self.stream, self._read))  # type: ignore[arg-type]
        return Hub(await request.accept(), self.stream)

    def reset(self) -> None:
        self.stream.reset()


class Hub:
    """The server's side of a hub, one step at a time."""

    def __init__(self, ws: trio_websocket.WebSocketConnection, stream: BreakableStream) -> None:
        self.ws = ws
        self.stream = stream
        self.seen: list[dict[str, Json]] = []
        """Every record of the client, the handshake request not."""
        self._waiting: list[dict[str, Json]] = []

    async def text(self) -> str:
        message = await self.ws.get_message()
        assert isinstance(message, str), "the client sends text"
        return message

    async def shake(self, answer: str = "{}\x1e") -> None:
        """Answer the handshake; what stands behind the answer goes in the same frame."""
        assert await self.text() == HANDSHAKE
        await self.ws.send_message(answer)

    async def record(self) -> dict[str, Json]:
        """Return the client's next record."""
        while not self._waiting:
            text = await self.text()
            assert text.endswith("\x1e")
            self._waiting += [json.loads(part) for part in text.split("\x1e")[:-1]]
        self.seen.append(self._waiting.pop(0))
        return self.seen[-1]

    async def call(self) -> tuple[str, str, list[Json]]:
        """Return id ("" if no answer is wanted), method and arguments of the next call; pings are passed over."""
        while True:
            got = await self.record()
            if got["type"] == 1:
                call_id, target, arguments = got.get("invocationId", ""), got["target"], got["arguments"]
                assert isinstance(call_id, str)
                assert isinstance(target, str)
                assert isinstance(arguments, list)
                return call_id, target, arguments

    async def send(self, *records: str) -> None:
        """Send all of them in one frame."""
        await self.ws.send_message("".join(records))

    async def complete_calls(self) -> None:
        """Complete every call until the client has gone."""
        while True:
            call_id, _, _ = await self.call()
            if call_id:
                await self.send(completion(call_id))

    async def until_gone(self) -> None:
        """Read until the client has gone."""
        while True:
            await self.record()

    def targets(self) -> list[str]:
        return [str(got["target"]) for got in self.seen if got["type"] == 1]


Script: TypeAlias = "Callable[[Wire, Request], Awaitable[None]]"
_GONE = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio_websocket.ConnectionClosed,
    h11.RemoteProtocolError,  # half a request
    wsproto.utilities.LocalProtocolError,  # trio_websocket 0.12.2 answers a ping while it closes
)


async def refuse_all(wire: Wire, request: Request) -> None:
    await wire.reply(404, b"no script for this")


class Network:
    """What `connect` leads to; `requests` are all that came, in order."""

    def __init__(
        self, nursery: trio.Nursery, hub: Script, rest: Script | None = None, capacity: int = 1 << 16
    ) -> None:
        self.nursery = nursery
        self.hub = hub
        self.rest = rest
        self.capacity = capacity
        self.requests: list[Request] = []
        self.asked: list[tuple[str, int, bool]] = []
        self.near: list[BreakableStream] = []
        self.logins = 0
        self.token: Callable[[int], str] = token_no
        """Gives the token of each login."""
        self.connecting: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        """What happens before a connection is there; it may hang or raise OSError."""

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        self.asked.append((host, port, tls))
        await self.connecting()
        near, far = breakable_pair(self.capacity)
        self.near.append(near)
        self.nursery.start_soon(self._serve, far)
        return near

    @property
    def upgrades(self) -> list[Request]:
        return [request for request in self.requests if request.is_upgrade]

    def open_streams(self) -> int:
        return sum(not stream._closed for stream in self.near)

    async def _serve(self, stream: BreakableStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                await self._follow(Wire(stream, self, nursery))
                nursery.cancel_scope.cancel()
        except* _GONE:
            pass  # the client left; what the test asserts says whether it was right to
        finally:
            await trio.aclose_forcefully(stream)

    async def _follow(self, wire: Wire) -> None:
        while (request := await wire.request()) is not None:
            self.requests.append(request)
            if request.is_upgrade:
                await self.hub(wire, request)
                return
            if self.rest is not None:
                await self.rest(wire, request)
            else:
                await self.log_in(wire, request)

    async def log_in(self, wire: Wire, request: Request) -> None:
        """Answer a login; anything else is 404."""
        if request.path != "/api/Auth/loginKey":
            await wire.reply(404, b"no such route")
            return
        self.logins += 1
        await wire.reply_json(token=self.token(self.logins))


@asynccontextmanager
async def open_network(
    hub: Script = refuse_all, rest: Script | None = None, capacity: int = 1 << 16
) -> AsyncGenerator[Network]:
    """A network for the length of the block; the client must have closed every stream when it is left."""
    async with trio.open_nursery() as nursery:
        network = Network(nursery, hub, rest, capacity)
        yield network
        assert network.open_streams() == 0, "the client left a stream open"
        nursery.cancel_scope.cancel()


def config_for(network: Network, **changes: object) -> GatewayConfig:
    config = GatewayConfig(
        credentials=Credentials("me", API_KEY),
        endpoints=Endpoint(REST_URL, HUB_URL, "http://hub.test/hubs/user"),
        wall_clock=virtual_wall,
        connect=network.connect,
    )
    return attrs.evolve(config, **changes)


def rest_for(config: GatewayConfig) -> RestClient:
    return RestClient(
        config.all_endpoints[0].rest_url,
        connect=config.connect,
        deadline_s=config.timeouts.rest_s,
        body_limit=config.limits.rest_body_bytes,
    )


@asynccontextmanager
async def open_sites(config: GatewayConfig) -> AsyncGenerator[Sites]:
    """The endpoints of ``config``, made as a gateway makes them."""
    async with AsyncExitStack() as stack:
        yield Sites([await _open_site(config, endpoint, stack) for endpoint in config.all_endpoints])


@attrs.frozen
class Service:
    """What an epoch or a hub needs of the REST side, for real."""

    config: GatewayConfig
    rest: RestClient
    tokens: TokenSource
    address: HubAddress


@asynccontextmanager
async def open_service(config: GatewayConfig) -> AsyncGenerator[Service]:
    async with rest_for(config) as rest:
        tokens = TokenSource(config.credentials, rest.login)
        yield Service(config, rest, tokens, HubAddress(config.all_endpoints[0].market_hub_url, config, rest))
