"""Closed bars as Arrow columns: appended in place, snapshot without a copy, never rewritten.

Memory comes in chunks of a fixed number of rows, each one allocation. A chunk's record batch is made once,
over all of its rows; a snapshot is a slice of it, so it costs the same whatever the chunk holds. Rows below
the length of any snapshot are never written again. Where bars share a byte (flags, and whether there is a
trade date), the write changes only the bits of the new row. Arrays are made over read-only views: who holds a snapshot
cannot write into it either.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
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
    "synthetic": pa.bool_(),
}
SCHEMA: Final = pa.schema(_FIELDS)
#: Columns kept as bits; so is, behind them, whether a row has a trade date.
FLAGS: Final = ("partial", "scheduled", "synthetic")
#: The columns of 8 bytes a row; trade_date has 4.
_WIDE: Final = tuple(name for name in _FIELDS if name not in ("trade_date", *FLAGS))
_values: Final = operator.attrgetter(*_WIDE)
_CHUNK_ROWS: Final = 8192
_MIN_ROWS: Final = 64  # keeps every column of a chunk on an Arrow boundary of 64 bytes


class _Chunk:
    """A fixed number of rows in one allocation: wide columns one after the other, the dates, then the bits."""

    __slots__ = ("_batch", "_bits", "_columns", "_dates", "length", "rows")

    def __init__(self, rows: int) -> None:
        self.rows = rows
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
        self._write(self.length, bar)
        self.length += 1  # last: a row that could not be written does not count

    def _write(self, row: int, bar: Bar) -> None:
        for column, value in zip(self._columns, _values(bar), strict=True):
            column[row] = value
        date = bar.trade_date
        self._dates[row] = 0 if date is None else date.toordinal() - EPOCH
        flags = (bar.partial, bar.scheduled, bar.synthetic, date is not None)
        for bits, is_set in zip(self._bits, flags, strict=True):
            _set_bit(bits, row, is_set)

    def place(self, end: int) -> int:
        """Return how many rows end before ``end``."""
        return bisect_left(self._columns[1], end, 0, self.length)

    def with_bar(self, bar: Bar) -> _Chunk:
        """Return a copy in which ``bar`` stands in the place of the row of the same end, or between its neighbours."""
        at, count = self.place(bar.end), self.length
        is_there = at < count and self._columns[1][at] == bar.end
        shift = 0 if is_there else 1
        copy = _Chunk(self.rows if count + shift <= self.rows else self.rows + _MIN_ROWS)
        for mine, new in zip((*self._columns, self._dates), (*copy._columns, copy._dates), strict=True):
            new[:at] = mine[:at]
            new[at + shift : count + shift] = mine[at:count]
        for mine, new in zip(self._bits, copy._bits, strict=True):
            new[: len(mine)] = mine
            for row in range(at, count if shift else at):
                _set_bit(new, row + 1, is_set=bool(mine[row >> 3] >> (row & 7) & 1))
        copy._write(at, bar)
        copy.length = count + shift
        return copy

    def snapshot(self, start: int = 0, stop: int | None = None) -> pa.RecordBatch:
        return self._batch.slice(start, (self.length if stop is None else stop) - start)


def _set_bit(bits: memoryview[int], row: int, is_set: bool) -> None:
    byte, bit = row >> 3, 1 << (row & 7)
    bits[byte] = bits[byte] | bit if is_set else bits[byte] & ~bit


class BarColumns:
    """The closed bars of one timeframe, oldest first.

    At least the last ``bars_kept`` bars stay; older ones go a whole chunk at a time, so that at most
    ``bars_kept`` and one chunk (8,192 rows; fewer if ``bars_kept`` is less) are held. Snapshots keep alive
    what they show.
    """

    __slots__ = ("_bars_kept", "_chunk_rows", "_chunks", "_length")

    def __init__(self, bars_kept: int) -> None:
        self._bars_kept = bars_kept
        self._chunk_rows = min(_CHUNK_ROWS, -(-bars_kept // _MIN_ROWS) * _MIN_ROWS)
        self._chunks: deque[_Chunk] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, bar: Bar) -> None:
        """Write one closed bar behind the others."""
        chunks = self._chunks
        if not chunks or chunks[-1].length >= self._chunk_rows:
            chunks.append(_Chunk(self._chunk_rows))
        chunks[-1].append(bar)
        self._length += 1
        self._forget()

    def revise(self, bar: Bar) -> None:
        """Put a bar in the place of the one of the same end, or between its neighbours if there is none.

        Only the chunk it lies in is copied; snapshots show what they showed. One older than all that are kept
        is left out.
        """
        for number in reversed(range(len(self._chunks))):
            chunk = self._chunks[number]
            if chunk.place(bar.end) or not number:
                break
        else:
            self.append(bar)
            return
        self._chunks[number] = copy = chunk.with_bar(bar)
        self._length += copy.length - chunk.length
        self._forget()

    def _forget(self) -> None:
        while self._length - self._chunks[0].length >= self._bars_kept:
            self._length -= self._chunks.popleft().length

    def table(self, after: int | None = None, until: int | None = None) -> pa.Table:
        """Return the bars held, as an immutable table that shares their memory (columns: `SCHEMA`).

        With bounds (int64 ns) it is those with ``after < end <= until``, found by binary search.
        """
        batches: list[pa.RecordBatch] = []
        for chunk in tuple(self._chunks):
            start = 0 if after is None else chunk.place(after + 1)
            stop = chunk.length if until is None else chunk.place(until + 1)
            if start < stop:
                batches.append(chunk.snapshot(start, stop))
        return pa.Table.from_batches(batches, schema=SCHEMA)
