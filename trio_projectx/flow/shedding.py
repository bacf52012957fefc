"""What streams give up when memory is scarce, and take back: quotes by conflation, closed bars kept for tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from trio_projectx._config import Overflow
from trio_projectx._events import MemoryLevel
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.quotes import QuoteOutlet

_MAY_DROP: Final = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
#: Of the bars that are kept when memory is not scarce; but no fewer than so many.
_SHARE: Final = 4
_BARS_LEAST: Final = 1000


class QuoteShed:
    """From TIGHT on, streams of quotes that may drop hold the youngest quote alone.

    What that drops stands in them as `Dropped`. Those under ``ERROR`` and ``BLOCK`` stay as they are: somebody counts
    on every quote. Those under ``CONFLATE`` hold one quote anyway.
    """

    def __init__(self, market: MarketPipeline) -> None:
        self._market = market
        self._changed: dict[QuoteOutlet, Overflow] = {}

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Conflate, or go back."""
        there = {outlet for contract in self._market.contracts for outlet in contract.quotes.outlets}
        self._changed = {outlet: was for outlet, was in self._changed.items() if outlet in there}
        return self._shed(there) if level.rank >= MemoryLevel.TIGHT.rank else self._restore()

    def _shed(self, there: set[QuoteOutlet]) -> Sequence[str]:
        todo = [outlet for outlet in there if outlet.feed.pipe.buffer.policy in _MAY_DROP]
        dropped = 0
        for outlet in todo:
            buffer = outlet.feed.pipe.buffer
            self._changed[outlet] = buffer.policy
            dropped += buffer.conflate()
        if not todo:
            return ()
        kept = len(there) - len(self._changed)
        return (
            f"{len(todo)} streams of quotes hold the youngest quote alone ({dropped:,} quotes dropped, told in them); "
            f"{kept} others stay as they are",
        )

    def _restore(self) -> Sequence[str]:
        done, self._changed = self._changed, {}
        for outlet, policy in done.items():
            outlet.feed.pipe.buffer.unconflate(policy)
        return (f"{len(done)} streams of quotes have their policy again",) if done else ()


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
