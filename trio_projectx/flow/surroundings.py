"""What the pipelines ask of those around them: the connections, the clocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import trio

from trio_projectx._events import DataEvent


class Surroundings(Protocol):
    """Who feeds the pipelines, seen from them."""

    @property
    def has_clock(self) -> bool:
        """Whether time passes for the exchange as for us, so that a quiet market's bars may be closed by it."""
        ...

    def proved_until(self, contract_id: str) -> float:
        """Return the time (trio's clock) up to which every trade that was sent has been received."""
        ...

    def prove(self, until: float) -> None:
        """Have it proved up to ``until``; `MarketPipeline.proved` is called then."""
        ...

    def exchange_ns(self) -> int:
        """Return what the exchange's clock shows, as near as we know."""
        ...

    def silent_s(self, contract_id: str, since: float) -> float:
        """Return how much of the time from ``since`` (trio's clock) on the market was open, and trades may be missing.

        0 where the service was asked meanwhile, and had none.
        """
        ...

    def heard(self, contract_id: str, now: float) -> None:
        """A read had data of a contract; called by the reader."""
        ...

    def stamped(self, contract_id: str, ts_event: int, ts_recv: int, now: float) -> None:
        """A read's data had this stamp, and were read at these times of our two clocks."""
        ...

    def tell(self, event: DataEvent) -> None:
        """Tell everybody who listens."""
        ...


class Alone:
    """Nobody is around: everything is proved, and our clock is the exchange's."""

    def __init__(self, wall_clock: Callable[[], int] = time.time_ns) -> None:
        self._wall_clock = wall_clock

    @property
    def has_clock(self) -> bool:
        """Return true."""
        return True

    def proved_until(self, contract_id: str) -> float:
        """Return inf."""
        return math.inf

    def prove(self, until: float) -> None:
        """Do nothing."""

    def exchange_ns(self) -> int:
        """Return our own clock."""
        return self._wall_clock()

    def silent_s(self, contract_id: str, since: float) -> float:
        """Return all of it."""
        return trio.current_time() - since

    def heard(self, contract_id: str, now: float) -> None:
        """Do nothing."""

    def stamped(self, contract_id: str, ts_event: int, ts_recv: int, now: float) -> None:
        """Do nothing."""

    def tell(self, event: DataEvent) -> None:
        """Do nothing: nobody listens."""
