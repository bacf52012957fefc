"""The filling of the gaps of one contract, in a task of its own: live data never wait for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final, TypeAlias

import trio

from trio_projectx._config import HistoryOptions
from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import DataEvent, GapFilled, GapFillFailed
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx._timeframe import NS_PER_SECOND, Timeframe
from trio_projectx.bars.mending import Mended
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.directory import Instrument
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.mending import Mend, ask
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.intervals import Interval
from trio_projectx.history.jobs import CONFLICTS_MOST, Job
from trio_projectx.history.reading import NOT_YET, BarReader, Doubt, Piece

_log: Final = logging.getLogger("trio_projectx")
#: How long the builders may take to mend; they may wait for a stream with ``overflow=BLOCK``.
_MEND_S: Final = 30.0
#: The exchange's clock is looked at again after this, whatever it seemed to be: it may have been wrong.
_LOOK_S: Final = 60.0
CONFLICT: Final = "the service shows less than was seen live"
#: Attempts after which it is told, too, that a service shows nothing newer yet: a quiet market is no failure. While
#: that goes on, over a night or a holiday, it is told again after twice as many, and so on.
_PATIENCE: Final = 8
_TOO_MANY: Final = "too much waits to be read again, and the oldest of it is given up"
_BUSY: Final = "the next gap is open, or the stream does not take bars now"
_Key: TypeAlias = tuple[BarOutlet, Timeframe]


class Filling:
    """One contract: its jobs, and the task that does them.

    ``clock`` is the exchange's, ``wall_clock`` ours; both int64 ns.
    """

    def __init__(
        self,
        contract: ContractPipeline,
        instrument: Instrument,
        coverage: Coverage,
        reader: BarReader,
        options: HistoryOptions,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        tell: Callable[[DataEvent], None],
    ) -> None:
        self._contract = contract
        self._instrument = instrument
        self._coverage = coverage
        self._reader = reader
        self._options = options
        self._clock = clock
        self._wall_clock = wall_clock
        self._tell = tell
        self._settle_ns = round(options.settle_s * NS_PER_SECOND)
        self._jobs: dict[_Key, Job] = {}
        self._bell = Bell()

    def want(self, outlet: BarOutlet, frame: Timeframe, low: int, high: int) -> None:
        """Have the bars of ``[low, high)`` read again, once they are over."""
        job = self._jobs.get((outlet, frame))
        if job is None:
            job = self._jobs[outlet, frame] = Job(outlet.bars.mender.edges(frame))
        job.wanted.add(low, high)
        self._bound(frame, job)
        self._bell.ring()

    def _bound(self, frame: Timeframe, job: Job) -> None:
        gone = job.bound()
        if gone is not None:
            self._coverage.failed(*gone, _TOO_MANY)
            self._tell_failure(frame, job, [Doubt(*gone, _TOO_MANY)], None)

    async def run(self) -> None:
        """Do what is wanted, for as long as the gateway is open; what fails is told, and tried again."""
        while True:
            self._drop_done()
            key, at = self._next()
            now = trio.current_time()
            if key is not None and at <= now:
                await self._do(key)
            else:
                await self._bell.wait(math.inf if key is None else min(at, now + _LOOK_S))

    def _drop_done(self) -> None:
        for key in list(self._jobs):
            if key[0] not in self._contract.outlets or not len(self._jobs[key].wanted):
                del self._jobs[key]

    def _now_ns(self) -> int:
        """Return what the exchange's clock shows, by ours or by the contract's trades: what is over is so by both.

        Ours may be ahead, and a service that gives a bar that is forming would end it then.
        """
        ours, by_trades = self._clock(), self._contract.clock
        return ours if by_trades is None else min(ours, by_trades.ts_at(trio.current_time()))

    def _next(self) -> tuple[_Key | None, float]:
        """Return the job that is due first, and when (trio's clock)."""
        now, exchange = trio.current_time(), self._now_ns()
        found: _Key | None = None
        first = math.inf
        for key, job in self._jobs.items():
            ready = job.ready_ns(self._settle_ns)
            if ready is not None:
                at = max(job.not_before, now + max(0.0, (ready - exchange) / NS_PER_SECOND))
                if at < first:
                    found, first = key, at
        return found, first

    async def _do(self, key: _Key) -> None:
        (outlet, frame), job = key, self._jobs[key]
        span = job.take(self._now_ns() - self._settle_ns)
        if span is None:  # a clock has gone back
            job.not_before = trio.current_time() + 1.0
            return
        doubts, revised = await self._read_and_mend(outlet, frame, span)
        self._note(frame, job, span, doubts, revised)

    async def _read_and_mend(
        self, outlet: BarOutlet, frame: Timeframe, span: Interval
    ) -> tuple[list[Doubt], int]:
        """Return what is not known after it, and how many bars have changed."""
        mender, revised = outlet.bars.mender, 0
        try:
            edges, anchor = mender.edges(frame), outlet.bars.anchor
            reading = await self._reader.read(
                self._instrument, frame, anchor, edges, *span, clock=self._now_ns
            )
        except TrioProjectXError as exc:
            return [Doubt(*span, escape(str(exc), 300))], 0
        doubts = list(reading.doubts)
        for piece in reading.pieces:
            mended = await self._mend(outlet, frame, piece)
            if mended is None:
                doubts.append(Doubt(piece.low, piece.high, _BUSY))
            else:
                revised += len(mended.revised)
                doubts += [Doubt(*each, CONFLICT) for each in mended.conflicts]
                self._coverage.revised(mended.revised, self._wall_clock())
        return doubts, revised

    async def _mend(self, outlet: BarOutlet, frame: Timeframe, piece: Piece) -> Mended | None:
        item = Mend(outlet, frame, piece.known, piece.low, piece.high)
        with trio.move_on_after(_MEND_S):
            await ask(self._contract, item)
        return item.result

    def _note(self, frame: Timeframe, job: Job, span: Interval, doubts: list[Doubt], revised: int) -> None:
        low, high = span
        if all(doubt.low > low for doubt in doubts):
            low = _reach(job, low)
        high = _reach(job, high)
        now, contract_id = trio.current_time(), self._contract.contract_id
        for doubt in sorted(doubts, key=_low):
            if low < doubt.low:
                self._coverage.filled(low, doubt.low)
            low = max(low, doubt.high)
        if low < high:
            self._coverage.filled(low, high)
        if revised:
            _log.info(
                "%s: %s bars of %s were read again and revised",
                contract_id,
                revised,
                frame,
                extra=fields("gap_filled", contract=contract_id, timeframe=str(frame), count=revised),
            )
            self._tell(GapFilled(contract_id, frame, *span, revised, self._wall_clock()))
        if not doubts:
            job.succeeded(now, self._options.settle_s)
            return
        job.conflicts = job.conflicts + 1 if all(each.why == CONFLICT for each in doubts) else 0
        is_hopeless = job.conflicts >= CONFLICTS_MOST
        wait_s = job.failed(now, self._options.retry_s, self._options.retry_cap_s)
        for doubt in doubts:
            self._coverage.failed(doubt.low, doubt.high, doubt.why)
            if not is_hopeless:
                job.wanted.add(doubt.low, doubt.high)
        if _is_told(job.attempts) or any(doubt.why != NOT_YET for doubt in doubts):
            self._tell_failure(frame, job, doubts, None if is_hopeless else wait_s)
        self._bound(frame, job)

    def _tell_failure(
        self, frame: Timeframe, job: Job, doubts: list[Doubt], retry_in_s: float | None
    ) -> None:
        contract_id, low = self._contract.contract_id, min(doubt.low for doubt in doubts)
        high = max(doubt.high for doubt in doubts)
        why = next((doubt.why for doubt in doubts if doubt.why != NOT_YET), NOT_YET)
        if job.attempts == 1 or retry_in_s is None:
            _log.warning(
                "%s: bars of %s could not be read again: %s",
                contract_id,
                frame,
                why,
                extra=fields("gap_fill_failed", contract=contract_id, timeframe=str(frame)),
            )
        at = self._wall_clock()
        self._tell(GapFillFailed(contract_id, frame, low, high, why, job.attempts, retry_in_s, at))


def _reach(job: Job, ts: int) -> int:
    """Return from when on trades are in the bar that begins at an edge: those of closed hours may be."""
    return min(ts, job.edges.locate(ts).low)


def _is_told(attempts: int) -> bool:
    return attempts >= _PATIENCE and attempts & (attempts - 1) == 0


def _low(doubt: Doubt) -> int:
    return doubt.low
