"""Three levels: memory, disk, service. What a nearer one has is not asked of a farther one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_projectx._timeframe import NS_PER_SECOND
from trio_projectx.bars.edges import DAY_NS
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.candles import Candle, Fault, opening
from trio_projectx.history.fetch import Fetcher, Progress, Tell
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.levels import Levels
from trio_projectx.history.paging import Pager
from trio_projectx.history.units import Source

#: No market that has bars is shut for longer; where there is none for longer, something else may be the reason.
_SHUT_MOST_NS: Final = 4 * DAY_NS
#: A bar of the last day is final when one has begun so long after its end: what is forming is not, nor what may get
#: trades that the service learns of late.
_SETTLED_NS: Final = 15 * 60 * NS_PER_SECOND
#: So many bars, or bars of so many seconds, are kept at once: each time a file of up to a month is written anew.
_KEEP_BARS: Final = 20_000
_KEEP_S: Final = 5.0
#: How long a request that fails or is cancelled holds on to keep what has come.
_LAST_S: Final = 2.0


@attrs.define(slots=True)
class Fetched:
    """What was found, and what it cost."""

    candles: list[Candle] = attrs.field(factory=list[Candle])
    known_from: int = 0
    pages: int = 0
    """Answers of the service; 0 where the nearer levels had everything."""
    faults: Counter[Fault] = attrs.field(factory=Counter[Fault])
    conflicts: int = 0
    bad: list[int] = attrs.field(factory=list[int])
    has_undated: bool = False


@attrs.frozen(slots=True)
class _Wanted:
    instrument: Instrument
    source: Source
    start: int
    end: int
    count: int | None
    urgency: Urgency
    tell: Tell | None

    def left(self, found: Fetched) -> int | None:
        """Return how many bars are still wanted; None for all there are."""
        return None if self.count is None else self.count - len(found.candles)

    def progress(self, found: Fetched, reached: int, bars: int, pages: int) -> None:
        if self.tell is not None:
            bars += len(found.candles)
            self.tell(Progress(self.start, self.end, reached, bars, found.pages + pages, self.count))


class CachedFetcher:
    """A `Fetcher` with memory, and perhaps disk, before it.

    Only what is final and was shown is kept: bars of time that ended a day ago, or a quarter of an hour before the
    service's youngest bar, and the time between bars. An answer without bars is kept by no level, nor is what lies more
    than four days beyond the bars of one: perhaps the service, or the account, only did not show it. The time of a bar
    that was left out for a fault is not kept either. Several may ask for the same time at once; each asks the service
    then, and they keep the same.
    """

    def __init__(self, fetcher: Fetcher, levels: Levels, wall_clock: Callable[[], int]) -> None:
        self._fetcher = fetcher
        self._levels = levels
        self._wall_clock = wall_clock
        self._tier: bool | None = None

    @property
    def tier(self) -> bool | None:
        """That of the bars that were given last; None if none were yet."""
        return self._fetcher.tier if self._tier is None else self._tier

    async def fetch(
        self,
        instrument: Instrument,
        source: Source,
        start_ns: int,
        end_ns: int,
        *,
        count: int | None = None,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
    ) -> Fetched:
        """Return what opens in ``[start_ns, end_ns)``; with ``count``, from ``known_from`` on, at least so many.

        As `Fetcher.fetch`; a disk that fails is told in the log, and the service is asked instead. Cancelled, or after
        an error, what has come is in the cache.
        """
        wanted = _Wanted(instrument, source, start_ns, max(start_ns, end_ns), count, urgency, tell)
        while True:
            tier = self._fetcher.tier_wanted
            known, near = await self._levels.known(instrument.contract_id, source, tier)
            found = await self._gathered(wanted, known, near)
            if near is None or self._fetcher.tier in (None, near):
                break
            # The service has shown by now that its bars are of the other tier than those that are kept.
        if near is not None:
            self._tier = near
        found.candles.sort(key=opening)
        return found

    async def _gathered(self, wanted: _Wanted, known: Intervals, near: bool | None) -> Fetched:
        """Go from the youngest to the oldest, each time by the nearest level that goes on from there."""
        found = Fetched(known_from=wanted.end)
        while found.known_from > wanted.start and (wanted.count is None or (wanted.left(found) or 0) > 0):
            spans = known.within(wanted.start, found.known_from)
            is_known = bool(spans) and spans[-1][1] == found.known_from
            if is_known and near is not None:
                if not await self._take_near(wanted, found, spans[-1][0], near):
                    known.cut(*spans[-1])
            else:
                await self._take_service(wanted, found, spans[-1][1] if spans else wanted.start)
        return found

    async def _take_near(self, wanted: _Wanted, found: Fetched, low: int, live: bool) -> bool:
        """Take what the nearer levels have; False if it is not there after all."""
        high, left = found.known_from, wanted.left(found)
        if left is not None:
            low = max(low, high - 2 * left * wanted.source.step_ns)
        contract_id = wanted.instrument.contract_id
        near = await self._levels.before(contract_id, wanted.source, low, high, live)
        if near is None:
            return False
        found.known_from = near[0]
        found.candles += near[1]
        wanted.progress(found, found.known_from, 0, 0)
        return True

    async def _take_service(self, wanted: _Wanted, found: Fetched, low: int) -> None:
        keeper = _Keeper(self._levels, wanted, found, low, found.known_from, self._wall_clock)
        try:
            pager = await self._fetcher.fetch(
                wanted.instrument,
                wanted.source,
                low,
                found.known_from,
                count=wanted.left(found),
                urgency=wanted.urgency,
                took=keeper.took,
            )
        except BaseException:  # cancelled, too: what has come has cost turns, and is worth keeping
            with trio.move_on_after(_LAST_S, shield=True):
                await keeper.flush()
            raise
        await keeper.flush()
        found.known_from = pager.known_from
        found.candles += pager.candles
        found.pages += pager.pages
        found.faults += pager.faults
        found.conflicts += pager.conflicts
        found.bad += pager.bad
        found.has_undated |= pager.has_undated
        self._tier = self._fetcher.tier if pager.size else self._tier


class _Keeper:
    """Keeps what comes page by page, youngest first, of ``[low, high)``."""

    def __init__(
        self,
        levels: Levels,
        wanted: _Wanted,
        found: Fetched,
        low: int,
        high: int,
        wall_clock: Callable[[], int],
    ) -> None:
        self._levels = levels
        self._wanted = wanted
        self._found = found
        self._low = low
        self._high = high
        self._wall_clock = wall_clock
        self._pager: Pager | None = None
        self._live = False
        self._kept_from: int | None = None
        self._kept_bars = 0
        self._kept_at = trio.current_time()

    async def took(self, pager: Pager, live: bool) -> None:
        """Take note of a page, and keep now and then what has come."""
        self._pager, self._live = pager, live
        self._wanted.progress(self._found, pager.known_from, pager.size, pager.pages)
        is_much = pager.size - self._kept_bars >= _KEEP_BARS
        if is_much or trio.current_time() - self._kept_at >= _KEEP_S:
            await self.flush()

    async def flush(self) -> None:
        """Keep what has come and is final, and was not kept yet."""
        pager = self._pager
        if pager is None or not pager.size or pager.has_undated:
            return
        if self._kept_from is None:
            self._kept_from = self._final_until(pager)
        start, end = self._proven_from(pager), self._kept_from
        if start >= end:
            return
        bars = pager.between(start, end)
        self._kept_from, self._kept_bars, self._kept_at = start, pager.size, trio.current_time()
        contract_id, source = self._wanted.instrument.contract_id, self._wanted.source
        covered = Intervals([(start, end)])
        for bad in pager.bad:  # that time has a bar, and not a good one: it is asked for again
            at = bad // source.step_ns * source.step_ns
            covered.cut(at, at + source.step_ns)
        await self._levels.keep(contract_id, source, covered, bars, self._live)

    def _final_until(self, pager: Pager) -> int:
        """Return until when what came is final."""
        newest = pager.newest
        if self._high > self._wall_clock() - DAY_NS:
            step = self._wanted.source.step_ns
            return min(self._high, (newest - _SETTLED_NS) // step * step)
        if self._high - newest > _SHUT_MOST_NS:
            return newest + self._wanted.source.step_ns
        return self._high

    def _proven_from(self, pager: Pager) -> int:
        """Return from when on all is known: also where nothing is, if an answer has shown that."""
        is_shown = pager.is_proven and pager.oldest - pager.known_from <= _SHUT_MOST_NS
        return pager.known_from if is_shown else pager.oldest
