"""A hub: what its streams have declared, how it stands, and who has to be told.

One task supervises it. It is woken by a bell, looks at everything, does what is due without waiting for anything, and
sleeps until something is due again; nothing else changes lines or the state, so nothing has to be locked.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, Generic

import trio

from trio_projectx._errors import (
    ConnectionLost,
    ConnectTimeout,
    SubscriptionError,
    TrioProjectXError,
    again,
)
from trio_projectx._events import (
    ConnectionEvent,
    ConnectionReplaced,
    HubName,
    HubState,
    HubStateChanged,
    ReplacementFailed,
    SubscriptionRefused,
)
from trio_projectx.connection.bell import Bell
from trio_projectx.connection.cells import Cell
from trio_projectx.connection.hub_states import StateMachine
from trio_projectx.connection.keeper import Keeper
from trio_projectx.connection.line import Line, LineTools
from trio_projectx.connection.outcome import Outcome
from trio_projectx.connection.wants import Want, Wants
from trio_projectx.flow.background import BackgroundTasks
from trio_projectx.flow.subscriptions import D, Subscription

_UP: Final = (HubState.LIVE, HubState.STALE, HubState.BLOCKED)
_CLOSED: Final = "the gateway was closed"


class Hub(Generic[D]):
    """The market hub, or the user hub, of one gateway. It connects when something first needs it."""

    def __init__(
        self, tools: LineTools[D], tasks: BackgroundTasks, tell: Callable[[ConnectionEvent], None]
    ) -> None:
        self.name: HubName = tools.hub
        self.tools = tools
        self._config = tools.config
        self._tasks = tasks
        self._tell = tell
        self.machine = StateMachine(HubState.IDLE, trio.current_time())
        self.wants = Wants()
        self.keeper = Keeper(tools, self, tasks)
        self._bell = Bell()
        self._outcome = Outcome()
        self._is_supervised = False
        self._is_closed = False
        self._ended: TrioProjectXError | None = None
        self._stale_reason: str | None = None
        self._held_reason: str | None = None
        self._reason = "no connection yet"

    @property
    def state(self) -> HubState:
        """What the hub is doing."""
        return self.machine.state

    @property
    def is_live(self) -> bool:
        """Whether it is connected with all its subscriptions (market data may be stale)."""
        return self.state in _UP

    @property
    def lines(self) -> list[Line[D]]:
        """All lines, those that are to replace others included."""
        return self.keeper.lines

    # -- what streams ask

    async def live(self) -> None:
        """Connect if need be, and return once the hub is live, or was live for a moment since the call.

        While the hub reconnects this goes on waiting, whatever it takes: set a deadline of your own.

        :raises TrioProjectXError: what the first attempt failed of, or why the hub is lost for good.
        """
        self._begin()
        if self.is_live:
            await trio.lowlevel.checkpoint()
        else:
            await self._outcome.wait()

    async def subscribe(self, wanted: Subscription, note: Callable[[int], None] | None = None) -> int:
        """Count one more user of ``wanted``; return where among the data the hub acknowledged it.

        ``note`` is called with that before anything that comes later is passed on.

        :raises SubscriptionError: if the hub refuses it or does not answer in time.
        :raises ConnectTimeout: if the hub is reconnecting, and has not come back in time.
        :raises TrioProjectXError: as `live`. In all cases the user is not counted.
        """
        want = self.wants.add(wanted)
        try:
            want.error = None
            self._begin()
            self.keeper.declare(wanted)
            cell = self.keeper.cell_of(wanted)
            if cell is not None and want.position is None:
                want.acknowledged(cell.position)  # released, and wanted again before anything was sent
            if note is not None and want.position is None:
                want.notes.append(note)
            elif note is not None:
                note(want.position or 0)
            timeouts = self._config.timeouts
            seconds = timeouts.connect_s + timeouts.handshake_s + 2 * timeouts.subscribe_s
            with trio.move_on_after(seconds):
                if want.position is not None:
                    await trio.lowlevel.checkpoint()
                return await want.wait()
        except BaseException:  # also when cancelled: whoever is not subscribed is no user
            self.release(wanted)
            raise
        self.release(wanted)
        why = self.machine.reason
        raise ConnectTimeout(f"{self.tools.name}: nothing of {wanted} within {seconds:g} s: {why}")

    def release(self, wanted: Subscription) -> None:
        """Count one user less; the last one ends the subscription."""
        if self.wants.remove(wanted):
            self.keeper.withdraw(wanted)
            self._bell.ring()

    def close(self) -> None:
        """The gateway is closing; its nursery ends the lines. Who still waits gets `ConnectionLost`."""
        self._close(_CLOSED, ConnectionLost(f"{self.tools.name}: {_CLOSED}"))

    def drain(self, reason: str, error: TrioProjectXError) -> None:
        """Read nothing more: `close`, and leave every line. What was read goes its way.

        Who waits gets ``error``, and so does who comes to wait: a program that tries again is told the true reason.
        """
        self._ended = error
        self._close(reason, error)
        for line in self.lines:
            line.stop(reason)
        self._bell.ring()

    def _close(self, reason: str, error: TrioProjectXError) -> None:
        self._is_closed = True
        self._go(HubState.CLOSED, reason)
        self._tell_who_waits(error)

    def suspect(self, reason: str | None) -> None:
        """Market data are missing (the state becomes STALE), or are no longer."""
        self._stale_reason = reason
        self._bell.ring()

    def held_back(self, reason: str | None) -> None:
        """Nothing is read, because a stream is not (the state becomes BLOCKED), or it is read again."""
        self._held_reason = reason
        self._set_state()

    def look(self) -> None:
        """Something changed that the supervisor should see: a token, a line, a wish."""
        self._bell.ring()

    # -- what lines and their keeper report

    def acknowledged(self, cell: Cell) -> None:
        """A line has it."""
        want = self.wants.get(cell.wanted)
        if want is not None:
            want.acknowledged(cell.position)
            self._set_state()  # in this very step: whoever waited for it finds a hub that is live

    def refused(self, cell: Cell, error: SubscriptionError) -> None:
        """A line cannot have it; where no other brings it, its streams break."""
        if self.keeper.brings(cell.wanted):
            return
        self._tell(SubscriptionRefused(self.name, str(cell.wanted), str(error), self._config.wall_clock()))
        want = self.wants.get(cell.wanted)
        if want is None:
            return
        if want.is_established:
            self.tools.sink.refuse(cell.wanted, error)
        want.failed(error)

    def is_established(self, wanted: Subscription) -> bool:
        """Whether streams are open for it."""
        want = self.wants.get(wanted)
        return want is not None and want.is_established

    def lines_changed(self) -> None:
        """Look again."""
        self._bell.ring()

    def replaced(self, cause: str, *, overlapped: bool) -> None:
        """A line took the place of another."""
        self._tell(ConnectionReplaced(self.name, cause, overlapped, self._config.wall_clock()))

    def not_replaced(self, cause: str, error: TrioProjectXError, retry_in_s: float) -> None:
        """It could not; the old one stays."""
        self._tell(ReplacementFailed(self.name, cause, str(error), retry_in_s, self._config.wall_clock()))

    def lost(self, error: TrioProjectXError) -> None:
        """No line is left, and none can be had. A hub that was never live has only failed to begin."""
        if self._is_closed:
            return
        self._reason = str(error)
        # A stream may be open although the hub as a whole was never live: another subscription was not answered yet.
        was_live = self.machine.was_live or any(want.is_established for want in self.wants.all())
        failure: TrioProjectXError = error
        if was_live and not isinstance(error, ConnectionLost):
            failure = ConnectionLost(str(error))
            failure.__cause__ = error
        self._go(HubState.CLOSED if was_live else HubState.IDLE, str(error))
        self._tell_who_waits(failure)
        if isinstance(failure, ConnectionLost):
            # `lose` notes in this very step what is open now: who learns of the loss and tries again at once opens
            # a stream that is not lost with the others.
            self._tasks.start_soon(_wait_for, self.tools.sink.lose(failure), name=f"{self.tools.name} loss")

    def _tell_who_waits(self, error: TrioProjectXError) -> None:
        for want in self.wants.all():
            want.failed(error)
        self._outcome.fail(error)
        self._outcome = Outcome()

    # -- the supervisor

    def _begin(self) -> None:
        if self._ended is not None:
            raise again(self._ended)
        if self._is_closed:
            raise trio.ClosedResourceError(_CLOSED)
        if not self._is_supervised:
            self._tasks.start_soon(self._supervise, name=f"{self.tools.name} supervisor")
            self._is_supervised = True
        if not self.keeper.has_begun:
            self._reason = "a stream needs it"
            self._go(HubState.CONNECTING, self._reason)
            self.keeper.begin(self.wants.all())

    async def _supervise(self) -> None:
        while not self._is_closed:
            again_at = self.keeper.look(trio.current_time())
            self._set_state()
            await self._bell.wait(again_at)

    def _set_state(self) -> None:
        if not self.keeper.has_begun or self.state is HubState.CLOSED:
            return
        missing = [want for want in self.wants.all() if not self.keeper.brings(want.wanted)]
        for want in missing:
            want.position = None
            if want.error is None:
                self.keeper.ask_again(want.wanted)
        if self.is_live:
            self._check(missing)
        elif self.keeper.is_live and not any(self._is_waited_for(want) for want in missing):
            self._stale_reason = None  # that was said of another connection
            self._go(HubState.LIVE, "connected, and every subscription acknowledged")
            self._outcome.succeed()
            self._outcome = Outcome()
        else:
            self._go(self.state, self._why())

    def _is_waited_for(self, want: Want) -> bool:
        """Whether the hub is not live without it: in an outage only what was had before, or new wishes prolong it."""
        return want.is_established or (self.state is HubState.CONNECTING and want.error is None)

    def _check(self, missing: list[Want]) -> None:
        if not self.keeper.is_live or any(want.is_established for want in missing):
            self._go(HubState.RECONNECTING, self._why())
        elif self._held_reason is not None:
            self._go(HubState.BLOCKED, self._held_reason)
        elif self._stale_reason is not None:
            self._go(HubState.STALE, self._stale_reason)
        elif self.state is HubState.STALE:
            self._go(HubState.LIVE, "market data come again, or the market is quiet")
        elif self.state is HubState.BLOCKED:
            self._go(HubState.LIVE, "the stream that was not read is read again")

    def _why(self) -> str:
        errors = [line.why for line in self.lines if not line.is_live and line.why is not None]
        if errors:
            self._reason = str(errors[-1])
        return self._reason

    def _go(self, state: HubState, reason: str) -> None:
        before = self.state
        if self.machine.go(state, reason, trio.current_time()):
            self._tell(HubStateChanged(self.name, before, state, reason, self._config.wall_clock()))


async def _wait_for(telling: Awaitable[None]) -> None:
    await telling


def proved_until(hub: Hub[D], wanted: Subscription) -> float:
    """Return the time (trio's clock) up to which everything of ``wanted`` that was sent has been received.

    A line that is not level says nothing: what was sent before its beginning may be on its way, or lost, on another.
    """
    proofs = [
        line.epoch.liveness.proved_until
        for line in hub.lines
        if line.epoch is not None
        and line.brings(wanted)
        and hub.tools.sink.is_level(line.epoch.number, wanted)
    ]
    return max(proofs, default=-math.inf)
