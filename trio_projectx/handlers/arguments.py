"""What ``gateway.on_...`` take, and what is checked before a handler is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypedDict, cast

from trio_projectx._config import Overflow
from trio_projectx._errors import ConfigError
from trio_projectx._events import Dropped
from trio_projectx._handler_events import HandlerKind
from trio_projectx.bars import Anchor
from trio_projectx.flow.bar_options import BarOptions
from trio_projectx.flow.checks import checked_capacity
from trio_projectx.handlers.entry import Source, Wish
from trio_projectx.handlers.options import HandlerOptions

_DEFAULT: Final = HandlerOptions()


class HandlerArguments(TypedDict, total=False):
    """What every ``on_...`` takes beside the handler and what it is to get."""

    overflow: Overflow
    """What happens to items that come while ``capacity`` of them wait; by default the oldest are dropped, quotes are
    conflated, and a replay waits."""
    capacity: int | None
    """How many items wait for the handler at most; None is ``limits.stream_items``."""
    options: HandlerOptions
    """Deadline, rate limit, breaker, batches."""
    weak: bool
    """Do not keep the object alive whose method the handler is; the handler goes when the object does."""
    on_skipped: Callable[[Dropped], object] | None
    """Called with a `Dropped` before the next item, where some were skipped, and at the end where no other comes; a
    function or an async function."""


class BarHandlerArguments(HandlerArguments, BarOptions, total=False):
    """What `Callbacks.on_bar` takes; see `open_bars`."""

    anchor: Anchor | None
    history: int
    updates: Literal["every"] | float | None


def bar_options(how: BarHandlerArguments) -> BarOptions:
    """Return the policies of bars among the arguments."""
    known = BarOptions.__optional_keys__
    return cast("BarOptions", {name: value for name, value in how.items() if name in known})


def wish_for(
    kind: HandlerKind,
    source: Source,
    stamp: Callable[..., int],
    handler: Callable[..., object],
    fallback: Callable[..., object] | None,
    how: HandlerArguments,
    *,
    batch: bool,
) -> Wish:
    """Return what is asked for, checked as far as can be without the service.

    :raises ConfigError: for values that are none.
    :raises TypeError: for an argument that there is not.
    """
    known = (BarHandlerArguments if kind == "bar" else HandlerArguments).__optional_keys__
    if unknown := set(how) - known:
        raise TypeError(f"on_{kind}() got an unexpected keyword argument {min(unknown)!r}")
    options = how.get("options", _DEFAULT)
    if not isinstance(options, HandlerOptions):
        raise ConfigError(f"options= must be HandlerOptions, not {options!r:.40}")
    overflow, weak = how.get("overflow", Overflow.ERROR), how.get("weak", False)
    if not isinstance(overflow, Overflow) or not isinstance(weak, bool) or not isinstance(batch, bool):
        raise ConfigError("overflow= is one of the Overflow policies, weak= and batch= are True or False")
    checked_capacity(how.get("capacity"), overflow, 1)
    return Wish(kind, source, stamp, handler, fallback, how.get("on_skipped"), options, batch, weak)
