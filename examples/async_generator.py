"""Async generators over a stream: closed with `aclosing`, or made into a channel by trio itself."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio

import trio_projectx as px


async def ranges(bars: px.Stream[px.Bar]) -> AsyncGenerator[float]:
    """Yield high - low of each bar. The stream belongs to the caller's block; this owns nothing."""
    async for bar in bars:
        yield bar.high - bar.low


@trio.as_safe_channel
async def closes(gateway: px.Gateway, contract: str, timeframe: str) -> AsyncGenerator[float]:
    """A generator that opens the stream itself: safe, because trio runs it in a task of its own."""
    async with gateway.open_bars(contract, timeframe) as bars:
        async for bar in bars:
            yield bar.close


async def main() -> None:
    async with (
        px.simulator.open_simulator(seed=7, speed=30) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
    ):
        async with gateway.open_bars("MNQ", "1s") as bars, aclosing(ranges(bars)) as widths:
            seen = 0
            async for width in widths:
                print("range", width)
                seen += 1
                if seen == 3:
                    break

        async with closes(gateway, "MNQ", "1s") as channel:
            for _ in range(3):
                print("close", await channel.receive())


trio.run(main)
