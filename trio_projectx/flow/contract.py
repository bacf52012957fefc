"""The way of one contract's data: from decoded records to the streams that are open for it."""

from __future__ import annotations

import math

import attrs
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import ConnectionLost
from trio_projectx._events import Quote
from trio_projectx.flow.ledger import TradeCounts
from trio_projectx.flow.outlets import TradeOutlet
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.stream import Feed
from trio_projectx.market import (
    PriceGrid,
    QuoteMerger,
    Refusal,
    RejectedCounts,
    TradeBatch,
    Validator,
    WireQuote,
    WireTrade,
)
from trio_projectx.market.wire import TRADE


@attrs.frozen(slots=True)
class ContractStatistics:
    """Counts of one contract, in trades; ``rejected`` by reason."""

    contract_id: str
    received: int
    accepted: int
    rejected: RejectedCounts
    in_flight: int
    quotes: int
    rejection_bursts: int
    """Times at which a tenth of the trades or more were rejected; each is logged as it begins."""


@attrs.frozen(slots=True)
class Loss:
    """A lost connection, on its way to the streams of one contract that it fed."""

    error: ConnectionLost
    contract: ContractPipeline
    outlets: tuple[TradeOutlet, ...]
    quote_feeds: tuple[Feed[Quote], ...]
    told: trio.Event = attrs.Factory(trio.Event)

    def tell(self) -> None:
        """Break the streams; their tables stay as they were. Telling again changes nothing."""
        self.told.set()
        for outlet in self.outlets:
            self.contract.detach(outlet)
            outlet.fail(self.error)
        for feed in self.quote_feeds:
            self.contract.detach_quotes(feed)
            feed.fail(self.error)


@attrs.frozen(slots=True)
class _Valid:
    """A batch, and which read of the socket it came with."""

    batch: TradeBatch
    serial: int


