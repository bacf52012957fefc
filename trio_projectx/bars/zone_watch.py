"""Tells, once for each, when the clocks of a zone in use change, and which bars that moved."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from trio_projectx._events import to_datetime
from trio_projectx._logs import fields
from trio_projectx._timeframe import NS_PER_SECOND, Timeframe
from trio_projectx.bars.edges import Edges
from trio_projectx.bars.zones import Zone

_log: Final = logging.getLogger("trio_projectx")


class ZoneWatch:
    """Follows the event clock through the pieces of a zone; ``until_ns`` is when to call `pass_to` next."""

    __slots__ = ("_edges", "_name", "_offset", "_zone", "until_ns")

    def __init__(self, name: str, zone: Zone, edges: Mapping[Timeframe, Edges], ts_ns: int) -> None:
        piece = zone.piece(ts_ns // NS_PER_SECOND)
        self._name = name
        self._zone = zone
        self._edges = edges
        self._offset: int = piece.offset
        self.until_ns = piece.end * NS_PER_SECOND

    def pass_to(self, ts_ns: int) -> None:
        """Note that the event clock has reached ``ts_ns``; of a long jump, only the last change is told."""
        piece = self._zone.piece(ts_ns // NS_PER_SECOND)
        if piece.offset != self._offset:
            self._tell(self._zone.last_change(ts_ns // NS_PER_SECOND), self._offset, piece.offset)
        self._offset = piece.offset
        self.until_ns = piece.end * NS_PER_SECOND

    def _tell(self, change: int, before: int, after: int) -> None:
        around = [
            f"{frame}: {_shown(start)} to {_shown(end)}"
            for frame, edges in self._edges.items()
            for start, end in sorted({edges.interval(change * NS_PER_SECOND + off) for off in (-1, 0)})
        ]
        _log.info(
            "%s: the clocks of %s went from %+d to %+d s off UTC at %s; the bars there are %s",
            self._name,
            self._zone.key,
            before,
            after,
            _shown(change * NS_PER_SECOND),
            ", ".join(around),
            extra=fields("clocks_changed", contract=self._name),
        )


def _shown(ts_ns: int) -> str:
    return to_datetime(ts_ns).strftime("%Y-%m-%dT%H:%M:%SZ")
