from __future__ import annotations

import pytest
import trio
from simulator_rest import MNQ, trading

from trio_projectx.simulator.tickets import NO_AUTO_OCO

LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"accountId": 1}, 1), ({"contractId": "CON.F.US.NONE.U26"}, 8), ({"contractId": "MNQ"}, 8),
        ({"contractId": "CON.F.US.MNQ.Z26"}, 9), ({"contractId": "CON.F.US.MNQ.U25"}, 9), ({"type": 3}, 2),
        ({"type": 9}, 2), ({"side": 2}, 2), ({"side": -1}, 2), ({"size": 0}, 2), ({"type": 1}, 2),
        ({"type": 1, "limitPrice": 25_000.1}, 2), ({"type": 4, "stopPrice": -3.0}, 2), ({"size": 9_000}, 3),
        ({"stopLossBracket": {"ticks": 5, "type": 4}}, 2), ({"stopLossBracket": {"ticks": -5, "type": 9}}, 2),
    ],
)  # fmt: skip
async def test_what_is_refused(autojump_clock: object, change: dict, code: int) -> None:
    async with trading() as trader:
        body = {"accountId": trader.id, "contractId": MNQ, "type": 2, "side": 0, "size": 1, **change}
        answer = (await trader.rest.post("Order/place", **body)).json
        assert (answer["errorCode"], answer["orderId"], answer["success"]) == (code, None, False)
        assert (answer["errorMessage"] is None) == (code != 2)
        assert await trader.heard(3) == []


async def test_brackets_in_the_wrong_mode(autojump_clock: object) -> None:
    async with trading(auto_oco=False) as trader:
        body = {"accountId": trader.id, "contractId": MNQ, "type": 2, "side": 0, "size": 1}
        answer = (
            await trader.rest.post("Order/place", **body, stopLossBracket={"ticks": -5, "type": 4})
        ).json
        assert (answer["errorCode"], answer["errorMessage"]) == (2, NO_AUTO_OCO)
        assert answer["orderId"] is not None
        await trader.place()


async def test_tags_are_unique_in_the_account(autojump_clock: object) -> None:
    async with trading() as trader:
        await trader.place(customTag="x")
        body = {"accountId": trader.id, "contractId": MNQ, "type": 2, "side": 0, "size": 1, "customTag": "x"}
        code, text = await trader.rest.refused("Order/place", **body)
        assert code == 2
        assert "unique" in (text or "")
        other = (await trader.rest.ok("Account/search", onlyActiveAccounts=True))["accounts"][1]["id"]
        await trader.place(customTag="x", accountId=other)


async def test_changing_and_cancelling(autojump_clock: object) -> None:
    async with trading() as trader:
        rest, order_id = trader.rest, await trader.place(type=1, limitPrice=100.0)
        one = {"accountId": trader.id, "orderId": order_id}
        await trader.heard(1)
        await rest.ok("Order/modify", **one, limitPrice=101.5, size=3)
        ((name, action, entity),) = await trader.heard(1)
        assert (name, action, entity["limitPrice"], entity["size"], entity["status"]) == (
            "Order",
            1,
            101.5,
            3,
            1,
        )
        assert entity["updateTimestamp"] > entity["creationTimestamp"]
        assert (await rest.refused("Order/modify", **one, limitPrice=101.6))[0] == 3
        assert await rest.refused("Order/modify", accountId=1, orderId=order_id) == (1, None)
        assert await rest.refused("Order/modify", accountId=trader.id, orderId=1) == (2, None)
        assert await rest.refused("Order/cancel", accountId=trader.id, orderId=1) == (2, None)
        assert await rest.refused("Order/cancel", accountId=1, orderId=order_id) == (1, None)
        await rest.ok("Order/cancel", **one)
        ((name, action, entity),) = await trader.heard(1)
        assert (name, action, entity["status"]) == ("Order", 2, 3)
        assert await rest.refused("Order/cancel", **one) == (3, None)
        assert await rest.refused("Order/modify", **one, size=1) == (3, None)
        far = await trader.place(type=1, side=1, limitPrice=100.0)  # it is marketable: gone at once
        await trio.sleep(2)
        assert (await trader.order(far))["status"] == 2
        assert (await trader.order(far))["filledPrice"] > 20_000


