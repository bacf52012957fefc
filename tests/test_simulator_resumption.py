"""Stateful reconnect of the simulator, as a real hub was seen to do it; and its counting by itself."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from simulator_tools import (
    HANDSHAKE_2,
    HubClient,
    ask,
    begin,
    lose,
    masked,
    negotiate,
    split,
    transport,
    until,
    virtual_wall,
)
from trio_websocket import ConnectionRejected

from trio_projectx import ProtocolError
from trio_projectx.simulator import Simulator, open_simulator
from trio_projectx.simulator.resumption import KEPT_BYTES, Resumption


def record(number: int) -> str:
    return f'{{"type":3,"invocationId":"{number}","result":null}}\x1e'


def test_what_is_not_acknowledged_is_sent_again_after_its_sequence() -> None:
    kept = Resumption()
    kept.sending("{}\x1e" + record(1) + '{"type":6}\x1e' + record(2))
    kept.sending(record(3))
    assert kept.replay() == '{"type":9,"sequenceId":1}\x1e' + record(1) + record(2) + record(3)
    kept.acked(2)
    assert kept.replay() == '{"type":9,"sequenceId":3}\x1e' + record(3)
    kept.acked(99)
    assert kept.replay() == '{"type":9,"sequenceId":4}\x1e'


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 30)), max_size=12))
def test_nothing_is_kept_that_was_acknowledged_and_nothing_else_is_lost(steps: list[tuple[int, int]]) -> None:
    kept, sent, acked = Resumption(), 0, 0
    for more, ack in steps:
        for _ in range(more):
            sent += 1
            kept.sending(record(sent))
        kept.acked(ack)
        acked = max(acked, min(ack, sent))
        expected = "".join(record(number) for number in range(acked + 1, sent + 1))
        assert kept.replay() == f'{{"type":9,"sequenceId":{acked + 1}}}\x1e{expected}'


async def test_it_waits_for_room_until_enough_is_acknowledged(autojump_clock: object) -> None:
    kept = Resumption()
    big = '{"type":1,"target":"' + "x" * KEPT_BYTES + '","arguments":[]}\x1e'
    kept.sending(big)
    with trio.move_on_after(1) as scope:
        await kept.wait_for_room()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.wait_for_room)
        await trio.testing.wait_all_tasks_blocked()
        kept.acked(1)


def test_what_comes_again_is_not_new_and_a_skipped_record_is_fatal() -> None:
    kept = Resumption()
    for _ in range(3):
        assert kept.is_new()
        kept.processed()
    assert kept.due_ack() == '{"type":8,"sequenceId":3}\x1e'
    assert kept.due_ack() == ""
    kept.resumed(2)
    news = []
    for _ in range(3):
        news.append(kept.is_new())
        kept.processed()
    assert news == [False, False, True]
    with pytest.raises(ProtocolError):
        kept.resumed(6)
    kept.resumed(5)


def add(name: str) -> dict:
    return {"type": 1, "invocationId": name, "target": "Add", "arguments": [1, 1]}


async def rejected(sim: Simulator, ticket: str, token: str | None = None) -> int:
    with pytest.raises(ExceptionGroup) as caught:
        async with transport(sim, ticket, token):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, ConnectionRejected)
    return error.status_code


async def test_a_lost_transport_is_replaced_and_nothing_is_lost(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await client.send(*(add(str(at)) for at in range(5)))
            answers = await client.records(5)
            assert await client.frame() == '{"type":8,"sequenceId":5}\x1e'
            await client.ws.send_message('{"type":8,"sequenceId":2}\x1e')
            await trio.sleep(0.1)
            await lose(client)
        await trio.sleep(10)
        async with transport(sim, ticket) as client:
            sequence, *again = split(await client.frame())
            assert sequence == {"type": 9, "sequenceId": 3}
            assert again == answers[2:]
            # The client's last two came through: it sends them again, with one that is new.
            await client.send({"type": 9, "sequenceId": 4}, add("3"), add("4"), add("new"))
            assert split(await client.frame()) == [{"type": 3, "invocationId": "new", "result": 2}]
            assert await client.frame() == '{"type":8,"sequenceId":6}\x1e'
            assert (sim.statistics().hub_connections, sim.statistics().hub_connections_open) == (1, 1)
        assert sim.statistics().crashes == 0


async def test_a_market_goes_on_over_the_loss(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket, seen = await negotiate(sim), []
        subscribe = {"type": 1, "target": "SubscribeContractTrades", "arguments": [sim.contract_id]}
        counted = 0

        async def listen(client: HubClient, seconds: float) -> None:
            nonlocal counted
            with trio.move_on_after(seconds):
                while True:
                    for event in split(await client.frame()):
                        if event["type"] == 9:
                            del seen[event["sequenceId"] - 1 :]
                            counted = event["sequenceId"] - 1
                        if event["type"] == 1:
                            seen.append(event)
                            counted += 1
                    await client.ws.send_message(f'{{"type":8,"sequenceId":{counted}}}\x1e')

        async with transport(sim, ticket) as client:
            await begin(client)
            await client.send(subscribe)
            await listen(client, 5)
            await lose(client)
        await trio.sleep(5)
        async with transport(sim, ticket) as client:
            await client.ws.send_message('{"type":9,"sequenceId":2}\x1e')
            await listen(client, 5)
            client.stream.reset()  # type: ignore[attr-defined]
        shown = [(trade["price"], trade["volume"]) for event in seen for trade in event["arguments"][1]]
        table = sim.truth()
        columns = [table[name].to_pylist() for name in ("price", "volume")]
        assert len(shown) > 200
        assert shown == list(zip(*columns, strict=True))[: len(shown)]


async def test_nobody_comes_back_in_time(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await lose(client)
        start = trio.current_time()
        await until(lambda: not sim.statistics().hub_connections_open, 20)
        assert 15 < trio.current_time() - start < 17
        assert await rejected(sim, ticket) == 404


@pytest.mark.parametrize("version", [0, 1])
async def test_without_version_2_the_connection_ends_with_its_transport(
    version: int, autojump_clock: object
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client, version)
            await lose(client)
        await trio.sleep(0.1)
        assert sim.statistics().hub_connections_open == 0
        assert await rejected(sim, ticket) == 404


async def test_version_2_alone_makes_nothing_stateful(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        answer = await ask(sim, "POST", "/hubs/market/negotiate?negotiateVersion=1")
        assert "useStatefulReconnect" not in answer
        async with transport(sim, answer["connectionToken"]) as client:
            await begin(client)
            await client.send(add("1"))
            assert await client.frame() == '{"type":3,"invocationId":"1","result":2}\x1e'
            assert await client.frame() == '{"type":6}\x1e'
            await lose(client)
        await trio.sleep(0.1)
        assert sim.statistics().hub_connections_open == 0


async def test_a_close_of_the_websocket_is_an_end(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await client.ws.aclose()
        await trio.sleep(0.1)
        assert sim.statistics().hub_connections_open == 0
        assert await rejected(sim, ticket) == 404


async def test_a_second_transport_closes_the_first_and_an_answer_to_that_ends_it_all(
    autojump_clock: object,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            assert await rejected(sim, ticket) == 404
            assert await client.until_closed() == 1000
        await trio.sleep(0.1)
        assert sim.statistics().hub_connections_open == 0


async def test_a_second_transport_takes_the_place_of_one_that_is_dead(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with await sim.connect("h", 1, tls=False) as dead:
            head = (
                f"GET /hubs/market?id={ticket} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sim.mint_token()}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await dead.send_all(head.encode() + masked(HANDSHAKE_2))
            await trio.sleep(1)
            start = trio.current_time()
            async with transport(sim, ticket) as client:
                assert await client.frame() == '{"type":9,"sequenceId":1}\x1e'
                assert trio.current_time() - start == pytest.approx(5, abs=0.01)
                await client.send(add("1"))
                assert (await client.records(1))[0]["result"] == 2


async def test_sending_stops_at_the_bound_and_goes_on_with_an_ack(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await client.send({"type": 1, "target": "Burst", "arguments": ["T", "C", 5000]})
            with trio.move_on_after(14):
                while True:
                    await client.frame()
            held = sum(frame.count('"seq"') for frame in client.frames)
            assert KEPT_BYTES <= sum(map(len, client.frames)) < KEPT_BYTES + 60_000
            assert any('"type":8' in frame for frame in client.frames)  # an Ack does not wait for room
            await client.ws.send_message(f'{{"type":8,"sequenceId":{held}}}\x1e')
            with trio.fail_after(5):
                assert '"seq"' in await client.frame()


async def test_pings_and_the_end_do_not_wait_for_room(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await client.send({"type": 1, "target": "Big", "arguments": ["T", 200_000]})
            with trio.move_on_after(20):
                while True:
                    await client.frame()
            assert client.frames[-1] == '{"type":6}\x1e'
            await client.send({"type": 7})
            assert await client.until_closed() == 1000
            assert client.frames[-1] == '{"type":7}\x1e'


async def test_a_sequence_that_skips_is_an_end(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await lose(client)
        async with transport(sim, ticket) as client:
            await client.send({"type": 9, "sequenceId": 9})
            assert await client.until_closed() == 1000
            assert '"Connection closed with an error."' in client.frames[-1]
        assert await rejected(sim, ticket) == 404


async def test_the_token_of_the_last_transport_counts(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket, sim.mint_token(3)) as client:
            await begin(client)
            await lose(client)
        async with transport(sim, ticket, sim.mint_token(60)) as client:
            await client.frame()
            with trio.move_on_after(50) as scope:
                await client.until_closed()
            assert scope.cancelled_caught
            assert await client.until_closed() == 1000
            assert client.frames[-1] == '{"type":7,"allowReconnect":true}\x1e'
        assert await rejected(sim, ticket) == 404


@pytest.mark.parametrize("route", ["abort", "requestclose"])
async def test_an_end_from_outside_while_the_transport_is_lost(route: str, autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            await lose(client)
        await trio.sleep(0.1)
        assert await ask(sim, "POST", f"/control/{route}") == {"n": 1}
        await trio.sleep(0.1)
        assert sim.statistics().hub_connections_open == 0
        assert await rejected(sim, ticket) == 404


async def test_a_drop_leaves_the_connection_to_come_back(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        ticket = await negotiate(sim)
        async with transport(sim, ticket) as client:
            await begin(client)
            assert await ask(sim, "POST", "/control/drop") == {"n": 1}
            assert await client.until_closed() == 1006
        async with transport(sim, ticket) as client:
            assert await client.frame() == '{"type":9,"sequenceId":1}\x1e'
