"""One call of `run_handlers`: a nursery of its own, with a task for each handler."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from trio_projectx._errors import TrioProjectXError, again
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.flow.stream import Stream
from trio_projectx.handlers.entry import Entry
from trio_projectx.handlers.runner import Runner


class Run:
    """Calls handlers until the gateway is closed, or a stream of theirs breaks."""

    def __init__(self, entries: tuple[Entry, ...], grace_s: float, *, is_replay: bool) -> None:
        self._entries = entries
        self._grace_s = grace_s
        self._grace = trio.CancelScope()
        self._is_patient = is_replay
        self._begin = trio.Event()
        self._over = trio.Event()
        self._failure: TrioProjectXError | None = None
        self._tasks: BackgroundTasks | None = None
        self._runners: list[Runner] = []
        if not is_replay:
            self._begin.set()

    def start(self, entry: Entry) -> None:
        """Begin to call a handler; nothing happens where the run ends already."""
        if self._tasks is not None and not self._over.is_set():
            runner = Runner(entry, self._begin, self._fail)
            try:
                self._tasks.start_soon(self._run_one, runner, name=entry.name)
            except trio.ClosedResourceError:
                return  # a handler that was cancelled has registered one more
            self._runners.append(runner)

    async def serve(self, end: Stream[object], on_open: Callable[[], None]) -> None:
        """Run; ``end`` ends when the gateway is closed. ``on_open`` is called when the streams of all are open.

        :raises TrioProjectXError: what broke the first stream, when the others have handled what waited for them.
        :raises RuntimeError: if a handler has ended it.
        """
        async with open_background_tasks("run of the handlers") as self._tasks:
            for entry in self._entries:
                if not entry.is_removed:
                    self.start(entry)
            self._tasks.start_soon(self._begin_reading, end, on_open, name="beginning of the handlers")
            await self._over.wait()
            await self._drain()
        if self._failure is not None:
            raise again(self._failure)
        if not self._over.is_set():
            # Nobody outside cancels, or that would have come out above; so somebody inside has cancelled the nursery.
            raise RuntimeError(
                "the handlers were ended by one of them: it has cancelled the nursery that they run in, or the task "
                "that calls it"
            )

    def hurry(self) -> None:
        """Wait no longer than the grace from now on, where handlers could take their time."""
        if self._is_patient:
            self._is_patient = False
            self._grace.deadline = trio.current_time() + self._grace_s

    async def settled(self) -> None:
        """Wait until no task is left but those of handlers of events, which are told of the others."""
        for runner in tuple(self._runners):
            if not runner.is_of_events:
                await runner.over.wait()

    async def _run_one(self, runner: Runner) -> None:
        try:
            await runner.run()
        finally:
            self._runners.remove(runner)

    async def _begin_reading(self, end: Stream[object], on_open: Callable[[], None]) -> None:
        for runner in tuple(self._runners):
            await runner.opened.wait()
        self._begin.set()
        if self._failure is None:
            on_open()
        async for _ in end:
            pass  # what is told here is told to the handlers of events by streams of their own
        self._over.set()

    async def _drain(self) -> None:
        """Let the others handle what waits for them: it was received, and is as good as before.

        Handlers of events come last: what the others were not given is told when they are over.
        """
        self._begin.set()
        await self._finish([each for each in self._runners if not each.is_of_events])
        await self._finish([*self._runners])

    async def _finish(self, runners: list[Runner]) -> None:
        for runner in runners:
            runner.drain()
        grace_s = math.inf if self._is_patient else self._grace_s
        self._grace = trio.CancelScope(deadline=trio.current_time() + grace_s)
        with self._grace:
            for runner in runners:
                await runner.over.wait()
        for runner in runners:
            runner.cancel()
            await runner.over.wait()

    def _fail(self, failure: TrioProjectXError) -> None:
        if self._failure is None:
            self._failure = failure
        self.hurry()
        self._over.set()
