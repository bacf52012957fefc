"""The end of streams, as an item of the channels that they are fed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_projectx._errors import TrioProjectXError
from trio_projectx.flow.outlets import TradeOutlet
from trio_projectx.flow.side import SideFlow, SideOutlet
from trio_projectx.flow.subscriptions import Kind

if TYPE_CHECKING:
    from trio_projectx.flow.contract import ContractPipeline


@attrs.frozen(slots=True)
class Loss:
    """The end of some streams of one contract, on its way to them behind everything that came before."""

    error: TrioProjectXError
    contract: ContractPipeline
    outlets: tuple[TradeOutlet, ...] = ()
    side_outlets: tuple[tuple[SideFlow, SideOutlet], ...] = ()
    """Those of quotes and of depth, each with what fills it."""
    told: trio.Event = attrs.Factory(trio.Event)

    def tell(self) -> None:
        """Break the streams; their tables stay as they were. Telling again changes nothing."""
        self.told.set()
        for outlet in self.outlets:
            self.contract.detach(outlet)
            outlet.fail(self.error)
        for flow, side_outlet in self.side_outlets:
            flow.drop(side_outlet)
            side_outlet.feed.fail(self.error)


def loss_of(contract: ContractPipeline, error: TrioProjectXError, kind: Kind | None = None) -> Loss:
    """Return the end of the streams of a contract that are open now, of one kind or of all."""
    sides = [side for each, side in contract.sides.items() if kind in (None, each)]
    beside = tuple((side, outlet) for side in sides for outlet in side.outlets)
    return Loss(error, contract, contract.outlets if kind in (None, Kind.TRADES) else (), beside)
