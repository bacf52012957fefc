"""Callbacks instead of streams: each handler has a task, a breaker and counts of its own.

One of these fails now and then, another is slow; neither delays the one that counts bars.
"""

import trio

import trio_projectx as px


class Strategy:
    def __init__(self) -> None:
        self.bars = 0
        self.enough = trio.Event()

    def on_bar(self, bar: px.Bar) -> None:
        self.bars += 1
        if self.bars == 10:
            self.enough.set()


async def to_a_slow_place(trades: tuple[px.Trade, ...]) -> None:
    await trio.sleep(0.05)


def fails(quote: px.Quote) -> None:
    raise ValueError("this handler has a bug")


def told(event: px.GatewayEvent) -> None:
    if isinstance(event, px.HandlerFailed | px.HandlerSkipped):
        print(event)


async def main() -> None:
    strategy = Strategy()
    async with (
        px.simulator.open_simulator(seed=7, speed=20) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        trio.open_nursery() as nursery,
    ):
        gateway.on_bar(strategy.on_bar, "MNQ", "5s", weak=True)
        gateway.on_trade(to_a_slow_place, "MNQ", batch=True)
        gateway.on_quote(fails, "MNQ", options=px.HandlerOptions(name="buggy", failures=3))
        gateway.on_event(told)
        await nursery.start(gateway.run_handlers)
        with trio.fail_after(20):
            await strategy.enough.wait()
        for each in gateway.handlers():
            assert each.balanced
            print(
                f"{each.name}: {each.offered} offered, {each.handled} handled in {each.calls} calls, "
                f"{each.failed} failed, {each.skipped.total} skipped, breaker {each.breaker}"
            )
        nursery.cancel_scope.cancel()


trio.run(main)
