"""Handlers on streams that a test fills itself: no gateway, no network, everything else is what runs in one."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

import trio_projectx as px
from trio_projectx._handler_events import HandlerKind
from trio_projectx.flow.board import EventBoard
from trio_projectx.flow.keys import event_key, event_stamp
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe
from trio_projectx.handlers.entry import Source, Wish
from trio_projectx.handlers.registration import Registration
from trio_projectx.handlers.registry import Handlers


def wall() -> int:
    return round(trio.current_time() * 1e9)


class Desk:
    """A registry of handlers of whole numbers; ``feeds`` are the streams that are open, by their names."""

    def __init__(self, grace_s: float = 5.0, *, is_replay: bool = False) -> None:
        self.board = EventBoard()
        self.told: list[px.GatewayEvent] = []
        self.board.listen(self.told.append)
        self.feeds: dict[str, Feed[int]] = {}
        self.opened: list[str] = []
        self.handlers = Handlers(self.events, self.board.tell, wall, grace_s=grace_s, is_replay=is_replay)

    @asynccontextmanager
    async def events(self, *, outlasts: bool = False) -> AsyncGenerator[Stream[px.GatewayEvent]]:
        pipe: Pipe[px.GatewayEvent] = make_pipe(
            "events", 1000, px.Overflow.DROP_OLDEST, stamp=event_stamp, key=event_key
        )
        feed = Feed(pipe)
        self.board.attach(feed, outlasts=outlasts)
        try:
            yield Stream(pipe)
        finally:
            self.board.detach(feed)
            pipe.close()

    def source(
        self,
        name: str,
        capacity: int = 1000,
        overflow: px.Overflow = px.Overflow.DROP_OLDEST,
        wait_s: float = 0,
    ) -> Source:
        @asynccontextmanager
        async def opened() -> AsyncGenerator[Stream[int]]:
            await trio.sleep(wait_s)
            pipe: Pipe[int] = make_pipe(name, capacity, overflow, stamp=int, key=lambda item: item % 3)
            self.feeds[name] = Feed(pipe)
            self.opened.append(name)
            try:
                yield Stream(pipe)
            finally:
                del self.feeds[name]
                pipe.close()

        return opened

    def add(
        self,
        handler: Callable[..., object],
        *,
        stream: str = "x",
        kind: HandlerKind = "trade",
        capacity: int = 1000,
        overflow: px.Overflow = px.Overflow.DROP_OLDEST,
        wait_s: float = 0,
        fallback: Callable[..., object] | None = None,
        on_skipped: Callable[[px.Dropped], object] | None = None,
        batch: bool = False,
        weak: bool = False,
        **options: object,
    ) -> Registration:
        events = functools.partial(self.events, outlasts=True)
        source = events if kind == "event" else self.source(stream, capacity, overflow, wait_s)
        stamp = event_stamp if kind == "event" else int
        how = px.HandlerOptions(**options)  # type: ignore[arg-type]
        return self.handlers.add(Wish(kind, source, stamp, handler, fallback, on_skipped, how, batch, weak))

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        await self.handlers.run(task_status.started)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the handlers; the block begins when all streams are open."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.run)
            yield
            nursery.cancel_scope.cancel()

    def of(self, kind: type[object]) -> list[px.GatewayEvent]:
        return [event for event in self.told if isinstance(event, kind)]


async def settle(seconds: float = 0.0) -> None:
    """Let everybody run until they wait, and then for so long."""
    await trio.testing.wait_all_tasks_blocked()
    if seconds:
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()
