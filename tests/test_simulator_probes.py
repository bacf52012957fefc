"""The simulator against what a real ASP.NET Core hub answered, script by script (tests/data/simulator_probes.json)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import HANDSHAKE, HubClient, open_hub, split, virtual_wall
from trio_websocket import ConnectionClosed

from trio_projectx.simulator import open_simulator

PROBES = json.loads((Path(__file__).parent / "data" / "simulator_probes.json").read_text())["cases"]
#: Where the simulator is not that hub, and why.
DIFFERENT = {
    "sub": "X is no contract to a simulator; that hub takes any text",
    "sub_null": "nor is null",
    "silent_subs": "the silent hub of a simulator is a market hub in everything else",
    "sub_unknown_contract_user": "the ProjectX user hub has Unsubscribe methods, that hub has none",
    "ws_close3000": "trio-websocket answers a close with the client's own code, .NET with 1000",
    "arguments_dup": "of two `arguments` .NET remembers the failure of the first",
    "item_first": ".NET must know the id before it reads an item",
    "inv_with_item": ".NET never answers an invocation that has an item",
}
#: Streams and uploads run beside the rest, on the real server too: only the order of each id is sure.
RACES = {"two_streams", "sum_bad_item2", "sum_late_item", "sum_null_item"}
#: How many items have been sent when it is cancelled is a matter of milliseconds.
TIMED = {"cancel_twice", "stream_close"}


def same() -> list:
    return [pytest.param(case, id=case["name"]) for case in PROBES if case["name"] not in DIFFERENT]


def test_the_exceptions_are_cases() -> None:
    names = {case["name"] for case in PROBES}
    assert names >= set(DIFFERENT) | RACES | TIMED
    assert len(names) == len(PROBES) > 200


def questions(text: str) -> list[str]:
    """Return the ids of the questions that the server asks."""
    found = re.findall(r'"invocationId":"([^"]*)","target":"(?:give|take)"', text)
    return [name for name, _ in zip(found, found, strict=True)]


def named(text: str) -> str:
    for at, name in enumerate(questions(text)):
        text = text.replace(f'"{name}"', f'"S{at}"')
    return text.replace("simulator|", "{user}|")


async def play(client: HubClient, step: str | dict) -> None:
    match step:
        case str():
            await client.ws.send_message(step)
        case {"text": text, "x": count}:
            await client.ws.send_message(text.replace("{x}", count * "x"))
        case {"bytes": data}:
            await client.ws.send_message(bytes.fromhex(data))
        case {"answer": answer}:
            asked = (questions("".join(client.frames)) or ["s0"])[0]
            said = json.dumps({"type": 3, "invocationId": asked} | json.loads(f"{{{answer}}}"))
            await client.ws.send_message(f"{said}\x1e")
        case {"close": code, "reason": reason}:
            await client.ws.aclose(code, reason)
    await trio.sleep(step["sleep"] if isinstance(step, dict) and "sleep" in step else 0.06)


async def act(case: dict, client: HubClient) -> tuple[str, int | None]:
    """Play the case; return what was sent and the close code."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.until_closed)
        try:
            for step in case["steps"]:
                await play(client, step)
            await trio.sleep(case["wait"])
        except ConnectionClosed:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    closed = client.ws.closed
    return named("".join(client.frames)), None if closed is None else closed.code


def comparable(name: str, text: str) -> object:
    if name in TIMED:
        return re.sub(r'(\{"type":2,"invocationId":"9","item":\d+\}\x1e)+', "items", text)
    if name in RACES:
        return sorted(text.split("\x1e"), key=lambda record: re.findall(r'"invocationId":"(.)"', record))
    return text


@pytest.mark.parametrize("case", same())
async def test_it_answers_as_a_real_hub_did(case: dict, autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall) as sim,
        open_hub(sim, case.get("hub", "market"), hands=False, queue=1000) as client,
    ):
        if case.get("handshake", True):
            await client.ws.send_message(HANDSHAKE)
            assert await client.ws.get_message() == "{}\x1e"
        sent, code = await act(case, client)
        assert comparable(case["name"], sent) == comparable(case["name"], case["sent"])
        assert code == case["close"]
        assert sim.statistics().crashes == 0


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
@settings(max_examples=40)
def test_any_text_goes_there_and_back(text: str, target: str) -> None:
    async def main() -> None:
        async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
            assert (await client.call("Echo", text))["result"] == text
            assert "error" in await client.call(f"no {target}")
            await client.send({"type": 1, "target": "Emit", "arguments": [target, [text]]})
            assert split(await client.frame()) == [{"type": 1, "target": target, "arguments": [text]}]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
