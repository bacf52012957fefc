"""A set of time as half-open intervals of int64 ns, in order, disjoint, joined where they touch. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]


class Intervals:
    """What is in it costs memory by the number of its pieces; each act costs as much as the pieces it touches."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in intervals:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Put ``[start, end)`` in; an empty one changes nothing."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)  # the first piece that touches it, or comes after
        high = bisect_right(self._starts, end)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def cut(self, start: int, end: int) -> None:
        """Take ``[start, end)`` out."""
        if start >= end:
            return
        low, high = self._overlapping(start, end)
        left = [(s, start) for s in self._starts[low : low + 1] if low < high and s < start]
        right = [(end, e) for e in self._ends[high - 1 : high] if low < high and e > end]
        self._starts[low:high] = [s for s, _ in (*left, *right)]
        self._ends[low:high] = [e for _, e in (*left, *right)]

    def within(self, start: int, end: int) -> list[Interval]:
        """Return the parts that lie in ``[start, end)``."""
        low, high = self._overlapping(start, end)
        pieces = zip(self._starts[low:high], self._ends[low:high], strict=True)
        return [(max(s, start), min(e, end)) for s, e in pieces]

    def missing(self, start: int, end: int) -> list[Interval]:
        """Return the parts of ``[start, end)`` that are not in it."""
        found: list[Interval] = []
        for s, e in self.within(start, end):
            if start < s:
                found.append((start, s))
            start = e
        if start < end:
            found.append((start, end))
        return found

    def covers(self, start: int, end: int) -> bool:
        """Whether all of ``[start, end)`` is in it."""
        return not self.missing(start, end)

    def total(self) -> int:
        """Return how many nanoseconds are in it."""
        return sum(self._ends) - sum(self._starts)

    def _overlapping(self, start: int, end: int) -> tuple[int, int]:
        if start >= end:
            return 0, 0
        return bisect_right(self._ends, start), bisect_left(self._starts, end)

    def __iter__(self) -> Iterator[Interval]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervals) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Intervals({list(self)!r:.200})"
