"""Where a hub's next connection goes: what is asked, with which token, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from scripted import Network, Request, Wire, config_for, open_network, rest_for, token_no, virtual_wall
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectTimeout,
    GatewayConfig,
    Limits,
    ProtocolError,
    Timeouts,
    TrioProjectXError,
)
from trio_projectx.connection.auth import TokenRefused
from trio_projectx.connection.endings import NegotiateRefused
from trio_projectx.connection.negotiator import HubAddress, Where
from trio_projectx.simulator import Fault, open_simulator

TOKEN = token_no(1)
GRANT = (
    b'{"negotiateVersion":1,"connectionId":"public","connectionToken":"s3cret+/=","availableTransports":'
    b'[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}'
)
Answer = Callable[[Request], tuple[int, bytes]]


@asynccontextmanager
async def address(
    answer: Answer, delay_s: float = 0, **changes: object
) -> AsyncGenerator[tuple[Network, HubAddress]]:
    async def rest_script(wire: Wire, request: Request) -> None:
        await trio.sleep(delay_s)
        status, body = answer(request)
        await wire.reply(status, body)

    async with open_network(rest=rest_script) as network:
        config = config_for(network, **{"negotiate": True, **changes})
        async with rest_for(config) as rest:
            yield network, HubAddress(config.all_endpoints[0].market_hub_url, config, rest)


async def test_without_negotiation_nothing_is_asked(autojump_clock: MockClock) -> None:
    async with address(lambda _: (500, b""), negotiate=False) as (network, hub):
        where = await hub.resolve(TOKEN)
        assert network.requests == []
    assert where == Where("ws://hub.test/hubs/market", [(b"Authorization", b"Bearer " + TOKEN.encode())])


async def test_each_connection_negotiates_anew(autojump_clock: MockClock) -> None:
    async with address(lambda _: (200, GRANT)) as (network, hub):
        for _ in range(3):
            where = await hub.resolve(TOKEN)
        assert [r.target for r in network.requests] == ["/hubs/market/negotiate?negotiateVersion=1"] * 3
    assert where.url == "ws://hub.test/hubs/market?id=s3cret%2B%2F%3D"
    for secret in ("s3cret", TOKEN):
        assert secret not in repr(where)
        assert secret not in repr(hub)


async def test_the_query_form_carries_both_secrets_and_no_header(autojump_clock: MockClock) -> None:
    async with address(lambda _: (200, GRANT), token_transport="query") as (network, hub):
        where = await hub.resolve(TOKEN)
        assert [r.bearer for r in network.requests] == [TOKEN]  # negotiating is HTTP, which has headers
    assert where == Where(f"ws://hub.test/hubs/market?id=s3cret%2B%2F%3D&access_token={TOKEN}", [])


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, b"", TokenRefused, "HTTP 401"),
        (403, b"no\x1b", AuthError, r"forbids this user \(HTTP 403\): no\\x1b"),
        (404, b"", NegotiateRefused, "no hub at this address .HTTP 404.; check the hub's URL"),
        (405, b"", NegotiateRefused, "no hub at this address .HTTP 405.; check the hub's URL"),
        (302, b"", NegotiateRefused, "HTTP 302: no text"),
        (503, b"<html>", NegotiateRefused, "HTTP 503: <html>"),
        (200, b"<html>", ConnectError, "not a SignalR hub"),
        (200, b"", ConnectError, "not a SignalR hub"),
        (200, b'{"error":"no\\nroom"}', ConnectError, r"error: no\\nroom"),
        (
            200,
            b'{"url":"http://hub.test/x","accessToken":"a\\r\\nb"}',
            ConnectError,
            "token holds a character",
        ),
        (
            200,
            b'{"url":"http://hub.test/x","accessToken":"\xc3\xbc"}',
            ConnectError,
            "token holds a character",
        ),
        (200, b'{"url":"http://hub.test:99999/"}', ConnectError, "no URL"),
        (200, b'{"url":"http://[::1/"}', ConnectError, "no URL"),
        (200, b'{"url":"http://hub.test/ \\u0000"}', ConnectError, "no URL"),
        (200, b'{"url":"http://hub.test/\xc3\xbc"}', ConnectError, "no URL"),
        (200, b'{"url":"ftp://hub.test:80/x"}', ConnectError, "another origin"),
        (200, b'{"url":"http://user:pw@hub.test/x"}', ConnectError, "another origin"),
        (
            200,
            b'{"url":"http://evil.test/x","accessToken":"t"}',
            ConnectError,
            r"another origin \(evil.test\)",
        ),
        (200, b"x" * 3000, ProtocolError, "limit of 2000"),
    ],
)
async def test_what_is_no_grant(
    autojump_clock: MockClock, status: int, body: bytes, kind: type[TrioProjectXError], says: str
) -> None:
    async with address(lambda _: (status, body), limits=Limits(rest_body_bytes=2000)) as (network, hub):
        with pytest.raises(kind, match=says) as raised:
            await hub.resolve(TOKEN)
        assert len(network.requests) == 1
    assert type(raised.value) is kind
    if isinstance(raised.value, NegotiateRefused):
        assert raised.value.status == status
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "header", "wait_s"), [(429, "7", 7.0), (503, "120", 120.0), (503, None, None)]
)
async def test_a_service_that_asks_to_wait(
    autojump_clock: MockClock, status: int, header: str | None, wait_s: float | None
) -> None:
    async def busy(wire: Wire, request: Request) -> None:
        await wire.reply(status, b"", *([("Retry-After", header)] if header else []))

    async with open_network(rest=busy) as network:
        config = config_for(network, negotiate=True)
        async with rest_for(config) as rest:
            with pytest.raises(NegotiateRefused) as raised:
                await HubAddress(config.all_endpoints[0].market_hub_url, config, rest).resolve(TOKEN)
    assert (raised.value.status, raised.value.retry_after_s) == (status, wait_s)


@pytest.mark.parametrize("given", [b"", b',"accessToken":"theirs"'], ids=["our token", "their token"])
async def test_an_allowed_origin_is_followed_with_their_token_or_ours(
    autojump_clock: MockClock, given: bytes
) -> None:
    def answer(request: Request) -> tuple[int, bytes]:
        at_home = request.headers["host"] == "hub.test"
        return 200, b'{"url":"http://rtc2.test/x"' + given + b"}" if at_home else GRANT

    async with address(answer, redirect_origins=("http://rtc2.test",)) as (network, hub):
        where = await hub.resolve(TOKEN)
        token = "theirs" if given else TOKEN
        assert [(r.headers["host"], r.target, r.bearer) for r in network.requests] == [
            ("hub.test", "/hubs/market/negotiate?negotiateVersion=1", TOKEN),
            ("rtc2.test", "/x/negotiate?negotiateVersion=1", token),
        ]
    bearer = [(b"Authorization", b"Bearer " + token.encode())]
    assert where == Where("ws://rtc2.test/x?id=s3cret%2B%2F%3D", bearer)


async def test_no_other_origin_ever_hears_of_a_token(autojump_clock: MockClock) -> None:
    """FAULTS.md row 36: the second origin is there and would answer; no connection is even made to it."""
    async with address(
        lambda _: (200, b'{"url":"http://evil.test/x"}'), redirect_origins=("http://rtc2.test",)
    ) as (network, hub):
        with pytest.raises(ConnectError, match="another origin"):
            await hub.resolve(TOKEN)
        assert {host for host, _, _ in network.asked} == {"hub.test"}


async def test_what_a_redirect_leads_to_may_echo_its_token_in_vain(autojump_clock: MockClock) -> None:
    def answer(request: Request) -> tuple[int, bytes]:
        if request.headers["host"] == "hub.test":
            return 200, b'{"url":"http://rtc2.test/x","accessToken":"opaque-token-of-theirs"}'
        return 500, f"who is {request.bearer}?".encode()

    async with address(answer, redirect_origins=("http://rtc2.test",)) as (_, hub):
        with pytest.raises(ConnectError, match="HTTP 500") as raised:
            await hub.resolve(TOKEN)
    assert "opaque-token-of-theirs" not in str(raised.value)


async def test_the_simulators_redirect_fault(autojump_clock: MockClock) -> None:
    """To an allowed origin, which here is the same simulator by another name; and refused where it is not allowed."""
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(GatewayConfig.simulated(sim.url), connect=sim.connect, negotiate=True)
        other = "http://127.0.0.2:1"
        for allowed in ((other,), ()):
            changed = attrs.evolve(config, redirect_origins=allowed)
            fault = sim.inject(Fault("http_body", hub="market", phase="negotiate", kind="redirect"))
            async with rest_for(changed) as rest:
                hub = HubAddress(config.all_endpoints[0].market_hub_url, changed, rest)
                if allowed:
                    # It leads to a place that is no hub, so that what is shown is where the request went.
                    with pytest.raises(ConnectError, match="HTTP 404"):
                        await hub.resolve(sim.mint_token())
                else:
                    with pytest.raises(ConnectError, match=r"another origin \(127.0.0.2\)"):
                        await hub.resolve(sim.mint_token())
            assert fault.struck == 1


async def test_redirects_use_the_last_token_that_was_given(autojump_clock: MockClock) -> None:
    answers = iter(
        [
            b'{"url":"http://HUB.test:80/a","accessToken":"first"}',
            b'{"url":"ws://hub.test/b?negotiateVersion=1"}',
            b'{"url":"http://hub.test/c","accessToken":"second"}',
            GRANT,
        ]
    )
    async with address(lambda _: (200, next(answers))) as (network, hub):
        where = await hub.resolve(TOKEN)
        assert [(r.target, r.bearer) for r in network.requests] == [
            ("/hubs/market/negotiate?negotiateVersion=1", TOKEN),
            ("/a/negotiate?negotiateVersion=1", "first"),
            ("/b/negotiate?negotiateVersion=1", "first"),
            ("/c/negotiate?negotiateVersion=1", "second"),
        ]
    assert where == Where("ws://hub.test/c?id=s3cret%2B%2F%3D", [(b"Authorization", b"Bearer second")])


async def test_a_hundred_redirects_are_followed_and_no_more(autojump_clock: MockClock) -> None:
    left = 100

    def answer(request: Request) -> tuple[int, bytes]:
        nonlocal left
        left -= 1
        return 200, b'{"url":"http://hub.test/x"}' if left >= 0 else GRANT

    async with address(answer) as (_, hub):
        await hub.resolve(TOKEN)
        left = 101
        with pytest.raises(ConnectError, match="circle"):
            await hub.resolve(TOKEN)


async def test_the_whole_of_it_is_bounded_however_many_redirects_there_are(autojump_clock: MockClock) -> None:
    again = b'{"url":"http://hub.test/x"}'
    async with address(lambda _: (200, again), delay_s=3, timeouts=Timeouts(connect_s=10)) as (_, hub):
        with pytest.raises(ConnectTimeout, match="within 10 s"):
            await hub.resolve(TOKEN)
        assert trio.current_time() == pytest.approx(10)
