"""What handlers raise, kept as counts and bounded text: an exception holds frames, and those hold anything."""

from __future__ import annotations

from typing import Final, cast

import attrs

from trio_projectx._redact import escape

#: Kinds of failures that are told apart; what else comes is counted together.
_KINDS: Final = 8
_OTHERS: Final = "others"
_NAME: Final = 80


@attrs.frozen(slots=True)
class FailureCount:
    """How often a handler failed in one way."""

    type: str
    """The exception's type; "deadline" for a call that took too long, "others" for all but the first few types."""
    count: int
    last: str
    """The text of the last one, escaped and capped."""


def describe(exc: BaseException) -> tuple[str, str]:
    """Return the type and the text of an exception, both escaped and capped; its own ``__str__`` may fail."""
    kind = type(exc).__qualname__
    try:
        text = str(exc)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  it is the handler's code, and says nothing about anybody else's
        text = "(its text cannot be had)"
    return escape(kind, _NAME), escape(text)


def is_of_memory(exc: Exception) -> bool:
    """Whether memory ran out, alone or among others in a group: that is nobody's failure, and ends the program."""
    if isinstance(exc, ExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(MemoryError) is not None
    return isinstance(exc, MemoryError)


class FailureBook:
    """The failures of one handler."""

    __slots__ = ("_counts", "last", "total")

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, str]] = {}
        self.total = 0
        self.last = ""
        """The last one, as ``type: text``."""

    def note(self, kind: str, text: str) -> None:
        """Count one more."""
        self.total += 1
        self.last = f"{kind}: {text}" if text else kind
        if kind not in self._counts and len(self._counts) >= _KINDS:
            kind, text = _OTHERS, self.last
        self._counts[kind] = (self._counts.get(kind, (0, ""))[0] + 1, text)

    def counts(self) -> tuple[FailureCount, ...]:
        """Return a snapshot, in the order in which they were first seen."""
        return tuple(FailureCount(kind, count, text) for kind, (count, text) in self._counts.items())
