"""Time zones as whole numbers: where an offset changes, where days begin, where wall-clock bars are cut.

A zone is a row of pieces with one offset each. They are found by asking `zoneinfo` once a day, and halving the
day in which the offset changed: the closest pair of changes in any zone, ever, is four days apart.
"""

from __future__ import annotations

import datetime
import functools
import zoneinfo
from bisect import bisect_right
from typing import Final, NamedTuple

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._timeframe import NS_PER_SECOND
from trio_projectx.bars.edges import DAY_NS, FIRST_DAY, LAST_DAY, Slot

_DAY: Final = 86_400
_BLOCK: Final = 64 * _DAY  # seconds for which pieces are found at a time
_BLOCKS_KEPT: Final = 2048
#: No offset is farther from UTC than this, nor is the date line's 24 hours.
_FAR: Final = 26 * 3600
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Piece(NamedTuple):
    """Seconds ``start <= t < end`` since 1970 with one offset from UTC, in seconds.

    An edge at which the offset does not change is one of a block, and means nothing.
    """

    start: int
    end: int
    offset: int


@functools.lru_cache(maxsize=_BLOCKS_KEPT)
def _block(zone: Zone, number: int) -> tuple[Piece, ...]:
    """Return the pieces of one block of seconds, in order and without gaps."""
    first, last = number * _BLOCK, (number + 1) * _BLOCK
    pieces: list[Piece] = []
    start, offset = first, zone.offset_at(first)
    for probe in range(first + _DAY, last + 1, _DAY):
        found = zone.offset_at(probe)
        if found != offset:
            change = _change(zone, probe - _DAY, probe)
            if change < last:
                pieces.append(Piece(start, change, offset))
                start, offset = change, found
    return (*pieces, Piece(start, last, offset))


def _change(zone: Zone, before: int, after: int) -> int:
    """Return the second from which the offset at ``after`` holds; it is another one at ``before``."""
    offset = zone.offset_at(after)
    while after - before > 1:
        middle = (before + after) // 2
        if zone.offset_at(middle) == offset:
            after = middle
        else:
            before = middle
    return after


@attrs.frozen(slots=True)
class Zone:
    """An IANA zone, by its key; two of one key are equal.

    :raises ConfigError: if there is no such zone.
    """

    key: str
    _info: zoneinfo.ZoneInfo = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            info = zoneinfo.ZoneInfo(self.key)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise ConfigError(f"{self.key!r:.60} is no time zone such as America/Chicago") from None
        object.__setattr__(self, "_info", info)

    def offset_at(self, seconds: int) -> int:
        """Return the offset from UTC, in seconds, at an instant."""
        moment = (_EPOCH + datetime.timedelta(seconds=seconds)).astimezone(self._info)
        offset = moment.utcoffset()
        assert offset is not None
        return offset // datetime.timedelta(seconds=1)

    def piece(self, seconds: int) -> Piece:
        """Return the piece of an instant."""
        pieces = _block(self, seconds // _BLOCK)
        return pieces[bisect_right(pieces, seconds, key=_start) - 1]

    def last_change(self, seconds: int) -> int:
        """Return the last instant up to ``seconds`` at which the offset changed (or the start of the first year)."""
        piece = self.piece(seconds)
        first = FIRST_DAY * _DAY
        while piece.start > first and self.piece(piece.start - 1).offset == piece.offset:
            piece = self.piece(piece.start - 1)
        return piece.start

    def first_instant(self, local: int) -> int:
        """Return the first second at which the local clock has shown ``local`` or more, for the first time.

        ``local`` is seconds since 1970-01-01T00:00 on the local clock. Of a wall time that comes twice this
        is the first; of one that is skipped, the instant of the change.
        """
        piece = self.piece(local - _FAR)
        while local - piece.offset >= piece.end:
            piece = self.piece(piece.end)
        return max(piece.start, local - piece.offset)

    def start_of(self, day: int) -> int:
        """Return the first instant (ns) of a local date; of one that the zone skipped, that of the next."""
        return self.first_instant(day * _DAY) * NS_PER_SECOND

    def day_of(self, ts_ns: int) -> int:
        """Return the last local date that had begun at an instant, also where clocks fall back over midnight."""
        seconds = ts_ns // NS_PER_SECOND
        day = (seconds + self.piece(seconds).offset) // _DAY
        while self.start_of(day) > ts_ns:
            day -= 1
        while self.start_of(day + 1) <= ts_ns:
            day += 1
        return day


def _start(piece: Piece) -> int:
    return piece.start


@attrs.frozen(slots=True)
class WallEdges:
    """Intervals of s, m and h on a zone's clock: cut where the time of day is a multiple of the step.

    A wall time that comes twice cuts twice; a change that skips a multiple cuts itself. Where the step does
    not divide 24 hours, bars are cut at midnight.
    """

    zone: Zone
    step_s: int

    @property
    def first_ts(self) -> int:
        """The first day of the years that int64 holds whole."""
        return FIRST_DAY * DAY_NS

    @property
    def last_ts(self) -> int:
        """The last such instant."""
        return LAST_DAY * DAY_NS - 1

    def locate(self, ts_ns: int) -> Slot:
        """Return the slot between the cuts around ``ts_ns``."""
        seconds = ts_ns // NS_PER_SECOND
        start = self._cut_at_or_before(seconds) * NS_PER_SECOND
        end = self._cut_at_or_after(seconds + 1) * NS_PER_SECOND
        return Slot(start, end, start, end)

    def interval(self, ts_ns: int) -> tuple[int, int]:
        """Return the cuts around ``ts_ns``."""
        return self.locate(ts_ns)[:2]

    def _cut_at_or_before(self, seconds: int) -> int:
        while True:
            piece = self.zone.piece(seconds)
            of_day = (seconds + piece.offset) % _DAY
            cut = seconds - of_day % self.step_s
            if cut >= piece.start:
                return cut
            if self._cuts_itself(piece):
                return piece.start
            seconds = piece.start - 1

    def _cut_at_or_after(self, seconds: int) -> int:
        while True:
            piece = self.zone.piece(seconds)
            if seconds == piece.start and self._cuts_itself(piece):
                return seconds
            of_day = (seconds + piece.offset) % _DAY
            cut = seconds + min(-of_day % self.step_s, _DAY - of_day)
            if cut < piece.end:
                return cut
            seconds = piece.end

    def _cuts_itself(self, piece: Piece) -> bool:
        """Whether the change at the start of ``piece`` skipped a time of day that is a multiple of the step."""
        before = self.zone.piece(piece.start - 1).offset
        skipped = piece.start + before  # the first local second that no clock showed
        of_day = skipped % _DAY
        return skipped + min(-of_day % self.step_s, _DAY - of_day) < piece.start + piece.offset
