"""The truth: every trade of the simulator's markets, in order and numbered, so that what arrived can be judged.

The truth of a contract begins with the first subscription to its trades (or the first order in it), and from
there on holds each trade that its market made, whether or not anybody was subscribed at the moment: what a
client missed stands in it as well as what it got. Which rows went to which connection is in `Deliveries`.
Faults do not touch it. Long truths are spooled to disk, so memory stays bounded.
"""

# pyarrow's stubs speak of numpy's types, and numpy is not installed; mypy checks these lines.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Sequence

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import trio

from trio_projectx._logs import fields
from trio_projectx.simulator.spool import Spool

_log = logging.getLogger("trio_projectx")

#: Trades held in memory before they go to disk (41 bytes each).
SPOOL_ROWS = 250_000
#: Trades held in memory when the disk does not take them; beyond it the older half goes, and ``seq`` shows
#: what is missing.
TRUTH_LIMIT = 10_000_000
#: Rows of one piece of `TruthLog.batches`.
PIECE_ROWS = 16_384
_CONTRACT = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("ts_event", pa.int64()),
        ("contract_id", _CONTRACT),
        ("price", pa.float64()),
        ("volume", pa.int64()),
        ("side", pa.int8()),
        ("seq", pa.int64()),
    ]
)
#: As it lies in memory and on disk: contracts by number.
_STORED = SCHEMA.set(1, pa.field("contract_id", pa.int32()))


@attrs.frozen(slots=True)
class TradeColumns:
    """Trades of one contract as columns of one length: ``ts_event`` int64 ns, ``side`` values of `Side`."""

    ts_event: Sequence[int]
    price: Sequence[float]
    volume: Sequence[int]
    side: Sequence[int]

    def __len__(self) -> int:
        return len(self.ts_event)


@attrs.define(slots=True, eq=False)
class TruthLog:
    """Trades of all contracts in the order in which they were made; ``seq`` counts them from 0.

    `run` is its task: it takes what is old to disk. Without it everything stays in memory, up to ``limit``.
    """

    limit: int = TRUTH_LIMIT
    spool_rows: int = SPOOL_ROWS
    next_seq: int = 0
    """The number of the trade to come."""
    dropped: int = 0
    """Trades forgotten: somebody had taken them (`forget`), or there were too many for memory and no disk."""
    spool: Spool = attrs.Factory(Spool)
    _contracts: dict[str, int] = attrs.Factory(dict[str, int])
    _ts: array[int] = attrs.Factory(lambda: array("q"))
    _contract: array[int] = attrs.Factory(lambda: array("i"))
    _price: array[float] = attrs.Factory(lambda: array("d"))
    _volume: array[int] = attrs.Factory(lambda: array("q"))
    _side: array[int] = attrs.Factory(lambda: array("b"))
    _first: int = 0
    _is_long: trio.Event = attrs.Factory(trio.Event)

    def __len__(self) -> int:
        return self.next_seq - self.dropped

    def append(self, contract_id: str, trades: TradeColumns) -> int:
        """Add ``trades``, which were made just now; return the number of the first."""
        first, count = self.next_seq, len(trades)
        number = self._contracts.setdefault(contract_id, len(self._contracts))
        self._ts.extend(trades.ts_event)
        self._contract.extend([number] * count)
        self._price.extend(trades.price)
        self._volume.extend(trades.volume)
        self._side.extend(trades.side)
        self.next_seq += count
        if len(self._ts) >= self.spool_rows:
            self._is_long.set()
        if len(self._ts) > self.limit:
            self._drop(len(self._ts) // 2)
        return first

    async def run(self) -> None:
        """Take what is old to disk, for ever; if the disk refuses, say so once and keep it in memory.

        On cancellation a write under way is finished first (some ten MB, in a thread).
        """
        try:
            while True:
                await self._is_long.wait()
                self._is_long = trio.Event()
                while len(self._ts) >= self.spool_rows:
                    first, batch = self._first, self._held(0, self.spool_rows)
                    await trio.to_thread.run_sync(self.spool.write, first, batch)
                    self._forget(max(0, first + batch.num_rows - self._first))
        except OSError as exc:
            _log.error(
                "the truth cannot be spooled and stays in memory: %s", exc, extra=fields("truth_not_spooled")
            )
        finally:
            self.spool.close()

    def table(self, contract_id: str | None = None, from_seq: int = 0) -> pa.Table:
        """Return the truth as an Arrow table with the columns of `SCHEMA`; what lies on disk is mapped, not read.

        Only the trades of ``contract_id`` if that is given, and only those numbered ``from_seq`` or higher.
        """
        return pa.Table.from_batches(list(self.batches(contract_id, from_seq, None)), schema=SCHEMA)

    def batches(
        self, contract_id: str | None = None, from_seq: int = 0, piece_rows: int | None = PIECE_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `table` that exist now, in pieces; the log may grow meanwhile."""
        names = pa.array(list(self._contracts), pa.string())
        number = None if contract_id is None else self._contracts.get(contract_id, -1)
        at, end = from_seq, self.next_seq
        while at < end and (piece := self._piece(at, end, piece_rows)) is not None:
            at = piece.column("seq")[-1].as_py() + 1
            if number is not None:
                piece = piece.filter(pc.equal(piece.column("contract_id"), pa.scalar(number, pa.int32())))
            if piece.num_rows:
                named = pa.DictionaryArray.from_arrays(piece.column("contract_id"), names)
                yield pa.RecordBatch.from_arrays(
                    [piece.column(0), named, *(piece.column(at) for at in range(2, 6))], schema=SCHEMA
                )

    def _piece(self, at: int, end: int, most: int | None) -> pa.RecordBatch | None:
        """Return rows from number ``at`` on (or from the next there is), as they are stored."""
        for chunk in self.spool.chunks:
            if at < chunk.stop:
                start = max(at, chunk.first)
                stop = min(chunk.stop, end, chunk.stop if most is None else start + most)
                return self.spool.read(chunk).slice(start - chunk.first, stop - start)
        start = max(at, self._first)
        stop = min(end, end if most is None else start + most)
        return self._held(start - self._first, stop - self._first) if start < stop else None

    def _held(self, start: int, stop: int) -> pa.RecordBatch:
        """Return a copy of rows ``start`` up to ``stop`` of those in memory."""
        seq = array("q", range(self._first + start, self._first + stop))
        columns: list[array[int] | array[float]] = [
            *(column[start:stop] for column in (self._ts, self._contract)),
            self._price[start:stop],
            *(column[start:stop] for column in (self._volume, self._side)),
            seq,
        ]
        arrays = [
            pa.Array.from_buffers(field.type, stop - start, [None, pa.py_buffer(column.tobytes())])
            for field, column in zip(_STORED, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=_STORED)

    def forget(self, before_seq: int) -> None:
        """Forget those in memory that are numbered below ``before_seq``: somebody has taken them."""
        count = min(len(self._ts), before_seq - self._first)
        if count > 0:
            self._drop(count)

    def _forget(self, count: int) -> None:
        for column in (self._ts, self._contract, self._price, self._volume, self._side):
            del column[:count]
        self._first += count

    def _drop(self, count: int) -> None:
        self._forget(count)
        self.dropped += count
