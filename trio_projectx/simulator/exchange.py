"""All contracts of a simulator: which feed serves which, and what a link is subscribed to."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_projectx._errors import ConfigError, ContractError
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.deliveries import Deliveries
from trio_projectx.simulator.feeds import MarketFeed
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.minute import TRADES_PER_S, Kind
from trio_projectx.simulator.past import Past, Rates
from trio_projectx.simulator.player import ReplayFeed
from trio_projectx.simulator.products import Listing, listed
from trio_projectx.simulator.replay import Tape
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.truth import TradeColumns, TruthLog

#: Each market is a task with a book; a client may ask for any expiry of a century.
MARKETS_MAX = 512
ALL_KINDS = Kind.QUOTES | Kind.TRADES | Kind.DEPTH


@attrs.define(slots=True, eq=False)
class Exchange:
    """Opens a market with the first subscription to its contract; a tape's contract is played, not made."""

    settings: Settings
    clock: MarketClock
    tasks: BackgroundTasks
    counters: Counters
    truth: TruthLog = attrs.Factory(TruthLog)
    deliveries: Deliveries = attrs.Factory(Deliveries)
    replay: ReplayFeed | None = None
    _feeds: dict[str, MarketFeed | ReplayFeed] = attrs.Factory(dict[str, "MarketFeed | ReplayFeed"])
    _pasts: dict[str, Past] = attrs.Factory(dict[str, Past])
    _rates: Rates = attrs.Factory(Rates)
    _trades_per_s: float | None = None

    def put_on(self, tape: Tape) -> None:
        """Play ``tape`` as its contract from the first trades subscription on.

        :raises ConfigError: if the contract has a market already.
        """
        if tape.contract_id in self._feeds:
            raise ConfigError(f"{tape.contract_id} is trading already: play before the first subscription")
        self.replay = ReplayFeed(
            tape, self.settings.speed, self.tasks, self.truth, self.deliveries, self.counters
        )
        self._feeds[tape.contract_id] = self.replay

    def subscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """Send ``kind`` of events of the contract to ``link``.

        :raises ContractError: if the id is malformed or its product is not in the tick table.
        """
        self._feed(contract_id).subscribe(link, kind)

    def tap(self, contract_id: str, tap: Callable[[TradeColumns], None]) -> None:
        """Let the contract's market run to the end, and tell ``tap`` every trade, right after it went out.

        :raises ContractError: as `subscribe`.
        """
        self._feed(contract_id).tap(tap)

    def past(self, contract_id: str) -> tuple[Past, int]:
        """Return what the contract has traded, and up to when (int64 ns): what a link was sent and no more.

        :raises ContractError: as `subscribe`.
        """
        if self.replay is not None and contract_id == self.replay.contract_id:
            return self.replay.past, self.replay.now_ns
        feed = self._feeds.get(contract_id)
        return self._past(listed(contract_id)), self.clock.now_ns() if feed is None else feed.now_ns

    def now_ns(self, contract_id: str) -> int:
        """Return up to when the contract has traded: a tape's time is its own."""
        feed = self._feeds.get(contract_id)
        return self.clock.now_ns() if feed is None else feed.now_ns

    def unsubscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """Send no more of ``kind``; a contract nobody knows is no error, as on the real server."""
        feed = self._feeds.get(contract_id)
        if feed is not None:
            feed.unsubscribe(link, kind)

    def leave(self, link: Link) -> None:
        """End every subscription of ``link``: they belong to the connection and go with it."""
        for feed in self._feeds.values():
            feed.unsubscribe(link, ALL_KINDS)

    def set_trades_per_s(self, trades_per_s: float) -> None:
        """Change how much happens in every made market, now and later."""
        self._trades_per_s = trades_per_s
        now_ns, rate = self.clock.now_ns(), trades_per_s / TRADES_PER_S
        self._rates.change(now_ns, rate)
        for contract_id, past in self._pasts.items():
            if contract_id not in self._feeds:
                past.rates.change(now_ns, rate)
        for feed in self._feeds.values():
            if isinstance(feed, MarketFeed):
                feed.set_trades_per_s(trades_per_s)

    def _feed(self, contract_id: str) -> MarketFeed | ReplayFeed:
        return self._feeds.get(contract_id) or self._open(contract_id)

    def _past(self, listing: Listing) -> Past:
        past = self._pasts.get(listing.contract_id)
        if past is None:
            if len(self._pasts) >= MARKETS_MAX:
                raise ContractError(f"the simulator has {MARKETS_MAX} pasts and makes no more")
            rates = self._rates.copy()
            settings, now_ns = self.settings, self.clock.now_ns()
            past = Past(settings.seed, listing, rates, now_ns, settings.candles_kept)
            self._pasts[listing.contract_id] = past
        return past

    def _open(self, contract_id: str) -> MarketFeed:
        if len(self._feeds) >= MARKETS_MAX:
            raise ContractError(f"the simulator has {MARKETS_MAX} markets and opens no more")
        listing = listed(contract_id)
        feed = MarketFeed(
            listing,
            self.settings,
            self.clock,
            self.truth,
            self.deliveries,
            self.counters,
            self._past(listing),
        )
        if self._trades_per_s is not None:
            feed.set_rate(self._trades_per_s)
        self._feeds[contract_id] = feed
        self.tasks.start_soon(feed.run)
        return feed
