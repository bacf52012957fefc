"""The item of the inner channels: the valid trades of one contract in one read, as columns."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True, eq=False)
class TradeBatch:
    """Validated trades in order of arrival; all columns have the same length, at least 1.

    ``ts_event`` int64 ns of the exchange, ``ticks`` the price in ticks of the contract's `PriceGrid`,
    ``volume`` whole contracts above 0, ``side`` the values of `Side`, ``ts_recv`` our clock at the read.
    """

    contract_id: str
    ts_event: list[int]
    ticks: list[int]
    volume: list[int]
    side: list[int]
    ts_recv: int

    def __len__(self) -> int:
        return len(self.ts_event)
