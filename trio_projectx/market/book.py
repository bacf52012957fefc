"""The order book of one contract, made of rows of depth. Pure; it holds whole ticks and sizes, and reads no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from trio_projectx._items import DepthKind
from trio_projectx.market.depth import DepthRow

#: Levels of a side; a book that has more forgets those farthest from its top, which nobody trades at.
_LEVELS_MOST: Final = 2_000


class _Side:
    """One side; ``sign`` is 1 where the lowest price is the best one (asks), -1 for bids."""

    __slots__ = ("_order", "_sign", "_sizes")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._sizes: dict[int, int] = {}
        self._order: list[int] = []  # ticks times sign, best first

    def __len__(self) -> int:
        return len(self._order)

    def put(self, ticks: int, size: int) -> None:
        if size == 0:
            self.drop(ticks)
            return
        if ticks not in self._sizes:
            insort(self._order, ticks * self._sign)
        self._sizes[ticks] = size

    def drop(self, ticks: int) -> None:
        if self._sizes.pop(ticks, None) is not None:
            del self._order[bisect_left(self._order, ticks * self._sign)]

    def drop_better(self, ticks: int, *, equal: bool = False) -> None:
        """Drop what is priced better than ``ticks`` (and what is there itself, if ``equal``)."""
        end = bisect_left(self._order, ticks * self._sign + equal)
        for key in self._order[:end]:
            del self._sizes[key * self._sign]
        del self._order[:end]

    def cut(self, most: int) -> int:
        gone = self._order[most:]
        for key in gone:
            del self._sizes[key * self._sign]
        del self._order[most:]
        return len(gone)

    def levels(self, most: int | None) -> Iterator[tuple[int, int]]:
        return ((key * self._sign, self._sizes[key * self._sign]) for key in islice(self._order, most))

    def clear(self) -> None:
        self._sizes.clear()
        self._order.clear()


class OrderBook:
    """Levels of both sides by their price in ticks; each side holds 2,000 at most.

    A row of the best price is a pointer: besides setting its level it removes levels of its side that are priced
    better, and levels of the other side that it crosses, for these are old (GATEWAY.md section 2.3).
    """

    def __init__(self, levels_most: int = _LEVELS_MOST) -> None:
        self._most = levels_most
        self._bids, self._asks = _Side(-1), _Side(1)
        self.cut = 0
        """Levels that were forgotten because a side had too many."""

    def __len__(self) -> int:
        return len(self._bids) + len(self._asks)

    def apply(self, row: DepthRow) -> None:
        """Do what one valid row says; one that is not about levels changes nothing."""
        kind, ticks = row.kind, row.ticks
        if kind is DepthKind.RESET:
            self.clear()
        elif ticks is None:
            return
        elif kind is DepthKind.BID:
            self._put(self._bids, ticks, row.size)
        elif kind is DepthKind.ASK:
            self._put(self._asks, ticks, row.size)
        elif kind in (DepthKind.BEST_BID, DepthKind.NEW_BEST_BID):
            self._point(self._bids, self._asks, ticks, row.size)
        elif kind in (DepthKind.BEST_ASK, DepthKind.NEW_BEST_ASK):
            self._point(self._asks, self._bids, ticks, row.size)

    def clear(self) -> None:
        """Forget all levels."""
        self._bids.clear()
        self._asks.clear()

    def bids(self, most: int | None = None) -> Iterator[tuple[int, int]]:
        """Iterate over ticks and size of the best ``most`` bids (None: all), best first."""
        return self._bids.levels(most)

    def asks(self, most: int | None = None) -> Iterator[tuple[int, int]]:
        """Iterate over those of the asks."""
        return self._asks.levels(most)

    def _put(self, side: _Side, ticks: int, size: int) -> None:
        side.put(ticks, size)
        if len(side) > self._most:
            self.cut += side.cut(self._most)

    def _point(self, side: _Side, other: _Side, ticks: int, size: int) -> None:
        if size == 0:  # it is gone, and says nothing of others
            side.drop(ticks)
            return
        side.drop_better(ticks)
        # The other side's levels at this price or through it: as prices of that side they are at least as good.
        other.drop_better(ticks, equal=True)
        self._put(side, ticks, size)
