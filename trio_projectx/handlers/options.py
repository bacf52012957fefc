"""How a handler is called, as one frozen group; everything is checked when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._validators import at_least_1, is_bool, positive

T = TypeVar("T")
_DEADLINE_S: Final[float | None] = 10.0
#: The most failures of one window whose times are kept.
_FAILURES: Final = 1_000_000
#: Calls a second; of what is less, the time between two is no number one can add to others.
_SLOWEST: Final = 1e-9

Handler: TypeAlias = Callable[[T], object]
"""A function or an async function of one item (or, with ``batch=True``, of a tuple of them)."""


def _name(instance: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and not (isinstance(value, str) and value and value.isprintable()):
        raise ConfigError(f"HandlerOptions.name must be printable text, not {value!r:.40}")


def _kept(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    at_least_1(instance, attribute, value)
    if value > _FAILURES:
        raise ConfigError(
            f"HandlerOptions.{attribute.name} must not be above {_FAILURES:,}: the time of each is kept"
        )


def _rate(instance: object, attribute: attrs.Attribute[float | None], value: float | None) -> None:
    if value is None:
        return
    positive(instance, attribute, value)
    if value < _SLOWEST:
        raise ConfigError(f"HandlerOptions.{attribute.name} must not be below {_SLOWEST}, a call in 30 years")


@attrs.frozen(slots=True)
class HandlerOptions:
    """Deadline, rate limit, breaker and batches of one handler. Times are in seconds."""

    name: str | None = attrs.field(default=None, validator=_name)
    """What it is called in events and statistics; None makes one of its kind, a number and the function's name."""
    deadline_s: float | None = attrs.field(default=_DEADLINE_S, validator=attrs.validators.optional(positive))
    """How long a call may take: an async handler is cancelled then, one in a thread is left behind. None: no end."""
    blocking_s: float = attrs.field(default=0.1, validator=positive)
    """How long a handler that is no async function may keep the event loop before `HandlerSlow` tells it."""
    thread: bool = attrs.field(default=False, validator=is_bool)
    """Call it in a thread of its own, one call at a time: for functions that wait for a disk or compute at length."""
    rate_per_s: float | None = attrs.field(default=None, validator=_rate)
    """Calls per second; items beyond are skipped, but where it takes batches they wait for the next one."""
    rate_burst: int = attrs.field(default=1, validator=at_least_1)
    """Calls that may come at once after a time without."""
    failures: int = attrs.field(default=5, validator=_kept)
    """So many failures within ``window_s`` open the breaker: it is not called for ``open_s``, then once by way of
    trial; each trial that fails doubles the time, up to ``open_cap_s``."""
    window_s: float = attrs.field(default=60.0, validator=positive)
    open_s: float = attrs.field(default=10.0, validator=positive)
    open_cap_s: float = attrs.field(default=300.0, validator=positive)
    batch_most: int = attrs.field(default=100, validator=at_least_1)
    """The most items of one batch."""
    batch_aim_s: float = attrs.field(default=0.05, validator=positive)
    """Batches grow while more items wait and a call takes no longer than this (or than two calls with one item each);
    they shrink when it does."""

    def __attrs_post_init__(self) -> None:
        if self.open_cap_s < self.open_s:
            raise ConfigError("HandlerOptions.open_cap_s must not be below HandlerOptions.open_s")
