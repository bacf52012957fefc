"""The same builders over a table of trades: research gets the very bars that the live stream gives."""

import pyarrow as pa
import pyarrow.compute as pc
import trio

import trio_projectx as px

COLUMNS = ["start", "open", "high", "low", "close", "volume", "trades", "vwap"]


async def main() -> None:
    async with (
        px.simulator.open_simulator(seed=7, speed=60) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_bars("MNQ", "5s") as bars,
    ):
        for _ in range(12):
            await bars.receive()
        live = bars.table()
        truth = simulator.truth()  # every trade that the simulator sent

    trades = truth.filter(pc.less(truth["ts_event"], live["end"].cast(pa.int64())[-1]))
    computed = px.bars.aggregate(trades, "5s", anchor=px.Anchor.utc(), tick_size=0.25)
    assert live.select(COLUMNS) == computed.select(COLUMNS)
    print(f"{computed.num_rows} bars of {trades.num_rows} trades: live and computed are equal in every field")


trio.run(main)
