"""What each end of a connection means: one row per row of FAULTS.md that is one, and every close code."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from scripted import Hub, Network, Request, Wire, open_network
from trio.testing import MockClock

from trio_projectx import _errors
from trio_projectx._errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    ContractError,
    GatewayError,
    ProtocolError,
    SubscriptionError,
    TrioProjectXError,
    again,
    cleaned,
)
from trio_projectx.connection import endings
from trio_projectx.connection.auth import TokenFunctionFailed, TokenRefused
from trio_projectx.connection.endings import (
    HandshakeRefused,
    HubClosed,
    LoggedOut,
    NegotiateRefused,
    NoSuchHub,
    Silent,
)
from trio_projectx.connection.negotiate import check_redirect, parse_negotiation
from trio_projectx.connection.network import TlsError, open_network_stream
from trio_projectx.connection.transport import Transport, TransportClosed, open_transport
from trio_projectx.connection.upgrade import read_refusal
from trio_projectx.connection.verdict import Action, Verdict, verdict

RETRY, LOGIN, FATAL = Action.RETRY, Action.LOGIN, Action.FATAL


# -- how an epoch tells what it met


def caused(error: TrioProjectXError, by: BaseException | None) -> TrioProjectXError:
    error.__cause__ = by
    return error


def lost(met: TrioProjectXError) -> TrioProjectXError:
    """Of an epoch that was live."""
    return caused(ConnectionLost(f"market hub: connection lost: {met}"), met)


def unready(met: TrioProjectXError) -> TrioProjectXError:
    """Of one that was not live yet."""
    return caused(ConnectError(f"market hub: the connection ended before it was ready: {met}"), met)


def ended(code: int, by: BaseException | None = None) -> TrioProjectXError:
    return caused(TransportClosed(code, ""), by)


def reset() -> TrioProjectXError:
    return ended(1006, trio.BrokenResourceError("connection reset by peer"))


def hung_up_early() -> TrioProjectXError:
    error = ConnectError("hub.test:80 hung up before it had answered the WebSocket upgrade")
    return caused(error, trio.BrokenResourceError())


def unreached(below: BaseException) -> TrioProjectXError:
    """As trio tells it: an OSError, and behind it a group with one error for each address."""
    failed = OSError("all attempts to connect to hub.test:80 failed")
    failed.__cause__ = below if isinstance(below, socket.gaierror) else ExceptionGroup("all", [below])  # type: ignore[list-item]
    return caused(ConnectError("no TCP connection to hub.test:80"), failed)


def refused() -> TrioProjectXError:
    return unreached(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))


def upgrade(status: int, *headers: str) -> TrioProjectXError:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} No", *headers, "Content-Length: 0", ""))
    error = read_refusal(head.encode(), "hub.test:80")
    assert error is not None
    return error


def told_by(status: int, error: TrioProjectXError) -> TrioProjectXError:
    """An epoch's own error for a status, with the refusal behind it."""
    return caused(error, upgrade(status))


def raised(call: Callable[[], object]) -> TrioProjectXError:
    with pytest.raises(TrioProjectXError) as caught:
        call()
    return caught.value


def fresh_token_refused() -> TrioProjectXError:
    """As `TokenSource.using` tells it; the cause alone would be worth another login."""
    return caused(AuthError("HTTP 401, also a fresh one"), told_by(401, TokenRefused("HTTP 401")))


@attrs.frozen
class Row:
    fault: int
    what: str
    error: TrioProjectXError
    action: Action
    cause: str
    retry_after_s: float | None = None
    negotiated: bool = False

    def __str__(self) -> str:
        return f"{self.fault}-{self.what.replace(' ', '-')}"


