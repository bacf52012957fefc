"""A fault that is in place: whom it is meant for, and how often it has struck."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_projectx.simulator.faults.catalogue import Level
from trio_projectx.simulator.faults.model import Fault
from trio_projectx.simulator.faults.progress import Where

#: Connections whose ids are kept to show whom a fault has struck.
_SHOWN: int = 16
_ONE_BY_ONE: Final = (Level.ACCEPT, Level.REQUEST, Level.ANSWER, Level.CALL)


@attrs.frozen(slots=True)
class FaultState:
    """A fault that was put in, and what has become of it."""

    id: str
    fault: Fault
    struck: int
    """How often, in all."""
    connections: tuple[str, ...]
    """Ids of the last hub connections that it has struck, oldest first."""
    over: bool
    """Whether it will strike no more."""


@attrs.define(slots=True, eq=False)
class Armed:
    """One fault in place."""

    id: str
    fault: Fault
    born: float
    """By trio's clock."""
    newest: int
    """The number of the last connection that was there before it."""
    on_over: Callable[[Armed], None]
    """Called when it has struck for the last time."""
    struck: int = 0
    seed: str = ""
    """What its random choices are made from: the simulator's seed and its own id."""
    is_removed: bool = False
    memory: deque[str] = attrs.Factory(deque[str])
    """What a fault has to remember from one connection to the next."""
    _bound: int | None = None
    _numbers: set[int] = attrs.Factory(set[int])
    _ids: deque[str] = attrs.Factory(lambda: deque[str](maxlen=_SHOWN))
    _moved: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    @property
    def is_over(self) -> bool:
        """Whether it was taken out, has struck as often as it may, or its time is up."""
        fault = self.fault
        if self.is_removed or (fault.count and self.struck >= fault.count):
            return True
        is_timed = fault.level in _ONE_BY_ONE and fault.duration_s is not None
        return is_timed and trio.current_time() >= self.born + (fault.duration_s or 0.0)

    @property
    def state(self) -> FaultState:
        """Return what there is to tell."""
        return FaultState(self.id, self.fault, self.struck, tuple(self._ids), self.is_over)

    def reaches(self, where: Where) -> bool:
        """Whether the connection ``where`` is one that is meant; "next" is then taken by it for good."""
        fault = self.fault
        if where.hub == "control" or fault.hub not in ("*", where.hub) or self.is_over:
            return False
        selector = fault.connection
        if selector == "next":
            if self._bound is None and where.number > self.newest:
                self._bound = where.number
            return self._bound == where.number
        if selector.startswith("#"):
            nth = where.number if fault.hub == "*" else where.nth
            return nth == int(selector[1:])
        return selector in ("all", where.connection_id)

    def claim(self, where: Where) -> bool:
        """Count a strike at ``where`` and return True, unless it may strike (there) no more."""
        is_once = self.fault.level not in (Level.REQUEST, Level.ANSWER, Level.CALL)
        if self.is_over or (is_once and where.number in self._numbers):
            return False
        self.struck += 1
        self._numbers.add(where.number)
        if where.connection_id:
            self._ids.append(where.connection_id)
        self._moved.unpark_all()
        if self.struck == self.fault.count:
            self.on_over(self)
        return True

    def remove(self) -> None:
        """Take it out."""
        self.is_removed = True
        self._moved.unpark_all()

    async def wait_struck(self, times: int) -> None:
        """Wait until it has struck so often; returns too when it is taken out."""
        await trio.lowlevel.checkpoint()
        while self.struck < times and not self.is_removed:
            await self._moved.park()


@attrs.frozen(slots=True)
class FaultHandle:
    """A fault that was put in by `Simulator.inject`."""

    _armed: Armed = attrs.field(alias="armed")

    @property
    def id(self) -> str:
        """Its name among those in place, as in ``DELETE /control/faults/ID``."""
        return self._armed.id

    @property
    def struck(self) -> int:
        """How often it has struck."""
        return self._armed.struck

    @property
    def state(self) -> FaultState:
        """What has become of it."""
        return self._armed.state

    async def wait_struck(self, times: int = 1) -> None:
        """Wait until it has struck ``times`` times; returns too when it is taken out. Without a deadline."""
        await self._armed.wait_struck(times)
