"""The streams that are open, one by one: what statistics show, and who is told when one fills up."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Final, Protocol, TypeVar

import trio

from trio_projectx._config import Overflow
from trio_projectx._flow_events import StreamEased, StreamFilling
from trio_projectx.flow.ledger import StreamRow
from trio_projectx.flow.stream import Pipe, StreamStatistics, make_pipe

T = TypeVar("T")
_Tell = Callable[[StreamFilling | StreamEased], None]
#: How long a stream that has filled again right after it was told as eased counts as full.
_EASED_EVERY_S: Final = 1.0


class _Open(Protocol):
    """A pipe, whatever goes through it."""

    @property
    def name(self) -> str: ...

    @property
    def blocks(self) -> bool: ...

    @property
    def is_high(self) -> bool: ...

    @property
    def fallen_to(self) -> int | None: ...

    @property
    def is_read_out(self) -> bool: ...

    def statistics(self) -> StreamStatistics: ...

    def row(self) -> StreamRow: ...


class OpenStreams:
    """Makes the pipes of one gateway's streams, and knows them until they are closed.

    ``tell`` is called when a stream has filled to ``warn_share`` of its capacity, before anything is dropped, and when
    it is at half of that again; ``wall_clock`` (int64 ns) dates it. One that goes up and down (a capacity of 1 does so
    with each item) counts as full meanwhile: that it is not is told once a second at most, at the
    latest when it fills again after that.
    """

    def __init__(
        self,
        tell: _Tell | None,
        wall_clock: Callable[[], int],
        warn_share: float,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self.wall_clock = wall_clock
        self._warn_share = warn_share
        self._open: dict[int, _Open] = {}
        self._past: dict[str, StreamRow] = {}
        self._told_at: dict[int, float] = {}

    def make(
        self,
        name: str,
        capacity: int,
        policy: Overflow,
        *,
        stamp: Callable[[T], int],
        key: Callable[[T], Hashable],
        is_told: bool = True,
    ) -> Pipe[T]:
        """Return a pipe; ``is_told`` false is for the stream in which it would be told."""
        pipe = make_pipe(name, capacity, policy, stamp=stamp, key=key)
        self._open[id(pipe)] = pipe
        pipe.on_close = lambda: self._closed(id(pipe))
        if is_told and self._tell is not None:
            pipe.warn_from(self._warn_share)
            pipe.on_level = lambda is_high: self._level(pipe, is_high=is_high)
        return pipe

    def statistics(self) -> tuple[StreamStatistics, ...]:
        """Return a snapshot of each, in the order in which they were opened."""
        return tuple(pipe.statistics() for pipe in self._open.values())

    def rows(self) -> tuple[StreamRow, ...]:
        """Return the row of each in the ledger."""
        return tuple([pipe.row() for pipe in self._open.values()])

    def closed(self) -> tuple[StreamRow, ...]:
        """Return the sums of those that were closed, a row for each kind of streams."""
        return tuple(self._past.values())

    def blocking(self) -> str:
        """Name the streams for which the feed waits."""
        names = [repr(pipe.name) for pipe in self._open.values() if pipe.blocks]
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"the stream of {names[0]}{others} (overflow=BLOCK)" if names else "a stream (overflow=BLOCK)"

    @property
    def are_read_out(self) -> bool:
        """Whether the readers of all that have failed have had what came before."""
        return all(pipe.is_read_out for pipe in self._open.values())

    def _closed(self, which: int) -> None:
        self._told_at.pop(which, None)
        pipe = self._open.pop(which, None)
        if pipe is not None:
            row = pipe.row()  # it changes no more
            self._past[row.kind] = self._past.get(row.kind, StreamRow(row.kind)).plus(row)

    def _level(self, pipe: _Open, *, is_high: bool) -> bool:
        if self._tell is None:
            return True
        # One that was not told as eased counts as full still; that it fills again is told, where that is a while ago.
        is_news = is_high and not pipe.is_high
        if not is_news and self._clock() - self._told_at.get(id(pipe), -math.inf) < _EASED_EVERY_S:
            return False
        at, now, fallen_to = self.wall_clock(), pipe.statistics(), pipe.fallen_to
        if not is_news:
            self._told_at[id(pipe)] = self._clock()
            queued = now.queued if fallen_to is None or not is_high else fallen_to
            self._tell(StreamEased(now.name, queued, now.capacity, at))
        if is_high:
            self._tell(StreamFilling(now.name, now.queued, now.capacity, now.policy, at))
        return True
