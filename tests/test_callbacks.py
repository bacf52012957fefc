"""Handlers on a gateway and on a replay: they get what streams get."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from test_gateway import running
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.simulator import Fault
from trio_projectx.simulator.user_events import UserAction, UserKind

MNQ = "CON.F.US.MNQ.U26"
T0 = 1_787_172_660_000_000_000
_ORDER = {
    "contractId": MNQ,
    "creationTimestamp": "2026-08-19T18:29:25.3938333+00:00",
    "status": 1,
    "type": 1,
    "side": 0,
    "size": 1,
}


async def test_each_kind_of_handler_gets_what_a_stream_gets(autojump_clock: MockClock) -> None:
    bars, trades, quotes, events, batches, depth, books = (list[object]() for _ in range(7))
    async with running() as (_, gateway):
        gateway.on_bar(bars.append, "MNQ", "1s", "5s", events=True, late="revise")
        gateway.on_trade(trades.append, "MNQ")
        gateway.on_quote(quotes.append, "MNQ", overflow=px.Overflow.ERROR)
        gateway.on_event(events.append)
        gateway.on_trade(batches.extend, "MNQ", batch=True)
        gateway.on_depth(depth.append, "MNQ")
        gateway.on_book(books.append, "MNQ", levels=3, overflow=px.Overflow.ERROR)
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run_handlers)
            async with (
                gateway.open_bars("MNQ", "1s", "5s", events=True, late="revise") as bar_stream,
                gateway.open_trades("MNQ") as trade_stream,
                gateway.open_quotes("MNQ", overflow=px.Overflow.ERROR) as quote_stream,
            ):
                skip = len(bars), len(trades), len(quotes)
                await trio.sleep(20.0123)
                for stream, got, first in zip(
                    (bar_stream, trade_stream, quote_stream), (bars, trades, quotes), skip, strict=True
                ):
                    count = stream.statistics().queued
                    assert [stream.receive_nowait() for _ in range(count)] == got[first:]
                    assert count > 10
            counts = gateway.handlers()
            nursery.cancel_scope.cancel()
    assert batches == trades
    assert all(isinstance(each, px.Depth) for each in depth)
    assert all(isinstance(each, px.Book) and len(each.bids) <= 3 for each in books)
    assert min(len(depth), len(books)) > 10
    assert {type(event) for event in events} == {px.HubStateChanged}
    assert [each.kind for each in counts] == ["bar", "trade", "quote", "event", "trade", "depth", "book"]
    assert all(each.balanced and each.state == "running" for each in counts)
    assert sum(each.failed + each.skipped.total for each in counts) == 0


async def test_a_handler_of_user_events_gets_what_happens_to_an_account_and_the_gaps(
    autojump_clock: MockClock,
) -> None:
    got: list[px.UserItem] = []
    batches: list[tuple[px.UserItem, ...]] = []
    async with running() as (sim, gateway):
        (account, _) = [each.id for each in await gateway.rest.accounts()]
        gateway.on_user_event(got.append, account_id=account)
        registration = gateway.on_user_event(batches.append, batch=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run_handlers)
            async with gateway.open_user_events(account_id=account) as stream:
                for number in range(1, 8):
                    sim.publish(
                        UserKind.ORDERS,
                        account,
                        UserAction.UPDATE,
                        {**_ORDER, "id": number, "accountId": account},
                    )
                    await trio.sleep(1)
                    if number == 4:
                        sim.inject(Fault("tcp_reset", hub="user"))
                        await trio.sleep(5)
                count = stream.statistics().queued
                assert [stream.receive_nowait() for _ in range(count)] == got
            assert registration.statistics().kind == "user_event"
            assert all(each.balanced for each in gateway.handlers())
            nursery.cancel_scope.cancel()
        with pytest.raises(TypeError, match=r"on_user_event\(\) got an unexpected keyword argument 'levels'"):
            gateway.on_user_event(got.append, levels=3)  # type: ignore[call-overload]
    assert [item.order_id for item in got if isinstance(item, px.OrderUpdate)] == list(range(1, 8))
    assert sum(isinstance(item, px.Gap) for item in got) == 1
    assert [item for batch in batches for item in batch] == got


async def test_a_handler_of_no_account_of_ours_is_refused_when_handlers_run(
    autojump_clock: MockClock,
) -> None:
    async with running() as (_, gateway):
        gateway.on_user_event(print, account_id=1)
        with pytest.raises(px.ConfigError, match="account"):
            await gateway.run_handlers()


async def test_bars_begin_with_history_and_gaps_are_given(autojump_clock: MockClock) -> None:
    got: list[px.Bar | px.BarRevised | px.Gap] = []
    async with running() as (sim, gateway):
        gateway.on_bar(got.append, "MNQ", "1m", history=3, events=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run_handlers)
            await trio.sleep(70)
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert [item.source for item in got[:3] if isinstance(item, px.Bar)] == ["history"] * 3
    assert any(isinstance(item, px.Gap) for item in got)
    assert any(isinstance(item, px.BarRevised) for item in got)


async def test_a_hub_that_is_lost_for_good_is_raised_and_told(autojump_clock: MockClock) -> None:
    trades, events = list[px.Trade](), list[px.GatewayEvent]()
    with pytest.raises(px.ConnectionLost, match="asked not to come back"):
        async with running() as (sim, gateway):

            def mine(trade: px.Trade) -> None:
                trades.append(trade)
                if len(trades) == 5:
                    sim.inject(Fault("close_record", hub="market", error="Gone", allow_reconnect=False))

            gateway.on_trade(mine, "MNQ", options=px.HandlerOptions(name="mine"))
            gateway.on_event(events.append)
            await gateway.run_handlers()
    (stopped,) = [event for event in events if isinstance(event, px.HandlerStopped)]
    assert (stopped.handler, stopped.kind) == ("mine", "trade")
    assert len(trades) >= 5


async def test_it_ends_when_the_gateway_is_closed(autojump_clock: MockClock) -> None:
    got: list[px.Trade] = []
    async with trio.open_nursery() as nursery:
        async with running() as (_, gateway):
            gateway.on_trade(got.append, "MNQ")
            await nursery.start(gateway.run_handlers)
            await trio.sleep(1)
    with trio.fail_after(1):
        await gateway.run_handlers()
    assert got
    assert [each.state for each in gateway.handlers()] == ["idle"]


async def test_in_a_replay_handlers_are_waited_for_and_get_everything(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    path, n = tmp_path / "trades.parquet", 3000
    pq.write_table(
        pa.table(
            {
                "ts_event": pa.array([T0 + i * 10**8 for i in range(n)], pa.int64()),
                "price": [100.0 + i % 4 / 4 for i in range(n)],
                "volume": [1] * n,
            }
        ),
        path,
    )
    trades, bars = list[px.Trade](), list[px.Bar]()

    async def slow(trade: px.Trade) -> None:
        trades.append(trade)
        await trio.sleep(0.05)

    async with px.open_replay(path, contract=MNQ) as replay:
        replay.on_trade(slow, MNQ, capacity=10)
        replay.on_bar(bars.append, "MNQ", "10s", anchor=px.Anchor.utc())
        await replay.run_handlers()
        assert all(each.balanced and not each.skipped.total for each in replay.handlers())
    assert [trade.ts_event for trade in trades] == [T0 + i * 10**8 for i in range(n)]
    assert len(bars) == 29


def handler(item: object) -> None:
    pass


async def test_what_cannot_be_honoured_is_said_at_once(autojump_clock: MockClock) -> None:
    async with running() as (_, gateway):
        for make, message in (
            (lambda: gateway.on_bar(handler, "MNQ"), "name at least one timeframe"),
            (lambda: gateway.on_bar(handler, "MNQ", "7x"), "7x"),
            (lambda: gateway.on_bar(handler, "MNQ", "1m", late="revise"), "needs events=True"),
            (lambda: gateway.on_bar(handler, "MNQ", "1m", updates=-1), "updates="),
            (lambda: gateway.on_trade(handler, "MNQ", overflow="drop"), "overflow= is one of"),  # type: ignore[call-overload]
            (lambda: gateway.on_trade(handler, "MNQ", options={}), "options= must be"),  # type: ignore[call-overload]
            (lambda: gateway.on_trade(handler, "MNQ", weak=True), "weak=True is for a method"),
            (lambda: gateway.on_quote(3, "MNQ"), "must be callable"),  # type: ignore[call-overload]
            (lambda: gateway.on_depth(handler, "MNQ", overflow=px.Overflow.CONFLATE), "cannot be conflated"),
            (lambda: gateway.on_event(handler, overflow=px.Overflow.BLOCK), "events cannot wait"),
        ):
            with pytest.raises(px.ConfigError, match=message):
                make()
        with pytest.raises(TypeError, match=r"on_trade\(\) got an unexpected keyword argument 'history'"):
            gateway.on_trade(handler, "MNQ", history=3)  # type: ignore[call-overload]
        assert gateway.handlers() == ()
        gateway.on_trade(handler, "NOPE")
        with pytest.raises(px.ContractError, match="NOPE"):
            await gateway.run_handlers()
