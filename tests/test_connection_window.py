"""The window of a request limit: never more than allowed, however a server counts; and never less than it could."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ConfigError
from trio_projectx.connection.window import Window


def test_so_many_at_once_then_one_as_the_oldest_leaves() -> None:
    window = Window(3, 30.0)
    for at in (0.0, 1.0, 2.0):
        assert window.free_at(at) == at
        window.begin()
        window.end(at)
    assert window.used(2.0) == 3
    assert window.free_at(2.0) == 30.0
    assert window.free_at(29.9) == 30.0
    assert window.free_at(30.0) == 30.0
    window.begin()
    window.end(30.0)
    assert window.free_at(30.0) == 31.0


def test_a_request_under_way_counts_until_so_long_after_its_answer() -> None:
    window = Window(1, 10.0)
    window.begin()
    assert window.free_at(100.0) == math.inf
    window.end(100.0)
    assert window.free_at(100.0) == 110.0


def test_what_is_kept_for_others_is_not_given() -> None:
    window = Window(5, 10.0)
    for _ in range(4):
        window.begin()
        window.end(0.0)
    assert window.free_at(0.0, keep=1) == 10.0
    assert window.free_at(0.0) == 0.0
    assert Window(1, 10.0).free_at(0.0, keep=1) == 0.0  # a window of one is never kept from somebody for good


def test_held_it_gives_nothing_however_much_room_there_is() -> None:
    window = Window(5, 10.0)
    window.hold(50.0)
    window.hold(20.0)  # an earlier end takes nothing back
    assert window.free_at(1.0) == window.held_until == 50.0
    assert window.free_at(60.0) == 60.0


@pytest.mark.parametrize(("count", "seconds"), [(0, 1.0), (1, 0.0), (1, math.inf), (1, math.nan)])
def test_nonsense_is_refused(count: int, seconds: float) -> None:
    with pytest.raises(ConfigError, match="window"):
        Window(count, seconds)


@settings(max_examples=150)
@given(
    count=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40
    ),
)
def test_no_server_ever_counts_too_many(count: int, steps: list[tuple[int, int, int]]) -> None:
    """Requests one after the other; the server counts each at some time between sending and answer."""
    window, now, counted = Window(count, 10.0), 0.0, []
    for pause, until_counted, until_answered in steps:
        now = window.free_at(now + pause)
        window.begin()
        counted.append(now + until_counted)
        now += until_counted + until_answered
        window.end(now)
    for at in counted:
        assert sum(at - 10.0 < other <= at for other in counted) <= count  # a sliding window
    for number in {at // 10 for at in counted}:
        assert sum(at // 10 == number for at in counted) <= count  # one that starts anew
    level, last = float(count), counted[0]
    for at in counted:  # a bucket
        level, last = min(count, level + (at - last) * count / 10.0) - 1, at
        assert level >= -1e-9