ROWS = [
    Row(1, "RST while streaming", lost(reset()), RETRY, "reset"),
    Row(2, "FIN without Close", lost(ended(1006)), RETRY, "hung_up"),
    Row(3, "RST in mid frame", lost(reset()), RETRY, "reset"),
    Row(4, "RST in the upgrade", hung_up_early(), RETRY, "unreachable"),
    Row(4, "RST in the handshake", unready(reset()), RETRY, "reset"),
    Row(4, "RST in the first ticks", lost(reset()), RETRY, "reset"),
    Row(5, "RST at a scheduler step", unready(reset()), RETRY, "reset"),
    Row(6, "RST before the upgrade answer", hung_up_early(), RETRY, "unreachable"),
    Row(7, "RST before the completion", lost(reset()), RETRY, "reset"),
    Row(8, "RST during token refresh", lost(reset()), RETRY, "reset"),
    Row(9, "close 1000", lost(ended(1000)), RETRY, "close_1000"),
    Row(9, "close 1001", lost(ended(1001)), RETRY, "close_1001"),
    Row(9, "close 1008", lost(ended(1008)), LOGIN, "close_1008"),
    Row(9, "close 1011", lost(ended(1011)), RETRY, "close_1011"),
    Row(9, "close 1012", lost(ended(1012)), RETRY, "close_1012"),
    Row(9, "close 1013", lost(ended(1013)), RETRY, "close_1013"),
    Row(10, "Close allowReconnect", HubClosed("m", True), RETRY, "close_record"),
    Row(11, "Close without", HubClosed("m", False, "maintenance until Monday"), FATAL, "close_record"),
    Row(12, "Close at once", HubClosed("m", True, "Connection closed with an error."), RETRY, "close_record"),
    Row(13, "half open", Silent("m: no record for 30 s"), RETRY, "silent"),
    Row(14, "packets vanish", Silent("m: no record for 30 s"), RETRY, "silent"),
    Row(14, "a send that is not taken", lost(ended(1006, trio.ClosedResourceError())), RETRY, "reset"),
    Row(15, "no hub pings", Silent("m: no record for 30 s"), RETRY, "silent"),
    Row(16, "server stops reading", lost(ended(1006, trio.ClosedResourceError())), RETRY, "reset"),
    Row(18, "a record too slow", Silent("m: a record was not whole after 120 s"), RETRY, "silent"),
    Row(20, "restart", refused(), RETRY, "refused"),
    Row(21, "outage", unreached(OSError(errno.EHOSTUNREACH, "no route")), RETRY, "unreachable"),
    Row(22, "flaps", lost(reset()), RETRY, "reset"),
    Row(23, "reconnects", lost(reset()), RETRY, "reset"),
    Row(24, "refused at start", refused(), RETRY, "refused"),
    Row(25, "unknown host", unreached(socket.gaierror(socket.EAI_NONAME, "unknown")), RETRY, "dns"),
    Row(25, "DNS hangs", ConnectTimeout("no connection within 10 s"), RETRY, "timeout"),
    Row(26, "bad certificate", TlsError("the certificate is not accepted"), FATAL, "tls"),
    Row(27, "one hub down", refused(), RETRY, "refused"),
    Row(29, "401 first", told_by(401, TokenRefused("HTTP 401")), LOGIN, "unauthorized"),
    Row(29, "401 on the upgrade", upgrade(401), LOGIN, "unauthorized"),
    Row(29, "401 with a fresh token", fresh_token_refused(), FATAL, "auth"),
    Row(29, "login refused", AuthError("login refused: invalid credentials (errorCode 3)"), FATAL, "auth"),
    Row(30, "403", told_by(403, AuthError("HTTP 403")), FATAL, "auth"),
    Row(30, "403 as it came", upgrade(403), FATAL, "forbidden"),
    Row(30, "403 at negotiate", NegotiateRefused("m", 403), FATAL, "forbidden"),
    Row(31, "404 for a used id", told_by(404, NoSuchHub("HTTP 404")), RETRY, "stale_id", negotiated=True),
    Row(31, "404 without an id", told_by(404, NoSuchHub("HTTP 404")), FATAL, "no_hub"),
    Row(31, "404 for a used id as it came", upgrade(404), RETRY, "stale_id", negotiated=True),
    Row(31, "404 as it came", upgrade(404), FATAL, "no_hub"),
    Row(31, "404 at negotiate", NegotiateRefused("m", 404), FATAL, "no_hub", negotiated=True),
    Row(32, "429 with Retry-After", upgrade(429, "Retry-After: 30"), RETRY, "http_429", 30.0),
    Row(32, "429 without", upgrade(429), RETRY, "http_429"),
    Row(32, "429 at negotiate", NegotiateRefused("m", 429, 7.0), RETRY, "http_429", 7.0),
    Row(32, "429 at login", GatewayError("m", 429, ""), RETRY, "rest"),
    Row(33, "500 on the upgrade", upgrade(500), RETRY, "http_500"),
    Row(33, "502 on the upgrade", upgrade(502), RETRY, "http_502"),
    Row(33, "503 with Retry-After", upgrade(503, "Retry-After: 5"), RETRY, "http_503", 5.0),
    Row(33, "503 at negotiate", NegotiateRefused("m", 503, 0.0), RETRY, "http_503", 0.0),
    Row(33, "500 at login", GatewayError("m", 500, "oops"), RETRY, "rest"),
    Row(34, "negotiate hangs", ConnectTimeout("negotiate: none within 10 s"), RETRY, "timeout"),
    Row(35, "HTML", raised(partial(parse_negotiation, b"<html>")), RETRY, "unreachable"),
    Row(35, "empty", raised(partial(parse_negotiation, b"")), RETRY, "unreachable"),
    Row(35, "wrong types", raised(partial(parse_negotiation, b'{"url":3}')), RETRY, "unreachable"),
    Row(35, "64 MiB", ProtocolError("the answer is longer than the limit"), RETRY, "protocol"),
    Row(36, "redirect", raised(partial(check_redirect, "http://a", "http://b")), RETRY, "unreachable"),
    Row(37, "handshake hangs", ConnectTimeout("no answer to the handshake within 15 s"), RETRY, "timeout"),
    Row(38, "handshake refused", HandshakeRefused("m", "no such protocol"), FATAL, "handshake"),
    Row(39, "handshake garbage", ProtocolError("no handshake response"), RETRY, "protocol"),
    Row(39, "handshake garbage, wrapped", unready(ProtocolError("garbage")), RETRY, "protocol"),
    Row(41, "nothing acknowledged", Silent("m: none of 3 subscriptions"), RETRY, "silent"),
    Row(43, "token expired, Close", HubClosed("m", True), RETRY, "close_record"),
    Row(43, "token expired, 1008", lost(ended(1008)), LOGIN, "close_1008"),
    Row(43, "token expired, 401 then", told_by(401, TokenRefused("HTTP 401")), LOGIN, "unauthorized"),
    Row(44, "no data, but pings", ConnectionLost("market hub: stalled"), RETRY, "lost"),
    Row(45, "GatewayLogout", LoggedOut("m"), LOGIN, "logged_out"),
    Row(50, "login refused in a refresh", AuthError("login refused"), FATAL, "auth"),
]

