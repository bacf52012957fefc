"""The simulator and the real hub, side by side: what no client would send, and every byte that comes back.

Each script is played to both servers. The records must say the same, in the same order, and so must the close code.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from kit import Kit
from raw import HANDSHAKE, MARK, Transcript, ask, play
from servers import Server, open_server

CONTRACT = "CON.F.US.EP.Z26"


def call(target: str, arguments: str, call_id: str = "1", **more: str) -> str:
    extra = "".join(f',"{name}":{value}' for name, value in more.items())
    return f'{{"type":1,"invocationId":"{call_id}","target":"{target}","arguments":[{arguments}]{extra}}}\x1e'


def stream(target: str, arguments: str, call_id: str = "1") -> str:
    return f'{{"type":4,"invocationId":"{call_id}","target":"{target}","arguments":[{arguments}]}}\x1e'


#: Frames to send; a handshake goes before them and a mark after them.
RECORDS: dict[str, list[str | bytes]] = {
    "a call": [call("Add", "1,2")],
    "a call without a result": [call("Nothing", "")],
    "names of any case": [call("nOTHING", "")],
    "fields in any order": ['{"arguments":[1,2],"target":"Add","invocationId":"1","type":1}\x1e'],
    "unknown fields": [call("Add", "1,2", color='"red"', nested='{"a":[1]}')],
    "headers": [call("Add", "1,2", headers='{"a":"b"}')],
    "white space": ['  {"type" : 1 , "invocationId":"1",\n"target":"Add", "arguments":[ 1, 2 ] }  \x1e'],
    "two calls in a frame": [call("Add", "1,2") + call("Add", "3,4", "2")],
    "a call in three frames": ['{"type":1,"invocationId":"1","tar', 'get":"Add","argum', 'ents":[1,2]}\x1e'],
    "a call in a binary frame": [call("Add", "1,2").encode()],
    "no id": ['{"type":1,"target":"Add","arguments":[1,2]}\x1e'],
    "an id of null": ['{"type":1,"invocationId":null,"target":"Add","arguments":[1,2]}\x1e'],
    "the same id twice": [call("Add", "1,2"), call("Add", "3,4")],
    "a method that is not there": [call("Missing", "1")],
    "arguments that do not fit": [
        call("Add", '"a",1'),
        call("Add", "1"),
        call("Add", "1,2,3"),
        call("Add", "1.5,1"),
    ],
    "exceptions": [call("Throw", '"secret"'), call("ThrowHub", '"told <&> é"')],
    "echo of texts": [call("Echo", r'"\u00e9 é \u001e \n \" \\ \/ <>&+` \ud83d\udcb9 \u2028"')],
    "echo of numbers": [call("Echo", "[0,-0,1.50,5e-7,1E3,12345678901234567890,0.1]")],
    "echo of a number beyond a double": [call("Echo", "1e400")],
    "echo of things": [call("Echo", '{"b":1,"a":[null,true,{"c":[]}],"b2":""}')],
    "echo of null": [call("Echo", "null")],
    "events": [call("Emit", '"T",[1,"two",{"three":3.30}]'), call("Big", '"B",10')],
    "a burst": [call("Burst", f'"T","{CONTRACT}",5')],
    "subscribing with a number": [call("SubscribeContractTrades", "5")],
    "unsubscribing what was not subscribed": [call("UnsubscribeContractTrades", f'"{CONTRACT}"')],
    "a stream": [stream("Counter", "3,0")],
    "a stream that fails": [stream("CounterFail", "2")],
    "a stream of a method": [stream("Add", "1,2")],
    "a call of a stream": [call("Counter", "1,0")],
    "a stream that is not there": [stream("Missing", "")],
    "a stream of what does not fit": [stream("Counter", '"x",1'), stream("Counter", "1", "2")],
    "a stream without an id": ['{"type":4,"target":"Counter","arguments":[1,0]}\x1e'],
    "an upload": [
        call("Sum", "", streamIds='["u"]'),
        '{"type":2,"invocationId":"u","item":40}\x1e{"type":2,"invocationId":"u","item":2}\x1e',
        '{"type":3,"invocationId":"u"}\x1e',
    ],
    "an upload with a bad item": [
        call("Sum", "", streamIds='["u"]'),
        '{"type":2,"invocationId":"u","item":"x"}\x1e{"type":3,"invocationId":"u"}\x1e',
    ],
    "an upload that fails": [
        call("Sum", "", streamIds='["u"]'),
        '{"type":3,"invocationId":"u","error":"no more"}\x1e',
    ],
    "items and ends of nothing": [
        '{"type":2,"invocationId":"x","item":1}\x1e',
        '{"type":3,"invocationId":"x","result":1}\x1e',
        '{"type":5,"invocationId":"x"}\x1e',
    ],
    "acks and sequences": ['{"type":8,"sequenceId":1}\x1e{"type":9,"sequenceId":1}\x1e'],
    "a ping": ['{"type":6}\x1e'],
    "a close": ['{"type":7}\x1e'],
    "a close with an error": ['{"type":7,"error":"mine"}\x1e'],
    "a call and a close": [call("Add", "1,2") + '{"type":7}\x1e'],
    "an unknown type": ['{"type":99}\x1e'],
    "no type": ['{"invocationId":"1","target":"Add","arguments":[1,2]}\x1e'],
    "a type that is no number": ['{"type":"1","target":"Add","arguments":[1,2]}\x1e'],
    "a type that is a fraction": ['{"type":6.0}\x1e'],
    "a type that is true": ['{"type":true}\x1e'],
    "an id that is a number": ['{"type":1,"invocationId":1,"target":"Add","arguments":[1,2]}\x1e'],
    "no target": ['{"type":1,"invocationId":"1","arguments":[1,2]}\x1e'],
    "no arguments": ['{"type":1,"invocationId":"1","target":"Nothing"}\x1e'],
    "arguments that are no list": ['{"type":1,"invocationId":"1","target":"Echo","arguments":{"a":1}}\x1e'],
    "a list": ["[1,2]\x1e"],
    "no JSON": ["hello\x1e"],
    "JSON cut short": ['{"type":1,"target":\x1e'],
    "text behind the JSON": ['{"type":6}x\x1e'],
    "an empty record": ["\x1e"],
    "bytes that are no UTF-8": [b'{"type":1,"invocationId":"1","target":"Echo","arguments":["\xff"]}\x1e'],
    "a record too long": [call("Echo", '"' + "x" * 33_000 + '"')],
    "a good record before a bad one": [call("Add", "1,2") + "hello\x1e" + call("Add", "3,4", "2")],
    "a result and an error": ['{"type":3,"invocationId":"x","result":1,"error":"e"}\x1e'],
    "a type given twice": ['{"type":6,"type":6}\x1e'],
}

#: The whole of what is sent first.
HANDSHAKES: dict[str, list[str | bytes]] = {
    "as usual": [HANDSHAKE],
    "with a call behind it": [HANDSHAKE + call("Add", "1,2")],
    "in two frames": [HANDSHAKE[:10], HANDSHAKE[10:]],
    "in a binary frame": [HANDSHAKE.encode()],
    "with other fields": ['{"version":1,"protocol":"json","x":[1]}\x1e'],
    "version 0": ['{"protocol":"json","version":0}\x1e'],
    "version 2": ['{"protocol":"json","version":2}\x1e'],
    "version 3": ['{"protocol":"json","version":3}\x1e'],
    "version -1": ['{"protocol":"json","version":-1}\x1e'],
    "version 1.0": ['{"protocol":"json","version":1.0}\x1e'],
    "version as text": ['{"protocol":"json","version":"1"}\x1e'],
    "no version": ['{"protocol":"json"}\x1e'],
    "no protocol": ['{"version":1}\x1e'],
    "an unknown protocol": ['{"protocol":"telegraph","version":1}\x1e'],
    "the name in capitals": ['{"protocol":"JSON","version":1}\x1e'],
    "a list": ["[]\x1e"],
    "no JSON": ["hello\x1e"],
    "an empty record": ["\x1e"],
    "a record of a hub": [call("Add", "1,2")],
}

Outcome = Transcript | tuple[Any, ...]
GOOD = {"Authorization": "good"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
NEGOTIATE = "/hubs/market/negotiate"
REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "negotiate": ("POST", f"{NEGOTIATE}?negotiateVersion=1", GOOD),
    "negotiate, version 0": ("POST", f"{NEGOTIATE}?negotiateVersion=0", GOOD),
    "negotiate, no version": ("POST", NEGOTIATE, GOOD),
    "negotiate, version 2": ("POST", f"{NEGOTIATE}?negotiateVersion=2", GOOD),
    "negotiate, version -1": ("POST", f"{NEGOTIATE}?negotiateVersion=-1", GOOD),
    "negotiate, version as text": ("POST", f"{NEGOTIATE}?negotiateVersion=one", GOOD),
    "negotiate, a slash at the end": ("POST", f"{NEGOTIATE}/?negotiateVersion=1", GOOD),
    "negotiate, in capitals": ("POST", "/HUBS/Market/Negotiate?NegotiateVersion=1", GOOD),
    "negotiate, stateful": ("POST", f"{NEGOTIATE}?negotiateVersion=1&useStatefulReconnect=true", GOOD),
    "negotiate, stateful, version 0": ("POST", f"{NEGOTIATE}?useStatefulReconnect=true", GOOD),
    "negotiate, not stateful": ("POST", f"{NEGOTIATE}?negotiateVersion=1&useStatefulReconnect=false", GOOD),
    "negotiate by GET": ("GET", f"{NEGOTIATE}?negotiateVersion=1", GOOD),
    "negotiate without a token": ("POST", f"{NEGOTIATE}?negotiateVersion=1", {}),
    "negotiate with a bad token": ("POST", f"{NEGOTIATE}?negotiateVersion=1", {"Authorization": "Bearer x"}),
    "negotiate with another scheme": (
        "POST",
        f"{NEGOTIATE}?negotiateVersion=1",
        {"Authorization": "Basic x"},
    ),
    "a hub that is not there": ("POST", "/hubs/nowhere/negotiate?negotiateVersion=1", GOOD),
    "a path below negotiate": ("POST", f"{NEGOTIATE}/more", GOOD),
    "a GET of a hub": ("GET", "/hubs/market", GOOD),
    "a GET of a hub without a token": ("GET", "/hubs/market", {}),
    "a GET with an unknown id": ("GET", "/hubs/market?id=nobody", GOOD),
    "a PUT of a hub": ("PUT", "/hubs/market", GOOD),
    "a POST with an unknown id": ("POST", "/hubs/market?id=nobody", GOOD),
    "a WebSocket without a token": ("GET", "/hubs/market", WEBSOCKET),
    "a WebSocket with an unknown id": ("GET", "/hubs/market?id=nobody", {**GOOD, **WEBSOCKET}),
    "a WebSocket to no hub": ("GET", "/hubs/nowhere", {**GOOD, **WEBSOCKET}),
    "a WebSocket of version 12": (
        "GET",
        "/hubs/market",
        {**GOOD, **WEBSOCKET, "Sec-WebSocket-Version": "12"},
    ),
}


async def everything(kind: str, kit: Kit) -> dict[tuple[str, str], Outcome]:
    found: dict[tuple[str, str], Outcome] = {}

    some = trio.CapacityLimiter(16)

    async def one(group: str, name: str, server: Server) -> None:
        async with some:
            await play_one(group, name, server)

    async def play_one(group: str, name: str, server: Server) -> None:
        if group == "records":
            found[group, name] = await play(server, [HANDSHAKE, *RECORDS[name], MARK])
        elif group == "handshakes":
            found[group, name] = await play(server, [*HANDSHAKES[name], MARK])
        else:
            found[group, name] = await ask(server, *REQUESTS[name])

    async with open_server(kind, kit) as server:
        for group, table in (("records", RECORDS), ("handshakes", HANDSHAKES), ("requests", REQUESTS)):
            async with trio.open_nursery() as nursery:
                for name in table:
                    nursery.start_soon(one, group, name, server)
    return found


@pytest.fixture(scope="module")
def outcomes(kit: Kit) -> dict[str, dict[tuple[str, str], Outcome]]:
    """What every script comes to, on both servers; played once."""
    if kit.no_hub:
        pytest.skip(f"no ASP.NET Core hub: {kit.no_hub}")
    return {kind: trio.run(everything, kind, kit) for kind in ("simulator", "aspnet")}


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_answered_alike(outcomes: dict[str, dict[tuple[str, str], Outcome]], name: str) -> None:
    real = outcomes["aspnet"]["records", name]
    assert isinstance(real, Transcript)
    assert real.records or real.lives
    assert outcomes["simulator"]["records", name] == real


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes_are_answered_alike(
    outcomes: dict[str, dict[tuple[str, str], Outcome]], name: str
) -> None:
    real = outcomes["aspnet"]["handshakes", name]
    assert isinstance(real, Transcript)
    assert real.records or real.lives
    assert outcomes["simulator"]["handshakes", name] == real


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_answered_alike(outcomes: dict[str, dict[tuple[str, str], Outcome]], name: str) -> None:
    assert outcomes["simulator"]["requests", name] == outcomes["aspnet"]["requests", name]
