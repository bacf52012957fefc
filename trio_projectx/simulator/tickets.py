"""What may be ordered: the rules that refuse an order before the market sees it. Pure."""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx._events import Side
from trio_projectx.simulator.orders import Bracket, Order, OrderType, Refused, Terms

#: PlaceOrderErrorCode, ModifyOrderErrorCode (GATEWAY.md 1.5).
REJECTED: Final = 2
MODIFY_REJECTED: Final = 3
#: In the service's own words (GATEWAY.md 1.5); an order id comes with it nevertheless.
NO_AUTO_OCO: Final = "Brackets cannot be used with Position Brackets. You must enable Auto OCO Brackets."
_STOPS: Final = (OrderType.STOP, OrderType.TRAILING_STOP)
#: The largest size of one order, so that sums stay sane.
_SIZE_MAX: Final = 10_000


@attrs.frozen(slots=True, kw_only=True)
class Ticket:
    """An order as it is asked for; prices as on the wire."""

    terms: Terms
    type: int
    side: Side
    size: int
    limit_price: float | None = None
    stop_price: float | None = None
    trail_price: float | None = None
    tag: str | None = None
    stop_loss: Bracket | None = None
    take_profit: Bracket | None = None
    is_close: bool = False


@attrs.frozen(slots=True)
class Prices:
    """The prices of an order in ticks; those its type does not have are None."""

    limit: int | None = None
    stop: int | None = None
    distance: int | None = None


def check(ticket: Ticket, *, auto_oco: bool) -> Prices:
    """Return the prices of ``ticket``.

    :raises Refused: with PlaceOrderErrorCode 2 (OrderRejected) and a sentence; where a bracket is refused for
        the account's mode, ``order_id`` 0 asks the caller for one.
    """
    if ticket.type not in set(OrderType) - {OrderType.STOP_LIMIT}:
        raise Refused(REJECTED, "Invalid order type.")
    if not 1 <= ticket.size <= _SIZE_MAX:
        raise Refused(REJECTED, "Invalid order size.")
    if ticket.type in (OrderType.JOIN_BID, OrderType.JOIN_ASK) and (
        (ticket.type == OrderType.JOIN_BID) != (ticket.side is Side.BUY)
    ):
        raise Refused(REJECTED, "Invalid order side. Bids are joined by buys, asks by sells.")
    prices = _prices(ticket)
    brackets = (ticket.stop_loss, ticket.take_profit)
    if any(brackets) and not auto_oco:
        raise Refused(REJECTED, NO_AUTO_OCO, 0)
    _check_brackets(ticket)
    return prices


@attrs.frozen(slots=True, kw_only=True)
class Changes:
    """What ``Order/modify`` asks for; None leaves as it is."""

    size: int | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    trail_price: float | None = None


def amended(order: Order, changes: Changes) -> Order:
    """Return ``order`` with ``changes``; a price that its type does not have is not looked at.

    :raises Refused: with ModifyOrderErrorCode 3 and a sentence.
    """
    if changes.size is not None:
        if not 1 <= changes.size <= _SIZE_MAX:
            raise Refused(MODIFY_REJECTED, "Invalid order size.")
        order = attrs.evolve(order, size=changes.size)
    if changes.limit_price is not None and order.limit is not None:
        limit = in_ticks(order.terms, changes.limit_price, "limit price", MODIFY_REJECTED)
        order = attrs.evolve(order, limit=limit)
    if changes.stop_price is not None and order.type in _STOPS:
        stop = in_ticks(order.terms, changes.stop_price, "stop price", MODIFY_REJECTED)
        order = attrs.evolve(order, stop=stop)
    if changes.trail_price is not None and order.type is OrderType.TRAILING_STOP:
        distance = in_ticks(order.terms, changes.trail_price, "trail price", MODIFY_REJECTED)
        order = attrs.evolve(order, distance=distance)
    return order


def in_ticks(terms: Terms, price: float | None, name: str, code: int = REJECTED) -> int:
    """Return ``price`` in ticks, which has to be there, on the grid and above 0.

    :raises Refused: with ``code``.
    """
    ticks = None if price is None else terms.grid.ticks(price)
    if ticks is None or ticks < 1:
        raise Refused(code, f"Invalid {name}. It must be above 0 and a multiple of the tick size.")
    return ticks


def _prices(ticket: Ticket) -> Prices:
    match ticket.type:
        case OrderType.LIMIT:
            return Prices(limit=in_ticks(ticket.terms, ticket.limit_price, "limit price"))
        case OrderType.STOP:
            return Prices(stop=in_ticks(ticket.terms, ticket.stop_price, "stop price"))
        case OrderType.TRAILING_STOP:
            return Prices(distance=in_ticks(ticket.terms, ticket.trail_price, "trail price"))
        case _:
            return Prices()


def _check_brackets(ticket: Ticket) -> None:
    direction = 1 if ticket.side is Side.BUY else -1
    going = "long" if direction > 0 else "short"
    loss, profit = ticket.stop_loss, ticket.take_profit
    if loss is not None and (loss.type not in _STOPS or loss.ticks * direction >= 0):
        needed = "less" if direction > 0 else "greater"
        raise Refused(REJECTED, f"Invalid stop loss. Ticks must be {needed} than zero when going {going}.")
    if profit is not None and (profit.type is not OrderType.LIMIT or profit.ticks * direction <= 0):
        needed = "greater" if direction > 0 else "less"
        raise Refused(REJECTED, f"Invalid take profit. Ticks must be {needed} than zero when going {going}.")
