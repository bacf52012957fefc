"""Replay a Parquet file of trades as a live feed, and compare what comes out with the file.

    python examples/replay_file.py trades.parquet CON.F.US.GCE.Z13

The file has columns `ts_event` (or `ts_ns`), `price` and `volume` (or `size`). Without arguments the real gold
trades beside the checkout are used where they are, and a made-up file where they are not.
"""

import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import trio

import trio_projectx as px

GOLD = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "gc_trades_2013.parquet"
TIMEFRAMES = ("1s", "5s", "1m", "5m", "15m", "1h")


def made_up(folder: Path) -> Path:
    """Write two hours of trades that go up and down by the minute."""
    n = 20_000
    table = pa.table(
        {
            "ts_event": pa.array([1_760_000_000_000_000_000 + i * 360_000_000 for i in range(n)], pa.int64()),
            "price": [(13_000 + (i // 7) % 90 - (i // 13) % 50) / 10 for i in range(n)],
            "volume": [1 + i % 5 for i in range(n)],
        }
    )
    path = folder / "trades.parquet"
    pq.write_table(table, path)
    return path


async def main(path: Path, contract: str) -> None:
    table = pq.read_table(path)
    names = {"ts_ns": "ts_event", "size": "volume"}
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    total = table.num_rows
    async with (
        px.simulator.open_simulator(speed=0, replay=path, contract=contract) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_bars(contract, *TIMEFRAMES, overflow=px.Overflow.BLOCK) as bars,
    ):
        started = time.perf_counter()

        async def watch() -> None:
            while True:
                (mine,) = gateway.statistics().market.contracts
                if mine.received == total and not mine.in_flight and not bars.statistics().queued:
                    nursery.cancel_scope.cancel()
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async for _ in bars:
                pass
        seconds = time.perf_counter() - started

        (mine,) = gateway.statistics().market.contracts
        print(
            f"{total:,} trades replayed in {seconds:.1f} s; "
            f"{mine.accepted:,} in the bars, {mine.rejected.total} rejected"
        )
        good = table.filter(pc.greater(table["volume"], 0))
        for timeframe in TIMEFRAMES:
            live = bars.table(timeframe)
            right = px.bars.aggregate(good, timeframe, anchor=px.Anchor.utc(), tick_size=0.1).slice(
                0, live.num_rows
            )
            for name in ("start", "end", "open", "high", "low", "close", "volume", "trades", "vwap"):
                assert live[name] == right[name], (timeframe, name)
            print(f"{timeframe:>4}: {live.num_rows:,} closed bars, equal to those of the file in every field")


if len(sys.argv) == 3:
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
elif GOLD.is_file():
    trio.run(main, GOLD, "CON.F.US.GCE.Z13")
else:
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, made_up(Path(folder)), "CON.F.US.GCE.Z25")
