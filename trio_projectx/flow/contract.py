"""The way of one contract's data: from decoded records to the streams that are open for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import attrs
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import ConnectionLost
from trio_projectx.flow.bringers import Bringers
from trio_projectx.flow.contract_items import ContractStatistics, Task, Tasks, Valid, elsewhere, statistics_of
from trio_projectx.flow.depth import DepthFlow
from trio_projectx.flow.fills import Fills, NoFills
from trio_projectx.flow.gaps import Broken, Covered, GapWatch, differing
from trio_projectx.flow.inbox import Inbox
from trio_projectx.flow.ledger import TradeCounts
from trio_projectx.flow.loss import Loss
from trio_projectx.flow.marks import GapMark, Mark, WakeMark
from trio_projectx.flow.outlets import TradeOutlet
from trio_projectx.flow.quiet import EventClock
from trio_projectx.flow.quotes import QuoteFlow
from trio_projectx.flow.recent import RecentTrades
from trio_projectx.flow.rules import make_validator
from trio_projectx.flow.side import SideFlow
from trio_projectx.flow.subscriptions import Kind
from trio_projectx.flow.surroundings import Alone, Surroundings
from trio_projectx.flow.taps import Taps
from trio_projectx.flow.timings import Timings
from trio_projectx.market import PriceGrid, Refusal, Rejection, TradeBatch, WireQuote, WireTrade
from trio_projectx.market.wire import TRADE

_Item: TypeAlias = Valid | Task | Loss | Broken | Covered


class ContractPipeline:
    """One contract: its validator, its builders, its streams. It lives as long as the gateway.

    The validator task calls `judge`, `merge` and what tells of lines; the contract task runs `run`, and is the only
    one that touches builders. Outlets may be attached and detached at any time: a batch goes to those that were there
    when it was taken.
    """

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        limits: Limits,
        around: Surroundings | None = None,
        taps: Taps | None = None,
        fills: Fills | None = None,
        timings: Timings | None = None,
    ) -> None:
        self.contract_id = contract_id
        self.grid = grid
        self.counts = TradeCounts()
        self._around = around or Alone()
        self._taps = taps or Taps()
        self._fills = fills or NoFills()
        self._timings = timings or Timings(is_live=False)
        self._tasks = Tasks()
        self._is_covered = False
        self._validator = make_validator(contract_id, grid, limits, self._around.tell)
        self.quotes = QuoteFlow(contract_id, grid, limits, self._around, self._taps)
        self.depth = DepthFlow(contract_id, grid, limits, self._around, self._taps)
        self.sides: dict[Kind, SideFlow] = {Kind.QUOTES: self.quotes, Kind.DEPTH: self.depth}
        self.recent = RecentTrades(contract_id, grid, limits.recent_trades, limits.recent_trades_s)
        self._outlets: tuple[TradeOutlet, ...] = ()
        self.inbox = Inbox[_Item](f"{contract_id} batches", limits.batches_in_flight)
        self.clock: EventClock | None = None  # by its trades; None before the first
        self._gap = GapWatch(contract_id)
        self._gaps = 0
        self._lines = Bringers()
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

    @property
    def has_gap(self) -> bool:
        """Whether trades may be missing at this time."""
        return self._gap.is_open

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected trades, fields of quotes and rows of depth, of each the oldest first."""
        return (*self._validator.rejections, *self.quotes.rejections, *self.depth.rejections)

    @property
    def quarantined(self) -> tuple[Rejection, ...]:
        """The trades that are held now."""
        return self._validator.quarantined

    # -- the validator task: lines

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has brought what the others have brought."""
        return self._lines.has(line) and self._validator.is_level(line)

    def join(self, line: int, at_ns: int = 0, now: float = 0.0) -> None:
        """``line`` is about to ask for the trades; ``at_ns`` is what the exchange's clock shows, ``now`` trio's."""
        self._lines.join(line, at_ns, now)
        self._validator.join(line, math.inf)

    async def acknowledged(self, line: int, now: float, at_ns: int = 0) -> None:
        """The hub has acknowledged it."""
        if self._lines.has(line):
            self._lead(line)
            self._lines.begin(line, at_ns, now)
            self._validator.begin(line, at_ns)
            await self.inbox.post(Covered(now))

    def _lead(self, line: int) -> None:
        if not self._lines.bringing:
            # It may have been asked later than another, and have begun before it: that one joins it, not it that one.
            self._validator.lead(line, 0)

    def doubts(self, line: int, waited_s: float, most_s: float) -> bool | None:
        """Return whether those beside ``line`` may be dead, though it has shown nothing of that; None: wait longer."""
        if self._validator.is_holding(line):
            return False  # it has brought something: `settle` finds what is missing
        return self._lines.doubts(line, waited_s, most_s, partial(self._around.silent_s, self.contract_id))

    async def settle(self, line: int, broken: Broken, ts_recv: int, *, in_doubt: bool = False) -> None:
        """``line`` is to count as level. Where it alone brought something, the others are dead, or in doubt: a gap."""
        if not self._lines.has(line):
            return
        released = self._validator.settle(line, ts_recv)
        if (released is not None or in_doubt) and self._outlets:
            await self.lack(attrs.evolve(broken, at_ns=self._lines.joined_ns))
            await self.inbox.post(Covered(trio.current_time()))
        await self._pass_on(released, self._serial)

    async def leave(self, line: int, broken: Broken, ts_recv: int) -> None:
        """``line`` brings nothing more; if nobody else is known to bring the same, there is a gap."""
        if not self._lines.has(line):
            return
        is_missed = self._lines.brings(line)
        self._lines.leave(line)
        # A line that was only asked for the trades covers nothing, and where it goes nothing is missing.
        is_covered = any(self._validator.is_level(each) for each in self._lines.bringing)
        if is_missed and not is_covered and self._outlets:
            await self.lack(attrs.evolve(broken, at_ns=self._lines.joined_ns))
        if self._lines.is_empty:
            self._validator.expect_replay()
            if not self._outlets:
                await self.behind(self._left, trio.Event())
        if not is_covered and self._lines.bringing:
            await self.inbox.post(Covered(trio.current_time()))
            await self._pass_on(self._validator.lead(min(self._lines.bringing), ts_recv), self._serial)
        released = self._validator.leave(line, ts_recv)
        await self._tell_differing(trio.current_time())
        await self._pass_on(released, self._serial)
        if released is None:
            self.nudge()  # what it held back waits no longer

    async def lack(self, broken: Broken) -> None:
        """Trades are missing from here on, until the next one or until `Covered` says otherwise."""
        self._gaps += 1
        self._lines.missed()
        self._taps.show(lambda tap: tap.missing(self.contract_id))
        await self.inbox.post(broken)

    async def _tell_differing(self, now: float) -> None:
        if (found := self._validator.differing()) is not None and self._outlets:
            await self.lack(differing(*found, self._serial))
            await self.inbox.post(Covered(now))

    # -- the validator task: data

    async def judge(
        self, trades: list[WireTrade], ts_recv: int, serial: int = 0, line: int = 0, now: float | None = None
    ) -> None:
        """Validate, and pass on what is good; waits while the contract task is ``batches_in_flight`` behind."""
        now = trio.current_time() if now is None else now
        self._validator.now_ns = round(now * 1e9)
        if not self._lines.brings(line) and self._lines.has(line):
            self._lead(line)
        self._lines.heard(line, now)
        batch = self._validator.validate(trades, ts_recv, line)
        self._serial = serial
        await self._tell_differing(now)  # while they count as waiting still
        self.counts.waiting_raw -= len(trades)
        self.counts.rejected += len(trades) - elsewhere(self.counts, self._validator, batch)
        if batch is not None:
            self._around.stamped(self.contract_id, batch.ts_event[-1], ts_recv, now)
            self._lines.traded(now)
            await self._pass_on(batch, serial, now, counted=True)
        else:
            self.nudge()

    async def _pass_on(
        self, batch: TradeBatch | None, serial: int, read_at: float | None = None, *, counted: bool = False
    ) -> None:
        if not counted:  # what is rejected only now was in another count
            self.counts.rejected -= elsewhere(self.counts, self._validator, batch)
        if batch is not None:
            await self.pass_on(batch, serial, read_at)

    async def pass_on(self, batch: TradeBatch, serial: int, read_at: float | None = None) -> None:
        """Have bars and trades made of what is valid."""
        if self._taps.is_open:
            self._taps.show(lambda tap: tap.valid(batch, self.grid))
        self.counts.waiting_valid += len(batch)
        await self.inbox.post(Valid(batch, serial, *self._lines.ends(batch.ts_event), read_at))

    def refuse(self, refusal: Refusal, ts_recv: int) -> None:
        """Count trades, or fields of a quote, that the decoder could not even read."""
        if refusal.target != TRADE:
            self.quotes.refuse(refusal, ts_recv)  # one of depth names no contract
            return
        self._validator.refuse(refusal.reason, refusal.detail, ts_recv, refusal.count)
        self.counts.waiting_raw -= refusal.count
        self.counts.rejected += refusal.count
        self.nudge()

    async def merge(self, quote: WireQuote, ts_recv: int, line: int = 0, now: float = 0.0) -> None:
        """Merge a sparse quote and give the whole state to the quote streams."""
        merged = self.quotes.merge(quote, ts_recv, line, now)
        if merged is None:
            return
        released = self._validator.confirm(merged.bid, merged.ask, ts_recv, merged.ts_event)
        await self._pass_on(released, self._serial)
        await self.quotes.deliver(merged)

    # -- the end of streams

    async def lose(self, loss: Loss) -> None:
        """Tell the streams, behind everything that came before the loss."""
        if isinstance(loss.error, ConnectionLost):
            self._validator.expect_replay()
        await self.inbox.post(loss)

    def end(self) -> None:
        """End all streams: the gateway is closing."""
        beside = (each.feed for side in self.sides.values() for each in side.outlets)
        for each in (*self._outlets, *beside):
            each.end()

    # -- the contract task

    async def run(self) -> None:
        """The contract task: build bars, fill streams, and close the bars of a market that has gone quiet."""
        while True:
            await self._tasks.do(self._is_coming)
            item = await self._next()
            match item:
                case Valid():
                    await self._build(item)
                case Loss():
                    item.tell()
                case Task():
                    self._tasks.put(item)
                case Broken():
                    self._break(item)
                case Covered():
                    self._cover(item)
                case None:
                    await self._wake()

    async def _next(self) -> _Item | None:
        """Wait for the next item, or until something is due without one; sleeps, and asks no clock meanwhile."""
        try:
            return self.inbox.get_nowait()
        except trio.WouldBlock:
            pass
        with trio.move_on_at(self._wake_at()):
            return await self.inbox.get()
        return None

    async def behind(self, work: Callable[[], Awaitable[None]], done: trio.Event) -> None:
        """Have the contract task do something when nothing is on its way; ``done`` is set when it has."""
        await self.inbox.post(Task(work, done))

    def _wake_at(self) -> float:
        looks = min((outlet.looks_at for outlet in self._outlets), default=math.inf)
        if not self._around.has_clock:
            return looks
        closes = self._closes_at(self._quiet_clock())
        if closes <= trio.current_time() and self._around.proved_until(self.contract_id) < closes:
            # A bar is due by the clock, but its last trade may still be on the line: only a proof closes it.
            self._around.prove(closes)
            closes = math.inf
        return min(looks, closes, self._gap_ends_at)

    @property
    def _gap_ends_at(self) -> float:
        """When to end a gap without a trade: not while one is on its way, which ends it better."""
        return math.inf if self._is_coming() or not self._around.has_clock else self._gap.due_at

    def _is_coming(self) -> bool:
        return bool(self.counts.waiting_raw or self.counts.waiting_valid)

    async def _wake(self) -> None:
        if not self.inbox.is_empty:
            return  # what came in this very moment goes first: it may be that trades are missing
        if self._gap_ends_at <= (now := trio.current_time()):
            await self.end_gap(self.exchange_ns(now))
        await self.wake(self._quiet_clock(), min(now, self._around.proved_until(self.contract_id)), now)

    async def wake(self, clock: EventClock | None, until: float, now: float) -> None:
        """Close what is due ``until``, show what is to be shown ``now`` (trio's clock); in the contract task."""
        outlets = self._outlets
        if clock is not None and self._closes_at(clock) <= until:
            self.show(WakeMark(self.contract_id, clock.ts_event, clock.seen_at, until))
        for outlet in outlets:
            if outlet.closes_at(clock) <= until or outlet.looks_at <= now:
                await outlet.wake(clock, until)

    def show(self, mark: Mark) -> None:
        """Let recorders see what is done beside the data."""
        self._taps.show(lambda tap: tap.mark(mark, trio.current_time()))

    def exchange_ns(self, now: float) -> int:
        """Return the exchange's time by our clock or its trades, the later: a whole bar begins behind it."""
        return max(self._around.exchange_ns(), self.clock.ts_at(now) if self.clock else 0)

    def _closes_at(self, clock: EventClock | None) -> float:
        return min((outlet.closes_at(clock) for outlet in self._outlets), default=math.inf)

    def _quiet_clock(self) -> EventClock | None:
        """Return the event clock, unless trades are on their way, or missing: then it closes no bar."""
        is_busy = self._is_coming() or self.counts.unlevel or self._gap.is_open
        return None if is_busy else self.clock

    def nudge(self) -> None:
        """Let the contract task look again when what was on its way has come to nothing."""
        if not self.counts.waiting_raw:
            self.inbox.nudge()

    def _cover(self, covered: Covered) -> None:
        self._gap.covered(covered)
        if not self._is_covered and not self._gap.is_open:
            self._fills.covered(self.contract_id, self._around.exchange_ns())
        self._is_covered = True

    async def _left(self) -> None:
        self._is_covered = False
        self._fills.left(self.contract_id, self._gap.last_ts)
        await trio.lowlevel.checkpoint()

    def _break(self, broken: Broken) -> None:
        self._gap.begin(broken)
        self._fills.broken(self.contract_id, self._gap.start, broken.cause)
        for outlet in self._outlets:
            outlet.breaks(broken.serial)

    async def end_gap(self, ts_event: int) -> None:
        """End the gap, if there is one, though nothing has come; in the contract task."""
        if self._gap.is_open:
            self.show(GapMark(self.contract_id, ts_event))
        await self._end_gap(ts_event)

    async def _end_gap(self, ts_event: int) -> None:
        gap = self._gap.end(ts_event)
        if gap is not None:
            self._fills.gap(gap)
            for outlet in self._outlets:
                await outlet.tell_gap(gap)

    async def _build(self, item: Valid) -> None:
        n = len(item.batch)
        if self._gap.is_open and item.gap_end is not None:
            await self._end_gap(item.gap_end)
        youngest = max(item.batch.ts_event)
        self._gap.last_ts = item.batch.ts_event[-1]
        self.recent.add(item.batch)
        if self.clock is None or youngest > self.clock.ts_event:
            self.clock = EventClock(youngest, trio.current_time())
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
            await outlet.take(item.batch, item.serial, item.lacks_until)
        self._timings.built(item.read_at, item.batch.ts_recv - youngest)

    def statistics(self) -> ContractStatistics:
        """Return a snapshot of the counts."""
        merged, depth = self.quotes.merged, self.depth.counts
        return statistics_of(self.contract_id, self.counts, self._validator, merged, depth, self._gaps)
