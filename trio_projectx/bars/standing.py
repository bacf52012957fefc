"""How one timeframe stands: from when on it was seen whole, what it could not take, and whether it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trio_projectx._events import BuilderFailed, BuilderRecovered
from trio_projectx._redact import escape
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.breaker import Breaker
from trio_projectx.bars.builder import BEFORE_ALL
from trio_projectx.bars.undo import Journal
from trio_projectx.market.batch import TradeBatch

_NOBODY: Final = (0, 0, 0)


class Standing:
    """The standing of one timeframe of one contract.

    ``failed`` counts trades that its builder could not take; they are in none of its bars. ``late_ns`` is by how much
    trades may be out of order: a missing one may be so much younger than the first that came after it.
    """

    __slots__ = (
        "_contract_id",
        "_joins_late",
        "_lacks_until",
        "_late_ns",
        "_missed",
        "_missed_until",
        "_seen_from",
        "_timeframe",
        "_was_joined",
        "breaker",
        "failed",
    )

    def __init__(self, contract_id: str, timeframe: Timeframe, *, joins_late: bool, late_ns: int = 0) -> None:
        self._late_ns = late_ns
        self.breaker = Breaker()
        self.failed = 0
        self._contract_id = contract_id
        self._timeframe = timeframe
        self._joins_late = joins_late
        self._missed = _NOBODY  # how many, and the first and the last stamp, not told yet
        self._missed_until = BEFORE_ALL
        # The stamp of the first trade since trades may have been missing; None before there is one.
        self._seen_from: int | None = None if joins_late else BEFORE_ALL
        self._lacks_until = BEFORE_ALL
        self._was_joined = False

    @property
    def is_joining(self) -> bool:
        """Whether trades may be missing before the next one."""
        return self._seen_from is None

    def rejoin(self) -> None:
        """Note that trades may be missing before the next one, if joining late matters here."""
        if self._joins_late:
            self._seen_from = None

    def covered(self, ts_ns: int) -> None:
        """Note that nothing is missing after ``ts_ns``, though no trade has come since."""
        if self._seen_from is None:
            self._seen_from = max(ts_ns, self._missed_until) + self._late_ns

    def lacks_until(self, ts_ns: int) -> None:
        """Note that trades up to ``ts_ns`` may be missing, also behind the next ones: for a kind of bars."""
        if self._joins_late:
            self._lacks_until = ts_ns

    def lacks_in(self, start: int) -> bool:
        """Whether a bar of a kind that begins with a trade of this stamp may have a hole."""
        return self._seen_from is None or start < self._lacks_until

    def join(self, ts_ns: int, journal: Journal) -> None:
        """Note the stamp of the first trade."""
        if self._seen_from is None:
            self._seen_from = max(ts_ns, self._missed_until) + self._late_ns
            self._was_joined = True
            journal.note(self)

    def keep(self) -> None:
        """Forget how it was."""
        self._was_joined = False

    def undo(self) -> None:
        """Be as it was before the update."""
        if self._was_joined:
            self._seen_from = None
        self._was_joined = False

    def is_partial(self, first_ts: int) -> bool:
        """Whether trades may be missing of a bar that could have some from ``first_ts`` on."""
        return self._seen_from is None or first_ts <= self._seen_from

    def miss(self, batch: TradeBatch) -> None:
        """Count the trades of a batch that goes by, and take what is open now for not whole."""
        count, first, _ = self._missed
        self.failed += len(batch)
        self._missed = count + len(batch), first if count else batch.ts_event[0], batch.ts_event[-1]
        self._missed_until = max(self._missed_until, *batch.ts_event)
        self._seen_from = None

    def lose(self, parts: Sequence[OpenBar]) -> None:
        """Count the trades of open bars of a finer timeframe that could not be taken in."""
        trades = sum(part.trades for part in parts)
        self.failed += trades
        if trades:
            first, last = min(part.first_ts for part in parts), max(part.last_ts for part in parts)
            self._missed = self._missed[0] + trades, first, last
            self._missed_until = max(self._missed_until, last)
            self._seen_from = None

    def fail(self, batch: TradeBatch | None, exc: Exception, now_ns: int | None, at: int) -> BuilderFailed:
        """Note that the builder failed, with a batch or without one, and return what is to be told.

        ``now_ns`` is event time; None where it was not the builder that failed.
        """
        if batch is not None:
            self.miss(batch)
        if now_ns is not None:
            self.breaker.failed(now_ns)
        count, first, last = self._take_missed()
        reason = escape(f"{type(exc).__name__}: {exc}", 200)
        return BuilderFailed(
            self._contract_id, self._timeframe, count, first, last, self.breaker.state, reason, at
        )

    def succeed(self, at: int) -> BuilderRecovered | None:
        """Note that the builder took a batch; return what is to be told if it had failed before."""
        was_closed = self.breaker.state == "closed"
        self.breaker.succeeded()
        if was_closed:
            return None
        return BuilderRecovered(self._contract_id, self._timeframe, *self._take_missed(), at)

    def _take_missed(self) -> tuple[int, int, int]:
        missed, self._missed = self._missed, _NOBODY
        return missed
