"""Playing valid trades and merged quotes, of a journal or of a Parquet file: behind the validator, as they are."""

# pyarrow's stubs leave the values of columns open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, Protocol, TypeAlias, cast

import attrs
import trio

from trio_projectx._events import GatewayEvent, JournalDamaged, Quote
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.gaps import Broken
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import Damage
from trio_projectx.market import PriceGrid, Reason, Refusal, TradeBatch
from trio_projectx.market.wire import TRADE
from trio_projectx.replaying.ahead import Pace
from trio_projectx.replaying.files import Piece
from trio_projectx.replaying.stage import Times

_QUOTE: Final = tuple(SCHEMAS["quotes"].names)
_Play: TypeAlias = Callable[[], Awaitable[None]]
Row: TypeAlias = tuple[int, int, float, int, int]
"""Of trades: ts_event, ts_recv, price, volume, side."""


@attrs.frozen(slots=True)
class Item:
    """Something to be played, and when our wall clock said that it came."""

    ts_recv: int
    play: _Play


class Track(Protocol):
    """Makes items of the pieces of one source."""

    def items(self, piece: Piece) -> Iterator[Item]:
        """Yield what a piece holds."""
        ...

    def rest(self) -> Iterator[Item]:
        """Yield what is left at the end."""
        ...


@attrs.define(slots=True, eq=False)
class TradeTrack:
    """The trades of one contract; a batch is what one read gave then."""

    contract_id: str
    grid: PriceGrid
    market: MarketPipeline
    tell: Callable[[GatewayEvent], None]
    times: Times
    _rows: list[Row] = attrs.Factory(list[Row])
    _number: int | None = None
    _last: int | None = None

    def items(self, piece: Piece) -> Iterator[Item]:
        """Yield the batches that are whole."""
        if isinstance(piece, Damage):
            yield from self.rest()
            yield Item(0, partial(self._damaged, piece))
            return
        names = ("ts_event", "ts_recv", "price", "volume", "side")
        columns = [piece.column(name).to_pylist() for name in names]
        for number, *row in zip(piece.column("batch").to_pylist(), *columns, strict=True):
            if number != self._number:
                yield from self.rest()
                self._number = number
            self._rows.append(cast("Row", tuple(row)))

    def rest(self) -> Iterator[Item]:
        """Yield the batch that was begun."""
        rows, self._rows = self._rows, []
        if rows and self._number is not None:
            last, self._last = self._last, self._number
            cause = None
            if last is not None and self._number != last + 1:
                is_new = self._number <= last
                cause = "another recording begins" if is_new else "trades are missing in the record"
            yield Item(rows[0][1], partial(self._play, rows, cause))

    async def _play(self, rows: list[Row], cause: str | None) -> None:
        contract = self.market.known(self.contract_id)
        if contract is None:
            return
        if cause is not None:
            await _lack(contract, self.market, cause, rows[0][1])
        await give(self.market, contract, self.grid, rows, rows[0][1])

    async def _damaged(self, damage: Damage) -> None:
        """Tell it; that trades are missing shows in the numbers of batches, if any follow."""
        self.tell(JournalDamaged(damage.name, damage.reason, damage.rows_saved, self.times.ts_recv))
        await trio.lowlevel.checkpoint()


@attrs.define(slots=True, eq=False)
class QuoteTrack:
    """The merged quotes of one contract."""

    contract_id: str
    market: MarketPipeline
    tell: Callable[[GatewayEvent], None]
    times: Times

    def items(self, piece: Piece) -> Iterator[Item]:
        """Yield each quote."""
        if isinstance(piece, Damage):
            yield Item(0, partial(self._damaged, piece))
            return
        for row in zip(*(piece.column(name).to_pylist() for name in _QUOTE), strict=True):
            fields = dict(zip(_QUOTE, row, strict=True))
            quote = Quote(self.contract_id, **fields)
            yield Item(quote.ts_recv, partial(self._play, quote))

    def rest(self) -> Iterator[Item]:
        """Yield nothing."""
        yield from ()

    async def _play(self, quote: Quote) -> None:
        contract = self.market.known(self.contract_id)
        if contract is not None:
            contract.quotes.merged += 1
            await contract.quotes.deliver(quote)

    async def _damaged(self, damage: Damage) -> None:
        """Tell it."""
        self.tell(JournalDamaged(damage.name, damage.reason, damage.rows_saved, self.times.ts_recv))
        await trio.lowlevel.checkpoint()


