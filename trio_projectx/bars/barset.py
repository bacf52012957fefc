"""All timeframes of one contract: the finest take trades, coarser ones the closed bars of finer ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._events import Bar, BarRevised
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.builder import AFTER_ALL, BEFORE_ALL, BarCounts
from trio_projectx.bars.columns import BarColumns
from trio_projectx.bars.decimals import Prices, price_table
from trio_projectx.bars.edges import INT64_MAX, FixedEdges
from trio_projectx.bars.gate import Gate
from trio_projectx.bars.kinds import KindBuilder
from trio_projectx.bars.past import Past
from trio_projectx.bars.rungs import (
    Fill,
    KindRung,
    Late,
    Rung,
    cascade,
    check_late_and_fill,
    check_outside,
    make_rung,
)
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.zone_watch import ZoneWatch
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid


class BarSet:
    """The bars of one contract in several timeframes, built from its trades.

    A timeframe whose bars are made of whole bars of another one of the set is folded from the coarsest
    such; the result, in every field, in every count and in the call that returns it, is what a set of that
    timeframe alone would give. A bar is closed by the first trade that is ``lateness_ns`` or more past its
    end; ``lateness_ns`` is also how much older than the youngest trade a trade may be and surely still find
    its bar open. A trade that comes later than that, into an interval that is final, is left out of that
    timeframe and counted as late, or put into that bar after all (``late``).

    Not for use by two tasks at a time: one owns it; `table` may be called from any thread. It reads no clock,
    so a bar of a market that has gone quiet stays open until the next trade, `advance` or `flush`.

    :param contract_id: the contract of each batch, and of each `Bar` that comes out.
    :param timeframes: at least one, each at most once; kinds of bars (`BarKind`) are among them. Those take
        trades by arrival, know no lateness and no revision, and come behind the others that a call returns.
    :param grid: turns ticks into prices.
    :param lateness_ns: whole nanoseconds, 0 or more.
    :param bars_kept: closed bars kept per timeframe for `table` (at least; see `BarColumns` for at most).
    :param outside: what becomes of trades in closed hours of a session anchor: "own" gives them bars of their
        own on the grid of UTC (``scheduled`` false, no trade date), cut where sessions begin and end;
        "attach" puts them into the first bar of the session that follows (its ``first_ts`` is then before
        its ``start``); "drop" leaves them out, as though they had not come. They are counted.
    :param late: what becomes of a trade whose bar is final: "count" leaves it out and counts it; "revise" puts it
        into its bar, if that is one of the last 1,000 of its timeframe: the table changes, `take_revised` tells.
    :param fill: "previous" gives bars without trades, ``synthetic`` and at the close before them, for scheduled
        intervals in which nobody traded; it needs a session anchor. None gives none.
    :param partial_first: mark the bars that began at or before the stamp of the first trade as ``partial``:
        the feed was joined while they were forming.
    :raises TimeframeError: if a timeframe is not one, or the anchor does not offer it.
    :raises ConfigError: for any other option that is wrong.
    """

    def __init__(
        self,
        contract_id: str,
        timeframes: Sequence[Timeframe | str],
        *,
        anchor: Anchor,
        grid: PriceGrid,
        lateness_ns: int,
        bars_kept: int = 100_000,
        partial_first: bool = False,
        outside: Outside = "own",
        late: Late = "count",
        fill: Fill = None,
    ) -> None:
        self._contract_id = contract_id
        self._timeframes = _frames(timeframes)
        self._grid = grid
        self._lateness = _whole("lateness_ns", lateness_ns, 0)
        self._partial_first = partial_first
        sessions = anchor.sessions
        self._gate = None if sessions is None else Gate(contract_id, sessions, check_outside(outside))
        check_late_and_fill(late, fill, anchor)
        keep = partial(make_rung, anchor, outside, late, fill, _whole("bars_kept", bars_kept, 1))
        by_time = [frame for frame in self._timeframes if not isinstance(frame, BarKind)]
        self._rungs = cascade(by_time, anchor, outside, keep)
        self._kinds = {
            frame: KindRung(frame, KindBuilder(frame, grid), BarColumns(bars_kept))
            for frame in self._timeframes
            if isinstance(frame, BarKind)
        }
        self._roots = [rung.builder for rung in self._rungs.values() if rung.builder.source is None]
        edges = [anchor.edges(frame) for frame in by_time] or [FixedEdges(2)]
        self._first_allowed = max(each.first_ts for each in edges)
        self._last_allowed = min(each.last_ts for each in edges)
        self._youngest = BEFORE_ALL
        self._due = AFTER_ALL  # the least watermark at which a bar closes
        self._received = 0
        self._seen_from: int | None = None  # the stamp of the first trade to arrive
        self._volume_bound = 0  # no open bar holds more
        self._flushed = False
        self._revised: list[BarRevised] = []
        self._not_whole: set[BarKind] = set(self._kinds if partial_first else ())
        self._edges = dict(zip(by_time, edges, strict=False))
        self._zone = anchor.zone if anchor.sessions is None else anchor.sessions.zone
        self._watch: ZoneWatch | None = None
        self._watch_from = AFTER_ALL if self._zone is None else BEFORE_ALL

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes, in the order in which they were asked for."""
        return self._timeframes

    def update(self, batch: TradeBatch) -> list[Bar]:
        """Add a batch and return the bars that it closed, sorted by end, of equal ends the shorter first.

        :raises ConfigError: and nothing has changed, if the batch is of another contract, its columns
            differ in length, a stamp is so near the limits of int64 that its bar has no end, the volumes of
            the batch and of all open bars together leave int64, or the set was flushed.
        """
        ts = batch.ts_event
        if not ts:
            return []
        ordered = sorted(ts)  # cheaper than min() and max(), for they usually are
        low, high = ordered[0], ordered[-1]
        self._check(batch, low, high)
        if self._gate is not None:
            admitted = self._gate.admit(batch, low, high)
            if admitted is not batch:
                self._received += len(ts) - len(admitted)
                if not admitted.ts_event:
                    return []
                batch, ts = admitted, admitted.ts_event
                ordered = sorted(ts)
                low, high = ordered[0], ordered[-1]
        if self._seen_from is None:
            self._seen_from = ts[0]
        in_order, youngest, changed = ts == ordered, self._youngest, False
        for root in self._roots:
            changed |= root.feed(batch, low, high, in_order, youngest, self._lateness)
        self._received += len(ts)
        if high > youngest:
            self._youngest = youngest = high
            if high >= self._watch_from:
                self._watch_zone(high)
        watermark = youngest - self._lateness
        closed = self._settle(watermark) if changed or watermark >= self._due else []
        for kind in self._kinds.values():
            closed += self._keep(kind, kind.builder.update(batch))
        return closed

    def _watch_zone(self, ts: int) -> None:
        if self._zone is None:
            return
        if self._watch is None:
            self._watch = ZoneWatch(self._contract_id, self._zone, self._edges, ts)
        else:
            self._watch.pass_to(ts)
        self._watch_from = self._watch.until_ns

    def _keep(self, kind: KindRung, completed: list[OpenBar]) -> list[Bar]:
        bars: list[Bar] = []
        for bar in completed:
            if bar.is_partial is None:
                bar.is_partial = kind.kind in self._not_whole
                self._not_whole.discard(kind.kind)
            bars.append(self._freeze(kind.kind, bar, closed=True))
            kind.columns.append(bars[-1])
        return bars

    @property
    def due_ns(self) -> int | None:
        """The event time (int64 ns) at which `advance` will close a bar; None if there is nothing to close."""
        return None if self._due >= AFTER_ALL else self._due + self._lateness

    def advance(self, ts_ns: int) -> list[Bar]:
        """Let the event clock reach ``ts_ns`` without a trade, and return the bars that closed by that.

        Trades that come afterwards are late as though one of that stamp had come before them. An instant in
        the past changes nothing, nor does one before the first trade.
        """
        if self._youngest == BEFORE_ALL or ts_ns <= self._youngest or self._flushed:
            return []
        self._youngest = ts_ns
        watermark = ts_ns - self._lateness
        return self._settle(watermark) if watermark >= self._due else []

    def take_revised(self) -> list[BarRevised]:
        """Return the bars that late trades changed since the last call, each once, as they are now."""
        revised, self._revised = self._revised, []
        return revised

    def rejoin(self) -> None:
        """Mark as ``partial`` (under ``partial_first``) what is open or opens up to the next trade's stamp.

        To be called where trades may be missing before the next batch.
        """
        self._seen_from = None
        self._not_whole.update(self._kinds if self._partial_first else ())

    def late(self) -> int:
        """Return how many trades were late for every timeframe (those late for the coarsest)."""
        coarsest = max(self._rungs.values(), key=lambda rung: rung.rank, default=None)
        return 0 if coarsest is None else coarsest.builder.late

    def flush(self) -> list[Bar]:
        """Close all open bars and return them, sorted as by `update`: the end of a table or of a replay.

        No batch is taken after that: it could only reopen bars that were given out as closed.
        """
        self._flushed = True
        closed = self._settle(AFTER_ALL)
        for kind in self._kinds.values():
            closed += self._keep(kind, kind.builder.flush())
        return closed

    @property
    def is_beyond_known(self) -> bool:
        """Whether a trade came of a date whose holidays are not in the table of the sessions (also logged)."""
        return self._gate is not None and self._gate.is_beyond_known

    def forming(self, timeframe: Timeframe | str) -> Bar | None:
        """Return the youngest open bar as it is now, or None if none is open.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        kind = self._kind(timeframe)
        if kind is not None:
            growing = kind.builder.forming
            return None if growing is None else self._freeze(kind.kind, growing, closed=False)
        rung = self._rung(timeframe)
        bar = rung.builder.forming()
        return None if bar is None else self._freeze(rung.timeframe, bar, closed=False)

    def counts(self, timeframe: Timeframe | str) -> BarCounts:
        """Return where the trades received so far are in one timeframe.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        outside, unscheduled = (0, 0) if self._gate is None else (self._gate.left_out, self._gate.unscheduled)
        kind = self._kind(timeframe)
        if kind is not None:
            growing = kind.builder.forming
            in_growing = 0 if growing is None else growing.trades
            return BarCounts(self._received, kind.builder.in_bars, in_growing, 0, outside, unscheduled)
        builder = self._rung(timeframe).builder
        forming = sum(part.trades for part in builder.open_parts())
        revised = 0 if builder.past is None else builder.past.trades
        return BarCounts(
            self._received, builder.in_bars, forming, builder.late, outside, unscheduled, revised
        )

    def table(
        self,
        timeframe: Timeframe | str,
        start: int | None = None,
        end: int | None = None,
        prices: Prices = "float",
    ) -> pa.Table:
        """Return the closed bars kept of one timeframe, oldest first; immutable, and no bar is copied.

        Columns: ``start end`` (timestamp ns UTC), ``open high low close`` (float64), ``volume trades``
        (int64), ``trade_date`` (date32, null under an anchor without sessions), ``buy_volume sell_volume``
        (int64), ``vwap`` (float64), ``first_ts last_ts`` (int64 ns), ``partial scheduled synthetic`` (bool).

        With ``start`` or ``end`` (int64 ns) it is those bars that end after ``start`` and not after ``end``,
        found by binary search. Any thread may call this while trades come: a row is whole or not there.
        ``prices="decimal"`` copies the four prices into exact decimal128 columns.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        kind = self._kind(timeframe)
        columns = (self._rung(timeframe) if kind is None else kind).columns
        return price_table(columns.table(start, end), self._grid, prices)

    def _kind(self, timeframe: Timeframe | str) -> KindRung | None:
        frame = Timeframe(timeframe)
        return self._kinds.get(frame) if isinstance(frame, BarKind) else None

    def _rung(self, timeframe: Timeframe | str) -> Rung:
        try:
            return self._rungs[Timeframe(timeframe)]
        except KeyError:
            raise TimeframeError(f'"{timeframe}" is not one of {", ".join(self._timeframes)}') from None

    def _check(self, batch: TradeBatch, low: int, high: int) -> None:
        if batch.contract_id != self._contract_id:
            raise ConfigError(f"a batch of {batch.contract_id!r:.60} is not one of {self._contract_id!r}")
        if not len(batch.ts_event) == len(batch.ticks) == len(batch.volume) == len(batch.side):
            raise ConfigError("the columns of a batch differ in length")
        if low < self._first_allowed or high > self._last_allowed:
            stamp = low if low < self._first_allowed else high
            raise ConfigError(f"no bar can hold the stamp {stamp}: one of its edges is not in int64")
        if self._flushed:
            raise ConfigError("these bars were flushed: they take no more trades")
        total = sum(batch.volume)
        if self._volume_bound + total > INT64_MAX:  # the bound has only grown since it was last exact
            of_kinds = sum(kind.builder.open_volume for kind in self._kinds.values())
            self._volume_bound = of_kinds + sum(
                rung.builder.own_open_volume() for rung in self._rungs.values()
            )
            if self._volume_bound + total > INT64_MAX:
                raise ConfigError("the volumes of the open bars and of this batch do not fit into int64")
        self._volume_bound += total

    def _settle(self, watermark: int) -> list[Bar]:
        for root in self._roots:
            root.settle(watermark)
        rungs = self._rungs.values()
        closed = [(bar.end, rung.rank, rung, bar) for rung in rungs for bar in rung.take_closed(watermark)]
        self._due = min((rung.next_end for rung in rungs), default=AFTER_ALL)
        closed.sort(key=_by_end_and_rank)
        bars = [(rung.columns, self._give(rung.timeframe, bar)) for _, _, rung, bar in closed]
        for columns, frozen in bars:
            columns.append(frozen)
        for rung in rungs:
            if rung.builder.past is not None:
                self._revise(rung, rung.builder.past)
        return [frozen for _, frozen in bars]

    def _revise(self, rung: Rung, past: Past) -> None:
        for bar in past.take_revised():
            is_new = bar.is_partial is None
            frozen = self._give(rung.timeframe, bar)
            rung.columns.revise(frozen)
            self._revised.append(BarRevised(frozen, bar.late_trades, is_new))

    def _give(self, timeframe: Timeframe, bar: OpenBar) -> Bar:
        if bar.is_partial is None:
            bar.is_partial = self._is_partial(bar)
        return self._freeze(timeframe, bar, closed=True)

    def _is_partial(self, bar: OpenBar) -> bool:
        if not self._partial_first or not bar.trades:
            return False
        return self._seen_from is None or bar.start <= self._seen_from

    def _freeze(self, timeframe: Timeframe, bar: OpenBar, *, closed: bool) -> Bar:
        num, den = self._grid.num, self._grid.den
        close = bar.close * num / den
        if bar.volume:
            first_ts, last_ts = bar.first_ts, bar.last_ts
            # Exact but for this one, correctly rounded, division.
            vwap = bar.notional * num / (den * bar.volume)
        else:
            first_ts = last_ts = bar.start
            vwap = close
        return Bar(
            contract_id=self._contract_id,
            timeframe=timeframe,
            start=bar.start,
            end=bar.end,
            open=bar.open * num / den,
            high=bar.high * num / den,
            low=bar.low * num / den,
            close=close,
            volume=bar.volume,
            trades=bar.trades,
            trade_date=bar.trade_date,
            buy_volume=bar.buy_volume,
            sell_volume=bar.sell_volume,
            vwap=vwap,
            first_ts=first_ts,
            last_ts=last_ts,
            partial=self._is_partial(bar) if bar.is_partial is None else bar.is_partial,
            scheduled=bar.is_scheduled,
            synthetic=not bar.volume,
            closed=closed,
        )


def _by_end_and_rank(closed: tuple[int, int, Rung, OpenBar]) -> tuple[int, int]:
    return closed[:2]


def _whole(name: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r:.40}")
    return value


def _frames(timeframes: Sequence[Timeframe | str]) -> tuple[Timeframe, ...]:
    frames = tuple(Timeframe(each) for each in timeframes)
    if not frames:
        raise ConfigError("a bar set needs at least one timeframe")
    if len(set(frames)) < len(frames):
        raise ConfigError(f"a timeframe is there twice: {', '.join(frames)}")
    return frames
