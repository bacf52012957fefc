"""Which events no handler of events is given."""

from __future__ import annotations

from typing import Final

from trio_projectx._handler_events import (
    HandlerFailed,
    HandlerKind,
    HandlerRecovered,
    HandlerSkipped,
    HandlerSlow,
    HandlerStopped,
)

_TOLD: Final = (HandlerFailed, HandlerRecovered, HandlerSkipped, HandlerSlow, HandlerStopped)


def is_own(item: object, kind: HandlerKind) -> bool:
    """Whether ``item`` tells of a handler of events, and would be given to one.

    A handler that fails of each event would fail of that one too, and of what that tells; so would two, of each
    other's.
    """
    return kind == "event" and isinstance(item, _TOLD) and item.kind == "event"
