"""A tape on the air: one position in time for everybody, one pace for each.

The tape starts with the first trades subscription of its contract. Whoever subscribes later joins where it
is, as on a real market; what was sent before is missed. Each subscriber is sent to by a task of its own, with
back-pressure: nothing is dropped for a slow one, and nobody waits for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import attrs
import trio

from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.simulator.deliveries import Deliveries, Delivery
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.past import Past
from trio_projectx.simulator.replay import CHUNK, Tape, TapeWriter
from trio_projectx.simulator.settings import Counters
from trio_projectx.simulator.truth import TradeColumns, TruthLog


@attrs.frozen(slots=True)
class ReplayState:
    """How far a replay is: trades sent to at least one subscriber, and whether all of them were."""

    sent: int
    total: int
    done: bool


class ReplayFeed:
    """The tape of one contract and those who are subscribed to it.

    ``speed`` is market seconds per second; 0 is as fast as each subscriber takes it.
    """

    def __init__(
        self,
        tape: Tape,
        speed: float,
        tasks: BackgroundTasks,
        truth: TruthLog,
        deliveries: Deliveries,
        counters: Counters,
    ) -> None:
        self.done = trio.Event()
        """Set when the last trade has gone out to a subscriber's socket."""
        self.past = Past.of_tape()
        self.now_ns = tape.ts[0] - 1
        """The youngest stamp that was played."""
        self._deliveries = deliveries
        self._taps: list[Callable[[TradeColumns], None]] = []
        self._numbers: list[tuple[int, int]] = []
        self._tape = tape
        self._speed = speed
        self._tasks = tasks
        self._truth = truth
        self._counters = counters
        self._head = 0
        self._started: float | None = None
        self._playing: dict[Link, trio.CancelScope] = {}

    @property
    def contract_id(self) -> str:
        """The contract it plays as."""
        return self._tape.contract_id

    @property
    def state(self) -> ReplayState:
        """Return how far it is."""
        return ReplayState(self._head, len(self._tape), self.done.is_set())

    def subscribe(self, link: Link, kind: Kind) -> None:
        """Play to ``link`` from where the tape is. Quotes and depth of a tape do not exist: nothing comes."""
        if kind is Kind.TRADES and link not in self._playing:
            self._playing[link] = trio.CancelScope()
            self._tasks.start_soon(self._play, link, self._playing[link])

    def unsubscribe(self, link: Link, kind: Kind) -> None:
        """Play no more to ``link``."""
        if Kind.TRADES in kind and link in self._playing:
            self._playing.pop(link).cancel(reason="unsubscribed")

    def tap(self, tap: Callable[[TradeColumns], None]) -> None:
        """Tell ``tap`` every trade that is played from now on; it is played only while somebody is subscribed."""
        self._taps.append(tap)

    async def _play(self, link: Link, scope: trio.CancelScope) -> None:
        delivery = self._deliveries.open(link.identity.connection_id, self.contract_id, self.now_ns)
        try:
            await self._play_to(link, scope, delivery)
        finally:
            delivery.closed = self.now_ns

    async def _play_to(self, link: Link, scope: trio.CancelScope, delivery: Delivery) -> None:
        with scope:
            if self._started is None:
                self._started = trio.current_time()
            at, writer, total = self._head, TapeWriter(self._tape), len(self._tape)
            while at < total:
                stop = await self._due(at)
                trades = self._tape.columns(at, stop)
                if not await link.outbox.put(writer.write(trades)):
                    return
                self._sent(stop)
                delivery.sent(self._number(at), self._number(stop - 1))
                at = stop
            if await link.outbox.wait_sent():
                self.done.set()

    async def _due(self, at: int) -> int:
        """Wait until row ``at`` is due; return the row before which all are due (at most a chunk)."""
        last = min(at + CHUNK, len(self._tape))
        if not self._speed or self._started is None:
            return last
        first_ns = self._tape.ts[0]
        ahead_s = (self._tape.ts[at] - first_ns) / 1e9 / self._speed
        await trio.sleep_until(self._started + ahead_s)
        due_ns = first_ns + int((trio.current_time() - self._started) * self._speed * 1e9)
        return bisect_right(self._tape.ts, due_ns, at + 1, last)

    def _sent(self, stop: int) -> None:
        if stop <= self._head:
            return
        trades = self._tape.columns(self._head, stop)
        first = self._truth.append(self._tape.contract_id, trades)
        if not self._numbers or self._number(self._head - 1) != first - 1:
            self._numbers.append((self._head, first))
        self._counters.trades_sent += stop - self._head
        self._head = stop
        self.now_ns = max(self.now_ns, *trades.ts_event)
        self.past.add(trades)
        for tap in self._taps:
            tap(trades)

    def _number(self, row: int) -> int:
        """Return the number in the truth of a row that was sent; other contracts' trades lie between some."""
        start, number = self._numbers[bisect_right(self._numbers, row, key=lambda span: span[0]) - 1]
        return number + row - start
