"""Who gets what: subscriptions, the market of each contract that has any, and its sending.

A market is looked at every 50 ms, and what happened since goes to each subscriber as one text (one frame). It
is offered, never awaited: a client that does not read loses its own connection and delays nobody. Once somebody
has subscribed to its trades, or ordered in it, a market runs to the end, heard or not: the truth has no holes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import trio

from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.deliveries import Deliveries, Delivery
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.market import Market
from trio_projectx.simulator.minute import TRADES_PER_S, Kind
from trio_projectx.simulator.outbox import frames
from trio_projectx.simulator.past import Past
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.payloads import RecordWriter
from trio_projectx.simulator.products import Listing
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.truth import TradeColumns, TruthLog
from trio_projectx.simulator.varied import VariedWriter

#: Told of every trade of a market, right after it went out.
Tap: TypeAlias = Callable[[TradeColumns], None]


class MarketFeed:
    """The market of one contract and those who are subscribed to it; `run` is its task."""

    def __init__(
        self,
        listing: Listing,
        settings: Settings,
        clock: MarketClock,
        truth: TruthLog,
        deliveries: Deliveries,
        counters: Counters,
        past: Past,
    ) -> None:
        self.past = past
        self._contract_id = listing.contract_id
        self._clock = clock
        self._truth = truth
        self._deliveries = deliveries
        self._counters = counters
        self._step_s = settings.step_s
        writer = _writer(listing, settings)
        self._market = Market(settings.seed, writer, listing.base_ticks, clock.now_ns(), wanted=Kind(0))
        self._subscribers: dict[Link, Kind] = {}
        self._open: dict[Link, Delivery] = {}
        self._taps: list[Tap] = []
        self._is_kept = False
        self._awake = trio.Event()

    @property
    def now_ns(self) -> int:
        """Up to where the market has happened; while it rests, the clock's time."""
        return self._market.now_ns if self._is_running else self._clock.now_ns()

    @property
    def _is_running(self) -> bool:
        return self._is_kept or bool(self._subscribers)

    def subscribe(self, link: Link, kind: Kind) -> None:
        """Send events of ``kind`` to ``link`` from now on; depth begins with the whole book."""
        is_first = not self._is_running
        self._subscribers[link] = self._subscribers.get(link, Kind(0)) | kind
        # Trades are made in any case: they move the price. The rest is made only for somebody.
        wanted = self._wanted() & ~Kind.TRADES
        now_ns = self._clock.now_ns() if is_first else self._market.now_ns
        if now_ns > self._market.now_ns or wanted & ~self._market.wanted:
            self._market.wanted = wanted
            self._market.jump(now_ns)
        if kind is Kind.DEPTH:
            link.outbox.offer(self._market.book())
        if kind is Kind.TRADES:
            self._keep()
            if link not in self._open:
                connection_id = link.identity.connection_id
                self._open[link] = self._deliveries.open(
                    connection_id, self._contract_id, self._market.now_ns
                )
        self._awake.set()

    def unsubscribe(self, link: Link, kind: Kind) -> None:
        """Send no more of ``kind`` to ``link``."""
        left = self._subscribers.pop(link, Kind(0)) & ~kind
        if left:
            self._subscribers[link] = left
        if Kind.TRADES in kind and link in self._open:
            self._open.pop(link).closed = self._market.now_ns
        self._market.wanted = self._wanted() & ~Kind.TRADES

    def tap(self, tap: Tap) -> None:
        """Run from now on, subscribers or not, and tell ``tap`` every trade."""
        if not self._is_running:
            self._market.jump(self._clock.now_ns())
        self._keep()
        self._taps.append(tap)
        self._awake.set()

    def set_trades_per_s(self, trades_per_s: float) -> None:
        """Change how much happens; the other events keep their proportion to trades."""
        now_ns = self.now_ns
        self.set_rate(trades_per_s)
        self.past.rates.change(now_ns, self._market.rate)

    def set_rate(self, trades_per_s: float) -> None:
        """Let so much happen from the beginning on: the past knows it already."""
        now_ns, self._market.rate = self.now_ns, trades_per_s / TRADES_PER_S
        self._market.jump(now_ns)

    async def run(self) -> None:
        """Send what happens, for ever."""
        while True:
            if not self._is_running:
                self._awake = trio.Event()
                await self._awake.wait()
            await trio.sleep(self._step_s)
            await self._catch_up(self._clock.now_ns())

    async def _catch_up(self, to_ns: int) -> None:
        # In slices of a minute of the market: at high speed (or after the machine slept) there is much to
        # make, and the other tasks want their turn.
        while self._is_running and self._market.now_ns < to_ns:
            self._step(min(to_ns, self._market.now_ns + MINUTE_NS))
            await trio.lowlevel.checkpoint()

    def _keep(self) -> None:
        if not self._is_kept:
            self._is_kept = True
            self.past.begin_record(self._market.now_ns)

    def _step(self, to_ns: int) -> None:
        happened = self._market.advance(to_ns)
        trades = happened.trades
        if self._is_kept and len(trades):
            first = self._truth.append(self._contract_id, trades)
            self.past.add(trades)
            for delivery in self._open.values():
                delivery.sent(first, first + len(trades) - 1)
        wanted = self._wanted()
        if Kind.TRADES in wanted:
            self._counters.trades_sent += len(trades)
        kinds = [kind for kind, _ in happened.records if kind in wanted]
        self._counters.quotes_sent += kinds.count(Kind.QUOTES)
        self._counters.depth_lists_sent += kinds.count(Kind.DEPTH)
        self._send(happened.records)
        for tap in self._taps:
            tap(trades)

    def _send(self, records: list[tuple[Kind, str]]) -> None:
        texts: dict[Kind, list[str]] = {}
        for link, mask in list(self._subscribers.items()):
            if mask not in texts:
                texts[mask] = frames(text for kind, text in records if kind in mask)
            if not all(link.outbox.offer(text) for text in texts[mask]):
                link.drop_slow()

    def _wanted(self) -> Kind:
        wanted = Kind(0)
        for mask in self._subscribers.values():
            wanted |= mask
        return wanted


def _writer(listing: Listing, settings: Settings) -> RecordWriter:
    if settings.payloads == "varied":
        return VariedWriter(listing.contract_id, listing.symbol_id, listing.grid, seed=settings.seed)
    return RecordWriter(listing.contract_id, listing.symbol_id, listing.grid)
