"""The orders of one account: placing, changing, cancelling, and what trades of the market make of them.

Pure and deterministic: whoever calls hands in the market time, and gets user events in the order in which the
real service tells them (GATEWAY.md 2.4): order (pending), trade, order (filled), position, account, then the
bracket's legs that came alive or were cancelled.
"""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx._events import Side
from trio_projectx.simulator.ledger import Ledger
from trio_projectx.simulator.matching import fill_price, gone_by
from trio_projectx.simulator.orders import (
    ALIVE,
    Bracket,
    Fill,
    Order,
    OrderType,
    Position,
    Refused,
    Status,
    UserEvent,
)
from trio_projectx.simulator.tickets import REJECTED, Ticket, check

#: Orders and half-turns that are remembered; the oldest that are over go first.
KEPT: Final = 50_000
#: An order that could make a position larger than this is rejected (status 6, then 5).
POSITION_MAX: Final = 100
_INSUFFICIENT_FUNDS: Final = 3
_ACCOUNT_VIOLATION: Final = 4


@attrs.define(slots=True, eq=False)
class Book:
    """Orders of one account by id, and its `Ledger`. ``auto_oco``: whether brackets are taken."""

    ledger: Ledger
    auto_oco: bool = True
    orders: dict[int, Order] = attrs.Factory(dict[int, Order])
    fills: dict[int, Fill] = attrs.Factory(dict[int, Fill])
    _alive: dict[str, dict[int, None]] = attrs.Factory(dict[str, dict[int, None]])
    """By contract: those that a trade may fill, in the order in which they came."""
    _tags: set[str] = attrs.Factory(set[str])
    _events: list[UserEvent] = attrs.Factory(list[UserEvent])

    def is_waiting(self, contract_id: str) -> bool:
        """Whether trades of the contract matter to this account."""
        return bool(self._alive.get(contract_id))

    def is_closing(self, contract_id: str) -> bool:
        """Whether an order that closes the position waits for the next trade."""
        return any(self.orders[order_id].is_close for order_id in self._alive.get(contract_id, ()))

    def take_events(self) -> list[UserEvent]:
        """Return what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def place(self, ticket: Ticket, now_ns: int) -> int:
        """Take an order in; return its id.

        :raises Refused: with PlaceOrderErrorCode; nothing has changed then.
        """
        try:
            prices = check(ticket, auto_oco=self.auto_oco)
            self._check_account(ticket)
        except Refused as refused:
            if refused.order_id is not None:
                refused.order_id = self.ledger.ids.next_order()
            raise
        order = Order(
            id=self.ledger.ids.next_order(),
            account_id=self.ledger.account_id,
            terms=ticket.terms,
            created_ns=now_ns,
            updated_ns=now_ns,
            status=Status.PENDING,
            type=OrderType(ticket.type),
            side=ticket.side,
            size=ticket.size,
            limit=prices.limit,
            stop=prices.stop,
            distance=prices.distance,
            tag=ticket.tag,
            is_close=ticket.is_close,
        )
        self._admit(order, self._legs(order, ticket.stop_loss, ticket.take_profit))
        return order.id

    def cancel(self, order_id: int, now_ns: int) -> None:
        """Cancel an order that is alive, and the legs that wait for it.

        :raises KeyError: if there is none of this id.
        :raises Refused: with CancelOrderErrorCode: 4 while it is being filled, 3 if it is over.
        """
        order = self.orders[order_id]
        if order.status is Status.PENDING:
            raise Refused(4)
        if order.status not in ALIVE:
            raise Refused(3)
        self._end(order, Status.CANCELLED, now_ns)

    def modify(self, changed: Order, now_ns: int) -> None:
        """Put ``changed`` in the place of the order it was made from."""
        self._put(attrs.evolve(changed, updated_ns=now_ns, is_rested=False))

    def on_trade(self, contract_id: str, ts_ns: int, ticks: int, aggressor: int) -> None:
        """Let a trade of the market do what it does to the orders of its contract."""
        for order_id in list(self._alive.get(contract_id, ())):
            order = self.orders[order_id]
            # What came after the trade, or ended by one before in the list, is not concerned.
            if order.status not in (Status.OPEN, Status.PENDING) or ts_ns < order.created_ns:
                continue
            price = fill_price(order, ticks, aggressor)
            if price is not None:
                self._fill(order, price, ts_ns)
            else:
                self._keep(order, gone_by(order, ticks, aggressor), ts_ns)

    def _keep(self, order: Order, left: Order, ts_ns: int) -> None:
        if left is order:
            return
        if (left.status, left.stop, left.limit) != (order.status, order.stop, order.limit):
            self._put(attrs.evolve(left, updated_ns=ts_ns))
        else:
            self.orders[order.id] = left

    def _check_account(self, ticket: Ticket) -> None:
        state = self.ledger.state
        if not ticket.is_close:
            if not state.can_trade:
                raise Refused(_ACCOUNT_VIOLATION)
            if self.ledger.margin + ticket.size * ticket.terms.margin > state.balance and self._opens(ticket):
                raise Refused(_INSUFFICIENT_FUNDS)
        if ticket.tag is not None:
            legs = (ticket.tag, f"{ticket.tag}-SL", f"{ticket.tag}-TP")
            if not self._tags.isdisjoint(legs):
                raise Refused(REJECTED, "Custom tag must be unique across the account.")

    def _opens(self, ticket: Ticket) -> bool:
        held = self.ledger.quantity(ticket.terms.contract_id)
        signed = ticket.size if ticket.side is Side.BUY else -ticket.size
        return abs(held + signed) > abs(held)

    def _legs(self, parent: Order, loss: Bracket | None, profit: Bracket | None) -> list[Order]:
        """Return the legs of a bracket as they begin: suspended and without prices."""
        legs: list[Order] = []
        for bracket, suffix in ((loss, "SL"), (profit, "TP")):
            if bracket is not None:
                leg = attrs.evolve(
                    parent,
                    id=self.ledger.ids.next_order(),
                    status=Status.SUSPENDED,
                    type=bracket.type,
                    side=Side.SELL if parent.side is Side.BUY else Side.BUY,
                    limit=None,
                    stop=None,
                    distance=bracket.ticks,
                    tag=None if parent.tag is None else f"{parent.tag}-{suffix}",
                    parent_id=parent.id,
                    linked_id=legs[0].id if legs else None,
                )
                legs.append(leg)
        return legs

    def _admit(self, order: Order, legs: list[Order]) -> None:
        # On the live stream the stop-loss comes before its parent, and the take-profit after it.
        for each in (*legs[:1], order, *legs[1:]):
            self._put(each)
            if each.tag is not None:
                self._tags.add(each.tag)
        held = self.ledger.quantity(order.terms.contract_id) + order.direction * order.size
        if abs(held) > POSITION_MAX and not order.is_close:
            self._end(order, Status.REJECTED, order.created_ns)
        elif order.type in (OrderType.LIMIT, OrderType.STOP, OrderType.TRAILING_STOP):
            self._put(attrs.evolve(order, status=Status.OPEN))
        self._forget_old()

    def _fill(self, order: Order, price: int, ts_ns: int) -> None:
        size = min(order.size, self._closable(order)) if order.is_close else order.size
        if not size:
            self._end(order, Status.CANCELLED, ts_ns)
            return
        fills, position = self.ledger.apply(order, size, price, ts_ns)
        for fill in fills:
            self.fills[fill.id] = fill
            self._events.append(UserEvent("trade", 0, fill))
        filled = attrs.evolve(order, status=Status.FILLED, filled=size, fill_price=price, updated_ns=ts_ns)
        self._put(filled)
        self._tell_position(position)
        self._wake_legs(filled, price, ts_ns)
        self._end_legs(filled, position, ts_ns)

    def _closable(self, order: Order) -> int:
        held = self.ledger.quantity(order.terms.contract_id)
        return abs(held) if held * order.direction < 0 else 0

    def _tell_position(self, position: Position) -> None:
        self._events.append(UserEvent("position", 1 if position.quantity else 2, position))
        self._events.append(UserEvent("account", 1, self.ledger.state))

    def _wake_legs(self, parent: Order, price: int, ts_ns: int) -> None:
        for leg in reversed(self._children(parent.id)):
            at = max(1, price + (leg.distance or 0))
            limit, stop = (at, None) if leg.type is OrderType.LIMIT else (None, at)
            self._put(attrs.evolve(leg, status=Status.OPEN, limit=limit, stop=stop, updated_ns=ts_ns))

    def _end_legs(self, filled: Order, position: Position, ts_ns: int) -> None:
        """Cancel the sibling of a leg that was filled; of a position that is closed, every leg."""
        for order_id in list(self._alive.get(filled.terms.contract_id, ())):
            order = self.orders[order_id]
            is_sibling = order.parent_id is not None and order.parent_id == filled.parent_id
            is_orphan = order.parent_id is not None and position.quantity == 0 and order.status is Status.OPEN
            if is_sibling or is_orphan:
                self._end(order, Status.CANCELLED, ts_ns)

    def _children(self, parent_id: int) -> list[Order]:
        """Return the legs that wait for their parent's fill; their ids follow its own."""
        near = (self.orders.get(order_id) for order_id in (parent_id + 1, parent_id + 2))
        return [
            leg for leg in near
            if leg is not None and leg.parent_id == parent_id and leg.status is Status.SUSPENDED
        ]  # fmt: skip

    def _end(self, order: Order, status: Status, now_ns: int) -> None:
        self._put(attrs.evolve(order, status=status, updated_ns=now_ns))
        for leg in self._children(order.id):
            self._put(attrs.evolve(leg, status=Status.CANCELLED, updated_ns=now_ns))

    def _put(self, order: Order) -> None:
        """Store ``order`` as it is now, and tell it."""
        self.orders[order.id] = order
        alive = self._alive.setdefault(order.terms.contract_id, {})
        if order.status in ALIVE:
            alive[order.id] = None
        else:
            alive.pop(order.id, None)
        self._events.append(UserEvent("order", 2 if order.status is Status.CANCELLED else 1, order))

    def _forget_old(self) -> None:
        while len(self.fills) > KEPT:
            del self.fills[next(iter(self.fills))]
        if len(self.orders) > KEPT:
            over = [order for order in self.orders.values() if order.status not in ALIVE]
            for order in over[: KEPT // 10]:
                del self.orders[order.id]
