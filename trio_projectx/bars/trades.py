"""A table of trades, checked column by column, as the batches that builders take."""

# pyarrow-stubs leave type parameters of pyarrow.compute and of an array's members bare; strict pyright then
# calls whatever comes from them unknown, also where it is stated.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias, cast

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from trio_projectx._errors import ConfigError
from trio_projectx._events import Side
from trio_projectx.bars.edges import INT64_MAX, Edges
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid

TickSize: TypeAlias = float | str | Decimal | Fraction
Price: TypeAlias = float | int | Decimal
_Column: TypeAlias = "pa.Array[Any]"  # of which type, is what is found out here
_Encoded: TypeAlias = "pa.DictionaryArray[Any, Any]"

_UNKNOWN: Final = int(Side.UNKNOWN)


@attrs.frozen(slots=True, eq=False)
class TradeTable:
    """Valid trades as Arrow columns of one length without nulls.

    ``ticks`` has each price of the table once, in ticks of ``grid``; ``code`` (int32) is a row's place in it.
    ``ts_event`` and ``volume`` are int64; so is ``side``, or it is None if the table has none.
    """

    grid: PriceGrid
    ticks: list[int]
    ts_event: _Column
    code: _Column
    volume: _Column
    side: _Column | None

    @classmethod
    def read(cls, trades: object, edges: Edges, tick_size: TickSize | None) -> TradeTable:
        """Check ``trades`` and take it apart; columns and errors are those of `aggregate`.

        ``edges`` says which stamps a bar can hold. ``tick_size`` None makes the coarsest grid that holds all.
        """
        if not isinstance(trades, pa.Table):
            raise ConfigError(f"trades must be a pyarrow.Table, not {type(trades).__name__}")
        grid = None if tick_size is None else PriceGrid.from_tick_size(tick_size)
        ts_event = _stamps(trades, edges)
        grid, ticks, code = _prices(trades, grid)
        volume = _integers(trades, "volume")
        _require(pc.greater(volume, _int64(0)), volume, "volume", "is not above 0")
        side = _integers(trades, "side") if "side" in trades.column_names else None
        if side is not None:
            # Not made on import: pa.array imports pandas, where that is installed.
            sides = pa.array([int(side) for side in Side], pa.int64())
            _require(pc.is_in(side, sides), side, "side", "is not 0 (buy), 1 (sell) or -1 (unknown)")
        return cls(grid, ticks, ts_event, code, volume, side)

    def by_stamp(self) -> TradeTable:
        """Return the same trades sorted by ``ts_event``; those of one stamp stay in their order."""
        ts, count = self.ts_event, len(self.ts_event)
        if count < 2 or pc.all(pc.less_equal(ts.slice(0, count - 1), ts.slice(1))).as_py():
            return self
        order = pc.array_sort_indices(ts)  # stable, by its documentation
        return attrs.evolve(
            self,
            ts_event=ts.take(order),
            code=self.code.take(order),
            volume=self.volume.take(order),
            side=None if self.side is None else self.side.take(order),
        )

    def batches(self, rows: int) -> Iterator[TradeBatch]:
        """Give the trades, in their order, in batches of ``rows`` (the last may have fewer)."""
        ticks = self.ticks
        for at in range(0, len(self.ts_event), rows):
            ts = _numbers(self.ts_event.slice(at, rows))
            yield TradeBatch(
                contract_id="",
                ts_event=ts,
                ticks=[ticks[code] for code in _numbers(self.code.slice(at, rows))],
                volume=_numbers(self.volume.slice(at, rows)),
                side=[_UNKNOWN] * len(ts) if self.side is None else _numbers(self.side.slice(at, rows)),
                ts_recv=ts[-1],
            )


def _numbers(column: _Column) -> list[int]:
    return cast("list[int]", column.to_pylist())


def _int64(value: int) -> pa.Int64Scalar:
    return pa.scalar(value, pa.int64())


