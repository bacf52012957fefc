"""REST against raw HTTP: refusals, garbage, hangs, bounds, cancellation; sockets only where a socket shows it."""

from __future__ import annotations

import json
import logging
import ssl
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from scripted import API_KEY, MNQ, Json, Network, Request, Wire, config_for, open_network, rest_for, token_no
from simulator_tools import open_hub, virtual_wall
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectTimeout,
    GatewayError,
    Limits,
    ProtocolError,
    Timeouts,
    TrioProjectXError,
)
from trio_projectx._errors import again, cleaned
from trio_projectx.connection.answers import LOGIN_ERRORS, TryLater, seconds, wire_time
from trio_projectx.connection.auth import CredentialsRefused, TokenRefused
from trio_projectx.connection.network import open_network_stream
from trio_projectx.connection.rest import RestClient
from trio_projectx.market import parse_stamp
from trio_projectx.simulator import Simulator, open_simulator

Call = Callable[[RestClient], Awaitable[object]]
TOKEN = token_no(7)
SINCE_NS = 1_787_172_690_052_000_000  # 2026-08-19T20:51:30.052Z

CALLS: dict[str, Call] = {
    "login": lambda rest: rest.login("me", API_KEY),
    "validate": lambda rest: rest.validate(TOKEN),
    "logout": lambda rest: rest.logout(TOKEN),
    "bars": lambda rest: rest.newest_bar_ns(MNQ, SINCE_NS, TOKEN),
    "account search": lambda rest: rest.search_accounts(TOKEN, active=True),
    "contract search": lambda rest: rest.search_contracts("ES", live=False, token=TOKEN),
    "contract by id": lambda rest: rest.contract(MNQ, token=TOKEN),
}


@asynccontextmanager
async def serving(
    answer: Callable[[Wire, Request], Awaitable[None]], **changes: object
) -> AsyncGenerator[tuple[Network, RestClient]]:
    async with open_network(rest=answer) as network, rest_for(config_for(network, **changes)) as rest:
        yield network, rest


@asynccontextmanager
async def to_simulator(sim: Simulator) -> AsyncGenerator[RestClient]:
    async with RestClient(sim.url, connect=sim.connect, deadline_s=30, body_limit=1 << 20) as rest:
        yield rest


def replying(
    status: int, body: bytes = b"", *headers: tuple[str, str]
) -> Callable[[Wire, Request], Awaitable[None]]:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply(status, body, *headers)

    return answer


def raw(data: bytes, *, close: bool = True) -> Callable[[Wire, Request], Awaitable[None]]:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.stream.send_all(data)
        if close:
            await wire.stream.aclose()
        else:
            await trio.sleep_forever()

    return answer


# What is sent, and what good answers give


