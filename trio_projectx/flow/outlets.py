"""What hangs on a contract's pipeline: one outlet for each open stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import attrs

from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import Bar, Side, Trade
from trio_projectx.bars import BarSet
from trio_projectx.flow.ledger import LedgerRow, TradeCounts
from trio_projectx.flow.stream import Feed
from trio_projectx.market import PriceGrid, TradeBatch

_SIDES = {int(side): side for side in Side}


class TradeOutlet(Protocol):
    """Takes the valid trades of one contract, batch by batch."""

    due: int
    """Trades of batches that were taken from the channel for this outlet and that it has not had yet."""

    async def take(self, batch: TradeBatch) -> None:
        """Use ``batch``; it waits only for a stream that asked the feed to wait (``BLOCK``)."""
        ...

    def fail(self, error: TrioProjectXError) -> None:
        """Tell the reader that no more will come."""
        ...

    def end(self) -> None:
        """Tell the reader that we closed."""
        ...

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return the ledger rows of this outlet."""
        ...


@attrs.define(slots=True, eq=False)
class BarOutlet:
    """The builders and the stream of one ``open_bars``."""

    bars: BarSet
    feed: Feed[Bar]
    before: int
    """Trades received for the contract that had passed its builders before this stream was opened."""
    due: int = 0
    builder_failed: int = 0
    """Trades of batches that the builders refused whole (volumes beyond int64)."""

    async def take(self, batch: TradeBatch) -> None:
        """Build; a batch that cannot be built breaks this stream only, and is counted."""
        self.due -= len(batch)
        try:
            closed = self.bars.update(batch)
        except TrioProjectXError as exc:
            self.builder_failed += len(batch)
            self.feed.fail(exc)
            return
        if closed:
            await self.feed.deliver(closed)

    def fail(self, error: TrioProjectXError) -> None:
        """Break the stream."""
        self.feed.fail(error)

    def end(self) -> None:
        """End the stream."""
        self.feed.end()

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return one row for each timeframe."""
        for timeframe in self.bars.timeframes:
            mine = self.bars.counts(timeframe)
            yield LedgerRow(
                contract_id=contract_id,
                timeframe=timeframe,
                received=counts.received,
                before=self.before,
                in_bars=mine.in_bars,
                forming=mine.forming,
                late=mine.late,
                rejected=counts.rejected,
                builder_failed=self.builder_failed,
                in_flight=counts.waiting_raw + counts.waiting_valid + self.due,
                outside=mine.outside,
            )


@attrs.define(slots=True, eq=False)
class TradesOutlet:
    """The stream of one ``open_trades``."""

    grid: PriceGrid
    feed: Feed[Trade]
    due: int = 0

    async def take(self, batch: TradeBatch) -> None:
        """Make a `Trade` of each row; objects are made here, and only if somebody wants them."""
        self.due -= len(batch)
        price = self.grid.price
        trades = [
            Trade(batch.contract_id, ts_event, batch.ts_recv, price(ticks), volume, _SIDES[side])
            for ts_event, ticks, volume, side in zip(
                batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True
            )
        ]
        await self.feed.deliver(trades)

    def fail(self, error: TrioProjectXError) -> None:
        """Break the stream."""
        self.feed.fail(error)

    def end(self) -> None:
        """End the stream."""
        self.feed.end()

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return nothing: trades are in no bar here."""
        return ()
