"""Paging through ``History/retrieveBars``, as a state machine without I/O.

The service answers newest first and cuts in silence: after 20,000 bars by its documentation, after 1,000 by one
measurement (GATEWAY.md section 1.3). So no number is assumed: each answer is followed by a question for what is older,
until one brings nothing that is. That costs one question more than a service that could be believed; a hole would cost
more. Each question reaches over the oldest bar that was had: an answer without that bar is no end but a service that
has nothing to say just now (an empty success), and is asked again. Whether the end of a question is in its answer
nobody says either.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from trio_projectx._errors import ProtocolError
from trio_projectx._timeframe import NS_PER_SECOND
from trio_projectx.history.candles import Candle, Fault, Page

#: The limits asked for, the documented one first; the next one if the service refuses it (errorCode 4).
LIMITS: Final = (20_000, 1_000, 100)
#: So many answers without the bar that must be in them are asked again; bars do grow too old to be shown.
_DOUBTS: Final = 2


@attrs.frozen(slots=True)
class Span:
    """What to ask next: at most ``limit`` bars that open in ``[start, end)``, int64 ns of whole seconds."""

    start: int
    end: int
    limit: int


class Pager:
    """Asks for the bars that open in ``[start_ns, end_ns)``, or for the youngest ``count`` of them.

    Take `next`, give its answer to `take`, until `next` is None.
    """

    def __init__(self, start_ns: int, end_ns: int, count: int | None = None) -> None:
        self._start, self._end, self._count = start_ns, end_ns, count
        self._limits: tuple[int, ...] = LIMITS
        self._candles: dict[int, Candle] = {}
        self._oldest = end_ns
        self._is_inclusive = False
        self._has_border = False  # whether `_oldest` is a bar
        self._overlaps = True
        self._was_single = False  # whether the last answer that brought something brought one bar
        self._last: tuple[int, int] = (0, 0)  # of the last answer: its size, and the limit that was asked for
        self._is_done = start_ns >= end_ns
        self.known_from = start_ns if self._is_done else end_ns
        """Back to where everything has come (int64 ns)."""
        self.is_proven = True
        """Whether nothing is older than the oldest bar because an answer showed that bar and nothing before it; an
        answer without any bar proves nothing."""
        self.doubts = 0
        """Answers without a bar that was shown before, and must have been in them."""
        self.cap: int | None = None
        """How many bars the service gives at once, where that has shown."""
        self.pages = 0
        self.faults: Counter[Fault] = Counter()
        self._bad: set[int] = set()
        self.has_undated = False
        """Whether there was a bar of which nobody can say when it opens."""
        self.doubles = 0
        """Bars that came again as they were, the oldest of each answer not counted."""
        self.conflicts = 0
        """Bars that came again and were not the same; the one of the greater volume was kept."""

    @property
    def next(self) -> Span | None:
        """What to ask now; None when everything is there."""
        if self._is_done:
            return None
        reach = NS_PER_SECOND * (self._has_border and self._overlaps)
        end = -(-self._oldest // NS_PER_SECOND) * NS_PER_SECOND + reach
        limit = self._limits[0]
        if self._count is not None:
            limit = min(limit, self._count - len(self._candles) + 2)  # two may be known already
        return Span(
            -(-self._start // NS_PER_SECOND) * NS_PER_SECOND, end - NS_PER_SECOND * self._is_inclusive, limit
        )

    @property
    def size(self) -> int:
        """How many bars have come so far."""
        return len(self._candles)

    @property
    def oldest(self) -> int:
        """When the oldest bar opens that has come, a bad one too; the end if none has."""
        return self._oldest

    @property
    def newest(self) -> int:
        """When the youngest good bar opens that has come; the start if none has."""
        return max(self._candles, default=self._start)

    @property
    def bad(self) -> list[int]:
        """When those bars open that were left out for a fault and came in no good version."""
        return sorted(self._bad - self._candles.keys())

    @property
    def candles(self) -> list[Candle]:
        """What has come so far, oldest first; no two open at the same time."""
        return self.between(self._start, self._end)

    def between(self, start: int, end: int) -> list[Candle]:
        """Return what has come so far and opens in ``[start, end)``, oldest first."""
        return [self._candles[at] for at in sorted(at for at in self._candles if start <= at < end)]

    def refuse_limit(self) -> bool:
        """The service does not take the limit: ask with a smaller one; False if there is none."""
        smaller = self._limits[1:]
        self._limits = smaller or self._limits
        return bool(smaller)

    def take(self, page: Page) -> None:
        """Take the answer to `next`.

        :raises ProtocolError: if it holds nothing but bars that were not asked for.
        """
        asked = self.next
        assert asked is not None
        self.pages += 1
        self.faults += page.faults
        self._bad.update(page.bad)
        self.has_undated |= page.undated > 0
        for candle in page.candles:
            if self._start <= candle.start < self._end:
                self._keep(candle)
        older = [start for start in page.starts if self._start <= start < self._oldest]
        if not older:
            self._stop_or_go_on(page, asked)
            return
        size, limit = self._last
        if 0 < size < limit:
            self.cap = size
        self._last = page.size, asked.limit
        self._is_inclusive |= asked.end in page.starts
        self._oldest = self.known_from = min(older)
        self._has_border, self._was_single = True, len(set(older)) == 1
        if self._oldest < self._start + NS_PER_SECOND:
            self._exhaust(is_proven=True)
        elif self._count is not None and len(self._candles) >= self._count:
            self._is_done = True

    def _stop_or_go_on(self, page: Page, asked: Span) -> None:
        if page.starts and not any(self._start <= start <= asked.end for start in page.starts):
            raise ProtocolError("bars: the service answers with bars of another time than was asked for")
        if asked.end in page.starts and not self._is_inclusive:
            # The end counts as inside: the bar there took a place in the answer, so the next question ends before it.
            self._is_inclusive = True
            if asked.end - NS_PER_SECOND > self._start:
                return
        if not self._has_border:
            self._exhaust(is_proven=False)
        elif not self._overlaps:
            self._exhaust(is_proven=True)
        elif self._oldest not in page.starts:
            self.doubts += 1
            if self.doubts > _DOUBTS:
                self._exhaust(is_proven=False)
        elif self._was_single:
            self._overlaps = False  # one bar and the same one again: perhaps one is all that it gives at once
        else:
            self._exhaust(is_proven=True)

    def _exhaust(self, *, is_proven: bool) -> None:
        self._is_done, self.known_from, self.is_proven = True, self._start, is_proven

    def _keep(self, candle: Candle) -> None:
        known = self._candles.get(candle.start)
        if known is None:
            self._candles[candle.start] = candle
        elif known == candle:
            self.doubles += candle.start != self._oldest
        else:
            self.conflicts += 1
            self._candles[candle.start] = max(known, candle, key=_volume)


def _volume(candle: Candle) -> int:
    return candle.volume