async def test_login_sends_what_the_service_wants(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(token=TOKEN)

    async with serving(answer) as (network, rest):
        assert await rest.login("me", API_KEY) == TOKEN
    (request,) = network.requests
    assert (request.method, request.target) == ("POST", "/api/Auth/loginKey")
    assert json.loads(request.body) == {"userName": "me", "apiKey": API_KEY}
    assert request.headers["host"] == "rest.test"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.bearer is None


async def test_the_other_calls_carry_the_token_in_the_header(autojump_clock: MockClock) -> None:
    contract = {
        "id": MNQ,
        "name": "MNQU6",
        "tickSize": 0.25,
        "tickValue": 0.5,
        "activeContract": True,
        "new": 1,
    }

    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(newToken=token_no(8), contracts=[contract], contract=contract)

    async with serving(answer) as (network, rest):
        assert await rest.validate(TOKEN) == token_no(8)
        (found,) = await rest.search_contracts("MNQ", live=True, token=TOKEN)
        assert (found.id, found.tickSize, found.activeContract) == (MNQ, 0.25, True)
        assert await rest.contract(MNQ, token=TOKEN) == found
    assert [r.bearer for r in network.requests] == [TOKEN] * 3
    bodies = [json.loads(r.body) for r in network.requests]
    assert bodies == [{}, {"searchText": "MNQ", "live": True}, {"contractId": MNQ}]
    assert [r.path for r in network.requests] == [
        "/api/Auth/validate",
        "/api/Contract/search",
        "/api/Contract/searchById",
    ]


async def test_validate_without_a_new_token_keeps_the_old_one(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(newToken=None)

    async with serving(answer) as (_, rest):
        assert await rest.validate(TOKEN) == TOKEN


async def test_logout_carries_the_token_and_gives_nothing(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json()

    async with serving(answer) as (network, rest):
        await rest.logout(TOKEN)
    (request,) = network.requests
    assert (request.path, request.bearer, request.body) == ("/api/Auth/logout", TOKEN, b"{}")


async def test_logging_out_of_the_simulator_ends_the_token() -> None:
    async with open_simulator(port=None) as sim, to_simulator(sim) as rest:
        token = await rest.login("simulator", "simulator-key")
        assert await rest.validate(token) != token
        await rest.logout(token)
        with pytest.raises(TokenRefused):
            await rest.validate(token)


async def test_accounts_of_the_simulator() -> None:
    async with open_simulator(port=None) as sim, to_simulator(sim) as rest:
        token = await rest.login("simulator", "simulator-key")
        active = await rest.search_accounts(token, active=True)
        every = await rest.search_accounts(token, active=False)
        assert {account.id for account in active} <= {account.id for account in every}
        assert all(account.canTrade for account in active)
        assert len(every) >= len(active) >= 1


# The newest bar


@pytest.mark.parametrize(
    ("bars", "newest"),
    [
        ([], None),
        ([{"t": "2026-08-19T20:51:40+00:00", "o": 1, "h": 1, "l": 1, "c": 1, "v": 3}], 40),
        ([{"t": "2026-08-19T15:51:40-05:00", "v": 1}], 40),
        ([{"t": "2026-08-19T20:51:40Z", "v": 0}], None),
        ([{"t": "2026-08-19T20:51:40Z", "v": None}], None),
        ([{"t": "2026-08-19T20:51:40Z"}], None),
        ([{"t": "2026-08-19T20:51:35Z", "v": 1}, {"t": "2026-08-19T20:51:40Z", "v": 1}], 40),
    ],
)
async def test_the_newest_bar_with_volume(
    autojump_clock: MockClock, bars: list[Json], newest: int | None
) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(bars=bars)

    minute_ns = SINCE_NS // 60_000_000_000 * 60_000_000_000
    async with serving(answer) as (network, rest):
        found = await rest.newest_bar_ns(MNQ, SINCE_NS, TOKEN)
        assert found == (None if newest is None else minute_ns + newest * 1_000_000_000)
    (request,) = network.requests
    assert (request.path, request.bearer) == ("/api/History/retrieveBars", TOKEN)
    assert json.loads(request.body) == {
        "contractId": MNQ,
        "live": False,
        "startTime": "2026-08-19T20:51:30Z",
        "endTime": "2026-08-20T20:51:30Z",
        "unit": 1,
        "unitNumber": 1,
        "limit": 1,
        "includePartialBar": True,
    }


async def test_the_simulators_newest_bar_is_that_of_its_newest_trade(autojump_clock: MockClock) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, to_simulator(sim) as rest:
        token = await rest.login("simulator", "simulator-key")
        async with open_hub(sim, queue=10_000, token=token) as hub:
            await hub.call("SubscribeContractTrades", sim.contract_id)
            since_ns = sim.market_now_ns()
            await trio.sleep(60)
            newest = await rest.newest_bar_ns(sim.contract_id, since_ns, token)
            stamps = sim.truth(sim.contract_id)["ts_event"].to_pylist()
        assert newest is not None
        assert newest > since_ns
        assert newest == max(stamps) // 1_000_000_000 * 1_000_000_000
        assert await rest.newest_bar_ns(sim.contract_id, max(stamps) + 3_600_000_000_000, token) is None
        with pytest.raises(GatewayError) as raised:
            await rest.newest_bar_ns("CON.F.US.XYZ.U26", since_ns, token)
        assert raised.value.code == 1


@pytest.mark.parametrize("ts_ns", [-(1 << 63), -1, 0, (1 << 63) - 1])
def test_every_int64_has_a_second(ts_ns: int) -> None:
    assert len(wire_time(ts_ns)) == 20


@given(st.integers(-9_200_000_000, 9_200_000_000), st.integers(0, 999_999_999))
def test_the_second_of_a_stamp_is_the_one_it_lies_in(second: int, ns: int) -> None:
    assert parse_stamp(wire_time(second * 1_000_000_000 + ns)) == second * 1_000_000_000


# Refusals


@pytest.mark.parametrize("code", [*LOGIN_ERRORS, 77])
async def test_a_refused_login_says_why(autojump_clock: MockClock, code: int) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(success=False, errorCode=code, errorMessage="see\nus", token=None)

    async with serving(answer) as (_, rest):
        with pytest.raises(TrioProjectXError) as raised:
            await rest.login("me", API_KEY)
    if code == 8:  # "unknown error": nothing that speaks against the credentials
        assert type(raised.value) is GatewayError
        assert "login refused: errorCode 8 see\\nus" in str(raised.value)
        return
    # A code that is not known may come to mean anything; it is no reason to stop asking for good.
    assert type(raised.value) is (AuthError if code == 77 else CredentialsRefused)
    meaning = LOGIN_ERRORS.get(code, "unknown error")
    assert f"login refused: {meaning} (errorCode {code}): see\\nus; check user name" in str(raised.value)


@pytest.mark.parametrize("name", list(CALLS)[1:])
async def test_success_false_is_an_error_with_the_services_code(autojump_clock: MockClock, name: str) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(success=False, errorCode=3, errorMessage="ouch \x1b[31m")

    async with serving(answer) as (_, rest):
        with pytest.raises(TrioProjectXError, match=f"{name} refused: errorCode 3 ouch") as raised:
            await CALLS[name](rest)
    if name == "validate":  # its 3 is an expired token (test_connection_pacer has the table)
        assert isinstance(raised.value, TokenRefused)
        return
    assert isinstance(raised.value, GatewayError)
    assert raised.value.code == 3
    assert raised.value.text == r"ouch \x1b[31m"


async def test_an_unknown_contract_is_none(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(success=False, errorCode=1, contract=None)

    async with serving(answer) as (_, rest):
        assert await rest.contract(MNQ, token=TOKEN) is None


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "says"),
    [
        (401, (), b"", AuthError, "HTTP 401"),
        (403, (), b"go away", AuthError, r"forbids this user \(HTTP 403\): go away"),
        (429, (("Retry-After", "7"),), b"", GatewayError, r"HTTP 429\); it asks to wait 7 s"),
        (429, (("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),), b"", GatewayError, r"HTTP 429\)$"),
        (429, (("Retry-After", "9" * 400),), b"", GatewayError, r"HTTP 429\)$"),
        (503, (("Retry-After", "120"),), b"down", GatewayError, "HTTP 503: down; it asks to wait 120 s"),
        (503, (), b"", GatewayError, "HTTP 503: no text$"),
        (500, (), b"<html>\r\n<h1>Oops</h1>", GatewayError, r"HTTP 500: <html>\\r\\n<h1>Oops"),
        (500, (), b"\xff\xfe\x00", GatewayError, "HTTP 500"),
        (400, (), b'{"title":"Bad Request"}', GatewayError, "HTTP 400"),
        (204, (), b"", GatewayError, "HTTP 204: no text"),
        (302, (("Location", "http://evil.test/"),), b"", GatewayError, "HTTP 302"),
        (307, (("Location", "/api/elsewhere"),), b"", GatewayError, "HTTP 307"),
        (200, (), b"<html>", ProtocolError, "not the Gateway's"),
        (200, (), b"", ProtocolError, "not the Gateway's"),
        (200, (), b"[]", ProtocolError, "not the Gateway's"),
        (200, (), b'{"success":"yes","errorCode":0}', ProtocolError, "not the Gateway's"),
        (200, (), b'{"success":true}', ProtocolError, "not the Gateway's"),
        (200, (), b"[" * 100_000, ProtocolError, "not the Gateway's"),
        (
            200,
            (),
            b'{"success":true,"errorCode":0,"errorMessage":"\xff"}',
            ProtocolError,
            "not the Gateway's",
        ),
        (200, (("Content-Encoding", "gzip"),), b"x" * 40, ProtocolError, "compressed"),
    ],
)
async def test_answers_that_are_none(
    autojump_clock: MockClock,
    name: str,
    status: int,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    kind: type[TrioProjectXError],
    says: str,
) -> None:
    async with serving(replying(status, body, *headers)) as (network, rest):
        with pytest.raises(kind, match=says) as raised:
            await CALLS[name](rest)
        assert len(network.requests) == 1  # no redirect is followed, and nothing is tried again
    assert isinstance(raised.value, TokenRefused) == (status == 401 and name != "login")
    assert isinstance(raised.value, CredentialsRefused) == (status in (401, 403) and name == "login")
    if isinstance(raised.value, GatewayError):
        assert raised.value.code == status
    assert isinstance(raised.value, TryLater) == (status in (429, 503))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("login", {"token": 5}),
        ("login", {"token": "with a space"}),
        ("login", {"token": "line\nbreak"}),
        ("login", {"token": "ümlaut"}),
        ("validate", {"newToken": "line\r\nX-Evil: 1"}),
        ("bars", {"bars": [{"t": "2026-08-19T20:51:31", "v": 1}]}),
        ("bars", {"bars": [{"t": "yesterday", "v": 1}]}),
        ("bars", {"bars": [{"v": 1}]}),
        ("bars", {"bars": [{"t": "2026-08-19T20:51:31Z", "v": "1"}]}),
        ("bars", {"bars": {}}),
        ("contract search", {"contracts": None}),
        ("contract search", {"contracts": [{"name": "no id"}]}),
        ("contract search", {"contracts": [{"id": MNQ, "tickSize": "0.25"}]}),
        ("contract by id", {"contract": []}),
    ],
)
async def test_good_answers_with_wrong_contents(
    autojump_clock: MockClock, name: str, fields: dict[str, object]
) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(**fields)  # type: ignore[arg-type]

    async with serving(answer) as (_, rest):
        with pytest.raises(ProtocolError):
            await CALLS[name](rest)


@pytest.mark.parametrize("token", [None, ""])
async def test_a_login_without_a_token(autojump_clock: MockClock, token: str | None) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(token=token)

    async with serving(answer) as (_, rest):
        with pytest.raises(ProtocolError, match="success without a token"):
            await rest.login("me", API_KEY)


async def test_a_validate_with_an_empty_token(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(newToken="")

    async with serving(answer) as (_, rest):
        with pytest.raises(ProtocolError, match="success without a token"):
            await rest.validate(TOKEN)


def test_try_later_is_the_same_when_it_is_made_again() -> None:
    error = TryLater("busy, says key-k", 429, "text", 7.0)
    for other in (again(error), cleaned(error, ["key-k"])):
        assert isinstance(other, TryLater)
        assert (other.code, other.text, other.retry_after_s) == (429, "text", 7.0)
    assert str(cleaned(error, ["key-k"])) == "busy, says [redacted]"


@pytest.mark.parametrize(
    ("header", "expected"),
    [("0", 0.0), ("120", 120.0), ("9" * 9, 999999999.0)]
    + [
        (bad, None)
        for bad in (None, "", "-1", "1.5", "1e3", "\u0661", "9" * 10, "Wed, 21 Oct 2026 07:28:00 GMT")
    ],
)
def test_retry_after(header: str | None, expected: float | None) -> None:
    assert seconds(header) == expected


# Connections that go wrong


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not reached"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "not reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", "not reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n", "declares"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not reached"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, "not reached"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "HTTP 101|not reached",
        ),
        (b"\x15\x03\x01\x00\x02\x02\x28", "not reached"),
    ],
)
async def test_bytes_that_are_no_answer(autojump_clock: MockClock, data: bytes, says: str) -> None:
    async with serving(raw(data)) as (_, rest):
        with trio.fail_after(100), pytest.raises((ConnectError, ProtocolError, GatewayError), match=says):
            await rest.validate(TOKEN)


