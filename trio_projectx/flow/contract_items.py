"""What goes from the validator to a contract's own task, beside the ends of streams and of gaps; and its counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio

from trio_projectx.flow.ledger import TradeCounts
from trio_projectx.market import DepthCounts, RejectedCounts, TradeBatch, Validator


@attrs.frozen(slots=True)
class Task:
    """Something that the contract task is to do behind everything that came before; ``done`` when it has."""

    work: Callable[[], Awaitable[None]]
    done: trio.Event


class Tasks:
    """What is to be done between batches, until no trade is on its way: so a record can say exactly where it was."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    def put(self, task: Task) -> None:
        """Have it done at the next quiet moment."""
        self._waiting.append(task)

    async def do(self, is_busy: Callable[[], bool]) -> None:
        """Do what waits, while the moment lasts."""
        while self._waiting and not is_busy():
            task = self._waiting.popleft()
            await task.work()
            task.done.set()


@attrs.frozen(slots=True)
class Valid:
    """A batch, and which read of the socket it came with."""

    batch: TradeBatch
    serial: int
    gap_end: int | None
    """Where it ends a gap, if one is open: see `Bringers.gap_end`."""
    lacks_until: int | None = None
    """Until when trades are missing that nobody was told of: see `Bringers.ends`."""
    read_at: float | None = None
    """When it was read (trio's clock); None where it was held meanwhile, or is of a record."""


@attrs.frozen(slots=True)
class ContractStatistics:
    """Counts of one contract, in trades; ``rejected`` by reason."""

    contract_id: str
    received: int
    accepted: int
    rejected: RejectedCounts
    in_flight: int
    quotes: int
    depth: DepthCounts
    """In rows of the order book."""
    rejection_bursts: int
    """Times at which a tenth of the trades or more were rejected; each is logged as it begins."""
    duplicates: int
    """Trades that had come on another connection already."""
    gaps: int
    """Times at which no connection brought it, or two of them brought different numbers of the same trades."""


def elsewhere(counts: TradeCounts, validator: Validator, batch: TradeBatch | None) -> int:
    """Take over the validator's counts; return how many trades more are now in one of them, or in ``batch``."""
    before = counts.held + counts.duplicates + counts.unlevel
    counts.held, counts.duplicates, counts.unlevel = (
        validator.held,
        validator.duplicates,
        validator.waiting,
    )
    after = counts.held + counts.duplicates + counts.unlevel
    return after - before + (0 if batch is None else len(batch))


def statistics_of(
    contract_id: str, counts: TradeCounts, validator: Validator, quotes: int, depth: DepthCounts, gaps: int
) -> ContractStatistics:
    """Return a snapshot of the counts of a contract."""
    return ContractStatistics(
        contract_id=contract_id,
        received=counts.received,
        accepted=validator.accepted,
        rejected=validator.rejected,
        in_flight=counts.in_flight,
        quotes=quotes,
        depth=depth,
        rejection_bursts=validator.rejection_bursts,
        duplicates=counts.duplicates,
        gaps=gaps,
    )
