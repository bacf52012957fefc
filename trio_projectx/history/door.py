"""What is behind `Gateway.history`: from what a user writes to a table, of one contract or stitched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from trio_projectx._config import HistoryOptions
from trio_projectx._errors import ConfigError
from trio_projectx._logs import fields
from trio_projectx.bars import Anchor
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.connection.service import Service
from trio_projectx.history.cache import CachedFetcher
from trio_projectx.history.fetch import Fetcher, Tell, asking
from trio_projectx.history.history import History, Instant, nanoseconds, session_of
from trio_projectx.history.levels import Levels, TellEvent
from trio_projectx.history.ring import Ring
from trio_projectx.history.rolls import Leg, legs
from trio_projectx.history.shedding import HistoryShed
from trio_projectx.history.store import BarStore
from trio_projectx.market import ContractId

_log: Final = logging.getLogger("trio_projectx")


class HistoryDoor:
    """The history of one gateway, with its levels (`CachedFetcher`): memory, disk with a ``cache`` folder, service.

    ``tell`` gets what is told of the cache.
    """

    def __init__(
        self,
        service: Service,
        wall_clock: Callable[[], int],
        options: HistoryOptions,
        tell: TellEvent | None = None,
    ) -> None:
        self._service = service
        self._wall_clock = wall_clock
        store = None if options.cache is None else BarStore(options.cache)
        self._levels = Levels(store, Ring(options.bars_kept), wall_clock, tell)
        self.shed = HistoryShed(
            self._levels, asking(service), options.bars_kept, is_on_disk=store is not None
        )
        """What is given up when memory is scarce."""
        self.fresh = Fetcher(self.shed.ask, live=options.live)
        """The service itself, without what is kept of it."""
        self.history_of = History(
            CachedFetcher(self.fresh, self._levels, wall_clock), wall_clock, options.settle_s
        )

    def close(self) -> None:
        """Write nothing more into the cache; a write that is under way ends by itself."""
        self._levels.close()

    async def newest_bar_ns(self, contract_id: str, since_ns: int) -> int | None:
        """Return the start of the newest bar since ``since_ns``, of the tier that is in use; None if there is none."""
        return await self._service.newest_bar_ns(contract_id, since_ns, live=bool(self.fresh.tier))

    async def history(
        self,
        contract: str,
        timeframe: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        count: int | None = None,
        anchor: Anchor | None = None,
        continuous: bool = False,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
    ) -> pa.Table:
        """Return closed bars of the past as `History.bars` does; ``contract`` is as in `Gateway.open_bars`.

        With ``continuous`` it is a product or ticker, and bars before its last roll are those of the contracts that
        stood for it then; needs a ``start``.

        :raises ConfigError: for what cannot be honoured.
        """
        instrument = await self._service.contract(contract)
        if not continuous:
            return await self.history_of.bars(
                instrument,
                timeframe,
                start=start,
                end=end,
                count=count,
                anchor=anchor,
                urgency=urgency,
                tell=tell,
            )
        if start is None or count is not None or contract.startswith("CON."):
            raise ConfigError(
                "a continuous history is that of a product, from a start on: give no count and no id"
            )
        parts = self._legs(instrument, nanoseconds(start, "start"), end, anchor)
        return await self.history_of.stitched(parts, timeframe, anchor=anchor, urgency=urgency, tell=tell)

    def _legs(
        self, instrument: Instrument, start_ns: int, end: Instant | None, anchor: Anchor | None
    ) -> list[tuple[Instrument, Leg]]:
        end_ns = self._wall_clock() if end is None else nanoseconds(end, "end")
        if start_ns > end_ns:
            raise ConfigError("start lies after end")
        sessions = (anchor or session_of(instrument)).sessions
        product = ContractId.parse(instrument.contract_id).product
        # The grid is the product's: an expired contract had the same ticks.
        found = legs(product, start_ns, end_ns, sessions)
        if end is None and found and found[-1].contract_id != instrument.contract_id:
            _log.warning(
                "the continuous history ends with %s by the table's rule; the service's active contract is %s",
                found[-1].contract_id,
                instrument.contract_id,
                extra=fields("roll_differs", contract=instrument.contract_id),
            )
        return [(Instrument(leg.contract_id, instrument.grid), leg) for leg in found]
