from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bars_reference import S, Tick, batch

from trio_projectx import ConfigError
from trio_projectx.bars import Anchor, BarSet
from trio_projectx.market import products
from trio_projectx.market.grid import PriceGrid

GRIDS = sorted({product.tick_size for product in products()})


def bars_of(grid: PriceGrid, ticks: list[int]) -> BarSet:
    bars = BarSet("C", ["1s", "tick:1"], anchor=Anchor.utc(), grid=grid, lateness_ns=0)
    bars.update(batch([Tick(k * S, each) for k, each in enumerate(ticks)]))
    return bars


@given(st.sampled_from(GRIDS), st.lists(st.integers(1, 10**8), min_size=2, max_size=20))
def test_decimals_are_the_ticks_exactly(tick_size: Decimal, ticks: list[int]) -> None:
    bars = bars_of(PriceGrid.from_tick_size(tick_size), ticks)
    for frame, made in (("1s", ticks[:-1]), ("tick:1", ticks)):
        table = bars.table(frame, prices="decimal")
        for name in ("open", "high", "low", "close"):
            assert pa.types.is_decimal128(table.column(name).type)
            assert table.column(name).to_pylist() == [each * tick_size for each in made]
        plain = bars.table(frame)
        rest = ["open", "high", "low", "close"]
        assert table.drop_columns(rest).equals(plain.drop_columns(rest))
        assert table.column_names == plain.column_names


def test_what_cannot_be_given_as_decimals_is_refused() -> None:
    with pytest.raises(ConfigError, match="1/3 is no decimal number"):
        bars_of(PriceGrid.from_tick_size(Fraction(1, 3)), [1, 2]).table("1s", prices="decimal")
    with pytest.raises(ConfigError, match='prices must be "float", "ticks" or "decimal"'):
        bars_of(PriceGrid(1, 4), [1, 2]).table("1s", prices="exact")  # type: ignore[arg-type]


@given(st.sampled_from(GRIDS), st.lists(st.integers(1, 10**8), min_size=2, max_size=20))
def test_ticks_are_the_ticks_and_what_one_is_worth_stands_beside_them(
    tick_size: Decimal, ticks: list[int]
) -> None:
    grid = PriceGrid.from_tick_size(tick_size)
    table = bars_of(grid, ticks).table("1s", prices="ticks")
    assert table["close"].to_pylist() == ticks[:-1]
    assert (table.schema.metadata or {})[b"tick_size"] == f"{grid.num}/{grid.den}".encode()
    assert table.column_names == bars_of(grid, ticks).table("1s").column_names


def test_decimals_are_exact_where_floats_are_not() -> None:
    """A price of 17 digits lies between two floats; its ticks are whole."""
    ticks = [999_999_999_999_999_9, 123_456_789_012_345_67]
    table = bars_of(PriceGrid(1, 10**7), ticks).table("1s", prices="decimal")
    assert table["close"].to_pylist() == [Decimal("999999999.9999999")]
    assert table.slice(1).num_rows == 0


def test_decimals_of_a_table_without_bars_and_of_a_part() -> None:
    bars = bars_of(PriceGrid(1, 4), list(range(1, 50)))
    part = bars.table("1s", 9 * S, 12 * S, prices="decimal")
    assert part["close"].to_pylist() == [Decimal("2.50"), Decimal("2.75"), Decimal("3.00")]
    empty = bars_of(PriceGrid(1, 4), [1]).table("1s", prices="decimal")
    assert (empty.num_rows, str(empty.schema.field("open").type)) == (0, "decimal128(19, 2)")


def test_decimals_that_need_too_many_digits_are_refused() -> None:
    bars = bars_of(PriceGrid(1, 2**15), [2**40, 1])
    with pytest.raises(ConfigError, match="need more than 19 digits"):
        bars.table("1s", prices="decimal")
    with pytest.raises(ConfigError, match="no decimal number of 18 places"):
        bars_of(PriceGrid(1, 2**20), [1, 2]).table("1s", prices="decimal")
