"""The order book of a contract, and the trades that made it move, from a simulator of its own."""

from __future__ import annotations

import trio

import trio_projectx as px


async def main() -> None:
    async with (
        px.simulator.open_simulator(seed=7) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_trades("MNQ", overflow=px.Overflow.DROP_OLDEST, capacity=1),  # recent_trades() needs one
        gateway.open_book("MNQ", levels=3) as books,
    ):
        with trio.move_on_after(3):
            async for book in books:
                if isinstance(book, px.Book) and book.best_bid and book.best_ask:
                    print(
                        f"{book.best_bid.size:4} @ {book.best_bid.price} | {book.best_ask.price} @ {book.best_ask.size}"
                    )
                await trio.sleep(0.5)  # what comes meanwhile is conflated: the next book is the newest
        print(gateway.recent_trades("MNQ", count=5).select(["price", "volume"]).to_pylist())


trio.run(main)
