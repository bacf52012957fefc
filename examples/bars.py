"""Live bars of three timeframes, from a simulated gateway that needs no account.

With an account: `px.GatewayConfig.from_env()` instead of the simulator, and the environment variables
PROJECTX_USERNAME and PROJECTX_API_KEY.
"""

import trio

import trio_projectx as px


async def main() -> None:
    async with px.simulator.open_simulator(seed=7, speed=60) as simulator:
        config = px.GatewayConfig.simulated(simulator.url)
        async with px.open_gateway(config) as gateway:
            async with gateway.open_bars("MNQ", "1s", "15s", "1m") as bars:
                async for bar in bars:
                    if bar.timeframe == "1s":
                        continue
                    print(
                        f"{bar.timeframe:>4} {bar.start_time:%H:%M:%S} open {bar.open} high {bar.high} "
                        f"low {bar.low} close {bar.close} volume {bar.volume}"
                        f"{' (partial: we came in the middle of it)' if bar.partial else ''}"
                    )
                    if bar.timeframe == "1m" and not bar.partial:
                        break
                print(bars.table("1m").select(["start", "close", "volume"]).to_pylist())
            print("every trade is accounted for:", gateway.statistics().market.ledger.balanced)


trio.run(main)
