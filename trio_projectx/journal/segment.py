"""A segment: an Arrow IPC stream that can be read to the last acknowledged batch, wherever its writer died.

Behind each batch stands a mark: an empty batch whose metadata say how long the bytes since the mark before are, and
their CRC-32. So every reader of Arrow reads a segment (an empty batch has no rows), and ours takes a batch only if its
mark is there and right. A segment that ends in the middle of a batch, or of its mark, ends with the batch before.
"""

# pyarrow's stubs leave buffers and metadata open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pyarrow as pa

from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Kind
from trio_projectx.journal.schemas import SCHEMAS, check_schema

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_MARK: Final = b"trio_projectx.mark"
_FORM: Final = re.compile(rb"([0-9]{1,12}) ([0-9]{1,12}) ([0-9]{1,10})\0")


class _Sink(io.RawIOBase):
    """What Arrow writes into, to be taken away as bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        before = len(self._data)
        self._data += memoryview(data)
        return len(self._data) - before

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class SegmentWriter:
    """Appends batches of one kind to a new file; nothing but `Disk` blocks.

    After an `OSError` of `append` the file ends with the last whole batch, as far as the disk lets it be cut; the
    writer is done for then, and has to be closed.
    """

    def __init__(self, path: Path, kind: Kind, disk: Disk) -> None:
        self.path = path
        self.kind: Kind = kind
        self.size = self.rows = 0
        self._number = 0
        self._disk = disk
        self._sink = _Sink()
        self._stream = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), SCHEMAS[kind])
        self._empty = pa.RecordBatch.from_pylist([], schema=SCHEMAS[kind])
        self._fd = disk.create(path)

    def append(self, batch: pa.RecordBatch) -> None:
        """Write one batch and its mark; when this returns, a process that is killed has lost nothing of it."""
        self._stream.write_batch(batch)
        data = self._sink.take()
        mark = f"{self._number} {len(data)} {zlib.crc32(data)}".encode()
        self._stream.write_batch(self._empty, custom_metadata={_MARK: mark})
        self._write(data + self._sink.take())
        self._number += 1
        self.rows += batch.num_rows

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += self._disk.write(self._fd, data[written:])
        except OSError:
            self._disk.truncate(self._fd, self.size)
            raise
        self.size += written

    def sync(self) -> None:
        """Return when everything is on the disk."""
        self._disk.sync(self._fd)

    def close(self) -> None:
        """Close the file. It has no end mark of Arrow's: it may always have been cut, so none is needed."""
        self._disk.close(self._fd)


@attrs.frozen(slots=True)
class Segment:
    """What a segment holds: ``batches`` are right, each of them; ``good_bytes`` is where they end."""

    kind: Kind | None
    batches: tuple[pa.RecordBatch, ...]
    good_bytes: int
    size: int
    fault: str | None
    """What is wrong behind them; None for a segment that was only cut short, as by a process that was killed."""

    @property
    def is_corrupt(self) -> bool:
        """Whether something stands in it that its writer did not write so."""
        return self.fault is not None

    @property
    def rows(self) -> int:
        """Rows of the batches that are right."""
        return sum(batch.num_rows for batch in self.batches)


def read_segment(path: Path) -> Segment:
    """Read a segment as far as it is right; its batches are views of the file's bytes.

    :raises UnknownFormat: if it is whole, and not of a format that is known here.
    :raises OSError: if it cannot be read.
    """
    return parse_segment(path.read_bytes())


def parse_segment(data: bytes) -> Segment:
    """Read the bytes of a segment, as `read_segment`; what is broken is told in the result."""
    source = pa.BufferReader(data)
    batches: list[pa.RecordBatch] = []
    good, fault, kind = 0, None, None
    pending: pa.RecordBatch | None = None
    try:
        stream = pa.ipc.open_stream(source)
        kind = check_schema(stream.schema)
        while fault is None:
            start = source.tell()
            batch, metadata = stream.read_next_batch_with_custom_metadata()
            mark = metadata.get(_MARK) if metadata else None
            if mark is None and pending is None:
                pending = batch
            elif pending is None or mark != _mark(len(batches), data[good:start]):
                fault = f"the check sum of batch {len(batches)} is wrong"
            else:
                pending.validate(full=True)
                batches.append(pending)
                good, pending = source.tell(), None
    except StopIteration:
        # A batch without its mark was never acknowledged; but to Arrow some damage looks like the end, too.
        if not _is_cut(data[good:]):
            fault = f"behind batch {len(batches) - 1} stands what is none"
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as exc:
        if isinstance(exc, MemoryError):
            bytearray(
                2 * len(data)
            )  # raises again if it is not the file that claims too much, but memory that is out
        if not _is_cut(data[good:]):
            fault = f"batch {len(batches)} cannot be read ({type(exc).__name__})"
    return Segment(kind, tuple(batches), good, len(data), fault)


def _mark(number: int, data: bytes) -> bytes:
    return f"{number} {len(data)} {zlib.crc32(data)}".encode()


def _is_cut(rest: bytes) -> bool:
    """Whether bytes that cannot be read are one batch that was not written to its end, rather than damage.

    Behind a batch that was acknowledged stands its mark; so one mark, if its check sum is right (the mark was cut), or
    none at all.
    """
    marks = rest.count(_MARK)
    if marks != 1:
        return marks == 0
    # What a mark says may stand before its name: Arrow's writer decides.
    return all(zlib.crc32(rest[: int(length)]) == int(crc) for _, length, crc in _FORM.findall(rest))
