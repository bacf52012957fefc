"""What a cache folder holds, without asking anybody: time that is covered, bars, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx.history.intervals import Interval, Intervals
from trio_projectx.history.queries import dataset
from trio_projectx.history.store import BarStore


@attrs.frozen(slots=True)
class Holding:
    """The bars of one contract in one unit of the service's; times are int64 ns."""

    contract_id: str
    unit: str
    live: bool
    """The tier of data."""
    bars: int
    size_bytes: int
    covered: tuple[Interval, ...]
    """The time of which all bars are there, in order; a time without trades is covered too."""

    def missing(self, start: int | None = None, end: int | None = None) -> tuple[Interval, ...]:
        """Return what is not covered from ``start`` to ``end``; None is the first, the last covered instant."""
        if not self.covered:
            return () if start is None or end is None else ((start, end),)
        low = self.covered[0][0] if start is None else start
        high = self.covered[-1][1] if end is None else end
        return tuple(Intervals(self.covered).missing(low, high))


def holdings(root: str | Path) -> Iterator[Holding]:
    """Yield what a cache folder holds, by contract and unit. It blocks: call it in a thread.

    :raises ConfigError: if there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}")
    for shelf in BarStore(root, is_reader=True).shelves():
        size = sum(path.stat().st_size for path in shelf.folder.glob("*.parquet"))
        rows = dataset(root, shelf.contract_id, shelf.unit).count_rows()
        covered = tuple(shelf.ledger.covered)
        yield Holding(shelf.contract_id, shelf.unit, shelf.ledger.live, rows, size, covered)
