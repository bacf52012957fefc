"""What goes from the validator to a contract's own task, beside the ends of streams and of gaps; and its counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from trio_projectx.market import RejectedCounts, TradeBatch


@attrs.frozen(slots=True)
class Task:
    """Something that the contract task is to do behind everything that came before; ``done`` when it has."""

    work: Callable[[], Awaitable[None]]
    done: trio.Event


@attrs.frozen(slots=True)
class Valid:
    """A batch, and which read of the socket it came with."""

    batch: TradeBatch
    serial: int


@attrs.frozen(slots=True)
class ContractStatistics:
    """Counts of one contract, in trades; ``rejected`` by reason."""

    contract_id: str
    received: int
    accepted: int
    rejected: RejectedCounts
    in_flight: int
    quotes: int
    rejection_bursts: int
    """Times at which a tenth of the trades or more were rejected; each is logged as it begins."""
    duplicates: int
    """Trades that had come on another connection already."""
    gaps: int
    """Times at which no connection brought it."""
