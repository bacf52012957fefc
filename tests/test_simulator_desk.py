"""Orders against the market and the user hub: what is told, when, and that it happened at prices of the truth."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import trio
from simulator_rest import MNQ, Trader, running, send, trading
from simulator_tools import START_NS, open_hub

from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import Simulator


def names(heard: list[tuple[str, int, dict]]) -> list[tuple]:
    return [
        (name, action, entity.get("status", entity.get("type"))) if name != "Trade" else (name, action)
        for name, action, entity in heard
    ]


def last_price(sim: Simulator) -> float:
    return sim.truth(MNQ)["price"][-1].as_py()


async def test_a_market_order_from_the_post_to_the_account(autojump_clock: object) -> None:
    async with trading() as trader:
        start = trio.current_time()
        order_id = await trader.place(customTag="tag-1", size=2)
        heard = await trader.heard(3)
        assert names(heard) == [
            ("Order", 1, 6), ("Trade", 0), ("Order", 1, 2), ("Position", 1, 1), ("Account", 1, None),
        ]  # fmt: skip
        pending, trade, filled, position, account = (entity for _, _, entity in heard)
        assert order_id > 2**31
        assert "filledPrice" not in pending  # what is null is left out of the stream
        expected = {
            "id": order_id, "accountId": trader.id, "contractId": MNQ, "symbolId": "F.US.MNQ", "type": 2, "side": 0,
            "size": 2, "customTag": "tag-1",
        }  # fmt: skip
        assert {name: pending[name] for name in expected} == expected
        assert (filled["fillVolume"], filled["filledPrice"]) == (2, trade["price"])
        assert (trade["orderId"], trade["size"], trade["voided"]) == (order_id, 2, False)
        assert "profitAndLoss" not in trade
        assert (position["size"], position["averagePrice"], position["contractDisplayName"]) == (
            2,
            trade["price"],
            "MNQU26",
        )
        assert account["balance"] == pytest.approx(
            150_000 - 2 * (trade["fees"] / 2 + trade["commissions"] / 2)
        )
        # At the very next trade that the market made, at its price and instant.
        truth = trader.rest.sim.truth(MNQ)
        at = parse_stamp(trade["creationTimestamp"])
        assert at - START_NS < (start + 2) * 10**9
        placed = parse_stamp(pending["creationTimestamp"])
        next_one = truth.filter(pc.greater_equal(truth["ts_event"], placed)).slice(0, 1).to_pylist()[0]
        assert (next_one["ts_event"], next_one["price"]) == (at, trade["price"])
        assert parse_stamp(filled["updateTimestamp"]) == at


async def test_a_bracket_ends_by_one_leg(autojump_clock: object) -> None:
    async with trading() as trader:
        parent = await trader.place(
            customTag="b",
            stopLossBracket={"ticks": -12, "type": 4},
            takeProfitBracket={"ticks": 12, "type": 1},
        )
        heard = await trader.heard(120)
        first = [(entity["id"] - parent, entity["status"]) for name, _, entity in heard if name == "Order"][
            :3
        ]
        assert first == [(1, 8), (0, 6), (2, 8)]
        legs = [entity for name, _, entity in heard if name == "Order" and entity["status"] == 8]
        assert [(leg["trailDistance"], leg["trailPrice"]) for leg in legs] == [(-12, -3), (12, 3)]
        assert [leg.get("linkedOrderId") for leg in legs] == [None, parent + 1]
        assert all("limitPrice" not in leg and "stopPrice" not in leg for leg in legs)
        ends = {entity["id"] - parent: entity["status"] for name, _, entity in heard if name == "Order"}
        assert sorted(ends.values()) == [2, 2, 3]
        assert ends[0] == 2
        prices = {entity["orderId"]: entity["price"] for name, _, entity in heard if name == "Trade"}
        entry, leg = prices.pop(parent), next(iter(prices))
        profit = next(
            entity["profitAndLoss"]
            for name, _, entity in heard
            if name == "Trade" and entity["orderId"] == leg
        )
        assert profit == pytest.approx((prices[leg] - entry) * 2)  # half a dollar a tick of a quarter
        assert prices[leg] == entry + 3 if leg == parent + 2 else prices[leg] <= entry - 3
        assert (await trader.rest.ok("Position/searchOpen", accountId=trader.id))["positions"] == []


async def test_suspended_legs_are_seen_by_no_search(autojump_clock: object) -> None:
    async with trading() as trader:
        parent = await trader.place(type=1, limitPrice=100.0, stopLossBracket={"ticks": -4, "type": 4})
        opened = (await trader.rest.ok("Order/searchOpen", accountId=trader.id))["orders"]
        assert [order["id"] for order in opened] == [parent]
        assert (await trader.order(parent + 1))["status"] == 8


async def test_two_runs_are_the_same(autojump_clock: object) -> None:
    async def run(delay: float) -> list:
        async with trading(seed=5, wall_clock=lambda: START_NS) as trader:
            await trio.sleep(delay - (trio.current_time() - started))
            await trader.place(type=5, trailPrice=2.0, side=1)
            await trader.place(type=7, side=1)
            heard = await trader.heard(30)
            return [(name, entity) for name, _, entity in heard]

    started = trio.current_time()
    first = await run(3)
    started = trio.current_time()
    assert await run(3) == first
    assert len(first) > 6


async def test_closing(autojump_clock: object) -> None:
    async with trading() as trader:
        rest, mine = trader.rest, {"accountId": trader.id, "contractId": MNQ}
        assert await rest.refused("Position/closeContract", **mine) == (2, None)
        await trader.place(size=5, side=1)
        await trader.heard(2)
        await rest.ok("Position/partialCloseContract", **mine, size=2)
        assert await rest.refused("Position/partialCloseContract", **mine, size=2) == (7, None)
        assert await rest.refused("Position/closeContract", **mine) == (6, None)
        heard = await trader.heard(2)
        assert [entity["size"] for name, _, entity in heard if name == "Position"] == [3]
        await rest.ok("Position/closeContract", **mine)
        heard = await trader.heard(2)
        (position,) = [(action, entity) for name, action, entity in heard if name == "Position"]
        assert (position[0], position[1]["type"], position[1]["size"]) == (2, 0, 0)
        assert await rest.refused("Position/closeContract", **mine) == (2, None)
        trades = (await rest.ok("Trade/search", accountId=trader.id, startTimestamp="2026-08-19T00:00:00Z"))[
            "trades"
        ]
        assert [(trade["side"], trade["size"], trade["profitAndLoss"] is None) for trade in trades] == [
            (1, 5, True), (0, 2, False), (0, 3, False),
        ]  # fmt: skip
        account = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"][0]
        total = sum((trade["profitAndLoss"] or 0) - trade["fees"] - trade["commissions"] for trade in trades)
        assert account["balance"] == pytest.approx(150_000 + total, abs=1e-9)


async def test_orders_fill_whoever_listens_to_the_market(autojump_clock: object) -> None:
    """Nobody subscribed to trades: the market runs for the order, and the truth has its trades."""
    async with trading() as trader:
        order_id = await trader.place()
        await trio.sleep(60)
        assert (await trader.order(order_id))["status"] == 2
        assert trader.rest.sim.truth(MNQ).num_rows > 500
        assert trader.rest.sim.statistics().trades_sent == 0


async def test_a_market_without_trades_fills_nothing(autojump_clock: object) -> None:
    async with trading() as trader:
        await send(trader.rest.sim, "POST", "/control/hz?v=0")
        order_id = await trader.place()
        assert names(await trader.heard(100)) == [("Order", 1, 6)]
        assert (await trader.order(order_id))["status"] == 6


async def test_on_a_tape(autojump_clock: object) -> None:
    rows = 600
    tape = pa.table({
        "ts_ns": [10**18 + at * 10**8 for at in range(rows)], "price": [20_000.0 + at * 0.25 for at in range(rows)],
        "size": [1] * rows,
    })  # fmt: skip
    async with running(replay=tape, contract="CON.F.US.MNQ.Z13") as (sim, rest):
        accounts = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
        async with open_hub(sim, "user", queue=9999) as hub, open_hub(sim, queue=9999) as market:
            trader = Trader(rest, hub, accounts[1]["id"])
            await hub.call("SubscribeOrders", trader.id)
            await market.call("SubscribeContractTrades", sim.contract_id)
            await trio.sleep(10)
            ids = [
                await trader.place(contractId=sim.contract_id),
                await trader.place(contractId=sim.contract_id, type=4, stopPrice=20_040.0),
                await trader.place(contractId=sim.contract_id, type=1, side=1, limitPrice=20_050.0),
            ]
            await trio.sleep(50)
            orders = [await trader.order(order_id) for order_id in ids]
            assert [order["status"] for order in orders] == [2, 2, 2]
            assert [order["filledPrice"] for order in orders[1:]] == [20_040, 20_050]
            assert orders[0]["creationTimestamp"].startswith("2001-09-09")


async def test_the_truth_is_where_the_fills_are(autojump_clock: object) -> None:
    """Every fill of many orders is at a price that was traded at that instant."""
    async with trading(speed=10) as trader:
        await trader.place()
        await trader.heard(1)
        near = last_price(trader.rest.sim)
        for step in range(1, 6):
            await trader.place(type=4, stopPrice=near + step)
            await trader.place(type=4, side=1, stopPrice=near - step)
        heard = await trader.heard(60)
        trades = [entity for name, _, entity in heard if name == "Trade"]
        assert len(trades) >= 5
        truth = trader.rest.sim.truth(MNQ)
        traded = set(zip(truth["ts_event"].to_pylist(), truth["price"].to_pylist(), strict=True))
        for trade in trades:
            assert (parse_stamp(trade["creationTimestamp"]), trade["price"]) in traded
