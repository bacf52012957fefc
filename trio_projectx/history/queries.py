"""Questions to what is on disk: the cache as a lazy `pyarrow.dataset`, and SQL over datasets, by duckdb.

duckdb comes with the extra ``query``. It sees what is handed to it and nothing else: no file, no network, no extension.
"""

# pyarrow's stubs do not describe datasets in full.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeAlias, cast

import attrs
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import trio

from trio_projectx._errors import ConfigError, TrioProjectXError
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx._validators import at_least_1
from trio_projectx.history.files import SCHEMA, is_of
from trio_projectx.history.store import BarStore, Shelf
from trio_projectx.market import ContractId

_log: Final = logging.getLogger("trio_projectx")
Value: TypeAlias = str | int | float | bool | None
Source: TypeAlias = ds.Dataset | pa.Table
#: Queries that run at once in one trio run; more wait.
_AT_ONCE: Final = 2
#: How long a cancelled query is waited for, and how often it is interrupted meanwhile.
_STOP_S: Final = 5.0
_AGAIN_S: Final = 0.05
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("trio_projectx queries")


class QueryError(TrioProjectXError):
    """duckdb cannot do what the SQL says, or a file of the data is damaged; the text says which, escaped and cut."""


def dataset(root: str | Path, contract: str | None = None, unit: str | None = None) -> ds.Dataset:
    """Return all bars of a cache folder (``HistoryOptions.cache``), lazily: filters and columns reach the files.

    Columns: ``start`` (int64 ns, UTC), ``open``, ``high``, ``low``, ``close``, ``volume``, and of the folder
    ``contract`` (a full id) and ``unit`` ("1m"): the service's bars as they came, not folded to a timeframe.
    ``contract`` and ``unit`` choose some of them. ``polars.scan_pyarrow_dataset(dataset(root))`` is a `LazyFrame`.

    It blocks, as it looks at each file: call it in a thread. A file of a later version is left out. One that is damaged
    shows when it is read (`pyarrow.ArrowInvalid`, OSError); `Gateway.history` finds, quarantines and replaces it.

    :raises ContractError: if ``contract`` is no contract id.
    """
    wanted = None if contract is None else str(ContractId.parse(contract))
    schema = SCHEMA.append(pa.field("contract", pa.string())).append(pa.field("unit", pa.string()))
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    format_ = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    filesystem = pafs.LocalFileSystem()
    fragments: list[ds.Fragment] = []
    for shelf in BarStore(Path(root), is_reader=True).shelves():
        if wanted in (None, shelf.contract_id) and unit in (None, shelf.unit):
            where = (ds.field("contract") == shelf.contract_id) & (ds.field("unit") == shelf.unit)
            fragments += [
                format_.make_fragment(str(path), filesystem, partition_expression=where)
                for path in _readable(shelf)
            ]
    return ds.FileSystemDataset(fragments, schema, format_, filesystem)


def _readable(shelf: Shelf) -> Iterator[Path]:
    for path in sorted(shelf.folder.glob("*.parquet")):
        try:
            marks = pq.read_schema(str(path)).metadata or {}
        except FileNotFoundError:  # another gateway has set it aside meanwhile
            continue
        except (pa.ArrowException, OSError):
            yield path  # it is to be an error when it is read, and not to be missing in silence
            continue
        if is_of(marks, live=shelf.ledger.live):
            yield path


@attrs.frozen(slots=True)
class QueryOptions:
    """How a query runs."""

    parameters: tuple[Value, ...] = ()
    """The values of ``?`` in the SQL: what comes from elsewhere belongs here, and not into the text."""
    memory_mb: int = attrs.field(default=1024, validator=at_least_1)
    """What it may use; beyond, it fails. Nothing is written to the disk."""
    threads: int = attrs.field(default=2, validator=at_least_1)


_DEFAULT: Final = QueryOptions()


