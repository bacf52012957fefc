"""A fixed number of bars in one piece of Arrow memory: written in place, shown without a copy.

Prices are kept twice: as whole ticks (int64), which are what is true, and as the float64 nearest to them, so that
neither way of showing them copies anything.
"""

from __future__ import annotations

import datetime
import operator
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa

from trio_projectx._events import Bar, BarSource
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.edges import EPOCH

Shown = Literal["float", "ticks"]

_STAMP: Final = pa.timestamp("ns", "UTC")
_INT: Final = pa.int64()
_FLOAT: Final = pa.float64()
_FIELDS: Final[dict[str, pa.DataType]] = {
    "start": _STAMP,
    "end": _STAMP,
    "open": _FLOAT,
    "high": _FLOAT,
    "low": _FLOAT,
    "close": _FLOAT,
    "volume": _INT,
    "trades": _INT,
    "trade_date": pa.date32(),
    "buy_volume": _INT,
    "sell_volume": _INT,
    "vwap": _FLOAT,
    "first_ts": _INT,
    "last_ts": _INT,
    "partial": pa.bool_(),
    "scheduled": pa.bool_(),
    "synthetic": pa.bool_(),
    "source": pa.dictionary(pa.int8(), pa.string()),
}
PRICES: Final = ("open", "high", "low", "close")
SCHEMAS: Final[dict[Shown, pa.Schema]] = {
    "float": pa.schema(_FIELDS),
    "ticks": pa.schema(_FIELDS | dict.fromkeys(PRICES, _INT)),
}
#: Columns kept as bits; so is, behind them, whether a row has a trade date, and whether it is made of trades.
FLAGS: Final = ("partial", "scheduled", "synthetic")
#: What only trades say; null in a row that is the service's.
OF_TRADES: Final = ("trades", "buy_volume", "sell_volume", "vwap", "first_ts", "last_ts")
SOURCES: Final[tuple[BarSource, ...]] = ("live", "history", "mixed")
#: The columns of 8 bytes a row, but for the ticks; trade_date has 4, source 1.
_WIDE: Final = tuple(name for name in _FIELDS if name not in ("trade_date", *FLAGS, "source"))
_DATED: Final = len(FLAGS)
_TRADED: Final = len(FLAGS) + 1
_BITS: Final = len(FLAGS) + 2
_START: Final = _WIDE.index("start")
_CLOSE_TICKS: Final = len(_WIDE) + PRICES.index("close")
_END: Final = _WIDE.index("end")
_values: Final = operator.attrgetter(*_WIDE)
MIN_ROWS: Final = 64  # keeps every column of a chunk on an Arrow boundary of 64 bytes


class Row(NamedTuple):
    """A bar, and its open, high, low and close in ticks; () where the chunk keeps none."""

    bar: Bar
    ticks: tuple[int, ...]


class Synthetic(NamedTuple):
    """A bar without trades, as it was written."""

    start: int
    end: int
    close: float
    trade_date: datetime.date | None
    partial: bool


