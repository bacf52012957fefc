"""Record a market with a cut in it, then play the record again, in no time: the very items of then.

The strategy does not know whether it sees a market or a record. With an account: `px.GatewayConfig.from_env()` instead
of the simulator.
"""

import tempfile
from pathlib import Path

import trio

import trio_projectx as px
from trio_projectx.simulator import Fault

Item = px.Bar | px.BarRevised | px.Gap


async def strategy(gateway: px.Gateway, bars_wanted: int | None = None) -> list[Item]:
    """Take bars until there are enough of them, or no more come."""
    seen: list[Item] = []
    async with gateway.open_bars("MNQ", "1s", "5s", events=True) as bars:
        async for item in bars:
            seen.append(item)
            if len(seen) == bars_wanted:
                break
    return seen


async def main(folder: Path) -> None:
    async with px.simulator.open_simulator(seed=7, speed=10) as simulator:
        async with px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway:
            async with gateway.open_recorder(folder) as recorder:
                simulator.inject(Fault("tcp_reset", hub="market", phase="stream", delay_s=1.5))
                then = await strategy(gateway, 40)
            counts = recorder.statistics()
    print(f"recorded {counts.written} rows, {counts.lost} lost")

    async with px.open_replay(folder) as replay:
        again = await strategy(replay)
    assert again[: len(then)] == then
    (gap,) = [item for item in then if isinstance(item, px.Gap)]
    print(
        f"the same {len(then)} items, a gap of {(gap.end - gap.start) / 1e9:.1f} s of market among them: {gap.cause}"
    )

    with trio.move_on_after(1):  # ten times as fast as it was: a second of it
        async with px.open_replay(folder, speed=10) as replay:
            await strategy(replay)


with tempfile.TemporaryDirectory() as name:
    trio.run(main, Path(name))
