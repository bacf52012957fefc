"""What makes an update all or nothing: whoever is about to change remembers what it was, and is told how it ended."""

from __future__ import annotations

import operator
from typing import Final, Protocol, TypeAlias

from trio_projectx.bars.accumulator import OpenBar

_NAMES: Final = (
    "start",
    "end",
    "high",
    "low",
    "open",
    "close",
    "volume",
    "trades",
    "buy_volume",
    "sell_volume",
    "notional",
    "first_ts",
    "last_ts",
    "late_trades",
    "is_partial",
    "source",
)
#: What adding trades changes; cheaper by half, and needed for each batch.
_GROWING: Final = tuple(
    name for name in _NAMES if name not in ("start", "end", "late_trades", "is_partial", "source")
)
State: TypeAlias = tuple[int | bool | str | None, ...]
_state: Final = operator.attrgetter(*_NAMES)
growth_of: Final = operator.attrgetter(*_GROWING)


class Undoable(Protocol):
    """Something that was changed and remembers how it was before."""

    def keep(self) -> None:
        """Forget how it was; must not fail."""
        ...

    def undo(self) -> None:
        """Be as it was again; must not fail."""
        ...


class Journal:
    """Everything that an update has changed so far, in the order of the first change of each."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed: list[Undoable] = []

    def note(self, what: Undoable) -> None:
        """Note that ``what`` is about to change, and remembers how it was."""
        self._changed.append(what)

    def mark(self) -> int:
        """Return a place to which `undo` can go back."""
        return len(self._changed)

    def keep(self) -> None:
        """The update has come to its end."""
        for what in self._changed:
            what.keep()
        self._changed.clear()

    def undo(self, mark: int = 0) -> None:
        """Take back what was changed since ``mark``, the newest change first."""
        while len(self._changed) > mark:
            self._changed.pop().undo()


def state_of(bar: OpenBar) -> State:
    """Return everything of ``bar`` that may change."""
    found: State = _state(bar)
    return found


def restore(bar: OpenBar, state: State) -> None:
    """Make ``bar`` what it was when `state_of` or ``growth_of`` looked at it."""
    for name, value in zip(_NAMES if len(state) == len(_NAMES) else _GROWING, state, strict=True):
        setattr(bar, name, value)
