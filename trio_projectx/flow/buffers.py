"""What a stream holds between its feed and its reader: bounded, and exact about what it leaves out.

A buffer is never longer than its capacity in items. Marks (`Dropped`) stand where items are missing; two marks are
never neighbours (they merge), so there are never more marks than items plus one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import attrs

from trio_projectx._config import Overflow
from trio_projectx._events import Dropped, Gap

T = TypeVar("T")


@attrs.define(slots=True)
class Buffer(Generic[T]):
    """A first-in first-out buffer of at most ``capacity`` items under one overflow policy.

    The equation ``offered == delivered + conflated + dropped + len(buffer)`` holds after every call. `ERROR` and
    `BLOCK` are the stream's business: it asks `is_full` first.
    """

    capacity: int
    policy: Overflow
    stamp: Callable[[T], int]
    """The instant of an item, for the marks: ``ts_event`` of a trade, ``start`` of a bar."""
    key: Callable[[T], Hashable]
    """Which items replace one another under `CONFLATE`."""
    offered: int = 0
    delivered: int = 0
    conflated: int = 0
    dropped: int = 0
    high_water: int = 0
    _lead: deque[T] = attrs.field(init=False)
    _items: deque[T | Dropped] = attrs.field(init=False)
    _slots: dict[Hashable, T] = attrs.field(init=False)
    _latest: dict[Hashable, T] = attrs.field(init=False)
    _marks: int = 0
    _owes_item: bool = False
    """The last that was given is a mark."""
    _gap: Hashable = None
    """The key of the last gap under `CONFLATE`: what comes behind it stays behind it for as long as it waits."""

    def __attrs_post_init__(self) -> None:
        self._lead = deque()
        self._items = deque()
        self._slots = {}
        self._latest = {}

    def __len__(self) -> int:
        return len(self._lead) + self.waiting + len(self._latest)

    @property
    def waiting(self) -> int:
        """How many items take up room."""
        return len(self._items) - self._marks + len(self._slots)

    @property
    def is_full(self) -> bool:
        """Whether one more item needs the overflow policy."""
        return self.waiting >= self.capacity

    @property
    def is_empty(self) -> bool:
        """Whether `get` has nothing, neither item nor mark."""
        return not self._lead and not self._items and not self._slots and not self._latest

    def lead(self, items: Sequence[T]) -> None:
        """Take in what comes before everything else, whatever the policy; it takes no room.

        These are as many as somebody has asked for, and there are no more of them.
        """
        self.offered += len(items)
        self._lead += items
        self.high_water = max(self.high_water, len(self))

    def put(self, item: T) -> None:
        """Take ``item`` in, or leave one out by the policy."""
        self.offered += 1
        if self._latest and self._latest.pop(self.key(item), None) is not None:
            self.conflated += 1  # what it was a look at is here now
        if self.policy is Overflow.CONFLATE:
            self._conflate(item)
        elif not self.is_full:
            self._items.append(item)
        elif self.policy is Overflow.DROP_OLDEST:
            self._items.append(item)
            self._drop_oldest()
        else:
            self._mark_newest(item)
        self.high_water = max(self.high_water, len(self))

    def put_latest(self, item: T) -> None:
        """Take in a look at something that is still changing, whatever the policy.

        It replaces a waiting one of its key, gives way to an item of that key, and takes no room: there are
        never more of them than keys.
        """
        self.offered += 1
        key = self.key(item)
        self.conflated += key in self._latest
        self._latest[key] = item
        self.high_water = max(self.high_water, len(self))

    def get(self) -> T | Dropped:
        """Return the oldest item or mark, after these the looks; IndexError if there is nothing."""
        if self._lead:
            self.delivered += 1
            return self._lead.popleft()
        if self._latest and not self._items and not self._slots:
            self.delivered += 1
            return self._latest.pop(next(iter(self._latest)))
        if self._slots and (self._owes_item or not self._items):
            self._owes_item = False
            self.delivered += 1
            return self._slots.pop(next(iter(self._slots)))
        item = self._items.popleft()
        self._owes_item = isinstance(item, Dropped)
        if isinstance(item, Dropped):
            self._marks -= 1
        else:
            self.delivered += 1
        return item

    def discard(self) -> int:
        """Drop all that waits; returns how many items that were."""
        lost = len(self)
        self.dropped += lost
        self._lead.clear()
        self._items.clear()
        self._slots.clear()
        self._latest.clear()
        self._marks = 0
        self._owes_item = False
        return lost

    def conflate(self) -> int:
        """Keep the last waiting item of each key, and from now on no more (`CONFLATE`); return how many that drops.

        A mark before them tells of those. Only for a policy that drops.
        """
        kept: dict[Hashable, T] = {}
        mark: Dropped | None = None
        for item in self._items:
            if isinstance(item, Dropped):
                mark = joined(mark, item)
                continue
            key = self.key(item)
            if key in kept:
                at = self.stamp(kept.pop(key))
                self.dropped += 1
                mark = joined(mark, Dropped(1, at, at))
            kept[key] = item
            self._note_gap(item, key)
        dropped = self.waiting - len(kept)
        self._items = deque([] if mark is None else [mark])
        self._marks = len(self._items)
        self._slots = kept
        self.policy = Overflow.CONFLATE
        return dropped

    def unconflate(self, policy: Overflow) -> None:
        """Go back to ``policy`` after `conflate`; what waits goes on waiting."""
        self._items.extend(self._slots.values())
        self._slots.clear()
        self.policy = policy

    def span(self) -> tuple[int, int] | None:
        """Return the least and the greatest instant of the waiting items; None if nothing waits."""
        stamps = [self.stamp(item) for item in (*self._lead, *self._items) if not isinstance(item, Dropped)]
        stamps += map(self.stamp, self._slots.values())
        return (min(stamps), max(stamps)) if stamps else None

    def mark(self) -> Dropped | None:
        """Return one mark for all that wait, None if there is none."""
        found: Dropped | None = None
        for item in self._items if self._marks else ():
            if isinstance(item, Dropped):
                found = joined(found, item)
        return found

    def _conflate(self, item: T) -> None:
        key = self.key(item)
        self._note_gap(item, key)
        if key in self._slots:
            self.conflated += 1
            if self._gap in self._slots:
                del self._slots[key]
        elif len(self._slots) >= self.capacity:
            self._mark_oldest(self._slots.pop(next(iter(self._slots))))
        self._slots[key] = item

    def _note_gap(self, item: T, key: Hashable) -> None:
        if isinstance(item, Gap):
            self._gap = key

    def _drop_oldest(self) -> None:
        if self._owes_item and not isinstance(self._items[0], Dropped):
            # It stands behind the mark that was given last. Were it dropped too, a reader that is slower than the
            # feed would get marks and nothing else.
            owed = self._items.popleft()
            self._drop_first()
            self._items.appendleft(owed)
        else:
            self._drop_first()

    def _drop_first(self) -> None:
        oldest = self._items.popleft()
        if isinstance(oldest, Dropped):
            victim = self._items.popleft()
            self._items.appendleft(oldest)
        else:
            victim = oldest
        if not isinstance(victim, Dropped):
            self._mark_oldest(victim)

    def _mark_oldest(self, victim: T) -> None:
        mark = self._items[0] if self._items else None
        if isinstance(mark, Dropped):
            self._items[0] = self._merged(mark, victim)
        else:
            self._items.appendleft(self._merged(None, victim))
            self._marks += 1

    def _mark_newest(self, victim: T) -> None:
        mark = self._items[-1] if self._items else None
        if isinstance(mark, Dropped):
            self._items[-1] = self._merged(mark, victim)
        else:
            self._items.append(self._merged(None, victim))
            self._marks += 1

    def _merged(self, mark: Dropped | None, victim: T) -> Dropped:
        self.dropped += 1
        at = self.stamp(victim)
        # A gap that is left out says, as a part of the mark, up to where trades may be missing.
        until = victim.end if isinstance(victim, Gap) else at
        if mark is None:
            return Dropped(1, at, until)
        # Bars of several timeframes come with an older start, too.
        return Dropped(mark.count + 1, min(mark.first_ts, at), max(mark.last_ts, until))


def joined(one: Dropped | None, other: Dropped) -> Dropped:
    """Return one mark for two."""
    if one is None:
        return other
    first, last = min(one.first_ts, other.first_ts), max(one.last_ts, other.last_ts)
    return Dropped(one.count + other.count, first, last)
