"""All contracts of a simulator: which feed serves which, and what a link is subscribed to."""

from __future__ import annotations

import attrs

from trio_projectx._errors import ContractError
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.feeds import MarketFeed
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.player import ReplayFeed
from trio_projectx.simulator.products import listed
from trio_projectx.simulator.replay import Tape
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.truth import TruthLog

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
    replay: ReplayFeed | None = None
    _feeds: dict[str, MarketFeed | ReplayFeed] = attrs.Factory(dict[str, "MarketFeed | ReplayFeed"])
    _trades_per_s: float | None = None

    def put_on(self, tape: Tape) -> None:
        """Play ``tape`` as its contract from the first trades subscription on."""
        self.replay = ReplayFeed(tape, self.settings.speed, self.tasks, self.truth, self.counters)
        self._feeds[tape.contract_id] = self.replay

    def subscribe(self, link: Link, kind: Kind, contract_id: str) -> None:
        """Send ``kind`` of events of the contract to ``link``.

        :raises ContractError: if the id is malformed or its product is not in the tick table.
        """
        feed = self._feeds.get(contract_id)
        if feed is None:
            feed = self._open(contract_id)
        feed.subscribe(link, kind)

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
        for feed in self._feeds.values():
            if isinstance(feed, MarketFeed):
                feed.set_trades_per_s(trades_per_s)

    def _open(self, contract_id: str) -> MarketFeed:
        if len(self._feeds) >= MARKETS_MAX:
            raise ContractError(f"the simulator has {MARKETS_MAX} markets and opens no more")
        feed = MarketFeed(listed(contract_id), self.settings, self.clock, self.truth, self.counters)
        if self._trades_per_s is not None:
            feed.set_trades_per_s(self._trades_per_s)
        self._feeds[contract_id] = feed
        self.tasks.start_soon(feed.run)
        return feed
