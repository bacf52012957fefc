"""The way of user events: from the lines of the user hub, each event once, to the streams that are open for it.

What goes on is put into a queue in one step without a checkpoint, so that a reader that is cancelled while it waits for
room has lost nothing; one task gives it to the streams.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import attrs
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import SubscriptionError, TrioProjectXError
from trio_projectx._logs import fields
from trio_projectx._user_events import UserItem
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.ledger import UserEventsRow
from trio_projectx.flow.room import Room
from trio_projectx.flow.subscriptions import Subscription
from trio_projectx.flow.user_channel import UserRow
from trio_projectx.flow.user_merge import UserMerge
from trio_projectx.flow.user_outlet import UserOutlet, subscription_of
from trio_projectx.market.reasons import RejectedCounts, Rejection, Rejections
from trio_projectx.market.user import UserDecoded, UserDecoder, join_user_decoded
from trio_projectx.signalr import JsonValue

#: How long streams wait for what was read before a loss, before they are told of it without that.
_TELL_S: Final = 1.0
_HELD_BACK_S: Final = 5.0
#: How often an unreadable event is told in the log, at most.
_LOG_EVERY_S: Final = 60.0

_log = logging.getLogger("trio_projectx")


@attrs.frozen(slots=True)
class _Break:
    """The end of some streams, behind what came before it."""

    error: TrioProjectXError
    outlets: tuple[UserOutlet, ...]
    told: trio.Event = attrs.Factory(trio.Event)


@attrs.frozen(slots=True)
class _Look:
    """Some gap may be over; told only behind the last of these, for an outage may have come and gone since."""

    number: int


_Batch: TypeAlias = dict[UserOutlet, list[UserItem]]
_Work: TypeAlias = _Batch | _Break | _Look


@attrs.frozen(slots=True)
class UserStatistics:
    """Counts of a gateway's user events: ``received == passed + duplicates + waiting``."""

    received: int
    """Events that could be read, on all lines."""
    passed: int
    """Those that went on, to whatever streams were open."""
    duplicates: int
    """Those that another line had brought, or that came on a line that had been left."""
    waiting: int
    """Those of a line that is not level with another yet."""
    unclaimed: int
    """Of those passed: no stream took them."""
    rejected: RejectedCounts
    """Events that could not be read, by reason; each is left out as a whole."""
    null_entries: int
    logouts: int
    unknown_targets: int
    held_back: int
    """How often the socket waited for more than five seconds for a stream with ``overflow=BLOCK``."""


@attrs.define(slots=True)
class _Counts:
    received: int = 0
    passed: int = 0
    unclaimed: int = 0
    null_entries: int = 0
    logouts: int = 0
    unknown_targets: int = 0


