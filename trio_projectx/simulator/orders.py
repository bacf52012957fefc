"""What is ordered, filled and held: values only. Prices are in ticks, money in ten-thousandths of a US dollar.

Both are whole numbers (every tick value of the tick table has at most four decimals), so sums are exact.
"""

from __future__ import annotations

import enum
from fractions import Fraction
from typing import Final, Literal, TypeAlias

import attrs

from trio_projectx._events import Side
from trio_projectx.market.grid import PriceGrid
from trio_projectx.simulator.products import Listing

MONEY: Final = 10_000
#: Half-turn costs as seen for MNQ (GATEWAY.md 2.4), and what larger contracts cost about.
_MICRO_FEE: Final = 3_600
_FEE: Final = 14_000
COMMISSION: Final = 2_500
#: Contracts worth less a tick are micros; what one takes as margin.
_MICRO_BELOW: Final = 4 * MONEY
_MICRO_MARGIN: Final = 100 * MONEY
_MARGIN: Final = 1_000 * MONEY


class OrderType(enum.IntEnum):
    """GATEWAY.md 1.5; 3 is not placeable."""

    LIMIT = 1
    MARKET = 2
    STOP_LIMIT = 3
    STOP = 4
    TRAILING_STOP = 5
    JOIN_BID = 6
    JOIN_ASK = 7


class Status(enum.IntEnum):
    """GATEWAY.md 1.5; 2, 3 and 5 are final."""

    OPEN = 1
    FILLED = 2
    CANCELLED = 3
    REJECTED = 5
    PENDING = 6
    SUSPENDED = 8


#: An order of these may still do something.
ALIVE: Final = (Status.OPEN, Status.PENDING, Status.SUSPENDED)


@attrs.frozen(slots=True)
class Terms:
    """What trading one contract means: its grid, and the money of a tick, a half-turn and a margin."""

    contract_id: str
    symbol_id: str
    display: str
    grid: PriceGrid
    tick: int
    fee: int
    margin: int

    @classmethod
    def of(cls, listing: Listing) -> Terms:
        """Return the terms of a contract of the tick table."""
        tick = round(Fraction(str(listing.tick_value)) * MONEY)
        is_micro = tick < _MICRO_BELOW
        return cls(
            listing.contract_id,
            listing.symbol_id,
            f"{listing.name[:-1]}{listing.contract_id[-2:]}",
            listing.grid,
            tick,
            _MICRO_FEE if is_micro else _FEE,
            _MICRO_MARGIN if is_micro else _MARGIN,
        )


@attrs.frozen(slots=True)
class Bracket:
    """One leg of a bracket: signed ``ticks`` from the fill of its parent."""

    ticks: int
    type: OrderType


@attrs.frozen(slots=True, kw_only=True)
class Order:
    """One order; ``distance`` is that of a bracket's leg (signed) or of a trailing stop (above 0), in ticks."""

    id: int
    account_id: int
    terms: Terms
    created_ns: int
    updated_ns: int
    status: Status
    type: OrderType
    side: Side
    size: int
    limit: int | None = None
    stop: int | None = None
    distance: int | None = None
    filled: int = 0
    fill_price: int | None = None
    tag: str | None = None
    parent_id: int | None = None
    linked_id: int | None = None
    """Of a take-profit: its stop-loss."""
    is_rested: bool = False
    """Whether a trade has gone by since it could have been filled: a limit is not marketable any more."""
    is_close: bool = False
    """Whether it closes a position and must not open one."""

    @property
    def direction(self) -> int:
        """1 for a buy, -1 for a sale."""
        return 1 if self.side is Side.BUY else -1


@attrs.frozen(slots=True, kw_only=True)
class Fill:
    """A half-turn; ``profit`` is None for an opening one. ``id`` is the trade's."""

    id: int
    account_id: int
    terms: Terms
    created_ns: int
    price: int
    profit: int | None
    fees: int
    commissions: int
    side: Side
    size: int
    order_id: int


@attrs.frozen(slots=True, kw_only=True)
class Position:
    """What an account holds of a contract: ``quantity`` above 0 is long, and ``basis`` what it cost."""

    id: int
    account_id: int
    terms: Terms
    created_ns: int
    quantity: int
    basis: int
    average: float
    """The average price; of a closed position the last there was."""


@attrs.frozen(slots=True)
class AccountState:
    """An account as its owner sees it; ``balance`` in ten-thousandths of a dollar."""

    id: int
    name: str
    balance: int
    can_trade: bool


Entity: TypeAlias = Order | Fill | Position | AccountState
UserKind: TypeAlias = Literal["account", "order", "position", "trade"]


@attrs.frozen(slots=True)
class UserEvent:
    """One event for the user hub; ``action`` is 0 created, 1 updated, 2 gone (GATEWAY.md 2.4)."""

    kind: UserKind
    action: int
    entity: Entity


class Refused(Exception):
    """What was asked for is refused, with the route's ``errorCode`` and perhaps a text."""

    def __init__(self, code: int, message: str | None = None, order_id: int | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.order_id = order_id
