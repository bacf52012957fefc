"""What waits to be written: columns by place, bounded in rows and in characters, and counts of everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from trio_projectx._events import Quote
from trio_projectx.journal.layout import Kind, Place, date_of
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.writer import Rows, Value
from trio_projectx.market import PriceGrid, TradeBatch

_DAY_NS: Final = 86_400_000_000_000


@attrs.frozen(slots=True)
class JournalStatistics:
    """A snapshot. In rows ``offered == written + lost + waiting + in_hand``, at every instant."""

    offered: int
    written: int
    """Acknowledged: see `JournalOptions`."""
    lost: int
    """Not written, for want of room in the queue or because the disk failed; each loss is told too."""
    waiting: int
    in_hand: int
    """Given to the disk, which has not answered yet."""
    is_failed: bool


class Queue:
    """Rows by place, until `take` gives them to the disk."""

    def __init__(self, options: JournalOptions) -> None:
        self._options = options
        self._rows: dict[Place, Rows] = {}
        self._places: dict[tuple[Kind, str], tuple[int, Place]] = {}
        self._chars = 0
        self.waiting = 0
        self.offered = 0
        self.lost = 0
        self.overflowed = 0
        """Lost since the last `take_overflowed`."""

    def put(
        self, kind: Kind, contract: str, ts_recv: int, columns: Sequence[Iterable[Value]], rows: int
    ) -> bool:
        """Take ``rows`` rows, all of them or none; False if there is no room."""
        self.offered += rows
        if self.waiting + rows > self._options.queue_rows:
            self._overflow(rows)
            return False
        place = self._place(kind, contract, ts_recv)
        found = self._rows.get(place)
        if found is None:
            found = self._rows[place] = Rows(place, [[] for _ in columns])
        for mine, new in zip(found.columns, columns, strict=True):
            mine += new
        self.waiting += rows
        return True

    def put_text(self, contract: str, ts_recv: int, epoch: int, text: str) -> bool:
        """Take one frame; its characters count too."""
        if self._chars + len(text) > self._options.queue_chars:
            self.offered += 1
            self._overflow(1)
            return False
        taken = self.put("frames", contract, ts_recv, ((ts_recv,), (epoch,), (text,)), 1)
        self._chars += len(text) if taken else 0
        return taken

    def _overflow(self, rows: int) -> None:
        self.lost += rows
        self.overflowed += rows

    def _place(self, kind: Kind, contract: str, ts_recv: int) -> Place:
        day = ts_recv // _DAY_NS
        known = self._places.get((kind, contract))
        if known is None or known[0] != day:
            known = self._places[kind, contract] = day, Place(kind, contract, date_of(ts_recv))
        return known[1]

    def take(self) -> list[Rows]:
        """Take everything out."""
        rows, self._rows = list(self._rows.values()), {}
        self.waiting = self._chars = 0
        return rows

    def take_overflowed(self) -> int:
        """Return how many rows have found no room since this was asked."""
        overflowed, self.overflowed = self.overflowed, 0
        return overflowed

    def lose(self, rows: int) -> None:
        """Count rows that were offered and will not be written."""
        self.lost += rows


def trade_columns(batch: TradeBatch, grid: PriceGrid) -> tuple[Iterable[Value], ...]:
    """Return a batch as the columns of "trades"; prices are the exact decimals that were on the wire."""
    price = grid.price
    prices = [price(ticks) for ticks in batch.ticks]
    return batch.ts_event, [batch.ts_recv] * len(batch), prices, batch.volume, batch.side


def quote_columns(quote: Quote) -> tuple[Iterable[Value], ...]:
    """Return a quote as the columns of "quotes"."""
    q = quote
    return (
        (q.ts_event,),
        (q.ts_recv,),
        (q.bid,),
        (q.ask,),
        (q.last,),
        (q.open,),
        (q.high,),
        (q.low,),
        (q.change,),
        (q.change_percent,),
        (q.volume,),
    )
