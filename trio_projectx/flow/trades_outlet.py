"""The outlet of a stream of trades; those of bars are in `outlets`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import attrs

from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import Gap, Side, Trade
from trio_projectx.flow.ledger import LedgerRow, TradeCounts
from trio_projectx.flow.outlets import was_there
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.stream import Feed
from trio_projectx.market import PriceGrid, TradeBatch

_SIDES: Final = {int(side): side for side in Side}


@attrs.define(slots=True, eq=False)
class TradesOutlet:
    """The stream of one ``open_trades``."""

    grid: PriceGrid
    feed: Feed[Trade | Gap]
    before: int = 0
    since: int = -1
    joined: int | None = None
    due: int = 0
    tell_events: bool = False
    _missing_after: int | None = None
    _has_had: bool = False

    async def take(self, batch: TradeBatch, serial: int, lacks_until: int | None = None) -> None:
        """Make a `Trade` of each row; objects are made here, and only if somebody wants them."""
        self.due -= len(batch)
        self._has_had = True
        price = self.grid.price
        trades = [
            Trade(batch.contract_id, ts_event, batch.ts_recv, price(ticks), volume, _SIDES[side])
            for ts_event, ticks, volume, side in zip(
                batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True
            )
        ]
        await self.feed.deliver(trades)

    @property
    def looks_at(self) -> float:
        """Inf: nothing is due without a trade."""
        return math.inf

    def closes_at(self, clock: EventClock | None) -> float:
        """Return inf."""
        return math.inf

    async def wake(self, clock: EventClock | None, until: float) -> None:
        """Do nothing."""

    def breaks(self, serial: int) -> None:
        """Remember that it was there; the gap is told when its end is known."""
        self._missing_after = serial

    async def tell_gap(self, gap: Gap) -> None:
        """Put it into the stream, if its reader wants to be told."""
        since, self._missing_after = self._missing_after, None
        # Behind trades that came before the acknowledgement there is a hole, too.
        if self.tell_events and (was_there(self.joined, since) or (self._has_had and since is not None)):
            await self.feed.deliver((gap,))

    def fail(self, error: TrioProjectXError) -> None:
        """Break the stream."""
        self.feed.fail(error)

    def end(self) -> None:
        """End the stream."""
        self.feed.end()

    def rows(self, contract_id: str, counts: TradeCounts) -> Iterable[LedgerRow]:
        """Return nothing: trades are in no bar here."""
        return ()
