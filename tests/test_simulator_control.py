from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest
import trio
from simulator_tools import HubClient, open_hub, trades_in, until, virtual_wall
from trio_websocket import ConnectionClosed

from trio_projectx.simulator import Simulator, open_simulator
from trio_projectx.simulator.truth import TradeColumns


@pytest.fixture
async def sim() -> AsyncGenerator[Simulator]:
    async with open_simulator(port=None, wall_clock=virtual_wall, seed=4) as simulator:
        yield simulator


async def ask(sim: Simulator, method: str, target: str, body: str = "") -> tuple[int, dict]:
    async with await sim.connect("h", 1, tls=False) as stream:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all((head + body).encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    text = answer.partition(b"\r\n\r\n")[2]
    return int(answer[9:12]), json.loads(text) if text else {}


async def test_the_state_shows_who_is_connected_and_what_to(autojump_clock: object, sim: Simulator) -> None:
    status, state = await ask(sim, "GET", "/control/state")
    assert (status, state["connects"], state["connections"], state["seed"]) == (200, 0, [], 4)
    assert "replay" not in state
    async with open_hub(sim) as market, open_hub(sim, "user") as user:
        await market.call("SubscribeContractTrades", "CON.F.US.MNQ.U26")
        await market.call("SubscribeContractMarketDepth", "CON.F.US.MES.U26")
        await market.call("UnsubscribeContractMarketDepth", "CON.F.US.MES.U26")
        await user.call("SubscribeAccounts")
        await user.call("SubscribeOrders", 7)
        _, state = await ask(sim, "GET", "/control/state")
        first, second = state["connections"]
        assert first.pop("Id") != second.pop("Id")
        shown = {"TokenFrom": "header", "User": "simulator", "Transport": "WebSockets"}
        assert first == {"Path": "/hubs/market", "subs": ["GatewayTrade CON.F.US.MNQ.U26"], **shown}
        assert second == {"Path": "/hubs/user", "subs": ["GatewayUserAccount", "GatewayUserOrder 7"], **shown}
    await trio.sleep(1)
    _, state = await ask(sim, "GET", "/control/state")
    assert (state["connects"], state["disconnects"], state["connections"]) == (2, 2, [])
    assert state["lastDisconnect"] == "lost"


async def test_a_token_of_any_length_of_life(autojump_clock: object, sim: Simulator) -> None:
    for ttl, status in ((60, 200), (-5, 401)):
        _, answer = await ask(sim, "GET", f"/control/token?ttl={ttl}")
        async with await sim.connect("h", 1, tls=False) as stream:
            await stream.send_all(
                "POST /api/Auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                f"Authorization: Bearer {answer['token']}\r\n\r\n".encode()
            )
            assert int((await stream.receive_some())[9:12]) == status


@pytest.mark.parametrize(
    ("route", "last"), [("abort", '{"type":7}\x1e'), ("requestclose", '{"type":7,"allowReconnect":true}\x1e')]
)
async def test_the_orderly_ends(autojump_clock: object, sim: Simulator, route: str, last: str) -> None:
    async with open_hub(sim) as client:
        assert await ask(sim, "POST", f"/control/{route}") == (200, {"n": 1})
        assert await client.until_closed() == 1000
        assert client.frames[-1] == last
    await until(lambda: sim.statistics().disconnects == 1, 1)
    _, state = await ask(sim, "GET", "/control/state")
    assert state["lastDisconnect"] == "graceful"


async def test_an_orderly_end_sends_what_waits_first(autojump_clock: object, sim: Simulator) -> None:
    async with open_hub(sim) as client:
        await client.send({"type": 1, "invocationId": "b", "target": "Burst", "arguments": ["T", "C", 300]})
        await client.records(300)
        await ask(sim, "POST", "/control/send?target=Last", "[1]")
        await ask(sim, "POST", "/control/abort")
        await client.until_closed()
        assert '"target":"Last"' in "".join(client.frames)


async def test_a_drop_has_no_close_record_and_no_close_frame(autojump_clock: object, sim: Simulator) -> None:
    async with open_hub(sim) as client:
        assert await ask(sim, "POST", "/control/drop") == (200, {"n": 1})
        assert await client.until_closed() == 1006
        assert client.frames == ["{}\x1e"]
    assert sim.statistics().crashes == sim.statistics().broken_off == 0


async def test_one_connection_can_be_picked(autojump_clock: object, sim: Simulator) -> None:
    async with open_hub(sim) as first, open_hub(sim) as second:
        _, state = await ask(sim, "GET", "/control/state")
        name = state["connections"][1]["Id"]
        assert await ask(sim, "POST", f"/control/abort?conn={name}") == (200, {"n": 1})
        assert await ask(sim, "POST", "/control/abort?conn=nobody") == (200, {"n": 0})
        assert await second.until_closed() == 1000
        assert (await first.call("Add", 1, 1))["result"] == 2


async def test_events_can_be_pushed(autojump_clock: object, sim: Simulator) -> None:
    async with open_hub(sim, "user") as client:
        event = [{"action": 1, "data": {"id": 7, "name": "\u00e9"}}]
        assert (await ask(sim, "POST", "/control/send?target=GatewayUserAccount", json.dumps(event)))[
            0
        ] == 200
        assert await client.records(1) == [{"type": 1, "target": "GatewayUserAccount", "arguments": event}]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/control/send?target=T", ""), ("POST", "/control/send?target=T", "{}"),
        ("POST", "/control/send?target=", "[]"), ("POST", "/control/send?target=T", "[1e999]"),
        ("GET", "/control/token?ttl=x", ""), ("GET", "/control/token?ttl=nan", ""), ("POST", "/control/hz?v=1e99", ""),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_a_400(
    autojump_clock: object, sim: Simulator, method: str, target: str, body: str
) -> None:
    assert (await ask(sim, method, target, body))[0] == 400


async def rate(client: HubClient, seconds: float) -> float:
    before = len(client.frames)
    with trio.move_on_after(seconds):
        while True:
            await client.frame()
    return len(trades_in(client.frames[before:])) / seconds


async def test_the_rate_can_be_changed_also_for_markets_to_come(
    autojump_clock: object, sim: Simulator
) -> None:
    async with open_hub(sim) as client:
        await client.call("SubscribeContractTrades", "CON.F.US.MNQ.U26")
        assert await rate(client, 60) == pytest.approx(20, rel=0.25)
        assert await ask(sim, "POST", "/control/hz?v=200") == (200, {"ok": True})
        assert await rate(client, 60) == pytest.approx(200, rel=0.25)
        await client.call("UnsubscribeContractTrades", "CON.F.US.MNQ.U26")
        await client.call("SubscribeContractTrades", "CON.F.US.MES.U26")
        assert await rate(client, 60) == pytest.approx(200, rel=0.25)
        await ask(sim, "POST", "/control/hz?v=0")
        assert await rate(client, 60) < 1


async def test_stop_says_goodbye_to_everybody_and_lets_nobody_in(
    autojump_clock: object, sim: Simulator
) -> None:
    async with open_hub(sim) as client:
        start = trio.current_time()
        assert await ask(sim, "POST", "/control/stop") == (200, {"ok": True})
        assert await client.until_closed() == 1000
        assert client.frames[-1] == '{"type":7,"allowReconnect":true}\x1e'
        await sim.stopped.wait()
        assert trio.current_time() - start < 1
    with pytest.raises(Exception, match="stopped"):
        await sim.connect("h", 1, tls=False)


async def test_stop_does_not_wait_for_one_that_does_not_read(autojump_clock: object, sim: Simulator) -> None:
    async with open_hub(sim) as client:
        await client.send({"type": 1, "target": "Burst", "arguments": ["T", "C", 1_000_000]})
        await trio.sleep(1)
        start = trio.current_time()
        await ask(sim, "POST", "/control/stop")
        await sim.stopped.wait()
        assert trio.current_time() - start < 1
        with pytest.raises(ConnectionClosed):
            while True:
                await client.frame()


def test_trade_columns_are_as_long_as_their_trades() -> None:
    assert len(TradeColumns([1, 2], [1.0, 2.0], [1, 1], [0, 1])) == 2
