"""Checked by mypy and pyright, never run: what users write has the types that they expect."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, assert_type

import pyarrow as pa
import trio

import trio_projectx as px


async def bars() -> None:
    config = px.GatewayConfig.from_env()
    async with px.open_gateway(config) as gateway:
        assert_type(gateway, px.Gateway)
        async with gateway.open_bars("MNQ", "1m", "5m") as stream:
            assert_type(stream, px.BarStream[px.Bar])
            async for bar in stream:
                assert_type(bar, px.Bar)
                assert_type(bar.open, float)
                assert_type(bar.start, int)
            assert_type(await stream.receive(), px.Bar)
            assert_type(stream.table("5m"), pa.Table)
            assert_type(stream.forming("5m"), px.Bar | None)
        async with gateway.open_bars("MNQ", "1m", overflow=px.Overflow.BLOCK) as blocking:
            assert_type(blocking, px.BarStream[px.Bar])
        async with gateway.open_bars("MNQ", "1m", overflow=px.Overflow.DROP_OLDEST) as dropping:
            assert_type(dropping, px.BarStream[px.Bar | px.Dropped])
            async for item in dropping:
                if isinstance(item, px.Dropped):
                    assert_type(item.count, int)
                else:
                    assert_type(item, px.Bar)
        async with gateway.open_bars("MNQ", "1m", events=True, late="revise", updates="every") as told:
            assert_type(told, px.BarStream[px.Bar | px.BarRevised | px.Gap])
        async with gateway.open_bars(
            "MNQ", "1d", overflow=px.Overflow.CONFLATE, events=True, fill="previous", skip_first=True
        ) as most:
            assert_type(most, px.BarStream[px.Bar | px.BarRevised | px.Gap | px.Dropped])


async def other_streams(gateway: px.Gateway) -> None:
    async with gateway.open_trades("ES") as trades:
        assert_type(await trades.receive(), px.Trade)
    async with gateway.open_quotes("ES") as quotes:
        assert_type(await quotes.receive(), px.Quote | px.Dropped)
    async with gateway.open_quotes("ES", overflow=px.Overflow.ERROR) as every_quote:
        assert_type(await every_quote.receive(), px.Quote)
    async with gateway.open_trades("ES", events=True) as with_gaps:
        assert_type(await with_gaps.receive(), px.Trade | px.Gap)
    async with gateway.open_trades("ES", overflow=px.Overflow.DROP_NEWEST, events=True) as all_told:
        assert_type(await all_told.receive(), px.Trade | px.Gap | px.Dropped)
    async with gateway.open_quotes("ES", events=True) as quotes_with_gaps:
        assert_type(await quotes_with_gaps.receive(), px.Quote | px.Gap | px.Dropped)
    async with gateway.open_quotes("ES", overflow=px.Overflow.BLOCK, events=True) as no_quote_lost:
        assert_type(await no_quote_lost.receive(), px.Quote | px.Gap)


async def user_events(gateway: px.Gateway) -> None:
    async with gateway.open_user_events() as stream:
        item = await stream.receive()
        assert_type(item, px.AccountUpdate | px.OrderUpdate | px.PositionUpdate | px.UserTrade | px.Gap)
        if isinstance(item, px.OrderUpdate):
            assert_type(item.status, px.OrderStatus)
            assert_type(item.limit_price, float | None)
    async with gateway.open_user_events(account_id=7, overflow=px.Overflow.DROP_OLDEST) as dropping:
        assert_type(await dropping.receive(), px.UserItem | px.Dropped)


async def connections(gateway: px.Gateway) -> None:
    async with gateway.open_events() as events:
        event = await events.receive()
        assert_type(event, px.GatewayEvent | px.Dropped)
        if isinstance(event, px.HubStateChanged):
            assert_type(event.state, px.HubState)
            assert_type(event.hub, Literal["market", "user"])
    assert_type(await gateway.wait_connected(), None)
    assert_type(await gateway.refresh_token(), None)
    health = gateway.health()
    assert_type(health.status, Literal["ok", "degraded", "down"])
    assert_type(health.user.status, Literal["ok", "degraded", "down"])
    assert_type(health.market.round_trip_s, float | None)
    assert_type(health.token.expires_in_s, float | None)
    assert_type(health.clock.skew_ms, float | None)


async def from_vault() -> str:
    return "token"


def configuration() -> px.GatewayConfig:
    return px.GatewayConfig(
        credentials=px.Credentials.from_callable(from_vault),
        endpoints=(px.Endpoint(), px.Endpoint("https://b.example.com")),
        reconnect=px.Reconnect(redundant=True, max_connection_age_s=3600),
        refresh=px.Refresh(share=0.5),
        token_transport="query",
        redirect_origins=("https://rtc.example.com",),
    )


async def channels(stream: px.BarStream[px.Bar]) -> None:
    channel: trio.abc.ReceiveChannel[px.Bar] = stream
    await channel.aclose()


async def generator(stream: px.Stream[px.Bar]) -> AsyncGenerator[float]:
    async for bar in stream:
        yield bar.close


def batch(trades: pa.Table) -> pa.Table:
    return px.bars.aggregate(trades, "5m", anchor=px.Anchor.utc())


def protocol() -> None:
    connection = px.signalr.HubConnection(malformed="count")
    assert_type(connection.start(), str)
    assert_type(px.signalr.parse_messages("{}\x1e"), list[px.signalr.Message])
    assert_type(px.signalr.write_message(px.signalr.Ping()), str)


async def record_and_replay(gateway: px.Gateway) -> None:
    async with gateway.open_recorder("journal", what=("frames", "trades")) as recorder:
        assert_type(recorder, px.Recorder)
        assert_type(recorder.statistics(), px.JournalStatistics)
    async with px.open_replay("journal", speed=10) as replay:
        assert_type(replay, px.Replay)
        assert_type(replay.at, int | None)
        async with replay.open_bars("MNQ", "1m") as stream:
            assert_type(stream, px.BarStream[px.Bar])
    await bars_of_anything(replay)


async def bars_of_anything(gateway: px.Gateway) -> None:
    async with gateway.open_bars("MNQ", "1m") as stream:
        assert_type(await stream.receive(), px.Bar)


async def depth(gateway: px.Gateway) -> None:
    async with gateway.open_depth("MNQ") as changes:
        assert_type(await changes.receive(), px.Depth)
    async with gateway.open_depth("MNQ", events=True) as told:
        assert_type(await told.receive(), px.Depth | px.Gap)
    async with gateway.open_depth("MNQ", overflow=px.Overflow.DROP_OLDEST) as dropping:
        assert_type(await dropping.receive(), px.Depth | px.Gap | px.Dropped)
    async with gateway.open_book("MNQ", overflow=px.Overflow.BLOCK) as books:
        assert_type(await books.receive(), px.Book)
        assert_type(books.newest, px.Book | None)
    async with gateway.open_book("MNQ") as newest:
        assert_type(await newest.receive(), px.Book | px.Dropped)
    assert_type(gateway.recent_trades("MNQ", count=5), pa.Table)
