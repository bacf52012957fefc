"""What is told of handlers, frozen; ``at`` is our clock.

What a handler goes through by the thousand is told once a second at most, and then with all that was not told before.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

HandlerKind: TypeAlias = Literal["bar", "trade", "quote", "depth", "book", "event", "user_event"]
"""What a handler handles."""

SkipReason: TypeAlias = Literal["rate", "breaker", "overflow"]
"""Why a handler is not given an item: its rate limit, its breaker, or that it was too slow for its stream."""


@attrs.frozen(slots=True)
class HandlerFailed:
    """Calls of a handler raised, or took longer than its deadline; nobody else is touched.

    ``failures`` are the calls that no event before has told, ``total`` all of them. ``state`` is that of its breaker:
    "open" calls it no more for a while. ``reason`` is the last failure, its type and escaped text.
    """

    handler: str
    kind: HandlerKind
    failures: int
    total: int
    state: Literal["closed", "open", "half_open"]
    reason: str
    at: int


@attrs.frozen(slots=True)
class HandlerRecovered:
    """The breaker of a handler closed: it took an item by way of trial.

    ``skipped`` items were not given to it while the breaker was open; those that a fallback took are among them.
    """

    handler: str
    kind: HandlerKind
    skipped: int
    at: int


@attrs.frozen(slots=True)
class HandlerSkipped:
    """Items that a handler was not given, ``items`` of them since the last such event, ``total`` for this reason.

    ``first_ts`` and ``last_ts`` are as in `Dropped`.
    """

    handler: str
    kind: HandlerKind
    reason: SkipReason
    items: int
    total: int
    first_ts: int
    last_ts: int
    at: int


@attrs.frozen(slots=True)
class HandlerSlow:
    """Calls of a handler that kept the whole event loop for longer than ``HandlerOptions.blocking_s``.

    Nothing is received meanwhile. ``calls`` of them since the last such event, ``longest_s`` the longest one.
    """

    handler: str
    kind: HandlerKind
    calls: int
    longest_s: float
    at: int


@attrs.frozen(slots=True)
class HandlerStopped:
    """The stream of a handler broke, so that nothing more comes for it; `run_handlers` raises why."""

    handler: str
    kind: HandlerKind
    reason: str
    at: int


HandlerEvent: TypeAlias = HandlerFailed | HandlerRecovered | HandlerSkipped | HandlerSlow | HandlerStopped
"""What is told of handlers."""
