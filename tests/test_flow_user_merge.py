from __future__ import annotations

from user_tools import order, position

from trio_projectx._user_events import UserEvent
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.flow.user_channel import UserRow
from trio_projectx.flow.user_merge import Left, UserMerge

ORDERS, POSITIONS = Subscription(Kind.ORDERS, 7), Subscription(Kind.POSITIONS, 7)


def add(it: UserMerge, line: int, *rows: UserRow) -> list[UserRow]:
    return [passed for row in rows for passed in it.add(line, row)]


def started(*wanted: Subscription, line: int = 1) -> UserMerge:
    it = UserMerge()
    for each in wanted:
        it.join(line, each, now=100)
        assert it.acknowledged(line, each)
    return it


def events(rows: list[UserRow]) -> list[UserEvent]:
    return [row.event for row in rows]


def test_each_subscription_is_taken_over_by_itself() -> None:
    it = started(ORDERS, POSITIONS)
    it.join(2, ORDERS, now=200)
    it.acknowledged(2, ORDERS)
    assert add(it, 1, order(1), position(1)) == [order(1), position(1)]
    assert add(it, 2, order(1), order(2), position(1)) == []  # of positions the other line is the only one
    assert it.settle(2, ORDERS) == [order(2)]
    assert (it.is_level(2, ORDERS), it.is_level(2, POSITIONS)) == (True, False)
    assert it.settle(2, POSITIONS) == []
    assert it.leave(1, ORDERS) == Left([], None, True)
    assert add(it, 1, position(2)) == [position(2)]
    assert (it.duplicates, it.waiting) == (2, 0)


def test_when_nothing_is_missing_nothing_is_said_to_be() -> None:
    it = started(ORDERS)
    it.join(2, ORDERS, now=200)
    it.acknowledged(2, ORDERS)
    add(it, 2, order(1))
    assert it.leave(2, ORDERS) == Left([], None, True)
    assert it.leave(2, ORDERS) is None
    assert it.leave(1, POSITIONS) is None


def test_what_was_never_acknowledged_is_not_missed() -> None:
    it = UserMerge()
    it.join(1, ORDERS, now=100)
    assert it.leave(1, ORDERS) == Left([], None, False)
    assert not it.acknowledged(1, ORDERS)


def test_missing_is_what_came_after_the_last_that_was_heard() -> None:
    it = started(ORDERS, POSITIONS)
    it.hear(1, 150)
    it.hear(9, 160)
    assert it.leave(1, ORDERS) == Left([], 150, False)
    it.join(2, ORDERS, now=300)
    it.acknowledged(2, ORDERS)
    assert it.leave(2, ORDERS) == Left([], 300, False)
    assert it.leave(1, POSITIONS) == Left([], 150, False)


def test_a_line_that_is_not_level_shows_nothing_and_covers_nothing() -> None:
    it = started(ORDERS)
    it.join(2, ORDERS, now=200)
    it.acknowledged(2, ORDERS)
    it.hear(2, 250)
    add(it, 2, order(5))
    assert it.leave(1, ORDERS) == Left([order(5)], 100, True)
    assert it.is_level(2, ORDERS)
    it.hear(2, 260)
    assert it.leave(2, ORDERS) == Left([], 260, False)


def test_joining_again_changes_nothing() -> None:
    it = started(ORDERS)
    it.hear(1, 150)
    it.join(1, ORDERS, now=400)
    it.join(2, ORDERS, now=500)
    add(it, 2, order(1))
    it.join(2, ORDERS, now=600)
    assert it.leave(1, ORDERS) == Left([order(1)], 150, False)


def test_what_nobody_has_asked_for_comes_once_too() -> None:
    it = started(ORDERS)
    it.join(2, ORDERS, now=200)
    assert add(it, 2, position(1)) == [position(1)]
    assert add(it, 1, position(1), position(2)) == [position(2)]
    assert add(it, 2, position(2), position(3)) == [position(3)]
    it.leave(1, ORDERS)
    assert add(it, 1, position(4)) == []
    assert add(it, 2, position(3), position(4)) == [position(3), position(4)]
    it.leave(2, ORDERS)
    assert add(it, 2, position(5)) == []
    assert (it.duplicates, it.waiting) == (4, 0)


def test_what_is_forgotten_leaves_its_counts() -> None:
    it = started(ORDERS)
    it.join(2, ORDERS, now=200)
    add(it, 1, order(1))
    add(it, 2, order(1))
    it.settle(2, ORDERS)
    it.leave(1, ORDERS)
    it.forget(ORDERS)
    assert it.is_level(2, ORDERS)
    it.leave(2, ORDERS)
    it.forget(ORDERS)
    it.forget(ORDERS)
    assert it.duplicates == 1
    it.join(3, ORDERS, now=500)
    assert it.leave(3, ORDERS) == Left([], None, False)


def test_nothing_is_kept_for_a_subscription_that_nobody_has_made() -> None:
    it, other = UserMerge(), UserMerge()
    assert it.settle(1, ORDERS) == []
    assert not it.is_level(1, ORDERS)
    assert not it.acknowledged(1, ORDERS)
    assert add(it, 1, order(1)) == []
    assert (it.duplicates, other.duplicates) == (1, 0)
