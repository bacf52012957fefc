"""Which lines a contract's trades come on, and from when on each of them surely brings all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from trio_projectx.flow.pace import Pace

#: A market of any pace may have no trade for so long.
_LEAST_S: Final = 5.0


@attrs.frozen(slots=True)
class _Asked:
    at_ns: int
    now: float


class Bringers:
    """The lines that were asked for the trades of one contract, and those of them that bring them.

    Stamps are the exchange's clock, as near as we know; ``now`` is trio's, or that of a recording.
    """

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}
        self._since: dict[int, int] = {}
        self._began: dict[int, float] = {}  # the same, trio's clock
        self._barren: set[int] = set()  # those that have brought nothing since they were asked
        self._pace = Pace()
        self._is_told = False
        self.joined_ns = 0
        """When the first of those that are there was about to ask."""

    def join(self, line: int, at_ns: int, now: float) -> None:
        """``line`` is about to ask."""
        if not self._asked:
            self.joined_ns = at_ns
        self._is_told = True
        self._barren.add(line)
        self._asked[line] = _Asked(at_ns, now)

    def leave(self, line: int) -> None:
        """It brings nothing more."""
        self._asked.pop(line, None)
        self._since.pop(line, None)
        self._began.pop(line, None)
        self._barren.discard(line)

    def begin(self, line: int, since_ns: int, now: float) -> None:
        """It was acknowledged: what was traded from then on is not missing on it. A second time changes nothing."""
        self._since.setdefault(line, since_ns)
        self._began.setdefault(line, now)

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
        others = [each for each in self._since if each != line]
        if not others or not self._barren.issuperset(others):
            return False
        return silent_s(min(self._began[each] for each in others)) > waited_s

    def heard(self, line: int, now: float) -> None:
        """It has brought something, perhaps before it was acknowledged."""
        self._barren.discard(line)
        if line in self._asked and line not in self._since:
            asked = self._asked[line]
            self.begin(line, asked.at_ns + round((now - asked.now) * 1e9), now)

    def has(self, line: int) -> bool:
        """Whether it was asked, and has not left."""
        return line in self._asked

    def brings(self, line: int) -> bool:
        """Whether it was acknowledged, or has brought something."""
        return line in self._since

    @property
    def is_empty(self) -> bool:
        """Whether no line was even asked."""
        return not self._asked

    @property
    def bringing(self) -> tuple[int, ...]:
        """Those that bring the trades."""
        return tuple(self._since)

    def gap_end(self, ts_event: int) -> int | None:
        """Return where a gap ends of which a trade of this stamp is the first behind it; None: nobody brings any.

        A service may send its last trades again to a new subscription. They are older than when that was asked for,
        and between the youngest of them and its acknowledgement any number may be missing: what was sent to nobody is
        not sent again. Where nobody tells of lines, as in a record of trades, the trade itself ends it.
        """
        if not self._since:
            return None if self._is_told else ts_event
        if all(ts_event >= self._asked[line].at_ns for line in self._since):
            return ts_event
        return max(ts_event, *self._since.values())
