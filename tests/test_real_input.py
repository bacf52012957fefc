"""Real trades (COMEX gold, 2013-10-07 to 09) through simulator, socket and client; polars is the judge.

The file is not part of this repository; where it is not, these tests skip. `test_made_input_*` runs the same
comparison on made-up trades everywhere.
"""

from __future__ import annotations

import datetime
import random
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

import trio_projectx as px
from trio_projectx.simulator import open_simulator

CONTRACT = "CON.F.US.GCE.Z13"
STEPS = {"1s": 1, "5s": 5, "1m": 60, "5m": 300, "15m": 900, "1h": 3600}
FIELDS = ["start", "end", "open", "high", "low", "close", "volume", "trades", "vwap", "first_ts", "last_ts"]


def judged(trades: pl.DataFrame, step_s: int) -> list[tuple[object, ...]]:
    """The right bars, by polars alone: `trades` has ts, price, ticks, size in order of arrival."""
    step = step_s * 10**9
    bars = (
        trades.filter(pl.col("size") > 0)
        .sort("ts", maintain_order=True)
        .group_by((pl.col("ts") // step * step).alias("start"), maintain_order=True)
        .agg(
            (pl.col("ts").first() // step * step + step).alias("end"),
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("size").sum().alias("volume"),
            pl.len().cast(pl.Int64).alias("trades"),
            (pl.col("ticks") * pl.col("size")).sum().alias("notional"),
            pl.col("ts").first().alias("first_ts"),
            pl.col("ts").last().alias("last_ts"),
        )
        .with_columns((pl.col("notional") / (pl.col("volume") * 10)).alias("vwap"))
        .sort("start")
    )
    return bars.select(FIELDS).rows()


def row(bar: px.Bar) -> tuple[object, ...]:
    return tuple(getattr(bar, name) for name in FIELDS)


async def streamed(
    source: Path | pa.Table, contract: str, total: int
) -> tuple[dict[str, list[px.Bar]], px.GatewayStatistics]:
    """Replay as fast as it goes over a real socket; return all bars, the last open ones included."""
    got: dict[str, list[px.Bar]] = {timeframe: [] for timeframe in STEPS}
    async with (
        open_simulator(speed=0, replay=source, contract=contract) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_bars(contract, *STEPS) as bars,
    ):

        async def until_all_came() -> None:
            await sim.replay_done.wait()
            while True:
                (mine,) = gateway.statistics().market.contracts
                if mine.received == total and not mine.in_flight and not bars.statistics().queued:
                    break
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_all_came)
                async for bar in bars:
                    got[bar.timeframe].append(bar)
        for timeframe in STEPS:
            starts = bars.table(timeframe)["start"].cast(pa.int64()).to_pylist()
            assert [bar.start for bar in got[timeframe]] == starts
            forming = bars.forming(timeframe)
            assert forming is not None
            got[timeframe].append(forming)
        return got, gateway.statistics()


def check(got: dict[str, list[px.Bar]], stats: px.GatewayStatistics, trades: pl.DataFrame) -> None:
    zero = trades.filter(pl.col("size") == 0).height
    (mine,) = stats.market.contracts
    assert (mine.received, mine.accepted, mine.rejected.size) == (trades.height, trades.height - zero, zero)
    assert mine.rejected.total == zero
    assert stats.market.ledger.balanced
    for timeframe, step_s in STEPS.items():
        assert [row(bar) for bar in got[timeframe]] == judged(trades, step_s), timeframe
        assert sum(bar.trades for bar in got[timeframe]) == trades.height - zero
        assert [bar.partial for bar in got[timeframe]] == [True] + [False] * (len(got[timeframe]) - 1)


@pytest.fixture
def gold(shared: Path) -> Path:
    path = shared / "data" / "gc_trades_2013.parquet"
    if not path.is_file():
        pytest.skip("gc_trades_2013.parquet is not there (real market data is not shipped)")
    return path


@pytest.mark.slow
async def test_real_trades_give_the_bars_that_polars_gives(gold: Path) -> None:
    trades = pl.read_parquet(gold).rename({"ts_ns": "ts"})
    trades = trades.with_columns((pl.col("price") * 10).round().cast(pl.Int64).alias("ticks"))
    assert trades.height == 156_452
    got, stats = await streamed(gold, CONTRACT, trades.height)
    check(got, stats, trades)
    (mine,) = stats.market.contracts
    assert (mine.accepted, mine.rejected.size) == (156_156, 296)


def test_aggregate_gives_the_same_from_the_same_file(gold: Path) -> None:
    table = pq.read_table(gold).rename_columns(["ts_event", "price", "volume"])
    table = table.filter(pa.compute.greater(table["volume"], 0))
    trades = pl.read_parquet(gold).rename({"ts_ns": "ts"})
    trades = trades.with_columns((pl.col("price") * 10).round().cast(pl.Int64).alias("ticks"))
    for tick_size, steps in ((0.1, STEPS), (None, {"1m": 60})):
        for timeframe, step_s in steps.items():
            bars = px.bars.aggregate(table, timeframe, anchor=px.Anchor.utc(), tick_size=tick_size)
            epoch = [
                bars[name].cast(pa.int64()) if name in ("start", "end") else bars[name] for name in FIELDS
            ]
            assert list(zip(*(c.to_pylist() for c in epoch), strict=True)) == judged(trades, step_s)


def made(seed: int, n: int) -> pl.DataFrame:
    """A random walk on gold's grid with bursts, quiet hours, equal stamps and sizes of 0."""
    rng = random.Random(seed)
    ts, ticks = int(datetime.datetime(2026, 11, 1, 5, tzinfo=datetime.UTC).timestamp()) * 10**9, 41_000
    rows = []
    for _ in range(n):
        ts += rng.choice([0, 1, 1, 40, 900, 60_000, 4_000_000]) * 10**6 * (rng.random() < 0.7)
        ticks += rng.randint(-3, 3)
        rows.append((ts, ticks / 10, ticks, rng.choice([1, 1, 1, 2, 5, 250, 0])))
    return pl.DataFrame(
        rows, schema={"ts": pl.Int64, "price": pl.Float64, "ticks": pl.Int64, "size": pl.Int64}, orient="row"
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_made_input_gives_the_bars_that_polars_gives(seed: int) -> None:
    trades = made(seed, 5000)
    table = trades.select(pl.col("ts").alias("ts_event"), "price", pl.col("size").alias("volume")).to_arrow()
    got, stats = await streamed(table, "CON.F.US.GCE.Z26", trades.height)
    check(got, stats, trades)
