"""Keep-alives, timeouts and stateful reconnect with the official client, on shortened intervals."""

from __future__ import annotations

import trio
from conftest import Meet

CONTRACT = "CON.F.US.EP.Z26"
PING = {"type": 6}
FAULT = {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
TIMEOUT = "Server timeout elapsed without receiving a message from the server."


async def test_pings_both_ways_keep_a_quiet_connection(meet: Meet) -> None:
    # The real server looks at its clock once a second only: its pings come every 1 to 2 s.
    async with meet(keep_alive_s=1, client_timeout_s=4) as (server, client):
        options = {"serverTimeout": 4000, "keepAlive": 300}
        await client.do("open", url=server.hub(), token=await server.token(), skip=True, **options)
        await trio.sleep(5.5)
        received, sent = await client.records("in"), await client.records("out")
        assert received[0] == {}
        assert all(record == PING for record in received[1:])
        assert 2 <= len(received) - 1 <= 6
        assert 2 <= sent.count(PING) <= 20  # the client looks at its own timer when something comes in
        assert await client.invoke("Add", 1, 1) == 2
        assert (await server.state())["disconnects"] == 0


async def test_pings_come_among_other_events_too(meet: Meet) -> None:
    async with meet(keep_alive_s=1, hz=50) as (server, client):
        await client.do("open", url=server.hub(), token=await server.token(), skip=True, on=["GatewayTrade"])
        await client.invoke("SubscribeContractTrades", CONTRACT)
        await client.do("events", target="GatewayTrade", count=1)
        await trio.sleep(5)
        assert 2 <= (await client.records()).count(PING) <= 6


async def test_a_silent_hub_lets_the_client_time_out(meet: Meet) -> None:
    async with meet(keep_alive_s=1) as (server, client):
        began = trio.current_time()
        await client.do(
            "open",
            url=server.hub("silent"),
            token=await server.token(),
            skip=True,
            serverTimeout=2500,
            keepAlive=200,
        )
        log = await client.told("closed")
        assert log == [{"event": "closed", "error": TIMEOUT}]
        assert 2.4 < trio.current_time() - began < 5  # a hub that pings would have done so by then
        assert await client.records() == [{}]
        assert (await server.gone(1))["connections"] == []


async def test_a_silent_hub_makes_the_client_reconnect_again_and_again(meet: Meet) -> None:
    async with meet() as (server, client):
        options = {"serverTimeout": 400, "keepAlive": 200, "reconnect": [0, 0, 0]}
        await client.do("open", url=server.hub("silent"), tokenUrl=server.token_url, skip=True, **options)
        log = await client.told("reconnected", count=2)
        assert [e["error"] for e in log if e["event"] == "reconnecting"][:2] == [TIMEOUT, TIMEOUT]
        assert (await server.gone(2))["connects"] >= 3


async def test_a_client_that_falls_silent_is_closed_by_the_server(meet: Meet) -> None:
    async with meet(keep_alive_s=0.3, client_timeout_s=0.9) as (server, client):
        began = trio.current_time()
        # The client pings once, with its start, which arms the server's timer; and then not for an hour.
        await client.do("open", url=server.hub(), token=await server.token(), skip=True, keepAlive=3_600_000)
        (end,) = await client.told("closed")
        assert end["error"] == "Server returned an error on close: Connection closed with an error."
        assert 0.8 < trio.current_time() - began < 4
        assert (await client.records())[-1] == FAULT
        assert (await client.records("out")).count(PING) == 1


async def test_a_stateful_reconnect_loses_nothing_and_repeats_nothing(meet: Meet) -> None:
    async with meet(hz=100) as (server, client):
        opened = await client.do(
            "open",
            url=server.hub(),
            tokenUrl=server.token_url,
            skip=False,
            stateful=True,
            on=["GatewayTrade"],
        )
        await client.invoke("SubscribeContractTrades", CONTRACT)
        seen = 0
        for _ in range(3):
            seen = len(await client.do("events", target="GatewayTrade", count=seen + 20))
            assert (await server.control("drop"))["n"] == 1
        events = await client.do("events", target="GatewayTrade", count=seen + 20)
        # The same connection, the same subscription, and the user of the client was told of nothing.
        assert await client.do("log") == []
        state = await server.state()
        assert (state["connects"], state["disconnects"]) == (1, 0)
        assert [shown["Id"] for shown in state["connections"]] == [opened["connectionId"]]
        got = [flat(trade) for event in events for trade in event[1]]
        sent = [(t["price"], t["volume"], t["side"]) for t in await server.truth(CONTRACT)]
        assert sent[: len(got)] == got
        assert len(await client.close_codes(3)) == 3


def flat(trade: dict[str, float]) -> tuple[float, float, float]:
    return trade["price"], trade["volume"], trade["type"]


async def test_a_stateful_reconnect_finishes_the_calls_under_way(meet: Meet) -> None:
    async with meet() as (server, client):
        await client.do("open", url=server.hub(), tokenUrl=server.token_url, skip=False, stateful=True)
        answers: list[object] = []

        async def slow() -> None:
            answers.append(await client.do("invokeAll", calls=[("Slow", 700), ("Add", 40, 2)]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            await trio.sleep(0.2)
            await server.control("drop")
        assert answers == [[{"result": None}, {"result": 42}]]
        assert await client.do("log") == []
        records = [r for r in await client.records() if r.get("type") == 9]
        assert len(records) == 1
