"""The calls of one connection: who runs, who waits, and what a lost transport does to those who wait."""

from __future__ import annotations

import pytest
import trio
from simulator_tools import begin, lose, negotiate, open_hub, transport, until, virtual_wall

from trio_projectx.simulator import open_simulator

ASK = {"type": 1, "invocationId": "ask", "target": "AskClient", "arguments": ["give"]}


async def test_parallel_calls_run_side_by_side(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, parallel=2) as sim,
        open_hub(sim, queue=10) as client,
    ):
        calls = [
            {"type": 1, "invocationId": name, "target": "Slow", "arguments": [ms]}
            for name, ms in (("a", 300), ("b", 100), ("c", 100))
        ]
        await client.send(*calls)
        start = trio.current_time()
        assert [record["invocationId"] for record in await client.records(3)] in (
            ["b", "a", "c"],
            ["b", "c", "a"],
        )
        assert trio.current_time() - start == pytest.approx(0.3, abs=0.01)


async def test_an_upload_holds_its_client_back_when_its_method_is_over(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, queue=10) as client:
        await client.send(
            {"type": 1, "invocationId": "1", "target": "Sum", "arguments": [], "streamIds": ["u"]},
            *({"type": 2, "invocationId": "u", "item": 1} for _ in range(500)),
            {"type": 3, "invocationId": "u"},
            {"type": 2, "invocationId": "u", "item": 1},
            {"type": 1, "invocationId": "2", "target": "Add", "arguments": [1, 1]},
        )
        results = {record["invocationId"]: record["result"] for record in await client.records(2)}
        assert results == {"1": 500, "2": 2}


async def test_calls_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    monkeypatch.setattr("trio_projectx.simulator.calls._UNDER_WAY", 5)
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, queue=10) as client:
        asks = [{**ASK, "invocationId": str(at)} for at in range(9)]
        await client.send(*asks)
        answers = await client.records(9)
        assert [answer["type"] for answer in answers] == [1] * 5 + [3] * 4
        assert all("5 calls of this connection are under way" in answer["error"] for answer in answers[5:])
        await client.send({"type": 3, "invocationId": answers[0]["invocationId"], "result": 1})
        assert await client.records(1) == [{"type": 3, "invocationId": "0", "result": "client said 1"}]
        await client.send({**ASK, "invocationId": "again"})
        assert (await client.records(1))[0]["target"] == "give"


async def test_a_call_that_waits_for_its_turn_when_the_transport_is_lost_runs_once(
    autojump_clock: object,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        slow = {"type": 1, "invocationId": "slow", "target": "Slow", "arguments": [5000]}
        async with transport(sim, ticket) as client:
            await begin(client)
            await client.send(slow, ASK)
            await trio.sleep(1)
            await lose(client)
        await trio.sleep(1)
        async with transport(sim, ticket) as client:
            assert await client.frame() == '{"type":9,"sequenceId":1}\x1e'
            # Slow was taken in, AskClient was not: the client says both again.
            await client.send({"type": 9, "sequenceId": 1}, slow, ASK)
            with trio.move_on_after(20):
                while True:
                    await client.frame()
            said = "".join(client.frames)
            assert said.count('"target":"give"') == 1
            assert said.count('"invocationId":"slow"') == 1
        assert sim.statistics().crashes == 0


async def test_nothing_of_a_call_is_left_when_its_connection_ends(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim) as client:
            await client.send(
                ASK,
                {"type": 1, "invocationId": "2", "target": "Sum", "arguments": [], "streamIds": ["u"]},
                {"type": 4, "invocationId": "3", "target": "Counter", "arguments": [100, 1000]},
                {"type": 1, "invocationId": "4", "target": "Slow", "arguments": [60_000]},
                {"type": 1, "invocationId": "5", "target": "Add", "arguments": [1, 1]},
            )
            await trio.sleep(2.5)
        # Add waits behind Slow, so nobody reads; the stream's next item notices.
        await until(lambda: not sim.statistics().hub_connections_open, 2)
        assert sim.statistics().crashes == 0


async def test_the_simulator_ends_at_once_whatever_is_under_way(autojump_clock: object) -> None:
    clients = []
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim:

            async def stay(*records: dict) -> None:
                ticket = await negotiate(sim)
                async with transport(sim, ticket) as client:
                    await begin(client)
                    await client.send(*records)
                    clients.append(client)
                    await client.until_closed()

            slow = {"type": 1, "invocationId": "slow", "target": "Slow", "arguments": [60_000]}
            upload = {"type": 1, "invocationId": "2", "target": "Sum", "arguments": [], "streamIds": ["u"]}
            burst = {"type": 1, "target": "Burst", "arguments": ["T", "C", 100_000]}
            for records in ((slow, ASK), (ASK, upload), (burst, slow), ()):
                nursery.start_soon(stay, *records)
            await until(lambda: len(clients) == 4, 5)
            await trio.sleep(2)
            await lose(clients[3])
            assert sim.statistics().hub_connections_open == 4
            start = trio.current_time()
        assert trio.current_time() - start < 0.1
        assert sim.statistics().crashes == 0
        assert sim.statistics().hub_connections_open == 0
        nursery.cancel_scope.cancel()
