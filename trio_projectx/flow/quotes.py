"""The quotes of one contract: merged, and given to the streams that are open for them."""

from __future__ import annotations

import attrs

from trio_projectx._config import Limits
from trio_projectx._events import Gap, Quote
from trio_projectx.flow.rules import make_merger
from trio_projectx.flow.side import Missing, SideOutlet
from trio_projectx.flow.stream import Feed
from trio_projectx.flow.surroundings import Surroundings
from trio_projectx.flow.taps import Taps
from trio_projectx.market import PriceGrid, Refusal, Rejection, WireQuote


@attrs.define(slots=True, eq=False)
class QuoteOutlet:
    """The stream of one ``open_quotes``."""

    feed: Feed[Quote | Gap]
    tell_gaps: bool = False
    is_open: bool = False
    """Whether its subscription was acknowledged: before that nothing can be missing."""
    has_missed: bool = False
    """Whether it was there when a gap began that it has not been told of."""


class QuoteFlow:
    """Called by the validator task alone."""

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        limits: Limits,
        around: Surroundings,
        taps: Taps | None = None,
    ) -> None:
        self._contract_id = contract_id
        self._around = around
        self._taps = taps or Taps()
        self._merger = make_merger(contract_id, grid, limits, around.tell)
        self._lines: set[int] = set()
        self._bringing: set[int] = set()  # those of them that were acknowledged, or have brought something
        self._missing = Missing(contract_id)
        self.outlets: tuple[QuoteOutlet, ...] = ()
        self.merged = 0

    def attach(self, outlet: QuoteOutlet) -> None:
        """Give every quote from the next one on to ``outlet`` too."""
        self.outlets = (*self.outlets, outlet)

    def drop(self, outlet: SideOutlet) -> None:
        """Give ``outlet`` nothing more; with the last one goes what is known of the quote.

        From then on updates are missed, and a sparse quote says only what changed: an old field is no fact any more.
        """
        self.outlets = tuple(each for each in self.outlets if each is not outlet)
        if not self.outlets:
            self._merger.forget()
            self._missing.forget()

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has brought what the others have brought."""
        return line in self._lines and self._merger.is_level(line)

    def join(self, line: int, at_ns: int = 0) -> None:
        """``line`` is about to ask for the quotes; ``at_ns`` is what the exchange's clock shows."""
        if not self._lines:
            self._missing.joined_ns = at_ns
        self._lines.add(line)
        self._merger.join(line)

    def acknowledged(self, line: int) -> None:
        """The hub has acknowledged it. What was missed is over only with the next quote."""
        if line in self._lines:
            self._brings(line)

    def _brings(self, line: int) -> None:
        if not self._bringing:
            self._merger.lead(line, 0)  # another may have been asked before it, and begin after it
        self._bringing.add(line)

    async def settle(self, line: int, ts_recv: int, cause: str = "a connection had fallen silent") -> None:
        """``line`` is to count as level. Where it alone brought updates, the others are dead: there is a gap."""
        if line not in self._lines:
            return
        if self._merger.counts.waiting and not self._merger.is_level(line):
            self._merger.forget()
            self._missing.begin(self.outlets, cause)
        await self._deliver(self._merger.settle(line, ts_recv))

    async def leave(self, line: int, cause: str, at_ns: int) -> None:
        """``line`` brings nothing more; if nobody is known to bring the same, what is known may be wrong."""
        if line not in self._lines:
            return
        is_missed = line in self._bringing
        self._lines.discard(line)
        self._bringing.discard(line)
        is_covered = any(self._merger.is_level(each) for each in self._bringing)
        if is_missed and not is_covered:
            self._merger.forget()
            self._missing.begin(self.outlets, cause)
        if not is_covered and self._bringing:
            await self._deliver(self._merger.lead(min(self._bringing), at_ns))
        await self._deliver(self._merger.leave(line, at_ns))

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected fields, oldest first."""
        return self._merger.rejections

    def refuse(self, refusal: Refusal, ts_recv: int) -> None:
        """Count fields that the decoder could not read."""
        self._merger.refuse(refusal.reason, refusal.detail, ts_recv, refusal.count)

    def merge(self, quote: WireQuote, ts_recv: int, line: int, now: float) -> Quote | None:
        """Return the whole quote after a sparse update; None if nothing of it could be used."""
        if line in self._lines and line not in self._bringing:
            self._brings(line)
        merged = self._merger.merge(quote, ts_recv, line)
        if merged is not None:
            self.merged += 1
            self._around.stamped(self._contract_id, merged.ts_event, ts_recv, now)
        return merged

    async def _deliver(self, quote: Quote | None) -> None:
        if quote is not None:
            self.merged += 1
            await self.deliver(quote)

    async def deliver(self, quote: Quote) -> None:
        """Give it to the streams, behind the gap that it ends."""
        if self._taps.is_open:
            self._taps.show(lambda tap: tap.merged(quote))
        gap = self._missing.before(quote.ts_event)
        for outlet in self.outlets:
            missed, outlet.has_missed = outlet.has_missed, False
            if gap is not None and missed and outlet.tell_gaps and outlet.is_open:
                await outlet.feed.deliver((gap, quote))
            else:
                await outlet.feed.deliver((quote,))
