"""Distributions of whole numbers in a fixed room: buckets whose width grows with the number, sixteen per doubling.

A quantile is that of the bucket's upper edge, so at most a sixteenth above the truth. Adding is a few operations on
plain integers, whatever was added before.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

_SUB_BITS: Final = 4
_SUB: Final = 1 << _SUB_BITS
#: 2^44 ns are almost five hours: what is above is counted as that; `most` says what it was.
_LIMIT: Final = (1 << 44) - 1
_BUCKETS: Final = ((44 - _SUB_BITS - 1) << _SUB_BITS) + 2 * _SUB


def bucket_of(value: int) -> int:
    """Return the number of the bucket of ``value``; below 0 is the first, beyond 2^44 the last."""
    if value < _SUB:
        return max(0, value)
    if value > _LIMIT:
        value = _LIMIT
    shift = value.bit_length() - _SUB_BITS - 1
    return (shift << _SUB_BITS) + (value >> shift)


def upper_edge(bucket: int) -> int:
    """Return the greatest number of a bucket."""
    if bucket < _SUB:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    return (((bucket & (_SUB - 1)) + _SUB + 1) << shift) - 1


@attrs.frozen(slots=True)
class Distribution:
    """How some whole numbers were spread; all 0 where there were none."""

    count: int = 0
    p50: int = 0
    """Half of them were not above this; at most a sixteenth above the truth. All below 0 are one: where the quantile is
    among them, it is 0, or the greatest of them if there are no others."""
    p99: int = 0
    max: int = 0
    """The greatest, exactly."""
    min: int = 0
    """The least, exactly; below 0 where they may be."""


class Histogram:
    """Counts whole numbers by bucket."""

    __slots__ = ("_buckets", "count", "least", "most")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.least = 0
        self.most = 0

    def add(self, value: int) -> None:
        """Count one more."""
        if not self.count:
            self.least = self.most = value
        elif value > self.most:
            self.most = value
        elif value < self.least:
            self.least = value
        self.count += 1
        self._buckets[bucket_of(value)] += 1

    def include(self, other: Histogram) -> None:
        """Count all that ``other`` has counted."""
        if not other.count:
            return
        self.least = min(self.least, other.least) if self.count else other.least
        self.most = max(self.most, other.most) if self.count else other.most
        self.count += other.count
        mine, theirs = self._buckets, other._buckets
        for bucket in other._used():
            mine[bucket] += theirs[bucket]

    def _used(self) -> range:
        """Return the buckets between the least and the greatest: the others are empty."""
        return range(bucket_of(self.least), bucket_of(self.most) + 1)

    def quantile(self, share: float) -> int:
        """Return a number that ``share`` (0 to 1) of all are not above; 0 if there are none."""
        left = max(1, math.ceil(share * self.count))
        for bucket in self._used():
            left -= self._buckets[bucket]
            if left <= 0:
                return max(min(upper_edge(bucket), self.most), self.least)
        return 0

    def summary(self) -> Distribution:
        """Return what is asked of it most."""
        return Distribution(self.count, self.quantile(0.5), self.quantile(0.99), self.most, self.least)


class Rotating:
    """A histogram of all time, and one of the last windows: the present one and the one before it."""

    __slots__ = ("_before", "_now", "_past")

    def __init__(self) -> None:
        self._past = Histogram()  # what is older than the two windows
        self._before = Histogram()
        self._now = Histogram()

    def add(self, value: int) -> None:
        """Count one more."""
        self._now.add(value)

    def rotate(self) -> None:
        """Begin another window."""
        self._past.include(self._before)
        self._before, self._now = self._now, Histogram()

    def recent(self) -> Distribution:
        """Return that of the present window and of the one before it."""
        return _together(self._before, self._now)

    def lifetime(self) -> Distribution:
        """Return that of all time."""
        return _together(self._past, self._before, self._now)


def _together(*parts: Histogram) -> Distribution:
    whole = Histogram()
    for part in parts:
        whole.include(part)
    return whole.summary()
