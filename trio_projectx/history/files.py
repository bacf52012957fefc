"""One Parquet file of bars: its columns, its format, the time that it is for."""

# pyarrow's stubs leave the type parameters of columns open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from trio_projectx.history.candles import Candle
from trio_projectx.history.intervals import Interval
from trio_projectx.history.ledger import FORMAT, NewerFormat
from trio_projectx.history.units import Source

_FORMAT_KEY: Final = b"trio_projectx.bars"
_TIER_KEY: Final = b"trio_projectx.live"
_FIELDS: Final[dict[str, pa.DataType]] = {
    "start": pa.int64(),
    "open": pa.float64(),
    "high": pa.float64(),
    "low": pa.float64(),
    "close": pa.float64(),
    "volume": pa.int64(),
}
#: ``start`` is int64 ns, UTC; the rest as in `Candle`.
SCHEMA: Final = pa.schema(list(_FIELDS.items()))
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class DamagedBars(Exception):
    """A file that is not what was written into it; the text says how that has shown."""


def chunks(source: Source, start: int, end: int) -> Iterator[Interval]:
    """Yield the spans of the files that ``[start, end)`` touches: a month (UTC) each, of seconds a day."""
    if start >= end:
        return
    at = _EPOCH + datetime.timedelta(seconds=start // 1_000_000_000)
    at = at.replace(hour=0, minute=0, second=0)
    if source.unit != 1:
        at = at.replace(day=1)
    low = _ns(at)
    while low < end:
        following = at + datetime.timedelta(days=1 if source.unit == 1 else 32)
        at = following if source.unit == 1 else following.replace(day=1)
        yield low, _ns(at)
        low = _ns(at)


def file_name(source: Source, low: int) -> str:
    """Return the name of the file whose span begins at ``low``."""
    day = _EPOCH + datetime.timedelta(seconds=low // 1_000_000_000)
    return day.strftime("%Y-%m-%d" if source.unit == 1 else "%Y-%m") + ".parquet"


def encoded(bars: Sequence[Candle], *, live: bool) -> bytes:
    """Return the contents of a file of ``bars``, which are sorted."""
    arrays = [pa.array([getattr(bar, field.name) for bar in bars], field.type) for field in SCHEMA]
    marks = {_FORMAT_KEY: str(FORMAT).encode(), _TIER_KEY: str(live).lower().encode()}
    table = pa.Table.from_arrays(arrays, schema=SCHEMA.with_metadata(marks))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def is_of(marks: Mapping[bytes, bytes], *, live: bool) -> bool:
    """Whether a schema's metadata say that it is a file of ours, of a format that is known, and of the tier."""
    written = marks.get(_FORMAT_KEY, b"")
    is_known = written.isdigit() and int(written) <= FORMAT
    return is_known and marks.get(_TIER_KEY) == str(live).lower().encode()


def read_bars(path: Path, span: Interval, *, live: bool) -> list[Candle] | None:
    """Return the bars of a file, which is for ``span``; None if it is not there, or of the other tier.

    :raises NewerFormat: if a later version has written it.
    :raises DamagedBars: if it is not what was written into it.
    :raises OSError: if it cannot be read.
    """
    try:
        table, marks = _table(path)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # the disk's; what pyarrow makes of damaged bytes has no number
        raise DamagedBars(type(exc).__name__) from exc
    if not is_of(marks, live=live):
        return None
    if any(column.null_count for column in table.columns):
        raise DamagedBars("it holds nulls")
    columns = (table[name].to_pylist() for name in SCHEMA.names)
    bars = [Candle(*row) for row in zip(*columns, strict=True)]
    if any(a.start >= b.start for a, b in pairwise(bars)):
        raise DamagedBars("its bars are not in order")
    if bars and not (span[0] <= bars[0].start and bars[-1].start < span[1]):
        raise DamagedBars("it holds bars of another time")
    return bars


def _table(path: Path) -> tuple[pa.Table, dict[bytes, bytes]]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        marks = dict(file.schema_arrow.metadata or {})
        written = marks.get(_FORMAT_KEY, b"")
        if not written.isdigit():
            raise DamagedBars("it does not say which format it has")
        if int(written) > FORMAT:
            raise NewerFormat(path.name)
        if not file.schema_arrow.equals(SCHEMA):
            raise DamagedBars("it has other columns")
        return file.read(), marks


def _ns(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(seconds=1) * 1_000_000_000
