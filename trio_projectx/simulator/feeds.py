"""Who gets what: subscriptions, the market of each contract that has any, and its sending.

A market is looked at every 50 ms, and what happened since goes to each subscriber as one text (one frame). It
is offered, never awaited: a client that does not read loses its own connection and delays nobody. A market is
sent only while somebody is subscribed; its time goes on nevertheless, as on the real one.
"""

from __future__ import annotations

import trio

from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.market import Market
from trio_projectx.simulator.minute import TRADES_PER_S, Kind
from trio_projectx.simulator.outbox import frames
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.payloads import RecordWriter
from trio_projectx.simulator.products import Listing
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.truth import TruthLog


class MarketFeed:
    """The market of one contract and those who are subscribed to it; `run` is its task."""

    def __init__(
        self, listing: Listing, settings: Settings, clock: MarketClock, truth: TruthLog, counters: Counters
    ) -> None:
        self._clock = clock
        self._truth = truth
        self._counters = counters
        self._step_s = settings.step_s
        writer = RecordWriter(listing.contract_id, listing.symbol_id, listing.grid)
        self._market = Market(settings.seed, writer, listing.base_ticks, clock.now_ns(), wanted=Kind(0))
        self._subscribers: dict[Link, Kind] = {}
        self._somebody = trio.Event()

    def subscribe(self, link: Link, kind: Kind) -> None:
        """Send events of ``kind`` to ``link`` from now on; depth begins with the whole book."""
        is_first = not self._subscribers
        self._subscribers[link] = self._subscribers.get(link, Kind(0)) | kind
        # Trades are made in any case: they move the price. The rest is made only for somebody.
        wanted = self._wanted() & ~Kind.TRADES
        if is_first or wanted & ~self._market.wanted:
            self._market.wanted = wanted
            self._market.jump(self._clock.now_ns() if is_first else self._market.now_ns)
        if kind is Kind.DEPTH:
            link.outbox.offer(self._market.book())
        self._somebody.set()

    def unsubscribe(self, link: Link, kind: Kind) -> None:
        """Send no more of ``kind`` to ``link``."""
        left = self._subscribers.pop(link, Kind(0)) & ~kind
        if left:
            self._subscribers[link] = left
        self._market.wanted = self._wanted() & ~Kind.TRADES

    def set_trades_per_s(self, trades_per_s: float) -> None:
        """Change how much happens; the other events keep their proportion to trades."""
        self._market.rate = trades_per_s / TRADES_PER_S
        self._market.jump(self._market.now_ns)

    async def run(self) -> None:
        """Send what happens, for ever."""
        while True:
            if not self._subscribers:
                self._somebody = trio.Event()
                await self._somebody.wait()
            await trio.sleep(self._step_s)
            await self._catch_up(self._clock.now_ns())

    async def _catch_up(self, to_ns: int) -> None:
        # In slices of a minute of the market: at high speed (or after the machine slept) there is much to
        # make, and the other tasks want their turn.
        while self._subscribers and self._market.now_ns < to_ns:
            self._step(min(to_ns, self._market.now_ns + MINUTE_NS))
            await trio.lowlevel.checkpoint()

    def _step(self, to_ns: int) -> None:
        happened = self._market.advance(to_ns)
        wanted = self._wanted()
        if Kind.TRADES in wanted:
            self._truth.append(self._market.writer.contract_id, happened.trades)
            self._counters.trades_sent += len(happened.trades)
        kinds = [kind for kind, _ in happened.records if kind in wanted]
        self._counters.quotes_sent += kinds.count(Kind.QUOTES)
        self._counters.depth_lists_sent += kinds.count(Kind.DEPTH)
        texts: dict[Kind, list[str]] = {}
        for link, mask in list(self._subscribers.items()):
            if mask not in texts:
                texts[mask] = frames(text for kind, text in happened.records if kind in mask)
            if not all(link.outbox.offer(text) for text in texts[mask]):
                link.drop_slow()

    def _wanted(self) -> Kind:
        wanted = Kind(0)
        for mask in self._subscribers.values():
            wanted |= mask
        return wanted
