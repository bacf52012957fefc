"""When and at what price an order is filled by a trade of the market: pure rules.

A market order takes the next trade's price. A limit is filled at its own price when the market trades through
it; one that is marketable when it comes (it would have met the other side at the next trade) takes that trade's
price. A stop becomes a market order at the trade that touches it and takes its price. A trailing stop follows
the best price since it came at its distance. A fill is always whole: the size of trades is not looked at.
"""

from __future__ import annotations

import attrs

from trio_projectx._events import Side
from trio_projectx.simulator.orders import Order, OrderType, Status


def fill_price(order: Order, ticks: int, aggressor: int) -> int | None:
    """Return at what price (in ticks) a trade at ``ticks`` fills ``order``; None if it does not.

    ``aggressor`` is the trade's `Side` as a number, -1 if it is unknown: a buyer's trade was at the ask.
    """
    match order.type:
        case OrderType.MARKET:
            return ticks
        case OrderType.LIMIT | OrderType.JOIN_BID | OrderType.JOIN_ASK:
            return _limit_price(order, ticks, aggressor)
        case OrderType.STOP | OrderType.TRAILING_STOP:
            touched = order.stop is not None and order.direction * (ticks - order.stop) >= 0
            return ticks if touched else None
        case _:
            return None


def _limit_price(order: Order, ticks: int, aggressor: int) -> int | None:
    if order.limit is None:
        return None
    through = order.direction * (order.limit - ticks)
    if through > 0:
        return order.limit if order.is_rested else ticks
    # A buyer's trade was at the ask: a buy limit there meets it, unless it has waited and has others before it.
    met = through == 0 and not order.is_rested and aggressor == order.side.value
    return ticks if met else None


def gone_by(order: Order, ticks: int, aggressor: int) -> Order:
    """Return what a trade makes of an order that it did not fill."""
    match order.type:
        case OrderType.LIMIT if not order.is_rested:
            return attrs.evolve(order, is_rested=True)
        case OrderType.TRAILING_STOP if order.distance is not None:
            return _trailed(order, ticks, abs(order.distance))
        case OrderType.JOIN_BID | OrderType.JOIN_ASK if order.limit is None:
            return _joined(order, ticks, aggressor)
        case _:
            return order


def _trailed(order: Order, ticks: int, distance: int) -> Order:
    stop = ticks + order.direction * distance
    if order.stop is not None and order.direction * (order.stop - stop) <= 0:
        return order
    return attrs.evolve(order, stop=stop)


def _joined(order: Order, ticks: int, aggressor: int) -> Order:
    """Make it a limit at the best price of its own side, as far as a trade shows it (spread: one tick)."""
    if order.type is OrderType.JOIN_BID:
        limit = ticks if aggressor == Side.SELL.value else ticks - 1
    else:
        limit = ticks if aggressor == Side.BUY.value else ticks + 1
    return attrs.evolve(order, limit=max(1, limit), status=Status.OPEN, is_rested=True)