class ContractPipeline:
    """One contract: its validator, its builders, its streams. It lives as long as the gateway.

    The validator task calls `judge` and `merge`; the contract task runs `run`, and is the only one that touches
    builders. Outlets may be attached and detached at any time: a batch goes to those that were there when it was
    taken.
    """

    def __init__(self, contract_id: str, grid: PriceGrid, limits: Limits) -> None:
        self.contract_id = contract_id
        self.grid = grid
        self.counts = TradeCounts()
        self._quotes_merged = 0
        self._validator = Validator(
            contract_id,
            grid,
            stamp_min_ns=limits.stamp_min_ns,
            stamp_max_ns=limits.stamp_max_ns,
            trade_size_max=limits.trade_size_max,
            rejections_kept=limits.rejections_kept,
            price_band=limits.price_band,
            band_confirm=limits.price_band_confirm,
            stamp_ahead_s=limits.stamp_ahead_s,
            stamp_confirm=limits.stamp_ahead_confirm,
            volume_times=limits.volume_times,
            volume_floor=limits.volume_band_floor,
        )
        self._quotes = QuoteMerger(
            contract_id, grid, stamp_min_ns=limits.stamp_min_ns, stamp_max_ns=limits.stamp_max_ns
        )
        self._outlets: tuple[TradeOutlet, ...] = ()
        self._quote_feeds: tuple[Feed[Quote], ...] = ()
        self._send, self._receive = trio.open_memory_channel[_Valid | Loss | None](limits.batches_in_flight)
        self._clock: EventClock | None = None  # None while no live hub feeds us
        self._serial = -1  # of the last read that was judged

    @property
    def outlets(self) -> tuple[TradeOutlet, ...]:
        """The outlets of the open streams of trades and bars."""
        return self._outlets

    def attach(self, outlet: TradeOutlet) -> None:
        """Give every batch from the next one on to ``outlet`` too."""
        self._outlets = (*self._outlets, outlet)

    def detach(self, outlet: TradeOutlet) -> None:
        """Give ``outlet`` nothing more."""
        self._outlets = tuple(each for each in self._outlets if each is not outlet)

    def attach_quotes(self, feed: Feed[Quote]) -> None:
        """Give every quote from the next one on to ``feed`` too."""
        self._quote_feeds = (*self._quote_feeds, feed)

    def detach_quotes(self, feed: Feed[Quote]) -> None:
        """Give ``feed`` nothing more; with the last one goes what is known of the quote.

        From then on updates are missed, and a sparse quote says only what changed: an old field is no fact any more.
        """
        self._quote_feeds = tuple(each for each in self._quote_feeds if each is not feed)
        if not self._quote_feeds:
            self._quotes.forget()

    async def judge(self, trades: list[WireTrade], ts_recv: int, serial: int = 0) -> None:
        """Validate, and pass on what is good; waits while the contract task is ``batches_in_flight`` behind."""
        self._validator.now_ns = round(trio.current_time() * 1e9)
        batch = self._validator.validate(trades, ts_recv)
        good = 0 if batch is None else len(batch)
        held = self._validator.held
        self._serial = serial
        self.counts.waiting_raw -= len(trades)
        self.counts.rejected += len(trades) - good - (held - self.counts.held)
        self.counts.held = held
        if batch is not None:
            self.counts.waiting_valid += good
            await self._post(_Valid(batch, serial))
        else:
            self._nudge()

    def refuse(self, refusal: Refusal, ts_recv: int) -> None:
        """Count trades, or fields of a quote, that the decoder could not even read."""
        if refusal.target != TRADE:
            self._quotes.refuse(refusal.reason, refusal.detail, ts_recv, refusal.count)
            return
        self._validator.refuse(refusal.reason, refusal.detail, ts_recv, refusal.count)
        self.counts.waiting_raw -= refusal.count
        self.counts.rejected += refusal.count
        self._nudge()

    async def merge(self, quote: WireQuote, ts_recv: int) -> None:
        """Merge a sparse quote and give the whole state to the quote streams."""
        merged = self._quotes.merge(quote, ts_recv)
        if merged is None:
            return
        self._quotes_merged += 1
        released = self._validator.confirm(merged.bid, merged.ask, ts_recv, merged.ts_event)
        if released is not None:
            self.counts.held -= len(released)
            self.counts.waiting_valid += len(released)
            await self._post(_Valid(released, self._serial))
        for feed in self._quote_feeds:
            await feed.deliver((merged,))

    def victims(self, error: ConnectionLost) -> Loss:
        """Return the loss of a connection, for the streams that are open now; later ones have another."""
        return Loss(error, self, self._outlets, self._quote_feeds)

    async def lose(self, loss: Loss) -> None:
        """Tell the streams, behind everything that came before the loss."""
        self._validator.expect_replay()
        await self._post(loss)

    async def run(self) -> None:
        """The contract task: build bars, fill streams, and close the bars of a market that has gone quiet."""
        while True:
            item = await self._next()
            if isinstance(item, _Valid):
                await self._build(item)
            elif isinstance(item, Loss):
                self._clock = None
                item.tell()
            else:
                await self._wake()

    async def _next(self) -> _Valid | Loss | None:
        """Wait for the next item, or until something is due without one; sleeps, and asks no clock meanwhile."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            pass
        with trio.move_on_at(self._wake_at()):
            return await self._receive.receive()
        return None

    def _wake_at(self) -> float:
        clock = self._quiet_clock()
        return min((outlet.wake_at(clock) for outlet in self._outlets), default=math.inf)

    async def _wake(self) -> None:
        clock, now = self._quiet_clock(), trio.current_time()
        for outlet in self._outlets:
            if outlet.wake_at(clock) <= now:
                await outlet.wake(clock)

    def _quiet_clock(self) -> EventClock | None:
        """Return the event clock, unless trades are on their way: they, not the clock, close bars then."""
        return None if self.counts.waiting_raw or self.counts.waiting_valid else self._clock

    def _nudge(self) -> None:
        """Let the contract task look again when what was on its way has come to nothing."""
        if not self.counts.waiting_raw and self._receive.statistics().tasks_waiting_receive:
            self._send.send_nowait(None)

    def end(self) -> None:
        """End all streams: the gateway is closing."""
        for outlet in self._outlets:
            outlet.end()
        for feed in self._quote_feeds:
            feed.end()

    def statistics(self) -> ContractStatistics:
        """Return a snapshot of the counts."""
        c = self.counts
        return ContractStatistics(
            contract_id=self.contract_id,
            received=c.received,
            accepted=self._validator.accepted,
            rejected=self._validator.rejected,
            in_flight=c.waiting_raw + c.held + c.waiting_valid,
            quotes=self._quotes_merged,
            rejection_bursts=self._validator.rejection_bursts,
        )

    async def _post(self, item: _Valid | Loss) -> None:
        try:
            self._send.send_nowait(item)  # a hop without waiting costs a twentieth of one with
        except trio.WouldBlock:
            await self._send.send(item)

    async def _build(self, item: _Valid) -> None:
        n = len(item.batch)
        youngest = max(item.batch.ts_event)
        if self._clock is None or youngest > self._clock.ts_event:
            self._clock = EventClock(youngest, trio.current_time())
        outlets = [outlet for outlet in self._outlets if item.serial > outlet.since]
        # In one step without a checkpoint, so that every trade is in exactly one place whenever somebody looks.
        self.counts.waiting_valid -= n
        self.counts.built += n
        for outlet in self._outlets:
            if item.serial > outlet.since:
                outlet.due += n
            else:
                outlet.before += n
        for outlet in outlets:
            await outlet.take(item.batch, item.serial)
