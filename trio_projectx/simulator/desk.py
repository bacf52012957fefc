"""The accounts of a simulator: their books, on the market's trades and the market's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final, TypeAlias

from trio_projectx._errors import ContractError
from trio_projectx._events import Side
from trio_projectx.market.contracts import ContractId
from trio_projectx.simulator.book import Book
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.http import JsonBody
from trio_projectx.simulator.ledger import Ids, Ledger
from trio_projectx.simulator.orders import MONEY, OrderType, Refused, Status, Terms
from trio_projectx.simulator.products import front, listed
from trio_projectx.simulator.settings import Settings
from trio_projectx.simulator.shown import entity
from trio_projectx.simulator.tickets import MODIFY_REJECTED, Changes, Ticket, amended
from trio_projectx.simulator.truth import TradeColumns
from trio_projectx.simulator.user_events import UserAction, UserKind

#: Where a user event goes: `Hubs.publish`.
Publish: TypeAlias = Callable[[UserKind, int, UserAction, Mapping[str, JsonBody]], object]
_KINDS: Final = {
    "account": UserKind.ACCOUNTS,
    "order": UserKind.ORDERS,
    "position": UserKind.POSITIONS,
    "trade": UserKind.TRADES,
}

#: Stages of accounts and what is on them, in dollars.
_ACCOUNTS: Final = (("PRAC-V2", 150_000), ("50KTC-V2", 50_000))
_NOT_FOUND: Final = 2
_NO_SUCH_CONTRACT: Final = 3


class Desk:
    """Takes orders for all accounts, and tells what becomes of them."""

    def __init__(self, settings: Settings, exchange: Exchange, publish: Publish) -> None:
        self._exchange = exchange
        self._send = publish
        self._tapped: set[str] = set()
        drawn = Random(f"{settings.seed}/accounts")
        ids = Ids(
            3_400_000_000 + drawn.randrange(10**7),
            3_000_000_000 + drawn.randrange(10**7),
            825_000_000 + drawn.randrange(10**5),
        )
        self.books: dict[int, Book] = {}
        for number, (stage, dollars) in enumerate(_ACCOUNTS):
            account_id = 26_000_000 + drawn.randrange(10**5) * 2 + number
            name = f"{stage}-{drawn.randrange(10**5, 10**6)}-{drawn.randrange(10**7, 10**8)}"
            self.books[account_id] = Book(Ledger(account_id, name, ids, dollars * MONEY), settings.auto_oco)

    def terms(self, contract_id: str) -> Terms:
        """Return the terms of a contract.

        :raises ContractError: if nobody knows it.
        """
        return Terms.of(listed(contract_id))

    def is_active(self, contract_id: str) -> bool:
        """Whether a known contract is traded now: the active one of its product, or the replay's."""
        replay = self._exchange.replay
        if replay is not None and contract_id == replay.contract_id:
            return True
        product = ContractId.parse(contract_id).product
        return front(product, self._exchange.clock.now_ns()).contract_id == contract_id

    def place(self, book: Book, ticket: Ticket) -> int:
        """Take an order in; return its id.

        :raises Refused: with PlaceOrderErrorCode.
        """
        contract_id = ticket.terms.contract_id
        if contract_id not in self._tapped:
            self._exchange.tap(contract_id, partial(self._on_trades, ticket.terms))
            self._tapped.add(contract_id)
        order_id = book.place(ticket, self._now_ns(contract_id))
        self._publish(book)
        return order_id

    def cancel(self, book: Book, order_id: int) -> None:
        """Cancel an order.

        :raises Refused: with CancelOrderErrorCode.
        """
        order = book.orders.get(order_id)
        if order is None:
            raise Refused(_NOT_FOUND)
        book.cancel(order_id, self._now_ns(order.terms.contract_id))
        self._publish(book)

    def modify(self, book: Book, order_id: int, changes: Changes) -> None:
        """Change size or prices of an open order; a price that its type does not have is not looked at.

        :raises Refused: with ModifyOrderErrorCode.
        """
        order = book.orders.get(order_id)
        if order is None:
            raise Refused(_NOT_FOUND)
        if order.status is not Status.OPEN:
            raise Refused(4 if order.status is Status.PENDING else MODIFY_REJECTED)
        book.modify(amended(order, changes), self._now_ns(order.terms.contract_id))
        self._publish(book)

    def close(self, book: Book, contract_id: str, size: int | None, *, pending: int, wrong: int) -> None:
        """Close all (None) or ``size`` of a position by a market order.

        :raises Refused: 2 if there is none, 3 if there is no such contract; ``pending`` while another closing
            is under way; ``wrong`` if the size is not of the position.
        """
        held = book.ledger.positions.get(contract_id)
        if held is None:
            raise Refused(_NOT_FOUND if known(contract_id) else _NO_SUCH_CONTRACT)
        if size is not None and not 1 <= size <= abs(held.quantity):
            raise Refused(wrong)
        if book.is_closing(contract_id):
            raise Refused(pending)
        side = Side.SELL if held.quantity > 0 else Side.BUY
        ticket = Ticket(
            terms=held.terms,
            type=OrderType.MARKET,
            side=side,
            size=abs(held.quantity) if size is None else size,
            is_close=True,
        )
        self.place(book, ticket)

    def _now_ns(self, contract_id: str) -> int:
        """Return the instant of an order: a tape's orders live in the time of the tape."""
        replay = self._exchange.replay
        is_tape = replay is not None and replay.contract_id == contract_id
        return self._exchange.now_ns(contract_id) if is_tape else self._exchange.clock.now_ns()

    def _on_trades(self, terms: Terms, trades: TradeColumns) -> None:
        contract_id, per_unit = terms.contract_id, terms.grid.per_unit
        waiting = [book for book in self.books.values() if book.is_waiting(contract_id)]
        if not waiting:
            return
        for ts_ns, price, side in zip(trades.ts_event, trades.price, trades.side, strict=True):
            # A tape may hold prices off the grid; orders know the nearest tick.
            ticks = round(price * per_unit)
            for book in waiting:
                book.on_trade(contract_id, ts_ns, ticks, side)
        for book in waiting:
            self._publish(book)

    def _publish(self, book: Book) -> None:
        for event in book.take_events():
            shown = entity(event.entity)
            self._send(_KINDS[event.kind], book.ledger.account_id, UserAction(event.action), shown)


def known(contract_id: str) -> bool:
    """Whether a contract of this id exists, active or not."""
    try:
        listed(contract_id)
    except ContractError:
        return False
    return True
