"""Closed bars as Arrow columns: appended in place, snapshot without a copy, never rewritten.

Memory comes in chunks of a fixed number of rows, each one allocation. A chunk's record batch is made once,
over all of its rows; a snapshot is a slice of it, so it costs the same whatever the chunk holds. Rows below
the length of any snapshot are never written again. Where bars share a byte (flags, and whether there is a
trade date), the write changes only the bits of the new row. Arrays are made over read-only views: who holds a snapshot
cannot write into it either.
"""

from __future__ import annotations

import operator
from collections import deque
from typing import Any, Final

import pyarrow as pa

from trio_projectx._events import Bar
from trio_projectx.bars.edges import EPOCH

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
}
SCHEMA: Final = pa.schema(_FIELDS)
#: Columns kept as bits; so is, behind them, whether a row has a trade date.
FLAGS: Final = ("partial", "scheduled")
#: The columns of 8 bytes a row; trade_date has 4.
_WIDE: Final = tuple(name for name in _FIELDS if name not in ("trade_date", *FLAGS))
_values: Final = operator.attrgetter(*_WIDE)
_CHUNK_ROWS: Final = 8192
_MIN_ROWS: Final = 64  # keeps every column of a chunk on an Arrow boundary of 64 bytes


class _Chunk:
    """A fixed number of rows in one allocation: wide columns one after the other, the dates, then the bits."""

    __slots__ = ("_batch", "_bits", "_columns", "_dates", "length")

    def __init__(self, rows: int) -> None:
        size = 8 * rows
        dates = len(_WIDE) * size
        bits = dates + 4 * rows
        memory = memoryview(pa.allocate_buffer(bits + (len(FLAGS) + 1) * rows // 8)).cast("B")
        self.length = 0
        self._columns = [
            memory[i * size : (i + 1) * size].cast("d" if _FIELDS[name] == _FLOAT else "q")
            for i, name in enumerate(_WIDE)
        ]
        self._dates = memory[dates:bits].cast("i")
        ends = range(bits, bits + (len(FLAGS) + 1) * rows // 8, rows // 8)
        self._bits = [memory[at : at + rows // 8] for at in ends]
        shared = pa.py_buffer(memory.toreadonly())
        shares = [shared.slice(at, rows // 8) for at in ends]
        arrays: dict[str, pa.Array[Any]] = {
            name: pa.Array.from_buffers(_FIELDS[name], rows, [None, shared.slice(i * size, size)], 0)
            for i, name in enumerate(_WIDE)
        }
        for name, share in zip(FLAGS, shares, strict=False):
            arrays[name] = pa.Array.from_buffers(pa.bool_(), rows, [None, share], 0)
        # How many are null changes as rows are written: each snapshot counts for itself.
        known = shares[len(FLAGS)]
        arrays["trade_date"] = pa.Array.from_buffers(
            pa.date32(), rows, [known, shared.slice(dates, 4 * rows)], -1
        )
        self._batch = pa.RecordBatch.from_arrays(  # pyright: ignore[reportUnknownMemberType]
            [arrays[name] for name in _FIELDS], schema=SCHEMA
        )

    def append(self, bar: Bar) -> None:
        row = self.length
        for column, value in zip(self._columns, _values(bar), strict=True):
            column[row] = value
        date = bar.trade_date
        self._dates[row] = 0 if date is None else date.toordinal() - EPOCH
        byte, bit = row >> 3, 1 << (row & 7)
        for bits, is_set in zip(self._bits, (bar.partial, bar.scheduled, date is not None), strict=True):
            bits[byte] = bits[byte] | bit if is_set else bits[byte] & ~bit
        self.length = row + 1  # last: a row that could not be written does not count

    def snapshot(self) -> pa.RecordBatch:
        return self._batch.slice(0, self.length)


class BarColumns:
    """The closed bars of one timeframe, oldest first.

    At least the last ``bars_kept`` bars stay; older ones go a whole chunk at a time, so that at most
    ``bars_kept`` and one chunk (8,192 rows; fewer if ``bars_kept`` is less) are held. Snapshots keep alive
    what they show.
    """

    __slots__ = ("_bars_kept", "_chunk_rows", "_full", "_last")

    def __init__(self, bars_kept: int) -> None:
        self._bars_kept = bars_kept
        self._chunk_rows = min(_CHUNK_ROWS, -(-bars_kept // _MIN_ROWS) * _MIN_ROWS)
        self._full: deque[pa.RecordBatch] = deque()
        self._last: _Chunk | None = None

    def __len__(self) -> int:
        return len(self._full) * self._chunk_rows + (self._last.length if self._last is not None else 0)

    def append(self, bar: Bar) -> None:
        """Write one closed bar behind the others."""
        chunk = self._last
        if chunk is None or chunk.length == self._chunk_rows:
            chunk = self._next_chunk()
        chunk.append(bar)
        if len(self) - self._chunk_rows >= self._bars_kept:
            self._full.popleft()

    def _next_chunk(self) -> _Chunk:
        fresh = _Chunk(self._chunk_rows)
        if self._last is not None:
            self._full.append(self._last.snapshot())
        self._last = fresh
        return fresh

    def table(self) -> pa.Table:
        """Return the bars held, as an immutable table that shares their memory (columns: `SCHEMA`)."""
        last = [self._last.snapshot()] if self._last is not None else []
        return pa.Table.from_batches([*self._full, *last], schema=SCHEMA)
