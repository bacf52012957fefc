"""All timeframes of one contract: the finest take trades, coarser ones the closed bars of finer ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._events import Bar, BarRevised, BuilderFailed, BuilderRecovered
from trio_projectx._logs import fields
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.builder import AFTER_ALL, BEFORE_ALL, BarCounts
from trio_projectx.bars.decimals import Prices, ending_between, price_table
from trio_projectx.bars.edges import INT64_MAX, FixedEdges
from trio_projectx.bars.freeze import Freezer
from trio_projectx.bars.gate import Gate
from trio_projectx.bars.ladder import Ladder
from trio_projectx.bars.making import Making
from trio_projectx.bars.mending import Mender
from trio_projectx.bars.past import REVISABLE
from trio_projectx.bars.policies import Fill, Late, check_late_and_fill, check_outside, distinct, whole
from trio_projectx.bars.rungs import KindRung, StepFields, TimeRung, cascade
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.undo import Journal
from trio_projectx.bars.zone_watch import ZoneWatch
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid

_log: Final = logging.getLogger("trio_projectx")


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
        into its bar, if that is one of the last ``revisable`` of its timeframe: the table changes, `take_revised`
        tells.
    :param fill: "previous" gives bars without trades, ``synthetic`` and at the close before them, for scheduled
        intervals in which nobody traded; it needs a session anchor. None gives none.
    :param partial_first: mark the bars that began at or before the stamp of the first trade, or at most the
        lateness after it, as ``partial``: the feed was joined while they were forming. Under "attach" the first bar
        of a session begins, for that, where the session before it ended.
    :param in_ticks: keep prices in whole ticks too, for ``table(prices="ticks")`` and ``"decimal"``.
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
        in_ticks: bool = True,
        revisable: int = REVISABLE,
    ) -> None:
        self._contract_id = contract_id
        self._timeframes = distinct(timeframes)
        self._grid = grid
        self._lateness = whole("lateness_ns", lateness_ns, 0)
        check_outside(outside)
        check_late_and_fill(late, fill, anchor, self._timeframes)
        whole("bars_kept", bars_kept, 1)
        whole("revisable", revisable, 1)
        self._journal = Journal()
        self._freezer = Freezer(contract_id, grid)
        sessions = anchor.sessions
        self._gate = None if sessions is None else Gate(contract_id, sessions, outside, self._journal)
        making = Making(
            contract_id, grid, anchor, outside, fill, lateness_ns, partial_first,
            bars_kept, revisable if late == "revise" else 0, in_ticks, self._journal,
        )  # fmt: skip
        by_time = [frame for frame in self._timeframes if not isinstance(frame, BarKind)]
        self._rungs = cascade(by_time, anchor, outside, making.by_time)
        self._kinds = {
            frame: making.by_kind(frame, rank)
            for rank, frame in enumerate(self._timeframes)
            if isinstance(frame, BarKind)
        }
        self._by_length = [rung.builder for rung in self._rungs.values()]
        self._ladder = Ladder(
            list(self._rungs.values()),
            list(self._kinds.values()),
            self._freezer,
            self._journal,
            self._lateness,
        )
        self._mender = Mender(self._rungs, self._freezer, self._journal, drops=outside == "drop")
        self.anchor = anchor
        self.outside: Outside = outside
        edges = [anchor.edges(frame) for frame in by_time] or [FixedEdges(2)]
        self._first_allowed = max(each.first_ts for each in edges)
        self._last_allowed = min(each.last_ts for each in edges)
        self._youngest = BEFORE_ALL
        self._received = 0
        self._volume_bound = 0  # no open bar holds more
        self._flushed = False
        self._revised: list[BarRevised] = []
        self._edges = dict(zip(by_time, edges, strict=False))
        self._zone = anchor.zone if sessions is None else sessions.zone
        self._watch: ZoneWatch | None = None
        self._watch_from = AFTER_ALL if self._zone is None else BEFORE_ALL

    @property
    def contract_id(self) -> str:
        """The contract whose bars these are."""
        return self._contract_id

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes, in the order in which they were asked for."""
        return self._timeframes

    def update(self, batch: TradeBatch) -> list[Bar]:
        """Add a batch and return the bars that it closed, sorted by end, of equal ends the shorter first.

        All timeframes take it, and readers see their bars, at once. What fails is tried once more; a timeframe
        that fails again goes without the batch, which is counted as ``failed`` for it and told (`take_told`).

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
        self._received += len(ts)
        if self._gate is not None:
            admitted = self._admitted(self._gate, batch, low, high)
            if not admitted.ts_event:
                self._journal.keep()
                return []
            if admitted is not batch:
                batch, ts = admitted, admitted.ts_event
                ordered = sorted(ts)
                low, high = ordered[0], ordered[-1]
        youngest = self._youngest
        if high > youngest:
            self._youngest = high
        watermark = self._youngest - self._lateness
        bars = self._run((batch, low, high, ts == ordered, youngest, watermark), batch.ts_recv)
        if high >= self._watch_from:
            self._watch_zone(high)
        return bars

    def _run(self, step: StepFields, at: int) -> list[Bar]:
        found = self._ladder.run(step, at)
        if found is None:
            return []
        self._revised += found.revised
        return [bar for _, _, bar in found.bars]

    def _admitted(self, gate: Gate, batch: TradeBatch, low: int, high: int) -> TradeBatch:
        """Return what of a batch goes on; nothing, where the sessions failed twice: it is counted as failed."""
        for is_last in (False, True):
            try:
                return gate.admit(batch, low, high)
            except MemoryError:
                self._journal.undo()
                raise
            except Exception as exc:  # noqa: BLE001  sessions may be anybody's; the batch is not lost without being told
                self._journal.undo()
                if is_last:
                    self._revised += self._ladder.fail(batch, exc, batch.ts_recv)
        return TradeBatch(batch.contract_id, [], [], [], [], batch.ts_recv)

    def _watch_zone(self, ts: int) -> None:
        if self._zone is None:
            return
        try:
            if self._watch is None:
                self._watch = ZoneWatch(self._contract_id, self._zone, self._edges, ts)
            else:
                self._watch.pass_to(ts)
            self._watch_from = self._watch.until_ns
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  a sentence for the log must not cost bars that are made already
            _log.exception(
                "%s: the changes of the clocks of %s are not told",
                self._contract_id,
                self._zone,
                extra=fields("clock_changes_untold", contract=self._contract_id),
            )
            self._watch_from = AFTER_ALL

    @property
    def due_ns(self) -> int | None:
        """The event time (int64 ns) at which `advance` will close a bar; None if there is nothing to close."""
        return None if self._ladder.due >= AFTER_ALL else self._ladder.due + self._lateness

    def advance(self, ts_ns: int) -> list[Bar]:
        """Let the event clock reach ``ts_ns`` without a trade, and return the bars that closed by that.

        Trades that come afterwards are late as though one of that stamp had come before them. An instant in
        the past changes nothing, nor does one before the first trade.
        """
        if self._youngest == BEFORE_ALL or ts_ns < self._youngest or self._flushed:
            return []
        self._youngest = ts_ns
        watermark = ts_ns - self._lateness
        return self._advance(watermark) if watermark >= self._ladder.due else []

    def _advance(self, watermark: int) -> list[Bar]:
        now = self._youngest
        return self._run((None, now, now, True, now, watermark), now)

    def take_revised(self) -> list[BarRevised]:
        """Return the bars that late trades changed since the last call, each once, as they are now."""
        revised, self._revised = self._revised, []
        return revised

    def take_told(self) -> list[BuilderFailed | BuilderRecovered]:
        """Return what has failed, or works again, since the last call."""
        told, self._ladder.told = self._ladder.told, []
        return told

    @property
    def lateness_ns(self) -> int:
        """How much older than the youngest trade a trade may be and surely still find its bar open."""
        return self._lateness

    @property
    def mender(self) -> Mender:
        """What puts the service's bars in; for the task that owns the set."""
        return self._mender

    def settle(self, ts_ns: int) -> list[Bar]:
        """Close what ends by ``ts_ns``, and return it: trades that come later for that time are late."""
        closed = self.advance(ts_ns + self._lateness)
        if not self._flushed:
            self._youngest = max(self._youngest, ts_ns + self._lateness)  # also before the first trade
        return closed

    def rejoin(self) -> None:
        """Mark as ``partial`` (under ``partial_first``) what is open or opens up to the next trade's stamp.

        To be called where trades may be missing before the next batch.
        """
        self._ladder.rejoin()

    def covered(self, ts_ns: int) -> None:
        """Take back `rejoin` for bars that end by time and begin after ``ts_ns``: nothing is missing after it.

        Bars of a kind that begin before it are ``partial``, however many trades come before it.
        """
        self._ladder.covered(ts_ns)

    @property
    def finest(self) -> Timeframe | None:
        """The finest of the timeframes that end by time."""
        return next(iter(self._rungs), None)

    def late(self) -> tuple[int, int]:
        """Return how many trades were late for the finest and for the coarsest timeframe that end by time."""
        if not self._by_length:
            return 0, 0
        return self._by_length[0].late, self._by_length[-1].late

    def limit(self, bars_kept: int) -> int:
        """Keep so many closed bars per timeframe (at least) from now on; return how many went."""
        by_time = sum(rung.columns.limit(bars_kept) for rung in self._rungs.values())
        return by_time + sum(rung.columns.limit(bars_kept) for rung in self._kinds.values())

    def flush(self) -> list[Bar]:
        """Close all open bars and return them, sorted as by `update`: the end of a table or of a replay.

        No batch is taken after that: it could only reopen bars that were given out as closed.
        """
        self._flushed = True
        return self._advance(AFTER_ALL)

    @property
    def is_beyond_known(self) -> bool:
        """Whether a trade came of a date whose holidays are not in the table of the sessions (also logged)."""
        return self._gate is not None and self._gate.is_beyond_known

    def forming(self, timeframe: Timeframe | str) -> Bar | None:
        """Return the youngest open bar as it is now, or None if none is open.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        return self._rung(timeframe).forming(self._freezer)

    def counts(self, timeframe: Timeframe | str) -> BarCounts:
        """Return where the trades received so far are in one timeframe.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        outside, unscheduled = (0, 0) if self._gate is None else (self._gate.left_out, self._gate.unscheduled)
        rung = self._rung(timeframe)
        failed = rung.standing.failed
        if isinstance(rung, KindRung):
            growing = rung.builder.forming
            in_growing = 0 if growing is None else growing.trades
            return BarCounts(
                self._received, rung.builder.in_bars, in_growing, 0, outside, unscheduled, 0, failed
            )
        builder = rung.builder
        forming = sum(part.trades for part in builder.open_parts())
        revised = 0 if builder.past is None else builder.past.trades
        return BarCounts(
            self._received, builder.in_bars, forming, builder.late, outside, unscheduled, revised, failed
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
        found by binary search (kinds of bars, whose ends need not be in order, are looked through and copied).
        Any thread may call this while trades come: it sees all bars of an update, or none.
        ``prices="ticks"`` gives the four prices as they are kept, in whole ticks (int64); ``"decimal"`` copies
        them into exact decimal128 columns.

        :raises TimeframeError: if ``timeframe`` is not in this set.
        """
        rung = self._rung(timeframe)
        if isinstance(rung, TimeRung):
            return price_table(rung.columns, self._grid, prices, start, end)
        return ending_between(price_table(rung.columns, self._grid, prices), start, end)

    def _rung(self, timeframe: Timeframe | str) -> TimeRung | KindRung:
        frame = Timeframe(timeframe)
        found = self._kinds.get(frame) if isinstance(frame, BarKind) else self._rungs.get(frame)
        if found is None:
            raise TimeframeError(f'"{timeframe}" is not one of {", ".join(self._timeframes)}')
        return found

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
