"""Bars of the past: fetched once, kept on disk, asked again by the next gateway from there, and queried as a dataset.

With an account: `px.GatewayConfig.from_env()` instead of the simulator, and the environment variables
PROJECTX_USERNAME and PROJECTX_API_KEY.
"""

import datetime as dt
import tempfile
from pathlib import Path

import attrs
import pyarrow.compute as pc
import trio

import trio_projectx as px
from trio_projectx.history.fetch import Progress
from trio_projectx.history.inventory import holdings
from trio_projectx.history.queries import dataset


def show(progress: Progress) -> None:
    print(f"  {progress.share:4.0%}, {progress.bars:,} bars, {progress.pages} answers")


async def fetch(config: px.GatewayConfig, end: dt.datetime) -> int:
    """Return how many answers of the service it took."""
    async with px.open_gateway(config) as gateway:
        contract = await gateway.rest.contract("ES")
        print(f"ES is {contract.id}, in ticks of {contract.tick_size}")
        start = end - dt.timedelta(days=5)
        hours = await gateway.history("ES", "1h", start=start, end=end, tell=show)
        days = await gateway.history("ES", "1d", start=start, end=end)
        print(
            f"  {hours.num_rows} hours, {days.num_rows} session days, the last one closed at {days['close'][-1]}"
        )
        return int((hours.schema.metadata or {})[b"pages"])


async def main(cache: Path) -> None:
    end = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=2)
    # Pages of 50 bars: what a service does that cuts its answers in silence.
    async with px.simulator.open_simulator(seed=7, history_cap=50) as simulator:
        config = attrs.evolve(
            px.GatewayConfig.simulated(simulator.url), history=px.HistoryOptions(cache=cache)
        )
        assert await fetch(config, end) > 1
        assert await fetch(config, end) == 0  # the next gateway: all of it is on disk

    for each in holdings(cache):
        print(f"{each.contract_id} {each.unit}: {each.bars} bars, missing: {each.missing() or 'nothing'}")
    busy = dataset(cache).to_table(columns=["start", "volume"], filter=pc.field("unit") == "1h")
    print("the busiest hour had", pc.max(busy["volume"]), "contracts")


with tempfile.TemporaryDirectory() as folder:
    trio.run(main, Path(folder))
