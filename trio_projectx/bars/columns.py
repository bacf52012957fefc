"""Closed bars as Arrow columns: a ring of chunks, appended in place, shown without a copy, never rewritten.

What readers see is one tuple (the chunks, and how many rows of the last one), which `keep` replaces: a reader in
any thread sees all rows of an update, or none. What was not kept, `undo` forgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.chunk import FLAGS, MIN_ROWS, SCHEMAS, Chunk, Row, Shown, Synthetic

__all__ = ["FLAGS", "SCHEMA", "SCHEMAS", "BarColumns", "Row", "Shown"]

SCHEMA: Final = SCHEMAS["float"]
_CHUNK_ROWS: Final = 8192


class BarColumns:
    """The closed bars of one timeframe, oldest first.

    At least the last ``bars_kept`` bars stay; older ones go a whole chunk at a time, so that at most
    ``bars_kept`` and one chunk (8,192 rows; fewer if ``bars_kept`` is less) are held. Snapshots keep alive
    what they show: the memory of a chunk that went is free again when the last of them is gone.
    """

    __slots__ = ("_bars_kept", "_chunk_rows", "_chunks", "_in_ticks", "_length", "_shown")

    def __init__(self, bars_kept: int, *, in_ticks: bool = True) -> None:
        self._bars_kept = bars_kept
        self._in_ticks = in_ticks
        self._chunk_rows = min(_CHUNK_ROWS, -(-bars_kept // MIN_ROWS) * MIN_ROWS)
        self._chunks: tuple[Chunk, ...] = ()  # the writer's; rows are only added to the last one
        self._length = 0
        self._shown: tuple[tuple[Chunk, ...], int] = ((), 0)

    def __len__(self) -> int:
        """How many bars there are, those not kept too."""
        return self._length

    def append(self, row: Row) -> None:
        """Write one closed bar behind the others."""
        if not self._chunks or self._chunks[-1].length >= self._chunk_rows:
            self._chunks = (*self._chunks, Chunk(self._chunk_rows, in_ticks=self._in_ticks))
        self._chunks[-1].append(row)
        self._length += 1
        self._forget()

    def revise(self, rows: Sequence[Row]) -> None:
        """Put each bar in the place of the one of the same end, or between its neighbours if there is none.

        Only the chunks they lie in are copied; snapshots show what they showed.
        """
        by_chunk: dict[int, list[Row]] = {}
        for row in rows:
            by_chunk.setdefault(self._chunk_of(row.bar.end), []).append(row)
        chunks = list(self._chunks) or [Chunk(self._chunk_rows, in_ticks=self._in_ticks)]
        for number, found in by_chunk.items():
            chunks[number] = chunks[number].with_rows(found)
        self._chunks = tuple(chunks)
        self._length = sum(chunk.length for chunk in chunks)
        self._forget()

    def first_start(self) -> int | None:
        """Return the start of the oldest bar held; None if there is none."""
        return self._chunks[0].start_at(0) if self._length else None

    def close_before(self, ts_ns: int) -> int | None:
        """Return the close, in ticks, of the last bar that ends by ``ts_ns``; None if there is none."""
        for chunk in reversed(self._chunks):
            at = chunk.place(ts_ns + 1)
            if at:
                return chunk.close_at(at - 1)
        return None

    def rows(self, low: int, high: int, contract_id: str, frame: Timeframe) -> list[Row]:
        """Return the bars with ``low <= start`` and ``end <= high``, as they were written."""
        found: list[Row] = []
        for chunk in self._chunks:
            places = range(chunk.place(low + 1), chunk.place(high + 1))
            found += [chunk.row(at, contract_id, frame) for at in places if chunk.start_at(at) >= low]
        return found

    def row_at(self, ts_ns: int, contract_id: str, frame: Timeframe) -> Row | None:
        """Return the bar that ``ts_ns`` lies in, as it was written; None if there is none."""
        for chunk in self._chunks[self._chunk_of(ts_ns + 1) :]:
            at = chunk.place(ts_ns + 1)
            if at < chunk.length:
                return chunk.row(at, contract_id, frame) if chunk.start_at(at) <= ts_ns else None
        return None

    def synthetic_after(self, end: int) -> list[Synthetic]:
        """Return the bars that end after ``end``, up to the first that is not synthetic."""
        found: list[Synthetic] = []
        for chunk in self._chunks[self._chunk_of(end + 1) :]:
            for row in range(chunk.place(end + 1), chunk.length):
                each = chunk.synthetic_at(row)
                if each is None:
                    return found
                found.append(each)
        return found

    def _chunk_of(self, end: int) -> int:
        for number in reversed(range(1, len(self._chunks))):
            if self._chunks[number].place(end):
                return number
        return 0

    def limit(self, bars_kept: int) -> int:
        """Keep at least so many from now on, instead of what it was; return how many went. Not within an update."""
        before, self._bars_kept = self._length, bars_kept
        self._forget()
        self.keep()
        return before - self._length

    def _forget(self) -> None:
        while self._chunks and self._length - self._chunks[0].length >= self._bars_kept:
            self._length -= self._chunks[0].length
            self._chunks = self._chunks[1:]

    def keep(self) -> None:
        """Show readers what was written; this cannot fail."""
        if self._chunks:
            self._shown = self._chunks, self._chunks[-1].length

    def undo(self) -> None:
        """Forget what was written since the last `keep`."""
        self._chunks, last = self._shown
        if self._chunks:
            self._chunks[-1].length = last
        self._length = sum(chunk.length for chunk in self._chunks)

    def table(self, after: int | None = None, until: int | None = None, shown: Shown = "float") -> pa.Table:
        """Return the bars held, as an immutable table that shares their memory (columns: `SCHEMA`).

        With bounds (int64 ns) it is those with ``after < end <= until``, found by binary search. ``shown`` says in
        what prices are given: floats, or whole ticks (int64).
        """
        chunks, last = self._shown
        batches: list[pa.RecordBatch] = []
        for number, chunk in enumerate(chunks, 1):
            length = last if number == len(chunks) else chunk.length
            if after is None and until is None and number < len(chunks):
                batches.append(chunk.whole(shown))
                continue
            start = 0 if after is None else chunk.place(after + 1, length)
            stop = length if until is None else chunk.place(until + 1, length)
            if start < stop:
                batches.append(chunk.snapshot(shown, start, stop))
        return pa.Table.from_batches(batches, schema=SCHEMAS[shown])
