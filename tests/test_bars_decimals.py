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
