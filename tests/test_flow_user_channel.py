"""One subscription on several lines, against a service that is simulated event by event."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from user_tools import order, position

from trio_projectx._user_events import (
    OrderUpdate,
)
from trio_projectx.flow import user_channel
from trio_projectx.flow.user_channel import UserChannel, UserRow


def add(it: UserChannel, line: int, *rows: UserRow) -> list[UserRow]:
    return [passed for row in rows for passed in it.add(line, row)]


def overlapping(*before: UserRow, began: bool = True) -> UserChannel:
    """Line 1 has brought ``before``, and line 2 has joined and was acknowledged."""
    it = UserChannel()
    it.join(1)
    it.acknowledge(1)
    assert add(it, 1, *before) == list(before)
    it.join(2)
    if began:
        it.acknowledge(2)
    return it


def test_a_row_is_what_it_says_not_when_it_came() -> None:
    assert order(1, 5) == order(1, 6)
    assert hash(order(1, 5)) == hash(order(1, 6))
    assert order(1, 5) != order(2, 5)
    assert order(1, 5).stamped() == OrderUpdate(
        **{name: getattr(order(1).event, name) for name in OrderUpdate.__slots__ if name[0] != "_"}
        | {"ts_recv": 5}
    )


def test_one_line_is_passed_on_as_it_is() -> None:
    it = UserChannel()
    it.join(1)
    rows = [position(1), position(1), position(2), position(1)]
    assert add(it, 1, *rows) == rows
    assert it.is_level(1)
    assert (it.lines, it.duplicates, it.waiting, it.is_covered_without(1)) == ((1,), 0, 0, False)


def test_a_line_that_joins_is_kept_apart_until_it_is_settled() -> None:
    it = overlapping(order(0))
    assert add(it, 1, order(1), order(2)) == [order(1), order(2)]
    assert add(it, 2, order(1), order(2), order(3)) == []
    assert (it.is_level(2), it.waiting, it.lines) == (False, 3, (1, 2))
    assert it.is_covered_without(2)
    assert not it.is_covered_without(1)
    assert it.settle(2) == [order(3)]
    assert (it.is_level(2), it.waiting, it.duplicates, it.settle(2)) == (True, 0, 2, [])
    assert it.is_covered_without(1)
    assert add(it, 1, order(3), order(4)) == [order(4)]
    assert it.leave(1) == []
    assert add(it, 2, order(4), order(5)) == [order(5)]
    assert it.duplicates == 4


def test_what_was_brought_before_the_new_line_began_is_not_awaited_of_it() -> None:
    """Position 1, then 2 before line 2 began, then 1 again: that is news, though it says what was said before."""
    it = overlapping(began=False)
    add(it, 1, position(1), position(2))
    it.acknowledge(2)
    assert it.settle(2) == []
    it.leave(1)
    assert add(it, 2, position(1)) == [position(1)]


def test_the_same_where_the_new_line_has_shown_that_it_began_later() -> None:
    it = overlapping(began=False)
    add(it, 1, position(1), position(2), position(3))
    add(it, 2, position(3))
    it.acknowledge(2)
    assert it.settle(2) == []
    it.leave(1)
    assert add(it, 2, position(1), position(2)) == [position(1), position(2)]


def test_what_the_new_line_is_still_to_bring_is_awaited() -> None:
    it = overlapping()
    add(it, 1, position(1), position(2), position(1))
    add(it, 2, position(1), position(2))
    assert it.settle(2) == []
    it.leave(1)
    assert add(it, 2, position(1), position(2)) == [position(2)]


def test_where_events_repeat_the_lines_are_taken_to_be_close() -> None:
    it = overlapping(began=False)
    add(it, 1, position(1), position(2), position(1))
    add(it, 2, position(1))  # the first of them, or the last
    assert it.settle(2) == []
    it.leave(1)
    assert add(it, 2, position(2)) == [position(2)]


def test_of_what_does_not_come_again_all_is_awaited_whenever_the_line_began() -> None:
    it = overlapping(began=False)
    add(it, 1, order(1), order(2))
    assert it.leave(1) == []
    assert add(it, 2, order(2), order(3)) == [order(3)]


@pytest.mark.parametrize(
    ("others", "brought", "new"),
    [
        ([1, 2, 3], [1, 3, 4], [4]),  # lost one
        ([1, 2, 3], [2, 1, 4], [4]),  # another order
        ([1, 2], [3, 4], [3, 4]),  # began behind
        ([], [1, 1], [1, 1]),
        ([1], [1, 1, 1], [1, 1]),
        ([1, 1, 1], [1, 1], []),
    ],
)
def test_what_is_new_of_a_line_that_is_settled(others: list[int], brought: list[int], new: list[int]) -> None:
    it = overlapping()
    add(it, 1, *map(position, others))
    add(it, 2, *map(position, brought))
    assert it.settle(2) == [position(size) for size in new]
    assert it.duplicates == len(brought) - len(new)


def test_a_line_that_leaves_while_it_joins_takes_nothing_along() -> None:
    it = overlapping()
    add(it, 2, order(1), order(2))
    assert it.leave(2) == []
    assert (it.lines, it.duplicates, it.waiting, it.acknowledged) == ((1,), 2, 0, {1})
    assert add(it, 1, order(1), order(2)) == [order(1), order(2)]


def test_the_oldest_joining_line_takes_over_when_the_last_full_one_goes() -> None:
    it = overlapping(order(0))
    it.join(3)
    add(it, 1, order(1))
    add(it, 2, order(1), order(2))
    add(it, 3, order(2))
    assert it.leave(1) == [order(2)]
    assert (it.is_level(2), it.is_level(3), it.waiting) == (True, False, 1)
    assert add(it, 2, order(3)) == [order(3)]
    assert it.settle(3) == []
    assert add(it, 3, order(3), order(4)) == [order(4)]
    assert it.leave(2) == []
    assert add(it, 3, order(5)) == [order(5)]


def test_what_comes_on_a_line_that_has_left_is_a_duplicate() -> None:
    it = overlapping()
    it.settle(2)
    it.leave(1)
    assert add(it, 1, order(1)) == []
    assert it.duplicates == 1
    assert add(it, 2, order(1)) == [order(1)]


def test_a_line_that_nobody_settles_is_settled_when_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_channel, "KEPT", 10)
    it = overlapping()
    rows = [order(n) for n in range(30)]
    add(it, 1, *rows[:5])
    out = add(it, 2, *rows[:11])
    assert out == rows[5:11]
    assert it.is_level(2)


def test_what_others_bring_meanwhile_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_channel, "KEPT", 10)
    it = overlapping()
    rows = [position(n) for n in range(35)]
    add(it, 1, *rows[:30])
    add(it, 2, *rows[25:33])
    assert [len(joiner.others) for joiner in it._joiners.values()] == [10]
    assert it.settle(2) == rows[30:33]


def test_a_long_overlap_of_equal_events_is_settled_at_once() -> None:
    it = overlapping()
    add(it, 1, *[position(n % 2) for n in range(4000)], position(5))
    add(it, 2, *[position(n % 2) for n in range(3999)], position(6))
    assert it.settle(2)[-1] == position(6)


class Service:
    """Emits rows, and gives each line a part without a hole, at its own pace."""

    def __init__(self, rng: random.Random, *, repeats: bool) -> None:
        self.rng = rng
        self.repeats = repeats
        self.told: list[UserRow] = []
        self.out: list[UserRow] = []
        self.channel = UserChannel()
        self.began: dict[int, int | None] = {}
        self.at: dict[int, int] = {}
        self.made = 0
        self.open_line()
        self.begin(1)

    def open_line(self) -> None:
        self.made += 1
        self.channel.join(self.made)
        self.began[self.made] = None

    def begin(self, line: int) -> None:
        self.began[line] = self.at[line] = len(self.told)
        self.channel.acknowledge(line)

    def emit(self) -> None:
        n = len(self.told)
        self.told.append(position(self.rng.randrange(3)) if self.repeats else order(n))

    def bring(self, line: int) -> None:
        if self.at[line] < len(self.told):
            self.out += self.channel.add(line, self.told[self.at[line]])
            self.at[line] += 1

    def bring_all(self) -> None:
        for line in sorted(self.at):
            while self.at[line] < len(self.told):
                self.bring(line)

    def settle(self, line: int) -> None:
        full = [other for other in self.at if self.channel.is_level(other)]
        began = self.began[line]
        assert began is not None
        if self.repeats:
            self.bring_all()  # both have been there long enough, and nothing is on its way
        if all(self.at[other] >= began for other in full):
            self.out += self.channel.settle(line)

    def end(self, line: int) -> None:
        if self.channel.is_covered_without(line):
            self.out += self.channel.leave(line)
            del self.began[line]
            self.at.pop(line, None)

    def step(self) -> None:
        act = self.rng.randrange(12)
        line = self.rng.choice(sorted(self.began))
        if act < 4:
            self.emit()
        elif act < 8:
            if line in self.at:
                self.bring(line)
        elif act == 8 and len(self.began) < 3:
            self.open_line()
        elif act == 9 and self.began[line] is None:
            self.begin(line)
        elif act == 10 and self.began[line] is not None and not self.channel.is_level(line):
            self.settle(line)
        elif act == 11:
            self.end(line)


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=150)
def test_over_any_chain_of_lines_each_event_comes_once_and_in_order(seed: int, repeats: bool) -> None:
    service = Service(random.Random(seed), repeats=repeats)
    for _ in range(150):
        service.step()
        channel = service.channel
        assert channel.lines
        assert len(channel.lines) == len(service.began)
    service.bring_all()
    assert service.out == service.told
    assert service.channel.heard == 0
