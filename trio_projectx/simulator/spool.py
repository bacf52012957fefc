"""Trades on disk: an append-only file of Arrow IPC streams that has no name and is read through the memory map.

The file is open but in no folder (`tempfile.TemporaryFile`), so nothing of it is left whatever becomes of the
process. What was written is read without copying: a table of millions of rows costs address space, not memory.
"""

# pyarrow's stubs speak of numpy's types, and numpy is not installed; mypy checks these lines.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import mmap
import tempfile
from typing import IO

import attrs
import pyarrow as pa

#: Arrow wants the buffers of what it maps to begin at multiples of this.
_ALIGNED = 64


@attrs.frozen(slots=True)
class Chunk:
    """One batch in the file: rows ``first`` up to, without, ``stop``; at ``offset``, ``length`` bytes."""

    first: int
    stop: int
    offset: int
    length: int


@attrs.define(slots=True, eq=False)
class Spool:
    """Batches of one schema, numbered by their first row; `write` blocks and belongs in a thread."""

    chunks: list[Chunk] = attrs.Factory(list[Chunk])
    _file: IO[bytes] | None = None
    _map: mmap.mmap | None = None
    _end: int = 0

    @property
    def rows(self) -> int:
        """How many rows are in the file."""
        return sum(chunk.stop - chunk.first for chunk in self.chunks)

    def write(self, first: int, batch: pa.RecordBatch) -> None:
        """Append ``batch``, whose first row is number ``first``.

        :raises OSError: if the disk does not take it; what was there before is still good.
        """
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- `close` closes it
        self._file.seek(self._end)
        self._file.write(data)
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), self._end + data.size, access=mmap.ACCESS_READ)
        self.chunks.append(Chunk(first, first + batch.num_rows, self._end, data.size))
        self._end += -(-data.size // _ALIGNED) * _ALIGNED

    def read(self, chunk: Chunk) -> pa.RecordBatch:
        """Return what is in ``chunk``; it stays in the file, and good after `close` too."""
        assert self._map is not None
        data = pa.py_buffer(self._map).slice(chunk.offset, chunk.length)
        return pa.ipc.open_stream(data).read_next_batch()

    def close(self) -> None:
        """Write no more. The space is freed when nobody holds a batch, or this object, any more."""
        if self._file is not None:
            self._file.close()
            self._file = None
