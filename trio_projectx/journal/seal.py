"""From segments to Parquet: written beside them, synced, renamed; only then they go.

A sealed file names the files whose rows it holds. So whatever instant a process dies at, each row counts once: a file
that a sealed one names is not read any more, and removed when the journal is opened again.
"""

# pyarrow's stubs leave metadata and the parameters of its writers open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import QUARANTINE, Place, files, is_part, is_segment, part_name
from trio_projectx.journal.schemas import SCHEMAS, UnknownFormat, check_schema
from trio_projectx.journal.segment import read_segment

_HOLDS: Final = b"trio_projectx.holds"
_TEMPORARY: Final = ".tmp"
#: Rows of a row group, at most: what a reader has to have in memory.
_GROUP_ROWS: Final = 131_072


@attrs.frozen(slots=True)
class Damage:
    """A file that was quarantined: its place in the journal, why, and how many rows before the damage were kept."""

    name: str
    reason: str
    rows_saved: int


@attrs.define(slots=True)
class SealReport:
    """What a sealing did."""

    part: Path | None = None
    """The new file; None if there was nothing to seal."""
    rows: int = 0
    damaged: list[Damage] = attrs.field(factory=list[Damage])
    cut_bytes: int = 0
    """Bytes behind the last acknowledged batch: a process died while it wrote them."""


