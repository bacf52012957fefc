"""Three levels: memory, disk, service. What a nearer one has is not asked of a farther one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Final, TypeVar

import attrs
import trio

from trio_projectx.bars.edges import DAY_NS
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.candles import Candle, Fault
from trio_projectx.history.fetch import Fetcher, Progress, Tell
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.store import BarStore
from trio_projectx.history.units import Source

T = TypeVar("T")
_log: Final = logging.getLogger("trio_projectx")


@attrs.define(slots=True)
class Fetched:
    """What was found, and what it cost."""

    candles: list[Candle] = attrs.field(factory=list[Candle])
    known_from: int = 0
    pages: int = 0
    """Answers of the service; 0 where the nearer levels had everything."""
    faults: Counter[Fault] = attrs.field(factory=Counter[Fault])
    conflicts: int = 0
    damaged: list[int] = attrs.field(factory=list[int])


@attrs.define(slots=True)
class _Held:
    start: int
    end: int
    candles: list[Candle]


class Ring:
    """The youngest bars of each contract and unit that were asked for, at most ``bars_kept`` of each."""

    def __init__(self, bars_kept: int = 20_000) -> None:
        self._bars_kept = bars_kept
        self._held: dict[tuple[str, str], _Held] = {}

    def get(self, key: tuple[str, str], start: int, end: int) -> list[Candle] | None:
        """Return the bars that open in ``[start, end)``; None if not all of that time is here."""
        held = self._held.get(key)
        if held is None or start < held.start or end > held.end:
            return None
        return [bar for bar in held.candles if start <= bar.start < end]

    def put(self, key: tuple[str, str], start: int, end: int, candles: list[Candle]) -> None:
        """Keep bars that are final, and all that there were in ``[start, end)``; the youngest time stays."""
        held = self._held.get(key)
        if start >= end or (held is not None and end <= held.end):
            return
        if held is not None and held.start <= start <= held.end:
            candles = [bar for bar in held.candles if bar.start < start] + candles
            start = held.start
        if len(candles) > self._bars_kept:
            candles = candles[-self._bars_kept :]
            start = candles[0].start
        self._held[key] = _Held(start, end, candles)


class CachedFetcher:
    """A `Fetcher` with memory and disk before it.

    Only what is final is kept: time that ended a day ago, or that a younger bar of the service's shows to be over. Our
    clock alone does not decide what stays on disk for good.
    """

    def __init__(
        self, fetcher: Fetcher, store: BarStore, wall_clock: Callable[[], int], ring: Ring | None = None
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._wall_clock = wall_clock
        self._ring = Ring() if ring is None else ring
        # One call at a time, as the store wants it; a disk that hangs takes no thread of others.
        self._threads = trio.CapacityLimiter(1)

    @property
    def tier(self) -> bool | None:
        """That of the `Fetcher`."""
        return self._fetcher.tier

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

        As `Fetcher.fetch`; a disk that fails is told in the log, and the service is asked instead.
        """
        found = Fetched(known_from=start_ns)
        for low, high in _pieces(source, start_ns, end_ns, count):
            found.candles[:0] = await self._piece(instrument, source, low, high, found, urgency)
            found.known_from = low
            if tell is not None:
                tell(Progress(start_ns, end_ns, low, len(found.candles), found.pages, count))
            if count is not None and len(found.candles) >= count:
                break
        return found

    async def _piece(
        self, instrument: Instrument, source: Source, low: int, high: int, found: Fetched, urgency: Urgency
    ) -> list[Candle]:
        contract, key = instrument.contract_id, (instrument.contract_id, source.label)
        in_memory = self._ring.get(key, low, high)
        if in_memory is not None:
            return in_memory
        on_disk, covered = await self._on_disk(contract, source, low, high)
        bars = {bar.start: bar for bar in on_disk if covered.covers(bar.start, bar.start + 1)}
        final = high
        for start, end in covered.missing(low, high):
            pager = await self._fetcher.fetch(instrument, source, start, end, urgency=urgency)
            found.pages += pager.pages
            found.faults += pager.faults
            found.conflicts += pager.conflicts
            found.damaged += pager.damaged
            fresh = pager.candles
            bars.update((bar.start, bar) for bar in fresh)
            until = self._final_until(fresh, start, end)
            final = final if until == end else min(final, until)
            kept = [bar for bar in fresh if bar.start < until]
            await self._keep(contract, source, start, until, kept)
        candles = [bars[start] for start in sorted(bars)]
        self._ring.put(key, low, final, [bar for bar in candles if bar.start < final])
        return candles

    def _final_until(self, fresh: list[Candle], start: int, end: int) -> int:
        """Return until when what came is final; ``start`` if nothing is."""
        if end <= self._wall_clock() - DAY_NS:
            return end
        return min(end, max((bar.start for bar in fresh), default=start))

    async def _on_disk(
        self, contract: str, source: Source, low: int, high: int
    ) -> tuple[list[Candle], Intervals]:
        def read() -> tuple[list[Candle], Intervals]:
            bars = self._store.load(contract, source, low, high)
            return bars, self._store.covered(contract, source)

        found = await self._in_thread(read)
        return ([], Intervals()) if found is None else found

    async def _keep(self, contract: str, source: Source, start: int, end: int, bars: list[Candle]) -> None:
        if start < end:
            await self._in_thread(lambda: self._store.save(contract, source, start, end, bars))

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        try:
            # Not abandoned: the next call is not to meet this one in the same files.
            return await trio.to_thread.run_sync(work, limiter=self._threads)
        except OSError as exc:
            _log.warning("the cache of bars cannot be used (%s); the service is asked", exc.strerror)
            return None


def _pieces(source: Source, start: int, end: int, count: int | None) -> list[tuple[int, int]]:
    """Return the spans to look at, the youngest first: one, or, for a count, ever longer ones."""
    if count is None:
        return [(start, end)] if start < end else []
    edges, length = [end], count * source.step_ns
    while edges[-1] > start:
        edges.append(max(start, (edges[-1] - length) // source.step_ns * source.step_ns))
        length *= 2
    return [(low, high) for high, low in pairwise(edges)]