@pytest.mark.parametrize("after", [0, 20, 60])
async def test_a_reset_in_the_answer(autojump_clock: MockClock, after: int) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.stream.send_all((b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"x" * 99)[:after])
        await trio.sleep(1)
        wire.reset()

    async with serving(answer) as (_, rest):
        with pytest.raises(ConnectError, match="not reached"):
            await rest.validate(TOKEN)
        assert trio.current_time() == pytest.approx(1)


HANGS = {
    "before the answer": b"",
    "in the head": b"HTTP/1.1 200 OK\r\nContent-",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.parametrize("where", HANGS)
async def test_a_hang_is_bounded(autojump_clock: MockClock, where: str) -> None:
    async with serving(raw(HANGS[where], close=False)) as (network, rest):
        with pytest.raises(ConnectTimeout, match="no whole answer within 30 s"):
            await rest.validate(TOKEN)
        assert trio.current_time() == pytest.approx(30)
        assert network.open_streams() == 0


async def test_a_drip_is_bounded_as_a_whole(autojump_clock: MockClock) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        await wire.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        for _ in range(900):
            await trio.sleep(1)
            await wire.stream.send_all(b"x")

    async with serving(answer, timeouts=Timeouts(rest_s=5)) as (_, rest):
        with pytest.raises(ConnectTimeout):
            await rest.validate(TOKEN)
        assert trio.current_time() == pytest.approx(5)


async def test_a_connection_that_is_not_made_is_bounded(autojump_clock: MockClock) -> None:
    async with serving(replying(200)) as (network, rest):
        network.connecting = trio.sleep_forever
        with pytest.raises(ConnectTimeout):
            await rest.validate(TOKEN)
        assert trio.current_time() == pytest.approx(30)


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "no"), OSError("no route"), ConnectError("bad TLS")]
)
async def test_a_door_that_fails(autojump_clock: MockClock, error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with serving(replying(200)) as (network, rest):
        network.connecting = fail
        with pytest.raises(ConnectError):
            await rest.validate(TOKEN)


@pytest.mark.parametrize("how", ["declared", "chunked", "until the end"])
async def test_a_body_above_the_limit_is_not_read(autojump_clock: MockClock, how: str) -> None:
    sent = 0

    async def answer(wire: Wire, request: Request) -> None:
        nonlocal sent
        head = {
            "declared": b"Content-Length: 100000000\r\n",
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "until the end": b"Connection: close\r\n",
        }[how]
        await wire.stream.send_all(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        part = b"400\r\n" + b"x" * 1024 + b"\r\n"
        while True:
            await wire.stream.send_all(part)
            sent += len(part)

    async with serving(answer, limits=Limits(rest_body_bytes=200_000)) as (network, rest):
        with pytest.raises(ProtocolError, match="limit of 200000"):
            await rest.validate(TOKEN)
        assert network.open_streams() == 0
    assert sent < 500_000


async def test_a_body_at_the_limit_is_read(autojump_clock: MockClock) -> None:
    body = json.dumps({"newToken": None, "success": True, "errorCode": 0, "pad": ""}).encode()
    async with serving(replying(200, body), limits=Limits(rest_body_bytes=len(body))) as (_, rest):
        assert await rest.validate(TOKEN) == TOKEN


# Cancellation and reuse


@pytest.mark.parametrize("header", ["Set-Cookie", "set-cookie"])
async def test_cookies_are_neither_kept_nor_sent(autojump_clock: MockClock, header: str) -> None:
    numbers = iter(range(100))

    async def answer(wire: Wire, request: Request) -> None:
        cookies = [(header, f"n{next(numbers)}={'x' * 1000}; Max-Age=86400") for _ in range(3)]
        await wire.reply(200, json.dumps({"success": True, "errorCode": 0}).encode(), *cookies)

    async with serving(answer) as (network, rest):
        for _ in range(20):
            await rest.logout(TOKEN)
    assert not any("cookie" in request.headers for request in network.requests)


async def test_a_storm_of_cancelled_calls_leaves_a_client_that_works(autojump_clock: MockClock) -> None:
    slow = True

    async def answer(wire: Wire, request: Request) -> None:
        if slow:
            await trio.sleep(1)
            await wire.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{")
            await trio.sleep_forever()
        await wire.reply_json(newToken=None)

    async with serving(answer) as (network, rest):
        for storm in range(40):
            with trio.move_on_after(0.06 * storm) as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(12):
                        nursery.start_soon(rest.validate, TOKEN)
            assert scope.cancelled_caught
            assert network.open_streams() == 0
        slow = False
        with trio.fail_after(1):
            assert await rest.validate(TOKEN) == TOKEN


async def test_more_calls_than_connections_all_get_their_turn(autojump_clock: MockClock) -> None:
    most = 0
    now = 0

    async def answer(wire: Wire, request: Request) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        await wire.reply_json(newToken=None)

    async with serving(answer) as (_, rest):
        async with trio.open_nursery() as nursery:
            for _ in range(35):
                nursery.start_soon(rest.validate, TOKEN)
    assert most == 10
    assert trio.current_time() == pytest.approx(4)


async def test_a_stream_of_which_nobody_knows_whether_it_was_closed_serves_once(
    autojump_clock: MockClock,
) -> None:
    """Streams in memory, say: sending on one that was closed meanwhile would fail a call for nothing."""

    async def answer(wire: Wire, request: Request) -> None:
        await wire.reply_json(newToken=None)
        await wire.stream.aclose()

    async with serving(answer) as (network, rest):
        for _ in range(3):
            assert await rest.validate(TOKEN) == TOKEN
        assert len(network.asked) == 3


async def test_after_closing_it_says_so(autojump_clock: MockClock) -> None:
    async with serving(replying(200)) as (_, rest):
        pass
    with pytest.raises(trio.ClosedResourceError, match="the gateway was closed"):
        await rest.validate(TOKEN)


async def test_closing_is_prompt_also_when_cancelled_in_a_call(autojump_clock: MockClock) -> None:
    async with open_network(rest=raw(b"", close=False)) as network:
        with trio.move_on_after(3):
            async with rest_for(config_for(network)) as rest:
                await rest.validate(TOKEN)
        assert trio.current_time() == pytest.approx(3)
        assert network.open_streams() == 0


async def listening(
    nursery: trio.Nursery,
    serve: Callable[[Wire, Request], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> tuple[int, Network]:
    """Serve on a socket of the loopback; return its port."""
    network = Network(nursery, serve, serve)

    async def handle(stream: trio.abc.Stream) -> None:
        await network._serve(stream)  # type: ignore[arg-type]  # any stream will do

    if context is None:
        listeners: list[trio.abc.Listener[trio.abc.Stream]] = list(
            await trio.open_tcp_listeners(0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]  # type: ignore[attr-defined]
    else:
        tls = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
        port = tls[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
        listeners = list(tls)
    nursery.start_soon(trio.serve_listeners, handle, listeners)
    return port, network


async def test_a_socket_is_used_again_and_a_closed_one_is_not() -> None:
    connections: set[int] = set()

    async def answer(wire: Wire, request: Request) -> None:
        connections.add(id(wire))
        keep.append(wire)
        await wire.reply_json(newToken=None)

    keep: list[Wire] = []
    async with trio.open_nursery() as nursery:
        port, _ = await listening(nursery, answer)
        async with RestClient(
            f"http://127.0.0.1:{port}", connect=None, deadline_s=5, body_limit=1000
        ) as rest:
            for _ in range(5):
                await rest.validate(TOKEN)
            assert len(connections) == 1
            await keep[0].stream.aclose()
            await trio.sleep(0.05)
            await rest.validate(TOKEN)
            assert len(connections) == 2
        nursery.cancel_scope.cancel()


async def test_tls_is_spoken_by_the_door_with_its_own_trust_roots() -> None:
    """REST goes through the same `Connect` as the hubs; a private CA is trusted by both or by neither."""
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(server)
    roots = ssl.create_default_context()
    ca.configure_trust(roots)

    async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        return await open_network_stream(host, port, tls=tls, ssl_context=roots)

    async def answer(wire: Wire, request: Request) -> None:
        hosts.append(request.headers["host"])
        await wire.reply_json(newToken=None)

    hosts: list[str] = []
    async with trio.open_nursery() as nursery:
        port, _ = await listening(nursery, answer, server)
        url = f"https://localhost:{port}"
        async with RestClient(url, connect=connect, deadline_s=5, body_limit=1000) as rest:
            for _ in range(2):
                assert await rest.validate(TOKEN) == TOKEN
        assert hosts == [f"localhost:{port}"] * 2
        async with RestClient(url, connect=None, deadline_s=5, body_limit=1000) as rest:
            with pytest.raises(ConnectError, match="certificate"):
                await rest.validate(TOKEN)
        nursery.cancel_scope.cancel()


# Secrets


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [200, 401, 403, 429, 500])
async def test_no_secret_is_in_any_text(
    autojump_clock: MockClock, name: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def echo(wire: Wire, request: Request) -> None:
        """Say everything that the client said, back to it."""
        await wire.reply(status, request.body + str(dict(request.headers)).encode())

    async with serving(echo) as (_, rest):
        with pytest.raises(TrioProjectXError) as raised:
            await CALLS[name](rest)
        text = repr(rest)
    text += "".join(traceback.format_exception(raised.value)) + str(raised.value.args)
    text += "\n".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)
    for secret in (API_KEY, *TOKEN.split(".")):
        assert secret not in text
