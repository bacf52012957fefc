"""Stamps from the future: held until others confirm or contradict them, so that one of them closes no bar."""

from __future__ import annotations

from typing import Final

from trio_projectx.market.band import Row, Verdict

_INT64_MAX: Final = (1 << 63) - 1
_NS: Final = 1_000_000_000
#: How far ahead of our clock the very first stamp may be: there is nothing else to compare it with yet, and clocks
#: that are off by hours are common.
_FIRST_NS: Final = 86_400 * _NS
#: Between one and two of these old is what the exchange's clock is reckoned from: clocks drift.
_WINDOW_NS: Final = 600 * _NS
_NEVER: Final = -(1 << 80)


class StampWindow:
    """Compares stamps with what the exchange's clock can show: the contract's own stamps, and the time since them.

    That time is monotonic, so that no jump of our wall clock moves the window. A stamp is far ahead if it is more than
    ``ahead_ns`` above both that and our wall clock; so neither a wall clock that is behind, nor a contract that was
    silent for days (or a machine that slept), holds anything. A wall clock that shows a time before ``clock_min_ns``
    was never set, and holds nothing.

    What is far ahead is held. When ``confirm`` such trades in a row have come, none of them far behind the one before
    it (not counting those in the window), or a quote that is not far behind, the clocks have moved: all are
    accepted, in their order, and from then on twice as much is not far (up to a day): a clock that jumps, or a
    replay that runs faster than time, is not held again and again. They are rejected when ``confirm`` trades in the
    window have come meanwhile.
    """

    __slots__ = (
        "_ahead",
        "_bound",
        "_clock_min",
        "_confirm",
        "_contradicted",
        "_now",
        "_offset",
        "_offset_before",
        "_window_began",
        "held",
    )

    def __init__(self, ahead_ns: int, confirm: int, clock_min_ns: int) -> None:
        self.held: list[Row] = []
        self._ahead = ahead_ns
        self._confirm = confirm
        self._clock_min = clock_min_ns
        self._contradicted = 0
        # The exchange's clock less the monotonic one, at least: of this window, and of the one before it.
        self._offset = self._offset_before = _NEVER
        self._window_began = 0
        self._bound = _INT64_MAX
        self._now = 0

    def bound(self, wall_ns: int, now_ns: int) -> int:
        """Return the youngest stamp that is not far ahead at these times of our two clocks."""
        self._now = now_ns
        offset = max(self._offset, self._offset_before)
        if wall_ns < self._clock_min:
            self._bound = _INT64_MAX
        elif offset == _NEVER:
            self._bound = wall_ns + _FIRST_NS
        else:
            self._bound = max(wall_ns, now_ns + offset) + self._ahead
        return self._bound

    def note(self, youngest: int) -> None:
        """Note the youngest of the stamps that were accepted since `bound` was asked."""
        if self._now - self._window_began >= _WINDOW_NS or self._offset == _NEVER:
            self._offset_before, self._offset, self._window_began = self._offset, _NEVER, self._now
        self._offset = max(self._offset, youngest - self._now)

    def offer(self, row: Row) -> Verdict:
        """Judge one trade."""
        if row.ts_event <= self._bound:
            return self._take(row)
        rejected: list[Row] = []
        if self.held and row.ts_event < self.held[-1].ts_event - self._ahead:
            rejected, self.held = self.held, []
        self.held.append(row)
        self._contradicted = 0
        return Verdict(self._release() if len(self.held) >= self._confirm else [], rejected)

    def confirm(self, ts_event: int) -> list[Row]:
        """Return what a quote of this stamp releases: all that is held, if it is not far behind it."""
        if self.held and ts_event >= self.held[-1].ts_event - self._ahead:
            return self._release()
        return []

    def _take(self, row: Row) -> Verdict:
        rejected: list[Row] = []
        if self.held:
            self._contradicted += 1
            if self._contradicted >= self._confirm:
                rejected, self.held = self.held, []
        return Verdict([row], rejected)

    def _release(self) -> list[Row]:
        released, self.held = self.held, []
        youngest = max(row.ts_event for row in released)
        jump = youngest - (self._bound - self._ahead)
        self._ahead = max(self._ahead, min(2 * jump, _FIRST_NS))
        self.note(youngest)
        self._bound = max(self._bound, youngest + self._ahead)
        return released
