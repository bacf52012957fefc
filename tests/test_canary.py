"""No secret in anything that is printed: every log record at DEBUG, every repr, every traceback."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator

import attrs
import pytest
import trio
import trio.testing

import trio_projectx as px
from trio_projectx.simulator import Fault, open_simulator

API_KEY = "canary-api-key-7f3a"


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """Everything that any logger says at DEBUG, with tracebacks."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    root = logging.getLogger()
    level = root.level
    lines = logging.StreamHandler(out)
    lines.setFormatter(px.JsonFormatter())  # with all fields
    root.addHandler(handler)
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.removeHandler(lines)
    root.setLevel(level)


def assert_clean(text: str, *canaries: str) -> None:
    for canary in canaries:
        assert canary not in text
        # Nor in pieces: the payload of a JWT is as good as the whole.
        for piece in canary.split("."):
            assert len(piece) < 8 or piece not in text


async def until_told(events: px.Stream[object], kind: type, times: int) -> list[str]:
    """Read events until ``times`` of a kind have come; return them all, printed."""
    found: list[object] = []
    with trio.fail_after(20):
        while sum(isinstance(event, kind) for event in found) < times:
            found.append(await events.receive())
    return [repr(event) for event in found]


@pytest.mark.parametrize("transport", ["header", "query"])
@pytest.mark.parametrize("negotiate", [False, True])
async def test_a_whole_life_prints_no_secret(printed: io.StringIO, transport: str, negotiate: bool) -> None:
    """On sockets: streams of both hubs, a refresh, a loss, a fatal end."""
    shown: list[str] = []
    async with open_simulator(api_key=API_KEY, speed=20) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            credentials=px.Credentials("simulator", API_KEY),
            token_transport=transport,
            negotiate=negotiate,
        )
        async with px.open_gateway(config) as gateway, gateway.open_events() as events:
            parts = gateway._parts
            (site,) = parts.sites
            tokens = [await site.tokens.token()]
            async with gateway.open_bars("MNQ", "1s") as bars, gateway.open_quotes("MNQ") as quotes:
                async with gateway.open_user_events() as user_events:
                    await bars.receive()
                    await gateway.refresh_token()
                    tokens.append(await site.tokens.token())
                    shown += await until_told(events, px.ConnectionReplaced, 2)
                    everything = [
                        config, gateway, bars, quotes, user_events, events, gateway.statistics(), gateway.health(),
                        parts, parts.streams, site, site.tokens, *parts.refreshers, parts.streams.service,
                    ]  # fmt: skip
                    for hub in (parts.streams.market_hub, parts.streams.user_hub):
                        everything += [hub, vars(hub), vars(hub.keeper), hub.tools]
                        for line in hub.lines:
                            everything += [line, vars(line), vars(line.epoch), vars(line.epoch._address.rest)]
                    shown += [f"{thing!r} {thing}" for thing in everything]
                    await site.rest.post(
                        f"{sim.url}/control/drop?access_token={tokens[-1]}",
                        b"",
                        {"Authorization": f"Bearer {tokens[-1]}"},
                        5,
                    )
                    shown += await until_told(events, px.HubStateChanged, 4)  # both lost, both live
                    sim.inject(Fault("close_record", hub="market", allow_reconnect=False, error=tokens[-1]))
                    with pytest.raises(px.ConnectionLost) as info:
                        while True:
                            await bars.receive()
                    shown += ["".join(traceback.format_exception(info.value)), repr(info.value.args)]
            with pytest.raises(trio.WouldBlock):
                while True:
                    shown.append(repr(events.receive_nowait()))
    assert len(set(tokens)) == 2
    assert sum("HubStateChanged" in each for each in shown) >= 6
    assert printed.getvalue(), "nothing was logged: this test would prove nothing"
    assert_clean(printed.getvalue() + "".join(shown), API_KEY, *tokens)


@pytest.mark.parametrize("transport", ["header", "query"])
async def test_refusals_print_no_secret(printed: io.StringIO, transport: str) -> None:
    async with open_simulator(api_key=API_KEY) as sim:
        token = "eyJhbGciOiJIUzI1NiJ9.Y2FuYXJ5LXBheWxvYWQ.Y2FuYXJ5LXNpZ25hdHVyZQ"
        for credentials in (
            px.Credentials("simulator", "wrong-canary-key"),
            px.Credentials.from_token(token),
        ):
            config = attrs.evolve(
                px.GatewayConfig.simulated(sim.url), credentials=credentials, token_transport=transport
            )
            with pytest.raises(px.AuthError) as info:
                async with px.open_gateway(config) as gateway, gateway.open_bars(sim.contract_id, "1s"):
                    pass
            text = (
                "".join(traceback.format_exception(info.value)) + printed.getvalue() + repr(info.value.args)
            )
            assert_clean(text, "wrong-canary-key", token, API_KEY)


async def test_an_unreachable_hub_prints_no_secret(printed: io.StringIO) -> None:
    async def refuse(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        raise OSError(111, f"Connection refused to {host}")

    token = "canary-token-that-is-no-jwt"
    config = px.GatewayConfig(
        credentials=px.Credentials.from_token(token), connect=refuse, token_transport="query"
    )
    with pytest.raises(px.ConnectError) as info:
        async with px.open_gateway(config) as gateway, gateway.open_bars("CON.F.US.MNQ.Z26", "1s"):
            pass
    assert_clean("".join(traceback.format_exception(info.value)) + printed.getvalue(), token)


async def test_a_service_that_echoes_what_it_was_sent_makes_us_print_no_secret(printed: io.StringIO) -> None:
    """By value, for neither an opaque token nor an API key has a form that could be known."""
    key, token = "canary-key-of-no-form", "canary-token-of-no-form"

    async def echo(stream: trio.abc.Stream) -> None:
        async with stream:
            request = await stream.receive_some(65536)
            body = b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n%s" % (len(request), bytes(request))
            await stream.send_all(body)

    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(echo, theirs)
            return ours

        for credentials in (px.Credentials("me", key), px.Credentials.from_token(token)):
            config = attrs.evolve(
                px.GatewayConfig.simulated("http://h"), credentials=credentials, connect=connect
            )
            for negotiate in (False, True):
                with pytest.raises(px.TrioProjectXError) as info:
                    async with px.open_gateway(attrs.evolve(config, negotiate=negotiate)) as gateway:
                        async with gateway.open_bars("CON.F.US.MNQ.Z26", "1s"):
                            pass
                text = "".join(traceback.format_exception(info.value)) + repr(info.value.args)
                assert_clean(text + printed.getvalue(), key, token)
        nursery.cancel_scope.cancel()
