from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_projectx import (
    Anchor,
    Bar,
    ConfigError,
    ConnectionLost,
    Limits,
    Overflow,
    ProtocolError,
    Quote,
    SlowConsumer,
    Trade,
)
from trio_projectx.bars import BarSet
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.ledger import LedgerRow
from trio_projectx.flow.loss import loss_of
from trio_projectx.flow.outlets import BarOutlet
from trio_projectx.flow.quotes import QuoteOutlet
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.market import PriceGrid, Reason, Refusal, WireQuote, WireTrade, format_stamp

ID = "CON.F.US.MNQ.Z26"
GRID = PriceGrid.from_tick_size("0.25")


def wire(ts_s: float, price: float = 100.25, volume: int = 1) -> WireTrade:
    return WireTrade(price=price, timestamp=format_stamp(int(ts_s * 10**9), 3), volume=volume, type=0)


def bar_outlet(
    pipeline: ContractPipeline, capacity: int = 1000, overflow: Overflow = Overflow.ERROR, since: int = -1
) -> tuple[Stream[Bar], BarOutlet]:
    bars = BarSet(ID, ["1s", "1m"], anchor=Anchor.utc(), grid=GRID, lateness_ns=0, partial_first=True)
    pipe: Pipe[Bar] = make_pipe(
        "bars", capacity, overflow, stamp=lambda b: b.start, key=lambda b: b.timeframe
    )
    outlet = BarOutlet(bars, Feed(pipe), before=pipeline.counts.built, since=since, joined=since)
    pipeline.attach(outlet)
    return Stream(pipe), outlet


def rows(pipeline: ContractPipeline) -> list[LedgerRow]:
    return [row for outlet in pipeline.outlets for row in outlet.rows(ID, pipeline.counts)]


async def receive(pipeline: ContractPipeline, trades: list[WireTrade], serial: int = 1) -> None:
    """What the reader does with trades, and the validator task after it."""
    pipeline.counts.received += len(trades)
    pipeline.counts.waiting_raw += len(trades)
    await pipeline.judge(trades, ts_recv=0, serial=serial)


