"""`BarOutlet` and `TradesOutlet` at work are in test_flow_contract.py; here is what they do on their own."""

from __future__ import annotations

import pytest
import trio

from trio_projectx import Anchor, Bar, ConnectionLost, Overflow, Side, Trade
from trio_projectx.bars import BarSet
from trio_projectx.flow.ledger import TradeCounts
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.market import PriceGrid, TradeBatch

GRID = PriceGrid.from_tick_size("0.1")
BATCH = TradeBatch("CON.F.US.GCE.Z26", [10, 20, 30], [13137, 13138, 1], [1, 2, 3], [0, 1, -1], 99)


async def test_trades_are_exactly_the_rows_of_the_batch() -> None:
    pipe: Pipe[Trade] = make_pipe("t", 9, Overflow.ERROR, stamp=lambda t: t.ts_event, key=lambda t: 0)
    outlet = TradesOutlet(GRID, Feed(pipe), due=3)
    await outlet.take(BATCH, 1)
    assert [pipe.take() for _ in range(3)] == [
        Trade("CON.F.US.GCE.Z26", 10, 99, 1313.7, 1, Side.BUY),
        Trade("CON.F.US.GCE.Z26", 20, 99, 1313.8, 2, Side.SELL),
        Trade("CON.F.US.GCE.Z26", 30, 99, 0.1, 3, Side.UNKNOWN),
    ]
    assert outlet.due == 0
    assert list(outlet.rows("x", TradeCounts())) == []


@pytest.mark.parametrize("how", ["fail", "end"])
async def test_failing_and_ending_reach_the_reader(how: str) -> None:
    bars = BarSet("CON.F.US.GCE.Z26", ["1s"], anchor=Anchor.utc(), grid=GRID, lateness_ns=0)
    bar_pipe: Pipe[Bar] = make_pipe("b", 9, Overflow.ERROR, stamp=lambda b: b.start, key=lambda b: 0)
    trade_pipe: Pipe[Trade] = make_pipe("t", 9, Overflow.ERROR, stamp=lambda t: t.ts_event, key=lambda t: 0)
    for outlet in (BarOutlet(bars, Feed(bar_pipe), before=0), TradesOutlet(GRID, Feed(trade_pipe))):
        if how == "fail":
            outlet.fail(ConnectionLost("gone"))
        else:
            outlet.end()
    for pipe in (bar_pipe, trade_pipe):
        with pytest.raises(ConnectionLost if how == "fail" else trio.EndOfChannel):
            pipe.take()
