"""`History`: bars of the past in any timeframe, by time or by count, of one contract or stitched over rolls."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import attrs
import pyarrow as pa

from trio_projectx._errors import ConfigError
from trio_projectx._logs import fields
from trio_projectx._timeframe import NS_PER_SECOND, Timeframe
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.bars.edges import DAY_NS, Edges
from trio_projectx.bars.session_edges import Outside
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.history.aside import aside
from trio_projectx.history.fetch import Fetches, Found, Tell
from trio_projectx.history.fold import Folded, fold
from trio_projectx.history.rolls import Leg
from trio_projectx.history.table import PastBar, to_table
from trio_projectx.history.units import Source, edges_looked_at, source_of

_log: Final = logging.getLogger("trio_projectx")
Instant: TypeAlias = int | datetime.datetime
#: How far back bars are looked for by their count: no listed future lives longer.
_FAR_BACK_NS: Final = 3_650 * DAY_NS
_WIDER: Final = 4
#: 2200-01-01: no bar is younger, and calendars end soon after.
_LATEST: Final = 7_258_118_400_000_000_000


@attrs.frozen(slots=True)
class _Wanted:
    """What bars, and for whom."""

    instrument: Instrument
    frame: Timeframe
    anchor: Anchor
    urgency: Urgency
    tell: Tell | None
    outside: Outside = "own"

    @property
    def edges(self) -> Edges:
        return self.anchor.edges(self.frame, self.outside)

    def opening(self, ts_ns: int) -> int:
        """Return the first instant at or after ``ts_ns`` at which a bar may open."""
        start, end = self.edges.interval(ts_ns)
        return start if start >= ts_ns else end


@attrs.define(slots=True)
class _Gathered:
    """What several requests for one table have brought."""

    bars: list[PastBar] = attrs.field(factory=list[PastBar])
    told: Counter[str] = attrs.field(factory=Counter[str])

    def add(self, folded: Folded, pager: Found) -> None:
        self.bars += folded.bars
        self.told += Counter(
            forming=folded.forming,
            straddling=folded.straddling,
            pages=pager.pages,
            rejected=pager.faults.total(),
            conflicts=pager.conflicts,
        )

    async def table(self, tier: bool | None) -> pa.Table:
        names = ("pages", "rejected", "conflicts", "straddling", "forming")
        told = {name: str(self.told[name]) for name in names}
        told["live"] = "unknown" if tier is None else str(tier).lower()
        return await aside(lambda: to_table(self.bars, told), len(self.bars))


class History:
    """The bars of the service, cut as ours are.

    ``settle_s`` is how long after its end a bar is taken for whole: our clock may be that much ahead of the service's.
    """

    def __init__(self, fetcher: Fetches, wall_clock: Callable[[], int], settle_s: float = 5.0) -> None:
        self._fetcher = fetcher
        self._wall_clock = wall_clock
        self._settle_ns = round(settle_s * NS_PER_SECOND)

    async def bars(
        self,
        instrument: Instrument,
        timeframe: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        count: int | None = None,
        anchor: Anchor | None = None,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
    ) -> pa.Table:
        """Return the closed bars that open at or after ``start`` and before ``end``, or the last ``count`` of them.

        Columns: those of `BarStream.table()`, ``contract_id`` before and ``source`` ("history") behind them; null is
        what the service does not say (`UNKNOWN`). Rows are sorted by ``start``. The bar that is not over yet is left
        out, and so is an interval without a trade. The schema's metadata counts what was left out and why.

        :param start: int64 ns, or a datetime with a zone; None with ``count``.
        :param end: the same; None is now.
        :param anchor: None is the session of the product (`Sessions.for_product`).
        :param tell: is called after each page.
        :raises ConfigError: (`TimeframeError`) for what cannot be honoured.
        :raises TrioProjectXError: as `Fetcher.fetch`.
        """
        wanted = _Wanted(instrument, Timeframe(timeframe), anchor or session_of(instrument), urgency, tell)
        end_ns = self._wall_clock() if end is None else nanoseconds(end, "end")
        gathered = _Gathered()
        if count is not None:
            if start is not None:
                raise ConfigError("history takes a start or a count, not both")
            await self._last(gathered, wanted, end_ns, _checked(count))
        elif start is not None:
            start_ns = nanoseconds(start, "start")
            if start_ns > end_ns:
                raise ConfigError("start lies after end")
            await self._span(gathered, wanted, start_ns, end_ns)
        else:
            raise ConfigError("history needs a start, or the count of the bars that are wanted")
        return await gathered.table(self._fetcher.tier)

    async def stitched(
        self,
        legs: Sequence[tuple[Instrument, Leg]],
        timeframe: str,
        *,
        anchor: Anchor | None = None,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
    ) -> pa.Table:
        """Return the bars of several contracts as one table, each bar of one contract and naming it.

        A bar that opens before a roll is the old contract's to its end, also a week's: none is mixed. Prices are as
        they were traded, with the step from one contract to the next left in.

        :raises ConfigError: if legs overlap or run backwards.
        """
        gathered, frame = _Gathered(), Timeframe(timeframe)
        for (_, before), (_, after) in pairwise(legs):
            if after.start < before.end:
                raise ConfigError(f"the legs of {before.contract_id} and {after.contract_id} overlap")
        for instrument, leg in legs:
            had = len(gathered.bars)
            wanted = _Wanted(instrument, frame, anchor or session_of(instrument), urgency, tell)
            await self._span(gathered, wanted, leg.start, leg.end)
            if len(gathered.bars) == had:
                _log.warning(
                    "the continuous history has no bars of %s: the service shows none",
                    leg.contract_id,
                    extra=fields("history_missing", contract=leg.contract_id),
                )
        return await gathered.table(self._fetcher.tier)

    async def last(
        self,
        instrument: Instrument,
        frame: Timeframe,
        anchor: Anchor,
        outside: Outside,
        count: int,
        end_ns: int,
    ) -> list[PastBar]:
        """Return the last ``count`` closed bars that open before ``end_ns``, for a stream that begins with them.

        :raises TrioProjectXError: as `Fetcher.fetch`.
        """
        gathered = _Gathered()
        wanted = _Wanted(instrument, frame, anchor, Urgency.FILL, None, outside)
        await self._last(gathered, wanted, end_ns, count)
        return gathered.bars

    async def _span(self, gathered: _Gathered, wanted: _Wanted, start_ns: int, end_ns: int) -> None:
        """Gather the bars that open in ``[start_ns, end_ns)``, each whole."""
        if start_ns >= end_ns:
            return
        source = await _source(wanted, start_ns, end_ns)
        low, high = wanted.opening(start_ns), wanted.opening(end_ns)
        pager = await self._fetched(wanted, source, low, high, None)
        gathered.add(await self._folded(wanted, source, pager, low), pager)

    async def _last(self, gathered: _Gathered, wanted: _Wanted, end_ns: int, count: int) -> None:
        """Gather the last ``count`` bars that open before ``end_ns``; farther back each time there are too few."""
        high, length = wanted.opening(end_ns), length_ns(wanted.frame)
        floor, back = max(0, high - _FAR_BACK_NS), (count + 1) * length + 10 * DAY_NS
        while True:
            low = wanted.opening(max(floor, high - back))
            source = await _source(wanted, low, high)
            # Two more than wanted: one that is not over yet, and one that is cut where the answer ends.
            parts = (count + 2) * -(-length // source.step_ns)
            pager = await self._fetched(wanted, source, low, high, parts)
            folded = await self._folded(wanted, source, pager, wanted.opening(pager.known_from))
            if len(folded.bars) >= count or high - back <= floor:
                del folded.bars[: max(0, len(folded.bars) - count)]
                gathered.add(folded, pager)
                return
            back *= _WIDER

    async def _fetched(
        self, wanted: _Wanted, source: Source, low: int, high: int, count: int | None
    ) -> Found:
        return await self._fetcher.fetch(
            wanted.instrument,
            source,
            low,
            min(high, self._wall_clock() + DAY_NS),  # beyond, only a clock that is wrong by a day has bars
            count=count,
            urgency=wanted.urgency,
            tell=wanted.tell,
        )

    async def _folded(self, wanted: _Wanted, source: Source, pager: Found, known_from: int) -> Folded:
        candles, settled = pager.candles, self._wall_clock() - self._settle_ns

        def work() -> Folded:
            return fold(
                wanted.instrument.contract_id,
                candles,
                source.step_ns,
                wanted.edges,
                now_ns=settled,
                known_from=known_from,
                bad=pager.bad,
            )

        return await aside(work, len(candles))


async def _source(wanted: _Wanted, low: int, high: int) -> Source:
    """Choose the service's bars; where the edges of many have to be looked at, in a thread."""
    looks = edges_looked_at(wanted.frame, wanted.anchor, low, high)
    return await aside(lambda: source_of(wanted.frame, wanted.anchor, low, high), looks)


