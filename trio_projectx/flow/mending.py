"""What other tasks ask of a contract's task: to mend bars, and to begin a stream with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs
import trio

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.edges import enclosing
from trio_projectx.bars.mending import Known, Mended
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.marks import MendMark
from trio_projectx.flow.outlets import BarOutlet


@attrs.define(slots=True, eq=False)
class Mend:
    """Put what is known of ``[low, high)`` into one timeframe's bars; ``result`` None: not now."""

    outlet: BarOutlet
    frame: Timeframe
    known: Sequence[Known]
    low: int
    high: int
    result: Mended | None = None

    async def act(self, contract: ContractPipeline) -> None:
        """Do it, if that may be done; called by the contract's task."""
        if self.outlet in contract.outlets and not contract.has_gap:
            contract.show(
                MendMark(contract.contract_id, str(self.frame), self.low, self.high, tuple(self.known))
            )
            self.result = await self.outlet.mend(self.frame, self.known, self.low, self.high)


@attrs.define(slots=True, eq=False)
class Begin:
    """Put the history of each timeframe before everything that is live."""

    outlet: BarOutlet
    found: Mapping[Timeframe, Sequence[Known]]

    async def act(self, contract: ContractPipeline) -> None:
        """Do it, if the stream is open yet; called by the contract's task."""
        if self.outlet in contract.outlets:
            self.outlet.begin(self.found)
        await trio.lowlevel.checkpoint()


class Act(Protocol):
    """Something for a contract's task to do."""

    async def act(self, contract: ContractPipeline) -> None:
        """Do it."""
        ...


async def ask(contract: ContractPipeline, item: Act) -> None:
    """Have the contract's task do something between batches; returns when it is done."""
    done = trio.Event()
    await contract.behind(lambda: item.act(contract), done)
    await done.wait()


async def mend_again(contract: ContractPipeline, mark: MendMark) -> None:
    """Do what a live gateway has done, with every stream that has these very bars; called by the contract's task."""
    frame = Timeframe(mark.frame)
    for outlet in contract.outlets:
        if isinstance(outlet, BarOutlet) and frame in outlet.bars.timeframes:
            edges = outlet.bars.mender.edges(frame)
            ends = enclosing(edges, mark.low)[0], enclosing(edges, mark.high - 1)[1]
            if ends == (mark.low, mark.high) and all(
                edges.interval(each.start) == (each.start, each.end) for each in mark.known
            ):
                await outlet.mend(frame, mark.known, mark.low, mark.high)
