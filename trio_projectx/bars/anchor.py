"""Anchors: from where a timeframe's intervals are counted (BAR_TIME.md, "Specification")."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._timeframe import NS_PER_SECOND, BarKind, Timeframe
from trio_projectx.bars.edges import DAY_NS, DateEdges, DateGroups, Edges, FixedEdges, UtcDays
from trio_projectx.bars.session_edges import Outside, SessionEdges, TradeDateEdges
from trio_projectx.bars.sessions import Sessions
from trio_projectx.bars.zones import WallEdges, Zone

Kind = Literal["utc", "wall", "session"]
_KINDS: Final = ("utc", "wall", "session")


def _known(instance: object, attribute: attrs.Attribute[Kind], value: str) -> None:
    if value not in _KINDS:
        raise ConfigError(
            f"{value!r:.40} is not an anchor; make one with Anchor.utc(), .wall(zone) or .session(sessions)"
        )


@attrs.frozen(slots=True)
class Anchor:
    """Where bars begin; made by `utc`, `wall` or `session`. Series of two anchors are never comparable."""

    kind: Kind = attrs.field(validator=_known)
    zone: Zone | None = None
    sessions: Sessions | None = None

    @classmethod
    def utc(cls) -> Anchor:
        """Count s, m, h and d from 1970-01-01T00:00Z, w from Monday 00:00Z, M from the first 00:00Z."""
        return cls("utc")

    @classmethod
    def wall(cls, zone: str) -> Anchor:
        """Cut bars where the clock of an IANA zone shows a multiple of their length.

        A clock that goes back shows some times twice: bars are cut at both. One that goes forward over a
        multiple cuts at that instant. Days, weeks and months begin with the first instant of a local date.

        :raises ConfigError: if there is no such zone.
        """
        return cls("wall", zone=Zone(zone))

    @classmethod
    def session(cls, sessions: Sessions) -> Anchor:
        """Count bars from the open of each segment of ``sessions``, and days, weeks, months by trade date.

        No bar of s, m or h crosses a break; the last one before it is shorter where it must be.

        :raises ConfigError: if ``sessions`` is not a `Sessions`.
        """
        if not isinstance(sessions, Sessions):
            raise ConfigError(f'sessions must be a Sessions such as Sessions.cme("EQ"), not {sessions!r:.40}')
        return cls("session", sessions=sessions)

    def edges(self, timeframe: Timeframe | str, outside: Outside = "own") -> Edges:
        """Return the intervals of ``timeframe``; ``outside`` says to which of them closed hours belong.

        :raises TimeframeError: if it is not a timeframe, or its bars are longer than int64 nanoseconds hold.
        """
        frame = Timeframe(timeframe)
        if isinstance(frame, BarKind):
            raise TimeframeError(f'"{frame}" bars do not end by time, so they have no edges')
        if frame.step_ns is None:
            first, last = DateGroups.of(frame).whole_days()
            if first > last:
                raise TimeframeError(f'"{frame}" is too long: its bars do not fit into int64 nanoseconds')
        return self._edges(frame, attach=outside == "attach")

    def _edges(self, frame: Timeframe, *, attach: bool) -> Edges:
        step = frame.step_ns
        if self.zone is not None:
            if step is not None:
                return WallEdges(self.zone, step // NS_PER_SECOND)
            return DateEdges(DateGroups.of(frame), self.zone)
        grid = _utc_edges(frame)
        if self.sessions is None:
            return grid
        if step is not None:
            return SessionEdges(self.sessions, step, grid, attach)
        return TradeDateEdges(self.sessions, DateGroups.of(frame), grid, attach)

    def nests(self, fine: Timeframe, coarse: Timeframe, outside: Outside = "own") -> bool:
        """Whether each interval of ``coarse`` is made of whole intervals of ``fine`` (BAR_TIME.md, T9)."""
        if self.kind == "utc":
            return _nest_in_utc(fine, coarse)
        if self.kind == "session" and outside != "drop" and not _nest_in_utc(fine, coarse):
            return False  # the bars of closed hours are UTC's
        fine_step, coarse_step = fine.step_ns, coarse.step_ns
        if coarse_step is not None:
            return fine_step is not None and coarse_step % fine_step == 0
        # Each day, and each session, begins with a bar of s, m or h.
        return fine_step is not None or DateGroups.of(coarse).hold(DateGroups.of(fine))


def _utc_edges(frame: Timeframe) -> Edges:
    if frame.step_ns is not None:
        return FixedEdges(frame.step_ns)
    if frame.unit == "M":
        return DateEdges(DateGroups.of(frame), UtcDays())
    days, origin = (frame.n, 0) if frame.unit == "d" else (7 * frame.n, -3)
    return FixedEdges(days * DAY_NS, origin * DAY_NS)


def _nest_in_utc(fine: Timeframe, coarse: Timeframe) -> bool:
    inner, outer = _utc_edges(fine), _utc_edges(coarse)
    if isinstance(inner, FixedEdges) and isinstance(outer, FixedEdges):
        return outer.step_ns % inner.step_ns == 0 and (outer.origin_ns - inner.origin_ns) % inner.step_ns == 0
    if isinstance(inner, FixedEdges):  # months are made of whole days, and of nothing longer
        return DAY_NS % inner.step_ns == 0 and inner.origin_ns == 0
    return isinstance(outer, DateEdges) and coarse.n % fine.n == 0
