"""One subscription of the user hub on all lines that bring it: each event goes on once, and in its order.

Full members are merged by counting: of events that say the same, the k-th of one line is the k-th of the other
(`LineMerger`). A line that joins is kept apart until it is settled. Counting alone would not do for it: what others
brought between its join and its beginning it never brings, and an event that says the same much later (a position that
is again what it was) would be taken for that. So its own events are laid beside those that have gone on since its join:
it began somewhere among these, and has seen everything since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import attrs

from trio_projectx._user_events import OrderUpdate, UserEvent, UserTrade
from trio_projectx.market.lines import LineMerger

#: Events of one subscription that wait, or that one line has brought and another not. Above it a joining line is
#: settled. A user hub brings some dozens in a second when it is busy, and lines overlap for seconds.
KEPT: Final = 4_000


@attrs.frozen(slots=True)
class UserRow:
    """An event on its way through a channel, which asks whether it says the same, not when it came."""

    event: UserEvent
    ts_recv: int = attrs.field(eq=False)

    def stamped(self) -> UserEvent:
        """Return the event with the time at which it was read."""
        return attrs.evolve(self.event, ts_recv=self.ts_recv)


@attrs.define(slots=True, eq=False)
class _Joiner:
    """A line that is not level yet."""

    brought: list[UserRow] = attrs.Factory(list[UserRow])
    others: list[UserRow] = attrs.Factory(list[UserRow])
    """What has gone on since its join."""


def _merger() -> LineMerger[UserRow]:
    return LineMerger[UserRow](limit=KEPT)


@attrs.define(slots=True, eq=False)
class UserChannel:
    """The state of one subscription. Nothing here waits or looks at a clock."""

    heard: int = 0
    """Nothing that came before this (our clock) is missing."""
    is_established: bool = False
    """Whether it was acknowledged once: its absence is an outage then."""
    acknowledged: set[int] = attrs.Factory(set[int])
    """The lines on which it is."""
    dropped: int = 0
    """Events of joining lines that others had brought."""
    merger: LineMerger[UserRow] = attrs.Factory(_merger)
    _joiners: dict[int, _Joiner] = attrs.field(factory=dict[int, _Joiner], init=False)

    @property
    def lines(self) -> tuple[int, ...]:
        """The lines that bring it, or have asked for it."""
        return (*self.merger.lines, *self._joiners)

    @property
    def duplicates(self) -> int:
        """Events that were had from another line, or that came on a line which had left."""
        return self.dropped + self.merger.duplicates + self.merger.strays

    @property
    def waiting(self) -> int:
        """Events of joining lines."""
        return sum(len(joiner.brought) for joiner in self._joiners.values())

    def is_level(self, line: int) -> bool:
        """Whether ``line`` is a full member."""
        return self.merger.is_level(line)

    def is_covered_without(self, line: int, among: Collection[int] | None = None) -> bool:
        """Whether another line (of ``among``, or any) is known to bring all that this one brings."""
        others = [other for other in self.merger.lines if other != line and (among is None or other in among)]
        return any(self.is_level(other) for other in others)

    def join(self, line: int) -> None:
        """``line`` is about to ask for it."""
        if self.merger.lines:
            self._joiners[line] = _Joiner()
        else:
            self.merger.join(line)

    def acknowledge(self, line: int) -> None:
        """The hub takes the subscription on ``line``."""
        joiner = self._joiners.get(line)
        if joiner is not None and not (self.acknowledged or joiner.brought or joiner.others):
            self._lead(line)
        self.acknowledged.add(line)
        self.is_established = True

    def _lead(self, line: int) -> None:
        """``line`` was asked later than another, and is taken before it: that one joins it."""
        del self._joiners[line]
        for other in self.merger.lines:
            self.merger.leave(other)
            self._joiners[other] = _Joiner()
        self.merger.join(line)

    def add(self, line: int, row: UserRow) -> list[UserRow]:
        """Return what goes on, now that ``line`` has brought ``row``."""
        joiner = self._joiners.get(line)
        if joiner is None:
            return self._passed(self.merger.add(line, [row]))
        joiner.brought.append(row)
        return self.settle(line) if len(joiner.brought) > KEPT else []

    def settle(self, line: int) -> list[UserRow]:
        """``line`` counts as level: return those of its events that nobody else has brought yet."""
        joiner = self._joiners.pop(line, None)
        if joiner is None:
            return []
        new, coming = _compared(joiner)
        self.merger.join(line, coming)
        self.merger.settle(line)
        self.dropped += len(joiner.brought) - len(new)
        return self._passed(self.merger.add(line, new))

    def leave(self, line: int) -> list[UserRow]:
        """``line`` brings it no more. Where that leaves joining lines only, the oldest counts as level."""
        self.acknowledged.discard(line)
        joiner = self._joiners.pop(line, None)
        if joiner is not None:
            self.dropped += len(joiner.brought)
            return []
        promoted: list[UserRow] = []
        if self.merger.lines == (line,) and self._joiners:
            promoted = self.settle(next(iter(self._joiners)))
        return promoted + self._passed(self.merger.leave(line))

    def _passed(self, rows: list[UserRow]) -> list[UserRow]:
        for joiner in self._joiners.values():
            joiner.others += rows
            del joiner.others[:-KEPT]
        return rows


def _compared(joiner: _Joiner) -> tuple[list[UserRow], Sequence[UserRow]]:
    """Return which events of a joining line are new, and which of the others' are still to come on it."""
    brought, others = joiner.brought, joiner.others
    begun = _beginning(joiner)
    if begun is not None:
        common = min(len(brought), len(others) - begun)
        return brought[common:], others[begun + common :]
    # It began behind the others, or has lost something: what is new is what nobody has brought.
    left = Counter(others)
    new: list[UserRow] = []
    for row in brought:
        if left[row]:
            left[row] -= 1
        else:
            new.append(row)
    return new, ()


def _beginning(joiner: _Joiner) -> int | None:
    """Return the index in ``others`` of the event that the line began with; None if there is none."""
    others = joiner.others
    if joiner.brought:
        return _closest_fit(joiner.brought, others)
    # It was settled because there was time enough to bring what it will bring. Still, of what carries an id and a stamp
    # all may be awaited, as it does not come again.
    return 0 if all(isinstance(row.event, (OrderUpdate, UserTrade)) for row in others) else None


def _closest_fit(brought: Sequence[UserRow], others: Sequence[UserRow]) -> int | None:
    """Return where ``brought`` lies on ``others`` without a contradiction.

    Several places may fit where events repeat: then the lines are taken to be as close as can be.
    """
    numbers: dict[UserRow, int] = {}
    mine = [numbers.setdefault(row, len(numbers)) for row in brought]
    theirs = [numbers.setdefault(row, len(numbers)) for row in others]

    def distance(at: int) -> int:
        return abs(len(theirs) - at - len(mine))

    for at in sorted(range(len(theirs)), key=distance):
        common = min(len(mine), len(theirs) - at)
        if mine[:common] == theirs[at : at + common]:
            return at
    return None
