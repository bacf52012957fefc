"""Prices of a table as the numbers that were on the wire: decimals, made of whole ticks without any float."""

# pyarrow-stubs leave type parameters of pyarrow.compute and of an array's members bare; strict pyright then
# calls whatever comes from them unknown, also where it is stated.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from trio_projectx._errors import ConfigError
from trio_projectx.bars.chunk import PRICES
from trio_projectx.bars.columns import BarColumns
from trio_projectx.market.grid import PriceGrid

Prices = Literal["float", "ticks", "decimal"]
#: The digits of int64, in which the numbers before their point is set are reckoned.
_DIGITS: Final = 19


def price_table(
    columns: BarColumns,
    grid: PriceGrid,
    prices: Prices,
    after: int | None = None,
    until: int | None = None,
) -> pa.Table:
    """Return the table of ``columns`` with open, high, low and close as ``prices`` says.

    "float" and "ticks" (int64; the schema's metadata has ``b"tick_size"`` as ``b"num/den"``) copy nothing;
    "decimal" makes four decimal128 columns with the places of the tick size, exactly. ``vwap``, which lies between
    ticks, stays a float.

    :raises ConfigError: if ``prices`` is none of them, or ticks are no decimals that int64 holds.
    """
    if prices == "float":
        return columns.table(after, until)
    if prices not in ("ticks", "decimal"):
        raise ConfigError(f'prices must be "float", "ticks" or "decimal", not {prices!r:.40}')
    table = columns.table(after, until, "ticks")
    if prices == "ticks":
        return table.replace_schema_metadata({b"tick_size": f"{grid.num}/{grid.den}".encode()})
    places = _places(grid)
    for name in PRICES:
        at = table.schema.get_field_index(name)
        made = [_decimals(chunk, grid, places) for chunk in table.column(name).chunks]
        kind = pa.decimal128(_DIGITS, places)
        column = pa.chunked_array(made or [_decimals(pa.array([], pa.int64()), grid, places)])
        table = table.set_column(at, pa.field(name, kind), column)
    return table


def ending_between(table: pa.Table, after: int | None, until: int | None) -> pa.Table:
    """Return the rows with ``after < end <= until`` of a table whose ends are in no order (a copy of them)."""
    ends = pc.cast(table.column("end"), pa.int64())
    if after is not None:
        later = pc.greater(ends, pa.scalar(after, pa.int64()))
        table, ends = table.filter(later), ends.filter(later)
    if until is not None:
        table = table.filter(pc.less_equal(ends, pa.scalar(until, pa.int64())))
    return table


def _decimals(ticks: pa.Array[Any], grid: PriceGrid, places: int) -> pa.Array[Any]:
    """Return ``ticks * num / den``: whole numbers first, and then the same bits with their point set."""
    try:
        unit = pa.scalar(grid.num * 10**places // grid.den, pa.int64())
        whole = pc.multiply_checked(ticks, unit).cast(pa.decimal128(_DIGITS, 0))
    except (OverflowError, pa.ArrowInvalid):
        raise ConfigError(
            f"prices on ticks of {grid.num}/{grid.den} need more than {_DIGITS} digits"
        ) from None
    kind = pa.decimal128(_DIGITS, places)
    return pa.Array.from_buffers(kind, len(whole), whole.buffers(), whole.null_count, whole.offset)


def _places(grid: PriceGrid) -> int:
    for places in range(_DIGITS):
        if grid.num * 10**places % grid.den == 0:
            return places
    raise ConfigError(f"a tick of {grid.num}/{grid.den} is no decimal number of {_DIGITS - 1} places")
