"""From what the wire said to what may enter a bar: every trade is accepted whole, or rejected and counted.

Nothing here looks at a clock: a stamp is judged by its form and by fixed bounds, so a local clock that is an
hour off rejects nothing. Nothing is repaired either; a price is never rounded to the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trio_projectx._errors import ConfigError
from trio_projectx._events import Side
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.reasons import (
    Reason,
    RejectedCounts,
    Rejection,
    Rejections,
    price_reason,
    stamp_or_reason,
)
from trio_projectx.market.stamps import HEAD, StampParser
from trio_projectx.market.wire import WireTrade

# A contract has some hundred prices a day; a hostile feed has any number.
_PRICES_KEPT: Final = 4096
_UNKNOWN: Final = int(Side.UNKNOWN)

__all__ = ["Reason", "RejectedCounts", "Rejection", "Validator"]


class Validator:
    """Judges the trades of one contract.

    ``stamp_min_ns <= ts_event <= stamp_max_ns`` and ``1 <= volume <= trade_size_max`` hold for every trade it
    lets through, and the price is exactly a whole number of ticks of ``grid``. At every instant each trade
    handed in is either in `accepted` or in `rejected`. Its memory is bounded.

    :raises ContractError: if ``contract_id`` is not a contract id.
    :raises ConfigError: if the bounds leave nothing over.
    """

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        *,
        stamp_min_ns: int,
        stamp_max_ns: int,
        trade_size_max: int,
        rejections_kept: int = 64,
    ) -> None:
        if stamp_min_ns > stamp_max_ns or trade_size_max < 1:
            raise ConfigError("Validator: stamp_min_ns <= stamp_max_ns and trade_size_max >= 1 must hold")
        self.contract_id = contract_id
        self.grid = grid
        self._symbol_id = ContractId.parse(contract_id).symbol_id
        self._stamp_min = stamp_min_ns
        self._stamp_max = stamp_max_ns
        self._size_max = trade_size_max
        self._stamps = StampParser()
        self._ticks: dict[float, int] = {}
        self._accepted = 0
        self._rejections = Rejections(rejections_kept)

    @property
    def accepted(self) -> int:
        """How many trades were let through."""
        return self._accepted

    @property
    def rejected(self) -> RejectedCounts:
        """How many were not, by reason: a snapshot."""
        return self._rejections.counts

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected ones, oldest first."""
        return self._rejections.last

    def refuse(self, reason: Reason, detail: str, ts_recv: int, count: int = 1) -> None:
        """Count trades of this contract that the decoder already refused (`decode.Refusal`)."""
        self._rejections.add(reason, detail, ts_recv, count)

    def validate(self, trades: Sequence[WireTrade], ts_recv: int) -> TradeBatch | None:
        """Return the valid ones of ``trades`` in their order as columns, or None if there are none."""
        # The loop knows only what usually holds, from memory; `_judge` decides whatever is left, and alone
        # says no. One frame for the whole batch: a call per trade would cost as much as all of this.
        contract_id, symbol_id, size_max = self.contract_id, self._symbol_id, self._size_max
        stamp_min, stamp_max = self._stamp_min, self._stamp_max
        ticks_of, heads, tails = self._ticks, self._stamps.heads, self._stamps.tails
        batch = TradeBatch(contract_id, [], [], [], [], ts_recv)
        add_stamp, add_ticks = batch.ts_event.append, batch.ticks.append
        add_volume, add_side = batch.volume.append, batch.side.append
        before: str | None = None  # a burst's trades share their stamp (in real gold trades a third do)
        ts_event = ticks = 0
        for trade in trades:
            stamp, volume = trade.timestamp, trade.volume
            try:
                if stamp != before:
                    ts_event = heads[stamp[:HEAD]] + tails[stamp[HEAD:]]
                    before = stamp
                ticks = ticks_of[trade.price]
                is_usual = (
                    stamp_min <= ts_event <= stamp_max
                    and 0 < volume <= size_max
                    and (trade.contract_id == contract_id or trade.contract_id is None)
                    and (trade.symbol_id == symbol_id or trade.symbol_id is None)
                )
            except KeyError:
                is_usual = False
            if not is_usual:
                verdict = self._judge(trade)
                if isinstance(verdict, Reason):
                    self._rejections.add(verdict, _show(trade), ts_recv)
                    continue
                (ts_event, ticks), before = verdict, stamp
            add_stamp(ts_event)
            add_ticks(ticks)
            add_volume(volume)
            add_side(trade.type if trade.type in (0, 1) else _UNKNOWN)
        self._accepted += len(batch)
        return batch if batch.ts_event else None

    def _judge(self, trade: WireTrade) -> tuple[int, int] | Reason:
        """Return (ts_event, ticks) of a valid trade, or the first reason against it."""
        if not (trade.contract_id in (None, self.contract_id) and trade.symbol_id in (None, self._symbol_id)):
            return Reason.FOREIGN_CONTRACT
        ticks = self._ticks_of(trade.price)
        if isinstance(ticks, Reason):
            return ticks
        if not 0 < trade.volume <= self._size_max:
            return Reason.SIZE
        ts_event = stamp_or_reason(self._stamps, trade.timestamp, self._stamp_min, self._stamp_max)
        return ts_event if isinstance(ts_event, Reason) else (ts_event, ticks)

    def _ticks_of(self, price: float) -> int | Reason:
        reason = price_reason(price)
        if reason is not None:
            return reason
        ticks = self.grid.ticks(price)
        if ticks is None:
            return Reason.OFF_GRID
        if len(self._ticks) >= _PRICES_KEPT:
            self._ticks.clear()
        self._ticks[price] = ticks
        return ticks


def _show(trade: WireTrade) -> str:
    """Say what the trade said, short even where a field is a megabyte long."""
    # A volume of thousands of digits is in hand as an int; printing it takes quadratic time.
    volume = trade.volume if abs(trade.volume) < 1 << 64 else "(beyond 64 bits)"
    text = f"price={trade.price!r} volume={volume} timestamp={trade.timestamp[:40]}"
    for name, value in (("contractId", trade.contract_id), ("symbolId", trade.symbol_id)):
        if value is not None:
            text += f" {name}={value[:40]}"
    return text
