"""Distributions in a fixed room: what they say of any numbers is near the truth, and never below it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.flow.sketch import Distribution, Histogram, Rotating, bucket_of, upper_edge

VALUES = st.one_of(st.integers(-(10**6), 10**6), st.integers(0, (1 << 44) - 1))


def histogram(values: list[int]) -> Histogram:
    found = Histogram()
    for value in values:
        found.add(value)
    return found


def truth(values: list[int], share: float) -> int:
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(st.integers(0, (1 << 44) - 1))
def test_a_number_is_in_a_bucket_whose_edge_is_a_sixteenth_above_it_at_most(value: int) -> None:
    edge = upper_edge(bucket_of(value))
    assert value <= edge <= value + value // 16
    assert bucket_of(edge) == bucket_of(value)
    assert bucket_of(edge + 1) == bucket_of(value) + 1 or edge + 1 == 1 << 44


@given(st.lists(VALUES, min_size=1), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_those_of_the_numbers(values: list[int], share: float) -> None:
    exact, found = truth(values, share), histogram(values).quantile(share)
    assert exact <= found <= max(values)
    assert found <= exact + max(exact, 0) // 16 or exact < 0


@given(st.lists(VALUES), st.lists(VALUES))
def test_two_together_are_one_of_both(a: list[int], b: list[int]) -> None:
    together = histogram(a)
    together.include(histogram(b))
    assert together.summary() == histogram(a + b).summary()
    assert together.count == len(a) + len(b)


def test_nothing_is_nothing() -> None:
    assert Histogram().summary() == Distribution() == Distribution(0, 0, 0, 0, 0)


@pytest.mark.parametrize("value", [1 << 44, 1 << 70])
def test_what_is_beyond_all_buckets_is_counted_and_its_greatest_is_exact(value: int) -> None:
    found = histogram([1, value])
    assert found.summary() == Distribution(2, 1, (1 << 44) - 1, value, 1)


@given(st.lists(st.lists(VALUES, max_size=5), min_size=1, max_size=6))
def test_windows_rotate_and_lifetime_keeps_all(windows: list[list[int]]) -> None:
    rotating = Rotating()
    for window in windows:
        rotating.rotate()
        for value in window:
            rotating.add(value)
    assert rotating.recent() == histogram([value for window in windows[-2:] for value in window]).summary()
    assert rotating.lifetime() == histogram([value for window in windows for value in window]).summary()
