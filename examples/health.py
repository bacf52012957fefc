"""How everything stands, in a sentence: for a status page, a log line, or a check before an order."""

import trio

import trio_projectx as px
from trio_projectx.simulator import Fault


def show(gateway: px.Gateway) -> None:
    health = gateway.health()
    market = health.market
    trip = "none" if market.round_trip_s is None else f"{market.round_trip_s * 1000:.1f} ms"
    age = "no data" if market.data_age_s is None else f"data {market.data_age_s:.2f} s old"
    left = health.token.expires_in_s
    token = "token of unknown life" if left is None else f"token good for {left / 3600:.0f} h"
    print(f"{health.status}: {health.reason}")
    print(f"score {market.score}, round trip {trip}, {age}, {token}\n")


async def until(events: px.Stream[px.ConnectionEvent | px.Dropped], state: px.HubState) -> None:
    async for event in events:
        if isinstance(event, px.HubStateChanged) and event.state is state:
            return


async def main() -> None:
    async with (
        px.simulator.open_simulator(seed=7) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_events() as events,
        gateway.open_trades("MNQ") as trades,
    ):
        with trio.fail_after(30):
            for _ in range(20):
                await trades.receive()
            show(gateway)
            assert gateway.health().status == "ok"

            simulator.inject(Fault("refuse", count=0, duration_s=1.5))
            simulator.inject(Fault("tcp_reset", hub="market"))
            await until(events, px.HubState.RECONNECTING)
            await trio.sleep(0.7)
            show(gateway)
            assert gateway.health().status == "down"

            await until(events, px.HubState.LIVE)
            show(gateway)
            assert gateway.health().market.outages == 1


trio.run(main)
