"""A window of a contract's last trades: bounded by count and by age, kept by the batch."""

# pyarrow's stubs are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections import deque
from typing import Final

import pyarrow as pa

from trio_projectx.market import PriceGrid, TradeBatch

_INT: Final[pa.DataType] = pa.int64()
SCHEMA: Final = pa.schema(
    {
        "contract_id": pa.string(),
        "ts_event": _INT,
        "ts_recv": _INT,
        "price": pa.float64(),
        "volume": _INT,
        "side": pa.int8(),
    }
)
NO_TRADES: Final = SCHEMA.empty_table()


class RecentTrades:
    """The last ``count`` trades that are not older than ``seconds`` (event time, against the youngest of them).

    Batches are kept as they are: adding one costs the same however many trades it has. The batch in which the window
    begins is kept whole and cut where it is shown.
    """

    def __init__(self, contract_id: str, grid: PriceGrid, count: int, seconds: float) -> None:
        self._contract_id = contract_id
        self._grid = grid
        self._count = count
        self._age_ns = round(seconds * 1e9)
        self._batches: deque[tuple[TradeBatch, int]] = deque()  # each with the youngest stamp in it
        self._held = 0
        self._youngest = 0

    def __len__(self) -> int:
        """Trades that are held: those of the window, and the rest of its first batch."""
        return self._held

    def add(self, batch: TradeBatch) -> None:
        """Take in a batch."""
        youngest = max(batch.ts_event)  # not always the last: a trade may be late
        self._batches.append((batch, youngest))
        self._held += len(batch)
        self._youngest = max(self._youngest, youngest)
        self._let_go()

    def resize(self, count: int) -> None:
        """Hold ``count`` trades at most from now on."""
        self._count = count
        self._let_go()

    def _let_go(self) -> None:
        oldest = self._youngest - self._age_ns
        while self._batches:
            first, youngest = self._batches[0]
            if self._held - len(first) < self._count and youngest >= oldest:
                return
            self._held -= len(first)
            self._batches.popleft()

    def table(self, count: int | None = None, since: int | None = None) -> pa.Table:
        """Return the last ``count`` of them (None: all of the window) that are not older than ``since`` (int64 ns)."""
        oldest = max(self._youngest - self._age_ns, since or 0)
        most = self._count if count is None else min(count, self._count)
        price = self._grid.price
        rows = [
            (ts_event, batch.ts_recv, price(ticks), volume, side)
            for batch, _ in self._batches
            for ts_event, ticks, volume, side in zip(
                batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True
            )
            if ts_event >= oldest
        ]
        rows = rows[len(rows) - min(most, len(rows)) :]
        columns: list[pa.Array] = [  # type: ignore[type-arg]
            pa.array([self._contract_id] * len(rows), pa.string()),
            pa.array([row[0] for row in rows], pa.int64()),
            pa.array([row[1] for row in rows], pa.int64()),
            pa.array([row[2] for row in rows], pa.float64()),
            pa.array([row[3] for row in rows], pa.int64()),
            pa.array([row[4] for row in rows], pa.int8()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)
