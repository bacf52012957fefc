"""The order book of one contract: judged, put together, and given to the streams that are open for it.

One line speaks at a time. The service begins each subscription with the whole book, so a line that joins makes a book
of its own meanwhile; when the one that speaks goes, a line that has its book takes over with a snapshot, and nothing
was missed. Where none has, there is a gap, and the next one begins with a snapshot too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import attrs

from trio_projectx._config import Limits
from trio_projectx._events import Book, BookLevel, Depth, DepthChange, DepthKind, Gap
from trio_projectx.flow.rules import make_judge
from trio_projectx.flow.side import Missing, SideOutlet
from trio_projectx.flow.stream import Feed, Pipe, Stream
from trio_projectx.flow.surroundings import Surroundings
from trio_projectx.flow.taps import Taps
from trio_projectx.market import DepthCounts, DepthUpdate, OrderBook, PriceGrid, Rejection
from trio_projectx.signalr import JsonValue

T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(slots=True)
class Seen:
    """The book behind one record of depth."""

    contract_id: str
    grid: PriceGrid
    book: OrderBook
    update: DepthUpdate
    is_doubtful: bool = False

    @property
    def ts_event(self) -> int:
        """The stamp of the record's last row."""
        return self.update.rows[-1].ts_event

    def change(self) -> Depth:
        """Return what the record says."""
        price = self.grid.price
        rows = tuple(
            DepthChange(row.kind, row.ts_event, None if row.ticks is None else price(row.ticks), row.size)
            for row in self.update.rows
        )
        return self._depth(rows, is_snapshot=False)

    def snapshot(self) -> Depth:
        """Return the whole book."""
        price, at = self.grid.price, self.ts_event
        sides = ((DepthKind.BID, self.book.bids()), (DepthKind.ASK, self.book.asks()))
        rows = [DepthChange(DepthKind.RESET, at, None, 0)]
        rows += [
            DepthChange(kind, at, price(ticks), size) for kind, levels in sides for ticks, size in levels
        ]
        return self._depth(tuple(rows), is_snapshot=True)

    def _depth(self, rows: tuple[DepthChange, ...], *, is_snapshot: bool) -> Depth:
        best = Book(self.contract_id, 0, 0, self._best(self.book.bids(1)), self._best(self.book.asks(1)))
        return Depth(
            self.contract_id,
            self.ts_event,
            self.update.ts_recv,
            rows,
            is_snapshot,
            best.top,
            self.is_doubtful,
        )

    def _best(self, levels: Iterable[tuple[int, int]]) -> tuple[BookLevel, ...]:
        price = self.grid.price
        return tuple(BookLevel(price(ticks), size) for ticks, size in levels)

    def top(self, levels: int) -> Book:
        """Return the best levels."""
        bids, asks = self._best(self.book.bids(levels)), self._best(self.book.asks(levels))
        return Book(self.contract_id, self.ts_event, self.update.ts_recv, bids, asks, self.is_doubtful)


class BookOutlet(SideOutlet, Protocol):
    """Takes what is seen of a book."""

    tell_gaps: bool

    async def take(self, seen: Seen, gap: Gap | None) -> None:
        """Give it to the stream, behind ``gap``; it waits only for a stream that asked the feed to (``BLOCK``)."""
        ...

    def begin(self, seen: Seen | None) -> None:
        """The subscription was acknowledged; the book is known already, or is not."""
        ...


@attrs.define(slots=True, eq=False)
class DepthOutlet:
    """The stream of one ``open_depth``: changes, and a snapshot wherever some are missing."""

    feed: Feed[Depth | Gap]
    tell_gaps: bool = False
    is_open: bool = False
    has_missed: bool = False
    needs_all: bool = True
    """Whether its next item has to be a snapshot."""
    _dropped: int = 0
    _has_holes: bool = False
    """Whether items were dropped since the last snapshot."""

    async def take(self, seen: Seen, gap: Gap | None) -> None:
        """Give it what has changed."""
        if not self.is_open:
            return
        buffer = self.feed.pipe.buffer
        self._has_holes |= buffer.dropped > self._dropped
        self._dropped = buffer.dropped
        # Where items are dropped all the time a snapshot would be the next one: it waits until there is room again.
        # For nothing else does it: no `Dropped` tells a reader that what comes meanwhile is of another book.
        has_room = buffer.waiting <= buffer.capacity // 2
        is_due = self.needs_all or gap is not None or (self._has_holes and has_room)
        if is_due:
            self.needs_all = self._has_holes = False
        item = seen.snapshot() if is_due else seen.change()
        await self.feed.deliver((item,) if gap is None else (gap, item))

    def begin(self, seen: Seen | None) -> None:
        """Begin with what is known."""
        self.is_open = True
        if seen is not None:
            self.needs_all = False
            self.feed.offer(seen.snapshot())


@attrs.define(slots=True, eq=False)
class TopOutlet:
    """The stream of one ``open_book``: the best levels behind every record."""

    feed: Feed[Book | Gap]
    levels: int
    tell_gaps: bool = False
    is_open: bool = False
    has_missed: bool = False
    newest: Book | None = None

    async def take(self, seen: Seen, gap: Gap | None) -> None:
        """Give it the best levels."""
        if self.is_open:
            self.newest = seen.top(self.levels)
            await self.feed.deliver((self.newest,) if gap is None else (gap, self.newest))

    def begin(self, seen: Seen | None) -> None:
        """Begin with what is known."""
        self.is_open = True
        if seen is not None:
            self.newest = seen.top(self.levels)
            self.feed.offer(self.newest)


