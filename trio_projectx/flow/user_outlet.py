"""One user's stream of user events: which of them it takes, and the gaps it is still to be told of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

import attrs

from trio_projectx._events import Gap
from trio_projectx._user_events import (
    AccountUpdate,
    OrderUpdate,
    PositionUpdate,
    UserEvent,
    UserItem,
    UserTrade,
)
from trio_projectx.flow.stream import Feed
from trio_projectx.flow.subscriptions import Kind, Subscription

_ACCOUNTS: Final = Subscription(Kind.ACCOUNTS)
_KINDS: Final = {OrderUpdate: Kind.ORDERS, PositionUpdate: Kind.POSITIONS, UserTrade: Kind.USER_TRADES}


def subscription_of(event: UserEvent) -> Subscription:
    """Return the subscription that ``event`` belongs to; that to accounts is to all of them."""
    if isinstance(event, AccountUpdate):
        return _ACCOUNTS
    return Subscription(_KINDS[type(event)], event.account_id)


def user_subscriptions(account_ids: Iterable[int]) -> tuple[Subscription, ...]:
    """Return all that can be subscribed to of these accounts (GATEWAY.md section 2.2)."""
    each = (Kind.ORDERS, Kind.POSITIONS, Kind.USER_TRADES)
    return (_ACCOUNTS, *(Subscription(kind, account_id) for account_id in account_ids for kind in each))


def item_stamp(item: UserItem) -> int:
    """Return the instant of an item, for `Dropped` marks: our clock, as the service's stamps are of several kinds."""
    return item.start if isinstance(item, Gap) else item.ts_recv


def item_key(item: UserItem) -> Hashable:
    """Return which items replace one another under ``CONFLATE``: states of one thing; never trades, never gaps."""
    match item:
        case Gap():
            return item
        case AccountUpdate():
            return AccountUpdate, item.account_id
        case OrderUpdate():
            return OrderUpdate, item.account_id, item.order_id
        case PositionUpdate():
            return PositionUpdate, item.account_id, item.contract_id
        case UserTrade():
            return UserTrade, item.account_id, item.trade_id, item.action


@attrs.define(slots=True)
class _Debt:
    """Events of one subscription that may be missing: from when, why, and until when (None while it goes on)."""

    start: int
    cause: str
    end: int | None = None


@attrs.define(slots=True, eq=False)
class UserOutlet:
    """The stream of one ``open_user_events``: of one account, or of all (``account_id`` None).

    ``accounts`` are those that a stream of all subscribes to; it takes events of any other account too.
    """

    feed: Feed[UserItem]
    account_id: int | None = None
    accounts: tuple[int, ...] = ()
    _debts: dict[Subscription, _Debt] = attrs.field(factory=dict[Subscription, _Debt], init=False)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What has to be subscribed to for this stream."""
        return user_subscriptions(self.accounts if self.account_id is None else (self.account_id,))

    def takes(self, event: UserEvent) -> bool:
        """Whether the stream wants ``event``."""
        return self.account_id is None or event.account_id == self.account_id

    def needs(self, wanted: Subscription) -> bool:
        """Whether the stream misses something without ``wanted``."""
        return wanted in self.subscriptions

    # -- gaps: one outage is one `Gap`, told when everything is back, or before the next event that it concerns

    def owe(self, wanted: Subscription, start: int, cause: str) -> None:
        """Nothing brings ``wanted`` from ``start`` on (our clock)."""
        debt = self._debts.setdefault(wanted, _Debt(start, cause))
        debt.end = None

    def restore(self, wanted: Subscription, at: int) -> None:
        """Something brings it again."""
        debt = self._debts.get(wanted)
        if debt is not None and debt.end is None:
            debt.end = at

    def gap_before(self, wanted: Subscription, at: int) -> Gap | None:
        """Return what has to stand before an event of ``wanted`` that came at ``at``."""
        if wanted not in self._debts:
            return None
        self.restore(wanted, at)
        return self._paid()

    def gap_due(self) -> Gap | None:
        """Return the gap that is over in everything, if there is one."""
        return self._paid() if self._debts and self.owes_nothing_open else None

    @property
    def owes_nothing_open(self) -> bool:
        """Whether no outage goes on."""
        return all(debt.end is not None for debt in self._debts.values())

    def _paid(self) -> Gap:
        """Return one gap for all that is over, and forget these."""
        over = [debt for debt in self._debts.values() if debt.end is not None]
        self._debts = {wanted: debt for wanted, debt in self._debts.items() if debt.end is None}
        first = min(over, key=_start)
        end = max(debt.end for debt in over if debt.end is not None)
        return Gap("", first.start, max(first.start, end), first.cause)


def _start(debt: _Debt) -> int:
    return debt.start
