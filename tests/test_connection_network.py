"""The door to the network, on loopback: TCP and verified TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair

from trio_projectx._config import Connect
from trio_projectx._errors import ConnectError
from trio_projectx.connection.network import TlsError, close_forcefully, open_network_stream

HOST = "127.0.0.1"
Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def certified(ca: trustme.CA, name: str = HOST) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)
    return context


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


def tls_echo(context: ssl.SSLContext) -> Handler:
    async def handler(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the client did not like the certificate
            await echo(trio.SSLStream(stream, context, server_side=True, https_compatible=True))

    return handler


async def check_echo(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"hello")
    assert await stream.receive_some() == b"hello"
    await stream.aclose()


async def test_plain_tcp_without_delay() -> None:
    async with serving(echo) as port:
        stream = await open_network_stream(HOST, port, tls=False)
        assert isinstance(stream, trio.SocketStream)
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await check_echo(stream)


async def test_a_certificate_of_a_trusted_authority_is_accepted(ca: trustme.CA) -> None:
    connect: Connect = partial(open_network_stream, ssl_context=trusting(ca))
    async with serving(tls_echo(certified(ca))) as port:
        await check_echo(await connect(HOST, port, tls=True))


async def test_the_end_without_close_notify_is_an_end(ca: trustme.CA) -> None:
    async def rude(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, certified(ca), server_side=True)
        await tls.do_handshake()
        await stream.aclose()

    async with serving(rude) as port:
        stream = await open_network_stream(HOST, port, tls=True, ssl_context=trusting(ca))
        assert await stream.receive_some() == b""
        await stream.aclose()


class Closed:
    """Notes the sockets that trio opens for us, to see that each was closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[trio.SocketStream] = []
        real = trio.open_tcp_stream

        async def noting(host: str, port: int) -> trio.SocketStream:
            self.streams.append(await real(host, port))
            return self.streams[-1]

        monkeypatch.setattr("trio_projectx.connection.network.trio.open_tcp_stream", noting)

    def check(self) -> None:
        assert self.streams
        assert all(stream.socket.fileno() == -1 for stream in self.streams)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Closed:
    return Closed(monkeypatch)


@pytest.mark.parametrize("explicit", [True, False], ids=["another CA", "the system's roots"])
async def test_an_unknown_authority_is_refused(ca: trustme.CA, closed: Closed, explicit: bool) -> None:
    context = trusting(trustme.CA()) if explicit else None
    async with serving(tls_echo(certified(ca))) as port:
        with pytest.raises(TlsError, match=f"certificate of {HOST}:{port} is not accepted: ") as caught:
            await open_network_stream(HOST, port, tls=True, ssl_context=context)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    closed.check()


async def test_a_certificate_for_another_host_is_refused(ca: trustme.CA, closed: Closed) -> None:
    async with serving(tls_echo(certified(ca, "other.test"))) as port:
        with pytest.raises(TlsError, match=r"not accepted: .*mismatch"):
            await open_network_stream(HOST, port, tls=True, ssl_context=trusting(ca))
    closed.check()


async def test_plain_text_on_the_tls_port_is_refused(closed: Closed) -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as port:
        with pytest.raises(TlsError, match="does not speak TLS as it must"):
            await open_network_stream(HOST, port, tls=True)
    closed.check()


async def test_hanging_up_in_the_handshake_is_not_fatal(closed: Closed) -> None:
    async def rude(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with serving(rude) as port:
        with pytest.raises(ConnectError, match="hung up during the TLS handshake") as caught:
            await open_network_stream(HOST, port, tls=True)
    assert not isinstance(caught.value, TlsError)
    closed.check()


async def test_a_cancelled_handshake_closes_the_socket(closed: Closed) -> None:
    reached = trio.Event()

    async def mute(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        reached.set()
        await trio.sleep_forever()

    async with serving(mute) as port, trio.open_nursery() as nursery:
        nursery.start_soon(partial(open_network_stream, HOST, port, tls=True))
        await reached.wait()
        nursery.cancel_scope.cancel()
    closed.check()


async def test_refused_and_unknown_hosts_are_named() -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
        with pytest.raises(ConnectError, match=f"no TCP connection to {HOST}:{port}: ") as caught:
            await open_network_stream(HOST, port, tls=False)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ConnectError, match=r"no TCP connection to a\.\.b:1: "):
        await open_network_stream("a..b", 1, tls=False)


class NoSuchHost(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args: object) -> list[object]:  # type: ignore[override]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: object) -> tuple[str, str]:
        raise AssertionError


async def test_an_unknown_name_is_a_connect_error() -> None:
    trio.socket.set_custom_hostname_resolver(NoSuchHost())
    with pytest.raises(ConnectError, match=r"no TCP connection to hub\.test:443: .*not known"):
        await open_network_stream("hub.test", 443, tls=True)


async def test_closing_forcefully_works_when_cancelled() -> None:
    near, far = memory_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await close_forcefully(near)
    assert not scope.cancelled_caught, "it is shielded"
    assert await far.receive_some() == b""
