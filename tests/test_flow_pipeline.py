from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_projectx import ConnectionLost, Limits, Overflow, Trade
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.contract_items import Task
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.market import Decoder, PriceGrid

MNQ, MES = "CON.F.US.MNQ.Z26", "CON.F.US.MES.Z26"
GRID = PriceGrid.from_tick_size("0.25")
STAMP = "2026-08-19T20:51:30.052+00:00"


@asynccontextmanager
async def running(limits: Limits | None = None) -> AsyncGenerator[MarketPipeline]:
    async with open_background_tasks() as tasks:
        yield MarketPipeline(limits or Limits(price_band=0), tasks)


def trades_of(contract: ContractPipeline, capacity: int = 100) -> Pipe[Trade]:
    pipe: Pipe[Trade] = make_pipe("t", capacity, Overflow.BLOCK, stamp=lambda t: t.ts_event, key=lambda t: 0)
    contract.attach(TradesOutlet(GRID, Feed(pipe)))
    return pipe


def record(contract_id: str, *prices: object) -> list[object]:
    return [contract_id, [{"price": p, "volume": 1, "timestamp": STAMP} for p in prices]]


async def test_each_contract_gets_its_own_and_the_rest_is_counted() -> None:
    decoder = Decoder()
    async with running() as market:
        mnq, mes = market.contract(MNQ, GRID), market.contract(MES, GRID)
        assert market.contract(MNQ, GRID) is mnq
        a, b = trades_of(mnq), trades_of(mes)
        for arguments in (
            record(MNQ, 1.0, 2.0),
            record(MES, 3.0),
            record("CON.F.US.EP.Z26", 4.0, 5.0),
            record(MNQ, True, 6.0),
            [MNQ, [None, {"price": 7.0, "volume": 1, "timestamp": STAMP}]],
            ["nonsense"],
        ):
            await market.deliver(decoder.invocation("GatewayTrade", arguments), 1)
        await market.deliver(decoder.invocation("GatewayQuote", ["CON.F.US.EP.Z26", {"bestBid": 1}]), 1)
        for target in ("GatewayDepth", "GatewayLogout", "GatewayUserOrder", "Nonsense"):
            await market.deliver(decoder.invocation(target, []), 1)
        await wait_all_tasks_blocked()
        assert [a.take().price for _ in range(4)] == [1.0, 2.0, 6.0, 7.0]
        assert [b.take().price] == [3.0]
        stats = market.statistics()
        assert {c.contract_id: (c.received, c.rejected.total) for c in stats.contracts} == {
            MNQ: (5, 1),
            MES: (1, 0),
        }
        assert (stats.unrouted_trades, stats.unrouted_quotes, stats.null_entries) == (3, 1, 1)
        assert (stats.unrouted_depths, stats.logouts, stats.user_events, stats.unknown_targets) == (
            1,
            1,
            1,
            1,
        )
        assert stats.ledger.balanced


async def test_the_reader_waits_when_the_pipeline_is_full_and_no_batch_is_lost() -> None:
    decoder = Decoder()
    delivered = 0
    async with running(Limits(batches_in_flight=2, price_band=0)) as market:
        pipe = trades_of(market.contract(MNQ, GRID), capacity=1)

        async def read() -> None:
            nonlocal delivered
            for n in range(20):
                await market.deliver(decoder.invocation("GatewayTrade", record(MNQ, n + 1.0)), n)
                delivered += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            assert delivered < 20
            assert market.statistics().ledger.balanced
            got = []
            while len(got) < 20:
                got.append(pipe.take().price)
                await wait_all_tasks_blocked()
        assert got == [n + 1.0 for n in range(20)]
        assert delivered == 20


async def test_a_loss_breaks_every_stream_that_was_open() -> None:
    async with running() as market:
        pipes = [trades_of(market.contract(contract, GRID)) for contract in (MNQ, MES)]
        await market.lose(ConnectionLost("gone"))
        await wait_all_tasks_blocked()
        for pipe in pipes:
            with pytest.raises(ConnectionLost, match="gone"):
                pipe.take()
        market.end()


async def test_what_is_done_between_batches_waits_for_trades_that_were_read_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They are in a record before it: a replay does it behind them, and so must the live pipeline."""
    seen: list[str] = []
    async with open_background_tasks() as tasks:
        market = MarketPipeline(Limits(), tasks)
        contract = market.contract(MNQ, PriceGrid.from_tick_size("0.25"))
        decoder = Decoder()
        await market.deliver(decoder.invocation("GatewayTrade", record(MNQ, 1.0)), 1)
        done = trio.Event()

        async def work() -> None:
            seen.append(f"{contract.counts.built} built")
            await trio.lowlevel.checkpoint()

        contract.inbox._send.send_nowait(Task(work, done))  # before the validator has had a turn
        await done.wait()
        tasks.nursery.cancel_scope.cancel()
    assert seen == ["1 built"]
