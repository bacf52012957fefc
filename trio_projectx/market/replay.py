"""Trades that a service sends again after a reconnect, told apart from trades that are merely equal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from trio_projectx.market.batch import TradeBatch

#: A trade without its contract: ts_event, ticks, volume, side.
TradeKey: TypeAlias = tuple[int, int, int, int]
#: Trades remembered; what is older is taken for sent again, too.
_KEPT: Final = 2000


class ReplayFilter:
    """Remembers the last trades of a contract, and finds them in what follows a reconnect.

    Equal trades are legal, so nothing is a duplicate while a connection lives. After `expect`, each trade that
    equals a remembered one (stamp, price, volume and side) is taken for that one sent again, also more than once:
    all trades that are older than the youngest had come. Of the youngest stamp some may have been missed, so of those
    each counts once. What comes first and is older than all that is remembered had come too (or before the first one).
    A trade that is younger than all of them, and than ``until``, ends the replay.
    """

    __slots__ = ("_batches", "_expected", "_oldest", "_remembered", "_youngest", "until")

    def __init__(self) -> None:
        self._batches: deque[TradeBatch] = deque()
        self._remembered = 0
        self._expected: Counter[TradeKey] | None = None
        self._oldest: int | None = None
        self._youngest = 0
        self.until: float = 0
        """A trade sent again is not younger, as far as is known; what was missed may stand before what was not."""

    @property
    def is_on(self) -> bool:
        """Whether trades may be replayed ones now."""
        return self._expected is not None

    def remember(self, batch: TradeBatch) -> None:
        """Remember trades that were judged for good; the batch is kept, not copied."""
        self._batches.append(batch)
        self._remembered += len(batch)
        while self._remembered - len(self._batches[0]) >= _KEPT:
            self._remembered -= len(self._batches.popleft())

    def rows(self) -> list[TradeKey]:
        """Return the remembered trades, oldest first."""
        return [
            row
            for batch in self._batches
            for row in zip(batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True)
        ]

    def expect(self, also: Iterable[TradeKey] = ()) -> None:
        """A connection was lost: what comes next may begin with trades that were had, or with those of ``also``."""
        rows = Counter(self.rows())
        rows.update(also)
        self._expected = rows or None
        self._oldest = min((row[0] for row in rows), default=None)
        self._youngest = max((row[0] for row in rows), default=0)

    def hand_over(self) -> Mapping[TradeKey, int]:
        """Return how often each is expected still, and expect nothing any more: another looks for it now."""
        expected, self._expected = self._expected, None
        return {} if expected is None else expected

    def is_replayed(self, ts_event: int, ticks: int, volume: int, side: int) -> bool:
        """Whether this trade is a remembered one sent again."""
        expected = self._expected
        if expected is None:
            return False
        if ts_event > self._youngest:
            if ts_event > self.until:
                self._expected = None
            return False
        if self._oldest is not None:
            if ts_event < self._oldest:
                return True
            self._oldest = None
        key = ts_event, ticks, volume, side
        left = expected.get(key)
        if not left:
            return left is not None and ts_event < self._youngest
        expected[key] = left - 1
        return True