class BookStream(Stream[T_co]):
    """The stream of an order book: its best levels, and `newest`, as they are without reading it."""

    def __init__(self, pipe: Pipe[T_co], outlet: TopOutlet) -> None:
        super().__init__(pipe)
        self._outlet = outlet

    @property
    def newest(self) -> Book | None:
        """The book behind the last record; None before the first, and while a `Gap` is open."""
        return None if self._outlet.has_missed else self._outlet.newest


@attrs.define(slots=True, eq=False)
class _Line:
    book: OrderBook = attrs.Factory(OrderBook)
    is_acknowledged: bool = False
    last: DepthUpdate | None = None
    """The last record that had a valid row."""
    is_doubtful: bool = False
    """Whether a row was rejected since the book was begun."""


class DepthFlow:
    """Called by the validator task alone."""

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        limits: Limits,
        around: Surroundings,
        taps: Taps | None = None,
    ) -> None:
        self._contract_id = contract_id
        self._grid = grid
        self._judge = make_judge(contract_id, grid, limits, around.tell)
        self._taps = taps or Taps()
        self._lines: dict[int, _Line] = {}
        self._speaker: int | None = None
        self._missing = Missing(contract_id)
        self.outlets: tuple[BookOutlet, ...] = ()
        self.strays = 0
        """Records on a line that nobody had asked for depth."""

    @property
    def counts(self) -> DepthCounts:
        """Rows of all lines: where there are two, each row counts twice."""
        return self._judge.counts

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected rows, oldest first."""
        return self._judge.rejections

    def attach(self, outlet: BookOutlet) -> None:
        """Give every record from the next one on to ``outlet`` too."""
        self.outlets = (*self.outlets, outlet)

    def drop(self, outlet: SideOutlet) -> None:
        """Give ``outlet`` nothing more. The book stays right for as long as its line brings it."""
        self.outlets = tuple(each for each in self.outlets if each is not outlet)
        if not self.outlets:
            self._missing.forget()

    def begin(self, outlet: BookOutlet) -> None:
        """The subscription of ``outlet`` was acknowledged; its stream begins with the book, if that is known."""
        line = None if self._speaker is None else self._lines[self._speaker]
        outlet.begin(None if line is None or line.last is None else self._seen(line, line.last))

    def _seen(self, line: _Line, update: DepthUpdate) -> Seen:
        return Seen(self._contract_id, self._grid, line.book, update, line.is_doubtful)

    # -- lines

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has its book."""
        return line in self._lines and self._lines[line].last is not None

    def join(self, line: int, at_ns: int = 0) -> None:
        """``line`` is about to ask for the depth; ``at_ns`` is what the exchange's clock shows."""
        if not self._lines:
            self._missing.joined_ns = at_ns
        self._lines.setdefault(line, _Line())

    def acknowledged(self, line: int) -> None:
        """The hub has acknowledged it."""
        if line in self._lines:
            self._lines[line].is_acknowledged = True
            self._speaker = line if self._speaker is None else self._speaker

    async def settle(self, line: int, ts_recv: int) -> None:
        """``line`` is to count as level. Where it alone has a book, it speaks; the other one was dead."""
        speaker = None if self._speaker is None else self._lines[self._speaker]
        if self.is_level(line) and speaker is not None and speaker.last is None:
            await self._hand_over(line, "a connection had fallen silent")

    async def leave(self, line: int, cause: str, at_ns: int) -> None:
        """``line`` brings nothing more; if nobody has the book, changes may be missing."""
        left = self._lines.pop(line, None)
        if left is None:
            return
        self._judge.forget(line)
        if line != self._speaker:
            return
        self._speaker = None
        successors = [number for number, each in self._lines.items() if each.last is not None]
        if successors:
            await self._hand_over(min(successors), None)
            return
        self._speaker = next((number for number, each in self._lines.items() if each.is_acknowledged), None)
        if left.is_acknowledged or left.last is not None:
            self._missing.begin(self.outlets, cause)

    async def _hand_over(self, line: int, cause: str | None) -> None:
        self._speaker = line
        if cause is not None:
            self._missing.begin(self.outlets, cause)
        entry = self._lines[line]
        for outlet in self.outlets:
            if isinstance(outlet, DepthOutlet):
                outlet.needs_all = True  # its changes were those of another line's book
        if entry.last is not None:
            await self._give(entry, entry.last)

    # -- data

    async def judge(self, data: JsonValue, ts_recv: int, line: int) -> None:
        """Judge the rows of one record, and give the book behind it to the streams."""
        entry = self._lines.get(line)
        if entry is None:
            self.strays += 1
            return
        update = self._judge.judge(data, ts_recv, line)
        entry.is_doubtful = update.refused > 0 or (entry.is_doubtful and not update.is_anew)
        if not update.rows:
            return
        for row in update.rows:
            entry.book.apply(row)
        entry.last = update
        if self._speaker is None:
            self._speaker = line
        if line == self._speaker:
            if self._taps.is_open:
                self._taps.show(lambda tap: tap.depth(self._contract_id, update, self._grid))
            await self._give(entry, update)

    async def _give(self, line: _Line, update: DepthUpdate) -> None:
        seen = self._seen(line, update)
        gap = self._missing.before(seen.ts_event)
        for outlet in self.outlets:
            missed, outlet.has_missed = outlet.has_missed, False
            is_told = gap is not None and missed and outlet.is_open
            if is_told and isinstance(outlet, DepthOutlet):
                outlet.needs_all = True
            await outlet.take(seen, gap if is_told and outlet.tell_gaps else None)
