"""What is declared: each subscription, how many streams need it, and how the hub stands to it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_projectx._errors import TrioProjectXError, again
from trio_projectx.flow.subscriptions import Subscription


@attrs.define(slots=True, eq=False)
class Want:
    """One declared subscription."""

    wanted: Subscription
    users: int = 0
    position: int | None = None
    """Where among the data it was acknowledged; None while it is on no line."""
    is_established: bool = False
    """Whether it was acknowledged once: then its streams are open, and its absence is an outage."""
    error: TrioProjectXError | None = None
    notes: list[Callable[[int], None]] = attrs.Factory(list[Callable[[int], None]])
    """Called once with the position, in the step that reads the acknowledgement: what is read after it comes after."""
    _changed: trio.Event = attrs.Factory(trio.Event)

    def acknowledged(self, position: int) -> None:
        """The hub takes it."""
        self.position, self.is_established, self.error = position, True, None
        notes, self.notes = self.notes, []
        for note in notes:
            note(position)
        self._tell()

    def failed(self, error: TrioProjectXError) -> None:
        """It cannot be had; who waits for it gets ``error``."""
        self.position, self.is_established, self.error = None, False, error
        self.notes.clear()  # whoever waited is told that, and has left
        self._tell()

    def absent(self) -> None:
        """It is on no line for now."""
        self.position = None

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self) -> int:
        """Return the position of its acknowledgement; raise what it failed of since the call."""
        while self.position is None:
            await self._changed.wait()
            if self.error is not None:
                raise again(self.error)
        return self.position


class Wants:
    """All of them, by subscription."""

    def __init__(self) -> None:
        self._wants: dict[Subscription, Want] = {}

    def __len__(self) -> int:
        return len(self._wants)

    def get(self, wanted: Subscription) -> Want | None:
        """Return what is declared of ``wanted``."""
        return self._wants.get(wanted)

    def add(self, wanted: Subscription) -> Want:
        """Count one user more."""
        want = self._wants.setdefault(wanted, Want(wanted))
        want.users += 1
        return want

    def remove(self, wanted: Subscription) -> bool:
        """Count one user less; tell whether it was the last."""
        want = self._wants[wanted]
        want.users -= 1
        if want.users:
            return False
        del self._wants[wanted]
        return True

    def needs(self, contract_id: str) -> bool:
        """Whether any kind of data of a contract is declared."""
        return any(wanted.contract_id == contract_id for wanted in self._wants)

    def all(self) -> list[Want]:
        """Return them all."""
        return list(self._wants.values())
