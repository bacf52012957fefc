"""What other tasks ask of a contract's task: to mend bars, and to begin a stream with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.mending import Known, Mended
from trio_projectx.flow.outlets import BarOutlet


@attrs.define(slots=True, eq=False)
class Mend:
    """Put what is known of ``[low, high)`` into one timeframe's bars; ``result`` None: not now."""

    outlet: BarOutlet
    frame: Timeframe
    known: Sequence[Known]
    low: int
    high: int
    result: Mended | None = None
    done: trio.Event = attrs.field(factory=trio.Event)

    async def act(self, *, may: bool) -> None:
        """Do it, if that may be done; called by the contract's task."""
        try:
            if may:
                self.result = await self.outlet.mend(self.frame, self.known, self.low, self.high)
        finally:
            self.done.set()


@attrs.define(slots=True, eq=False)
class Begin:
    """Put the history of each timeframe before everything that is live."""

    outlet: BarOutlet
    found: Mapping[Timeframe, Sequence[Known]]
    done: trio.Event = attrs.field(factory=trio.Event)

    async def act(self, *, may: bool) -> None:
        """Do it, if the stream is open yet; called by the contract's task."""
        try:
            if may:
                self.outlet.begin(self.found)
        finally:
            self.done.set()
        await trio.lowlevel.checkpoint()
