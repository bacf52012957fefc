"""A Parquet file of trades that somebody else has made, read row group by row group. Everything here blocks."""

# pyarrow's stubs leave the parameters of readers and arrays open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from trio_projectx._errors import ConfigError
from trio_projectx._events import Side
from trio_projectx.replaying.files import Piece

_NEEDED: Final = ("ts_event", "price", "volume")
_BUFFER: Final = 1 << 20
_ROWS: Final = 8192


def check_table(path: Path) -> None:
    """See that a file has the columns of trades.

    :raises ConfigError: naming what is missing, or of another type.
    :raises OSError: if it cannot be read.
    """
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException as exc:
        raise ConfigError(f"{path.name} is no Parquet file ({type(exc).__name__})") from exc
    for name in _NEEDED:
        if name not in schema.names:
            raise ConfigError(f"{path.name} has no column {name}; trades need {', '.join(_NEEDED)}")
    stamp = schema.field("ts_event").type
    if stamp not in (pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        raise ConfigError(f"{path.name}: ts_event must be int64 nanoseconds or timestamp[ns], not {stamp}")


def table_pieces(path: Path) -> Iterator[Piece]:
    """Yield the trades of a file as columns ``ts_event price volume side``.

    :raises ConfigError: for what cannot be made into these, or is missing.
    """
    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        columns = [*_NEEDED, *(["side"] if "side" in file.schema_arrow.names else [])]
        row = 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False):
            if batch.num_rows:
                yield _checked(batch, row, path.name)
            row += batch.num_rows


def _checked(batch: pa.RecordBatch, row: int, name: str) -> pa.RecordBatch:
    sides = [int(Side.UNKNOWN)] * batch.num_rows
    try:
        arrays: list[pa.Array[Any]] = [
            batch.column("ts_event").cast(pa.int64()),
            batch.column("price").cast(pa.float64()),
            batch.column("volume").cast(pa.int64()),
            batch.column("side").cast(pa.int64())
            if "side" in batch.schema.names
            else pa.array(sides, pa.int64()),
        ]
    except pa.ArrowException as exc:
        raise ConfigError(f"{name}: the rows from {row} on are no trades: {exc}") from exc
    if any(array.null_count for array in arrays):
        raise ConfigError(f"{name}: a value is missing in the rows from {row} on")
    known = {int(side) for side in Side}
    if not set(arrays[3].unique().to_pylist()) <= known:
        raise ConfigError(f"{name}: a side from row {row} on is not 0 (buy), 1 (sell) or -1 (unknown)")
    return pa.RecordBatch.from_arrays(arrays, names=[*_NEEDED, "side"])
