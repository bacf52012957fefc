"""What is told of the flow of data through a gateway: buffers that fill, counts that are wrong, a loop that stands."""

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


@attrs.frozen(slots=True)
class LedgerBroken:
    """What came is not what is accounted for: something was lost, or counted twice, and that is a bug of this library.

    It is told once for as long as it lasts. The streams go on; what they give may lack something.
    """

    row: str
    """Of what: the ``name`` of the row in ``statistics().ledger``."""
    came: int
    accounted: int
    at: int


@attrs.frozen(slots=True)
class LoopStalled:
    """A task kept the whole program waiting: for ``seconds`` nothing else ran, and nothing was received.

    Told only within `watch_loop`. The time is that of one step, between two awaits.
    """

    task: str
    """The name of the task: the function that it runs, if it was given none."""
    seconds: float
    stalls: int
    """How many there were since the last that was told, this one included; ``seconds`` is of the longest."""
    at: int


FlowEvent: TypeAlias = StreamFilling | StreamEased | LedgerBroken | LoopStalled
"""What is told of buffers, of counts, and of the program itself."""