class UserPipeline:
    """The sink of the user hub. Tasks: one, that fills the streams.

    ``wall_clock`` gives int64 ns; it dates gaps, and decides nothing.
    """

    def __init__(
        self,
        limits: Limits,
        tasks: BackgroundTasks,
        wall_clock: Callable[[], int],
        room: Room | None = None,
    ) -> None:
        self._wall_clock = wall_clock
        self._decoder = UserDecoder()
        self._outlets: tuple[UserOutlet, ...] = ()
        self._merge = UserMerge()
        self._rejections = Rejections()
        self._counts = _Counts()
        self._told_at = -math.inf
        self.serial = 0
        """How many reads of the socket had user events in them."""
        # Without a limit of its own: what puts something in must not wait, and `deliver` waits afterwards.
        self._send, self._receive = trio.open_memory_channel[_Work](math.inf)
        self._looks = 0
        self.room = room or Room("user", limits.batches_in_flight)
        tasks.start_soon(self._give, name="user events")

    @property
    def outlets(self) -> tuple[UserOutlet, ...]:
        """The outlets of the open streams."""
        return self._outlets

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last events that could not be read, oldest first; they say where, and nothing that the wire said."""
        return self._rejections.last

    def attach(self, outlet: UserOutlet) -> None:
        """Give every event that is read from now on to ``outlet`` too."""
        self._outlets = (*self._outlets, outlet)

    def detach(self, outlet: UserOutlet) -> None:
        """Give ``outlet`` nothing more."""
        self._outlets = tuple(each for each in self._outlets if each is not outlet)

    # -- what an epoch's reader does

    def bulk(self, text: str) -> UserDecoded | None:
        """Return None: there is no fast way, and no need of one."""
        return self._decoder.bulk(text)

    def invocation(self, target: str, arguments: Sequence[JsonValue]) -> UserDecoded:
        """Decode one call of the server's."""
        return self._decoder.invocation(target, arguments)

    def combined(self, found: list[UserDecoded]) -> UserDecoded:
        """Put what came together into one."""
        return join_user_decoded(found)

    async def deliver(self, found: UserDecoded, ts_recv: int, line: int, now: float = 0.0) -> None:
        """Take what a reader decoded; waits while the streams are ``batches_in_flight`` reads behind.

        Cancelling the wait loses nothing.
        """
        self._note(found, ts_recv)
        if found.events:
            self.serial += 1
            rows = [UserRow(event, ts_recv) for event in found.events]
            self._pass([passed for row in rows for passed in self._merge.add(line, row)])
            self._merge.hear(line, ts_recv)
        if self.room.is_full:
            await self.room.wait()

    # -- what the hub tells of its lines

    def join(self, line: int, wanted: Subscription) -> None:
        """``line`` is about to ask for ``wanted``; doing it again changes nothing."""
        self._merge.join(line, wanted, self._wall_clock())

    def acknowledged(self, line: int, wanted: Subscription, position: int = 0) -> None:
        """The hub has acknowledged it: an outage of it is over."""
        if self._merge.acknowledged(line, wanted):
            self._restore(wanted)

    def leave(self, line: int, wanted: Subscription, cause: str) -> None:
        """``line`` brings it no more. Where no other is level with it, something may be missing for ``cause``."""
        left = self._merge.leave(line, wanted)
        if left is None:
            return
        needing = [outlet for outlet in self._outlets if outlet.needs(wanted)]
        if left.missing_since is not None:
            for outlet in needing:
                outlet.owe(wanted, left.missing_since, cause)
            if left.is_back:
                self._restore(wanted)
        self._pass(left.rows)
        if not needing:
            self._merge.forget(wanted)

    def settle(self, line: int, wanted: Subscription, doubt: str = "") -> None:
        """``line`` counts as level: both have been there long enough."""
        self._pass(self._merge.settle(line, wanted))

    def doubts(self, line: int, wanted: Subscription, waited_s: float, most_s: float) -> bool | None:
        """Return False: on this hub silence is normal."""
        return False

    def is_level(self, line: int, wanted: Subscription) -> bool:
        """Whether ``line`` has been seen to bring what the others have brought."""
        return self._merge.is_level(line, wanted)

    def refuse(self, wanted: Subscription, error: SubscriptionError) -> None:
        """Break the streams that need ``wanted``, behind what was read before."""
        self._put(_Break(error, tuple(each for each in self._outlets if each.needs(wanted))))

    def lose(self, error: TrioProjectXError) -> Awaitable[None]:
        """Break the streams that are open now with ``error``, behind everything that was read before it.

        Await it. Where that is held back by a stream that the feed has to wait for, they are told without it after a
        second.
        """
        # Noted at the call, not when it is first awaited: who learns of the loss may open a stream that is not lost.
        loss = _Break(error, self._outlets)
        self._put(loss)
        return self._see_told(loss)

    def end(self) -> None:
        """End all streams: the gateway is closing."""
        for outlet in self._outlets:
            outlet.feed.end()

    def row(self) -> UserEventsRow:
        """Return its row of the ledger."""
        counts, merge = self._counts, self._merge
        return UserEventsRow(counts.received, counts.passed, merge.duplicates, merge.waiting)

    def statistics(self) -> UserStatistics:
        """Return a snapshot of all counts."""
        counts = self._counts
        return UserStatistics(
            received=counts.received,
            passed=counts.passed,
            duplicates=self._merge.duplicates,
            waiting=self._merge.waiting,
            unclaimed=counts.unclaimed,
            rejected=self._rejections.counts,
            null_entries=counts.null_entries,
            logouts=counts.logouts,
            unknown_targets=counts.unknown_targets,
            held_back=self.room.held_back,
        )

    # -- steps without a checkpoint

    def _note(self, found: UserDecoded, ts_recv: int) -> None:
        counts = self._counts
        counts.received += len(found.events)
        counts.null_entries += found.null_entries
        counts.logouts += found.logouts
        counts.unknown_targets += found.unknown_targets
        for refusal in found.refusals:
            said = f"{refusal.target}: {refusal.detail}"
            self._rejections.add(refusal.reason, said, ts_recv, refusal.count)
            self._log_refusal(said)

    def _log_refusal(self, said: str) -> None:
        now = trio.current_time()
        if now - self._told_at >= _LOG_EVERY_S:
            self._told_at = now
            total = self._rejections.counts.total
            _log.warning(
                "user hub: an event (no. %d) could not be read and was left out: %s",
                total,
                said,
                extra=fields("user_event_unreadable", hub="user", number=total),
            )

    def _pass(self, rows: Sequence[UserRow]) -> None:
        """Put events on their way to the streams, and before them the gaps that they end."""
        batch: _Batch = {}
        for row in rows:
            event, wanted = row.stamped(), subscription_of(row.event)
            takers = [outlet for outlet in self._outlets if outlet.takes(event)]
            self._counts.passed += 1
            self._counts.unclaimed += not takers
            for outlet in takers:
                gap = outlet.gap_before(wanted, row.ts_recv)
                batch.setdefault(outlet, []).extend((event,) if gap is None else (gap, event))
        if batch:
            self._put(batch)

    def _restore(self, wanted: Subscription) -> None:
        at = self._wall_clock()
        for outlet in self._outlets:
            outlet.restore(wanted, at)
        # Told by the other task, when this step is over: several subscriptions that come back together are one gap.
        self._looks += 1
        self._put(_Look(self._looks))

    # -- the queue, and the task behind it

    def _put(self, work: _Work) -> None:
        self.room.put()
        self._send.send_nowait(work)

    async def _give(self) -> None:
        async for work in self._receive:
            if isinstance(work, _Break):
                self._break(work)
            elif isinstance(work, _Look):
                if work.number == self._looks:
                    await self._tell_gaps()
            else:
                for outlet, items in work.items():
                    await outlet.feed.deliver(items)
            self.room.taken()

    async def _tell_gaps(self) -> None:
        for outlet in self._outlets:
            gap = outlet.gap_due()
            if gap is not None:
                await outlet.feed.deliver([gap])

    async def _see_told(self, loss: _Break) -> None:
        with trio.move_on_after(_TELL_S):
            await loss.told.wait()
        self._break(loss)

    def _break(self, broken: _Break) -> None:
        """Tell streams that no more will come; telling again changes nothing."""
        broken.told.set()
        for outlet in broken.outlets:
            self.detach(outlet)
            outlet.feed.fail(broken.error)
