"""All handlers of one gateway, and the run that calls them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from trio_projectx._errors import ConfigError
from trio_projectx._events import GatewayEvent
from trio_projectx.handlers.counts import HandlerStatistics
from trio_projectx.handlers.entry import Entry, Source, Wish
from trio_projectx.handlers.registration import Registration
from trio_projectx.handlers.run import Run

#: Handlers of one kind; a gateway with more of them has forgotten to remove some.
MOST: Final = 32


def _nobody() -> None:
    """Nobody wants to know."""


class Handlers:
    """The handlers of one gateway, registered and removed at any time, also while they are called."""

    def __init__(
        self,
        events: Source,
        tell: Callable[[GatewayEvent], None],
        wall_clock: Callable[[], int],
        *,
        grace_s: float = math.inf,
        is_replay: bool = False,
    ) -> None:
        """``grace_s`` is how long handlers may go on with what waits when a run ends otherwise than by cancellation.

        In a replay no stream is read before all are open, for reading is what lets it begin; and at its end handlers
        may take their time with what waits, until it is left (`hurry`).
        """
        self._events = events
        self._tell = tell
        self._wall_clock = wall_clock
        self._grace_s = grace_s
        self._is_replay = is_replay
        self._entries: dict[str, Entry] = {}
        self._numbers = 0
        self._run: Run | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def add(self, wish: Wish) -> Registration:
        """Register a handler; it is called from now on, or when the next run begins.

        :raises ConfigError: if there are too many of its kind, if its name is taken, or if it cannot be called so.
        """
        self._forget_gone()
        if sum(entry.kind == wish.kind for entry in self._entries.values()) >= MOST:
            raise ConfigError(
                f"there are {MOST} handlers of {wish.kind}s already: remove one, or let one do more"
            )
        name = self._name_for(wish)
        entry = Entry(
            name,
            wish,
            tell=self._tell,
            wall_clock=self._wall_clock,
            on_removed=self._removed,
            on_gone=self._gone,
        )
        self._entries[name] = entry
        if self._run is not None:
            self._run.start(entry)
        return Registration(entry)

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return a snapshot of the counts of each that is registered, in their order."""
        self._forget_gone()
        return tuple(entry.statistics() for entry in self._entries.values())

    async def run(self, on_open: Callable[[], None] = _nobody) -> None:
        """Call the handlers until the gateway is closed; see `Callbacks.run_handlers`.

        ``on_open`` is called when the streams of all that are registered are open.
        """
        if self._run is not None:
            raise trio.BusyResourceError("the handlers are being run by another task")
        self._forget_gone()
        self._token = trio.lowlevel.current_trio_token()
        self._run = Run(tuple(self._entries.values()), self._grace_s, is_replay=self._is_replay)
        try:
            async with self._events() as end:
                await self._run.serve(end, on_open)
        finally:
            self._run = None

    def tell(self) -> None:
        """Tell of each what waits to be told."""
        for entry in self._entries.values():
            entry.tell()

    async def settled(self) -> None:
        """Wait until all whose streams have ended are over, but for those of events."""
        if self._run is not None:
            await self._run.settled()

    def hurry(self) -> None:
        """Let the run, if it is ending, end within the grace: who it is for is being left."""
        if self._run is not None:
            self._run.hurry()

    def _name_for(self, wish: Wish) -> str:
        name = wish.options.name
        if name is None:
            self._numbers += 1
            function = getattr(wish.handler, "__qualname__", type(wish.handler).__qualname__)
            name = f"{wish.kind} handler {self._numbers} ({function:.80})"
        if name in self._entries:
            raise ConfigError(f"there is a handler named {name!r:.100} already")
        return name

    def _removed(self, entry: Entry) -> None:
        self._entries.pop(entry.name, None)

    def _forget_gone(self) -> None:
        for entry in tuple(self._entries.values()):
            if entry.handler.is_gone:
                entry.remove()

    def _gone(self, entry: Entry) -> None:
        """Let the run remove what has gone: this is called by whoever collects garbage, in any thread, at any place."""
        if self._token is not None:
            try:
                self._token.run_sync_soon(entry.remove)
            except trio.RunFinishedError:
                pass  # and with it everything that could be removed