async def test_trades_become_bars_and_trades(autojump_clock: trio.testing.MockClock) -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    bars, _ = bar_outlet(pipeline)
    pipe: Pipe[Trade] = make_pipe("trades", 9, Overflow.ERROR, stamp=lambda t: t.ts_event, key=lambda t: 0)
    pipeline.attach(TradesOutlet(GRID, Feed(pipe)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await receive(
            pipeline, [wire(1_000_000_000), wire(1_000_000_000.5, 100.5, 3), wire(1_000_000_001, 0.3)]
        )
        await receive(pipeline, [wire(1_000_000_002)])
        bar = await bars.receive()
        assert (bar.open, bar.high, bar.close, bar.volume, bar.partial) == (100.25, 100.5, 100.5, 4, True)
        trade = await Stream(pipe).receive()
        assert (trade.price, trade.ts_event) == (100.25, 10**18)
        stats = pipeline.statistics()
        assert (stats.received, stats.accepted, stats.rejected.off_grid, stats.in_flight) == (4, 3, 1, 0)
        assert all(row.balanced for row in rows(pipeline))
        nursery.cancel_scope.cancel()


async def test_a_loss_comes_behind_what_came_before_it_and_only_to_those_who_were_there() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    old, _ = bar_outlet(pipeline)
    quotes: Pipe[Quote] = make_pipe(
        "quotes", 9, Overflow.CONFLATE, stamp=lambda q: q.ts_event, key=lambda q: 0
    )
    pipeline.quotes.attach(QuoteOutlet(Feed(quotes)))
    await receive(pipeline, [wire(1_000_000_000), wire(1_000_000_001)])
    loss = loss_of(pipeline, ConnectionLost("gone"))
    new, _ = bar_outlet(pipeline)
    await pipeline.lose(loss)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        assert (await old.receive()).trades == 1
        with pytest.raises(ConnectionLost, match="gone"):
            await old.receive()
        with pytest.raises(ConnectionLost, match="gone"):
            await Stream(quotes).receive()
        assert (await new.receive()).trades == 1
        with pytest.raises(trio.WouldBlock):
            new.receive_nowait()
        nursery.cancel_scope.cancel()


async def test_refused_trades_are_counted_as_rejected() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    _, outlet = bar_outlet(pipeline)
    pipeline.counts.received += 5
    pipeline.counts.waiting_raw += 5
    pipeline.refuse(Refusal("GatewayTrade", ID, Reason.SCHEMA, "arguments[1][0].price: bool", 5), 0)
    pipeline.refuse(Refusal("GatewayQuote", ID, Reason.SCHEMA, "bestBid: bool"), 0)
    assert pipeline.statistics().rejected.schema == 5
    assert [row.rejected for row in outlet.rows(ID, pipeline.counts)] == [5, 5]
    assert all(row.balanced for row in rows(pipeline))


async def test_volumes_beyond_int64_break_one_stream_and_are_counted() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits(trade_size_max=1 << 62))
    bars, outlet = bar_outlet(pipeline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        for _ in range(3):
            await receive(pipeline, [wire(1_000_000_000, volume=1 << 62)])
        with pytest.raises(ConfigError, match="int64"):
            await bars.receive()
        await wait_all_tasks_blocked()
        assert outlet.builder_failed == 2
        assert all(row.balanced for row in rows(pipeline))
        nursery.cancel_scope.cancel()


async def test_quotes_are_merged_and_given_whole() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    pipe: Pipe[Quote] = make_pipe("quotes", 9, Overflow.ERROR, stamp=lambda q: q.ts_event, key=lambda q: 0)
    outlet = QuoteOutlet(Feed(pipe))
    pipeline.quotes.attach(outlet)
    await pipeline.merge(WireQuote(best_bid=1.0, timestamp="2026-08-19T20:51:30Z"), 1)
    await pipeline.merge(WireQuote(best_ask=1.25), 2)
    assert [(q.bid, q.ask) for q in (pipe.take(), pipe.take()) if isinstance(q, Quote)] == [
        (1.0, None),
        (1.0, 1.25),
    ]
    pipeline.quotes.drop(outlet)
    await pipeline.merge(WireQuote(best_ask=1.5, timestamp="2026-08-19T20:51:31Z"), 3)
    with pytest.raises(trio.WouldBlock):
        pipe.take()
    assert pipeline.statistics().quotes == 3


async def test_end_ends_all_streams() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    bars, outlet = bar_outlet(pipeline)
    pipeline.end()
    assert [bar async for bar in bars] == []
    pipeline.detach(outlet)
    assert pipeline.outlets == ()


async def test_the_channel_is_bounded_and_a_full_one_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pipeline = ContractPipeline(ID, GRID, Limits(batches_in_flight=2))
    _, outlet = bar_outlet(pipeline)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for second in range(10):
            await receive(pipeline, [wire(1_000_000_000 + second)])
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert sent == 2
        assert all(row.balanced and row.in_flight == 3 for row in rows(pipeline))
        nursery.start_soon(pipeline.run)
        await wait_all_tasks_blocked()
        assert sent == 10
        assert outlet.bars.counts("1s").received == 10
        nursery.cancel_scope.cancel()


STEP = st.one_of(
    st.tuples(
        st.just("trades"), st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0.25, 0.3, -1.0, 9.5])))
    ),
    st.tuples(st.sampled_from(["attach", "detach", "read", "run"]), st.integers(0, 3)),
)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=25))
def test_the_ledger_balances_after_every_step_whatever_is_done(steps: list[tuple[str, object]]) -> None:
    async def main() -> None:
        pipeline = ContractPipeline(ID, GRID, Limits(batches_in_flight=1))
        streams: list[tuple[Stream[Bar], BarOutlet]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipeline.run)
            for what, value in steps:
                if what == "trades":
                    assert isinstance(value, list)
                    trades = [wire(1_000_000_000 + at, price) for at, price in value]
                    nursery.start_soon(receive, pipeline, trades)
                    await trio.lowlevel.checkpoint()
                elif what == "attach":
                    streams.append(bar_outlet(pipeline, 2, list(Overflow)[int(str(value))]))
                elif what == "detach" and streams:
                    stream, outlet = streams.pop()
                    pipeline.detach(outlet)
                    stream.close()
                elif what == "read" and streams:
                    with suppress(trio.WouldBlock, SlowConsumer):
                        streams[0][0].receive_nowait()
                else:
                    await wait_all_tasks_blocked()
                assert all(row.balanced for row in rows(pipeline))
                for stream, _ in streams:
                    assert stream.statistics().balanced
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_what_was_read_before_a_stream_was_opened_is_not_for_it() -> None:
    """Trades of a lost connection may still wait: a bar made of them and of the next one's would have a hole."""
    pipeline = ContractPipeline(ID, GRID, Limits())
    await receive(pipeline, [wire(1_000_000_000)], serial=7)
    bars, outlet = bar_outlet(pipeline, since=7)
    await receive(pipeline, [wire(1_000_000_009), wire(1_000_000_070)], serial=8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        assert (await bars.receive()).start == 1_000_000_009 * 10**9
        assert outlet.before == 1
        assert all(row.balanced and row.received == 3 for row in rows(pipeline))
        nursery.cancel_scope.cancel()


async def test_until_the_first_trade_after_the_acknowledgement_all_bars_are_partial() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    bars, outlet = bar_outlet(pipeline)
    outlet.joined = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await receive(pipeline, [wire(999_999_960), wire(999_999_961)], serial=1)  # left over from before
        await wait_all_tasks_blocked()
        outlet.joined = 1
        await receive(pipeline, [wire(1_000_000_015), wire(1_000_000_016), wire(1_000_000_090)], serial=2)
        got = [await bars.receive() for _ in range(5)]
        nursery.cancel_scope.cancel()
    partial = {(b.timeframe, b.start // 10**9): b.partial for b in got}
    assert partial == {
        ("1s", 999_999_960): True,
        ("1s", 999_999_961): True,
        ("1s", 1_000_000_015): True,
        ("1s", 1_000_000_016): False,
        ("1m", 999_999_960): True,
    }


async def test_a_lost_streams_table_stays_as_it_was() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    _, outlet = bar_outlet(pipeline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await receive(pipeline, [wire(1_000_000_000), wire(1_000_000_001)])
        await pipeline.lose(loss_of(pipeline, ConnectionLost("gone")))
        await receive(pipeline, [wire(1_000_000_002), wire(1_000_000_003)])
        await wait_all_tasks_blocked()
        assert outlet.bars.table("1s").num_rows == 1
        assert outlet.bars.counts("1s").received == 2
        assert pipeline.outlets == ()
        nursery.cancel_scope.cancel()


async def test_one_stamp_in_the_future_does_not_silence_a_stream_untold() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    bars, _ = bar_outlet(pipeline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await receive(pipeline, [wire(1_000_000_000), wire(1_030_000_000)])
        assert (await bars.receive()).timeframe == "1s"
        assert (await bars.receive()).timeframe == "1m"
        for second in range(20):
            await receive(pipeline, [wire(1_000_000_001 + second)] * 10)
        with pytest.raises(ProtocolError, match="stamp in the future"):
            await bars.receive()
        assert all(row.balanced for row in rows(pipeline))
        nursery.cancel_scope.cancel()


async def test_after_a_loss_no_old_field_of_a_quote_is_taken_for_a_new_one() -> None:
    pipeline = ContractPipeline(ID, GRID, Limits())
    pipes: list[Pipe[Quote]] = []
    for _ in range(2):
        pipe: Pipe[Quote] = make_pipe("q", 9, Overflow.ERROR, stamp=lambda q: q.ts_event, key=lambda q: 0)
        pipes.append(pipe)
    pipeline.quotes.attach(QuoteOutlet(Feed(pipes[0])))
    await pipeline.merge(WireQuote(best_bid=1.0, best_ask=1.25, timestamp="2026-08-19T20:51:30Z"), 1)
    loss_of(pipeline, ConnectionLost("gone")).tell()
    pipeline.quotes.attach(QuoteOutlet(Feed(pipes[1])))
    await pipeline.merge(WireQuote(best_ask=2.5, timestamp="2026-08-19T20:59:30Z"), 2)
    quote = pipes[1].take()
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.ask) == (None, 2.5)