async def query(sql: str, options: QueryOptions = _DEFAULT, /, **datasets: Source) -> pa.Table:
    """Return the rows of a SELECT over ``datasets``, each a table of its name; files are read while it runs.

    It runs in a thread, two at once at most. Cancelled, it is interrupted; it ends within milliseconds as a rule, and
    is waited for 5 s at most. Nothing outside of ``datasets`` can be read or written.

    :raises QueryError: for what duckdb cannot do, or a damaged file.
    :raises ConfigError: if duckdb is not there.
    """
    job = _Job(_duckdb(), sql, options, datasets, trio.lowlevel.current_trio_token())
    try:
        # Left behind when it is cancelled, and then waited for here: interrupted, and not for ever.
        return await trio.to_thread.run_sync(job.run, abandon_on_cancel=True, limiter=_places())
    except trio.Cancelled:
        with trio.move_on_after(_STOP_S, shield=True):
            await job.stop()
        if not job.has_ended:
            _log.warning(
                "a cancelled query has not ended in %g s; it is left to itself",
                _STOP_S,
                extra=fields("query_left"),
            )
        raise


def _places() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(trio.CapacityLimiter(_AT_ONCE))
        return _limiter.get()


class _Relation(Protocol):
    def to_arrow_table(self) -> pa.Table: ...


class _Connection(Protocol):
    def register(self, view_name: str, python_object: object) -> object: ...
    def execute(self, query: str) -> object: ...
    def sql(self, query: str, *, params: object = None) -> _Relation | None: ...
    def interrupt(self) -> None: ...


class _DuckDB(Protocol):
    Error: type[Exception]

    def connect(self, database: str, *, config: dict[str, str]) -> _Connection: ...


def _duckdb() -> _DuckDB:
    try:
        return cast("_DuckDB", importlib.import_module("duckdb"))
    except ImportError:
        raise ConfigError("queries need the package duckdb: pip install 'trio-projectx[query]'") from None


class _Job:
    """One query, and its thread."""

    def __init__(
        self,
        duckdb: _DuckDB,
        sql: str,
        options: QueryOptions,
        datasets: dict[str, Source],
        token: trio.lowlevel.TrioToken,
    ) -> None:
        self._duckdb = duckdb
        self._sql = sql
        self._options = options
        self._datasets = datasets
        self._token = token
        self._connection: _Connection | None = None
        self._has_begun = self._is_stopped = False
        self._ended = trio.Event()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set() or not self._has_begun

    def run(self) -> pa.Table:
        """In the thread."""
        self._has_begun = True
        try:
            return self._rows()
        except (self._duckdb.Error, pa.ArrowException, OSError) as exc:
            raise QueryError(escape(str(exc), 400)) from exc
        finally:
            self._tell(self._ended.set)

    async def stop(self) -> None:
        """Interrupt it until it has ended; an interrupt between two steps of duckdb's is lost."""
        self._is_stopped = True
        while not self.has_ended:
            self._interrupt()
            with trio.move_on_after(_AGAIN_S):
                await self._ended.wait()

    def _interrupt(self) -> None:
        # What is looked at here lives on for this call, also if the thread is done with it in this moment: a connection
        # is closed when nobody holds it any more, so that no lock is needed around that.
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def _rows(self) -> pa.Table:
        connection = self._duckdb.connect(":memory:", config=self._settings())
        try:
            for name, each in self._datasets.items():
                connection.register(name, each)
            connection.execute("SET lock_configuration = true")
            self._connection = connection
            if self._is_stopped:
                raise QueryError("the query was cancelled")
            found = connection.sql(self._sql, params=list(self._options.parameters) or None)
            if found is None:
                raise QueryError("a query is a SELECT, or something else that gives rows")
            return found.to_arrow_table()
        finally:
            self._connection = None
            del connection

    def _settings(self) -> dict[str, str]:
        return {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",  # or the names of Python's variables would be tables
            "temp_directory": "",
            "memory_limit": f"{self._options.memory_mb}MB",
            "threads": str(self._options.threads),
        }

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(what)
        except trio.RunFinishedError:
            pass  # nobody waits any more
