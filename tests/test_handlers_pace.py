from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.handlers.pace import BatchSize, CallRate


@given(
    st.integers(1, 5),
    st.sampled_from([0.5, 1.0, 4.0, 7.0]),
    st.lists(st.floats(0, 2, allow_nan=False), max_size=60),
)
def test_no_window_has_more_calls_than_the_rate_says(burst: int, per_s: float, steps: list[float]) -> None:
    rate, now, made = CallRate(per_s, burst), 0.0, list[float]()
    for step in steps:
        now += step
        if rate.wait(now) == 0.0:
            rate.take(now)
            made.append(now)
    for first, begin in enumerate(made):
        for last in range(first, len(made)):
            assert last - first + 1 <= burst + (made[last] - begin) * per_s + 1e-6


def test_the_wait_ends_when_it_said() -> None:
    rate, now = CallRate(3.0, 2), 0.0
    made = []
    for _ in range(8):
        now += rate.wait(now)
        assert rate.wait(now) == 0.0
        rate.take(now)
        made.append(round(now * 3, 6))
    assert made == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("size", "took_s", "items", "are_waiting", "then"),
    [
        (1, 0.0, 1, True, 2),
        (4, 0.05, 4, True, 8),
        (4, 0.0, 4, False, 4),
        (4, 0.0, 3, True, 4),
        (64, 0.0, 64, True, 100),
        (100, 0.0, 100, True, 100),
        (64, 0.06, 64, True, 32),
        (64, 0.06, 10, False, 5),
        (64, 0.06, 1, True, 64),
        (2, 0.06, 2, True, 1),
        (1, 9.0, 1, True, 2),
    ],
)
def test_batches_grow_while_items_wait_and_shrink_when_a_call_is_slow(
    size: int, took_s: float, items: int, are_waiting: bool, then: int
) -> None:
    one = BatchSize(100, 0.05)
    one.size = size
    one.note(took_s, items=items, are_waiting=are_waiting)
    assert one.size == then


def test_where_one_item_is_slow_already_batches_grow_all_the_same() -> None:
    one, sizes = BatchSize(100, 0.05), list[int]()
    for _ in range(8):  # 0.2 s for a call, and 5 ms for each item
        one.note(0.2 + 0.005 * one.size, items=one.size, are_waiting=True)
        sizes.append(one.size)
    assert sizes == [2, 4, 8, 16, 32, 64, 32, 64]
