"""A line that takes the place of another: the new one first, then the old one goes (make before break)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic

import attrs

from trio_projectx._config import Timeouts
from trio_projectx.connection.cells import Cell
from trio_projectx.connection.line import Line
from trio_projectx.connection.shards import Shard
from trio_projectx.flow.subscriptions import D, Sink

#: How often it is looked at whether the new line is level with the old one.
LOOK_S: Final = 0.05
#: How long after the overlap an old line that answers pings may leave one unanswered before it is taken for dead.
_DOUBT_S: Final = 5.0


def look_for_doubt(sink: Sink[D], line: int, cell: Cell, now: float, timeouts: Timeouts) -> bool | None:
    """Return whether those beside a line may be dead, as far as its own silence can say it; None: look again later."""
    return sink.doubts(line, cell.wanted, now - cell.acked_at, timeouts.stall_s)


@attrs.define(slots=True, eq=False)
class Succession(Generic[D]):
    """``new`` is to replace ``old`` in ``shard``; ``cause`` is why."""

    shard: Shard[D]
    old: Line[D]
    new: Line[D]
    cause: str
    in_doubt: bool = False
    """Whether ``old`` may have been dead for some time, though it looks alive."""
    is_torn: bool = False
    """Whether the new line takes over without having been seen to bring what the old one brought."""

    def is_level(
        self, sink: Sink[D], now: float, timeouts: Timeouts, is_safe: Callable[[Line[D], Cell], bool]
    ) -> bool:
        """Whether the new line brings all that the old one brings, and has been seen to.

        ``is_safe`` tells whether nothing can be missing from before the acknowledgement of a cell of a line.
        """
        cells, epoch = self.new.cells, self.new.epoch
        if not self.new.is_settled or cells is None or epoch is None or epoch.liveness.is_held_back:
            return False
        if self.is_refused:
            return False
        level, self.is_torn = True, False
        for cell in cells.on():
            if sink.is_level(epoch.number, cell.wanted):
                continue
            waited = now - cell.acked_at - timeouts.overlap_s
            if waited >= 0 and not self._old_is_read_late(timeouts.overlap_s):
                safe = is_safe(self.new, cell)
                doubts = look_for_doubt(sink, epoch.number, cell, now, timeouts)
                if self.in_doubt or doubts or (not safe and waited >= _DOUBT_S and self.old.answers_pings):
                    self.is_torn = True  # the old one may have missed trades: where it goes, there is a gap
                    continue
                if safe and doubts is not None:
                    sink.settle(epoch.number, cell.wanted)  # a quiet market: no trade will show it
            level = False
        return level

    def _old_is_read_late(self, slack_s: float) -> bool:
        return self.old.epoch is not None and self.old.epoch.liveness.is_read_late(slack_s)

    @property
    def is_refused(self) -> bool:
        """Whether the service does not want the second connection, or not with all its subscriptions."""
        if self.new.fatal is not None:
            return True
        cells = self.new.cells
        if cells is None:
            return False
        return any(
            (cell := cells.get(wanted)) is not None and cell.error is not None and self.old.brings(wanted)
            for wanted in self.shard.wishes
        )

    @property
    def has_failed(self) -> bool:
        """Whether the second connection could not be had, once at least, and is not there."""
        return self.is_refused or (self.new.why is not None and not self.new.is_live)

    @property
    def is_outrun(self) -> bool:
        """Whether the old line must make a new connection anyway, and the new one has failed and waits to try again."""
        gone = not self.old.is_live and not self.old.is_over
        return gone and not self.new.is_over and self.new.why is not None and not self.new.is_live

    def finish(self, cause: str) -> None:
        """The new line is the line now."""
        self.shard.lines[self.shard.lines.index(self.old)] = self.new
        self.old.stop(cause)
