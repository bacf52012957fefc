"""The stream of ``open_bars``: a `Stream`, and the tables behind it."""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa

from trio_projectx._errors import TimeframeError
from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import BarCounts, BarSet
from trio_projectx.bars.decimals import Prices
from trio_projectx.flow.stream import Pipe, Stream

T_co = TypeVar("T_co", covariant=True)


class BarStream(Stream[T_co]):
    """Closed bars as they close, and a look at those kept and at those still open."""

    def __init__(self, pipe: Pipe[T_co], bars: BarSet, contract_id: str) -> None:
        super().__init__(pipe)
        self._bars = bars
        self._contract_id = contract_id

    @property
    def contract_id(self) -> str:
        """The contract whose bars these are."""
        return self._contract_id

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes that were asked for, in their order."""
        return self._bars.timeframes

    @property
    def is_beyond_known(self) -> bool:
        """Whether a trade came of a date whose holidays are not in the table: the weekly rule alone decides there."""
        return self._bars.is_beyond_known

    def table(
        self,
        timeframe: str | None = None,
        start: int | None = None,
        end: int | None = None,
        prices: Prices = "float",
    ) -> pa.Table:
        """Return the closed bars as an immutable table, oldest first, without copying them.

        At least the last ``limits.bars_kept`` are there. Columns: see `trio_projectx.bars.aggregate`, and
        ``partial``, ``scheduled``, ``synthetic`` (bool). With ``start`` or ``end`` (int64 ns) it is the bars that
        end after ``start`` and not after ``end``. ``prices="ticks"`` gives open, high, low and close in whole ticks
        (int64), ``"decimal"`` exact decimal128 prices, at the cost of a copy. Any thread may call this: it sees all
        bars of an update, or none. Without ``timeframe`` it is that of the only one.

        :raises TimeframeError: if the timeframe is not one of this stream.
        """
        return self._bars.table(self._one(timeframe), start, end, prices)

    def forming(self, timeframe: str | None = None) -> Bar | None:
        """Return the youngest bar that is still open, as it is now; None before the first trade."""
        return self._bars.forming(self._one(timeframe))

    def counts(self, timeframe: str | None = None) -> BarCounts:
        """Return where the trades of this stream are: in closed bars, in open ones, or late."""
        return self._bars.counts(self._one(timeframe))

    def _one(self, timeframe: str | None) -> str:
        if timeframe is not None:
            return timeframe
        first, *others = self._bars.timeframes
        if others:
            raise TimeframeError(f"name one of {', '.join(self._bars.timeframes)}")
        return first
