"""Reading a journal in the order in which it was written, a batch at a time. Everything here blocks."""

# pyarrow's stubs leave metadata and the parameters of its readers open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_projectx._redact import escape
from trio_projectx.flow.marks import StateMark, read_mark
from trio_projectx.journal.layout import Kind, Place, files, is_part, is_segment, places
from trio_projectx.journal.schemas import UnknownFormat, check_schema
from trio_projectx.journal.seal import Damage, held
from trio_projectx.journal.segment import read_segment
from trio_projectx.market import PriceGrid

Piece: TypeAlias = pa.RecordBatch | Damage
"""Rows, or what is wrong behind the rows before it."""
#: How much of a column of a Parquet file is read at once: a row group is never in memory as a whole.
_BUFFER: Final = 1 << 20
_Plan: TypeAlias = list[tuple[Place, str]]


class Record:
    """One kind of rows of one contract (or hub), as the files stood when this was made.

    A file that is sealed meanwhile is found in the one that holds its rows; a segment that is being written is read
    to its last acknowledged batch.
    """

    def __init__(self, root: Path, kind: Kind, contract: str, rows: int) -> None:
        self._root = root
        self._rows = rows
        self._given: dict[tuple[Place, str], int] = {}  # rows of each file that was read
        self._plan: _Plan = []
        for place in places(root, kind):
            if place.contract == contract:
                folder = place.folder(root)
                names = files(folder)
                gone = held(folder, names)
                self._plan += [
                    (place, name)
                    for name in names
                    if name not in gone and (is_part(name) or is_segment(name))
                ]

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows, so many at a time at most; damage stands where rows are missing."""
        for place, name in self._plan:
            if (place, name) not in self._given:
                yield from self._file(place, name)

    def _file(self, place: Place, name: str) -> Iterator[Piece]:
        path = place.folder(self._root) / name
        try:
            if is_part(name):
                yield from self._part(place, name, 0)
            else:
                yield from self._segment(place, path)
        except FileNotFoundError:
            yield from self._successor(place, name)
        except UnknownFormat as exc:
            yield self._damage(path, str(exc), 0)
        except OSError as exc:
            yield self._damage(path, escape(exc.strerror or type(exc).__name__), 0)

    def _segment(self, place: Place, path: Path) -> Iterator[Piece]:
        segment = read_segment(path)
        self._given[place, path.name] = segment.rows
        for batch in segment.batches:
            for at in range(0, batch.num_rows, self._rows):
                yield batch.slice(at, self._rows)
        if segment.fault is not None:
            yield self._damage(path, segment.fault, segment.rows)

    def _part(self, place: Place, name: str, skip: int) -> Iterator[Piece]:
        path, given = place.folder(self._root) / name, 0
        try:
            with pq.ParquetFile(
                path, page_checksum_verification=True, buffer_size=_BUFFER, pre_buffer=False
            ) as file:
                check_schema(file.schema_arrow)
                self._given[place, name] = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=self._rows, use_threads=False):
                    given += batch.num_rows
                    if given > skip:
                        yield batch.slice(max(0, batch.num_rows - (given - skip)))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as exc:
            yield self._damage(path, type(exc).__name__, given)

    def _successor(self, place: Place, name: str) -> Iterator[Piece]:
        """Yield what a file held that was sealed since the plan was made: not what was yielded already."""
        folder = place.folder(self._root)
        for other in files(folder):
            if is_part(other) and (place, other) not in self._given:
                names = _holds(folder / other)
                if name in names:
                    skip = sum(self._given.get((place, each), 0) for each in names)
                    self._given.update({(place, each): 0 for each in names})
                    yield from self._part(place, other, skip)
                    return
        yield self._damage(folder / name, "it was removed", 0)

    def _damage(self, path: Path, reason: str, rows: int) -> Damage:
        return Damage(str(path.relative_to(self._root)), reason, rows)


def _holds(part: Path) -> list[str]:
    try:
        metadata = pq.read_schema(part).metadata or {}
        return msgspec.json.decode(metadata.get(b"trio_projectx.holds", b"[]"), type=list[str])
    except (pa.ArrowException, OSError, msgspec.DecodeError):
        return []


def recorded(root: Path, kind: Kind) -> list[str]:
    """Return the contracts (or hubs) of which there are files of a kind."""
    found = {
        place.contract
        for place in places(root, kind)
        if any(is_part(name) or is_segment(name) for name in files(place.folder(root)))
    }
    return sorted(found)


def instruments(root: Path) -> dict[str, PriceGrid]:
    """Return the grid of each contract that was recorded; the last one, where they differ."""
    grids: dict[str, PriceGrid] = {}
    for contract in recorded(root, "instruments"):
        for piece in Record(root, "instruments", contract, 1024).pieces():
            if not isinstance(piece, Damage) and piece.num_rows:
                last = piece.slice(piece.num_rows - 1).to_pylist()[0]
                grids[contract] = PriceGrid(int(last["num"]), int(last["den"]))
    return grids


def first_state(root: Path) -> StateMark | None:
    """Return how everything stood where a record of frames begins; None if it does not say."""
    for piece in Record(root, "frames", "hub.market", 16).pieces():
        if not isinstance(piece, Damage):
            for what, text in zip(piece["what"].to_pylist(), piece["text"].to_pylist(), strict=True):
                mark = read_mark(str(text)) if what == "mark" else None
                return mark if isinstance(mark, StateMark) else None
    return None
