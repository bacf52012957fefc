from __future__ import annotations

import pytest

from trio_projectx import Anchor, Bar, BarStream, Overflow, TimeframeError
from trio_projectx.bars import BarSet
from trio_projectx.flow.stream import Pipe, make_pipe
from trio_projectx.market import PriceGrid, TradeBatch

ID = "CON.F.US.MNQ.Z26"


def make(*timeframes: str) -> tuple[BarStream[Bar], BarSet]:
    bars = BarSet(ID, timeframes, anchor=Anchor.utc(), grid=PriceGrid(1, 4), lateness_ns=0)
    pipe: Pipe[Bar] = make_pipe("b", 9, Overflow.ERROR, stamp=lambda b: b.start, key=lambda b: 0)
    bars.update(TradeBatch(ID, [0, 1, 2 * 10**9], [4, 5, 6], [1, 1, 1], [0, 0, 1], 0))
    return BarStream(pipe, bars, ID), bars


def test_closed_forming_and_counts() -> None:
    stream, _ = make("1s", "1m")
    assert stream.contract_id == ID
    assert stream.timeframes == ("1s", "1m")
    assert stream.table("1s")["close"].to_pylist() == [1.25]
    assert stream.table("1m").num_rows == 0
    forming = stream.forming("1m")
    assert forming is not None
    assert (forming.open, forming.close, forming.volume) == (1.0, 1.5, 3)
    assert (stream.counts("1s").in_bars, stream.counts("1s").forming) == (2, 1)


def test_it_says_whether_its_holidays_are_known() -> None:
    stream, bars = make("1s")
    assert stream.is_beyond_known is bars.is_beyond_known is False


def test_a_snapshot_does_not_change_with_the_bars_that_follow() -> None:
    stream, bars = make("1s")
    table = stream.table()
    bars.update(TradeBatch(ID, [9 * 10**9], [8], [1], [0], 0))
    assert table.num_rows == 1
    assert stream.table().num_rows == 2


def test_the_timeframe_is_needed_where_there_are_several_and_must_be_one_of_them() -> None:
    stream, _ = make("1s", "1m")
    for look in (stream.table, stream.forming, stream.counts):
        with pytest.raises(TimeframeError, match="1s, 1m"):
            look()
        with pytest.raises(TimeframeError, match="5m"):
            look("5m")
