"""Events of the user hub: their form, who gets them, and in which order."""

from __future__ import annotations

import json

import trio
from simulator_tools import open_hub, split, virtual_wall

from trio_projectx.market.decode import Decoder
from trio_projectx.simulator import open_simulator
from trio_projectx.simulator.user_events import UserAction, UserKind, subscription, user_event

ACCOUNT = {"id": 7, "name": "PRAC-V2-1", "balance": 149848.64, "canTrade": True, "isVisible": True}
ORDER = {"id": 3425270858, "accountId": 7, "status": 6, "limitPrice": None, "customTag": None}


def test_it_is_wrapped_and_what_is_null_is_left_out() -> None:
    text = user_event(UserKind.ORDERS, UserAction.UPDATE, ORDER)
    assert json.loads(text[:-1]) == {
        "type": 1,
        "target": "GatewayUserOrder",
        "arguments": [{"action": 1, "data": {"id": 3425270858, "accountId": 7, "status": 6}}],
    }


def test_the_library_knows_every_kind() -> None:
    for kind in UserKind:
        assert Decoder().invocation(kind.value, [{}]).user_events == 1


def test_subscriptions_have_the_names_of_the_control_routes() -> None:
    assert subscription(UserKind.ACCOUNTS, 7) == "GatewayUserAccount"
    assert subscription(UserKind.TRADES, 7) == "GatewayUserTrade 7"


async def test_who_subscribed_gets_it_in_order(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim, "user") as mine, open_hub(sim, "user") as other, open_hub(sim) as market:
            await mine.call("SubscribeOrders", 7)
            await mine.call("SubscribeAccounts")
            await other.call("SubscribeOrders", 8)
            del market
            assert sim.publish(UserKind.ORDERS, 7, UserAction.CREATE, ORDER) == 1
            assert sim.publish(UserKind.TRADES, 7, UserAction.CREATE, {"id": 1}) == 0
            assert sim.publish(UserKind.ACCOUNTS, 7, UserAction.UPDATE, ACCOUNT) == 1
            events = split(await mine.frame())
            assert [event["target"] for event in events] == ["GatewayUserOrder", "GatewayUserAccount"]
            assert events[1]["arguments"] == [{"action": 1, "data": ACCOUNT}]
            await mine.call("UnsubscribeOrders", 7)
            assert sim.publish(UserKind.ORDERS, 7, UserAction.UPDATE, ORDER) == 0
            with trio.move_on_after(5) as scope:
                await other.frame()
            assert scope.cancelled_caught


async def test_a_client_that_does_not_read_loses_its_connection_and_delays_nobody(
    autojump_clock: object,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim, "user") as client:
            await client.call("SubscribeAccounts")
            big = {**ACCOUNT, "name": "x" * 1_000_000}
            for _ in range(30):
                sim.publish(UserKind.ACCOUNTS, 7, UserAction.UPDATE, big)
            await trio.sleep(1)
            assert sim.statistics().dropped_slow == 1
            assert sim.statistics().hub_connections_open == 0
