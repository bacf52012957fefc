"""All builders of a contract as one: a step is done by all of them, or by none of them.

As long as nothing fails, the builders are a cascade. A step that fails is taken back from all of them and tried once
more. If it fails again, the cascade is parted: each builder takes in what finer ones had not handed on yet, and from
then on trades themselves. Who fails now is the one who failed: what it did is taken back, the batch is counted as
``failed`` for it alone, and the others go on. A breaker stops asking it for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from trio_projectx._events import Bar, BarRevised, BuilderFailed, BuilderRecovered
from trio_projectx._logs import fields
from trio_projectx.bars.builder import AFTER_ALL
from trio_projectx.bars.freeze import Freezer
from trio_projectx.bars.rungs import KindRung, Rung, Step, StepFields, TimeRung, Yield
from trio_projectx.bars.undo import Journal
from trio_projectx.market.batch import TradeBatch

_log: Final = logging.getLogger("trio_projectx")


class Ladder:
    """The rungs of one contract; ``due`` is the least watermark at which a bar closes.

    ``told`` collects what failed and what recovered, until the owner takes it.
    """

    __slots__ = (
        "_all",
        "_freezer",
        "_is_parted",
        "_journal",
        "_kinds",
        "_lateness",
        "_roots",
        "_timed",
        "due",
        "told",
    )

    def __init__(
        self,
        timed: Sequence[TimeRung],
        kinds: Sequence[KindRung],
        freezer: Freezer,
        journal: Journal,
        lateness: int,
    ) -> None:
        self._timed = tuple(timed)
        self._kinds = tuple(kinds)
        self._all: tuple[Rung, ...] = (*timed, *kinds)
        self._roots = [rung.builder for rung in timed if rung.builder.source is None]
        self._freezer = freezer
        self._journal = journal
        self._lateness = lateness
        self._is_parted = False
        self.due = AFTER_ALL
        self.told: list[BuilderFailed | BuilderRecovered] = []

    def rejoin(self) -> None:
        """Note that trades may be missing before the next one."""
        for rung in self._all:
            rung.standing.rejoin()

    def covered(self, ts_ns: int) -> None:
        """Note that nothing is missing after ``ts_ns``."""
        for rung in self._timed:
            rung.standing.covered(ts_ns)
        for kind in self._kinds:
            kind.standing.lacks_until(ts_ns)

    def run(self, step: StepFields, at: int) -> Yield | None:
        """Do a step, and return what it gives out, in order; ``at`` is our clock, for what is told."""
        if self._is_parted:
            found: Yield | None = self._each(Step(*step), at, tries=2)
        else:
            mark = self._journal.mark()
            try:
                found = self._together(*step)
            except MemoryError:  # no builder's failure, and trying again needs more
                self._journal.undo()
                raise
            except Exception as exc:  # noqa: BLE001  whatever it is, it must not cost the other timeframes their bars
                self._journal.undo(mark)
                found = self._again(Step(*step), at, exc)
            except BaseException:  # Ctrl-C may strike anywhere: no timeframe has the batch, or all of them
                self._journal.undo()
                raise
        self._journal.keep()
        if found is not None and len(found.bars) > 1:
            found.bars.sort(key=_place)
        return found

    def fail(self, batch: TradeBatch, exc: Exception, at: int) -> list[BarRevised]:
        """Count a batch as failed for all: it did not reach the builders, so that their breakers stay as they are.

        Returned are bars that are partial now.
        """
        revised: list[BarRevised] = []
        for rung in self._all:
            self.told.append(rung.standing.fail(batch, exc, None, at))
            revised += self._spoiled(rung, batch)
        _log.error(
            "trades could not be given to any builder: %s",
            self.told[-1],
            exc_info=exc,
            extra=fields("builders_failed", contract=self._freezer.contract_id),
        )
        return revised

    def _spoiled(self, rung: Rung, batch: TradeBatch) -> list[BarRevised]:
        """Return the bars that are partial now, because trades that came late for them could not be taken."""
        mark = self._journal.mark()
        try:
            return rung.spoil(sorted(set(batch.ts_event)), self._freezer, self._journal)
        except MemoryError:
            self._journal.undo()
            raise
        except Exception as exc:  # noqa: BLE001  as in run; its failure is told, and with it the span that has a hole
            self._journal.undo(mark)
            _log.error(
                "%s: bars that are not whole could not be marked: trades of them have failed",
                self._freezer.contract_id,
                exc_info=exc,
                extra=fields("bars_not_marked", contract=self._freezer.contract_id),
            )
            return []

    def _again(self, step: Step, at: int, failure: Exception) -> Yield | None:
        """Do a step once more that was taken back; if it fails too, each builder does it for itself."""
        _log.info(
            "a step of the builders is done once more: it failed",
            exc_info=failure,
            extra=fields("builders_tried_again", contract=self._freezer.contract_id),
        )
        mark = self._journal.mark()
        try:
            return self._together(*step)
        except MemoryError:
            self._journal.undo()
            raise
        except Exception:  # noqa: BLE001  as in run
            self._journal.undo(mark)
        self._part(max(step.youngest, step.high_ts), at)
        return self._each(step, at, tries=1)

    def _together(
        self,
        batch: TradeBatch | None,
        low_ts: int,
        high_ts: int,
        in_order: bool,
        youngest: int,
        watermark: int,
    ) -> Yield | None:
        changed = False
        if batch is not None:
            if self._timed and self._timed[0].standing.is_joining:
                for rung in self._timed:
                    rung.standing.join(batch.ts_event[0], self._journal)
            for root in self._roots:
                changed |= root.feed(batch, low_ts, high_ts, in_order, youngest, self._lateness)
        is_settled = changed or watermark >= self.due
        if not is_settled and not self._kinds:
            return None
        found = Yield([], [])
        if is_settled:
            for root in self._roots:
                root.settle(watermark)
            for rung in self._timed:
                if not rung.is_idle:
                    _add(found, rung.collect(watermark, self._freezer, self._journal))
        for kind in self._kinds:
            _add(found, kind.collect(batch, watermark, self._freezer, self._journal))
        if is_settled:
            self.due = min((rung.next_end for rung in self._timed), default=AFTER_ALL)
        return found

    def _each(self, step: Step, at: int, tries: int) -> Yield:
        """Do a step by each builder for itself."""
        found = Yield([], [])
        for rung in self._all:
            _add(found, self._alone(rung, step, at, tries))
        closing = [rung.next_end for rung in self._timed if rung.standing.breaker.state == "closed"]
        self.due = min(closing, default=AFTER_ALL)
        return found

    def _alone(self, rung: Rung, step: Step, at: int, tries: int) -> Yield:
        standing, batch, now = rung.standing, step.batch, max(step.youngest, step.high_ts)
        if not (standing.breaker.state == "closed" if batch is None else standing.breaker.allows(now)):
            if batch is None:
                return Yield([], [])
            standing.miss(batch)
            return Yield([], self._spoiled(rung, batch))
        mark, failure = self._journal.mark(), None
        for _ in range(tries):
            try:
                found = rung.take(step, self._lateness, self._freezer, self._journal)
            except MemoryError:
                self._journal.undo()
                raise
            except Exception as exc:  # noqa: BLE001  as in run
                self._journal.undo(mark)
                failure = exc
            else:
                recovered = None if batch is None else standing.succeed(at)
                if recovered is not None:
                    self.told.append(recovered)
                return found
        assert failure is not None
        self.told.append(standing.fail(batch, failure, now, at))
        _log.error(
            "a builder has failed: %s",
            self.told[-1],
            exc_info=failure,
            extra=fields("builder_failed", contract=self._freezer.contract_id),
        )
        return Yield([], [] if batch is None else self._spoiled(rung, batch))

    def _part(self, now_ns: int, at: int) -> None:
        self._is_parted = True
        _log.warning(
            "the builders of %s work apart from now on",
            self._freezer.contract_id,
            extra=fields("builders_parted", contract=self._freezer.contract_id),
        )
        for rung in reversed(self._timed):
            source, mark = rung.builder.source, self._journal.mark()
            parts = [] if source is None else source.open_parts()
            try:
                rung.builder.stand_alone()
            except MemoryError:
                self._journal.undo()
                raise
            except Exception as exc:  # noqa: BLE001  as in run
                self._journal.undo(mark)
                rung.standing.lose(parts)
                self.told.append(rung.standing.fail(None, exc, now_ns, at))
        for rung in self._timed:
            rung.builder.source = None
            rung.builder.children.clear()
        self._roots = [rung.builder for rung in self._timed]
        self._journal.keep()  # a mark protects only from what is touched first after it


def _add(found: Yield, more: Yield) -> None:
    found.bars.extend(more.bars)
    found.revised.extend(more.revised)


def _place(found: tuple[int, int, Bar]) -> tuple[int, int]:
    return found[:2]
