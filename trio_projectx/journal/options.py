"""How a journal is written, with units in the names."""

from __future__ import annotations

import math

import attrs

from trio_projectx._errors import ConfigError


def _positive(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(f"JournalOptions.{attribute.name} must be a number above 0, not {value!r:.40}")


def _at_least_1(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"JournalOptions.{attribute.name} must be a whole number above 0, not {value!r:.40}"
        )


def _not_negative(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"JournalOptions.{attribute.name} must be a number, 0 or more, not {value!r:.40}")


def _sync(instance: object, attribute: attrs.Attribute[float], value: float | None) -> None:
    if value is not None:
        _not_negative(instance, attribute, value)


@attrs.frozen(slots=True)
class JournalOptions:
    """All have defaults.

    What is acknowledged survives the process, however it ends, because the system has it. It survives the system (a
    crash, a power cut) once it was synced, which ``sync_s`` decides.
    """

    sync_s: float | None = attrs.field(default=1.0, validator=_sync)
    """How long data may be written and not synced. 0: nothing is acknowledged before it is synced. None: the system
    decides when."""
    linger_s: float = attrs.field(default=0.1, validator=_not_negative)
    """How long records are gathered before they are written together."""
    queue_rows: int = attrs.field(default=500_000, validator=_at_least_1)
    """Rows that wait for the disk at most; what comes beyond is lost, counted and told."""
    queue_chars: int = attrs.field(default=64 << 20, validator=_at_least_1)
    """The same for the text of frames."""
    segment_bytes: int = attrs.field(default=64 << 20, validator=_at_least_1)
    """A segment that is this long is sealed, and another one begun."""
    slow_s: float = attrs.field(default=2.0, validator=_positive)
    """A write that takes longer is told."""
    retry_s: float = attrs.field(default=30.0, validator=_positive)
    """After a failed write nothing is taken for so long; then another segment is tried."""
    close_s: float = attrs.field(default=4.0, validator=_positive)
    """How long closing waits for the disk in all; what is not written then is lost, counted and told."""
    keep_days: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least_1))
    """How many dates are kept, the present one included; None: all."""
    keep_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least_1))
    """How many bytes are kept, the oldest dates going first; None: any number."""
