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
from trio_projectx.simulator import open_simulator

API_KEY = "canary-api-key-7f3a"


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """Everything that any logger says at DEBUG, with tracebacks."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


def assert_clean(text: str, *canaries: str) -> None:
    for canary in canaries:
        assert canary not in text
        # Nor in pieces: the payload of a JWT is as good as the whole.
        for piece in canary.split("."):
            assert len(piece) < 8 or piece not in text


@pytest.mark.parametrize("transport", ["header", "query"])
@pytest.mark.parametrize("negotiate", [False, True])
async def test_a_whole_life_prints_no_secret(printed: io.StringIO, transport: str, negotiate: bool) -> None:
    shown: list[str] = []
    async with open_simulator(api_key=API_KEY, speed=20) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url),
            credentials=px.Credentials("simulator", API_KEY),
            token_transport=transport,
            negotiate=negotiate,
        )
        async with px.open_gateway(config) as gateway:
            async with gateway.open_bars("MNQ", "1s") as bars, gateway.open_quotes("MNQ") as quotes:
                await bars.receive()
                token = await gateway._directory.tokens.token()
                everything = [
                    config,
                    gateway,
                    bars,
                    quotes,
                    gateway.statistics(),
                    gateway._hub,
                    gateway._directory,
                ]
                shown += [f"{thing!r} {thing}" for thing in everything]
                shown += [repr(vars(gateway._hub._epoch)), repr(vars(gateway._directory.rest))]
                await gateway._hub._epoch._address.rest.post(
                    f"{sim.url}/control/drop?access_token={token}",
                    b"",
                    {"Authorization": f"Bearer {token}"},
                    5,
                )
                try:
                    while True:
                        await bars.receive()
                except px.ConnectionLost as exc:
                    shown.append("".join(traceback.format_exception(exc)))
    assert printed.getvalue(), "nothing was logged: this test would prove nothing"
    assert_clean(printed.getvalue() + "".join(shown), API_KEY, token)


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
