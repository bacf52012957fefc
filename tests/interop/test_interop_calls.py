"""The official client calls the hubs: methods, errors, streams, client results, events. Both servers answer alike."""

from __future__ import annotations

import pytest
from conftest import Meet
from official import OfficialClient
from servers import Server

CONTRACT = "CON.F.US.EP.Z26"
FAILED = "Failed to invoke '{}' due to an error on the server."
UNEXPECTED = "An unexpected error occurred invoking '{}' on the server."


async def connect(server: Server, client: OfficialClient, hub: str = "market", **options: object) -> None:
    await client.do(
        "open", **{"url": server.hub(hub), "token": await server.token(), "skip": True, **options}
    )
    await server.entered()


VALUES = [
    None,
    True,
    0,
    -1.5,
    5e-7,
    2**53 - 1,
    "",
    'quote " backslash \\ record end \x1e null \x00 line \u2028 pair \U0001f4b9 accent é',
    [],
    {"a": [1, {"b": None}], "price": 29546.25},
]


async def test_what_is_echoed_is_what_was_sent(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        for value in VALUES:
            assert await client.invoke("Echo", value) == value


async def test_methods_return_in_the_order_of_their_calls_and_by_any_case_of_their_name(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        calls = [("Slow", 200), ("Add", 40, 2), ("aDD", -1, 1), ("Nothing",), ("WHOAMI",)]
        answers = await client.do("invokeAll", calls=calls)
        assert [answer.get("result") for answer in answers[:4]] == [None, 42, 0, None]
        assert answers[4]["result"].endswith("|header")
        # One at a time: the fast ones waited for the slow one, so the completions came in the order of the calls.
        done = [record["invocationId"] for record in await client.records() if record.get("type") == 3]
        assert done == sorted(done, key=int)


ERRORS = [
    (("Missing",), FAILED.format("Missing") + " HubException: Method does not exist."),
    (("Add", 1), FAILED.format("Add")),
    (("Add", 1, 2, 3), FAILED.format("Add")),
    (("Add", "one", "two"), FAILED.format("Add")),
    (("Add", 1.5, 2), FAILED.format("Add")),
    (("Add", 2**31, 0), FAILED.format("Add")),
    (("Add", None, 0), FAILED.format("Add")),
    (("Nothing", 1), FAILED.format("Nothing")),
    (("Throw", "of no concern to you"), UNEXPECTED.format("Throw")),
    (("ThrowHub", "for you"), UNEXPECTED.format("ThrowHub") + " HubException: for you"),
    (("SubscribeContractTrades", 5), FAILED.format("SubscribeContractTrades")),
    (("SubscribeContractTrades",), FAILED.format("SubscribeContractTrades")),
]


async def test_methods_fail_in_the_same_words_and_the_connection_lives(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        for call, told in ERRORS:
            assert await client.failure(*call) == told
            await client.do(
                "send", target=call[0], args=call[1:]
            )  # without an id: no answer, not even an error
        assert await client.invoke("Add", 1, 1) == 2
        assert (await server.state())["disconnects"] == 0


async def test_an_unknown_contract_is_refused(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        for contract in ("", "EP", "CON.F.US.NOSUCH.Z26", "CON.F.US.EP.Q9", "CON.F.US.EP.Z26\n"):
            assert "SubscribeContractTrades" in await client.failure("SubscribeContractTrades", contract)
        assert (await server.state())["connections"][0]["subs"] == []


async def test_a_burst_of_20_000_events_arrives_whole_and_in_order_before_its_completion(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client, on=["Tick"])
        assert await client.invoke("Burst", "Tick", CONTRACT, 20_000) is None
        assert await client.do("events", target="Tick", count=0, pick="seq") == list(range(20_000))
        first = (await client.do("events", target="Tick", count=0))[0]
        assert first == [CONTRACT, {"seq": 0, "price": 5000.25, "volume": 1}]


async def test_an_event_of_a_megabyte_arrives(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client, on=["Large"])
        await client.invoke("Big", "Large", 1_000_000)
        assert await client.do("events", target="Large", count=1) == [["x" * 1_000_000]]


async def test_any_event_can_be_emitted_and_sent_from_outside(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client, hub="user", on=["GatewayUserAccount", "Mine"])
        payload = {
            "action": 1,
            "data": {"id": 3425270858, "name": "PRAC-V2-é", "balance": 50000.5, "note": None},
        }
        await client.invoke("SubscribeAccounts")
        await server.control("send?target=GatewayUserAccount", [payload])
        assert await client.do("events", target="GatewayUserAccount", count=1) == [[payload]]
        await client.invoke("Emit", "Mine", [1, "two", [3]])
        assert await client.do("events", target="Mine", count=1) == [[1, "two", [3]]]


async def test_user_subscriptions_are_recorded(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client, hub="user")
        for name in ("Orders", "Positions", "Trades"):
            await client.invoke(f"Subscribe{name}", 4_000_000_000)
        await client.invoke("SubscribeAccounts")
        await client.invoke("UnsubscribePositions", 4_000_000_000)
        (shown,) = (await server.state())["connections"]
        assert sorted(shown["subs"]) == [
            "GatewayUserAccount",
            "GatewayUserOrder 4000000000",
            "GatewayUserTrade 4000000000",
        ]


async def test_a_market_subscription_brings_its_events_until_it_is_ended(meet: Meet) -> None:
    targets = {"Quotes": "GatewayQuote", "Trades": "GatewayTrade", "MarketDepth": "GatewayDepth"}
    async with meet(hz=100) as (server, client):
        await connect(server, client, on=list(targets.values()))
        for name, target in targets.items():
            await client.invoke(f"SubscribeContract{name}", CONTRACT)
            events = await client.do("events", target=target, count=3)
            assert {event[0] for event in events} == {CONTRACT}
            check_payload(target, [event[1] for event in events])
            await client.invoke(f"UnsubscribeContract{name}", CONTRACT)
            # What was on its way when the hub acknowledged came before the acknowledgement, or right after it.
            await client.invoke("Slow", 100)
            before = len(await client.do("events", target=target, count=0))
            await client.invoke("Slow", 200)
            assert len(await client.do("events", target=target, count=0)) == before
        assert (await server.state())["connections"][0]["subs"] == []


def check_payload(target: str, payloads: list[object]) -> None:
    for payload in payloads:
        if target == "GatewayQuote":
            assert isinstance(payload, dict)
            assert payload["symbol"] == "F.US.EP"
            assert payload["contract"] == CONTRACT
            continue
        assert isinstance(payload, list)
        for entry in payload:
            assert entry["timestamp"].endswith("+00:00")
            assert entry["price"] * 4 == int(entry["price"] * 4)
            if target == "GatewayTrade":
                assert (entry["symbolId"], entry["contractId"]) == ("F.US.EP", CONTRACT)
                assert entry["volume"] >= 1
                assert entry["type"] in (0, 1)


async def test_a_stream_brings_its_items_and_its_end(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        await client.do("stream", name="a", target="Counter", args=[1000, 0])
        assert await client.do("streamed", name="a") == {
            "items": list(range(1000)),
            "error": None,
            "done": True,
        }
        await client.do("stream", name="none", target="Counter", args=[0, 0])
        assert await client.do("streamed", name="none") == {"items": [], "error": None, "done": True}


async def test_a_stream_that_fails_brings_its_items_first(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        await client.do("stream", name="a", target="CounterFail", args=[3])
        told = "An error occurred on the server while streaming results. HubException: Ran out of data!"
        assert await client.do("streamed", name="a") == {"items": [0, 1, 2], "error": told, "done": True}
        assert await client.invoke("Add", 1, 1) == 2


async def test_a_stream_runs_beside_calls_and_ends_when_it_is_cancelled(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        await client.do("stream", name="a", target="Counter", args=[1_000_000, 10])
        seen = await client.do("streamed", name="a", count=3)
        assert seen["items"][:3] == [0, 1, 2]
        assert await client.invoke("Add", 1, 1) == 2
        await client.do("cancel", name="a")
        await client.invoke("Slow", 200)
        last = [r for r in await client.records() if r.get("type") in (2, 3) and r.get("invocationId") == "0"]
        assert last[-1]["type"] == 3  # the server has ended it
        assert last[-1].get("error") is None


HOW = "The client attempted to invoke the {} '{}' method with a {} invocation."
STREAM_ERRORS = [
    (("stream", "Missing"), FAILED.format("Missing") + " HubException: Method does not exist."),
    (("stream", "Counter", 1), FAILED.format("Counter")),
    (("stream", "Counter", "a", "b"), FAILED.format("Counter")),
    (("stream", "Add", 1, 2), HOW.format("non-streaming", "Add", "streaming")),
    (("invoke", "Counter", 1, 0), HOW.format("streaming", "Counter", "non-streaming")),
]


async def test_streams_that_cannot_begin_fail_in_the_same_words(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        told = {}
        for number, ((how, target, *args), _) in enumerate(STREAM_ERRORS):
            if how == "invoke":
                told[number] = await client.failure(target, *args)
                continue
            await client.do("stream", name=str(number), target=target, args=args)
            told[number] = (await client.do("streamed", name=str(number)))["error"]
        assert told == {number: text for number, (_, text) in enumerate(STREAM_ERRORS)}
        assert await client.invoke("Add", 1, 1) == 2


async def test_an_upload_stream_is_summed(meet: Meet) -> None:
    async with meet() as (server, client):
        await connect(server, client)
        assert await client.do("upload", target="Sum", items=list(range(100))) == 4950
        assert await client.do("upload", target="Sum", items=[]) == 0


@pytest.mark.parametrize("parallel", [1, 2])
async def test_the_server_asks_the_client(meet: Meet, parallel: int) -> None:
    # Also where one call runs at a time: the client's answer goes past the calls that wait for their turn.
    answers = {"seven": {"value": 7}, "words": {"value": "é \x1e"}, "fails": {"error": "not today"}}
    failed = UNEXPECTED.format("AskClient") + " HubException: "
    async with meet(parallel=parallel) as (server, client):
        await connect(server, client, answers=answers)
        assert await client.invoke("AskClient", "seven") == "client said 7"
        assert await client.invoke("AskClient", "words") == "client said é \x1e"
        assert await client.failure("AskClient", "fails") == failed + "Error: not today"
        assert await client.failure("AskClient", "nobody") == failed + "Client didn't provide a result."
        asked = [r for r in await client.records() if r.get("type") == 1]
        assert [r["target"] for r in asked] == ["seven", "words", "fails", "nobody"]
        assert len({r["invocationId"] for r in asked}) == 4


async def test_with_two_calls_at_a_time_a_fast_one_overtakes(meet: Meet) -> None:
    async with meet(parallel=2) as (server, client):
        await connect(server, client)
        await client.do("invokeAll", calls=[("Slow", 300), ("Add", 1, 1)])
        assert [r["invocationId"] for r in await client.records() if r.get("type") == 3] == ["1", "0"]


async def test_a_record_of_32_kib_is_the_longest_that_the_server_takes(meet: Meet) -> None:
    frame = len('{"arguments":[""],"invocationId":"0","target":"Echo","type":1}\x1e')
    async with meet() as (server, client):
        await connect(server, client)
        fits = "x" * (32_768 - frame)
        assert await client.invoke("Echo", fits) == fits
        sent = (await client.do("wire"))[-2]
        assert (sent["way"], len(sent["text"])) == ("out", 32_768)
        told = await client.failure("Echo", fits + "x")
        assert told == "Server returned an error on close: Connection closed with an error."
        (end,) = await client.told("closed")
        assert end["error"] == told
        last = (await client.records())[-1]
        assert last == {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