#: Rows up to 51 that end no connection, and why.
NO_END = {
    17: "pongs are no sign of life, by default",
    19: "latency",
    28: "one refresh for both hubs",
    40: "of its stream alone",
    42: "an answer nobody waits for",
    46: "the old connection is left by us",
    47: "the old one stays",
    48: "the old one stays",
    49: "the old token stays",
    51: "one path only",
}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_fault(row: Row) -> None:
    expected = Verdict(row.action, row.retry_after_s, row.cause)
    assert verdict(row.error, negotiated=row.negotiated) == expected
    # Stored and raised again, or without a secret that stood in it, it means the same.
    assert verdict(again(row.error), negotiated=row.negotiated) == expected
    secret = str(row.error)
    assert verdict(cleaned(row.error, [secret]), negotiated=row.negotiated) == expected


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_negotiation_matters_for_404_alone(row: Row) -> None:
    pair = {verdict(row.error, negotiated=negotiated).action for negotiated in (False, True)}
    assert len(pair) == (2 if row.fault == 31 and "negotiate" not in row.what else 1)


def test_every_row_of_the_catalogue_is_here(shared: Path) -> None:
    text = (shared / "reference" / "FAULTS.md").read_text()
    numbers = {int(each) for each in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert {row.fault for row in ROWS} | NO_END.keys() == {n for n in numbers if n <= 51}
    assert not {row.fault for row in ROWS} & NO_END.keys()


# -- close codes


@pytest.mark.parametrize("wrap", [lost, unready, lambda met: met])
@pytest.mark.parametrize("code", [*range(1000, 1016), 3000, 4000])
def test_every_close_code(code: int, wrap: Callable[[TrioProjectXError], TrioProjectXError]) -> None:
    found = verdict(wrap(ended(code)), negotiated=False)
    assert found.action is (LOGIN if code == 1008 else RETRY)
    assert found.cause == ("hung_up" if code == 1006 else f"close_{code}")
    assert found.retry_after_s is None


# -- the rest of the rules


@pytest.mark.parametrize(
    ("error", "action", "cause"),
    [
        (ConfigError("m"), FATAL, "config"),
        (ContractError("m"), FATAL, "config"),
        (SubscriptionError("m"), RETRY, "rest"),
        (TrioProjectXError("m"), RETRY, "unknown"),
        (ConnectError("m"), RETRY, "unreachable"),
        (ConnectionLost("m"), RETRY, "lost"),
        (TokenFunctionFailed("OSError"), RETRY, "token_function"),
        (lost(Silent("m")), RETRY, "silent"),
        (lost(lost(ended(1008))), LOGIN, "close_1008"),
        (unready(TlsError("m")), FATAL, "tls"),
        (unready(upgrade(418)), RETRY, "http_418"),
        (lost(ConnectError("m")), RETRY, "lost"),
        # What decides is the outermost that says something: behind a refusal stands what led to it.
        (caused(HubClosed("m", False), ended(1000)), FATAL, "close_record"),
        (caused(Silent("m"), ended(1008)), RETRY, "silent"),
        (caused(ProtocolError("m"), AuthError("m")), RETRY, "protocol"),
    ],
)
def test_rules(error: TrioProjectXError, action: Action, cause: str) -> None:
    assert verdict(error, negotiated=False) == Verdict(action, None, cause)


def test_there_is_a_verdict_on_every_error() -> None:
    kinds = [
        kind
        for module in (_errors, endings)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, TrioProjectXError)
    ]
    assert len(kinds) > 15
    for kind in kinds:
        arguments = ("m", 500) if kind is NegotiateRefused else ("m", True) if kind is HubClosed else ("m",)
        found = verdict(kind(*arguments), negotiated=False)
        assert re.fullmatch("[a-z0-9_]+", found.cause)


