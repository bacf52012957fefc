"""What happens to your accounts: the values of a stream of user events, frozen and in the service's own words.

All instants are int64 nanoseconds since 1970-01-01T00:00Z: ``created_ts`` and ``updated_ts`` are the service's stamps,
``ts_recv`` the injected wall clock when the record was read. Prices and money are float64, as they were on the wire:
finite, but not checked against any grid. A field that the service left out, or sent as null, is None. Facts are those
of GATEWAY.md sections 1.2, 1.5 and 2.4.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from trio_projectx._events import Gap, Side


class Action(enum.IntEnum):
    """What happened to the entity of an event, if the service said it.

    The codes are the service's. Seen live: `UPDATE` for accounts, and for orders and positions also where they are new;
    `DELETE` for orders and positions that are over; `CREATE` for trades.
    """

    CREATE = 0
    UPDATE = 1
    DELETE = 2
    UNKNOWN = -1
    """A code that this library does not know."""


class OrderStatus(enum.IntEnum):
    """Where an order stands."""

    NONE = 0
    OPEN = 1
    FILLED = 2
    CANCELLED = 3
    EXPIRED = 4
    REJECTED = 5
    PENDING = 6
    PENDING_CANCELLATION = 7
    SUSPENDED = 8
    """A leg of a bracket that waits for the fill of its parent."""
    UNKNOWN = -1
    """A code that this library does not know."""


class OrderType(enum.IntEnum):
    """What kind of order it is."""

    UNKNOWN = 0
    """The service's own "unknown", and every code that this library does not know."""
    LIMIT = 1
    MARKET = 2
    STOP_LIMIT = 3
    STOP = 4
    TRAILING_STOP = 5
    JOIN_BID = 6
    JOIN_ASK = 7


class PositionType(enum.IntEnum):
    """The direction of a position."""

    UNDEFINED = 0
    """Of a position that was closed."""
    LONG = 1
    SHORT = 2
    UNKNOWN = -1
    """A code that this library does not know."""


@attrs.frozen(slots=True, kw_only=True)
class AccountUpdate:
    """The state of an account, told after each change of it; the service may repeat one."""

    account_id: int
    action: Action | None
    """None where the wire gave the bare account."""
    ts_recv: int
    name: str | None = None
    balance: float | None = None
    can_trade: bool | None = None
    is_visible: bool | None = None
    simulated: bool | None = None
    """True also for a funded account (GATEWAY.md section 1.2)."""


@attrs.frozen(slots=True, kw_only=True)
class OrderUpdate:
    """The whole state of an order after something happened to it.

    ``side`` is `Side.BUY` for the service's bid, `Side.SELL` for its ask. ``size`` is what was ordered, ``fill_volume``
    what of it was filled, at ``filled_price``.
    """

    order_id: int
    account_id: int
    contract_id: str
    action: Action | None
    """None where the wire gave the bare order."""
    status: OrderStatus
    type: OrderType
    side: Side
    size: int
    created_ts: int
    ts_recv: int
    updated_ts: int | None = None
    symbol_id: str | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    fill_volume: int | None = None
    filled_price: float | None = None
    custom_tag: str | None = None
    trail_distance: float | None = None
    """Undocumented, seen live; its unit is the service's."""
    trail_price: float | None = None
    parent_order_id: int | None = None
    """Of a leg of a bracket: the order that it protects."""
    linked_order_id: int | None = None
    """Of a take-profit: its stop-loss."""


@attrs.frozen(slots=True, kw_only=True)
class PositionUpdate:
    """A position after a change of it; one that was closed has size 0, and mostly `Action.DELETE`."""

    position_id: int
    account_id: int
    contract_id: str
    action: Action | None
    """None where the wire gave the bare position."""
    type: PositionType
    size: int
    """Contracts, never negative: the direction is in ``type``."""
    created_ts: int
    ts_recv: int
    average_price: float | None = None
    display_name: str | None = None
    """The contract as the platform shows it (``MNQU26``)."""


@attrs.frozen(slots=True, kw_only=True)
class UserTrade:
    """A trade of yours: one half-turn. Money is in the account's currency."""

    trade_id: int
    account_id: int
    contract_id: str
    action: Action | None
    """None where the wire gave the bare trade."""
    side: Side
    price: float
    size: int
    created_ts: int
    ts_recv: int
    order_id: int | None = None
    profit_and_loss: float | None = None
    """None for the leg that opens."""
    fees: float | None = None
    commissions: float | None = None
    voided: bool | None = None


UserEvent: TypeAlias = AccountUpdate | OrderUpdate | PositionUpdate | UserTrade
"""What the user hub tells."""

UserItem: TypeAlias = UserEvent | Gap
"""What a stream of user events gives: events, and a `Gap` where some of them may be missing."""
