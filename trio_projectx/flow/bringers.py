"""Which lines a contract's trades come on, and from when on each of them surely brings all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from trio_projectx.flow.pace import Pace

#: A market of any pace may have no trade for so long.
_LEAST_S: Final = 5.0
#: A service sends no more trades than this again; more that are old are of a clock that is ahead, or of a tape.
_AGAIN_MOST: Final = 1_000


@attrs.define(slots=True)
class _Again:
    """A trade that came first, and is older than the asking: its stamp, when it came, since when all of them come."""

    ts_event: int
    came_at: float
    since_ns: int
    trades: int = 0
    """How many came since, itself included, and were older."""


@attrs.define(slots=True)
class _Line:
    """One line: when it was asked, and from when on it brings everything; stamps, and trio's clock."""

    asked_ns: int
    asked_at: float
    since_ns: int | None = None
    began_at: float = 0.0
    is_barren: bool = True
    """Whether it has brought nothing since it was asked."""


class Bringers:
    """The lines that were asked for the trades of one contract, and those of them that bring them.

    Stamps are the exchange's clock, as near as we know; ``now`` is trio's, or that of a recording.
    """

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._pace = Pace()
        self._is_told = False
        self._is_first = False  # whether the next trade is the first since one was asked
        self._again: _Again | None = None
        self._heard_at = 0.0
        self.joined_ns = 0
        """When the first of those that are there was about to ask."""

    def join(self, line: int, at_ns: int, now: float) -> None:
        """``line`` is about to ask."""
        if not self._lines:
            self.joined_ns = at_ns
            self._is_first, self._again = True, None
        self._is_told = True
        found = self._lines.setdefault(line, _Line(at_ns, now))
        found.asked_ns, found.asked_at, found.is_barren = at_ns, now, True  # also where it is asked again

    def leave(self, line: int) -> None:
        """It brings nothing more."""
        self._lines.pop(line, None)

    def begin(self, line: int, since_ns: int, now: float) -> None:
        """It was acknowledged: what was traded from then on is not missing on it. A second time changes nothing."""
        found = self._lines.get(line)
        if found is not None and found.since_ns is None:
            found.since_ns, found.began_at = since_ns, now

    def traded(self, now: float) -> None:
        """A trade came that was not there before."""
        self._pace.heard(now)

    def missed(self) -> None:
        """Trades are missing from here on."""
        self._pace.broken()

    def doubts(
        self, line: int, waited_s: float, most_s: float, silent_s: Callable[[float], float]
    ) -> bool | None:
        """Return whether those beside ``line`` may be dead; None: wait longer, but not for more than ``most_s``.

        Nobody has brought a trade for ``waited_s`` at least, while ``line`` was there. A market that traded a moment
        ago does so again soon, and then it is seen who brings it. If it does not, it is quiet now; but for the others
        it may have stopped earlier. That is in doubt where they had been silent for longer than its pace has it when
        ``line`` came, or have brought nothing at all. ``silent_s`` says how much of a time is silence at all.
        """
        last, patience = self._pace.last, self._pace.patience_s
        if last is None or patience is None:
            return False  # a market without a pace; nobody could tell silence from quiet
        if waited_s < min(patience, most_s):
            return None
        before, is_barren = silent_s(last) - waited_s, self._is_barren(line, waited_s, silent_s)
        if not is_barren and before <= patience:
            return False
        return None if waited_s < min(_LEAST_S, most_s) else is_barren or before > _LEAST_S

    def _is_barren(self, line: int, waited_s: float, silent_s: Callable[[float], float]) -> bool:
        others = [each for number, each in self._bringers() if number != line]
        if not others or not all(each.is_barren for each in others):
            return False
        return silent_s(min(each.began_at for each in others)) > waited_s

    def heard(self, line: int, now: float) -> None:
        """It has brought something, perhaps before it was acknowledged."""
        self._heard_at = now
        found = self._lines.get(line)
        if found is not None:
            found.is_barren = False
            self.begin(line, found.asked_ns + round((now - found.asked_at) * 1e9), now)

    def has(self, line: int) -> bool:
        """Whether it was asked, and has not left."""
        return line in self._lines

    def brings(self, line: int) -> bool:
        """Whether it was acknowledged, or has brought something."""
        found = self._lines.get(line)
        return found is not None and found.since_ns is not None

    @property
    def is_empty(self) -> bool:
        """Whether no line was even asked."""
        return not self._lines

    @property
    def bringing(self) -> tuple[int, ...]:
        """Those that bring the trades."""
        return tuple(number for number, _ in self._bringers())

    def gap_end(self, ts_event: int) -> int | None:
        """Return where a gap ends of which a trade of this stamp is the first behind it; None: nobody brings any.

        A service may send its last trades again to a new subscription, also such of after the asking. Between the
        youngest of them and the acknowledgement any number may be missing: what was sent to nobody is not sent again.
        Where nobody tells of lines, as in a record of trades, the trade itself ends it.
        """
        bringers = [each for _, each in self._bringers()]
        if not bringers:
            return None if self._is_told else ts_event
        return max(ts_event, *(each.since_ns or 0 for each in bringers))

    def ends(self, stamps: Sequence[int]) -> tuple[int | None, int | None]:
        """Return where a gap ends before a batch of these stamps (`gap_end`), and until when it shows that trades lack.

        The latter is of a first subscription, and to be asked of all batches: what it was sent first may have been
        sent to others already. None: nothing shows that anything is missing, or it was told.
        """
        end = self.gap_end(stamps[0])
        if self._is_first and end is not None:
            self._is_first = False
            if end > stamps[0]:
                self._again = _Again(stamps[0], self._heard_at, end)
        return end, None if self._again is None else self._lacks_until(self._again, stamps)

    def _lacks_until(self, again: _Again, stamps: Sequence[int]) -> int | None:
        """Look whether trades from behind the acknowledgement come sooner behind the first one than time goes.

        Where they do not, our clock was ahead.
        """
        youngest = max(stamps)
        again.trades += len(stamps)
        if youngest >= again.since_ns or again.trades > _AGAIN_MOST:
            self._again = None
        if youngest < again.since_ns:
            return None
        took_ns = round((self._heard_at - again.came_at) * 1e9)
        came_ns = youngest - took_ns  # when the first came, by their clock
        return min(again.since_ns, came_ns) if came_ns > again.ts_event else None

    def _bringers(self) -> list[tuple[int, _Line]]:
        return [(number, each) for number, each in self._lines.items() if each.since_ns is not None]
