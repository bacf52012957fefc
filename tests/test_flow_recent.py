"""The window of a contract's last trades."""

from __future__ import annotations

import pytest
from fault_tools import CONTRACT, config_for, open_sim, row_of
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.recent import RecentTrades
from trio_projectx.market import PriceGrid, TradeBatch

GRID = PriceGrid.from_tick_size(0.25)
S = 1_000_000_000


def batch(stamps: list[int]) -> TradeBatch:
    n = len(stamps)
    return TradeBatch("X", stamps, list(range(100, 100 + n)), [1] * n, [0] * n, stamps[-1] + 5)


@given(st.lists(st.lists(st.integers(0, 3 * S), min_size=1, max_size=9), max_size=12), st.integers(1, 20))
def test_it_is_the_last_ones_within_its_age(batches: list[list[int]], count: int) -> None:
    """Against all trades, cut by hand; and what is held is never more than the window and one batch."""
    recent, stamps, at = RecentTrades("X", GRID, count, 2.0), list[int](), 10 * S
    for steps in batches:
        ordered = [at := at + step // len(steps) for step in steps]
        stamps += ordered
        recent.add(batch(ordered))
        assert len(recent) <= count + max(map(len, batches)) - 1
    oldest = stamps[-1] - 2 * S if stamps else 0
    wanted = [stamp for stamp in stamps if stamp >= oldest][-count:]
    assert recent.table()["ts_event"].to_pylist() == wanted
    assert recent.table(3)["ts_event"].to_pylist() == wanted[-3:]
    assert recent.table(0).num_rows == 0
    since = stamps[-1] - S if stamps else 0
    assert recent.table(since=since)["ts_event"].to_pylist() == [each for each in wanted if each >= since]
    recent.resize(1)
    assert recent.table()["ts_event"].to_pylist() == wanted[-1:]


def test_a_late_trade_at_the_end_of_a_batch_takes_no_other_with_it() -> None:
    recent = RecentTrades("X", GRID, 10, 60)
    recent.add(batch([100 * S, 40 * S]))
    recent.add(batch([130 * S, 101 * S]))
    assert recent.table()["ts_event"].to_pylist() == [100 * S, 130 * S, 101 * S]
    recent.add(batch([161 * S]))
    assert recent.table()["ts_event"].to_pylist() == [130 * S, 101 * S, 161 * S]
    assert len(recent) == 3


def test_its_columns() -> None:
    recent = RecentTrades("X", GRID, 10, 60)
    recent.add(batch([5, 6]))
    assert recent.table().to_pylist() == [
        {"contract_id": "X", "ts_event": 5, "ts_recv": 11, "price": 25.0, "volume": 1, "side": 0},
        {"contract_id": "X", "ts_event": 6, "ts_recv": 11, "price": 25.25, "volume": 1, "side": 0},
    ]


async def test_a_gateway_has_one_for_each_contract(autojump_clock: MockClock) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim, limits=px.Limits(recent_trades=50))) as gateway,
        gateway.open_trades(CONTRACT) as trades,
    ):
        assert gateway.recent_trades("MNQ").num_rows == 0
        assert gateway.recent_trades("ES").schema == gateway.recent_trades("MNQ").schema
        got = [await trades.receive() for _ in range(200)]
        table = gateway.recent_trades("MNQ")
        rows = list(zip(*(table[name].to_pylist() for name in ("ts_event", "price", "volume")), strict=True))
        assert len(rows) == 50
        assert row_of(got[-1])[:3] in rows
        assert px.bars.aggregate(table, "1s", anchor=px.Anchor.utc(), tick_size=0.25).num_rows > 0
        with pytest.raises(px.ConfigError, match="below 0"):
            gateway.recent_trades("MNQ", count=-1)
        with pytest.raises(px.ContractError):
            gateway.recent_trades("nothing of that name")
