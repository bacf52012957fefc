"""Anchors: from where a timeframe's intervals are counted (BAR_TIME.md, "Specification").

All arithmetic is on int64 nanoseconds, floored: no calendar, no float, no question asked of the process's
zone.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import attrs

from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._timeframe import Timeframe

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1


class Edges(Protocol):
    """The intervals of one timeframe under one anchor."""

    @property
    def first_ts(self) -> int:
        """The earliest instant (int64 ns) whose interval has both its edges inside int64."""
        ...

    @property
    def last_ts(self) -> int:
        """The latest such instant."""
        ...

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return ``(start, end)`` in int64 ns of the one interval with ``start <= ts_ns < end``."""
        ...


@attrs.frozen(slots=True)
class FixedEdges:
    """Intervals of one length, counted from 1970-01-01T00:00Z in both directions."""

    step_ns: int

    @property
    def first_ts(self) -> int:
        """The first multiple of the step inside int64."""
        return -(-INT64_MIN // self.step_ns) * self.step_ns

    @property
    def last_ts(self) -> int:
        """The last nanosecond before the last multiple of the step inside int64."""
        return INT64_MAX // self.step_ns * self.step_ns - 1

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return the floor of ``ts_ns`` to the step, and the next one (also before 1970)."""
        start = ts_ns - ts_ns % self.step_ns
        return start, start + self.step_ns


def _known(instance: object, attribute: attrs.Attribute[Literal["utc"]], value: str) -> None:
    if value != "utc":
        raise ConfigError(f"{value!r:.40} is not an anchor; make one with Anchor.utc()")


@attrs.frozen(slots=True)
class Anchor:
    """Where bars begin; made by `Anchor.utc`. Series of two anchors are never comparable bar by bar."""

    kind: Literal["utc"] = attrs.field(validator=_known)

    @classmethod
    def utc(cls) -> Anchor:
        """Bars of s, m and h begin at whole multiples of their length since 1970-01-01T00:00Z."""
        return cls("utc")

    def edges(self, timeframe: Timeframe | str) -> Edges:
        """Return the intervals of ``timeframe``.

        :raises TimeframeError: if it is not a timeframe, or is one of d, w and M: a day of a futures market
            is a session, and sessions are not there yet.
        """
        frame = Timeframe(timeframe)
        step = frame.step_ns
        if step is None:
            raise TimeframeError(f'"{frame}" needs sessions, which are not there yet; use s, m or h')
        return FixedEdges(step)

    def nests(self, fine: Timeframe, coarse: Timeframe) -> bool:
        """Whether each interval of ``coarse`` is made of whole intervals of ``fine`` (BAR_TIME.md, T9)."""
        fine_step, coarse_step = fine.step_ns, coarse.step_ns
        return fine_step is not None and coarse_step is not None and coarse_step % fine_step == 0
