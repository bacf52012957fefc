"""What hangs on a contract's pipeline: one outlet for each open stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import attrs

from trio_projectx._errors import ProtocolError, TrioProjectXError
from trio_projectx._events import Bar, Side, Trade
from trio_projectx.bars import BarSet
from trio_projectx.flow.ledger import LedgerRow, TradeCounts
from trio_projectx.flow.stream import Feed
from trio_projectx.market import PriceGrid, TradeBatch

_SIDES = {int(side): side for side in Side}
#: Late trades in a row after which a stream's clock is taken for poisoned; a replay after a reconnect is shorter.
_ALL_LATE: Final = 200


class TradeOutlet(Protocol):
    """Takes the valid trades of one contract, batch by batch."""

    since: int
    """The serial of the last read that does not concern this outlet: what was read before it was attached."""
    joined: int | None
    """The serial of the read at whose time its subscription was acknowledged; None before that."""
    due: int
    """Trades of batches that were taken from the channel for this outlet and that it has not had yet."""
    before: int
    """Trades received for the contract that were not for this outlet."""

    async def take(self, batch: TradeBatch, serial: int) -> None:
        """Use ``batch`` of read ``serial``; it waits only for a stream that asked the feed to (``BLOCK``)."""
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
    since: int = -1
    joined: int | None = None
    due: int = 0
    builder_failed: int = 0
    """Trades of the batch that the builders refused (volumes beyond int64), and of all that came after it."""
    _steady: bool = False
    _broken: bool = False
    _late: int = 0
    _late_in_a_row: int = 0

    async def take(self, batch: TradeBatch, serial: int) -> None:
        """Build; a batch that cannot be built breaks this stream only, and is counted."""
        self.due -= len(batch)
        if self._broken:
            self.builder_failed += len(batch)
            return
        self._note_joining(serial)
        try:
            closed = self.bars.update(batch)
        except TrioProjectXError as exc:
            self._broken = True  # no bar is made of what comes without this batch
            self.builder_failed += len(batch)
            self.feed.fail(exc)
            return
        if closed:
            await self.feed.deliver(closed)
        self._watch_lateness(len(batch))

    def _note_joining(self, serial: int) -> None:
        """Up to the first batch after the acknowledgement, bars may have holes: they are ``partial``.

        What comes before it is left over from an earlier subscription; between the two the hub sent nothing.
        """
        if not self._steady:
            self.bars.rejoin()
            self._steady = self.joined is not None and serial > self.joined

    def _watch_lateness(self, trades: int) -> None:
        """Tell it when everything is late: a stamp in the future has closed all bars up to it, and no bar comes."""
        late = self.bars.late()
        self._late_in_a_row = self._late_in_a_row + trades if late - self._late == trades else 0
        self._late = late
        if self._late_in_a_row >= _ALL_LATE:
            self.feed.fail(
                ProtocolError(
                    f"the last {self._late_in_a_row} trades are older than bars that were closed: a trade before "
                    "them had a stamp in the future; open the stream again"
                )
            )

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
            )


@attrs.define(slots=True, eq=False)
class TradesOutlet:
    """The stream of one ``open_trades``."""

    grid: PriceGrid
    feed: Feed[Trade]
    before: int = 0
    since: int = -1
    joined: int | None = None
    due: int = 0

    async def take(self, batch: TradeBatch, serial: int) -> None:
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
