"""Several lines that bring one stream: each row goes on once, and in its order.

The wire has no sequence numbers (GATEWAY.md section 2.2), and equal rows are legal, so a row alone does not say
whether it has been had. Counting does: the k-th of some equal rows on one line is the k-th of them on every other.
What is kept is the difference only: per line the rows that went on and that this line has not brought yet.

Counting needs a common beginning. A line that joins others begins somewhere in what they bring, perhaps between
two equal rows (then its first is their second) or, where the service repeats its last rows to a new subscription,
before its own join. So it is held until the others have passed the rows that it began with: a row that it brought
has gone on, and behind it one with a younger stamp. From the stamps after its first row's on it has seen
everything, and of the first ones itself nothing is missing then. That it may begin with rows from before the join
is found by handing those in (``had``).

What is assumed: a line brings, in the order of all lines, a part of the stream without a hole; equal rows have
equal stamps, and stamps do not fall. Where these do not hold exactly (a line lost a row, trades are a
millisecond out of order) nothing else is lost and nothing comes twice as long as a full member stays that brings
everything; only the order may be another. What cannot be known: where a line is settled by time or promoted,
because no other is left, a legal row is taken for one that was had if it equals one from before its join, stamp
included, and no other line brings it. And where one line brings a row more often than another, the one may have
been sent it twice, or the other have lost it: it goes on, and is `LineMerger.missed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

import attrs

Row = TypeVar("Row", bound=Hashable)

#: Rows that one line has brought and another not; what is older is forgotten.
_LIMIT: Final = 200_000
#: Rows of one line that wait; with more of them it is let in, level or not.
_HELD_LIMIT: Final = 100_000
#: A line that has brought a row that is younger by more will not bring the older one any more, if nothing went wrong.
_SLACK: Final = 100_000_000
#: So many rows are looked at for that at once: it costs next to nothing, and what is left over is looked at next time.
_LOOKED: Final = 1_000


@attrs.define(slots=True, eq=False)
class _Had(Generic[Row]):
    """Rows from before a line's join, which the service may send to it again, and their stamps."""

    rows: dict[Row, int]
    known_from: int | None
    """Rows with an older stamp were had (or came before the stream began), and nothing is remembered of them.

    They are repeated first: None from the first row on that is not older. Then an older one has only come late."""
    youngest: int


@attrs.define(slots=True, eq=False)
class _Line(Generic[Row]):
    is_full: bool
    had: _Had[Row] | None
    owed: dict[Row, int]
    """Rows that went on since the join, and that this line has not brought: where it does, they are duplicates."""
    held: list[Row]
    until: float
    """What the service sends again is not younger, as far as is known."""
    looked: int = 0
    """The index in ``held`` of the row that shows whether the line is level."""
    since: int | None = None
    """It has brought all that is younger; None until that is known."""
    latest: int = 0
    """The stamp of the last row that it brought."""
    seen_at: int = 0
    """What ``latest`` was when it was last looked for what it never brought."""
    passed: dict[Row, int] = attrs.Factory(dict[Row, int])
    """Of ``owed`` what it went past; should it bring it late, it is a duplicate all the same."""


