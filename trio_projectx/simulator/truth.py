"""The truth: every trade that was sent, in order and numbered, so that what arrived can be judged.

Simple for now: columns in memory, of bounded length. Spooling to disk comes with the full simulator.
"""

# pyarrow's stubs speak of numpy's types, and numpy is not installed; mypy checks these lines.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from array import array
from collections.abc import Sequence

import attrs
import pyarrow as pa

#: Trades kept; beyond it the older half goes (40 bytes each, so 400 MB at most). ``seq`` shows what is
#: missing.
TRUTH_LIMIT = 10_000_000

SCHEMA = pa.schema(
    [
        ("ts_event", pa.int64()),
        ("contract_id", pa.dictionary(pa.int32(), pa.string())),
        ("price", pa.float64()),
        ("volume", pa.int64()),
        ("side", pa.int8()),
        ("seq", pa.int64()),
    ]
)


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
    """Trades of all contracts in the order in which they were sent; ``seq`` counts them from 0."""

    limit: int = TRUTH_LIMIT
    dropped: int = 0
    _contracts: dict[str, int] = attrs.Factory(dict[str, int])
    _ts: array[int] = attrs.Factory(lambda: array("q"))
    _contract: array[int] = attrs.Factory(lambda: array("i"))
    _price: array[float] = attrs.Factory(lambda: array("d"))
    _volume: array[int] = attrs.Factory(lambda: array("q"))
    _side: array[int] = attrs.Factory(lambda: array("b"))

    def __len__(self) -> int:
        return len(self._ts)

    def append(self, contract_id: str, trades: TradeColumns) -> None:
        """Add ``trades``, which were sent just now."""
        number = self._contracts.setdefault(contract_id, len(self._contracts))
        self._ts.extend(trades.ts_event)
        self._contract.extend([number] * len(trades))
        self._price.extend(trades.price)
        self._volume.extend(trades.volume)
        self._side.extend(trades.side)
        if len(self._ts) > self.limit:
            self._forget(len(self._ts) // 2)

    def table(self) -> pa.Table:
        """Return a copy as an Arrow table with the columns of `SCHEMA`."""
        rows = len(self._ts)
        ids = pa.DictionaryArray.from_arrays(
            pa.array(self._contract.tolist(), pa.int32()), pa.array(list(self._contracts), pa.string())
        )
        columns = [
            pa.array(self._ts.tolist(), pa.int64()),
            ids,
            pa.array(self._price.tolist(), pa.float64()),
            pa.array(self._volume.tolist(), pa.int64()),
            pa.array(self._side.tolist(), pa.int8()),
            pa.array(range(self.dropped, self.dropped + rows), pa.int64()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)

    def _forget(self, count: int) -> None:
        for column in (self._ts, self._contract, self._price, self._volume, self._side):
            del column[:count]
        self.dropped += count
