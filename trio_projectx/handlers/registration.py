"""What ``gateway.on_bar(...)`` and its like give back."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from trio_projectx.handlers.counts import HandlerStatistics
from trio_projectx.handlers.entry import Entry


class Registration:
    """A registered handler, until `remove`, or until the ``with`` block is left that it may be used as.

    Holding it is not needed: the gateway does. It may be removed at any time, also by the handler itself; a call that
    is under way goes on to its end, and no other begins.
    """

    __slots__ = ("_entry",)

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def name(self) -> str:
        """What it is called in events and statistics."""
        return self._entry.name

    @property
    def is_removed(self) -> bool:
        """Whether it is registered no more."""
        return self._entry.state == "removed"

    def remove(self) -> None:
        """Call the handler no more, and close its stream; what waits is counted as ``skipped.left``.

        Doing it again is nothing.
        """
        self._entry.remove()

    def statistics(self) -> HandlerStatistics:
        """Return a snapshot of its counts; also of one that was removed."""
        return self._entry.statistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()
