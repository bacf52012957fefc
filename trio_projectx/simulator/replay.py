"""Recorded trades as a market: a table is checked once, then sent exactly as it is.

Nothing is improved on the way: trades of size 0, equal stamps and stamps that go back are sent as they stand
in the table, with their own stamps to the nanosecond. What cannot be said on the wire at all (a price that is
not a number, a missing value) is refused when the table is opened, with the row.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import trio

from trio_projectx._errors import ConfigError
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.simulator.payloads import RecordWriter, number
from trio_projectx.simulator.truth import TradeColumns

#: The contract a tape plays as when none is named.
DEFAULT_CONTRACT: Final = "CON.F.US.GCE.Z25"
#: Rows of the longest tape; all of it is held in memory, 32 bytes a row.
ROWS_MAX: Final = 50_000_000
#: Trade objects in one record at most, and records' worth of trades handed over at a time.
PER_RECORD: Final = 64
CHUNK: Final = 8 * PER_RECORD
_STAMPS: Final = ("ts_event", "ts_ns")
_SIZES: Final = ("volume", "size")
_UNKNOWN_SIDE: Final = -1


@attrs.frozen(slots=True, eq=False)
class Tape:
    """The trades of one contract: columns ``ts`` (int64 ns), ``price``, ``volume``, ``side`` (-1 = unknown)."""

    contract_id: str
    ts: pa.Int64Array
    price: pa.DoubleArray
    volume: pa.Int64Array
    side: pa.Int8Array

    def __len__(self) -> int:
        return len(self.ts)

    def columns(self, start: int, stop: int) -> TradeColumns:
        """Return the trades from row ``start`` up to, without, ``stop``."""
        length = stop - start
        return TradeColumns(
            self.ts.slice(start, length).to_pylist(),
            self.price.slice(start, length).to_pylist(),
            self.volume.slice(start, length).to_pylist(),
            self.side.slice(start, length).to_pylist(),
        )


async def open_tape(source: str | os.PathLike[str] | pa.Table, contract_id: str | None) -> Tape:
    """Read ``source``, a Parquet file or a table, as the trades of ``contract_id``.

    Columns: ``ts_event`` or ``ts_ns`` (int64 ns, or a timestamp), ``price``, ``volume`` or ``size``, and
    ``side`` if known (0 buy, 1 sell, anything else or null unknown). The file is read in a thread.

    :raises ConfigError: if it cannot be read, has not these columns, or holds what cannot be sent.
    :raises ContractError: if ``contract_id`` is malformed.
    """
    contract = str(ContractId.parse(contract_id or DEFAULT_CONTRACT))
    table = source if isinstance(source, pa.Table) else await trio.to_thread.run_sync(_read, Path(source))
    return make_tape(table, contract)


def _read(path: Path) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        rows = file.metadata.num_rows
        if rows > ROWS_MAX:
            raise ConfigError(f"{path.name} has {rows} trades; a replay takes up to {ROWS_MAX}: cut it")
        names = [name for name in file.schema_arrow.names if name in (*_STAMPS, "price", *_SIZES, "side")]
        return file.read(columns=names)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {str(path)!r} to replay") from None
    except (OSError, pa.ArrowException) as exc:
        raise ConfigError(f"{str(path)!r} is not a Parquet file that can be read: {exc}") from exc


def make_tape(table: pa.Table, contract_id: str) -> Tape:
    """Check ``table`` and take its columns; see `open_tape`."""
    if not table.num_rows:
        raise ConfigError("there are no trades to replay: the table is empty")
    ts = _column(table, _STAMPS)
    if pa.types.is_timestamp(ts.type):
        ts = _cast(_cast(ts, pa.timestamp("ns", ts.type.tz), "ts"), pa.int64(), "ts")
    side = _sides(table)
    tape = Tape(
        contract_id,
        _whole(_cast(ts, pa.int64(), "ts")),
        _whole(_cast(_column(table, ("price",)), pa.float64(), "price")),
        _whole(_cast(_column(table, _SIZES), pa.int64(), "volume")),
        side,
    )
    finite = pc.is_finite(tape.price)
    if not pc.all(finite).as_py():
        row = pc.index(finite, False).as_py()
        raise ConfigError(f"the price in row {row} is not a finite number: it cannot be said in JSON")
    return tape


def _column(table: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray:
    for name in names:
        if name in table.column_names:
            column = table.column(name)
            if column.null_count:
                raise ConfigError(f"column {name} of the replay has {column.null_count} missing values")
            return column
    raise ConfigError(
        f"the replay has no column {' or '.join(names)}; it has {', '.join(table.column_names)}"
    )


def _cast(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise ConfigError(
            f"column {name} of the replay is {column.type} and does not fit {kind}: {exc}"
        ) from exc


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks)


def _sides(table: pa.Table) -> pa.Int8Array:
    if "side" not in table.column_names:
        return pa.array([_UNKNOWN_SIDE], pa.int8()).take(pa.array([0] * table.num_rows))
    side = _whole(_cast(table.column("side"), pa.int64(), "side"))
    known = pc.fill_null(pc.is_in(side, pa.array([0, 1], pa.int64())), False)
    return pc.if_else(known, side, _UNKNOWN_SIDE).cast(pa.int8())


class TapeWriter:
    """Writes rows of a tape as records of up to `PER_RECORD` trades."""

    def __init__(self, tape: Tape) -> None:
        contract = ContractId.parse(tape.contract_id)
        # Prices come from the table as they are; the grid is not asked.
        self._writer = RecordWriter(tape.contract_id, contract.symbol_id, PriceGrid(1, 1))

    def write(self, trades: TradeColumns) -> str:
        """Return ``trades`` as records, in order."""
        writer = self._writer
        stamp, trade = writer.stamps.exact, writer.trade
        rows = zip(trades.ts_event, trades.price, trades.volume, trades.side, strict=True)
        objects = [
            trade(stamp(ts), number(price), volume, None if side < 0 else side)
            for ts, price, volume, side in rows
        ]
        spans = range(0, len(objects), PER_RECORD)
        return "".join(writer.trades(objects[at : at + PER_RECORD]) for at in spans)