def session_of(instrument: Instrument) -> Anchor:
    """Return the anchor of a contract's product, as live streams have it."""
    product = instrument.contract_id.split(".")[3]
    return Anchor.session(Sessions.for_product(product))


def nanoseconds(instant: Instant, name: str) -> int:
    """Return int64 ns of an instant.

    :raises ConfigError: for anything else, for a datetime without a zone, and outside of the years 1970 to 2199.
    """
    if isinstance(instant, datetime.datetime):
        if instant.tzinfo is None:
            raise ConfigError(f"{name} has no zone, so nobody knows when it is; give it one, such as UTC")
        since = instant - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        instant = (since // datetime.timedelta(microseconds=1)) * 1000
    if isinstance(instant, bool) or not isinstance(instant, int):
        raise ConfigError(f"{name} must be int64 nanoseconds or a datetime with a zone, not {instant!r:.40}")
    if not 0 <= instant < _LATEST:
        raise ConfigError(f"{name} must lie in the years 1970 to 2199; is {instant} in nanoseconds?")
    return instant


def _checked(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1_000_000:
        raise ConfigError(f"count must be a whole number from 1 to 1,000,000, not {count!r:.40}")
    return count


def length_ns(frame: Timeframe) -> int:
    """Return about how long a bar is, and no less."""
    days = {"d": 1, "w": 7, "M": 31}
    return frame.step_ns or frame.n * days[frame.unit] * DAY_NS
