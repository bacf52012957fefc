"""The end of streams, as an item of the channels that they are fed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_projectx._errors import TrioProjectXError
from trio_projectx.flow.outlets import TradeOutlet
from trio_projectx.flow.quotes import QuoteOutlet

if TYPE_CHECKING:
    from trio_projectx.flow.contract import ContractPipeline


@attrs.frozen(slots=True)
class Loss:
    """The end of some streams of one contract, on its way to them behind everything that came before."""

    error: TrioProjectXError
    contract: ContractPipeline
    outlets: tuple[TradeOutlet, ...]
    quote_outlets: tuple[QuoteOutlet, ...]
    told: trio.Event = attrs.Factory(trio.Event)

    def tell(self) -> None:
        """Break the streams; their tables stay as they were. Telling again changes nothing."""
        self.told.set()
        for outlet in self.outlets:
            self.contract.detach(outlet)
            outlet.fail(self.error)
        for quote_outlet in self.quote_outlets:
            self.contract.quotes.detach(quote_outlet)
            quote_outlet.feed.fail(self.error)
