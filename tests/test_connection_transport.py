"""The transport against real wsproto servers, over memory streams; over loopback what only a socket shows."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Self

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from trio_projectx._errors import (
    ConfigError,
    ConnectError,
    ConnectTimeout,
    ProtocolError,
    TrioProjectXError,
    again,
)
from trio_projectx.connection.transport import (
    CloseReason,
    Transport,
    TransportClosed,
    UpgradeRefused,
    open_transport,
)

SECRET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.sIgNaTuRe"
Serve = Callable[["Peer"], Awaitable[None]]


class Peer:
    """A server's end: wsproto over a stream, one step at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.wsproto = WSConnection(ConnectionType.SERVER)
        self.seen: list[Event] = []

    async def next(self) -> Event | None:
        """Return the next event; None at the end of the stream."""
        while not self.seen:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self.wsproto.receive_data(bytes(data))
            self.seen += self.wsproto.events()
        return self.seen.pop(0)

    async def send(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self.wsproto.send(event) for event in events))

    async def accept(self) -> Request:
        request = await self.next()
        if request is None:
            raise trio.BrokenResourceError("the client has gone")
        assert isinstance(request, Request)
        await self.send(AcceptConnection())
        return request

    async def run(self, take: Callable[[TextMessage | BytesMessage], Awaitable[None]] | None = None) -> None:
        """Answer pings and the Close frame; give messages to ``take``; return when the client has gone."""
        while (event := await self.next()) is not None:
            if isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, CloseConnection):
                if self.wsproto.state is ConnectionState.REMOTE_CLOSING:
                    await self.send(event.response())
                await self.stream.aclose()
                return
            elif isinstance(event, (TextMessage, BytesMessage)) and take is not None:
                await take(event)


async def polite(peer: Peer) -> None:
    """Echo texts."""
    await peer.accept()
    await peer.run(lambda message: peer.send(TextMessage(data=str(message.data))))


class Network:
    """Memory streams instead of a network: each connection is served by ``serve`` in a task of the test's."""

    def __init__(self, nursery: trio.Nursery, serve: Serve, lockstep: bool = False) -> None:
        self.nursery = nursery
        self.serve = serve
        self.lockstep = lockstep
        self.asked: list[tuple[str, int, bool]] = []
        self.client_ends: list[trio.abc.Stream] = []
        self.server_ends: list[trio.abc.AsyncResource] = []
        self.hung_up = False

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port, tls))
        pair = trio.testing.lockstep_stream_pair if self.lockstep else trio.testing.memory_stream_pair
        near, far = pair()
        self.client_ends.append(near)
        self.server_ends += [far.send_stream, far.receive_stream]
        if self.hung_up:
            self.hang_up()
        self.nursery.start_soon(self.run, Peer(far))
        return near

    def hang_up(self) -> None:
        self.hung_up = True
        for end in self.server_ends:
            end.close()  # type: ignore[attr-defined]  # both kinds have it, only one says so

    async def run(self, peer: Peer) -> None:
        with suppress(
            trio.BrokenResourceError, trio.ClosedResourceError
        ):  # the client has gone, as clients may
            await self.serve(peer)

    async def assert_closed(self) -> None:
        for stream in self.client_ends:
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"x")


@asynccontextmanager
async def network(serve: Serve, *, lockstep: bool = False) -> AsyncIterator[Network]:
    async with trio.open_nursery() as nursery:
        net = Network(nursery, serve, lockstep)
        yield net
        nursery.cancel_scope.cancel()
    await net.assert_closed()


def opening(
    net: Network | None,
    url: str = "wss://hub.test/hubs/market",
    headers: Sequence[tuple[bytes, bytes]] = (),
    max_message_bytes: int = 4 << 20,
    connect_s: float = 10,
) -> AbstractAsyncContextManager[Transport]:
    return open_transport(
        url,
        connect=net.connect if net is not None else None,
        headers=headers,
        connect_s=connect_s,
        send_s=10,
        close_s=5,
        max_message_bytes=max_message_bytes,
    )


# Opening


