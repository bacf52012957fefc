"""One hub connection, over streams in memory and in virtual time, held against what a real server was seen to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import HANDSHAKE, HubClient, open_hub, split, upgrade_head, virtual_wall
from trio_websocket import ConnectionClosed

from trio_projectx.simulator import open_simulator

CLOSE_WITH_ERROR = '{"type":7,"error":"Connection closed with an error.","allowReconnect":true}\x1e'
ADD = {"type": 1, "invocationId": "1", "target": "Add", "arguments": [40, 2]}
CASES = json.loads((Path(__file__).parent / "data" / "signalr_cases.json").read_text())["cases"]
#: Cases that the file tells shortened, whole again. Their lengths are those in the file.
NOTHING = '{{"type":1,"invocationId":"{}","target":"Nothing","arguments":[]}}\x1e'
DONE = '{{"type":3,"invocationId":"{}","result":null}}\x1e'
WHOLE = {
    "wire_record_of_32769_bytes": (lambda: echo(32_769), 32_769, None),
    "wire_many_small_messages_over_32k_total": (
        lambda: "".join(NOTHING.format(at) for at in range(700)),
        46_090,
        lambda: "".join(DONE.format(at) for at in range(700)),
    ),
    "wire_never_ending_record": (lambda: "{" + " " * 40_000, 40_001, None),
}
#: Seconds before the steps, where the recording client waited.
WAITS = {"wire_stream_cancel": [0, 0, 0.17], "wire_server_ping_period": [0, 0.8, 0.8]}
SERVER = [case for case in CASES if case["level"] == "server"]


def test_there_are_31_cases_and_what_was_shortened_is_whole_again() -> None:
    assert len(SERVER) == 31
    shortened = {
        case["name"]: case for case in SERVER if any("chars)" in str(text) for text in case["input"])
    }
    assert set(shortened) == set(WHOLE)
    for name, (text, length, _) in WHOLE.items():
        assert len(text()) == length
        assert f"...({length} chars)" in shortened[name]["input"][1]
        assert text().startswith(shortened[name]["input"][1].partition("...(")[0])


def whole(case: dict) -> tuple[list[str | bytes], str]:
    """Return what the client sends, and all that the server has to send."""
    steps: list[str | bytes] = [
        text if isinstance(text, str) else text["binary"].encode() for text in case["input"]
    ]
    sent = case["expect"]["server_sends"]
    if case["name"] in WHOLE:
        text, _, answer = WHOLE[case["name"]]
        steps[1] = text()
        if answer is not None:
            assert f"...({len(answer())} chars)" in sent[1]
            sent = [sent[0], answer()]
    return steps, "".join(sent)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in SERVER])
async def test_it_answers_as_the_recorded_server_did(case: dict, autojump_clock: object) -> None:
    # The recording server had these timers; every case is over within a second of the last thing sent.
    timers = {"keep_alive_s": 1.0, "client_timeout_s": 2.0, "handshake_s": 1.0}
    steps, sent = whole(case)
    async with open_simulator(port=None, wall_clock=virtual_wall, **timers) as sim:
        if case["name"] == "wire_client_result_ok":  # that server had been asked twice before
            async with open_hub(sim) as earlier:
                await earlier.send(*({**ADD, "target": "AskClient", "arguments": ["give"]} for _ in range(2)))
                assert [record["invocationId"] for record in await earlier.records(2)] == ["s1", "s2"]
        async with open_hub(sim, hands=False, queue=100) as client:
            with trio.move_on_after(0.99 if steps else 1.5) as scope:
                for step, wait in zip(steps, WAITS.get(case["name"], [0] * 9), strict=False):
                    await trio.sleep(wait)
                    scope.deadline += wait
                    await client.ws.send_message(step)
                    await trio.testing.wait_all_tasks_blocked()
                if case["name"] in WAITS:
                    scope.deadline = trio.current_time() + 0.02
                await client.until_closed()
            assert "".join(client.frames) == sent
            closed = client.ws.closed
            if case["expect"]["close"] is None:
                assert closed is None
            else:
                assert closed is not None
                assert closed.code == case["expect"]["close"]["code"] == 1000
        assert sim.statistics().crashes == 0


async def test_pings_come_only_when_silent(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        start = trio.current_time()
        assert await client.frame() == '{"type":6}\x1e'
        assert trio.current_time() - start == pytest.approx(15, abs=0.01)
        await trio.sleep(10)
        await client.call("Nothing")
        assert await client.frame() == '{"type":6}\x1e'
        assert trio.current_time() - start == pytest.approx(40, abs=0.01)


async def test_data_stands_in_for_pings(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.call("SubscribeContractTrades", sim.contract_id)
        with trio.move_on_after(60):
            while True:
                await client.frame()
        assert not any('"type":6' in frame for frame in client.frames)


async def test_the_silent_hub_never_pings(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, "silent") as client:
        with trio.move_on_after(3600) as scope:
            await client.frame()
        assert scope.cancelled_caught


async def test_the_client_timeout_is_armed_by_the_first_ping(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim) as never_pinged, open_hub(sim) as pinged_once:
            await pinged_once.send({"type": 6})
            start = trio.current_time()
            with trio.fail_after(60):
                assert await pinged_once.until_closed() == 1000
            assert trio.current_time() - start == pytest.approx(30, abs=0.1)
            assert pinged_once.frames[-1] == CLOSE_WITH_ERROR
            with trio.move_on_after(300):
                await never_pinged.until_closed()
            assert never_pinged.ws.closed is None


async def test_any_record_of_the_client_starts_its_timeout_anew(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, queue=100) as client:
        await client.send({"type": 6})
        for _ in range(10):
            await trio.sleep(29)
            await client.send(ADD)
        assert client.ws.closed is None
        start = trio.current_time()
        assert await client.until_closed() == 1000
        assert trio.current_time() - start == pytest.approx(30, abs=0.1)


def echo(length: int) -> str:
    """Return an invocation record of ``length`` bytes, its 0x1e included."""
    head = '{"type":1,"invocationId":"1","target":"Echo","arguments":["'
    return head + "x" * (length - len(head) - 4) + '"]}\x1e'


@pytest.mark.parametrize(("length", "passes"), [(32_768, True), (32_769, False), (200_000, False)])
async def test_the_longest_record(length: int, passes: bool, autojump_clock: object) -> None:
    assert len(echo(length)) == length
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.ws.send_message(echo(length))
        if passes:
            assert split(await client.frame())[0]["type"] == 3
        else:
            assert await client.until_closed() == 1000
            assert client.frames[-1] == CLOSE_WITH_ERROR


async def test_the_limit_counts_bytes_not_characters(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.ws.send_message(echo(20_000).replace("x", "\u20ac"))  # three bytes each
        assert await client.until_closed() == 1000
        assert client.frames[-1] == CLOSE_WITH_ERROR


async def test_a_record_that_never_ends(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        with pytest.raises(ConnectionClosed):
            for _ in range(1000):
                await client.ws.send_message("{" + " " * 999)
                await trio.testing.wait_all_tasks_blocked()
        assert client.ws.closed is not None
        assert sim.statistics().crashes == 0


async def test_many_small_records_in_one_frame_are_all_answered_in_order(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        calls = [{**ADD, "invocationId": str(at), "target": "Nothing", "arguments": []} for at in range(800)]
        await client.send(*calls)
        answers = await client.records(800)
        assert answers == [{"type": 3, "invocationId": str(at), "result": None} for at in range(800)]


async def test_a_record_may_come_in_pieces(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        for character in json.dumps(ADD) + "\x1e":
            await client.ws.send_message(character)
        assert split(await client.frame()) == [{"type": 3, "invocationId": "1", "result": 42}]


async def test_the_handshake_may_share_its_frame_with_calls(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall) as sim,
        open_hub(sim, hands=False) as client,
    ):
        await client.ws.send_message(HANDSHAKE + json.dumps(ADD) + "\x1e")
        assert (await client.records(2))[1]["result"] == 42


FAILED = "Failed to invoke '{}' due to an error on the server."
UNKNOWN = FAILED + " HubException: Method does not exist."
UNEXPECTED = "An unexpected error occurred invoking '{}' on the server."
PROBES = [
    ("Echo", [{"deep": [1, None, "\u00e9"]}], {"result": {"deep": [1, None, "\u00e9"]}}),
    ("Echo", [9_007_199_254_740_993], {"result": 9_007_199_254_740_993}),
    ("add", [1, 2], {"result": 3}),
    ("ADD", [2**31, 0], {"error": FAILED}),
    ("Add", [True, 2], {"error": FAILED}),
    ("Nothing", [], {"result": None}),
    ("Nothing", [1], {"error": FAILED}),
    ("ThrowHub", ["told"], {"error": UNEXPECTED + " HubException: told"}),
    ("Emit", ["target", "no list"], {"error": FAILED}),
    ("Emit", ["", []], {"error": UNEXPECTED}),
    ("WhoAmI", [], {"result": "simulator|header"}),
    ("Slow", [50], {"result": None}),
    ("SubscribeContractTrades", ["CON.F.US.MNQ.U26"], {"result": None}),
    ("UnsubscribeContractTrades", ["CON.F.US.MNQ.U26"], {"result": None}),
    ("UnsubscribeContractQuotes", ["never was"], {"result": None}),
    ("SubscribeContractTrades", ["CON.F.US.XXX.U26"], {"error": FAILED}),
    ("SubscribeContractTrades", ["CON.F.US.ES.U26"], {"error": FAILED}),
    ("SubscribeContractQuotes", [7], {"error": FAILED}),
    ("SubscribeContractQuotes", [], {"error": FAILED}),
    ("SubscribeAccounts", [], {"error": UNKNOWN}),
    ("Heartbeat", [], {"error": UNKNOWN}),
]


async def test_the_answers_of_the_market_hub(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        for at, (target, arguments, answer) in enumerate(PROBES):
            completion = await client.call(target, *arguments, call_id=f"id{at}")
            expected = {
                name: value.format(target) if name == "error" else value for name, value in answer.items()
            }
            assert completion == {"type": 3, "invocationId": f"id{at}", **expected}


async def test_a_stream_that_does_not_exist_is_told_so(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.send({"type": 4, "invocationId": "s", "target": "NoSuch", "arguments": []})
        error = (
            "Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist."
        )
        assert split(await client.frame()) == [{"type": 3, "invocationId": "s", "error": error}]


async def test_the_user_hub_acknowledges_its_subscriptions(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, "user") as client:
        for name, arguments in [("Accounts", []), ("Orders", [7]), ("Positions", [2**40]), ("Trades", [7])]:
            assert (await client.call(f"Subscribe{name}", *arguments))["result"] is None
        assert "error" in await client.call("SubscribeOrders", "seven")
        assert "error" in await client.call("SubscribeContractTrades", sim.contract_id)
        assert (await client.call("UnsubscribeOrders", 7))["result"] is None


async def test_a_call_without_an_id_gets_no_answer(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.send(
            {"type": 1, "target": "NoSuch", "arguments": []},
            {"type": 1, "target": "Add", "arguments": [1, 1]},
        )
        with trio.move_on_after(5) as scope:
            await client.frame()
        assert scope.cancelled_caught


async def test_pings_are_read_while_a_call_is_slow_and_calls_wait_their_turn(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, queue=100) as client:
        slow = {"type": 1, "invocationId": "slow", "target": "Slow", "arguments": [50_000]}
        await client.send({"type": 6}, slow, ADD)
        start = trio.current_time()
        for _ in range(9):
            await trio.sleep(5)
            await client.send({"type": 6})
        completions = [record for record in await client.records(5) if record["type"] == 3]
        assert trio.current_time() - start == pytest.approx(50, abs=0.1)
        assert [record["invocationId"] for record in completions] == ["slow", "1"]


async def test_a_burst_is_numbered_and_its_completion_comes_last(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        await client.send({"type": 1, "invocationId": "b", "target": "Burst", "arguments": ["T", "C", 5000]})
        records = await client.records(5001)
        assert [record["arguments"][1]["seq"] for record in records[:-1]] == list(range(5000))
        assert records[-1] == {"type": 3, "invocationId": "b", "result": None}
        await client.send({"type": 1, "target": "Big", "arguments": ["T", 1_000_000]})
        assert len((await client.records(1))[0]["arguments"][0]) == 1_000_000
        await client.send({"type": 1, "target": "Emit", "arguments": ["T", [1, {"a": None}]]})
        assert (await client.records(1))[0] == {"type": 1, "target": "T", "arguments": [1, {"a": None}]}


async def test_the_subscriptions_of_one_connection_are_bounded(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, "user") as client:
        calls = [
            {"type": 1, "invocationId": str(at), "target": "SubscribeOrders", "arguments": [at]}
            for at in range(1100)
        ]
        await client.send(*calls)
        answers = await client.records(1100)
        assert sum("error" in answer for answer in answers) == 1100 - 1024


async def test_the_markets_of_one_simulator_are_bounded(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setattr("trio_projectx.simulator.exchange.MARKETS_MAX", 5)
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
        answers = [
            await client.call("SubscribeContractTrades", f"CON.F.US.MNQ.U{year}") for year in range(26, 33)
        ]
        assert ["error" in answer for answer in answers] == [False] * 5 + [True] * 2
        assert (await client.call("SubscribeContractQuotes", "CON.F.US.MNQ.U26"))["result"] is None


async def test_the_client_may_just_close_the_websocket(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim) as client:
            await client.call("SubscribeContractTrades", sim.contract_id)
            with trio.move_on_after(0.2):
                while True:
                    await client.frame()
            await client.ws.aclose()
            await trio.sleep(1)
            assert sim.statistics().hub_connections_open == 0
            assert sim.statistics().disconnects == 1
        assert sim.statistics().crashes == 0


garbage = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200),
    st.sampled_from(
        [
            "\x1e",
            "null\x1e",
            "[]\x1e",
            "7\x1e",
            "{}\x1e",
            '{"type":"1"}\x1e',
            '{"type":99}\x1e',
            '{"type":true}\x1e',
            '{"type":1,"target":"Echo","arguments":null}\x1e',
            '{"type":4,"target":"Counter","arguments":[]}\x1e',
            '{"type":3,"invocationId":"x","result":1,"error":"e"}\x1e',
            "[" * 5000 + "\x1e",
            '{"type":7}\x1e{"type":6}\x1e',
            '{"type":1,"invocationId":"1","target":"Emit","arguments":["\\ud800",[1]]}\x1e',
            '{"type":1,"invocationId":"1","target":"Emit","arguments":["",[1]]}\x1e',
            '{"type":1,"invocationId":"1","target":"Emit","arguments":["t",[1e400]]}\x1e',
        ]
    ),
)


@given(st.lists(garbage, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_garbage_on_a_hub_crashes_it_or_disturbs_a_neighbour(messages: list, shake_hands: bool) -> None:
    async def main() -> None:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as neighbour:
            async with open_hub(sim, hands=shake_hands, queue=1000) as client:
                try:
                    for message in messages:
                        await client.ws.send_message(message)
                        await trio.testing.wait_all_tasks_blocked()
                except ConnectionClosed:
                    pass
            assert (await neighbour.call("Add", 1, 1))["result"] == 2
            assert sim.statistics().crashes == 0
            assert sim.statistics().broken_off == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_bytes_behind_the_upgrade_crash_it(data: bytes) -> None:
    async def main() -> None:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as neighbour:
            stream = await sim.connect("127.0.0.1", sim.port, tls=False)
            async with stream:
                await stream.send_all(upgrade_head(sim.mint_token()) + data)
                with trio.move_on_after(1):
                    while await stream.receive_some():
                        pass
            assert (await neighbour.call("Add", 1, 1))["result"] == 2
            assert sim.statistics().crashes == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_two_clients_do_not_hear_each_other(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim) as first, open_hub(sim) as second:
            await first.call("Emit", "only me", [1])
            assert isinstance(second, HubClient)
            with trio.move_on_after(1) as scope:
                await second.frame()
            assert scope.cancelled_caught