class LineMerger(Generic[Row]):
    """Merges rows that may come on several lines. ``stamp`` gives the time of a row.

    Without ``stamp`` a line that joins is level as soon as a row of it has been brought by another: rows that are
    equal then lie across its join unseen, and the order may suffer.
    ``limit`` bounds the rows remembered for each line, ``held_limit`` those that wait.
    """

    def __init__(
        self,
        stamp: Callable[[Row], int] | None = None,
        *,
        limit: int = _LIMIT,
        held_limit: int = _HELD_LIMIT,
    ) -> None:
        self._stamp = stamp
        self._limit = limit
        self._held_limit = held_limit
        self._lines: dict[int, _Line[Row]] = {}  # in the order of their joins
        self._last: Row | None = None  # of what went on
        self._is_new = True
        self.lone: int | None = None
        """The line that is the only one and to which nothing is owed: `add` returns its rows as they are."""
        self.duplicates = 0
        """Rows that were had from another line, and held rows of a line that left."""
        self.strays = 0
        """Rows of lines that are not there (any more)."""
        self.forgotten = 0
        """Rows (equal ones as one) forgotten because a line owed more than ``limit``."""
        self.missed: dict[Row, int] = {}
        """Rows that went on and that a full member went past: for the caller to look at, and clear.

        It lost them, or another line brought more of them than there were."""

    @property
    def lines(self) -> tuple[int, ...]:
        """The lines that are there, in the order of their joins."""
        return tuple(self._lines)

    @property
    def is_single(self) -> bool:
        """Whether nothing has to be counted: see `lone`."""
        return self.lone is not None

    @property
    def held(self) -> int:
        """How many rows of joining lines wait."""
        return sum(len(line.held) for line in self._lines.values())

    @property
    def entries(self) -> int:
        """How many rows (equal ones as one) are remembered for all lines, those from before a join too."""
        return sum(
            len(line.owed) + (0 if line.had is None else len(line.had.rows)) for line in self._lines.values()
        )

    def is_level(self, line: int) -> bool:
        """Whether ``line`` is a full member: the others may leave, and nothing will be missing."""
        found = self._lines.get(line)
        return found is not None and found.is_full

    def is_holding(self, line: int) -> bool:
        """Whether rows of ``line`` wait."""
        found = self._lines.get(line)
        return found is not None and bool(found.held)

    def join(self, line: int, had: Iterable[Row] = (), until: float = 0) -> None:
        """Let ``line`` take part; to be called before its subscription is sent. Again, it changes nothing.

        ``had`` are the last rows of the stream, oldest first: should the line begin with some of them, they are
        duplicates. Where it is the first line, they are not looked at. They may be sent again until a row comes that
        is younger than they and than ``until``.
        """
        self._is_new = False
        if line in self._lines:
            return
        is_first = not self._lines
        for other in self._lines.values():
            if other.is_full and other.since is None:
                other.since = 0  # what goes on from now on it brings
        before = None if is_first else self._had(Counter(had))
        self._lines[line] = _Line(
            is_first, before, owed={}, held=[], until=until, since=0 if is_first else None
        )
        self._look()

    def begin(self, line: int, until: int) -> None:
        """What the service sends to ``line`` again is not younger than ``until``: now that is known."""
        found = self._lines.get(line)
        if found is not None:
            found.until = until

    def adopt(self, line: int) -> bool:
        """Let ``line`` join if no line ever has, and return whether it did: for a caller that has only one."""
        if self._is_new:
            self.join(line)
            return True
        return False

    def had_again(self, rows: Mapping[Row, int]) -> None:
        """Take ``rows`` for duplicates, each so often, where a line that is there brings them next."""
        for line in self._lines.values():
            line.had = self._had(rows)
        self._look()

    def forget(self) -> None:
        """Take what went on for never had: whatever a line brings from now on is new. Held rows stay."""
        for line in self._lines.values():
            line.owed.clear()
            line.passed.clear()
            line.had = None
        self._look()

    def add(self, line: int, rows: Sequence[Row]) -> list[Row]:
        """Take what ``line`` brought, and return what goes on now, in order: of it, and of lines that waited."""
        if line == self.lone:
            return list(rows)
        found = self._lines.get(line)
        if found is None:
            self.strays += len(rows)
            return []
        new = rows if found.had is None else self._without_had(found, found.had, rows)
        out = self._pass(found, new) if found.is_full else self._hold(found, new)
        out += self._let_in()
        if len(self._lines) == 1:
            self._end_counting(found, out)
        return out

    def lead(self, line: int) -> list[Row]:
        """Take ``line`` for the first of those that are there to bring anything, and return its rows that go on.

        To be called before it brings the first row, or before the lines leave that were ahead of it. The others join
        it then, also one that was there first: it may begin later.
        """
        found = self._lines.get(line)
        if found is None or found.is_full:
            return []
        for other in self._lines.values():
            other.is_full = False
        return self._admit(found) + self._let_in()

    def settle(self, line: int) -> list[Row]:
        """Take ``line`` for level, because enough time has passed, and return its rows that go on."""
        found = self._lines.get(line)
        if found is None or found.is_full:
            return []
        return self._admit(found) + self._let_in()

    def leave(self, line: int) -> list[Row]:
        """Forget a line that has ended, and return what goes on now.

        If no full member is left, the oldest joining line becomes one, level or not. Held rows of the line that
        leaves are dropped: the ones that stay bring them.
        """
        gone = self._lines.pop(line, None)
        if gone is None:
            return []
        self._look_for_missed(gone, gone.latest)
        self.duplicates += len(gone.held)
        left = list(self._lines.values())
        out = self._promote(left[0]) if left and not any(each.is_full for each in left) else []
        out += self._let_in()
        self._look()
        return out

    def _look(self) -> None:
        """Find out whether there is a line that needs no counting."""
        only = next(iter(self._lines)) if len(self._lines) == 1 else None
        if only is not None and (self._lines[only].owed or self._lines[only].had is not None):
            only = None
        if only is not None:
            self._lines[only].passed.clear()
        self.lone = only

    def _had(self, rows: Mapping[Row, int]) -> _Had[Row] | None:
        if not rows:
            return None
        oldest, youngest = 0, 0
        if self._stamp is not None:
            stamps = list(map(self._stamp, rows))
            oldest, youngest = min(stamps), max(stamps)
        # Of the oldest stamp a part may be forgotten already; if it is the only one, better twice than never.
        return _Had[Row](dict(rows), oldest + (oldest < youngest), youngest)

    def _without_had(self, line: _Line[Row], had: _Had[Row], rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows that are not from before the join; one that is younger ends the search."""
        new: list[Row] = []
        for at, row in enumerate(rows):
            stamp = 0 if self._stamp is None else self._stamp(row)
            left = had.rows.get(row, 0)
            if left:
                had.rows[row] = left - 1
            elif self._stamp is None or stamp > max(had.youngest, line.until):
                line.had = None
                new += rows[at:]
                break
            elif row in had.rows and stamp < had.youngest:
                continue  # sent again more than once: all of that stamp had come
            elif had.known_from is None or stamp >= had.known_from:
                new.append(row)
            if had.known_from is not None and stamp >= had.known_from:
                had.known_from = None
        self.duplicates += len(rows) - len(new)
        return new

    def _hold(self, line: _Line[Row], rows: Sequence[Row]) -> list[Row]:
        if not line.held:
            # The last row of its first read: rows that a service repeats stand before it, and they may come from
            # before the line's own beginning.
            line.looked = max(len(rows) - 1, 0)
        line.held += rows
        return self._admit(line) if len(line.held) > self._held_limit else []

    def _let_in(self) -> list[Row]:
        """Let joining lines in that are level; what one brings may be what another waits for."""
        out: list[Row] = []
        joining = [line for line in self._lines.values() if not line.is_full]
        while level := [line for line in joining if self._is_level_now(line)]:
            out += self._admit(level[0])
            joining.remove(level[0])
        return out

    def _is_level_now(self, line: _Line[Row]) -> bool:
        while line.looked < len(line.held):
            row = line.held[line.looked]
            is_passed = self._is_passed(row)
            if row in line.owed:
                return is_passed
            if self._stamp is None or not is_passed:
                return False
            line.looked += 1  # the others went past without it: it does not show where they are
        return False

    def _is_passed(self, row: Row) -> bool:
        """Whether no other line will bring more rows with this row's stamp."""
        if self._stamp is None:
            return True
        return self._last is not None and self._stamp(self._last) > self._stamp(row)

    def _admit(self, line: _Line[Row]) -> list[Row]:
        line.is_full = True
        held, line.held = line.held, []
        if not held or self._stamp is None:
            return self._pass(line, held)
        line.since = max(map(self._stamp, held))
        at = 0 if self._last is None else self._stamp(self._last)
        out = self._pass(line, held)
        for row in out:
            if (
                self._stamp(row) < at
            ):  # the others went past without it, and may be gone when that is looked at
                self.missed[row] = self.missed.get(row, 0) + 1
        return out

    def _promote(self, line: _Line[Row]) -> list[Row]:
        """Let a line in that is not level. What the others brought since its join may be sent to it again, too."""
        had = line.had or _Had[Row]({}, None, 0)
        known = {**had.rows, **dict.fromkeys(line.held, 0)}
        out = self._admit(line)
        if self._stamp is not None and self._last is not None and line.owed:
            line.had = _Had({**known, **line.owed}, had.known_from, self._stamp(self._last))
            line.owed.clear()
        return out

    def _pass(self, line: _Line[Row], rows: Sequence[Row]) -> list[Row]:
        """Count rows of a full member, and return those that it is the first to bring."""
        out: list[Row] = []
        owed = line.owed
        others = [other.owed for other in self._lines.values() if other is not line]
        for row in rows:
            left = owed.get(row)
            if left is None and row in line.passed:
                del line.passed[row]
            elif left is None:
                out.append(row)
                for other in others:
                    other[row] = other.get(row, 0) + 1
            elif left == 1:
                del owed[row]
            else:
                owed[row] = left - 1
        self.duplicates += len(rows) - len(out)
        if out:
            self._last = out[-1]
            for other in others:
                self._bound(other)
        if rows and self._stamp is not None:
            line.latest = self._stamp(rows[-1])
            if line.since is None:
                line.since = line.latest
            if abs(line.latest - line.seen_at) >= _SLACK:
                line.seen_at = line.latest
                self._look_for_missed(line, line.latest - _SLACK)
        return out

    def _look_for_missed(self, line: _Line[Row], before: int) -> None:
        """Find what a full member that is at ``before`` has not brought, though others have."""
        if self._stamp is None or not line.is_full or line.since is None:
            return
        for row, count in list(islice(line.owed.items(), _LOOKED)):
            if (stamp := self._stamp(row)) < before:
                line.passed[row] = line.owed.pop(row)
                if stamp > line.since:
                    self.missed[row] = max(count, self.missed.get(row, 0))
        self._bound(line.passed)
        self._bound(self.missed)

    def _bound(self, owed: dict[Row, int]) -> None:
        excess = len(owed) - self._limit
        if excess > 0:
            # More than is needed: each look at the front of a dict passes over what was deleted there.
            oldest = list(islice(owed, excess + self._limit // 10))
            for row in oldest:
                del owed[row]
            self.forgotten += len(oldest)

    def _end_counting(self, line: _Line[Row], out: list[Row]) -> None:
        """Forget what is owed to the only line when it is past all that others brought."""
        if out and line.owed:
            last = next(reversed(line.owed))
            if self._stamp is None or self._stamp(out[-1]) > self._stamp(last):
                line.owed.clear()
        self._look()
