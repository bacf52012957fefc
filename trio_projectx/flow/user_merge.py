"""The lines of the user hub, merged into one order of events: each once.

Every subscription has a channel of its own, because a second line takes them over one by one. So the order of a line is
kept within a subscription; between two of them it is kept but for the moments in which a line that joins is settled in
one already and not in the other yet. What a service repeats after an outage is passed on: it shows how things stand.
"""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx.flow.subscriptions import Subscription
from trio_projectx.flow.user_channel import KEPT, UserChannel, UserRow
from trio_projectx.flow.user_outlet import subscription_of
from trio_projectx.market.lines import LineMerger


@attrs.frozen(slots=True)
class Left:
    """What it means that a line brings a subscription no more."""

    rows: list[UserRow]
    """Held events that go on now."""
    missing_since: int | None
    """Since when (our clock) events may be missing; None if another line is known to bring all of them."""
    is_back: bool
    """Whether another line brings it from now on, acknowledged: then nothing is missing any more."""


_NOBODY: Final = UserChannel()
"""Stands for a subscription that nobody has made; it has no lines."""


class UserMerge:
    """The state of all subscriptions on all lines. Nothing here waits."""

    def __init__(self) -> None:
        self._channels: dict[Subscription, UserChannel] = {}
        # What comes of subscriptions that nobody has made: on one line or on all of them, there is no telling.
        self._unasked = LineMerger[UserRow](limit=KEPT)
        self._carried: dict[int, set[Subscription]] = {}
        self._gone = 0

    @property
    def duplicates(self) -> int:
        """Events that another line had brought, or that came on a line which had been left."""
        unasked = self._unasked.duplicates + self._unasked.strays
        return self._gone + unasked + sum(channel.duplicates for channel in self._channels.values())

    @property
    def waiting(self) -> int:
        """Events of lines that are not level with another yet."""
        return sum(channel.waiting for channel in self._channels.values())

    def add(self, line: int, row: UserRow) -> list[UserRow]:
        """Return what goes on, now that ``line`` has brought ``row``."""
        channel = self._channel(subscription_of(row.event))
        return channel.add(line, row) if channel.lines else self._unasked.add(line, [row])

    def hear(self, line: int, ts_recv: int) -> None:
        """Note that ``line`` has brought something: it has brought everything before that, then."""
        for wanted in self._carried.get(line, ()):
            channel = self._channel(wanted)
            if channel.is_level(line):
                channel.heard = ts_recv

    def join(self, line: int, wanted: Subscription, now: int) -> None:
        """``line`` is about to ask for ``wanted``; doing it again changes nothing."""
        channel = self._channels.setdefault(wanted, UserChannel())
        if line in channel.lines:
            return
        if not channel.lines:
            channel.heard = now
        channel.join(line)
        carried = self._carried.setdefault(line, set())
        if not carried:
            self._unasked.join(line)
            self._unasked.settle(line)
        carried.add(wanted)

    def acknowledged(self, line: int, wanted: Subscription) -> bool:
        """The hub has acknowledged it; returns whether it is still wanted of this line."""
        channel = self._channel(wanted)
        if line not in channel.lines:
            return False
        channel.acknowledge(line)
        return True

    def leave(self, line: int, wanted: Subscription) -> Left | None:
        """``line`` brings it no more; None if it did not anyway."""
        channel = self._channel(wanted)
        if line not in channel.lines:
            return None
        # A line that was asked for it and has not answered yet is a full member where it is the first; it covers none.
        is_covered = channel.is_covered_without(line, channel.acknowledged)
        is_missed = channel.is_established and not is_covered
        rows = channel.leave(line)
        carried = self._carried[line]
        carried.discard(wanted)
        if not carried:
            del self._carried[line]
            self._unasked.leave(line)  # it held nothing back
        return Left(rows, channel.heard if is_missed else None, bool(channel.acknowledged))

    def settle(self, line: int, wanted: Subscription) -> list[UserRow]:
        """``line`` counts as level; return what goes on by that."""
        return self._channel(wanted).settle(line)

    def is_level(self, line: int, wanted: Subscription) -> bool:
        """Whether ``line`` is a full member: others may leave, and nothing will be missing."""
        return self._channel(wanted).is_level(line)

    def forget(self, wanted: Subscription) -> None:
        """Nobody needs it: keep nothing of it but its counts, unless a line still brings it."""
        channel = self._channel(wanted)
        if not channel.lines and self._channels.pop(wanted, None) is not None:
            self._gone += channel.duplicates

    def _channel(self, wanted: Subscription) -> UserChannel:
        return self._channels.get(wanted, _NOBODY)
