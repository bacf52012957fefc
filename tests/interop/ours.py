"""Our client, as the tests hold it against the real hub: what it got, and what the hub's numbered truth says to it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from servers import Server

import trio_projectx as px

CONTRACT = "CON.F.US.EP.Z26"
LATENESS_NS = round(px.Limits().lateness_ms * 1e6)
#: A row of the truth, and a trade as it came: stamp, price, volume, side.
Row = tuple[int, float, int, int]


def config(server: Server, *, hub: str = "market", **changes: Any) -> px.GatewayConfig:
    endpoint = px.Endpoint(server.url, server.hub(hub), server.hub("user"))
    return px.GatewayConfig(
        **{"credentials": px.Credentials("tester", "any"), "endpoints": endpoint, **changes}
    )


async def truth(server: Server, contract: str = CONTRACT) -> list[Row]:
    rows = await server.truth(contract)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    return [(row["ts_event"], row["price"], row["volume"], row["side"]) for row in rows]


def as_row(trade: px.Trade) -> Row:
    return (trade.ts_event, trade.price, trade.volume, int(trade.side))


async def take(trades: px.Stream[px.Trade], count: int) -> list[Row]:
    with trio.fail_after(20):
        return [as_row(await trades.receive()) for _ in range(count)]


def brute_force(rows: list[Row], step_s: int) -> list[tuple[Any, ...]]:
    """Bars without a line of the library's."""
    step = step_s * 10**9
    made = []
    for start, group in itertools.groupby(rows, key=lambda row: row[0] // step * step):
        trades = list(group)
        prices = [price for _, price, _, _ in trades]
        volume = [sum(v for _, _, v, s in trades if s in sides) for sides in ((0, 1), (0,), (1,))]
        made.append(
            (start, start + step, prices[0], max(prices), min(prices), prices[-1], *volume, len(trades))
        )
    return made


def flat(bar: px.Bar) -> tuple[Any, ...]:
    prices = (bar.open, bar.high, bar.low, bar.close)
    return (bar.start, bar.end, *prices, bar.volume, bar.buy_volume, bar.sell_volume, bar.trades)


@attrs.define
class Seen:
    """What the streams of one contract, and the stream of events, have given so far."""

    gateway: px.Gateway
    trades: list[px.Trade | px.Gap] = attrs.Factory(list)
    bars: list[px.Bar] = attrs.Factory(list)
    events: list[px.ConnectionEvent] = attrs.Factory(list)

    @property
    def rows(self) -> list[Row]:
        return [as_row(item) for item in self.trades if isinstance(item, px.Trade)]

    @property
    def gaps(self) -> list[px.Gap]:
        return [item for item in self.trades if isinstance(item, px.Gap)]

    @property
    def states(self) -> list[px.HubState]:
        """Where the market hub went, in order."""
        return [e.state for e in self.events if isinstance(e, px.HubStateChanged) and e.hub == "market"]

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Any, within_s: float = 10) -> None:
        """Wait until ``condition()`` holds."""
        with trio.fail_after(within_s):
            while not condition():
                await trio.sleep(0.01)

    async def live(self, count: int = 1, within_s: float = 10) -> None:
        """Wait until the market hub has become live ``count`` times in all."""
        await self.until(lambda: self.states.count(px.HubState.LIVE) >= count, within_s)

    async def all_of(self, server: Server) -> list[Row]:
        """Let the market stand still, wait for its last trade, and return its truth."""
        await server.control("hz?v=0")
        await trio.sleep(0.1)  # a round may be under way
        rows = await truth(server)
        with trio.move_on_after(5):  # what is missing is for the tests to say
            await self.until(lambda: self.rows[-1:] == rows[-1:])
        await trio.sleep(0.1)  # for one too many
        return rows

    def check_told(self, rows: list[Row]) -> None:
        """Every row once and in its order, but for those that lie in a gap that was told where they are missing."""
        at = 0
        gaps: list[px.Gap] = []
        for item in self.trades:
            if isinstance(item, px.Gap):
                gaps.append(item)
                continue
            row, first = as_row(item), at
            while at < len(rows) and rows[at] != row:
                assert _is_told(rows[at], gaps), f"{rows[at]} is missing before {row}; told: {gaps}"
                at += 1
            assert at < len(rows), f"{row} came twice, or is not in the truth behind {rows[first - 1]}"
            at, gaps = at + 1, []
        missing = [row for row in rows[at:] if not _is_told(row, gaps)]
        assert not missing, f"{len(missing)} are missing at the end; told: {gaps}"

    def check_bars(self, rows: list[Row], *, stalled: bool = False) -> None:
        """Whole bars are those of the truth; and a bar is whole unless a gap touches it, or it is the first.

        One that ended within the lateness before a gap was open still, may lack a late trade, and may be either.
        Where a connection was ``stalled``, bars were closed by the clock before anybody knew: these are whole, and
        the gap that is told later has them inside.
        """
        wanted = {bar[0]: bar for bar in brute_force(rows, 1)}
        assert self.bars
        for number, bar in enumerate(self.bars):
            touched = any(gap.start < bar.end and bar.start <= gap.end for gap in self.gaps)
            assert bar.partial or not touched or stalled, (bar, self.gaps)
            was_open = any(bar.end <= gap.start < bar.end + LATENESS_NS for gap in self.gaps)
            assert touched or was_open or number == 0 or not bar.partial, (bar, self.gaps)
            if not bar.partial and not touched:
                assert flat(bar) == wanted[bar.start]
        assert [bar.start for bar in self.bars] == sorted({bar.start for bar in self.bars})


def _is_told(row: Row, gaps: list[px.Gap]) -> bool:
    return any(gap.start <= row[0] <= gap.end for gap in gaps)


@asynccontextmanager
async def watching(gateway: px.Gateway, contract: str = CONTRACT) -> AsyncGenerator[Seen]:
    """Collect trades, one-second bars and events for the length of the block; a broken stream breaks it."""
    seen = Seen(gateway)
    async with (
        gateway.open_events(overflow=px.Overflow.ERROR) as events,
        gateway.open_trades(contract, events=True, capacity=200_000) as trades,
        gateway.open_bars(contract, "1s", events=True) as bars,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_collect, events, seen.events)
        nursery.start_soon(_collect, trades, seen.trades)
        nursery.start_soon(_collect, bars, seen.bars)
        yield seen
        nursery.cancel_scope.cancel()


async def _collect(stream: trio.abc.ReceiveChannel[Any], into: list[Any]) -> None:
    async for item in stream:
        if not isinstance(item, px.Gap) or not isinstance(stream, px.BarStream):
            into.append(item)
