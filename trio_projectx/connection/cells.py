"""The subscriptions of one epoch: what is wished, what the hub has said, and the call that is under way for each."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection
from typing import Final, Generic, Protocol

import attrs

from trio_projectx._errors import ConnectionLost, SubscriptionError, TrioProjectXError
from trio_projectx.connection.calls import Call
from trio_projectx.connection.endings import Silent
from trio_projectx.connection.epoch import Epoch
from trio_projectx.flow.subscriptions import D, Sink, Subscription

#: How much longer an answer may take that our own back-pressure holds back.
_HELD_BACK_S: Final = 1.0
#: How long the other side has to show that it lives, where an answer is overdue.
_PROOF_S: Final = 5.0


class CellState(enum.Enum):
    """Where one subscription is on one epoch."""

    ABSENT = "absent"
    SUBSCRIBING = "subscribing"
    ON = "on"
    UNSUBSCRIBING = "unsubscribing"
    REFUSED = "refused"


@attrs.define(slots=True, eq=False)
class Cell:
    """One subscription on one epoch; at most one call is under way."""

    wanted: Subscription
    state: CellState = CellState.ABSENT
    call: Call | None = None
    due: float = math.inf
    """When the answer to the call is overdue (trio's clock)."""
    position: int = 0
    """Where among the data the acknowledgement stood."""
    acked_at: float = math.inf
    error: SubscriptionError | None = None
    """Why it was refused; None while it is not."""
    doubted_at: float | None = None
    """Since when the answer is overdue, and a sign of life is waited for; None while it is not."""
    is_unsure: bool = False
    """Whether a subscription was asked for and never answered: the hub may have it after all."""


class Report(Protocol):
    """Who wants to know what the hub said."""

    def acknowledged(self, cell: Cell) -> None:
        """The hub takes the subscription."""
        ...

    def refused(self, cell: Cell, error: SubscriptionError) -> None:
        """It does not, or has not said in time."""
        ...

    def is_established(self, wanted: Subscription) -> bool:
        """Whether streams are open for it: it was acknowledged before."""
        ...


class Cells(Generic[D]):
    """The cells of one epoch. `act` compares each with the wish; nothing else sends.

    One call at a time for each subscription: the last wish wins whatever the order of answers, and a storm of wishes
    costs two calls.
    """

    def __init__(
        self,
        epoch: Epoch[D],
        sink: Sink[D],
        wishes: Collection[Subscription],
        report: Report,
        *,
        subscribe_s: float,
        ring: Callable[[], None],
    ) -> None:
        self._epoch = epoch
        self._sink = sink
        self._wishes = wishes
        self._report = report
        self._subscribe_s = subscribe_s
        self._ring = ring
        self._cells: dict[Subscription, Cell] = {}
        self._has_answered = False

    def get(self, wanted: Subscription) -> Cell | None:
        """Return the cell of a subscription, if there is one."""
        return self._cells.get(wanted)

    def is_on(self, wanted: Subscription) -> bool:
        """Whether the hub has acknowledged it on this epoch."""
        cell = self._cells.get(wanted)
        return cell is not None and cell.state is CellState.ON

    @property
    def is_settled(self) -> bool:
        """Whether the hub has said yes or no to every wish."""
        return all(self._is_settled(wanted) for wanted in self._wishes)

    def _is_settled(self, wanted: Subscription) -> bool:
        cell = self._cells.get(wanted)
        return cell is not None and cell.state in (CellState.ON, CellState.REFUSED)

    def retry(self, wanted: Subscription) -> None:
        """Ask again for what was refused: somebody new wants it."""
        cell = self._cells.get(wanted)
        if cell is not None and cell.state is CellState.REFUSED:
            cell.state = CellState.ABSENT
            self._ring()

    def act(self, now: float) -> float:
        """Take note of answers, send what is due, and return when to look again (trio's clock)."""
        for wanted in self._wishes:
            if wanted not in self._cells:
                self._cells[wanted] = Cell(wanted)
        try:
            for cell in list(self._cells.values()):
                self._note(cell, now)
                self._send(cell, now)
        except ConnectionLost:
            pass  # the epoch is ending, and says so itself
        return min((cell.due for cell in self._cells.values()), default=math.inf)

    def _note(self, cell: Cell, now: float) -> None:
        call = cell.call
        if call is None or not call.done.is_set():
            if now >= cell.due:
                self._overdue(cell, now)
            return
        cell.call, cell.due = None, math.inf
        if isinstance(call.error, ConnectionLost):
            raise call.error
        self._has_answered = True
        if cell.state is CellState.UNSUBSCRIBING:  # also if that was refused: its data go nowhere any more
            cell.state = CellState.ABSENT
        elif call.error is None:
            cell.state, cell.position, cell.acked_at = CellState.ON, call.position, now
            cell.is_unsure = False
            self._sink.acknowledged(self._epoch.number, cell.wanted, cell.position)
            self._report.acknowledged(cell)
        else:
            self._refuse(cell, call.error)

    def _overdue(self, cell: Cell, now: float) -> None:
        if self._epoch.liveness.is_held_back:
            cell.due = now + _HELD_BACK_S  # the answer may be there, unread
            return
        if self._is_to_be_proved(cell):
            # Is it the subscription, or the connection? Only a live one answers a ping.
            cell.doubted_at, cell.due = now, now + min(_PROOF_S, self._subscribe_s / 3)
            self._epoch.liveness.prove(now)
            return
        cell.call, cell.due = None, math.inf
        if cell.state is CellState.UNSUBSCRIBING:
            cell.state = CellState.ABSENT
            return
        cell.is_unsure = True
        if self._is_dead(cell):
            unanswered = f"{self._epoch.name}: {cell.wanted.subscribe} was not answered, nor a ping"
            self._epoch.fail(Silent(unanswered))
            return
        if not self._has_answered and self._report.is_established(cell.wanted):
            # A hub that answers nothing is no hub; what it took before is no subscription's fault.
            self._epoch.fail(Silent(f"{self._epoch.name}: no subscription was acknowledged"))
            return
        self._refuse(
            cell,
            SubscriptionError(
                f"the hub did not acknowledge {cell.wanted.subscribe} within {self._subscribe_s:g} s (or a stream that "
                "is not read, opened with overflow=BLOCK, held its answer back); try again"
            ),
        )

    def _is_to_be_proved(self, cell: Cell) -> bool:
        """Whether a stream would break for an answer that the connection may have lost, midway through others."""
        if cell.state is CellState.UNSUBSCRIBING or cell.doubted_at is not None:
            return False
        return self._has_answered and self._report.is_established(cell.wanted)

    def _is_dead(self, cell: Cell) -> bool:
        return cell.doubted_at is not None and not self._epoch.liveness.heard_since(cell.doubted_at)

    def _refuse(self, cell: Cell, error: TrioProjectXError) -> None:
        cell.state = CellState.REFUSED
        cell.error = error if isinstance(error, SubscriptionError) else SubscriptionError(str(error))
        self._sink.leave(self._epoch.number, cell.wanted, f"the hub refused {cell.wanted}")
        self._report.refused(cell, cell.error)

    def _send(self, cell: Cell, now: float) -> None:
        is_wished = cell.wanted in self._wishes
        if cell.call is not None:
            return
        if cell.state is CellState.ABSENT and is_wished:
            # Before it is asked for: what comes with the answer is wanted.
            self._sink.join(self._epoch.number, cell.wanted)
            cell.state, cell.error = CellState.SUBSCRIBING, None
            self._call(cell, cell.wanted.subscribe, now)
        elif cell.state is CellState.ON and not is_wished:
            self._sink.leave(self._epoch.number, cell.wanted, "nobody needs it")
            cell.state = CellState.UNSUBSCRIBING
            self._call(cell, cell.wanted.unsubscribe, now)
        elif not is_wished and cell.is_unsure:
            cell.state, cell.is_unsure = CellState.UNSUBSCRIBING, False
            self._call(cell, cell.wanted.unsubscribe, now)
        elif not is_wished and cell.state in (CellState.ABSENT, CellState.REFUSED):
            del self._cells[cell.wanted]

    def _call(self, cell: Cell, target: str, now: float) -> None:
        cell.due, cell.doubted_at = now + self._subscribe_s, None
        cell.call = self._epoch.invoke(target, *cell.wanted.arguments, then=lambda: self._answered(cell))

    def _answered(self, cell: Cell) -> None:
        """Take note in the very step that reads the answer: what is read after it is behind it."""
        call = cell.call
        if call is not None and call.done.is_set() and not isinstance(call.error, ConnectionLost):
            self._note(cell, self._epoch.liveness.record_at)
        self._ring()

    def leave(self, cause: str) -> None:
        """The epoch is over: it brings nothing more."""
        for cell in self._cells.values():
            if cell.state in (CellState.SUBSCRIBING, CellState.ON):
                self._sink.leave(self._epoch.number, cell.wanted, cause)
                cell.state, cell.call, cell.due = CellState.ABSENT, None, math.inf

    def on(self) -> list[Cell]:
        """Return the cells of what is acknowledged."""
        return [cell for cell in self._cells.values() if cell.state is CellState.ON]
