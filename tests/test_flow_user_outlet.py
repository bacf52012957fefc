from __future__ import annotations

import pytest
from user_tools import one_of_each

from trio_projectx._config import Overflow
from trio_projectx._events import Gap
from trio_projectx._user_events import (
    UserEvent,
    UserItem,
)
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.flow.user_outlet import (
    UserOutlet,
    item_key,
    item_stamp,
    subscription_of,
    user_subscriptions,
)

MNQ = "CON.F.US.MNQ.U26"
ACCOUNTS = Subscription(Kind.ACCOUNTS)


def orders(account_id: int) -> Subscription:
    return Subscription(Kind.ORDERS, account_id)


def outlet(account_id: int | None = None, accounts: tuple[int, ...] = (7, 8)) -> UserOutlet:
    pipe: Pipe[UserItem] = make_pipe("user events", 10, Overflow.ERROR, stamp=item_stamp, key=item_key)
    return UserOutlet(Feed(pipe), account_id, accounts)


def test_the_subscriptions_are_those_of_the_hub() -> None:
    assert [(each.subscribe, *each.arguments) for each in user_subscriptions((7,))] == [
        ("SubscribeAccounts",),
        ("SubscribeOrders", 7),
        ("SubscribePositions", 7),
        ("SubscribeTrades", 7),
    ]
    assert user_subscriptions(()) == (ACCOUNTS,)


@pytest.mark.parametrize(("at", "event"), list(enumerate(one_of_each())))
def test_an_event_belongs_to_one_of_them(at: int, event: UserEvent) -> None:
    assert subscription_of(event) == user_subscriptions((7,))[at]


def test_a_stream_of_one_account_takes_and_needs_what_is_of_that() -> None:
    it = outlet(7)
    assert it.subscriptions == user_subscriptions((7,))
    assert [it.takes(event) for account in (7, 8) for event in one_of_each(account)] == [True] * 4 + [
        False
    ] * 4
    assert (it.needs(ACCOUNTS), it.needs(orders(7)), it.needs(orders(8))) == (True, True, False)


def test_a_stream_of_all_takes_every_account_and_needs_its_own() -> None:
    it = outlet()
    assert it.subscriptions == user_subscriptions((7, 8))
    assert all(it.takes(event) for account in (7, 8, 9) for event in one_of_each(account))
    assert [it.needs(orders(account)) for account in (7, 8, 9)] == [True, True, False]


def test_what_conflates_is_the_state_of_one_thing() -> None:
    first, again, other = one_of_each(7), one_of_each(7, ts_recv=6), one_of_each(8)
    assert list(map(item_key, first)) == list(map(item_key, again))
    gaps: list[UserItem] = [Gap("", 1, 2, "x"), Gap("", 1, 3, "x")]
    assert len({item_key(item) for item in [*first, *other, *gaps]}) == 10
    assert [item_stamp(item) for item in [*first, *gaps]] == [5, 5, 5, 5, 1, 1]


def test_an_outage_is_one_gap_when_all_is_back() -> None:
    it = outlet(7)
    assert it.gap_due() is None
    for at, wanted in enumerate(it.subscriptions):
        it.owe(wanted, 100 + at, f"cause {at}")
    for at, wanted in enumerate(it.subscriptions):
        assert it.gap_due() is None
        it.restore(wanted, 200 - at)
    assert it.gap_due() == Gap("", 100, 200, "cause 0")
    assert it.gap_due() is None


def test_it_stands_before_the_next_event_that_it_concerns() -> None:
    it = outlet(7)
    for wanted in (ACCOUNTS, orders(7)):
        it.owe(wanted, 100, "lost")
    assert it.gap_before(Subscription(Kind.USER_TRADES, 7), 150) is None
    assert it.gap_before(ACCOUNTS, 150) == Gap("", 100, 150, "lost")
    assert it.gap_before(ACCOUNTS, 160) is None
    assert it.gap_due() is None
    it.restore(orders(7), 170)
    assert it.gap_due() == Gap("", 100, 170, "lost")


def test_an_event_tells_the_gaps_of_all_that_is_back_with_it() -> None:
    it = outlet(7)
    it.owe(orders(7), 100, "first")
    it.owe(ACCOUNTS, 90, "second")
    it.restore(ACCOUNTS, 180)
    assert it.gap_before(orders(7), 150) == Gap("", 90, 180, "second")
    assert it.gap_due() is None


def test_a_loss_during_an_outage_goes_on_with_it() -> None:
    it = outlet(7)
    it.owe(ACCOUNTS, 100, "first")
    it.restore(ACCOUNTS, 150)
    it.owe(ACCOUNTS, 140, "second")
    assert it.gap_due() is None
    it.restore(ACCOUNTS, 300)
    it.restore(ACCOUNTS, 400)
    assert it.gap_due() == Gap("", 100, 300, "first")


def test_a_clock_that_went_back_makes_no_gap_that_ends_before_it_starts() -> None:
    it = outlet(7)
    it.owe(ACCOUNTS, 100, "lost")
    it.restore(ACCOUNTS, 50)
    assert it.gap_due() == Gap("", 100, 100, "lost")
