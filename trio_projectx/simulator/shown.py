"""Accounts, orders, positions and half-turns as the wire shows them (GATEWAY.md 1.2 and 2.4)."""

from __future__ import annotations

import datetime
from typing import Final

from trio_projectx.simulator.http import JsonBody
from trio_projectx.simulator.orders import MONEY, AccountState, Entity, Fill, Order, Position, Terms

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def stamp(ns: int) -> str:
    """Return ``ns`` as .NET writes it: up to 7 digits, without zeros at the end."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    digits = f".{fraction // 100:07d}".rstrip("0").rstrip(".")
    return f"{_EPOCH + datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}{digits}+00:00"


def number(value: float) -> int | float:
    """Return a whole number as an int: it is written without a point."""
    return int(value) if value == int(value) else value


def money(units: int) -> int | float:
    """Return ten-thousandths of a dollar in dollars."""
    return number(units / MONEY)


def entity(shown: Entity) -> dict[str, JsonBody]:
    """Return ``shown`` with every field that the stream has; those without a value are None."""
    match shown:
        case AccountState():
            return account(shown)
        case Order():
            return {**order(shown), **_order_extras(shown)}
        case Position():
            return position(shown)
        case Fill():
            return trade(shown)


def account(shown: AccountState) -> dict[str, JsonBody]:
    """Return an account."""
    return {
        "id": shown.id,
        "name": shown.name,
        "balance": money(shown.balance),
        "canTrade": shown.can_trade,
        "isVisible": True,
        "simulated": True,
    }


def order(shown: Order) -> dict[str, JsonBody]:
    """Return an order as REST does."""
    terms = shown.terms
    return {
        "id": shown.id,
        "accountId": shown.account_id,
        "contractId": terms.contract_id,
        "symbolId": terms.symbol_id,
        "creationTimestamp": stamp(shown.created_ns),
        "updateTimestamp": stamp(shown.updated_ns),
        "status": int(shown.status),
        "type": int(shown.type),
        "side": int(shown.side),
        "size": shown.size,
        "limitPrice": _price(terms, shown.limit),
        "stopPrice": _price(terms, shown.stop),
        "fillVolume": shown.filled,
        "filledPrice": _price(terms, shown.fill_price),
        "customTag": shown.tag,
    }


def _order_extras(shown: Order) -> dict[str, JsonBody]:
    """Return what only the stream tells (L1: seen live, documented nowhere)."""
    return {
        "trailDistance": shown.distance,
        "trailPrice": _price(shown.terms, shown.distance),
        "parentOrderId": shown.parent_id,
        "linkedOrderId": shown.linked_id,
    }


def position(shown: Position) -> dict[str, JsonBody]:
    """Return a position; a closed one has type and size 0."""
    quantity = shown.quantity
    return {
        "id": shown.id,
        "accountId": shown.account_id,
        "contractId": shown.terms.contract_id,
        "contractDisplayName": shown.terms.display,
        "creationTimestamp": stamp(shown.created_ns),
        "type": 1 if quantity > 0 else 2 if quantity < 0 else 0,
        "size": abs(quantity),
        "averagePrice": number(shown.average),
    }


def trade(shown: Fill) -> dict[str, JsonBody]:
    """Return a half-turn."""
    return {
        "id": shown.id,
        "accountId": shown.account_id,
        "contractId": shown.terms.contract_id,
        "creationTimestamp": stamp(shown.created_ns),
        "price": _price(shown.terms, shown.price),
        "profitAndLoss": None if shown.profit is None else money(shown.profit),
        "fees": money(shown.fees),
        "commissions": money(shown.commissions),
        "side": int(shown.side),
        "size": shown.size,
        "voided": False,
        "orderId": shown.order_id,
    }


def _price(terms: Terms, ticks: int | None) -> JsonBody:
    return None if ticks is None else number(terms.grid.price(ticks))