class Chunk:
    """A fixed number of rows in one allocation: wide columns one after the other, the dates, then the bits.

    Rows below the length of any snapshot are never written again, and arrays are made over read-only views: who
    holds a snapshot cannot write into it either. Where rows share a byte (flags, and whether there is a trade
    date), the write changes only the bits of its own row. Without ``in_ticks`` there are only the floats.
    """

    __slots__ = (
        "_batches",
        "_bits",
        "_columns",
        "_dates",
        "_in_ticks",
        "_sources",
        "_whole",
        "length",
        "rows",
    )

    def __init__(self, rows: int, *, in_ticks: bool = True) -> None:
        self.rows = rows
        self.length = 0
        self._in_ticks = in_ticks
        kinds = [_FIELDS[name] for name in _WIDE] + [_INT] * len(PRICES) * in_ticks
        size, dates = 8 * rows, len(kinds) * 8 * rows
        bits = dates + 4 * rows
        sources, end = bits + _BITS * rows // 8, bits + _BITS * rows // 8 + rows
        memory = memoryview(pa.allocate_buffer(end)).cast("B")
        self._columns = [
            memory[i * size : (i + 1) * size].cast("d" if kind == _FLOAT else "q")
            for i, kind in enumerate(kinds)
        ]
        self._dates = memory[dates:bits].cast("i")
        places = range(bits, sources, rows // 8)
        self._sources = memory[sources:end]
        self._bits = [memory[at : at + rows // 8] for at in places]
        shared = pa.py_buffer(memory.toreadonly())
        shares = [shared.slice(at, rows // 8) for at in places]
        arrays: dict[str, pa.Array[Any]] = {}
        for i, name in enumerate(_WIDE):
            known = shares[_TRADED] if name in OF_TRADES else None
            arrays[name] = _array(_FIELDS[name], rows, known, shared.slice(i * size, size))
        for name, share in zip(FLAGS, shares, strict=False):
            arrays[name] = _array(pa.bool_(), rows, None, share)
        arrays["trade_date"] = _array(pa.date32(), rows, shares[_DATED], shared.slice(dates, 4 * rows))
        arrays["source"] = _coded(rows, shared.slice(sources, rows))
        self._batches: dict[Shown, pa.RecordBatch] = {"float": _batch("float", arrays)}
        self._whole: dict[Shown, pa.RecordBatch] = {}
        if in_ticks:
            for i, name in enumerate(PRICES, len(_WIDE)):
                arrays[name] = _array(_INT, rows, None, shared.slice(i * size, size))
            self._batches["ticks"] = _batch("ticks", arrays)

    @property
    def is_full(self) -> bool:
        """Whether no row is left."""
        return self.length >= self.rows

    def append(self, row: Row) -> None:
        """Write a row behind the others; one that cannot be written does not count."""
        self._write(self.length, row)
        self.length += 1

    def _write(self, at: int, row: Row) -> None:
        bar = row.bar
        is_live = bar.source == "live"
        values = _values(bar) if is_live else tuple(0 if value is None else value for value in _values(bar))
        for column, value in zip(self._columns, (*values, *row.ticks), strict=self._in_ticks):
            column[at] = value
        self._sources[at] = 0 if is_live else SOURCES.index(bar.source)
        date = bar.trade_date
        self._dates[at] = 0 if date is None else date.toordinal() - EPOCH
        flags = (bar.partial, bar.scheduled, bar.synthetic, date is not None, is_live)
        for bits, is_set in zip(self._bits, flags, strict=True):
            _set_bit(bits, at, is_set)

    def place(self, end: int, length: int | None = None) -> int:
        """Return how many of the first ``length`` rows (of all) end before ``end``."""
        return bisect_left(self._columns[_END], end, 0, self.length if length is None else length)

    def with_rows(self, rows: Sequence[Row]) -> Chunk:
        """Return a copy in which each row stands in the place of the one of its end, or between its neighbours."""
        room = self.length + len(rows)
        copy = Chunk(max(self.rows, -(-room // MIN_ROWS) * MIN_ROWS), in_ticks=self._in_ticks)
        count = copy.length = self.length
        for mine, new in zip(self._by_row(), copy._by_row(), strict=True):
            new[:count] = mine[:count]
        for bits, new_bits in zip(self._bits, copy._bits, strict=True):
            new_bits[: len(bits)] = bits
        for row in rows:
            copy._put(row)
        return copy

    def _put(self, row: Row) -> None:
        at, count = self.place(row.bar.end), self.length
        if at == count or self._columns[_END][at] != row.bar.end:
            for column in self._by_row():
                column[at + 1 : count + 1] = column[at:count]
            for bits in self._bits:
                _insert_bit(bits, at)
            self.length += 1
        self._write(at, row)

    def _by_row(self) -> tuple[memoryview[Any], ...]:
        """Return what has one value for each row."""
        return (*self._columns, self._dates, self._sources)

    def start_at(self, at: int) -> int:
        """Return the start of a row."""
        return int(self._columns[_START][at])

    def close_at(self, at: int) -> int | None:
        """Return the close of a row in ticks; None where they are not kept."""
        return int(self._columns[_CLOSE_TICKS][at]) if self._in_ticks else None

    def row(self, at: int, contract_id: str, frame: Timeframe) -> Row:
        """Return a row as it was written."""
        numbers: dict[str, Any] = dict(zip(_WIDE, (column[at] for column in self._columns), strict=False))
        partial, scheduled, synthetic, dated, traded = (
            bool(bits[at >> 3] >> (at & 7) & 1) for bits in self._bits
        )
        if not traded:
            numbers |= dict.fromkeys(OF_TRADES, None)
        date = datetime.date.fromordinal(self._dates[at] + EPOCH) if dated else None
        ticks = tuple(int(column[at]) for column in self._columns[len(_WIDE) :])
        bar = Bar(
            contract_id,
            frame,
            trade_date=date,
            partial=partial,
            scheduled=scheduled,
            synthetic=synthetic,
            source=SOURCES[self._sources[at]],
            **numbers,
        )
        return Row(bar, ticks)

    def synthetic_at(self, at: int) -> Synthetic | None:
        """Return what a row says, if it is a synthetic bar."""
        partial, _, synthetic, dated = (bool(bits[at >> 3] >> (at & 7) & 1) for bits in self._bits[:_TRADED])
        if not synthetic:
            return None
        start, end, close = (self._columns[_WIDE.index(name)][at] for name in ("start", "end", "close"))
        date = datetime.date.fromordinal(self._dates[at] + EPOCH) if dated else None
        return Synthetic(int(start), int(end), close, date, partial)

    def snapshot(self, shown: Shown, start: int, stop: int) -> pa.RecordBatch:
        """Return the rows from ``start`` to before ``stop``."""
        return self._batches[shown].slice(start, stop - start)

    def whole(self, shown: Shown) -> pa.RecordBatch:
        """Return all rows, of a chunk to which none are added any more."""
        found = self._whole.get(shown)
        if found is None:
            found = self._whole[shown] = self.snapshot(shown, 0, self.length)
        return found


def _array(kind: pa.DataType, rows: int, validity: pa.Buffer | None, values: pa.Buffer) -> pa.Array[Any]:
    # How many are null changes as rows are written: each snapshot counts for itself (-1).
    return pa.Array.from_buffers(kind, rows, [validity, values], 0 if validity is None else -1)


def _coded(rows: int, values: pa.Buffer) -> pa.Array[Any]:
    names = pa.array(SOURCES)  # pyright: ignore[reportUnknownMemberType]
    kind = _FIELDS["source"]
    return pa.DictionaryArray.from_buffers(kind, rows, [None, values], names)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _batch(shown: Shown, arrays: dict[str, pa.Array[Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(  # pyright: ignore[reportUnknownMemberType]
        [arrays[name] for name in _FIELDS], schema=SCHEMAS[shown]
    )


def _insert_bit(bits: memoryview[int], row: int) -> None:
    """Make room for one at ``row``: those from there on move up, the last one goes."""
    every = int.from_bytes(bits, "little")
    below = every & ((1 << row) - 1)
    moved = below | (every ^ below) << 1
    bits[:] = (moved & ((1 << 8 * len(bits)) - 1)).to_bytes(len(bits), "little")


def _set_bit(bits: memoryview[int], row: int, is_set: bool) -> None:
    byte, bit = row >> 3, 1 << (row & 7)
    bits[byte] = bits[byte] | bit if is_set else bits[byte] & ~bit
