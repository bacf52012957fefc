"""What streams give up when memory is scarce, and take back: old states, closed bars kept for tables, recent trades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from trio_projectx._config import Overflow
from trio_projectx._events import MemoryLevel
from trio_projectx.flow.depth import TopOutlet
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.quotes import QuoteOutlet
from trio_projectx.flow.recent import RecentTrades

_StateOutlet: TypeAlias = QuoteOutlet | TopOutlet

_MAY_DROP: Final = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
#: Of the bars that are kept when memory is not scarce; but no fewer than so many.
_SHARE: Final = 4
_BARS_LEAST: Final = 1000


class StateShed:
    """From TIGHT on, streams of quotes and of books that may drop hold the newest state alone.

    What that drops stands in them as `Dropped`. Those under ``ERROR`` and ``BLOCK`` stay as they are: somebody counts
    on every state. Those under ``CONFLATE`` hold one anyway.
    """

    def __init__(self, market: MarketPipeline) -> None:
        self._market = market
        self._changed: dict[_StateOutlet, Overflow] = {}

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Conflate, or go back."""
        there = set(self._outlets())
        self._changed = {outlet: was for outlet, was in self._changed.items() if outlet in there}
        return self._shed(there) if level.rank >= MemoryLevel.TIGHT.rank else self._restore()

    def _shed(self, there: set[_StateOutlet]) -> Sequence[str]:
        todo = [outlet for outlet in there if outlet.feed.pipe.buffer.policy in _MAY_DROP]
        dropped = 0
        for outlet in todo:
            self._changed[outlet] = outlet.feed.pipe.buffer.policy
            dropped += outlet.feed.pipe.buffer.conflate()
        if not todo:
            return ()
        kept = len(there) - len(self._changed)
        return (
            f"{len(todo)} streams of quotes and books hold the newest state alone ({dropped:,} items dropped, told in "
            f"them); {kept} others stay as they are",
        )

    def _restore(self) -> Sequence[str]:
        done, self._changed = self._changed, {}
        for outlet, policy in done.items():
            outlet.feed.pipe.buffer.unconflate(policy)
        return (f"{len(done)} streams of quotes and books have their policy again",) if done else ()

    def _outlets(self) -> Iterator[_StateOutlet]:
        for contract in self._market.contracts:
            yield from contract.quotes.outlets
            for outlet in contract.depth.outlets:
                if isinstance(outlet, TopOutlet):
                    yield outlet


class TableShed:
    """From HIGH on, a quarter of ``bars_kept`` is kept for tables (1,000 at least); snapshots keep what they show."""

    def __init__(self, market: MarketPipeline, bars_kept: int) -> None:
        self._market = market
        self._full = bars_kept
        self._few = min(bars_kept, max(_BARS_LEAST, bars_kept // _SHARE))
        self._shrunk: set[BarOutlet] = set()

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Keep fewer bars, or as many as before."""
        there = set(self._outlets())
        self._shrunk &= there
        if level.rank >= MemoryLevel.HIGH.rank:
            return self._shed(there - self._shrunk)
        done, self._shrunk = self._shrunk, set()
        for outlet in done:
            outlet.bars.limit(self._full)
        return (f"{len(done)} streams of bars keep {self._full:,} bars again",) if done else ()

    def _shed(self, todo: set[BarOutlet]) -> Sequence[str]:
        if not todo or self._few == self._full:
            return ()
        self._shrunk |= todo
        gone = sum(outlet.bars.limit(self._few) for outlet in todo)
        return (f"{len(todo)} streams of bars keep {self._few:,} bars for their tables ({gone:,} bars went)",)

    def _outlets(self) -> Iterator[BarOutlet]:
        for contract in self._market.contracts:
            for outlet in contract.outlets:
                if isinstance(outlet, BarOutlet):
                    yield outlet


class RecentShed:
    """From HIGH on, the windows of recent trades hold a quarter of ``limits.recent_trades``."""

    def __init__(self, market: MarketPipeline, count: int) -> None:
        self._market = market
        self._full = count
        self._few = max(1, count // _SHARE)
        self._shrunk: set[RecentTrades] = set()

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Hold fewer, or as many as before."""
        if level.rank < MemoryLevel.HIGH.rank:
            done, self._shrunk = self._shrunk, set()
            for window in done:
                window.resize(self._full)
            return (f"{len(done)} windows of recent trades hold {self._full:,} again",) if done else ()
        todo = {contract.recent for contract in self._market.contracts} - self._shrunk
        before = sum(map(len, todo))
        for window in todo:
            window.resize(self._few)
        self._shrunk |= todo
        gone = before - sum(map(len, todo))
        return (f"{len(todo)} windows of recent trades hold {self._few:,} ({gone:,} went)",) if todo else ()
