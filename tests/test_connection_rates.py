from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.connection.rates import Rate


def test_a_steady_rate_is_read_as_it_is() -> None:
    rate = Rate(100.0)
    for k in range(1, 1001):
        now = 100.0 + k * 0.1
        rate.add(50, now)
        if now > 101:
            assert rate.per_s(now) == pytest.approx(500, rel=0.11), now
    assert rate.total == 50_000


def test_the_first_window_is_a_mean_since_the_start() -> None:
    rate = Rate(0.0)
    rate.add(30, 0.1)
    assert rate.per_s(0.1) == 30  # not 300: one read is no rate
    assert rate.per_s(3.0) == 10
    assert rate.per_s(10.0) == 3


def test_a_burst_fades_within_two_windows() -> None:
    rate = Rate(0.0)
    rate.add(1000, 9.0)
    assert rate.per_s(10.0) == 100
    assert rate.per_s(15.0) == 50
    assert rate.per_s(20.0) == rate.per_s(1e9) == 0
    rate.add(10, 1e9)
    assert rate.per_s(1e9) == 1
    assert rate.total == 1010


def test_the_window_before_counts_by_what_of_it_is_left() -> None:
    rate = Rate(0.0)
    rate.add(100, 5.0)
    rate.add(50, 12.0)
    assert rate.per_s(12.0) == pytest.approx((100 * 0.8 + 50) / 10)
    rate.add(1, 35.0)  # two windows on: nothing of those is left
    assert rate.per_s(35.0) == pytest.approx(0.1)


@given(
    st.lists(st.tuples(st.floats(0, 25), st.integers(0, 10_000)), max_size=40),
    st.floats(0.1, 60),
    st.floats(0, 1e6),
)
def test_a_rate_is_bounded_by_what_came_in_two_windows(
    script: list[tuple[float, int]], window_s: float, begin: float
) -> None:
    rate = Rate(begin, window_s)
    now = begin
    came: list[tuple[float, int]] = []
    for wait, amount in script:
        now += wait
        rate.add(amount, now)
        came.append((now, amount))
        found = rate.per_s(now)
        slack = 1e-6 * window_s
        recent = sum(n for at, n in came if at > now - 2 * window_s - slack)
        newest = sum(n for at, n in came if at == now)
        assert newest / max(window_s, 1.0) * 0.999 <= found <= recent / min(window_s, 1.0) + 1e-9
        assert rate.per_s(now) == found
        assert rate.per_s(now + 2.001 * window_s) == 0
    assert rate.total == sum(n for _, n in came)
