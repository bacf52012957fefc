from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConfigError
from trio_projectx.bars import Anchor
from trio_projectx.bars.edges import INT64_MAX, INT64_MIN
from trio_projectx.bars.trades import TickSize, TradeTable
from trio_projectx.market.grid import PriceGrid

EDGES = Anchor.utc().edges("1h")
NS = pa.timestamp("ns")


def table(ts_event: object, price: object, volume: object, **more: object) -> pa.Table:
    columns = {"ts_event": ts_event, "price": price, "volume": volume, **more}
    return pa.table(columns)


def read(trades: object, tick_size: TickSize | None = None) -> TradeTable:
    return TradeTable.read(trades, EDGES, tick_size)


def rows(trades: TradeTable, size: int = 100) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for batch in trades.batches(size):
        assert 1 <= len(batch) <= size
        found += zip(batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True)
    return found


@pytest.mark.parametrize(
    ("trades", "says"),
    [
        (table([1, None], [1.0, 1.0], [1, 1]), "ts_event of row 1 is missing"),
        (table([1, 2], [None, 1.0], [1, 1]), "price of row 0 is missing"),
        (table([1, 2], [1.0, 1.0], [1, None]), "volume of row 1 is missing"),
        (table([1, 2], [1.0, 1.0], [1, 1], side=[None, 1]), "side of row 0 is missing"),
        (table([1.5], [1.0], [1]), "ts_event must be int64 .* not double"),
        (table(["a"], [1.0], [1]), "ts_event must be int64 .* not string"),
        (table(pa.array([1], pa.int32()), [1.0], [1]), "ts_event must be int64 .* not int32"),
        (
            table(pa.array([1], pa.timestamp("us")), [1.0], [1]),
            r"ts_event must be int64 .* not timestamp\[us\]",
        ),
        (table([5, INT64_MAX], [1.0, 1.0], [1, 1]), "ts_event of row 1 is too near the limits of int64"),
        (table([INT64_MIN], [1.0], [1]), "ts_event of row 0 is too near the limits of int64"),
        (table([1], ["1.0"], [1]), "price must be float64, whole numbers or decimals, not string"),
        (table([1], pa.array([1.0], pa.float32()), [1]), "price must be .* not float"),
        (table([1], [True], [1]), "price must be .* not bool"),
        (table([1, 2, 3], [1.0, 2.0, math.nan], [1, 1, 1]), "price of row 2 is not a number above 0: nan"),
        (table([1, 2], [1.0, math.inf], [1, 1]), "price of row 1 is not a number above 0: inf"),
        (table([1, 2], [1.0, -math.inf], [1, 1]), "price of row 1 is not a number above 0: -inf"),
        (table([1, 2, 3], [1.0, 1.0, -5.0], [1, 1, 1]), "price of row 2 is not a number above 0: -5.0"),
        (table([1], [0.0], [1]), "price of row 0 is not a number above 0: 0.0"),
        (table([1, 2], [1, 0], [1, 1]), "price of row 1 is not a number above 0: 0"),
        (table([1], [Decimal("-0.25")], [1]), "price of row 0 is not a number above 0"),
        (table([1, 2], [1.0, 1.0], [1, 0]), "volume of row 1 is not above 0: 0"),
        (table([1, 2], [1.0, 1.0], [-3, 1]), "volume of row 0 is not above 0: -3"),
        (table([1], [1.0], [1.0]), "volume must be whole numbers .* not double"),
        (table([1], [1.0], pa.array([1 << 63], pa.uint64())), "volume of row 0 does not fit into int64"),
        (table([1, 2], [1.0, 1.0], [1, 1], side=[1, 2]), "side of row 1 is not 0 .*: 2"),
        (table([1], [1.0], [1], side=["B"]), "side must be whole numbers .* not string"),
        (table([1], [1.0], [1]).drop_columns(["price"]), "one column price; there are 0"),
        (table([1], [1.0], [1]).append_column("volume", [[1]]), "one column volume; there are 2"),
        (table([], [], []).drop_columns(["ts_event"]), "one column ts_event; there are 0"),
        (table([], pa.array([], pa.string()), []), "price must be .* not string"),
        ([{"ts_event": 1, "price": 1.0, "volume": 1}], "must be a pyarrow.Table, not list"),
    ],
)
def test_what_no_trade_can_have_is_refused_by_column_and_row(trades: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(trades)


@pytest.mark.parametrize(
    ("prices", "tick_size", "row"),
    [
        ([1.0, 1.25, 1.3], 0.25, 2),
        ([0.1, 0.30000000000000004], 0.1, 1),
        ([0.3, 0.6, 0.7], 0.3, 2),
        ([2.0, math.nextafter(4000.25, 5000)], "0.25", 1),
        ([1, 3], 2, 0),
        ([Decimal("1.50"), Decimal("1.51")], "0.25", 1),
        ([Decimal("4000.2500000000000001")], 0.25, 0),
    ],
)
def test_a_price_off_the_grid_is_refused(prices: list[object], tick_size: float | str, row: int) -> None:
    trades = table(list(range(len(prices))), prices, [1] * len(prices))
    with pytest.raises(ConfigError, match=f"price of row {row} is not a whole number of ticks of"):
        read(trades, tick_size)


@pytest.mark.parametrize(
    "ts", [INT64_MIN // 3600_000_000_000 * 3600_000_000_000 + 3600_000_000_000, -1, 0, 5]
)
def test_stamps_may_be_timestamps_with_or_without_a_zone(ts: int) -> None:
    for kind in (pa.int64(), NS, pa.timestamp("ns", "UTC"), pa.timestamp("ns", "America/Chicago")):
        assert rows(read(table(pa.array([ts], kind), [1.0], [1]))) == [(ts, 1, 1, -1)]


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()]
)
def test_whole_numbers_of_any_width_will_do(kind: pa.DataType) -> None:
    trades = table([1, 2], pa.array([3, 100], kind), pa.array([7, 9], kind), side=pa.array([0, 1], kind))
    assert rows(read(trades)) == [(1, 3, 7, 0), (2, 100, 9, 1)]