def _column(trades: pa.Table, name: str, empty: pa.DataType) -> _Column:
    """Return a column in one piece; of an empty table, one of Arrow's null type gets the type ``empty``."""
    found = trades.column_names.count(name)
    if found != 1:
        raise ConfigError(f"trades need one column {name}; there are {found}: {trades.column_names!r:.200}")
    column = trades.column(name).combine_chunks()
    if not len(column):
        column = column.cast(empty) if pa.types.is_null(column.type) else column
    _require(column.is_valid(), column, name, "is missing")
    return column


def _require(holds: _Column, column: _Column, name: str, complaint: str) -> None:
    row = pc.index(holds, False).as_py()
    if row >= 0:
        raise _refusal(name, row, column[row].as_py(), complaint)


def _refusal(name: str, row: int, value: object, complaint: str) -> ConfigError:
    return ConfigError(f"{name} of row {row} {complaint}: {value!r:.60}")


def _stamps(trades: pa.Table, edges: Edges) -> _Column:
    column = _column(trades, "ts_event", pa.int64())
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.int64())
    if column.type != pa.int64():
        raise ConfigError(f"ts_event must be int64 (nanoseconds) or timestamp[ns], not {column.type}")
    not_early = pc.greater_equal(column, _int64(edges.first_ts))
    held = pc.and_(not_early, pc.less_equal(column, _int64(edges.last_ts)))
    _require(held, column, "ts_event", "is too near the limits of int64 for its bar to have both ends")
    return column


def _integers(trades: pa.Table, name: str) -> _Column:
    column = _column(trades, name, pa.int64())
    if not pa.types.is_integer(column.type):
        raise ConfigError(f"{name} must be whole numbers (int64), not {column.type}")
    if pa.types.is_uint64(column.type):
        fits = pc.less_equal(column, pa.scalar(INT64_MAX, pa.uint64()))
        _require(fits, column, name, "does not fit into int64")
    return column.cast(pa.int64())


def _prices(trades: pa.Table, grid: PriceGrid | None) -> tuple[PriceGrid, list[int], _Column]:
    """Return the grid, the table's prices in ticks (each once), and for each row the place of its price."""
    column = _column(trades, "price", pa.float64())
    kind = column.type
    if not (pa.types.is_float64(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise ConfigError(f"price must be float64, whole numbers or decimals, not {kind}")
    encoded = column.dictionary_encode()
    prices = cast("list[Price]", encoded.dictionary.to_pylist())
    for code, price in enumerate(prices):
        if not (price > 0 and math.isfinite(price)):
            raise _refusal("price", _row(encoded, code), price, "is not a number above 0")
    grid = _holding(prices) if grid is None else grid
    ticks: list[int] = []
    for code, price in enumerate(prices):
        tick = _ticks(grid, price)
        if tick is None:
            complaint = f"is not a whole number of ticks of {grid.num}/{grid.den}"
            raise _refusal("price", _row(encoded, code), price, complaint)
        ticks.append(tick)
    return grid, ticks, encoded.indices


def _row(encoded: _Encoded, code: int) -> int:
    return pc.index(encoded.indices, pa.scalar(code, encoded.indices.type)).as_py()


def _holding(prices: list[Price]) -> PriceGrid:
    """Return a grid that holds each price: of floats as `PriceGrid.holding`, of exact numbers the coarsest 1/n."""
    if any(isinstance(price, float) for price in prices):
        return PriceGrid.holding(cast("list[float]", prices))  # a column has one type
    return PriceGrid(1, math.lcm(*(price.as_integer_ratio()[1] for price in prices)))


def _ticks(grid: PriceGrid, price: Price) -> int | None:
    """Return ``price`` in ticks, or None if it is off the grid.

    A float is taken as the decimal it stands for, so it need only be the float64 nearest to a whole number of
    ticks. All other prices, and floats on a grid of halves, quarters and so on, are what they are.
    """
    num, den = price.as_integer_ratio()
    ticks, rest = divmod(num * grid.den, den * grid.num)
    if rest == 0:
        return ticks
    if isinstance(price, float):
        nearest = ticks + (2 * rest >= den * grid.num)
        return nearest if nearest * grid.num / grid.den == price else None
    return None
