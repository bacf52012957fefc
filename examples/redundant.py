"""Two connections for each subscription: one after the other is cut, and no trade is missing or comes twice."""

import attrs
import trio

import trio_projectx as px
from trio_projectx.simulator import Fault

TWO = px.Reconnect(redundant=True, connect_burst=10)


async def both_up(gateway: px.Gateway) -> None:
    while gateway.health().market.connections < 2:  # noqa: ASYNC110  what is looked at is no event
        await trio.sleep(0.05)
    await trio.sleep(1.5)  # until the newer one is level with the older, whatever the market does


async def main() -> None:
    async with px.simulator.open_simulator(seed=7, speed=5) as simulator:
        config = attrs.evolve(px.GatewayConfig.simulated(simulator.url), reconnect=TWO)
        async with px.open_gateway(config) as gateway, gateway.open_trades("MNQ", events=True) as trades:
            with trio.fail_after(30):
                for number in (1, 2, 3):
                    await both_up(gateway)
                    simulator.inject(Fault("tcp_reset", hub="market", connection=f"#{number}"))
                await both_up(gateway)
            mine: list[px.Trade] = []
            while trades.statistics().queued:
                item = await trades.receive()
                assert isinstance(item, px.Trade), item  # a Gap would stand here
                mine.append(item)
            (counts,) = gateway.statistics().market.contracts

        truth = simulator.truth()["ts_event"].to_pylist()
        stamps = [trade.ts_event for trade in mine]
        start = truth.index(stamps[0])
        assert stamps == truth[start : start + len(stamps)]
        print(f"{len(mine)} trades over four connections, none missing; {counts.duplicates} came twice")


trio.run(main)
