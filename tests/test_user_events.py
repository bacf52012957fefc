"""The values of user events; and the whole way, from an order to its events, over changes and losses of connections."""

from __future__ import annotations

import enum
import random

import attrs
import pytest
import trio
from fault_tools import config_for, open_sim
from simulator_rest import MNQ, Rest
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx import AccountUpdate, Action, OrderStatus, OrderType, OrderUpdate, PositionType, Side
from trio_projectx.market import parse_stamp
from trio_projectx.simulator import Fault, Simulator

CODES: dict[type[enum.IntEnum], str] = {
    Action: "0 create 1 update 2 delete -1 unknown",
    OrderStatus: (
        "0 none 1 open 2 filled 3 cancelled 4 expired 5 rejected 6 pending 7 pending_cancellation 8 suspended "
        "-1 unknown"
    ),
    OrderType: "0 unknown 1 limit 2 market 3 stop_limit 4 stop 5 trailing_stop 6 join_bid 7 join_ask",
    PositionType: "0 undefined 1 long 2 short -1 unknown",
}


def order(**fields: object) -> OrderUpdate:
    usual: dict[str, object] = {
        "order_id": 3425270858,
        "account_id": 7,
        "contract_id": "CON.F.US.MNQ.U26",
        "action": Action.UPDATE,
        "status": OrderStatus.OPEN,
        "type": OrderType.LIMIT,
        "side": Side.BUY,
        "size": 1,
        "created_ts": 1,
        "ts_recv": 2,
    }
    return OrderUpdate(**{**usual, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.__name__)
def test_the_codes_are_the_services(codes: type[enum.IntEnum]) -> None:
    assert " ".join(f"{int(code)} {code.name.lower()}" for code in codes) == CODES[codes]


def test_events_are_values() -> None:
    one = order()
    assert one == order()
    assert len({one, order(), order(ts_recv=3)}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.status = OrderStatus.FILLED  # type: ignore[misc]
    assert (one.limit_price, one.stop_price, one.updated_ts, one.custom_tag) == (None, None, None, None)


def test_fields_have_to_be_named() -> None:
    with pytest.raises(TypeError):
        AccountUpdate(7, None, 1)  # type: ignore[misc]
    assert AccountUpdate(account_id=7, action=None, ts_recv=1).balance is None


@pytest.mark.parametrize(
    "name",
    [
        "AccountUpdate",
        "Action",
        "OrderStatus",
        "OrderType",
        "OrderUpdate",
        "PositionType",
        "PositionUpdate",
        "UserEvent",
        "UserItem",
        "UserTrade",
    ],
)
def test_they_are_public(name: str) -> None:
    assert hasattr(px, name)


# -- the whole way


async def trade(rest: Rest, account_id: int, seed: int, seconds: float) -> None:
    """Place market orders, one every 0.4 s on average (the service takes 200 a minute)."""
    drawn = random.Random(seed)
    with trio.move_on_after(seconds):
        while True:
            body = {"accountId": account_id, "contractId": MNQ, "type": 2, "size": 1}
            await rest.ok("Order/place", **body, side=drawn.randrange(2))
            await trio.sleep(0.1 + 0.6 * drawn.random())


async def read(stream: px.Stream[px.UserItem], into: list[px.UserItem]) -> None:
    async for item in stream:
        into.append(item)


async def disturb(sim: Simulator, gateway: px.Gateway) -> None:
    """Change the connection twice, with an overlap, and break it twice, each with a second for the order before."""
    for _ in range(2):
        await trio.sleep(4)
        await gateway.refresh_token()
    for name in ("tcp_reset", "tcp_fin"):
        await trio.sleep(4)
        sim.inject(Fault(name, hub="user", count=1))


async def told_by_rest(rest: Rest, account_id: int) -> dict[int, dict]:
    window = {"accountId": account_id, "startTimestamp": "2026-01-01T00:00:00Z"}
    return {each["id"]: each for each in (await rest.ok("Trade/search", **window))["trades"]}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_trade_is_told_once_or_lies_in_a_gap(autojump_clock: MockClock, seed: int) -> None:
    async with open_sim(seed) as sim, px.open_gateway(config_for(sim)) as gateway:
        rest = Rest(sim, sim.mint_token())
        accounts = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
        mine, other = (each["id"] for each in accounts)
        got: dict[int | None, list[px.UserItem]] = {None: [], mine: [], other: []}
        async with (
            gateway.open_user_events() as every,
            gateway.open_user_events(account_id=mine) as of_mine,
            gateway.open_user_events(account_id=other) as of_other,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(read, every, got[None])
            nursery.start_soon(read, of_mine, got[mine])
            nursery.start_soon(read, of_other, got[other])
            nursery.start_soon(trade, rest, mine, seed, 25)
            nursery.start_soon(disturb, sim, gateway)
            await trio.sleep(40)
            nursery.cancel_scope.cancel()
        items = got[None]
        gaps = [item for item in items if isinstance(item, px.Gap)]
        trades = [item for item in items if isinstance(item, px.UserTrade)]
        known = await told_by_rest(rest, mine)
        assert len(known) > 40
        assert len({each.trade_id for each in trades}) == len(trades)
        assert {each.trade_id: each.price for each in trades}.items() <= {
            number: each["price"] for number, each in known.items()
        }.items()
        for number in set(known) - {each.trade_id for each in trades}:
            stamp = parse_stamp(known[number]["creationTimestamp"])
            assert any(gap.start <= stamp <= gap.end for gap in gaps)
        assert len(gaps) == 2  # the overlaps made none
        assert got[mine] == items
        assert got[other] == gaps
        counts = gateway.statistics().user
        assert counts.duplicates > 10
        assert (counts.received, counts.waiting) == (counts.passed + counts.duplicates, 0)
        assert (counts.rejected.total, counts.unknown_targets, counts.unclaimed) == (0, 0, 0)


async def test_an_account_that_is_not_yours_is_refused(autojump_clock: MockClock) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        with pytest.raises(px.ConfigError, match="5 is no account of yours"):
            async with gateway.open_user_events(account_id=5):
                pass
        assert sim.statistics().hub_connections_open == 0
