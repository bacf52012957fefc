"""What waits to be written: columns by place, bounded in rows and in characters, and counts of everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._events import Quote
from trio_projectx.journal.layout import Kind, Place, date_of
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.writer import Rows, Value
from trio_projectx.market import DepthUpdate, PriceGrid, TradeBatch

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
        self.lost_frames = 0
        """Lost of the market hub's frames and marks, and not yet said so in the record."""

    def put(
        self, kind: Kind, contract: str, ts_recv: int, columns: Sequence[Iterable[Value]], rows: int
    ) -> bool:
        """Take ``rows`` rows, all of them or none; False if there is no room."""
        self.offered += rows
        if self.waiting + rows > self._options.queue_rows:
            self._overflow(rows, kind, contract)
            return False
        try:
            place = self._place(kind, contract, ts_recv)
        except ConfigError:  # a contract id that may not become a folder
            self._overflow(rows, kind, contract)
            return False
        found = self._rows.get(place)
        if found is None:
            found = self._rows[place] = Rows(place, [[] for _ in columns])
        for mine, new in zip(found.columns, columns, strict=True):
            mine += new
        self.waiting += rows
        return True

    def put_text(
        self, contract: str, ts_recv: int, epoch: int, now: float, what: Literal["frame", "mark"], text: str
    ) -> bool:
        """Take one frame, or mark; its characters count too."""
        if self._chars + len(text) > self._options.queue_chars:
            self.offered += 1
            self._overflow(1, "frames", contract)
            return False
        taken = self.put("frames", contract, ts_recv, ((ts_recv,), (epoch,), (now,), (what,), (text,)), 1)
        self._chars += len(text) if taken else 0
        return taken

    def _overflow(self, rows: int, kind: Kind, contract: str) -> None:
        self.lost += rows
        self.overflowed += rows
        self._note_lost(kind, contract, rows)

    def _note_lost(self, kind: Kind, contract: str, rows: int) -> None:
        if kind == "frames" and contract == "hub.market":
            self.lost_frames += rows

    def _place(self, kind: Kind, contract: str, ts_recv: int) -> Place:
        day = ts_recv // _DAY_NS
        known = self._places.get((kind, contract))
        # A date does not come again: what is in a folder came before what is in that of the next date.
        if known is None or known[0] < day:
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

    def lose(self, rows: int, records: Iterable[Rows] = ()) -> None:
        """Count rows that were offered and will not be written; ``records`` are those, where they are known."""
        self.lost += rows
        for each in records:
            self._note_lost(each.place.kind, each.place.contract, len(each))


def trade_columns(batch: TradeBatch, grid: PriceGrid, number: int) -> tuple[Iterable[Value], ...]:
    """Return a batch as the columns of "trades"; prices are the exact decimals that were on the wire."""
    price = grid.price
    prices = [price(ticks) for ticks in batch.ticks]
    n = len(batch)
    return batch.ts_event, [batch.ts_recv] * n, prices, batch.volume, batch.side, [number] * n


def depth_columns(update: DepthUpdate, grid: PriceGrid) -> tuple[Iterable[Value], ...]:
    """Return the rows of a record of depth as the columns of "depth"."""
    rows = update.rows
    return (
        [row.ts_event for row in rows],
        [update.ts_recv] * len(rows),
        [int(row.kind) for row in rows],
        [None if row.ticks is None else grid.price(row.ticks) for row in rows],
        [row.size for row in rows],
    )


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
