"""Recorded trades as a market: a table is checked once, then sent exactly as it is.

Nothing is improved on the way: trades of size 0, equal stamps and stamps that go back are sent as they stand
in the table, with their own stamps to the nanosecond. What cannot be said on the wire at all (a price that is
not a number, a missing value) is refused when the table is opened, with the row.
"""

# pyarrow's stubs speak of numpy's types, and numpy is not installed; mypy checks these lines.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio

from trio_projectx._errors import ConfigError
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.simulator.payloads import RecordWriter, number
from trio_projectx.simulator.truth import TradeColumns

#: The contract a tape plays as when none is named.
DEFAULT_CONTRACT: Final = "CON.F.US.GCE.Z25"
#: Rows of the longest tape; all of it is held in memory, 25 bytes a row.
ROWS_MAX: Final = 50_000_000
#: Trade objects in one record at most; and trades handed over at a time, about one frame of them.
PER_RECORD: Final = 64
CHUNK: Final = 6 * PER_RECORD
_STAMPS: Final = ("ts_event", "ts_ns")
_SIZES: Final = ("volume", "size")
_UNKNOWN_SIDE: Final = -1


@attrs.frozen(slots=True, eq=False)
class Tape:
    """The trades of one contract, as columns of one length; ``side`` -1 is unknown."""

    contract_id: str
    ts: array[int]
    price: array[float]
    volume: array[int]
    side: array[int]

    def __len__(self) -> int:
        return len(self.ts)

    def columns(self, start: int, stop: int) -> TradeColumns:
        """Return the trades from row ``start`` up to, without, ``stop``."""
        span = slice(start, stop)
        return TradeColumns(self.ts[span], self.price[span], self.volume[span], self.side[span])


async def open_tape(source: str | os.PathLike[str] | pa.Table, contract_id: str | None) -> Tape:
    """Read ``source``, a Parquet file or a table, as the trades of ``contract_id``.

    Columns: ``ts_event`` or ``ts_ns`` (int64 ns, or a timestamp), ``price``, ``volume`` or ``size``, and
    ``side`` if known (0 buy, 1 sell, anything else or null unknown). A file is read in a thread, which cannot
    be cancelled; a table is taken at once (tests in virtual time give one: a virtual clock jumps while a
    thread works).

    :raises ConfigError: if it cannot be read, has not these columns, or holds what cannot be sent.
    :raises ContractError: if ``contract_id`` is malformed.
    """
    contract = str(ContractId.parse(contract_id or DEFAULT_CONTRACT))
    if isinstance(source, pa.Table):
        return make_tape(source, contract)
    return await trio.to_thread.run_sync(_read, Path(source), contract)


def _read(path: Path, contract_id: str) -> Tape:
    shown = repr(str(path))
    try:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name in (*_STAMPS, "price", *_SIZES, "side")]
        rows = file.metadata.num_rows
        table = file.read(columns=names) if rows <= ROWS_MAX else None
    except FileNotFoundError:
        raise ConfigError(f"there is no file {shown} to replay") from None
    except (OSError, pa.ArrowException) as exc:
        raise ConfigError(f"{shown} is not a Parquet file that can be read: {exc}") from exc
    if table is None:
        raise ConfigError(f"{shown} has {rows} trades; a replay takes up to {ROWS_MAX}: cut it")
    return make_tape(table, contract_id)


def make_tape(table: pa.Table, contract_id: str) -> Tape:
    """Check ``table`` and take its columns; see `open_tape`."""
    if not table.num_rows:
        raise ConfigError("there are no trades to replay: the table is empty")
    price = array("d", _values(table, _named(table, ("price",)), pa.float64()))
    wrong = next((row for row, value in enumerate(price) if not math.isfinite(value)), None)
    if wrong is not None:
        raise ConfigError(f"the price in row {wrong} is not a finite number: it cannot be said in JSON")
    return Tape(
        contract_id,
        array("q", _values(table, _named(table, _STAMPS), pa.int64())),
        price,
        array("q", _values(table, _named(table, _SIZES), pa.int64())),
        array("b", _sides(table)),
    )


def _named(table: pa.Table, names: tuple[str, ...]) -> str:
    """Return the first of ``names`` that the table has as a column, without a missing value."""
    for name in names:
        if name in table.column_names:
            if missing := table.column(name).null_count:
                raise ConfigError(f"column {name} of the replay has {missing} missing values")
            return name
    raise ConfigError(
        f"the replay has no column {' or '.join(names)}; it has {', '.join(table.column_names)}"
    )


def _values(table: pa.Table, name: str, kind: pa.DataType) -> Iterator[int]:
    """Yield a column's values as ``kind``; a timestamp as int64 ns. Refused if that loses anything."""
    column = table.select([name])
    was = column.schema.field(name).type
    try:
        if pa.types.is_timestamp(was):
            column = column.cast(pa.schema([(name, pa.timestamp("ns", was.tz))]))
        for batch in column.cast(pa.schema([(name, kind)])).to_batches():
            yield from batch.to_pydict()[name]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise ConfigError(f"column {name} of the replay is {was} and does not fit {kind}: {exc}") from exc


def _sides(table: pa.Table) -> Iterator[int]:
    if "side" not in table.column_names:
        return repeat(_UNKNOWN_SIDE, table.num_rows)
    return (side if side in (0, 1) else _UNKNOWN_SIDE for side in _values(table, "side", pa.int64()))


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