@attrs.define(slots=True, eq=False)
class TableTrack:
    """A table of trades of one contract that nobody has recorded: it has stamps of the exchange alone.

    A batch ends where stamps go back, and at ``span_ns`` at most: so a replay gives the same bars at any speed.
    """

    contract_id: str
    grid: PriceGrid
    market: MarketPipeline
    span_ns: int | None

    def items(self, piece: Piece) -> Iterator[Item]:
        """Yield batches."""
        if isinstance(piece, Damage):
            return  # there is none: a file of the user's own raises what is wrong with it
        columns = [
            piece.column(name).to_pylist() for name in ("ts_event", "ts_event", "price", "volume", "side")
        ]
        stamps = cast("list[int]", columns[0])
        rows = cast("list[Row]", list(zip(*columns, strict=True)))
        first = 0
        for end in self._ends(stamps):
            yield Item(stamps[first], partial(self._play, rows[first:end]))
            first = end

    def _ends(self, stamps: list[int]) -> Iterator[int]:
        if self.span_ns is not None or stamps != sorted(stamps):
            first = before = stamps[0]
            for at, ts in enumerate(stamps):
                if ts < before or (self.span_ns is not None and ts - first >= self.span_ns):
                    yield at
                    first = ts
                before = ts
        if stamps:
            yield len(stamps)

    def rest(self) -> Iterator[Item]:
        """Yield nothing: no batch is longer than a piece."""
        yield from ()

    async def _play(self, rows: list[Row]) -> None:
        contract = self.market.known(self.contract_id)
        if contract is not None:
            await give(self.market, contract, self.grid, rows, rows[-1][0])


async def _lack(contract: ContractPipeline, market: MarketPipeline, cause: str, at_ns: int) -> None:
    await contract.lack(Broken(cause, market.serial, at_ns))


async def give(
    market: MarketPipeline,
    contract: ContractPipeline,
    grid: PriceGrid,
    rows: list[Row],
    ts_recv: int,
) -> None:
    """Give one batch to a contract; what no trade can be is rejected, counted."""
    market.serial += 1
    contract.counts.received += len(rows)
    ticks = [grid.ticks(price) for _, _, price, _, _ in rows]
    if min(t or 0 for t in ticks) < 1 or min(row[3] for row in rows) < 1:
        reasons = [_fault(t, row[3]) for row, t in zip(rows, ticks, strict=True)]
        _refuse(contract, reasons, ts_recv)
        ticks = [t for t, why in zip(ticks, reasons, strict=True) if why is None]
        rows = [row for row, why in zip(rows, reasons, strict=True) if why is None]
    if rows:
        stamps, _, _, volumes, sides = (list(column) for column in zip(*rows, strict=True))
        batch = TradeBatch(
            contract.contract_id,
            cast("list[int]", stamps),
            cast("list[int]", ticks),
            cast("list[int]", volumes),
            cast("list[int]", sides),
            ts_recv,
        )
        await contract.pass_on(batch, market.serial)


def _fault(ticks: int | None, volume: int) -> Reason | None:
    if ticks is None:
        return Reason.OFF_GRID
    if ticks < 1:
        return Reason.PRICE_NOT_POSITIVE
    return Reason.SIZE if volume < 1 else None


def _refuse(contract: ContractPipeline, reasons: list[Reason | None], ts_recv: int) -> None:
    for reason in set(reasons) - {None}:
        assert reason is not None
        n = reasons.count(reason)
        contract.counts.waiting_raw += n
        contract.refuse(Refusal(TRADE, contract.contract_id, reason, "in the record", n), ts_recv)


class TrackPlayer:
    """Plays several sources by the order of ``ts_recv``; within one, the order is that of its rows."""

    def __init__(self, pace: Pace, times: Times) -> None:
        self._pace = pace
        self._times = times

    async def play(self, sources: list[tuple[Track, trio.abc.ReceiveChannel[Piece]]]) -> None:
        """Play all of them."""
        readers = [_TrackReader(*source) for source in sources]
        heads = [(item, reader) for reader in readers if (item := await reader.next()) is not None]
        while heads:
            place = min(range(len(heads)), key=lambda at: heads[at][0].ts_recv)
            item, reader = heads[place]
            if item.ts_recv:
                await self._pace.until(item.ts_recv / 1e9)
                self._times.ts_recv = item.ts_recv
            await item.play()
            following = await reader.next()
            if following is None:
                del heads[place]
            else:
                heads[place] = (following, reader)


class _TrackReader:
    """The items of one source, one after the other."""

    def __init__(self, track: Track, pieces: trio.abc.ReceiveChannel[Piece]) -> None:
        self._track = track
        self._pieces = pieces
        self._items: Iterator[Item] = iter(())
        self._has_ended = False

    async def next(self) -> Item | None:
        while True:
            item = next(self._items, None)
            if item is not None or self._has_ended:
                return item
            try:
                self._items = self._track.items(await self._pieces.receive())
            except trio.EndOfChannel:
                self._has_ended = True
                self._items = self._track.rest()
