"""The ends of a hub connection that only the server brings about, and texts that come in pieces."""

from __future__ import annotations

import json

import pytest
import trio
from simulator_tools import HANDSHAKE, masked, open_hub, until, upgrade_head, virtual_wall

from trio_projectx.simulator import open_simulator

COME_BACK = '{"type":7,"allowReconnect":true}\x1e'


@pytest.mark.parametrize("hub", ["market", "user", "silent"])
async def test_a_connection_ends_with_its_token_within_a_second(hub: str, autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim, hub, token=sim.mint_token(20)) as client:
            start = trio.current_time()
            assert await client.until_closed() == 1000
            assert 20 <= trio.current_time() - start <= 21.1
            assert client.frames[-1] == COME_BACK
        await until(lambda: sim.statistics().disconnects == 1, 1)


async def test_a_connection_may_outlive_its_token(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, close_on_expiry=False) as sim,
        open_hub(sim, token=sim.mint_token(20), queue=100) as client,
    ):
        await trio.sleep(3600)
        assert client.ws.closed is None
        await client.send({"type": 1, "invocationId": "1", "target": "Add", "arguments": [1, 1]})
        assert (await client.records(100))[-1]["type"] in (3, 6)


async def test_a_logout_is_an_event_on_both_hubs_and_nothing_else(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim) as market, open_hub(sim, "user") as user:
            assert sim.log_out() == 2
            for client in (market, user):
                assert await client.frame() == '{"type":1,"target":"GatewayLogout","arguments":[]}\x1e'
                assert (await client.call("Add", 1, 1))["result"] == 2
            assert sim.log_out("nobody") == 0
            async with await sim.connect("h", 1, tls=False) as stream:
                await stream.send_all(
                    b"POST /control/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                )
                assert (await stream.receive_some()).endswith(b'{"n":2}')
            assert "GatewayLogout" in await market.frame()


async def test_characters_may_be_cut_by_frames(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        echo = {"type": 1, "invocationId": "1", "target": "Echo", "arguments": ["\u20ac\U0001f600"]}
        for byte in json.dumps(echo, ensure_ascii=False).encode() + b"\x1e":
            await client.ws.send_message(bytes([byte]))
        assert (await client.records(1))[0]["result"] == "\u20ac\U0001f600"


async def test_bytes_that_are_no_utf8_are_replaced_as_dotnet_does(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.ws.send_message(
            b'{"type":1,"invocationId":"1","target":"Echo","arguments":["a\xffb"]}\x1e'
        )
        assert (await client.records(1))[0]["result"] == "a\ufffdb"


@pytest.mark.parametrize("said", [1000, 1005])
async def test_the_client_closed_in_good_order(said: int, autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with await sim.connect("h", 1, tls=False) as stream:
            await stream.send_all(upgrade_head(sim.mint_token()) + masked(HANDSHAKE))
            await trio.sleep(1)
            payload = said.to_bytes(2, "big") if said == 1000 else b""
            await stream.send_all(bytes([0x88, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
            await until(lambda: sim.statistics().disconnects == 1, 1)
        async with await sim.connect("h", 1, tls=False) as stream:
            await stream.send_all(b"GET /control/state HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b'"lastDisconnect":"graceful"' in await stream.receive_some()


async def test_a_handshake_that_is_too_long_is_cancelled(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall) as sim,
        open_hub(sim, hands=False) as client,
    ):
        start = trio.current_time()
        await client.ws.send_message("x" * 40_000)
        assert await client.until_closed() == 1000
        assert trio.current_time() == start
        assert client.frames == ['{"error":"Handshake was canceled."}\x1e']
