"""How many items a stream holds that was opened without ``capacity=``: by what its contract brings, and what there is.

    capacity = max(limits.stream_items, rate * memory.stream_s), but no more than a twentieth of the available memory

``rate`` is what came for the contract between two looks, of the last minutes the greatest (it fades by a tenth at each
look). Under pressure (HIGH and beyond) the rate is not looked at. It grows by a quarter at least, and shrinks by half,
and never to less room than as many items again as wait: no reader is too slow because of us.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import trio

from trio_projectx._events import CapacityChanged, MemoryLevel
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.depth import DepthOutlet
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.stream import Pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.pressure.costs import BAR_BYTES, QUOTE_BYTES, TRADE_BYTES

_FADES: Final = 0.9
_MEMORY_SHARE: Final = 20
#: However little memory there is.
_LEAST: Final = 100
#: A capacity grows where so many times as much is wanted, and shrinks where it is so many times what is wanted.
_GROWS: Final = 1.25
_SHRINKS: Final = 2.0


@attrs.define(slots=True)
class _Rate:
    """Items per second: the greatest of late."""

    count: int
    at: float
    per_s: float = 0.0

    def look(self, count: int, now: float) -> float:
        if now > self.at:
            self.per_s = max((count - self.count) / (now - self.at), _FADES * self.per_s)
            self.count, self.at = count, now
        return self.per_s


@attrs.frozen(slots=True)
class _Held:
    """A stream whose capacity follows: how many items come for it, and what one takes."""

    pipe: Pipe[Any]
    per_s: float
    item_bytes: int


class Capacities:
    """Looks at all streams whose capacity is ours to choose; ``available`` gives the free bytes, None if unknown."""

    def __init__(
        self,
        market: MarketPipeline,
        items: int,
        stream_s: float,
        available: Callable[[], int | None],
        wall_clock: Callable[[], int],
        tell: Callable[[CapacityChanged], None],
    ) -> None:
        self._market = market
        self._items = items
        self._stream_s = stream_s
        self._available = available
        self._wall_clock = wall_clock
        self._tell = tell
        self._rates: dict[tuple[str, str], _Rate] = {}

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Look once; what changes is told by events of its own."""
        now, available = trio.current_time(), self._available()
        for contract in self._market.contracts:
            for held in self._of(contract, now):
                self._fit(held, level, available)
        return ()

    def _of(self, contract: ContractPipeline, now: float) -> Iterator[_Held]:
        trades = self._rate((contract.contract_id, "trades"), contract.counts.received, now)
        quotes = self._rate((contract.contract_id, "quotes"), contract.quotes.merged, now)
        rows = self._rate((contract.contract_id, "depth"), contract.depth.counts.received, now)
        for outlet in contract.outlets:
            if isinstance(outlet, TradesOutlet) and outlet.feed.pipe.adapts:
                yield _Held(outlet.feed.pipe, trades, TRADE_BYTES)
            elif isinstance(outlet, BarOutlet) and outlet.feed.pipe.adapts:
                yield _Held(outlet.feed.pipe, 0.0, BAR_BYTES)  # bars are few, whatever the market does
        for quote_outlet in contract.quotes.outlets:
            if quote_outlet.feed.pipe.adapts:
                yield _Held(quote_outlet.feed.pipe, quotes, QUOTE_BYTES)
        for depth_outlet in contract.depth.outlets:
            if isinstance(depth_outlet, DepthOutlet) and depth_outlet.feed.pipe.adapts:
                yield _Held(depth_outlet.feed.pipe, rows, QUOTE_BYTES)

    def _rate(self, key: tuple[str, str], count: int, now: float) -> float:
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = _Rate(count, now)
        return rate.look(count, now)

    def _fit(self, held: _Held, level: MemoryLevel, available: int | None) -> None:
        buffer, is_tight = held.pipe.buffer, level.rank >= MemoryLevel.HIGH.rank
        wanted, reason = self._items, "the default has room for what comes"
        if not is_tight and held.per_s * self._stream_s > wanted:
            wanted = math.ceil(held.per_s * self._stream_s)
            reason = (
                f"{held.per_s:,.0f} items a second come, and {self._stream_s:g} s of them are to have room"
            )
        most = math.inf if available is None else max(_LEAST, available // _MEMORY_SHARE // held.item_bytes)
        if wanted > most:
            wanted, reason = int(most), "a twentieth of the memory that is left has room for no more"
        room = min(buffer.capacity, 2 * buffer.waiting)
        if (
            wanted < room
        ):  # else the next item would break it, though its reader is within the capacity it had
            wanted, reason = room, f"{buffer.waiting:,} items wait, and as many more are to have room"
        before = buffer.capacity
        if _is_to_change(before, wanted, least=min(self._items, most), most=wanted if is_tight else most):
            held.pipe.resize(wanted)
        if before != buffer.capacity:
            self._tell(CapacityChanged(held.pipe.name, before, buffer.capacity, reason, self._wall_clock()))


def _is_to_change(capacity: int, wanted: int, *, least: float, most: float) -> bool:
    """Whether the difference is worth it: a rate that goes up and down is not to be told at each look."""
    return not least <= capacity <= most or wanted > _GROWS * capacity or _SHRINKS * wanted < capacity