def test_an_endless_chain_of_causes_ends() -> None:
    first, second = ConnectError("m"), ConnectionLost("m")
    first.__cause__, second.__cause__ = second, first
    assert verdict(first, negotiated=False).cause == "unreachable"
    assert verdict(second, negotiated=False).cause == "lost"


# -- the same from the real parts: what they raise is what the table expects


async def live(network: Network, *, text: str = "") -> TrioProjectXError:
    """Connect, read until the end (and send ``text``, if any, all the time), and tell it as an epoch does."""
    opening = open_transport(
        "ws://hub.test/hubs/market",
        connect=network.connect,
        headers=(),
        connect_s=5.0,
        send_s=5.0,
        close_s=5.0,
        max_message_bytes=1 << 20,
    )
    try:
        async with opening as transport, trio.open_nursery() as nursery:
            if text:
                nursery.start_soon(send_to_the_end, transport, text)
            return lost(await read_to_the_end(transport))
    except ConnectError as exc:
        return exc


async def send_to_the_end(transport: Transport, text: str) -> None:
    with suppress(TransportClosed):
        while True:
            await transport.send(text)


async def read_to_the_end(transport: Transport) -> TrioProjectXError:
    while True:
        try:
            await transport.receive()
        except TrioProjectXError as exc:
            return exc


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1014), 3000, 4000])
async def test_a_close_frame(autojump_clock: MockClock, code: int) -> None:
    async def hub(wire: Wire, request: Request) -> None:
        accepted: Hub = await wire.accept()
        await accepted.ws.aclose(code, "because")

    async with open_network(hub) as network:
        found = verdict(await live(network), negotiated=False)
    assert found == Verdict(LOGIN if code == 1008 else RETRY, None, f"close_{code}")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Verdict(RETRY, None, "unreachable")),
        ((429, "30"), Verdict(RETRY, 30.0, "http_429")),
        ((404, None), Verdict(FATAL, None, "no_hub")),
        ((101, "reset"), Verdict(RETRY, None, "reset")),
        ((101, "end"), Verdict(RETRY, None, "hung_up")),
    ],
)
async def test_an_upgrade(
    autojump_clock: MockClock, answer: tuple[int, str | None] | None, expected: Verdict
) -> None:
    async def hub(wire: Wire, request: Request) -> None:
        match answer:
            case None:
                wire.reset()
            case (101, how):
                await wire.accept()
                await trio.sleep(1)  # the answer arrives before
                wire.reset() if how == "reset" else await wire.stream.aclose()
            case (status, retry_after):
                await wire.reply(status, b"", *([("Retry-After", retry_after)] if retry_after else []))

    async with open_network(hub) as network:
        assert verdict(await live(network), negotiated=False) == expected


async def test_a_server_that_takes_nothing(autojump_clock: MockClock) -> None:
    async def hub(wire: Wire, request: Request) -> None:
        await wire.accept()
        await trio.sleep_forever()

    async with open_network(hub) as network:
        error = await live(network, text="x" * 200_000)
    assert "took nothing for 5 s" in str(error)
    assert verdict(error, negotiated=False) == Verdict(RETRY, None, "reset")


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError) as caught:
            await open_network_stream("127.0.0.1", reserved.getsockname()[1], tls=False)
    assert verdict(caught.value, negotiated=False) == Verdict(RETRY, None, "refused")


async def test_a_port_that_does_not_speak_tls() -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, listeners)
        with pytest.raises(ConnectError) as caught:
            await open_network_stream("127.0.0.1", listeners[0].socket.getsockname()[1], tls=True)
        nursery.cancel_scope.cancel()
    assert verdict(caught.value, negotiated=False) == Verdict(FATAL, None, "tls")


class Unknown(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args: object, **options: object) -> list[object]:  # type: ignore[override]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: object) -> tuple[str, str]:  # type: ignore[override]
        raise NotImplementedError


async def test_a_host_that_nobody_knows() -> None:
    before = trio.socket.set_custom_hostname_resolver(Unknown())
    try:
        with pytest.raises(ConnectError) as caught:
            await open_network_stream("hub.test", 80, tls=False)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert verdict(caught.value, negotiated=False) == Verdict(RETRY, None, "dns")
