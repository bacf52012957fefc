"""Trades in closed hours: counted, and left out where that is the policy."""

from __future__ import annotations

import logging
from typing import Final

from trio_projectx._logs import fields
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.sessions import Sessions
from trio_projectx.bars.undo import Journal
from trio_projectx.market.batch import TradeBatch

_log: Final = logging.getLogger("trio_projectx")


class Gate:
    """Compares the trades of one contract with its sessions.

    ``unscheduled`` counts trades in closed hours, ``left_out`` those of them that were dropped. Where the
    holidays of a trade's date are not in the table, that is said once, in the log and by ``is_beyond_known``.
    """

    __slots__ = (
        "_before",
        "_contract_id",
        "_drops",
        "_high",
        "_journal",
        "_known",
        "_low",
        "_sessions",
        "is_beyond_known",
        "left_out",
        "unscheduled",
    )

    def __init__(
        self, contract_id: str, sessions: Sessions, outside: Outside, journal: Journal | None = None
    ) -> None:
        self._journal = Journal() if journal is None else journal
        self._before: tuple[int, int, int, int] | None = None
        self.unscheduled = 0
        self.left_out = 0
        self.is_beyond_known = False
        self._contract_id = contract_id
        self._sessions = sessions
        self._drops = outside == "drop"
        self._known = sessions.known_ns()
        self._low = self._high = 0  # the segment of the last trade

    def admit(self, batch: TradeBatch, low_ts: int, high_ts: int) -> TradeBatch:
        """Return what of ``batch`` may go on, perhaps all of it, perhaps nothing; bounds are those of its stamps."""
        if self._low <= low_ts and high_ts < self._high:
            return batch
        if self._before is None:
            self._before = self.unscheduled, self.left_out, self._low, self._high
            self._journal.note(self)
        if not self.is_beyond_known and not (self._known[0] <= low_ts and high_ts < self._known[1]):
            self._tell()
        closed = [place for place, ts in enumerate(batch.ts_event) if not self._is_open(ts)]
        self.unscheduled += len(closed)
        if not closed or not self._drops:
            return batch
        self.left_out += len(closed)
        return _without(batch, set(closed))

    def keep(self) -> None:
        """Forget how it was."""
        self._before = None

    def undo(self) -> None:
        """Be as it was before the update, but for what was told already."""
        if self._before is not None:
            self.unscheduled, self.left_out, self._low, self._high = self._before
        self._before = None

    def _is_open(self, ts: int) -> bool:
        if self._low <= ts < self._high:
            return True
        here = self._sessions.around(ts).here
        if here is None:
            return False
        self._low, self._high = here.open, here.close
        return True

    def _tell(self) -> None:
        self.is_beyond_known = True
        sessions = self._sessions
        if sessions.known_through is None:
            _log.warning(
                "%s: the sessions %s know the weekly rule only; holidays are not in them",
                self._contract_id,
                sessions.name,
                extra=fields("sessions_without_holidays", contract=self._contract_id),
            )
            return
        _log.warning(
            "%s: a trade is outside the dates for which the sessions %s know holidays, %s to %s; "
            "there the weekly rule alone decides",
            self._contract_id,
            sessions.name,
            sessions.known_from,
            sessions.known_through,
            extra=fields("beyond_known_holidays", contract=self._contract_id),
        )


def _without(batch: TradeBatch, places: set[int]) -> TradeBatch:
    kept = [place for place in range(len(batch)) if place not in places]
    return TradeBatch(
        batch.contract_id,
        [batch.ts_event[place] for place in kept],
        [batch.ticks[place] for place in kept],
        [batch.volume[place] for place in kept],
        [batch.side[place] for place in kept],
        batch.ts_recv,
    )
