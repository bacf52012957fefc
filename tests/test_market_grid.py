from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trio_projectx._errors import ConfigError
from trio_projectx.market.grid import PriceGrid

TICK_SIZES = [
    "0.25",
    "1",
    "5",
    "0.1",
    "0.01",
    "0.0000005",
    "0.015625",
    "0.0078125",
    "0.00390625",
    "0.03125",
    "0.00005",
]
HUGE = [
    1e308,
    -1e308,
    1.7976931348623157e308,
    5e-324,
    -5e-324,
    2.0**53,
    2.0**63,
    1e22,
    math.inf,
    -math.inf,
    math.nan,
]


@pytest.mark.parametrize("size", TICK_SIZES)
@given(ticks=st.integers(-(10**9), 10**9))
@settings(max_examples=25)
def test_ticks_and_price_are_inverse_and_agree_with_the_decimal_on_the_wire(size: str, ticks: int) -> None:
    grid = PriceGrid.from_tick_size(size)
    on_the_wire = json.loads(str(Decimal(size) * ticks))
    assert grid.price(ticks) == on_the_wire
    assert grid.ticks(float(on_the_wire)) == ticks


@pytest.mark.parametrize("size", TICK_SIZES)
@given(ticks=st.integers(1, 10**9), by=st.sampled_from(["0.5", "0.1", "0.001", "0.999"]))
@settings(max_examples=25)
def test_a_price_between_two_ticks_is_off_the_grid(size: str, ticks: int, by: str) -> None:
    grid = PriceGrid.from_tick_size(size)
    assert grid.ticks(float(Decimal(size) * (ticks + Decimal(by)))) is None


@pytest.mark.parametrize("size", TICK_SIZES)
@given(ticks=st.integers(1, 10**6))
@settings(max_examples=25)
def test_the_neighbouring_float_is_off_the_grid(size: str, ticks: int) -> None:
    grid = PriceGrid.from_tick_size(size)
    price = grid.price(ticks)
    assert grid.ticks(math.nextafter(price, math.inf)) is None
    assert grid.ticks(math.nextafter(price, 0)) is None


@pytest.mark.parametrize("size", TICK_SIZES)
@given(ticks=st.integers((1 << 50) - 9, 1 << 52))
@settings(max_examples=25)
def test_far_from_zero_ticks_are_exact_too(size: str, ticks: int) -> None:
    grid = PriceGrid.from_tick_size(size)
    assert grid.ticks(grid.price(ticks)) == ticks
    assert grid.ticks(grid.price(-ticks)) == -ticks


@given(
    price=st.floats() | st.sampled_from(HUGE),
    num=st.integers(1, 1 << 70) | st.sampled_from([1, 5, 10**308, 10**400]),
    den=st.integers(1, 1 << 70) | st.sampled_from([1, 4, 2**1074, 10**400]),
)
@example(price=1e308, num=1, den=4)
@example(price=1.7e308, num=10**308, den=1)
@example(price=1e308, num=1, den=2**1074)
@example(price=5e-324, num=10**400, den=1)
def test_ticks_never_raises_and_what_it_accepts_is_exact(price: float, num: int, den: int) -> None:
    ticks = PriceGrid(num, den).ticks(price)
    if ticks is not None:
        assert float(Fraction(ticks * num, den)) == price


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_off_every_grid(price: float) -> None:
    assert PriceGrid(1, 4).ticks(price) is None
    assert PriceGrid(1, 1 << 60).ticks(price) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_the_holding_grid_holds_every_price_exactly(prices: list[float]) -> None:
    grid = PriceGrid.holding(prices)
    assert grid.num == 1
    assert grid.den & (grid.den - 1) == 0 or grid.den in {10**k for k in range(10)}
    for price in prices:
        ticks = grid.ticks(price)
        assert ticks is not None
        assert grid.price(ticks) == price
    base = 10 if grid.den % 10 == 0 else 2
    assert grid.den == 1 or any((grid.ticks(p) or 0) % base for p in prices)  # no coarser one would do


@pytest.mark.parametrize(
    ("prices", "den"),
    [
        ([1313.7, 1313.0], 10),
        ([100.25], 100),
        ([5e-7], 10**7),
        ([0.0078125], 10**7),
        ([1 / 3], 1 << 54),
        ([8388608.95591192, 0.000000001], 1 << 82),
    ],
)
def test_the_holding_grid_is_decimal_where_the_prices_are(prices: list[float], den: int) -> None:
    assert PriceGrid.holding(prices) == PriceGrid(1, den)


def test_the_holding_grid_of_nothing_is_whole_numbers() -> None:
    assert PriceGrid.holding([]) == PriceGrid(1, 1)


@pytest.mark.parametrize(
    ("given_size", "num", "den"),
    [
        (0.25, 1, 4),
        ("0.25", 1, 4),
        (Decimal("0.25"), 1, 4),
        (Fraction(1, 4), 1, 4),
        (5, 5, 1),
        (5e-7, 1, 2_000_000),
        ("5E-7", 1, 2_000_000),
        (0.1, 1, 10),
        (0.025, 1, 40),
        (Fraction(1, 3), 1, 3),
    ],
)
def test_from_tick_size(given_size: float | str | Decimal | Fraction, num: int, den: int) -> None:
    assert PriceGrid.from_tick_size(given_size) == PriceGrid(num, den)


@pytest.mark.parametrize(
    "size",
    [
        0,
        -1,
        -0.25,
        "0",
        "nan",
        "inf",
        "-inf",
        "",
        "x",
        "1/4",
        math.nan,
        math.inf,
        "1e999999999",
        "1e-999999999",
    ],
)
def test_what_is_no_tick_size_is_refused_quickly_and_named(size: float | str) -> None:
    with pytest.raises(ConfigError, match="tick size"):
        PriceGrid.from_tick_size(size)


@pytest.mark.parametrize(("num", "den"), [(0, 1), (1, 0), (-1, 4), (1, -4)])
def test_a_grid_of_no_size_is_refused(num: int, den: int) -> None:
    with pytest.raises(ConfigError):
        PriceGrid(num, den)
