"""What the tests of the simulator's orders share."""

from __future__ import annotations

import attrs

from trio_projectx._events import Side
from trio_projectx.simulator.book import Book
from trio_projectx.simulator.ledger import Ids, Ledger
from trio_projectx.simulator.orders import MONEY, Order, OrderType, Status, Terms
from trio_projectx.simulator.products import listed
from trio_projectx.simulator.tickets import Ticket

CONTRACT = "CON.F.US.MNQ.U26"
TERMS = Terms.of(listed(CONTRACT))
CASH = 1_000_000 * MONEY


def new_order(kind: OrderType, side: Side, **fields: object) -> Order:
    plain = Order(
        id=1, account_id=7, terms=TERMS, created_ns=0, updated_ns=0, status=Status.OPEN, type=kind, side=side, size=1
    )  # fmt: skip
    return attrs.evolve(plain, **fields)


def new_book(cash: int = CASH, *, auto_oco: bool = True) -> Book:
    return Book(Ledger(7, "PRAC", Ids(100, 200, 300), cash), auto_oco)


def ticket(kind: int = 2, side: Side = Side.BUY, size: int = 1, **fields: object) -> Ticket:
    return attrs.evolve(Ticket(terms=TERMS, type=kind, side=side, size=size), **fields)


def price(ticks: int) -> float:
    return TERMS.grid.price(ticks)
