"""Asks for a reading of memory, by a function that may be the user's: there is a reading, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trio_projectx._memory import MemoryReading
from trio_projectx._redact import escape

#: No machine has more: above it is no number of bytes, and sums of it may be no numbers at all.
_MOST: Final = 1 << 62


def ask(read: Callable[[], MemoryReading | None]) -> tuple[MemoryReading | None, str | None]:
    """Return what ``read`` says, None if it cannot; and then why, where that is known.

    :raises MemoryError: as ``read``: that is no failure of reading.
    """
    try:
        found: object = read()
    except MemoryError:
        raise
    except Exception as exc:  # noqa: BLE001  a user's function; what watches memory ends for no error of it
        return None, f"{type(exc).__name__} came out of it: {_text(exc)}"
    if found is None:
        return None, None
    why = _wrong(found)
    return (found, None) if isinstance(found, MemoryReading) and why is None else (None, why)


def _wrong(found: object) -> str | None:
    """Return what is wrong with a reading, or None."""
    if not isinstance(found, MemoryReading):
        return f"it returned a {escape(type(found).__name__)}, not a MemoryReading"
    for name in ("used", "available"):
        value: object = getattr(found, name)
        if not _is_size(value):
            return f"its {name} is {_text(value)}, which is no number of bytes"
    if found.limit == 0:
        return "it says that there is no memory at all"
    bound: object = found.bound
    if not isinstance(bound, str):
        return "its bound is not a text"
    return None


def _is_size(value: object) -> bool:
    # NaN is in no range
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST


def _text(value: object) -> str:
    try:
        return escape(str(value))
    except Exception:  # noqa: BLE001  a user's class, or an int of too many digits for a text
        return f"a {type(value).__name__}"
