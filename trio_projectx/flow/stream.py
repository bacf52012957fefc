"""A user's stream: a bounded receive channel with a declared overflow policy.

The feed offers items without waiting, whatever the reader does; only under ``BLOCK`` does it wait. Streams own no
task and hold no cancel scope, so any task may read one, and an async generator may be written over one.

Three classes: `Pipe` is the state, `Stream` its reader's face (public), `Feed` its writer's face (ours).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

import attrs
import trio

from trio_projectx._config import Overflow
from trio_projectx._errors import SlowConsumer, TrioProjectXError, again
from trio_projectx._events import Dropped
from trio_projectx.flow.buffers import Buffer
from trio_projectx.flow.ledger import StreamRow

#: How long a reader may go on without letting other tasks run, as long as items wait for it.
_SLICE_S: Final = 0.010

#: Rounds of the scheduler that a reader gets before it is called slow; within one the order of tasks is random.
_CHANCES: Final = 3
#: Under these one that does not read costs nothing: only who has waited since is given a chance.
_DROPS: Final = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)


def _nobody() -> None:
    """Nobody wants to know."""


def _no_level(is_high: bool) -> bool:
    """Nobody wants to know."""
    return True


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(slots=True)
class StreamStatistics:
    """Counts of one stream, in items. ``offered == delivered + conflated + dropped + queued``, always."""

    name: str
    policy: Overflow
    capacity: int
    offered: int
    delivered: int
    conflated: int
    dropped: int
    queued: int
    high_water: int
    blocked: int
    """How often the feed had to wait for this stream (policy ``BLOCK`` only)."""

    @property
    def utilisation(self) -> float:
        """The share of the capacity that is in use; above 1 where what takes no room waits too.

        That is history before the live items, and looks at bars that are forming behind them.
        """
        return self.queued / self.capacity

    @property
    def balanced(self) -> bool:
        """Whether every item offered is accounted for."""
        return self.offered == self.delivered + self.conflated + self.dropped + self.queued


@attrs.define(slots=True, eq=False)
class Pipe(Generic[T]):
    """The state that a `Stream` and its `Feed` share; one task at a time touches it, so no lock."""

    name: str
    buffer: Buffer[T]
    readers: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    room: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    failure: TrioProjectXError | None = None
    ended: bool = False
    closed: bool = False
    blocked: int = 0
    is_awaited: bool = False
    """Whether a reader has waited, or given way, since it was last given the time to take what is there."""
    on_wait: Callable[[], None] = _nobody
    """Called when a reader finds nothing, and waits."""
    adapts: bool = False
    """Whether the capacity is ours to choose: nobody gave one (`Capacities`)."""
    on_close: Callable[[], None] = _nobody
    warn_share: float | None = None
    """From which share of the capacity on waiting items are told as many: `on_level` is called, with true then, and
    with false at half of it. None: never."""
    warn_at: float = attrs.field(init=False)
    """How many items that are."""
    on_level: Callable[[bool], bool] = _no_level
    """It returns whether that was told; if not, it is asked again."""
    is_high: bool = False
    fallen_to: int | None = None
    """To how many it has come, half of that or less, where it was not told: it was too soon after the last time."""

    def __attrs_post_init__(self) -> None:
        self._set_warn_at()

    @property
    def is_open(self) -> bool:
        """Whether offered items can still reach a reader."""
        return not self.closed and not self.ended and self.failure is None

    def row(self) -> StreamRow:
        """Return its row of the ledger."""
        b = self.buffer
        return StreamRow(self.name, b.offered, b.delivered, b.conflated, b.dropped, len(b))

    def close(self) -> None:
        """Take nothing more, and drop what waits (it is counted)."""
        if not self.closed:
            self.closed = True
            self.buffer.discard()
            self.wake()
            self.on_close()

    def wake(self) -> None:
        """Let every waiting task look again."""
        self.readers.unpark_all()
        self.room.unpark_all()

    def take(self) -> T | Dropped:
        """Return what a reader gets next, or raise what it gets instead; `trio.WouldBlock` for nothing yet."""
        if self.closed:
            raise trio.ClosedResourceError(f"{self.name} was closed")
        if isinstance(self.failure, SlowConsumer):
            raise again(self.failure)
        if not self.buffer.is_empty:
            self.room.unpark()
            item = self.buffer.get()
            if self.is_high and self.buffer.waiting <= self.warn_at / 2:
                self.is_high = not self.on_level(False)
                self.fallen_to = self.buffer.waiting if self.is_high else None
            return item
        if self.failure is not None:
            raise again(self.failure)
        raise trio.EndOfChannel if self.ended else trio.WouldBlock

    def fills(self) -> None:
        """Have told that it fills; where it counts as full still, only when that was told a while ago."""
        if self.on_level(True):
            self.is_high, self.fallen_to = True, None

    def resize(self, capacity: int) -> None:
        """Hold so many items from now on; where more wait already, so many as wait."""
        buffer = self.buffer
        buffer.capacity = max(capacity, buffer.waiting)
        self._set_warn_at()
        self.room.unpark_all()

    def warn_from(self, share: float) -> None:
        """Have it told when it fills to so much of its capacity."""
        self.warn_share = share
        self._set_warn_at()

    def _set_warn_at(self) -> None:
        share = self.warn_share
        self.warn_at = math.inf if share is None else max(1, math.ceil(self.buffer.capacity * share))

    @property
    def is_read_out(self) -> bool:
        """Whether its readers have had, or do not want, what came before its failure."""
        return self.failure is None or self.closed or self.buffer.is_empty

    @property
    def blocks(self) -> bool:
        """Whether the feed waits for it."""
        return self.buffer.policy is Overflow.BLOCK and self.buffer.is_full and self.is_open

    def statistics(self) -> StreamStatistics:
        """Return a snapshot of the counts."""
        b = self.buffer
        return StreamStatistics(
            name=self.name,
            policy=b.policy,
            capacity=b.capacity,
            offered=b.offered,
            delivered=b.delivered,
            conflated=b.conflated,
            dropped=b.dropped,
            queued=len(b),
            high_water=b.high_water,
            blocked=self.blocked,
        )


def make_pipe(
    name: str, capacity: int, policy: Overflow, *, stamp: Callable[[T], int], key: Callable[[T], Hashable]
) -> Pipe[T]:
    """Make an empty pipe; ``stamp`` dates an item for marks, ``key`` names its kind for ``CONFLATE``."""
    return Pipe(name, Buffer(capacity, policy, stamp, key))


class Stream(trio.abc.ReceiveChannel[T_co]):
    """What ``async with gateway.open_...() as stream`` gives: read it with ``async for`` or `receive`.

    Tasks that read the same stream compete for its items. `receive` raises `SlowConsumer` at once when items had
    to be dropped under ``ERROR``; `ConnectionLost` after the last item that came before the loss;
    `trio.EndOfChannel` only after this library closed the stream; `trio.ClosedResourceError` after `aclose`.
    Cancelling a `receive` loses nothing.
    """

    def __init__(self, pipe: Pipe[T_co]) -> None:
        self._pipe = pipe
        self._slice_began = -math.inf

    async def receive(self) -> T_co:
        """Return the next item (or, under a dropping policy, the `Dropped` that stands where some are missing).

        Cancellation is seen at each call. While items wait it lets other tasks run only every 10 ms: the feed makes
        items by the batch, and a reader that yielded after each one would fall behind it in every burst.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                item = self.receive_nowait()
            except trio.WouldBlock:
                self._pipe.is_awaited = True
                self._pipe.on_wait()
                await self._pipe.readers.park()
                self._slice_began = trio.current_time()
            else:
                await self._yield_now_and_then()
                return item

    async def _yield_now_and_then(self) -> None:
        now = trio.current_time()
        if now - self._slice_began > _SLICE_S:
            self._pipe.is_awaited = True  # it gives way, and is not slow because of that
            # The item is ours: a cancellation must not lose it.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._slice_began = trio.current_time()

    def receive_nowait(self) -> T_co:
        """Like `receive`, but raises `trio.WouldBlock` where that would wait."""
        # The overloads of open_* put Dropped into T for the policies that drop.
        return self._pipe.take()  # type: ignore[return-value]

    def close(self) -> None:
        """Stop reading: what waits is counted as dropped, the feed goes on without this stream."""
        self._pipe.close()

    async def aclose(self) -> None:
        """`close`, as trio wants it (a checkpoint)."""
        self.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> StreamStatistics:
        """Return a snapshot of the counts."""
        return self._pipe.statistics()

    def unread_mark(self) -> Dropped | None:
        """Return one mark for what is missing and was not told to a reader yet; None if nothing is."""
        return self._pipe.buffer.mark()