@pytest.mark.parametrize(
    ("prices", "tick_size", "grid", "ticks"),
    [
        ([4000.25, 4000.5], None, PriceGrid(1, 100), [400025, 400050]),
        ([4000.0, 5.0], None, PriceGrid(1, 1), [4000, 5]),
        ([4000.25, 4000.5], 0.25, PriceGrid(1, 4), [16001, 16002]),
        ([0.1, 0.3], "0.1", PriceGrid(1, 10), [1, 3]),
        ([Decimal("0.1"), Decimal("0.35")], None, PriceGrid(1, 20), [2, 7]),
        ([Decimal("0.10"), Decimal("0.35")], Fraction(1, 20), PriceGrid(1, 20), [2, 7]),
        ([(1 << 62) + 1], None, PriceGrid(1, 1), [(1 << 62) + 1]),
        ([15.0, 5.0, 15.0], 5, PriceGrid(5, 1), [3, 1, 3]),
    ],
)
def test_prices_become_ticks(
    prices: list[object], tick_size: TickSize | None, grid: PriceGrid, ticks: list[int]
) -> None:
    trades = read(table(list(range(len(prices))), prices, [1] * len(prices)), tick_size)
    assert trades.grid == grid
    assert [row[1] for row in rows(trades)] == ticks


@given(st.lists(st.floats(0, exclude_min=True, allow_infinity=False), min_size=1, max_size=20))
def test_a_grid_of_its_own_holds_every_float(prices: list[float]) -> None:
    trades = read(table([0] * len(prices), prices, [1] * len(prices)))
    assert trades.grid == PriceGrid.holding(prices)
    assert [trades.grid.price(row[1]) for row in rows(trades)] == prices


@given(
    st.integers(1, 10**9),
    st.sampled_from([0.25, 0.1, 0.01, 0.005, 0.03125, 1, 5, "0.0000005"]),
    st.integers(-2, 2),
)
def test_a_float_is_on_the_grid_when_price_grid_says_so(ticks: int, tick_size: float | str, off: int) -> None:
    grid = PriceGrid.from_tick_size(tick_size)
    price = grid.price(ticks)
    for _ in range(abs(off)):
        price = math.nextafter(price, math.copysign(math.inf, off))
    trades = table([0], [price], [1])
    if grid.ticks(price) is None:
        with pytest.raises(ConfigError, match="row 0 is not a whole number of ticks"):
            read(trades, tick_size)
    else:
        assert rows(read(trades, tick_size)) == [(0, grid.ticks(price), 1, -1)]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 50))
def test_sorting_is_stable_and_batches_are_all_rows(stamps: list[int], size: int) -> None:
    count = len(stamps)
    sides = [n % 2 for n in range(count)]
    trades = read(
        table(
            pa.array(stamps, pa.int64()),
            pa.array([1.0 + n for n in range(count)], pa.float64()),
            pa.array(range(1, count + 1), pa.int64()),
            side=pa.array(sides, pa.int64()),
        )
    )
    plain = [(ts, n + 1, n + 1, side) for n, (ts, side) in enumerate(zip(stamps, sides, strict=True))]
    assert rows(trades, size) == plain
    assert rows(trades.by_stamp(), size) == sorted(plain, key=lambda each: each[0])


def test_a_sorted_table_is_not_sorted_again() -> None:
    trades = read(table([1, 1, 2], [1.0, 2.0, 3.0], [1, 1, 1]))
    assert trades.by_stamp() is trades
