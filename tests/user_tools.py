"""What the tests of user events share."""

from __future__ import annotations

import attrs

from trio_projectx._events import Side
from trio_projectx._user_events import (
    AccountUpdate,
    Action,
    OrderStatus,
    OrderType,
    OrderUpdate,
    PositionType,
    PositionUpdate,
    UserEvent,
    UserTrade,
)
from trio_projectx.flow.user_channel import UserRow

MNQ = "CON.F.US.MNQ.U26"


def one_of_each(account_id: int = 7, ts_recv: int = 5) -> list[UserEvent]:
    common = {"account_id": account_id, "action": Action.UPDATE, "ts_recv": ts_recv}
    of_contract = {**common, "contract_id": MNQ, "created_ts": 1, "size": 1}
    return [
        AccountUpdate(**common),  # type: ignore[arg-type]
        OrderUpdate(**of_contract, order_id=1, status=OrderStatus.OPEN, type=OrderType.LIMIT, side=Side.BUY),  # type: ignore[arg-type]
        PositionUpdate(**of_contract, position_id=2, type=PositionType.LONG),  # type: ignore[arg-type]
        UserTrade(**of_contract, trade_id=3, side=Side.SELL, price=1.5),  # type: ignore[arg-type]
    ]


def order_of(number: int, account_id: int = 7) -> OrderUpdate:
    """An order that is told apart by its number; not read yet."""
    event = one_of_each(account_id, ts_recv=0)[1]
    assert isinstance(event, OrderUpdate)
    return attrs.evolve(event, order_id=number)


def order(number: int, ts_recv: int = 0) -> UserRow:
    return UserRow(order_of(number), ts_recv)


def position(size: int, ts_recv: int = 0) -> UserRow:
    """A position may be again what it was: these rows repeat."""
    event = one_of_each(ts_recv=0)[2]
    assert isinstance(event, PositionUpdate)
    return UserRow(attrs.evolve(event, size=size), ts_recv)