@attrs.frozen(slots=True, eq=False)
class Feed(Generic[T]):
    """The writer's end, held by the task that fills a stream."""

    pipe: Pipe[T]

    async def deliver(self, items: Sequence[T]) -> None:
        """Offer ``items`` in order; waits, under ``BLOCK`` only, until there is room for each.

        A stream that is closed or broken takes nothing and delays nobody.
        """
        for item in items:
            while self.pipe.blocks:
                self.pipe.blocked += 1
                await self.pipe.room.park()
            if self.pipe.buffer.is_full:
                await self._let_read()
            self.offer(item)

    async def _let_read(self) -> None:
        """A reader that is waiting is not slow: let it take what is there, before something is lost."""
        pipe = self.pipe
        policy, is_awaited, pipe.is_awaited = pipe.buffer.policy, pipe.is_awaited, False
        if policy is Overflow.ERROR or (policy in _DROPS and is_awaited):
            for _ in range(_CHANCES):
                if pipe.buffer.is_full and pipe.is_open:
                    await trio.lowlevel.checkpoint()

    def offer(self, item: T) -> None:
        """Offer one item now, by the stream's policy."""
        pipe = self.pipe
        if not pipe.is_open:
            return
        if pipe.buffer.policy is Overflow.ERROR and pipe.buffer.is_full:
            self._overflow(item)
            return
        pipe.buffer.put(item)
        pipe.readers.unpark()
        if pipe.buffer.waiting >= pipe.warn_at and (pipe.fallen_to is not None or not pipe.is_high):
            pipe.fills()

    def lead(self, items: Sequence[T]) -> None:
        """Put ``items`` before everything else; they take no room of the capacity."""
        if self.pipe.is_open and items:
            self.pipe.buffer.lead(items)
            self.pipe.readers.unpark_all()

    def offer_latest(self, item: T) -> None:
        """Offer a look at something that is still changing: it replaces a waiting one, and drops nothing."""
        if self.pipe.is_open:
            self.pipe.buffer.put_latest(item)
            self.pipe.readers.unpark()

    def fail(self, error: TrioProjectXError) -> None:
        """Let readers have what waits, and then ``error``; the first failure stays."""
        if self.pipe.failure is None:
            self.pipe.failure = error
            self.pipe.wake()

    def end(self) -> None:
        """Let readers have what waits, and then the end of the channel."""
        self.pipe.ended = True
        self.pipe.wake()

    def _overflow(self, item: T) -> None:
        pipe, b = self.pipe, self.pipe.buffer
        span = b.span()
        lag_s = (max(b.stamp(item), span[1]) - span[0]) / 1e9 if span else 0.0
        b.offered += 1
        b.dropped += 1
        lost = b.discard() + 1
        self.fail(
            SlowConsumer(
                f"{pipe.name}: the reader fell {lost} items ({lag_s:.3f} s of event time) behind, more than the "
                f"capacity of {b.capacity}; read faster (move slow work to another task), give a larger capacity=, "
                "or choose an overflow= policy that drops and tells",
                lost,
            )
        )
