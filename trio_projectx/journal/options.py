"""How a journal is written, with units in the names."""

from __future__ import annotations

import attrs

from trio_projectx._validators import at_least_1, seconds, seconds_or_0


def _sync(instance: object, attribute: attrs.Attribute[float], value: float | None) -> None:
    if value is not None:
        seconds_or_0(instance, attribute, value)


@attrs.frozen(slots=True)
class JournalOptions:
    """All have defaults.

    What is acknowledged survives the process, however it ends, because the system has it. It survives the system (a
    crash, a power cut) once it was synced, which ``sync_s`` decides.
    """

    sync_s: float | None = attrs.field(default=1.0, validator=_sync)
    """How long data may be written and not synced. 0: nothing is acknowledged before it is synced. None: the system
    decides when."""
    linger_s: float = attrs.field(default=0.1, validator=seconds_or_0)
    """How long records are gathered before they are written together."""
    queue_rows: int = attrs.field(default=500_000, validator=at_least_1)
    """Rows that wait for the disk at most; what comes beyond is lost, counted and told."""
    queue_chars: int = attrs.field(default=64 << 20, validator=at_least_1)
    """The same for the text of frames."""
    segment_bytes: int = attrs.field(default=64 << 20, validator=at_least_1)
    """A segment that is this long is sealed, and another one begun."""
    slow_s: float = attrs.field(default=2.0, validator=seconds)
    """A write that takes longer is told."""
    retry_s: float = attrs.field(default=30.0, validator=seconds)
    """After a failed write nothing is taken for so long; then another segment is tried."""
    close_s: float = attrs.field(default=4.0, validator=seconds)
    """How long closing waits for the disk in all; what is not written then is lost, counted and told."""
    keep_days: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_1))
    """How many dates are kept, the present one included; None: all."""
    keep_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_1))
    """How many bytes are kept, the oldest dates going first; None: any number."""
