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

from trio_projectx._events import Bar, BuilderFailed, BuilderRecovered
from trio_projectx.bars.builder import AFTER_ALL
from trio_projectx.bars.freeze import Freezer
from trio_projectx.bars.rungs import KindRung, Rung, Step, TimeRung, Yield
from trio_projectx.bars.undo import Journal
from trio_projectx.market.batch import TradeBatch

_log: Final = logging.getLogger("trio_projectx")


class Ladder:
    """The rungs of one contract; ``due`` is the least watermark at which a bar closes.

    ``told`` collects what failed and what recovered, until the owner takes it.
    """

    __slots__ = ("_all", "_freezer", "_is_parted", "_journal", "_kinds", "_roots", "_timed", "due", "told")

    def __init__(
        self, timed: Sequence[TimeRung], kinds: Sequence[KindRung], freezer: Freezer, journal: Journal
    ) -> None:
        self._timed = tuple(timed)
        self._kinds = tuple(kinds)
        self._all: tuple[Rung, ...] = (*timed, *kinds)
        self._roots = [rung.builder for rung in timed if rung.builder.source is None]
        self._freezer = freezer
        self._journal = journal
        self._is_parted = False
        self.due = AFTER_ALL
        self.told: list[BuilderFailed | BuilderRecovered] = []

    def run(self, step: Step, at: int) -> Yield:
        """Do a step, and return what it gives out, in order; ``at`` is our clock, for what is told."""
        found = None if self._is_parted else self._twice_together(step)
        if found is None:
            tries = 2 if self._is_parted else 1  # the second one was made together
            if not self._is_parted:
                self._part()
            found = self._each(step, at, tries)
        self._journal.keep()
        if len(found.bars) > 1:
            found.bars.sort(key=_place)
        return found

    def fail(self, batch: TradeBatch, exc: Exception, now_ns: int, at: int) -> None:
        """Count a batch as failed for all: it did not even reach the builders."""
        for rung in self._all:
            self.told.append(rung.standing.fail(batch, exc, now_ns, at))
        _log.error("trades could not be given to any builder: %s", self.told[-1].reason, exc_info=exc)

    def _twice_together(self, step: Step) -> Yield | None:
        mark = self._journal.mark()
        for _ in range(2):
            try:
                return self._together(step)
            except Exception:  # whatever it is, it must not cost the other timeframes their bars
                _log.debug("a step of the builders is taken back", exc_info=True)
                self._journal.undo(mark)
            except BaseException:
                self._journal.undo()
                raise
        return None

    def _together(self, step: Step) -> Yield:
        batch, changed = step.batch, False
        if batch is not None:
            if self._timed and self._timed[0].standing.is_joining:
                for rung in self._timed:
                    rung.standing.join(batch.ts_event[0], self._journal)
            for root in self._roots:
                changed |= root.feed(
                    batch, step.low_ts, step.high_ts, step.in_order, step.youngest, step.lateness
                )
        found = Yield([], [])
        is_settled = changed or step.watermark >= self.due
        if is_settled:
            for root in self._roots:
                root.settle(step.watermark)
            for rung in self._timed:
                if not rung.is_idle:
                    _add(found, rung.collect(step.watermark, self._freezer, self._journal))
        for kind in self._kinds:
            _add(found, kind.take(step, self._freezer, self._journal))
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
            if batch is not None:
                standing.miss(batch)
            return Yield([], [])
        mark, failure = self._journal.mark(), None
        for _ in range(tries):
            try:
                found = rung.take(step, self._freezer, self._journal)
            except Exception as exc:  # as in _twice_together
                self._journal.undo(mark)
                failure = exc
            else:
                recovered = None if batch is None else standing.succeed(at)
                if recovered is not None:
                    self.told.append(recovered)
                return found
        assert failure is not None
        self.told.append(standing.fail(batch, failure, now, at))
        _log.error("%s", self.told[-1], exc_info=failure)
        return Yield([], [])

    def _part(self) -> None:
        self._is_parted = True
        _log.warning("the builders of %s work apart from now on", self._freezer.contract_id)
        for rung in reversed(self._timed):
            source, mark = rung.builder.source, self._journal.mark()
            parts = [] if source is None else source.open_parts()
            try:
                rung.builder.stand_alone()
            except Exception:  # as in _twice_together; it is told with the batch that brought us here
                self._journal.undo(mark)
                rung.standing.lose(parts)
        for rung in self._timed:
            rung.builder.source = None
            rung.builder.children.clear()
        self._roots = [rung.builder for rung in self._timed]


def _add(found: Yield, more: Yield) -> None:
    found.bars.extend(more.bars)
    found.revised.extend(more.revised)


def _place(found: tuple[int, int, Bar]) -> tuple[int, int]:
    return found[:2]
