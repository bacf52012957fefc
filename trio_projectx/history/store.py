"""Bars of the service's on disk, with the ledger of what time they cover: what is there is not asked again.

One Parquet file for each contract, unit and month (seconds: day), rewritten whole beside itself and renamed; then the
ledger, in the same way. So the ledger never promises what is not there. A damaged file is moved to the quarantine and
its time taken out of the ledger: it is asked for again. Everything blocks.
"""

# pyarrow's stubs leave the type parameters of columns open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_projectx.history.candles import Candle
from trio_projectx.history.intervals import Interval, Intervals
from trio_projectx.history.units import Source
from trio_projectx.journal.disk import Disk
from trio_projectx.market import ContractId

_log: Final = logging.getLogger("trio_projectx")
_FORMAT: Final = b"1"
_FORMAT_KEY: Final = b"trio_projectx.bars"
_FIELDS: Final[dict[str, pa.DataType]] = {
    "start": pa.int64(),
    "open": pa.float64(),
    "high": pa.float64(),
    "low": pa.float64(),
    "close": pa.float64(),
    "volume": pa.int64(),
}
_SCHEMA: Final = pa.schema(list(_FIELDS.items()), metadata={_FORMAT_KEY: _FORMAT})
_LEDGER: Final = "coverage.json"
_LABEL: Final = re.compile("[0-9]{1,5}[smh]")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class _Ledger(msgspec.Struct):
    """What `coverage.json` holds."""

    format: int
    covered: list[tuple[int, int]]


@attrs.frozen(slots=True)
class BarStore:
    """All bars below ``root``. For one process at a time, and one call at a time."""

    root: Path
    disk: Disk = attrs.field(factory=Disk)

    def covered(self, contract_id: str, source: Source) -> Intervals:
        """Return the time that is known; nothing where the ledger is damaged."""
        path = self._folder(contract_id, source) / _LEDGER
        try:
            ledger = msgspec.json.decode(path.read_bytes(), type=_Ledger)
        except FileNotFoundError:
            return Intervals()
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._quarantine(path)
            return Intervals()
        return Intervals(ledger.covered if ledger.format == int(_FORMAT) else ())

    def load(self, contract_id: str, source: Source, start: int, end: int) -> list[Candle]:
        """Return the bars that open in ``[start, end)`` and are there, oldest first.

        Whether they are all that there were, `covered` says; ask it afterwards, for a damaged file changes it.
        """
        found: list[Candle] = []
        for low, high in _chunks(source, start, end):
            found += [bar for bar in self._read(contract_id, source, low, high) if start <= bar.start < end]
        return found

    def save(self, contract_id: str, source: Source, start: int, end: int, bars: Iterable[Candle]) -> None:
        """Put in all bars that open in ``[start, end)``; they take the place of what was known of it."""
        bars = sorted(bars, key=_start)
        for low, high in _chunks(source, start, end):
            new = [bar for bar in bars if max(low, start) <= bar.start < min(high, end)]
            old = self._read(contract_id, source, low, high)
            kept = [bar for bar in old if not start <= bar.start < end]
            self._write(contract_id, source, low, sorted([*kept, *new], key=_start))
        covered = self.covered(contract_id, source)
        covered.add(start, end)
        self._write_ledger(contract_id, source, covered)

    def _folder(self, contract_id: str, source: Source) -> Path:
        # Both are checked here, where they become a path: nothing else of a caller's does.
        contract = str(ContractId.parse(contract_id))
        assert _LABEL.fullmatch(source.label)
        return self.root / "bars" / f"contract={contract}" / f"unit={source.label}"

    def _path(self, contract_id: str, source: Source, low: int) -> Path:
        day = _EPOCH + datetime.timedelta(seconds=low // 1_000_000_000)
        name = day.strftime("%Y-%m-%d" if source.unit == 1 else "%Y-%m")
        return self._folder(contract_id, source) / f"{name}.parquet"

    def _read(self, contract_id: str, source: Source, low: int, high: int) -> list[Candle]:
        path = self._path(contract_id, source, low)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if (file.schema_arrow.metadata or {}).get(_FORMAT_KEY) != _FORMAT:
                    raise pa.ArrowInvalid("it does not say that it has our format")
                table = file.read().cast(_SCHEMA)
        except FileNotFoundError:
            if self.covered(contract_id, source).within(low, high):
                self._forget(contract_id, source, low, high)
            return []
        except (pa.ArrowException, OSError) as exc:
            _log.warning(
                "the cached bars of %s are damaged (%s); they are asked for again",
                path.name,
                type(exc).__name__,
            )
            self._quarantine(path)
            self._forget(contract_id, source, low, high)
            return []
        columns = (table[name].to_pylist() for name in _SCHEMA.names)
        return [Candle(*row) for row in zip(*columns, strict=True)]

    def _write(self, contract_id: str, source: Source, low: int, bars: list[Candle]) -> None:
        path = self._path(contract_id, source, low)
        rows = [attrs.astuple(bar) for bar in bars]
        columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, _SCHEMA, strict=True)]
        sink = pa.BufferOutputStream()
        table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        self._replace(path, sink.getvalue().to_pybytes())

    def _write_ledger(self, contract_id: str, source: Source, covered: Intervals) -> None:
        ledger = _Ledger(int(_FORMAT), list(covered))
        self._replace(self._folder(contract_id, source) / _LEDGER, msgspec.json.encode(ledger))

    def _forget(self, contract_id: str, source: Source, low: int, high: int) -> None:
        covered = self.covered(contract_id, source)
        covered.cut(low, high)
        self._write_ledger(contract_id, source, covered)

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        self.disk.make_folder(path.parent)
        self.disk.remove(temporary)
        fd = self.disk.create(temporary)
        try:
            written = 0
            while written < len(data):
                written += self.disk.write(fd, data[written:])
            self.disk.sync(fd)
        finally:
            self.disk.close(fd)
        self.disk.rename(temporary, path)
        self.disk.sync_folder(path.parent)

    def _quarantine(self, path: Path) -> None:
        folder = self.root / "quarantine"
        self.disk.make_folder(folder)
        self.disk.rename(path, folder / "__".join(path.relative_to(self.root).parts))


def _chunks(source: Source, start: int, end: int) -> Iterator[Interval]:
    """Yield the spans of the files that ``[start, end)`` touches."""
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


def _ns(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(seconds=1) * 1_000_000_000


def _start(bar: Candle) -> int:
    return bar.start