async def test_texts_go_both_ways(autojump_clock: MockClock) -> None:
    async with network(polite) as net, opening(net) as transport:
        await transport.send("hello")
        assert await transport.receive() == "hello"
        assert transport.closed is None
        assert transport.bytes_in > 0 < transport.bytes_out
        assert (transport.frames_in, transport.frames_out) == (1, 1)


@pytest.mark.parametrize(
    ("url", "asked", "host_header", "resource"),
    [
        ("wss://hub.test/hubs/market", ("hub.test", 443, True), "hub.test", "/hubs/market"),
        ("https://hub.test/a?x=1&y=2#f", ("hub.test", 443, True), "hub.test", "/a?x=1&y=2"),
        ("http://127.0.0.1:81/h", ("127.0.0.1", 81, False), "127.0.0.1:81", "/h"),
        ("ws://HUB.test", ("hub.test", 80, False), "hub.test", "/"),
        ("ws://[::1]:8080/h", ("::1", 8080, False), "[::1]:8080", "/h"),
    ],
)
async def test_the_url_says_where_and_headers_go_along(
    url: str, asked: tuple[str, int, bool], host_header: str, resource: str, autojump_clock: MockClock
) -> None:
    requests: list[Request] = []

    async def serve(peer: Peer) -> None:
        requests.append(await peer.accept())
        await peer.run()

    async with network(serve) as net:
        async with opening(net, url, [(b"Authorization", b"Bearer " + SECRET.encode())]):
            pass
        assert net.asked == [asked]
    assert (requests[0].host, requests[0].target) == (host_header, resource)
    assert (b"authorization", b"Bearer " + SECRET.encode()) in requests[0].extra_headers


def answer(status: bytes, *headers: bytes, body: bytes = b"") -> Serve:
    """Answer the upgrade with ``status`` and the length of ``body``; then keep the connection open."""

    async def serve(peer: Peer) -> None:
        assert isinstance(await peer.next(), Request)
        lines = (b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body)
        await peer.stream.send_all(b"\r\n".join(lines))
        await trio.sleep_forever()

    return serve


@pytest.mark.parametrize(
    ("serve", "status", "retry_after", "text", "is_auth"),
    [
        (answer(b"401 Unauthorized"), 401, None, "", True),
        (answer(b"403 Forbidden", body=b"not you"), 403, None, "not you", True),
        (answer(b"404 Not Found"), 404, None, "", False),
        (answer(b"429 Slow Down", b"Retry-After: 17"), 429, 17.0, "", False),
        (answer(b"500 Oops", body=b"line\r\n\x1b[31mred"), 500, None, "line\\r\\n\\x1b[31mred", False),
        (answer(b"302 Found", b"Location: http://evil.test/"), 302, None, "", False),
        (answer(b"200 OK", body=b"<html>"), 200, None, "<html>", False),
        (answer(b"103 Early Hints"), 103, None, "", False),
    ],
)
async def test_a_refused_upgrade_is_typed(
    serve: Serve, status: int, retry_after: float | None, text: str, is_auth: bool, autojump_clock: MockClock
) -> None:
    async with network(serve) as net:
        started = trio.current_time()
        with pytest.raises(UpgradeRefused) as caught:
            async with opening(net):
                pytest.fail("opened")
        assert trio.current_time() == started, "no deadline was needed"
    refused = caught.value
    assert (refused.status, refused.retry_after, refused.text, refused.is_auth) == (
        status,
        retry_after,
        text,
        is_auth,
    )
    assert str(refused).startswith(f"hub.test:443 refused the WebSocket with HTTP {status}")
    assert isinstance(again(refused), UpgradeRefused)


