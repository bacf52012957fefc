"""Prices of a table as decimals: the numbers that were on the wire, not the floats nearest to them."""

from __future__ import annotations

from typing import Final, Literal

import pyarrow as pa

from trio_projectx._errors import ConfigError
from trio_projectx.market.grid import PriceGrid

Prices = Literal["float", "decimal"]
_NAMES: Final = ("open", "high", "low", "close")
#: A price has at most so many digits before its point (it is below 1e9).
_WHOLE: Final = 10
_MOST: Final = 38 - _WHOLE


def price_table(table: pa.Table, grid: PriceGrid, prices: Prices) -> pa.Table:
    """Return ``table`` as it is, or with open, high, low and close as decimal128 with the places of the tick size.

    They are exact: each float is the one nearest to a whole number of ticks. ``vwap``, which lies between ticks,
    stays a float. This copies the four columns.

    :raises ConfigError: if ``prices`` is neither, or ticks are no finite decimals (thirds, say).
    """
    if prices == "float":
        return table
    if prices != "decimal":
        raise ConfigError(f'prices must be "float" or "decimal", not {prices!r:.40}')
    places = _places(grid)
    kind = pa.decimal128(_WHOLE + places, places)
    for name in _NAMES:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, pa.field(name, kind), table.column(name).cast(kind, safe=False))
    return table


def _places(grid: PriceGrid) -> int:
    for places in range(_MOST + 1):
        if grid.num * 10**places % grid.den == 0:
            return places
    raise ConfigError(f"a tick of {grid.num}/{grid.den} is no decimal number of {_MOST} places")