async def test_searches(autojump_clock: object) -> None:
    async with trading() as trader:
        rest, mine = trader.rest, {"accountId": trader.id}
        filled = await trader.place()
        await trio.sleep(10)
        resting = await trader.place(type=1, limitPrice=100.0)
        await trio.sleep(10)
        cancelled = await trader.place(type=4, stopPrice=60_000.0)
        await rest.ok("Order/cancel", **mine, orderId=cancelled)
        found = (await rest.ok("Order/search", **mine, startTimestamp=LONG_AGO))["orders"]
        assert [(order["id"], order["status"]) for order in found] == [
            (filled, 2),
            (resting, 1),
            (cancelled, 3),
        ]
        assert list(found[0]) == [
            "id", "accountId", "contractId", "symbolId", "creationTimestamp", "updateTimestamp", "status", "type",
            "side", "size", "limitPrice", "stopPrice", "fillVolume", "filledPrice", "customTag",
        ]  # fmt: skip
        assert (found[1]["limitPrice"], found[1]["filledPrice"]) == (100, None)
        at = found[1]["creationTimestamp"]
        window = {"startTimestamp": at, "endTimestamp": found[2]["creationTimestamp"]}
        assert [order["id"] for order in (await rest.ok("Order/search", **mine, **window))["orders"]] == [
            resting
        ]
        opened = (await rest.ok("Order/searchOpen", **mine))["orders"]
        assert [order["id"] for order in opened] == [resting]
        # The names of the history route's fields, and none at all: nothing is found, nothing is said.
        for names in ({"startTime": LONG_AGO, "endTime": "2027-01-01T00:00:00Z"}, {}):
            assert (await rest.ok("Order/search", **mine, **names))["orders"] == []
            assert (await rest.ok("Trade/search", **mine, **names))["trades"] == []
        (trade,) = (await rest.ok("Trade/search", **mine, startTimestamp=LONG_AGO))["trades"]
        assert list(trade) == [
            "id", "accountId", "contractId", "creationTimestamp", "price", "profitAndLoss", "fees", "commissions",
            "side", "size", "voided", "orderId",
        ]  # fmt: skip
        (position,) = (await rest.ok("Position/searchOpen", **mine))["positions"]
        assert (position["type"], position["size"], position["averagePrice"]) == (1, 1, trade["price"])
        assert position["id"] < 2**31
        for path in ("Order/search", "Order/searchOpen", "Position/searchOpen", "Trade/search"):
            assert (await rest.refused(path, accountId=1, startTimestamp=LONG_AGO))[0] == 1
        assert await rest.refused("Order/searchById", **mine, orderId=7) == (1, None)


async def test_the_query(autojump_clock: object) -> None:
    async with trading() as trader:
        rest, ids = trader.rest, []
        for number in range(7):
            leg = {} if number == 3 else {"stopLossBracket": {"ticks": -1, "type": 4}}
            ids.append(await trader.place(type=1, limitPrice=100.0 + number, **leg))
            await trio.sleep(1)
        await rest.ok("Order/cancel", accountId=trader.id, orderId=ids[3])

        async def query(wanted: dict | None = None, **options: object) -> list[int]:
            body = {"filter": {"accountId": trader.id, **(wanted or {})}, **options}
            answer = await rest.ok("Order/v2/query", **body)
            assert (answer["totalCount"] is None) == ("includeTotalCount" not in options)
            return [order["id"] for order in answer["orders"]]

        assert await query() == ids
        assert await query(sortDirection=1, sortBy=1) == ids[::-1]
        assert await query(pageSize=2, pageOffset=3, includeTotalCount=True) == ids[3:5]
        assert await query({"statuses": [3]}) == [ids[3]]
        assert len(await query({"statuses": [8]})) == 6
        assert await query({"contractId": "CON.F.US.MES.U26"}) == []
        created = [(await trader.order(order_id))["creationTimestamp"] for order_id in ids]
        assert await query({"createdAfter": created[2], "createdBefore": created[5]}) == ids[2:5]
        assert (await rest.refused("Order/v2/query", filter={"accountId": 1}))[0] == 1
        body = {"filter": {"accountId": trader.id}, "includeTotalCount": True, "pageSize": 1}
        assert (await rest.ok("Order/v2/query", **body))["totalCount"] == 7
