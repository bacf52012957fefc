"""From decoded records to contracts: the channel behind the hub's reader, and the validator task that empties it."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Final

import attrs
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import ConnectionLost, SubscriptionError
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.fills import Fills
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.loss import Loss, loss_of
from trio_projectx.flow.marks import LineMark, LossMark
from trio_projectx.flow.notices import Notice, Order, What
from trio_projectx.flow.pipeline_items import PipelineCounts
from trio_projectx.flow.pipeline_items import PipelineStatistics as PipelineStatistics
from trio_projectx.flow.room import Room
from trio_projectx.flow.sampler import Totals
from trio_projectx.flow.subscriptions import Subscription
from trio_projectx.flow.surroundings import Alone, Surroundings
from trio_projectx.flow.taps import Taps
from trio_projectx.flow.timings import Timings
from trio_projectx.market import (
    ContractId,
    Decoded,
    Decoder,
    PriceGrid,
    Refusal,
    WireQuote,
    WireTrade,
    find_product,
    join_decoded,
)
from trio_projectx.market.wire import DEPTH, TRADE
from trio_projectx.signalr import JsonValue

#: How long streams wait for what was read before a loss, before they are told of it without that.
_TELL_S: Final = 1.0

_log = logging.getLogger("trio_projectx")


@attrs.frozen(slots=True)
class _Read:
    """What one read of the socket gave and when, already routed: the reader alone decides what belongs where."""

    trades: list[tuple[ContractPipeline, list[WireTrade]]]
    quotes: list[tuple[ContractPipeline, WireQuote]]
    depth: list[tuple[ContractPipeline, JsonValue]]
    refusals: list[tuple[ContractPipeline, Refusal]]
    ts_recv: int
    serial: int
    line: int
    now: float


@attrs.frozen(slots=True)
class _Lost:
    losses: list[Loss]


class MarketPipeline:
    """All contracts of one gateway. Tasks: one validator, and one for each contract that was ever asked for."""

    def __init__(
        self,
        limits: Limits,
        tasks: BackgroundTasks,
        around: Surroundings | None = None,
        taps: Taps | None = None,
        fills: Fills | None = None,
        room: Room | None = None,
    ) -> None:
        self._fills = fills
        self._limits = limits
        self._tasks = tasks
        self._around = around or Alone()
        self._taps = taps or Taps()
        self._declared: dict[tuple[int, Subscription], tuple[LineMark, ...]] = {}
        self._decoder = Decoder()
        self._notices: deque[Order] = deque()
        self._judged = 0  # the serial of the last read that the validator is through with
        self._contracts: dict[str, ContractPipeline] = {}
        self._counts = PipelineCounts()
        self.timings = Timings(is_live=self._around.has_clock)
        self.serial = 0
        """How many reads of the socket had market data in them."""
        # Without a limit of its own: a reader that is cancelled while it waits for room has lost nothing, and what
        # was read is judged in its order, before what became of lines after it.
        self._send, self._receive = trio.open_memory_channel[_Read | _Lost | None](math.inf)
        self.room = room or Room("market", limits.batches_in_flight)
        tasks.start_soon(self._validate, name="validator")

    def contract(self, contract_id: str, grid: PriceGrid) -> ContractPipeline:
        """Return the pipeline of a contract; the first call starts its task.

        :raises trio.ClosedResourceError: if the gateway was closed.
        """
        known = self._contracts.get(contract_id)
        if known is None:
            known = ContractPipeline(
                contract_id, grid, self._limits, self._around, self._taps, self._fills, self.timings
            )
            self._taps.show(lambda tap: tap.instrument(contract_id, grid))
            self._tasks.start_soon(known.run, name=f"contract {contract_id}")
            self._contracts[contract_id] = known
        return known

    def known(self, contract: str) -> ContractPipeline | None:
        """Return the pipeline of a contract that was asked for, by its id or by its product's code or ticker.

        :raises ContractError: for a product that nobody knows.
        """
        found = self._contracts.get(contract)
        if found is not None or "." in contract:
            return found
        wanted = find_product(contract).code
        alike = [each for key, each in self._contracts.items() if ContractId.parse(key).product == wanted]
        return alike[-1] if alike else None

    # -- what comes: the hub's readers call these

    def bulk(self, text: str) -> Decoded | None:
        """Decode whole records in one pass, or give up on anything unexpected."""
        return self._decoder.bulk(text)

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> Decoded:
        """Decode one call of the hub's."""
        return self._decoder.invocation(target, arguments)

    def combined(self, found: list[Decoded]) -> Decoded:
        """Put what came together into one."""
        return join_decoded(found)

    async def deliver(self, found: Decoded, ts_recv: int, line: int = 0, now: float | None = None) -> None:
        """Take what a reader decoded; waits while the validator is ``batches_in_flight`` reads behind.

        ``now`` is trio's clock at the read; None is now.

        Cancelling the wait loses nothing.
        """
        self._count(found)
        if not (found.trades or found.quotes or found.refusals or found.depth):
            return
        self.room.put()
        self._send.send_nowait(self._route(found, ts_recv, line, trio.current_time() if now is None else now))
        if self.room.is_full:
            await self.room.wait()

    # -- what becomes of lines: noted here, and acted on by the validator behind the reads that came before

    def join(self, line: int, wanted: Subscription) -> None:
        """``line`` is about to ask for ``wanted``."""
        self._note(What.JOIN, line, wanted)

    def acknowledged(self, line: int, wanted: Subscription, position: int | None = None) -> None:
        """The hub has acknowledged it, behind ``position`` reads; None: behind those there have been."""
        ahead = 0 if position is None else position - self.serial
        self._note(What.ACKNOWLEDGED, line, wanted, ahead=ahead)

    def leave(self, line: int, wanted: Subscription, cause: str) -> None:
        """``line`` brings it no more."""
        self._note(What.LEAVE, line, wanted, cause)

    def settle(self, line: int, wanted: Subscription, doubt: str = "") -> None:
        """``line`` is to count as level; ``doubt`` is why trades may be missing all the same."""
        self._note(What.SETTLE, line, wanted, doubt)

    def doubts(self, line: int, wanted: Subscription, waited_s: float, most_s: float) -> bool | None:
        """Return whether those beside ``line``, which has brought nothing, may be dead; None: wait longer."""
        contract = self._contracts.get(wanted.contract_id)
        if contract is None or wanted.kind in contract.sides:
            return False  # what was missing of quotes and depth is over with the next of them
        return contract.doubts(line, waited_s, most_s)

    def is_level(self, line: int, wanted: Subscription) -> bool:
        """Whether ``line`` brings what the others have brought."""
        contract = self._contracts.get(wanted.contract_id)
        if contract is None:
            return True
        return contract.sides.get(wanted.kind, contract).is_level(line)

    def _note(self, what: What, line: int, wanted: Subscription, cause: str = "", ahead: int = 0) -> None:
        contract = self._contracts.get(wanted.contract_id)
        if contract is None:
            return
        now = trio.current_time()
        mark = LineMark(
            what.value, line, wanted.kind.value, wanted.contract_id, cause, contract.exchange_ns(now), ahead
        )
        self._declare(what, (line, wanted), mark)
        self._taps.show(lambda tap: tap.mark(mark, now))
        self.act(Notice(what, line, contract, wanted.kind, cause, self.serial, mark.at_ns, now))

    def _declare(self, what: What, key: tuple[int, Subscription], mark: LineMark) -> None:
        if what is What.JOIN:
            self._declared[key] = (mark,)
        elif what is What.ACKNOWLEDGED:
            self._declared[key] = (*self._declared.get(key, ())[:1], mark)
        elif what is What.LEAVE:
            self._declared.pop(key, None)

    @property
    def declared(self) -> tuple[LineMark, ...]:
        """What lines have been asked for and are not left, with its acknowledgements, each as a mark of then."""
        return tuple(mark for marks in self._declared.values() for mark in marks)

    @property
    def contracts(self) -> tuple[ContractPipeline, ...]:
        """The pipelines of all contracts that were asked for."""
        return tuple(self._contracts.values())

    def act(self, order: Order) -> None:
        """Have the validator act on ``order`` behind the reads before it; orders come in their order."""
        self._notices.append(order)
        self._send.send_nowait(None)

    def proved(self) -> None:
        """Something was proved; quiet bars may close now."""
        for contract in self._contracts.values():
            contract.nudge()

    # -- the end of streams

    def refuse(self, wanted: Subscription, error: SubscriptionError) -> None:
        """Break the streams that need ``wanted``; the hub refuses it."""
        contract = self._contracts.get(wanted.contract_id)
        if contract is not None:
            loss_of(contract, error, wanted.kind).tell()

    def lose(self, error: ConnectionLost) -> Awaitable[None]:
        """Break the streams that are open now with ``error``, behind everything that was read before it.

        Where that is held back by a stream that the feed has to wait for, they are told without it after a second.
        """
        mark, now = LossMark(str(error)), trio.current_time()
        self._taps.show(lambda tap: tap.mark(mark, now))
        contracts = self._contracts.values()
        return self._lose(_Lost([loss_of(each, error) for each in contracts]))

    async def _lose(self, lost: _Lost) -> None:
        with trio.move_on_after(_TELL_S):
            await self._send.send(lost)
            for loss in lost.losses:
                await loss.told.wait()
        for loss in lost.losses:
            loss.tell()

    def end(self) -> None:
        """End all streams: the gateway is closing."""
        for contract in self._contracts.values():
            contract.end()

    def totals(self, received_bytes: int) -> Totals:
        """Return what has come since the beginning."""
        contracts = self._contracts.values()
        return Totals(
            self._counts.records,
            sum([c.counts.received for c in contracts]) + self._counts.unrouted_trades,
            sum([c.quotes.merged for c in contracts]),
            self.timings.bars,
            received_bytes,
        )

    def ledger(self) -> Ledger:
        """Return where every trade is now."""
        contracts = self._contracts.values()
        rows = [
            row for c in contracts for outlet in c.outlets for row in outlet.rows(c.contract_id, c.counts)
        ]
        return Ledger(tuple(rows), tuple([c.counts.row(c.contract_id) for c in contracts]))

    def statistics(self) -> PipelineStatistics:
        """Return a snapshot of all counts."""
        contracts = self._contracts.values()
        return PipelineStatistics(
            tuple([contract.statistics() for contract in contracts]),
            self.ledger(),
            **attrs.asdict(self._counts),
            held_back=self.room.held_back,
            buffers=(self.room.statistics(), *(contract.inbox.statistics() for contract in contracts)),
        )

    def _count(self, decoded: Decoded) -> None:
        counts = self._counts
        counts.records += decoded.records
        counts.null_entries += decoded.null_entries
        counts.depths += len(decoded.depth)
        counts.user_events += decoded.user_events
        counts.logouts += decoded.logouts
        counts.unknown_targets += decoded.unknown_targets

    def _route(self, decoded: Decoded, ts_recv: int, line: int, now: float) -> _Read:
        self.serial += 1
        read = _Read([], [], [], [], ts_recv, self.serial, line, now)
        for contract_id, trades in decoded.trades.items():
            contract = self._received(contract_id, len(trades))
            if contract is not None:
                read.trades.append((contract, trades))
                self._around.heard(contract_id, now)
        for refusal in decoded.refusals:
            contract = self._refused(refusal)
            if contract is not None:
                read.refusals.append((contract, refusal))
        for contract_id, quote in decoded.quotes:
            contract = self._contracts.get(contract_id)
            if contract is None:
                self._counts.unrouted_quotes += 1
            else:
                read.quotes.append((contract, quote))
                self._around.heard(contract_id, now)
        for contract_id, rows in decoded.depth:
            contract = self._contracts.get(contract_id)
            if contract is None:
                self._counts.unrouted_depths += 1
            else:
                read.depth.append((contract, rows))
                self._around.heard(contract_id, now)
        return read

    def _received(self, contract_id: str | None, n: int) -> ContractPipeline | None:
        contract = None if contract_id is None else self._contracts.get(contract_id)
        if contract is None:
            self._counts.unrouted_trades += n
        else:
            contract.counts.received += n
            contract.counts.waiting_raw += n
        return contract

    def _refused(self, refusal: Refusal) -> ContractPipeline | None:
        if refusal.target == TRADE:
            return self._received(refusal.contract_id, refusal.count)
        contract = self._contracts.get(refusal.contract_id or "")
        self._counts.unrouted_depths += refusal.target == DEPTH
        self._counts.unrouted_quotes += contract is None and refusal.target != DEPTH
        return contract

    async def _validate(self) -> None:
        async for read in self._receive:
            if isinstance(read, _Lost):
                for loss in read.losses:
                    await loss.contract.lose(loss)
            elif read is not None:
                self.room.taken()
                await self._judge(read)
                self._judged = read.serial
            while self._notices and self._notices[0].serial <= self._judged:
                await self._notices.popleft().act()

    async def _judge(self, read: _Read) -> None:
        for contract, trades in read.trades:
            await contract.judge(trades, read.ts_recv, read.serial, read.line, read.now)
        for contract, refusal in read.refusals:
            contract.refuse(refusal, read.ts_recv)
        for contract, quote in read.quotes:
            await contract.merge(quote, read.ts_recv, read.line, read.now)
        for contract, rows in read.depth:
            await contract.depth.judge(rows, read.ts_recv, read.line)
