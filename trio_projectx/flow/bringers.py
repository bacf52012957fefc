"""Which lines a contract's trades come on, and from when on each of them surely brings all of them."""

from __future__ import annotations

import attrs


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
        self._is_told = False
        self.joined_ns = 0
        """When the first of those that are there was about to ask."""

    def join(self, line: int, at_ns: int, now: float) -> None:
        """``line`` is about to ask."""
        if not self._asked:
            self.joined_ns = at_ns
        self._is_told = True
        self._asked[line] = _Asked(at_ns, now)

    def leave(self, line: int) -> None:
        """It brings nothing more."""
        self._asked.pop(line, None)
        self._since.pop(line, None)

    def begin(self, line: int, since_ns: int) -> None:
        """It was acknowledged: what was traded from then on is not missing on it. A second time changes nothing."""
        self._since.setdefault(line, since_ns)

    def heard(self, line: int, now: float) -> None:
        """It has brought something before it was acknowledged."""
        asked = self._asked[line]
        self.begin(line, asked.at_ns + round((now - asked.now) * 1e9))

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
