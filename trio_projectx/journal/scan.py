"""Reading a journal: as one pyarrow dataset, sealed files and segments together, each row once."""

# pyarrow's stubs do not describe datasets in full.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from trio_projectx.journal.layout import Kind, Place, files, is_part, is_segment, places
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import held
from trio_projectx.journal.segment import read_segment


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
    schema = schema_of(kind)
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
        folder = place.folder(root)
        names = files(folder)
        gone = held(folder, names)
        where = (ds.field("contract") == place.contract) & (ds.field("date") == pa.scalar(place.date))
        for name in names:
            if is_part(name) and name not in gone:
                path = str(folder / name)
                sealed.append(format_.make_fragment(path, filesystem, partition_expression=where))
            elif is_segment(name) and name not in gone:
                loose += _batches(folder / name, place, schema)
    parts: list[ds.Dataset] = [ds.FileSystemDataset(sealed, schema, format_, filesystem)]
    if loose:
        parts.append(ds.dataset(pa.Table.from_batches(loose, schema=schema)))
    return ds.UnionDataset(schema, parts)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


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
