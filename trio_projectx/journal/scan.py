"""Reading a journal: as one pyarrow dataset, sealed files and segments together, each row once."""

# pyarrow's stubs do not describe datasets in full.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from trio_projectx.journal.layout import Kind, Place, files, is_part, is_segment, places
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import held
from trio_projectx.journal.segment import read_segment

#: How often a folder is listed until two listings agree; its files change once in many seconds.
_LOOKS: Final = 100


def schema_of(kind: Kind) -> pa.Schema:
    """Return the columns of `dataset`: those of the kind, and ``contract`` and ``date`` of the folder."""
    schema = SCHEMAS[kind].remove_metadata()
    return schema.append(pa.field("contract", pa.string())).append(pa.field("date", pa.date32()))


def dataset(
    root: Path,
    kind: Kind,
    contract: str | None = None,
    first: datetime.date | None = None,
    last: datetime.date | None = None,
) -> ds.Dataset:
    """Return all rows of a kind, lazily: filters and columns reach the files (``polars.scan_pyarrow_dataset`` too).

    Segments that are not sealed yet are read at once, to their last acknowledged batch, so this blocks: call it in
    a thread. Rows are in the order in which they came within a contract and date. A sealed file that is damaged shows
    when it is read; `Sealer.seal` with ``compact`` finds and quarantines it.
    """
    root, schema = Path(root), schema_of(kind)
    chosen = [
        place
        for place in places(root, kind)
        if (contract is None or place.contract == contract)
        and (first is None or place.date >= first)
        and (last is None or place.date <= last)
    ]
    sealed: list[ds.Fragment] = []
    loose: list[pa.RecordBatch] = []
    format_ = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    filesystem = pafs.LocalFileSystem()
    for place in chosen:
        parts_there, batches = _settled(place.folder(root), place, schema)
        where = (ds.field("contract") == place.contract) & (ds.field("date") == pa.scalar(place.date))
        for path in parts_there:
            sealed.append(format_.make_fragment(str(path), filesystem, partition_expression=where))
        loose += batches
    parts: list[ds.Dataset] = [ds.FileSystemDataset(sealed, schema, format_, filesystem)]
    if loose:
        parts.append(ds.dataset(pa.Table.from_batches(loose, schema=schema)))
    return ds.UnionDataset(schema, parts)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def _settled(folder: Path, place: Place, schema: pa.Schema) -> tuple[list[Path], list[pa.RecordBatch]]:
    """Return the sealed files of a folder, and the rows of its segments, as they were at one instant.

    A recorder may seal them meanwhile, and a listing is not made in an instant: it can have missed the sealed file,
    and the segments too. So what was read counts only if the next listing is the same.
    """
    names = files(folder)
    for _ in range(_LOOKS):
        found = _read(folder, names, place, schema)
        again = files(folder)
        if found is not None and again == names:
            return found
        names = again
    raise OSError(f"{folder.name} changes all the time: it cannot be read")


def _read(
    folder: Path, names: list[str], place: Place, schema: pa.Schema
) -> tuple[list[Path], list[pa.RecordBatch]] | None:
    try:
        gone = held(folder, names)
        left = [name for name in names if name not in gone]
        batches = [
            each for name in left if is_segment(name) for each in _batches(folder / name, place, schema)
        ]
    except FileNotFoundError:
        return None
    return [folder / name for name in left if is_part(name)], batches


def _batches(path: Path, place: Place, schema: pa.Schema) -> list[pa.RecordBatch]:
    found: list[pa.RecordBatch] = []
    for batch in read_segment(path).batches:
        columns = [
            *batch.columns,
            pa.array([place.contract] * batch.num_rows, pa.string()),
            pa.array([place.date] * batch.num_rows, pa.date32()),
        ]
        found.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return found
