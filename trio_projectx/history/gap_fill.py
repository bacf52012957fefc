"""The ledger of time of every contract of a gateway, and the filling of its gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from trio_projectx._config import HistoryOptions
from trio_projectx._errors import TrioProjectXError
from trio_projectx._events import DataEvent, Gap, HistoryMissing
from trio_projectx._redact import escape
from trio_projectx._timeframe import NS_PER_SECOND, Timeframe
from trio_projectx.bars.mending import AFTER_ALL, Known
from trio_projectx.connection.directory import Instrument
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.mending import Begin, ask
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.seam import Want, nothing
from trio_projectx.history.coverage import Coverage, CoverageReport
from trio_projectx.history.filling import Filling
from trio_projectx.history.history import History
from trio_projectx.history.reading import BarReader, known_of

_NONE: Final = "the service has no bars"
_FULL: Final = "more live bars came before it than the stream has capacity for"
#: How long the contract's task may take until it is between two batches; it begins the stream later then.
_BEGIN_S: Final = 1.0
#: How often it is looked whether live trades have begun.
_LOOK_S: Final = 0.1


class GapFiller:
    """Made once for a gateway; ``clock`` is the exchange's, ``wall_clock`` ours, both int64 ns.

    Tasks: one for each contract whose bars anybody has wanted; the gateway owns them.
    """

    def __init__(
        self,
        history: History,
        reader: BarReader,
        tasks: BackgroundTasks,
        options: HistoryOptions,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        tell: Callable[[DataEvent], None],
    ) -> None:
        self._history = history
        self._reader = reader
        self._tasks = tasks
        self._options = options
        self._clock = clock
        self._wall_clock = wall_clock
        self._tell = tell
        self._coverages: dict[str, Coverage] = {}
        self._fillings: dict[str, Filling] = {}

    # -- what the pipelines tell (`flow.fills.Fills`)

    def covered(self, contract_id: str, at_ns: int) -> None:
        """Trades are received from now on."""
        self._coverage(contract_id).begin(at_ns)

    def broken(self, contract_id: str, at_ns: int, cause: str) -> None:
        """They may be missing from ``at_ns`` on."""
        self._coverage(contract_id).breaks(at_ns, cause)

    def gap(self, gap: Gap) -> None:
        """They may be missing in it, and are received again."""
        coverage = self._coverage(gap.contract_id)
        coverage.lost(gap.start, gap.end, gap.cause)
        coverage.begin(gap.end)

    def left(self, contract_id: str, at_ns: int | None) -> None:
        """Nobody wants them any more."""
        self._coverage(contract_id).end(at_ns)

    # -- what streams want

    def wants(self, contract: ContractPipeline, instrument: Instrument, outlet: BarOutlet) -> Want:
        """Return what a stream of bars calls with the spans that it wants read again."""
        if not self._options.fill_gaps:
            return nothing
        filling = self._fillings.get(contract.contract_id)
        if filling is None:
            filling = self._fillings[contract.contract_id] = Filling(
                contract,
                instrument,
                self._coverage(contract.contract_id),
                self._reader,
                self._options,
                self._clock,
                self._wall_clock,
                self._tell,
            )
            self._tasks.start_soon(filling.run, name=f"gap fill {contract.contract_id}")
        return partial(filling.want, outlet)

    async def begin(
        self, contract: ContractPipeline, instrument: Instrument, outlet: BarOutlet, count: int
    ) -> None:
        """Begin a stream, which has been acknowledged, with the last ``count`` bars of each timeframe.

        It waits until the bars that ended before live trades began have settled, and for the service, for ``wait_s``
        in all. What has not come by then is told, and the stream begins without it. Cancelled, nothing begins: the
        stream is never seen by anybody then.
        """
        found: dict[Timeframe, Sequence[Known]] = {}
        why = f"it did not come within {self._options.wait_s:g} s"
        frames = [Timeframe(frame) for frame in outlet.bars.timeframes]
        with trio.move_on_after(self._options.wait_s):
            await self._settle(outlet, frames)
            for frame in frames:
                try:
                    found[frame] = await self._last(instrument, outlet, frame, count)
                except TrioProjectXError as exc:
                    self._miss(contract, frame, escape(str(exc), 300))
                    found[frame] = ()
        # Not shielded: where a gateway ends, the contract's task has ended too, and would never answer.
        with trio.move_on_after(_BEGIN_S):
            await ask(contract, Begin(outlet, found))
        if outlet.seam is not None and outlet.seam.is_full:
            found, why = {}, _FULL
        for frame in frames:
            if frame not in found:
                self._miss(contract, frame, why)
            elif found[frame]:
                self._coverage(contract.contract_id).had(found[frame][0].start, found[frame][-1].end)

    async def _settle(self, outlet: BarOutlet, frames: Sequence[Timeframe]) -> None:
        """Wait until every bar before the first live one can be read; twice ``settle_s`` at most."""
        begun = self._clock()
        with trio.move_on_after(2 * self._options.settle_s):
            while (wait_ns := self._wait_ns(outlet, frames, begun)) > 0:  # noqa: ASYNC110  time alone changes it too
                # Looked at again and again: the first trade may say that another bar has ended.
                await trio.sleep(min(wait_ns / NS_PER_SECOND, _LOOK_S))

    def _wait_ns(self, outlet: BarOutlet, frames: Sequence[Timeframe], begun: int) -> int:
        mender, now = outlet.bars.mender, self._clock()
        settle_ns = round(self._options.settle_s * NS_PER_SECOND)
        needed = begun
        for frame in frames:
            start, end = mender.edges(frame).interval(begun)
            first = mender.first_start(frame)
            if first <= start:
                needed = max(needed, start + settle_ns)  # what was forming is live
            elif first < AFTER_ALL:
                needed = max(needed, first + settle_ns)
            else:
                # Without a trade it is not live yet, and if it ends soon it may never be.
                needed = max(needed, (end if end - now < settle_ns else start) + settle_ns)
        return needed - now

    async def _last(
        self, instrument: Instrument, outlet: BarOutlet, frame: Timeframe, count: int
    ) -> Sequence[Known]:
        bars = outlet.bars
        before = min(bars.mender.first_start(frame), self._clock())
        found = await self._history.last(instrument, frame, bars.anchor, bars.outside, count, before)
        if not found:
            self._miss_of(instrument.contract_id, frame, _NONE)
        return known_of(found, instrument.grid)

    def _miss(self, contract: ContractPipeline, frame: Timeframe, why: str) -> None:
        self._miss_of(contract.contract_id, frame, why)

    def _miss_of(self, contract_id: str, frame: Timeframe, why: str) -> None:
        self._tell(HistoryMissing(contract_id, frame, why, self._wall_clock()))

    # -- what users ask

    def report(self, contract_id: str, start: int | None, end: int | None) -> CoverageReport:
        """Return what is known of a contract's time; of one that nobody has asked for nothing is, nor is it kept."""
        found = self._coverages.get(contract_id) or Coverage(contract_id)
        return found.report(start, end, self._clock())

    def _coverage(self, contract_id: str) -> Coverage:
        found = self._coverages.get(contract_id)
        if found is None:
            found = self._coverages[contract_id] = Coverage(contract_id)
        return found
