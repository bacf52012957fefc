"""What is told of the flow of data through a gateway: buffers that fill."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_projectx._items import Overflow


@attrs.frozen(slots=True)
class StreamFilling:
    """``queued`` items wait in a stream of ``capacity``: ``limits.buffer_warn_share`` of it, and nothing is lost yet.

    Its reader is slower than the feed. What happens when it is full is its ``policy``.
    """

    stream: str
    """As `StreamStatistics.name`."""
    queued: int
    capacity: int
    policy: Overflow
    at: int


@attrs.frozen(slots=True)
class StreamEased:
    """A stream of which `StreamFilling` was told has room again: half of that is used, or less."""

    stream: str
    queued: int
    capacity: int
    at: int


FlowEvent: TypeAlias = StreamFilling | StreamEased
"""What is told of buffers."""
