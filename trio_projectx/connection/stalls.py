"""Contracts that are silent when they should not be, as arithmetic on times that are handed in.

A connection can live, with pings and all, while the market data of a contract have stopped (GATEWAY.md section 2.6:
for 90 s to 6 minutes and more). Only the contract itself can tell: by its trading hours, and by how often it had data
lately. ``now`` is monotonic seconds; ``wall_ns`` is int64 ns on the exchange's clock, as near as we know it
(`SkewEstimate.exchange_ns`), and decides nothing but whether the market is open.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from trio_projectx.bars.sessions import Sessions
from trio_projectx.bars.templates import Segment

#: Up to where the bound of a contract grows by the answers of probes.
_PATIENCE_S: Final = 600.0
_DOUBLINGS: Final = 16
#: The weight of a new interval: some 15 of them make up the mean.
_WEIGHT: Final = 1 / 8


@attrs.frozen(slots=True)
class Stalled:
    """A contract in its trading hours that had no data for ``silent_s``, of which ``bound_s`` is what is allowed."""

    contract_id: str
    silent_s: float
    bound_s: float


@attrs.define(slots=True, eq=False)
class Silence:
    """What is known of one contract; times are monotonic seconds."""

    sessions: Sessions
    begin: float
    """From when on data could have come: it was watched, the connection was new, or the market opened."""
    look_at: float
    last: float = -math.inf
    """The last data."""
    interval_s: float = 0.0
    """A mean of the recent intervals between data; 0 if none is known."""
    sample_at: float = -math.inf
    closes: float = -math.inf
    """The end of the hours that the last look found the market in; long ago if it found it closed."""
    opened_ns: int | None = None
    """When those began; None before the first look at these sessions."""
    excused: float = -math.inf
    """The last time somebody knew of the silence: it was told, or a probe found nothing missing."""
    found_quiet: float = -math.inf
    """The last time a probe found nothing missing."""
    doublings: int = 0
    is_stalled: bool = False

    @property
    def since(self) -> float:
        """From when on it is silent in its trading hours."""
        return max(self.last, self.begin)

    def sample(self, last: float, now: float) -> None:
        """Take the interval that has just ended into the mean, if all of it lay in trading hours and was no stall."""
        if last >= self.begin and now < self.closes and not self.is_stalled:
            gap = now - last
            self.interval_s += (gap - self.interval_s) * (_WEIGHT if self.interval_s else 1.0)

    def opened(self, segment: Segment, now: float, wall_ns: int) -> None:
        """The market is open: silence before it opened was none."""
        self.closes = now + (segment.close - wall_ns) / 1e9
        if segment.open != self.opened_ns:
            self.opened_ns = segment.open
            self.begin = max(self.begin, now - (wall_ns - segment.open) / 1e9)
            self.doublings = 0
            self.is_stalled = False

    def closed(self) -> None:
        """The market is closed: whatever was silent may be."""
        self.closes = -math.inf
        self.is_stalled = False

    def shift(self, seconds: float) -> None:
        """Let all that was be ``seconds`` longer ago."""
        for name in ("begin", "look_at", "last", "sample_at", "closes", "excused", "found_quiet"):
            setattr(self, name, getattr(self, name) - seconds)


class StallWatch:
    """The contracts of one hub whose data must not stop, each against its trading hours and its own pace.

    The bound of a contract is ``stall_s``, or ``stall_intervals`` of its recent mean interval where that is longer.
    The interval is between reads that carried data, and is sampled so that a burst of many reads counts as little as
    what it tells: at most once in ``stall_s / stall_intervals``, below which the bound is ``stall_s`` anyway.

    Silence counts from the last data, from the opening of the market, or from when the connection was made, whichever
    is the latest; in closed hours, holidays and daily breaks there is none. Beyond the holidays that its sessions
    know, their weekly rule holds, so that a holiday may look like a stall: the probe finds nothing missing then.
    """

    def __init__(self, stall_s: float, stall_intervals: float) -> None:
        self._stall_s = stall_s
        self._intervals = stall_intervals
        self._sample_s = stall_s / stall_intervals
        self._silences: dict[str, Silence] = {}

    def watch(self, contract_id: str, sessions: Sessions | None, now: float) -> None:
        """Watch a contract from ``now`` on; of one that is watched only the sessions are changed.

        Without sessions (a product that the table does not know) those of CME's equity indices are assumed: nearly
        all that the service lists keeps their weekend, and most of it their daily break and their holidays. A product
        with longer hours is not watched in the rest of them; one with shorter hours is probed in vain.
        """
        assumed = Sessions.cme("EQ") if sessions is None else sessions
        silence = self._silences.get(contract_id)
        if silence is None:
            self._silences[contract_id] = Silence(assumed, now, now)
        elif silence.sessions != assumed:
            silence.sessions, silence.opened_ns, silence.look_at = assumed, None, now

    def unwatch(self, contract_id: str) -> None:
        """Forget a contract, if it is watched."""
        self._silences.pop(contract_id, None)

    def heard(self, contract_id: str, now: float) -> bool:
        """Note that a read carried data of a contract; once per read. Return whether that ended a stall."""
        silence = self._silences.get(contract_id)
        if silence is None:
            return False
        last, silence.last = silence.last, now
        if now >= silence.sample_at:
            silence.sample(last, now)
            silence.sample_at = now + self._sample_s
        was_stalled, silence.is_stalled, silence.doublings = silence.is_stalled, False, 0
        return was_stalled

    def quiet(self, contract_id: str, now: float) -> None:
        """Note that a probe asked the service at ``now`` and found that nothing is missing: the market is quiet.

        Silence counts from then on, and the bound is doubled, up to 600 s, until data come or the market opens anew.
        If data have come since the stall was told, this says nothing.
        """
        silence = self._silences.get(contract_id)
        if silence is not None and silence.is_stalled:
            silence.is_stalled = False
            silence.doublings = min(silence.doublings + 1, _DOUBLINGS)
            silence.excused = silence.found_quiet = now

    def silent_s(self, contract_id: str, since: float, now: float, wall_ns: int) -> float:
        """Return how much of the silence from ``since`` to ``now`` lay in the last trading hours of a contract.

        0 where a probe has found meanwhile that nothing was missing. What is not watched trades at all hours.
        """
        silence = self._silences.get(contract_id)
        if silence is None:
            return now - since
        if silence.found_quiet > since:
            return 0.0
        around = silence.sessions.around(wall_ns)
        silent_s = now - since
        if around.here is not None:
            return min(silent_s, (wall_ns - around.here.open) / 1e9)
        closed_s = math.inf if around.before is None else (wall_ns - around.before.close) / 1e9
        return max(0.0, silent_s - closed_s)

    def restart(self, now: float) -> None:
        """Note that there is a new connection: what was silent until ``now`` is no longer, intervals are kept."""
        for silence in self._silences.values():
            silence.begin = now
            silence.is_stalled = False

    def slept(self, seconds: float) -> None:
        """Note that the machine was suspended, with the monotonic clock standing still: it was silence, too."""
        for silence in self._silences.values():
            silence.shift(seconds)

    def due(self, now: float) -> float:
        """Return when to `look` next: ``now`` or later, infinite if nothing is watched.

        It is never farther off than ``stall_s``; only `watch` and `slept` make it sooner than it was.
        """
        looks = (silence.look_at for silence in self._silences.values())
        return max(now, min(looks, default=math.inf))

    def look(self, now: float, wall_ns: int) -> list[Stalled]:
        """Return the contracts whose silence is found to be beyond its bound; each again when as much has passed.

        A stall is told by the time at which its bound is passed, or where the bound has just become shorter (data
        came faster than before it), within ``stall_s`` after that.
        """
        found: list[Stalled] = []
        for contract_id, silence in self._silences.items():
            if now >= silence.look_at:
                silence.look_at = now + self._stall_s
                segment = _hours(silence.sessions, wall_ns)
                if segment is None:
                    silence.closed()
                else:
                    silence.opened(segment, now, wall_ns)
                    self._look(contract_id, silence, now, found)
        return found

    def _look(self, contract_id: str, silence: Silence, now: float, found: list[Stalled]) -> None:
        bound = self._bound(silence)
        due = max(silence.since, silence.excused) + bound
        if now >= due:
            silence.is_stalled, silence.excused = True, now
            found.append(Stalled(contract_id, now - silence.since, bound))
            due = now + bound
        silence.look_at = min(silence.look_at, due)

    def _bound(self, silence: Silence) -> float:
        bound = max(self._stall_s, self._intervals * silence.interval_s)
        return max(bound, min(bound * 2.0**silence.doublings, _PATIENCE_S))

    @property
    def stalled(self) -> tuple[str, ...]:
        """The contracts whose stall was told, and that had no data, probe or closing since."""
        return tuple(each for each, silence in self._silences.items() if silence.is_stalled)

    def worst(self, now: float) -> Stalled | None:
        """Return the contract in trading hours that has used up the most of its bound, be it stalled or not."""
        found: Stalled | None = None
        for contract_id, silence in self._silences.items():
            if now >= silence.closes:
                continue
            since = silence.since if silence.is_stalled else max(silence.since, silence.excused)
            each = Stalled(contract_id, now - since, self._bound(silence))
            if found is None or each.silent_s * found.bound_s > found.silent_s * each.bound_s:
                found = each
        return found

    def data_age_s(self, now: float) -> float | None:
        """Return how long ago the youngest data of any contract came; None before any."""
        last = max((silence.last for silence in self._silences.values()), default=-math.inf)
        return now - last if last > -math.inf else None


def _hours(sessions: Sessions, ts_ns: int) -> Segment | None:
    """Return the trading hours of an instant; None if it is in none.

    Sessions that were listed say nothing of what is before and after the list: equity indices are assumed there.
    """
    around = sessions.around(ts_ns)
    if around.here is None and sessions.zone is None and (around.before is None or around.after is None):
        return Sessions.cme("EQ").around(ts_ns).here
    return around.here
