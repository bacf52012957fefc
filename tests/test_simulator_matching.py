from __future__ import annotations

import attrs
import pytest
from simulator_book import TERMS, new_order

from trio_projectx._events import Side
from trio_projectx.simulator.matching import fill_price, gone_by
from trio_projectx.simulator.orders import OrderType, Status

BUY, SELL, UNKNOWN = Side.BUY, Side.SELL, Side.UNKNOWN
LIMIT, STOP = OrderType.LIMIT, OrderType.STOP


def test_a_market_order_takes_the_next_trade() -> None:
    assert fill_price(new_order(OrderType.MARKET, BUY), 100, UNKNOWN) == 100


@pytest.mark.parametrize(
    ("side", "rested", "ticks", "aggressor", "price"),
    [
        # One that has just come meets the other side: a better price is its own.
        (BUY, False, 98, SELL, 98), (BUY, False, 100, BUY, 100), (BUY, False, 100, SELL, None),
        (BUY, False, 100, UNKNOWN, None), (BUY, False, 101, BUY, None),
        (SELL, False, 102, BUY, 102), (SELL, False, 100, SELL, 100), (SELL, False, 100, BUY, None),
        (SELL, False, 99, SELL, None),
        # One that waits is filled at its price when the market trades through it, and not before.
        (BUY, True, 98, SELL, 100), (BUY, True, 100, BUY, None), (BUY, True, 100, SELL, None),
        (SELL, True, 103, BUY, 100), (SELL, True, 100, SELL, None),
    ],
)  # fmt: skip
def test_limits(side: Side, rested: bool, ticks: int, aggressor: Side, price: int | None) -> None:
    order = new_order(LIMIT, side, limit=100, is_rested=rested)
    assert fill_price(order, ticks, aggressor) == price


@pytest.mark.parametrize(
    ("side", "ticks", "price"),
    [(BUY, 99, None), (BUY, 100, 100), (BUY, 107, 107), (SELL, 101, None), (SELL, 100, 100), (SELL, 90, 90)],
)
@pytest.mark.parametrize("kind", [STOP, OrderType.TRAILING_STOP])
def test_stops_are_touched_and_take_what_there_is(
    kind: OrderType, side: Side, ticks: int, price: int | None
) -> None:
    assert fill_price(new_order(kind, side, stop=100), ticks, UNKNOWN) == price


@pytest.mark.parametrize(
    ("side", "trades", "stops"),
    [
        (SELL, [100, 103, 101, 102, 110, 106], [95, 98, 98, 98, 105, 105]),
        (BUY, [100, 97, 99, 96, 90, 94], [105, 102, 102, 101, 95, 95]),
    ],
)
def test_a_trailing_stop_follows_the_best_price(side: Side, trades: list[int], stops: list[int]) -> None:
    order, seen = new_order(OrderType.TRAILING_STOP, side, distance=5), []
    for ticks in trades:
        assert fill_price(order, ticks, UNKNOWN) is None
        order = gone_by(order, ticks, UNKNOWN)
        seen.append(order.stop)
    assert seen == stops
    assert fill_price(order, stops[-1], UNKNOWN) == stops[-1]


@pytest.mark.parametrize(
    ("kind", "side", "aggressor", "limit"),
    [
        (OrderType.JOIN_BID, BUY, SELL, 100), (OrderType.JOIN_BID, BUY, BUY, 99),
        (OrderType.JOIN_BID, BUY, UNKNOWN, 99),
        (OrderType.JOIN_ASK, SELL, BUY, 100), (OrderType.JOIN_ASK, SELL, SELL, 101),
    ],
)  # fmt: skip
def test_joining_makes_a_limit_of_the_best_price(
    kind: OrderType, side: Side, aggressor: Side, limit: int
) -> None:
    order = new_order(kind, side, status=Status.PENDING)
    assert fill_price(order, 100, aggressor) is None
    joined = gone_by(order, 100, aggressor)
    assert (joined.limit, joined.status, joined.type) == (limit, Status.OPEN, kind)
    assert gone_by(joined, 90, aggressor) == joined
    assert fill_price(joined, limit - order.direction, UNKNOWN) == limit


def test_what_a_trade_does_not_touch_stays_the_same_object() -> None:
    for order in (
        new_order(LIMIT, BUY, limit=100, is_rested=True),
        new_order(STOP, BUY, stop=100),
        new_order(OrderType.TRAILING_STOP, BUY, stop=100, distance=5),
    ):
        assert gone_by(order, 99, UNKNOWN) is order
    assert gone_by(new_order(LIMIT, BUY, limit=1), 99, UNKNOWN).is_rested
    assert attrs.evolve(new_order(LIMIT, BUY), terms=TERMS).terms is TERMS