@pytest.mark.parametrize("finish", [True, False], ids=["until the end of file", "body never ends"])
async def test_a_refusal_without_length_is_still_one(finish: bool, autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        await peer.stream.send_all(b"HTTP/1.1 401 Unauthorized\r\n\r\nexpired")
        if finish:
            await peer.stream.aclose()
        await trio.sleep_forever()

    async with network(serve) as net:
        started = trio.current_time()
        with pytest.raises(UpgradeRefused, match="HTTP 401: expired"):
            async with opening(net):
                pytest.fail("opened")
        assert trio.current_time() - started == (0 if finish else 10)


async def test_an_endless_refusal_is_cut(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        await peer.stream.send_all(b"HTTP/1.1 503 Busy\r\n\r\n")
        while True:
            await peer.stream.send_all(b"x" * 10_000)

    async with network(serve, lockstep=True) as net:
        with pytest.raises(UpgradeRefused) as caught:
            async with opening(net):
                pytest.fail("opened")
    assert caught.value.status == 503
    assert len(str(caught.value)) < 700


async def sends(peer: Peer, data: bytes, end: bool) -> None:
    await peer.next()
    await peer.stream.send_all(data)
    if end:
        await peer.stream.aclose()
    await trio.sleep_forever()


BAD_101 = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
GARBAGE: dict[str, tuple[bytes, bool, str]] = {
    "not http": (b"SSH-2.0-OpenSSH_9.9\r\n", False, "does not speak HTTP; it sent 'SSH-2.0"),
    "a tls alert": (b"\x15\x03\x01\x00\x02\x02\x0a", False, "does not speak HTTP"),
    "bad token": (BAD_101 + b"Sec-WebSocket-Accept: x\r\n\r\n", False, "said 101, but .*Bad accept token"),
    "no token": (BAD_101 + b"\r\n", False, "said 101, but "),
    "extension": (BAD_101 + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", False, "said 101, but "),
    "bad header": (b"HTTP/1.1 101 S\r\nno colon\r\n\r\n", False, "said 101, but .*illegal header line"),
    "bad http": (b"HTTP/1.1 abc\r\n\r\n", False, "failed|hung up"),
    "half a head": (b"HTTP/1.1 101 Swi", True, "hung up before"),
    "nothing": (b"", True, "hung up before"),
}


@pytest.mark.parametrize(("data", "end", "text"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_an_answer_of_no_websocket_server_fails_at_once(
    data: bytes, end: bool, text: str, autojump_clock: MockClock
) -> None:
    async with network(lambda peer: sends(peer, data, end)) as net:
        started = trio.current_time()
        with pytest.raises(ConnectError, match=text) as caught:
            async with opening(net):
                pytest.fail("opened")
        assert trio.current_time() == started, "no deadline was needed"
    assert type(caught.value) is ConnectError


async def test_a_peer_that_is_gone_before_the_request_fails_at_once(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.stream.aclose()

    async with network(serve) as net:
        started = trio.current_time()
        with pytest.raises(ConnectError, match="hung up before"):
            async with opening(net):
                pytest.fail("opened")
        assert trio.current_time() == started


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 10"])
async def test_no_answer_meets_the_deadline(data: bytes, autojump_clock: MockClock) -> None:
    async with network(lambda peer: sends(peer, data, False)) as net:
        started = trio.current_time()
        with pytest.raises(ConnectTimeout, match=r"hub\.test:443 did not answer .* within 10 s"):
            async with opening(net):
                pytest.fail("opened")
        assert trio.current_time() - started == 10


async def test_connecting_and_the_upgrade_share_one_deadline(autojump_clock: MockClock) -> None:
    async def slow(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        await trio.sleep(7)
        return await net.connect(host, port, tls=tls)

    async with network(lambda peer: sends(peer, b"", False)) as net:
        started = trio.current_time()
        with pytest.raises(ConnectTimeout):
            async with open_transport(
                "ws://h/", connect=slow, headers=[], connect_s=10, send_s=1, close_s=1, max_message_bytes=100
            ):
                pytest.fail("opened")
        assert trio.current_time() - started == 10


async def failing(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
    raise ConnectionRefusedError(111, "Connection refused")


async def hanging(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(
    ("connect", "error", "text"),
    [
        (failing, ConnectError, "no connection to h:80: .*Connection refused"),
        (hanging, ConnectTimeout, "no connection to h:80 within 3 s"),
    ],
)
async def test_no_way_to_the_host(
    connect: Callable[..., Awaitable[trio.abc.Stream]],
    error: type[Exception],
    text: str,
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(error, match=text) as caught:
        async with open_transport(
            "ws://h/?access_token=" + SECRET,
            connect=connect,
            headers=[],
            connect_s=3,
            send_s=1,
            close_s=1,
            max_message_bytes=9,
        ):
            pytest.fail("opened")
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://h/", []),
        ("ws://h/a b?access_token=" + SECRET, []),
        ("ws://h/ä?access_token=" + SECRET, []),
        ("ws://u:p@h/", []),
        ("ws://h:99999/", []),
        ("ws://h:0/", []),
        ("ws:///x", []),
        ("ws://[::1/", []),
        ("ws://h/", [(b"Authorization", b"Bearer " + SECRET.encode() + b"\r\nX: y")]),
        ("ws://h/", [(b"Auth:", SECRET.encode())]),
        ("ws://h/", [(b"Authorization", b" " + SECRET.encode())]),
    ],
)
async def test_what_cannot_be_sent_is_refused_without_being_quoted(
    url: str, headers: list[tuple[bytes, bytes]], autojump_clock: MockClock
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_transport(
            url, connect=failing, headers=headers, connect_s=3, send_s=1, close_s=1, max_message_bytes=9
        ):
            pytest.fail("opened")
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_no_secret_is_logged_or_in_any_error(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level("DEBUG")
    url = "wss://hub.test/hubs/market?access_token=" + SECRET
    headers = [(b"Authorization", b"Bearer " + SECRET.encode())]
    async with network(answer(b"401 No", body=b"bad token " + SECRET.encode())) as net:
        with pytest.raises(UpgradeRefused) as caught:
            async with opening(net, url, headers):
                pytest.fail("opened")
    exc: BaseException | None = caught.value
    while exc is not None:
        assert SECRET not in repr(exc) + str(exc)
        exc = exc.__cause__ or exc.__context__
    async with network(polite) as net, opening(net, url, headers) as transport:
        await transport.send(f"Bearer {SECRET}")
        await transport.receive()
        assert SECRET not in repr(transport)
    assert caplog.records
    assert SECRET not in caplog.text
    assert all(SECRET not in repr(record.__dict__) for record in caplog.records)


# Receiving


def then(*steps: Event | bytes, end: bool = False) -> Serve:
    """Accept, send ``steps`` (events, or bytes as they are) in one write; then serve on, or hang up."""

    async def serve(peer: Peer) -> None:
        await peer.accept()
        data = b"".join(step if isinstance(step, bytes) else peer.wsproto.send(step) for step in steps)
        await peer.stream.send_all(data)
        if end:
            await peer.stream.aclose()
        else:
            await peer.run()

    return serve


async def ends(transport: Transport) -> TransportClosed:
    """Receive until the end; return it."""
    try:
        while True:
            await transport.receive()
    except TransportClosed as exc:
        assert transport.closed == CloseReason(exc.code, exc.reason)  # noqa: PT017  what to expect, not whether
        return exc


async def test_texts_of_one_read_arrive_as_one(autojump_clock: MockClock) -> None:
    events = [TextMessage(data=f"{i}\x1e") for i in range(100)]
    async with network(then(*events)) as net, opening(net) as transport:
        assert await transport.receive() == "".join(event.data for event in events)
        assert (transport.frames_in, transport.frames_out) == (100, 1)


async def test_a_binary_message_is_its_text(autojump_clock: MockClock) -> None:
    serve = then(BytesMessage(data="é\x1e".encode()), BytesMessage(data=b"\xff"), TextMessage(data="on"))
    async with network(serve) as net, opening(net) as transport:
        assert await transport.receive() == "é\x1e"
        with pytest.raises(ProtocolError, match="1 bytes is not UTF-8"):
            await transport.receive()
        assert await transport.receive() == "on"


async def test_a_message_of_several_mebibytes_arrives(autojump_clock: MockClock) -> None:
    text = "0123456789" * 300_000
    async with network(then(TextMessage(data=text))) as net, opening(net) as transport:
        assert await transport.receive() == text


@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_message_above_the_limit_ends_with_1009_at_both_ends(
    fragments: int, autojump_clock: MockClock
) -> None:
    codes: list[int] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        for i in range(fragments):
            await peer.send(TextMessage(data="x" * (1200 // fragments), message_finished=i == fragments - 1))
        await peer.send(TextMessage(data="y" * 5000))
        event = await peer.next()
        assert isinstance(event, CloseConnection)
        codes.append(event.code)

    async with network(serve) as net, opening(net, max_message_bytes=1000) as transport:
        assert (await ends(transport)).code == 1009
        await trio.testing.wait_all_tasks_blocked()
        await net.assert_closed()
    assert codes == [1009]


async def test_joining_does_not_make_a_message_too_long(autojump_clock: MockClock) -> None:
    events = [TextMessage(data="x" * 400)] * 10
    async with network(then(*events)) as net, opening(net, max_message_bytes=1000) as transport:
        assert [len(await transport.receive()) for _ in range(5)] == [800] * 5


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "going\nsoon"), (1008, "no"), (1011, ""), (1012, ""), (4001, "mine")],
)
async def test_the_servers_close_code_arrives_after_what_it_sent_before(
    code: int, reason: str, autojump_clock: MockClock
) -> None:
    serve = then(TextMessage(data="last"), CloseConnection(code=code, reason=reason))
    async with network(serve) as net, opening(net) as transport:
        assert await transport.receive() == "last"
        closed = await ends(transport)
        assert (closed.code, closed.reason) == (code, reason.replace("\n", "\\n"))
        with pytest.raises(TransportClosed):
            await transport.send("x")
        with pytest.raises(TransportClosed):
            await transport.ping(1)
    assert isinstance(again(closed), TransportClosed)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"\x81\x01\xff", 1007), (b"\x83\x00", 1002), (b"\x81\x7e\x00\x01a", 1002), (b"\x80\x00", 1002)],
)
async def test_a_breach_ends_it_and_closes_the_stream(
    data: bytes, code: int, autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(TextMessage(data="good"))
        await peer.stream.send_all(data)
        while True:
            await peer.stream.send_all(b"\x81\x01x" * 1000)

    async with network(serve, lockstep=True) as net, opening(net) as transport:
        assert await transport.receive() == "good"
        assert (await ends(transport)).code == code
        await trio.testing.wait_all_tasks_blocked()
        await net.assert_closed()
        assert transport.bytes_in < 1_000_000


@pytest.mark.parametrize("partial", [b"", b"\x81", b"\x81\x7e\x01", b"\x81\x05ab", b"\x01\x02ab"])
async def test_hanging_up_is_1006_and_half_a_frame_is_never_delivered(
    partial: bytes, autojump_clock: MockClock
) -> None:
    async with network(then(TextMessage(data="whole"), partial, end=True)) as net, opening(net) as transport:
        assert await transport.receive() == "whole"
        closed = await ends(transport)
        assert (closed.code, closed.reason) == (1006, "the other side hung up without a Close frame")


async def test_a_crash_of_the_reader_ends_the_transport_not_the_block(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def crash(self: object, event: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("trio_websocket.WebSocketConnection._handle_ping_event", crash)
    async with network(then(Ping(payload=b"p"))) as net, opening(net) as transport:
        closed = await ends(transport)
        assert (closed.code, closed.__cause__.__class__) == (1006, RuntimeError)
        assert "RuntimeError('a bug')" in closed.reason
        with pytest.raises(TransportClosed):
            await transport.send("x")


async def test_ctrl_c_in_the_reader_comes_out_as_it_is(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def interrupted(self: object, event: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trio_websocket.WebSocketConnection._handle_ping_event", interrupted)
    async with network(then(Ping(payload=b"p"))) as net:
        with pytest.raises(KeyboardInterrupt):
            async with opening(net) as transport:
                await ends(transport)


async def test_nothing_is_read_ahead_of_a_slow_receiver(autojump_clock: MockClock) -> None:
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        for sent in range(1, 101):
            await peer.send(TextMessage(data=f"{sent}\x1e"))
        await peer.run()

    async with network(serve, lockstep=True) as net, opening(net) as transport:
        await trio.sleep(60)
        assert sent < 10
        got = ""
        while len(got.split("\x1e")) <= 100:
            got += await transport.receive()
        assert got == "".join(f"{i}\x1e" for i in range(1, 101))


# Sending and pings


async def test_a_send_that_is_not_taken_in_time_closes_the_connection(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with network(serve, lockstep=True) as net, opening(net) as transport:
        started = trio.current_time()
        with pytest.raises(TransportClosed, match=r"1006 \(the other side took nothing for 10 s\)$"):
            await transport.send("x")
        assert trio.current_time() - started == 10
        await net.assert_closed()
        closed = await ends(transport)
        assert (closed.code, closed.reason) == (1006, "the other side took nothing for 10 s")
    assert trio.current_time() - started == 10, "nothing more is waited for"


async def test_a_send_cancelled_half_way_closes_the_connection(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.receive_some(3)
        await trio.sleep_forever()

    async with network(serve, lockstep=True) as net, opening(net) as transport:
        with trio.move_on_after(1) as scope:
            await transport.send("a long text")
        assert scope.cancelled_caught
        await net.assert_closed()
        assert (await ends(transport)).code == 1006


async def test_a_send_cancelled_before_it_began_closes_nothing(autojump_clock: MockClock) -> None:
    async with network(polite) as net, opening(net) as transport:
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.send("never")
        await transport.send("still")
        assert await transport.receive() == "still"


async def test_a_ping_measures_the_way_there_and_back(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        while isinstance(event := await peer.next(), Ping):
            await trio.sleep(0.25)
            await peer.send(event.response())

    async with network(serve) as net, opening(net) as transport:
        assert await transport.ping(1) == pytest.approx(0.25)
        assert await transport.ping(1) == pytest.approx(0.25)


async def test_pings_without_pongs_are_too_slow_and_bounded(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        while await peer.next() is not None:
            pass

    async with network(serve) as net, opening(net) as transport:
        for _ in range(600):
            with pytest.raises(trio.TooSlowError):
                await transport.ping(1)
        assert transport.closed is None
        assert len(transport._websocket._pings) < 300


async def test_a_ping_ends_with_the_connection(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        assert isinstance(await peer.next(), Ping)
        await trio.sleep(2)
        await peer.stream.aclose()

    async with network(serve) as net, opening(net) as transport:
        started = trio.current_time()
        with pytest.raises(TransportClosed, match="1006"):
            await transport.ping(100)
        assert trio.current_time() - started == 2


async def test_the_servers_pings_are_answered(autojump_clock: MockClock) -> None:
    pongs: list[bytes] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(TextMessage(data="a"), Ping(payload=b"p"), TextMessage(data="b"))
        event = await peer.next()
        assert isinstance(event, Pong)
        pongs.append(bytes(event.payload))
        await peer.run()

    async with network(serve) as net, opening(net) as transport:
        assert [await transport.receive(), await transport.receive()] == ["a", "b"]
    assert pongs == [b"p"]


# Leaving


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), TrioProjectXError()])
async def test_the_blocks_own_exception_comes_out_as_it_is(
    error: BaseException, autojump_clock: MockClock
) -> None:
    codes: list[int] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        event = await peer.next()
        assert isinstance(event, CloseConnection)
        codes.append(event.code)
        await peer.send(event.response())

    async with network(serve) as net:
        with pytest.raises(type(error)) as caught:
            async with opening(net):
                raise error
        assert caught.value is error
    assert codes == [1000]


@pytest.mark.parametrize("how", ["leave", "cancel", "raise"])
@pytest.mark.parametrize("lockstep", [False, True], ids=["mute", "stuck"])
async def test_closing_is_bounded_however_the_block_is_left(
    how: str, lockstep: bool, autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with network(serve, lockstep=lockstep) as net:
        started = trio.current_time()
        with trio.CancelScope() as scope, suppress(ZeroDivisionError):
            async with opening(net):
                if how == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()
                elif how == "raise":
                    1 / 0  # noqa: B018
        assert scope.cancelled_caught == (how == "cancel")
        assert trio.current_time() - started == 5
        await net.assert_closed()


async def test_a_cancelled_block_still_closes_in_order(autojump_clock: MockClock) -> None:
    codes: list[int] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(event := await peer.next(), CloseConnection):
            assert event is not None
        codes.append(event.code)
        await trio.sleep(1)
        await peer.send(event.response())

    async with network(serve) as net:
        started = trio.current_time()
        with trio.move_on_after(3):
            async with opening(net) as transport:
                await transport.receive()
        assert trio.current_time() - started == 4
    assert codes == [1000]


async def test_closing_goes_on_while_nobody_receives(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        for i in range(20):
            await peer.send(TextMessage(data=str(i)))
        await peer.run()

    async with network(serve, lockstep=True) as net:
        async with opening(net):
            await trio.sleep(1)
            started = trio.current_time()
        # The peer is stuck in its own send until our reader goes on reading; then it sees our Close frame.
        assert trio.current_time() - started <= 5


class AtStep(trio.abc.Instrument):
    """Does something before the ``step``-th step of any task after it was made."""

    def __init__(self, step: int, do: Callable[[], None]) -> None:
        self.left = step
        self.do = do

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.do()

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *exc: object) -> None:
        trio.lowlevel.remove_instrument(self)


async def use(net: Network) -> None:
    async with opening(net) as transport:
        await transport.send("hello")
        assert await transport.receive() == "hello"
        assert await transport.ping(5) >= 0
        await transport.send("world")
        assert await transport.receive() == "world"


@pytest.mark.parametrize("lockstep", [False, True], ids=["memory", "lockstep"])
async def test_cancelled_at_every_step_nothing_is_left(lockstep: bool, autojump_clock: MockClock) -> None:
    finished = step = 0
    while finished < 3:
        step += 1
        assert step < 1000
        before = trio.lowlevel.current_statistics().tasks_living
        async with network(polite, lockstep=lockstep) as net:
            with trio.CancelScope() as scope, AtStep(step, scope.cancel) as at:
                await use(net)
            await net.assert_closed()
            finished += at.left > 0
        assert trio.lowlevel.current_statistics().tasks_living == before
    assert step > 30, "the sweep must have swept"


@pytest.mark.parametrize("lockstep", [False, True], ids=["memory", "lockstep"])
async def test_hung_up_at_every_step_it_is_told_at_once(lockstep: bool, autojump_clock: MockClock) -> None:
    finished = step = 0
    errors: set[type[Exception]] = set()
    while finished < 3:
        step += 1
        assert step < 1000
        started = trio.current_time()
        before = trio.lowlevel.current_statistics().tasks_living
        async with network(polite, lockstep=lockstep) as net:
            with AtStep(step, net.hang_up) as at:
                try:
                    await use(net)
                except (ConnectError, TransportClosed) as exc:
                    errors.add(type(exc))
            finished += at.left > 0
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert trio.current_time() == started, "nothing was waited for"
    assert errors == {ConnectError, TransportClosed}


# Sockets


def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@asynccontextmanager
async def serving(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hub"
        nursery.cancel_scope.cancel()


async def test_over_a_socket() -> None:
    async with serving(lambda stream: polite(Peer(stream))) as url, opening(None, url) as transport:
        await transport.send("hello")
        assert await transport.receive() == "hello"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 101 Swit"])
async def test_a_reset_before_the_answer_fails_at_once(head: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if head:
            await stream.send_all(head)
        reset(stream)

    async with serving(serve) as url:
        with pytest.raises(ConnectError, match="hung up before") as caught:
            async with opening(None, url):
                pytest.fail("opened")
    assert type(caught.value) is ConnectError


async def test_a_reset_in_mid_frame_is_1006() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        peer = Peer(stream)
        await peer.accept()
        await peer.send(TextMessage(data="whole"))
        assert isinstance(await peer.next(), TextMessage)
        await stream.send_all(b"\x81\x05ab")
        reset(stream)

    async with serving(serve) as url, opening(None, url) as transport:
        assert await transport.receive() == "whole"
        await transport.send("got it")
        closed = await ends(transport)
    assert (closed.code, closed.reason) == (1006, f"the connection broke: {closed.__cause__}")
    assert isinstance(closed.__cause__, trio.BrokenResourceError)


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ConnectError, match=f"no TCP connection to 127.0.0.1:{port}"):
            async with opening(None, f"ws://127.0.0.1:{port}/"):
                pytest.fail("opened")
