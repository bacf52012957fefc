"""What became of a line, on its way to the validator: it counts from behind the reads that came before it."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs

from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.gaps import Broken
from trio_projectx.flow.side import SideFlow
from trio_projectx.flow.subscriptions import Kind


class What(enum.Enum):
    """What became of it."""

    JOIN = "join"
    ACKNOWLEDGED = "acknowledged"
    SETTLE = "settle"
    LEAVE = "leave"


class Order(Protocol):
    """Something the validator task is to do behind the reads that came before it."""

    @property
    def serial(self) -> int:
        """How many reads came before it."""
        ...

    async def act(self) -> None:
        """Do it; called by the validator task."""
        ...


@attrs.frozen(slots=True)
class Notice:
    """One line's news about one kind of data of one contract."""

    what: What
    line: int
    contract: ContractPipeline
    kind: Kind
    cause: str
    serial: int
    """How many reads came before it."""
    at_ns: int
    """What the exchange's clock showed, as near as we know."""
    now: float
    """What trio's clock showed; in a replay, that of the recording."""

    async def act(self) -> None:
        """Tell the contract; called by the validator task."""
        side = self.contract.sides.get(self.kind)
        if side is None:
            await self._of_trades(self.contract)
        else:
            await self._beside(side)

    async def _of_trades(self, contract: ContractPipeline) -> None:
        match self.what:
            case What.JOIN:
                contract.join(self.line, self.at_ns, self.now)
            case What.ACKNOWLEDGED:
                await contract.acknowledged(self.line, self.now, self.at_ns)
            case What.SETTLE:
                broken = Broken(self.cause or "a connection had fallen silent", self.serial, self.at_ns)
                await contract.settle(self.line, broken, self.at_ns, in_doubt=bool(self.cause))
            case What.LEAVE:
                await contract.leave(self.line, Broken(self.cause, self.serial, self.at_ns), self.at_ns)

    async def _beside(self, side: SideFlow) -> None:
        match self.what:
            case What.JOIN:
                side.join(self.line, self.at_ns)
            case What.ACKNOWLEDGED:
                side.acknowledged(self.line)
            case What.SETTLE:
                await side.settle(self.line, self.at_ns)
            case What.LEAVE:
                await side.leave(self.line, self.cause, self.at_ns)