class Sealer:
    """Seals the folders of one journal; everything blocks, and raises `OSError`."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def seal(
        self,
        place: Place,
        active: Iterable[Path] = (),
        *,
        compact: bool = False,
        report: SealReport | None = None,
    ) -> SealReport:
        """Make one Parquet file of all segments of a place that nobody writes, with ``compact`` of its Parquet too.

        A damaged file is moved to the quarantine; a segment's rows before the damage are sealed. A ``report`` that is
        handed in says what was done also where this raises.
        """
        folder, report = place.folder(self._root), SealReport() if report is None else report
        self.tidy(place, report)
        busy = {path.name for path in active if path.parent == folder}
        names = [name for name in files(folder) if is_segment(name) and name not in busy]
        if compact:
            parts = [name for name in files(folder) if is_part(name)]
            names = [*parts, *names] if len(parts) + len(names) > 1 else names
        names = [name for name in names if not _is_foreign(folder / name)]
        if names:
            self._write(place, names, report)
        return report

    def _write(self, place: Place, names: list[str], report: SealReport) -> None:
        folder = place.folder(self._root)
        # A name that sorts with what it holds, and that no part it holds has.
        target = folder / _free_name(folder, part_name(names[0]))
        temporary = target.with_name(target.name + _TEMPORARY)
        self._disk.remove(temporary)
        schema = _with_holds(place, names)
        fd = self._disk.create(temporary)
        with open(fd, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
                for table in self._tables(place, names, report):
                    report.rows += table.num_rows
                    writer.write_table(table.cast(schema), row_group_size=_GROUP_ROWS)
            file.flush()
            self._disk.sync(file.fileno())
        if report.rows:
            self._disk.rename(temporary, target)
            report.part = target
        else:
            self._disk.remove(temporary)
        self._disk.sync_folder(folder)
        damaged = {Path(damage.name).name for damage in report.damaged}
        # From here on the files do not count any more; whoever dies here leaves the rest to `tidy`.
        for name in sorted(names, key=lambda name: name in damaged):
            if name in damaged:
                self.quarantine(folder / name)
            else:
                self._disk.remove(folder / name)

    def _tables(self, place: Place, names: list[str], report: SealReport) -> Iterator[pa.Table]:
        """Yield the rows of the files, one file at a time."""
        for name in names:
            path = place.folder(self._root) / name
            shown = str(path.relative_to(self._root))
            if is_part(name):
                try:
                    yield read_part(path)
                except (pa.ArrowException, OSError) as exc:
                    _raise_if_of_the_system(exc)
                    report.damaged.append(Damage(shown, type(exc).__name__, 0))
                continue
            segment = read_segment(path)
            if segment.fault is not None:
                report.damaged.append(Damage(shown, segment.fault, segment.rows))
            elif segment.kind not in (place.kind, None):
                report.damaged.append(Damage(shown, f"it holds {segment.kind}", 0))
                continue
            else:
                report.cut_bytes += segment.size - segment.good_bytes
            if segment.rows:
                yield pa.Table.from_batches(segment.batches, schema=SCHEMAS[place.kind])

    def tidy(self, place: Place, report: SealReport) -> None:
        """Remove what a process that died has left: files that a sealed one holds, and half-written ones.

        A segment that was damaged goes to the quarantine even so: that process had not told of it yet.
        """
        folder = place.folder(self._root)
        names = files(folder)
        for name in names:
            if name.endswith(_TEMPORARY) and is_part(name.removesuffix(_TEMPORARY)):
                self._disk.remove(folder / name)
        for name in sorted(held(folder, names)):
            segment = read_segment(folder / name) if is_segment(name) else None
            if segment is None or segment.fault is None:
                self._disk.remove(folder / name)
            else:
                shown = str((folder / name).relative_to(self._root))
                report.damaged.append(Damage(shown, segment.fault, segment.rows))
                self.quarantine(folder / name)

    def quarantine(self, path: Path) -> Path:
        """Move a file out of the journal, to where nothing reads it, and return where it is."""
        folder = self._root / QUARANTINE
        self._disk.make_folder(folder)
        target = folder / "__".join(path.relative_to(self._root).parts)
        self._disk.rename(path, target)
        self._disk.sync_folder(folder)
        return target


def _is_foreign(path: Path) -> bool:
    """Whether a file is whole as far as its columns go, and of a format that is not known here: it is left alone."""
    try:
        if is_part(path.name):
            check_schema(pq.read_schema(path))
        else:
            with pa.OSFile(str(path), "rb") as file:
                check_schema(pa.ipc.open_stream(file).schema)
    except UnknownFormat:
        return True
    except (pa.ArrowException, OSError):
        return False  # damaged: whoever reads it on says how
    return False


def _free_name(folder: Path, name: str) -> str:
    stem, _, number = name.removesuffix(".parquet").partition("-")
    taken = names_taken(folder)
    at = int(number)
    while f"{stem}-{at:06d}.parquet" in taken:
        at += 1
    return f"{stem}-{at:06d}.parquet"


def _with_holds(place: Place, names: list[str]) -> pa.Schema:
    schema = SCHEMAS[place.kind]
    return schema.with_metadata({**(schema.metadata or {}), _HOLDS: msgspec.json.encode(names)})


def held(folder: Path, names: Iterable[str]) -> set[str]:
    """Return those of ``names`` whose rows are in a sealed file of the same folder, so that they do not count."""
    names = set(names)
    return _held_by(folder, names) & names


def names_taken(folder: Path) -> set[str]:
    """Return the names that no new file may have: of the files that are there, and of those that they hold."""
    names = set(files(folder))
    return names | _held_by(folder, names)


def _held_by(folder: Path, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if is_part(name):
            try:
                metadata = pq.read_schema(folder / name).metadata or {}
                found |= set(msgspec.json.decode(metadata.get(_HOLDS, b"[]"), type=list[str])) - {name}
            except (pa.ArrowException, OSError, msgspec.DecodeError) as exc:
                _raise_if_of_the_system(exc)
                continue  # a damaged part holds nothing; whoever reads it finds out
    return found


def _raise_if_of_the_system(exc: Exception) -> None:
    """Raise an error that says nothing about what is in a file: no descriptor is left, the disk does not answer.

    Arrow raises `OSError` for a check sum that is wrong too, but without a number.
    """
    if isinstance(exc, OSError) and exc.errno is not None:
        raise exc


def read_part(path: Path) -> pa.Table:
    """Read a sealed file, with the check sums of all its pages.

    :raises UnknownFormat: if it is of a newer format, or not one of ours.
    :raises pa.ArrowException: or `OSError`, if it is damaged.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        kind = check_schema(file.schema_arrow)
        return file.read().cast(SCHEMAS[kind])
