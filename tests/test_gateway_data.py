"""What is done about bad data, as a user of the gateway sees it: in virtual time, against the simulator's truth."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TypeVar

import attrs
import pyarrow as pa
import pytest
import trio
from sweeps import every
from test_gateway import START, config_for, control, oracle, row, running, virtual_wall

import trio_projectx as px
from trio_projectx.bars.builder import Builder
from trio_projectx.bars.edges import Slot
from trio_projectx.market import format_stamp
from trio_projectx.simulator import Simulator, open_simulator

S = 10**9
T = TypeVar("T")


async def send(sim: Simulator, *trades: dict[str, object]) -> None:
    await control(sim, "send?target=GatewayTrade", json.dumps([sim.contract_id, list(trades)]).encode())


def trade(sim: Simulator, ahead_s: float = 0.0, **fields: object) -> dict[str, object]:
    """A trade at the market's last price, stamped now."""
    price = sim.truth()["price"][-1].as_py()
    stamp = format_stamp(virtual_wall() + round(ahead_s * S), 3)
    return {"price": price, "volume": 1, "timestamp": stamp, "type": 0, **fields}


def waiting(stream: px.Stream[T]) -> list[T]:
    found: list[T] = []
    with suppress(trio.WouldBlock):
        while True:
            found.append(stream.receive_nowait())
    return found


async def read_all(bars: px.BarStream[px.Bar], into: list[px.Bar]) -> None:
    async for bar in bars:
        into.append(bar)


@asynccontextmanager
async def collecting(bars: px.BarStream[px.Bar]) -> AsyncGenerator[list[px.Bar]]:
    got: list[px.Bar] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, bars, got)
        yield got
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ahead_s", [15.0, 3600.0, 40 * 86_400.0, 86_400.0][:: every(2)])
async def test_one_stamp_in_the_future_closes_no_bar(
    autojump_clock: trio.testing.MockClock, ahead_s: float
) -> None:
    async with running() as (sim, gateway), gateway.open_bars("MNQ", "1s", "1m") as bars:
        async with collecting(bars) as got:
            await trio.sleep(20)
            await send(sim, trade(sim, ahead_s))
            await trio.sleep(0.001)
            assert [each.reason.value for each in gateway.quarantine("MNQ")] == ["stamp_ahead"]
            await trio.sleep(105)
            stats = gateway.statistics().market
            assert stats.ledger.balanced
            assert (stats.contracts[0].rejected.stamp_ahead, stats.contracts[0].rejected.total) == (1, 1)
            assert [each.reason.value for each in gateway.rejections(sim.contract_id)] == ["stamp_ahead"]
        truth = oracle(sim.truth(), 1)
        made = [row(bar) for bar in got if bar.timeframe == "1s"]
        assert made == truth[: len(made)]
        assert len(made) >= 110
        assert len([bar for bar in got if bar.timeframe == "1m"]) == 2


@pytest.mark.parametrize("jump_s", [-3600, 3600])
@pytest.mark.parametrize("from_the_start", [True, False])
async def test_clock_jumps_of_an_hour_change_no_bar(
    autojump_clock: trio.testing.MockClock, jump_s: int, from_the_start: bool
) -> None:
    """FAULTS.md rows 87 and 88: our clock is wrong from the beginning, or jumps there and back in between."""

    def wall() -> int:
        seconds = trio.current_time() % 40
        return virtual_wall() + (jump_s * S if from_the_start or 10 < seconds < 30 else 0)

    async with open_simulator(port=None, seed=5, wall_clock=virtual_wall) as sim:
        config = attrs.evolve(config_for(sim), wall_clock=wall)
        async with px.open_gateway(config) as gateway, gateway.open_bars("MNQ", "1s", "5s") as bars:
            async with collecting(bars) as got:
                await trio.sleep(100)
            stats = gateway.statistics().market
            assert stats.ledger.balanced
            assert (stats.contracts[0].rejected.total, gateway.quarantine("MNQ")) == (0, ())
        truth = sim.truth()
    for frame, step_s in (("1s", 1), ("5s", 5)):
        made = [row(bar) for bar in got if bar.timeframe == frame]
        assert made == oracle(truth, step_s)[: len(made)]
        assert len(made) >= 95 // step_s


async def test_an_impossible_volume_makes_no_bar_and_a_burst_of_bad_trades_is_an_event(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (sim, gateway), gateway.open_bars("MNQ", "1s") as bars:
        async with gateway.open_events() as events:
            await bars.receive()
            await send(sim, trade(sim, volume=999_999))
            await send(sim, *[trade(sim, price=-1.0)] * 150)
            told: list[px.RejectionBurst] = []
            with trio.move_on_after(5):
                while True:
                    event = await events.receive()
                    if isinstance(event, px.RejectionBurst):
                        told.append(event)
            assert [(each.contract_id, each.what, each.reason) for each in told] == [
                (sim.contract_id, "trades", "price_not_positive")
            ]
            counts = gateway.statistics().market.contracts[0]
            assert (counts.rejected.volume_band, counts.rejected.price_not_positive) == (1, 150)
            assert counts.rejection_bursts == 1
            assert len(gateway.rejections("MNQ")) == 64
            assert gateway.rejections("ES") == gateway.rejections("CON.F.US.EP.Z26") == ()
            with pytest.raises(px.ContractError):
                gateway.rejections("NOTHING")


async def test_rules_are_configuration(autojump_clock: trio.testing.MockClock) -> None:
    limits = px.Limits(stamp_ahead_s=0, price_band=0, volume_band=0, rejections_kept=2)
    async with running(limits=limits) as (sim, gateway), gateway.open_trades("MNQ") as trades:
        await trades.receive()
        await send(sim, trade(sim, 50_000.0, volume=999_999, price=5.0), *[trade(sim, price=0.0)] * 5)
        await trio.sleep(0.001)
        counts = gateway.statistics().market.contracts[0]
        assert (counts.rejected.total, counts.rejected.price_not_positive) == (5, 5)
        assert len(gateway.rejections("MNQ")) == 2
        assert gateway.quarantine("MNQ") == ()


@pytest.mark.parametrize(("policy", "given"), [("count", 3), ("drop", 2)])
async def test_crossed_quotes_are_given_or_not(
    autojump_clock: trio.testing.MockClock, policy: str, given: int
) -> None:
    tape = pa.table({"ts_event": pa.array([START], pa.int64()), "price": [100.0], "volume": [1]})
    contract = "CON.F.US.GCE.Z26"
    async with open_simulator(port=None, replay=tape, contract=contract, wall_clock=virtual_wall) as sim:
        config = config_for(sim, limits=px.Limits(crossed_quotes=policy))  # type: ignore[arg-type]
        async with px.open_gateway(config) as gateway:
            async with gateway.open_quotes(contract, overflow=px.Overflow.ERROR) as quotes:
                for bid, ask in ((100.0, 100.1), (100.5, 100.1), (100.1, 100.1)):
                    quote = {"bestBid": bid, "bestAsk": ask, "timestamp": format_stamp(virtual_wall(), 3)}
                    await control(sim, "send?target=GatewayQuote", json.dumps([contract, quote]).encode())
                    await trio.sleep(0.01)
                got = waiting(quotes)
    seen = [quote for quote in got if quote.bid in (100.0, 100.5, 100.1)]
    assert len(seen) == given
    assert [quote.is_crossed for quote in seen].count(True) == given - 2
    assert seen[-1].is_locked


class Broken:
    """Makes the builders of one timeframe fail between two instants of trio's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, frame: str, times: tuple[float, float]) -> None:
        made = Builder.__init__
        wrap = self._wrap
        began: list[float] = []

        def init(builder: Builder, *arguments: object, **options: object) -> None:
            made(builder, *arguments, **options)  # type: ignore[arg-type]
            if builder.timeframe == frame:
                began.append(trio.current_time())
                builder._locate = wrap(builder._locate, began[0] + times[0], began[0] + times[1])

        monkeypatch.setattr(Builder, "__init__", init)

    def _wrap(self, locate: Callable[[int], Slot], start: float, stop: float) -> Callable[[int], Slot]:
        def failing(ts: int) -> Slot:
            if start <= trio.current_time() < stop:
                raise ArithmeticError("no such bar")
            return locate(ts)

        return failing


async def test_a_builder_that_fails_is_told_and_costs_the_other_timeframes_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Broken(monkeypatch, "5s", (30.0, 60.0))
    async with running() as (sim, gateway), gateway.open_events() as events:
        async with gateway.open_bars("MNQ", "1s", "5s", "15s") as bars, collecting(bars) as got:
            for _ in range(300):
                await trio.sleep(0.5)
                assert gateway.statistics().market.ledger.balanced
            failed = {each.timeframe: each.builder_failed for each in gateway.statistics().market.ledger.rows}
            told = waiting(events)
            mended = bars.table("5s")
        truth = sim.truth()
    assert failed["1s"] == failed["15s"] == 0 < failed["5s"]
    right = {each[0]: each for each in oracle(truth, 5)}
    for frame, step_s in (("1s", 1), ("15s", 15)):
        made = [row(bar) for bar in got if bar.timeframe == frame]
        assert made == oracle(truth, step_s)[: len(made)]
    five = [bar for bar in got if bar.timeframe == "5s"]
    assert all(bar.partial or row(bar)[:6] == right[bar.start][:6] for bar in five)
    assert [bar.partial for bar in five[-8:]] == [False] * 8
    assert 15 < len([bar for bar in five if bar.source == "live"]) < 29
    # Its trades are in no bar; but the service has had them, and what they would have made was read again.
    starts = mended["start"].cast("int64").to_pylist()
    assert starts == list(range(starts[0], starts[-1] + 1, 5 * 10**9))
    assert mended["partial"].to_pylist() == [True] + [False] * (len(starts) - 1)
    assert mended["volume"].to_pylist()[1:] == [right[start][5] for start in starts[1:]]
    failures = [each for each in told if isinstance(each, px.BuilderFailed)]
    (recovered,) = [each for each in told if isinstance(each, px.BuilderRecovered)]
    assert sum(each.trades for each in (*failures, recovered)) == failed["5s"]
    assert [each.state for each in failures[:4]] == ["closed", "closed", "open", "open"]
    assert failures[0].reason == "ArithmeticError: no such bar"
    assert len(failures) < 12  # the breaker stops the repetition


async def test_a_table_read_by_threads_during_a_flood_is_whole_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A day of trades in one burst, over the whole way; readers never see a part of an update."""
    count = 60_000
    tape = pa.table(
        {
            "ts_event": pa.array([START + i * 50_000_000 for i in range(count)], pa.int64()),
            "price": [100.0 + i % 7 for i in range(count)],
            "volume": [1 + i % 3 for i in range(count)],
        }
    )
    contract, wrong, looks, stop = "CON.F.US.GCE.Z26", list[str](), [0, 0], threading.Event()

    def look(bars: px.BarStream[px.Bar], reader: int) -> None:
        last = 0
        while not stop.is_set():
            table = bars.table("1s", prices="float" if looks[reader] % 2 else "ticks")
            starts = table["start"].cast(pa.int64()).to_pylist()
            if table["trades"].to_pylist()[1:] != [20] * (table.num_rows - 1):
                wrong.append("trades")
            if any(other - one != S for one, other in pairwise(starts)):
                wrong.append("starts")
            if table.num_rows < last:
                wrong.append("rows went")
            last = table.num_rows
            looks[reader] += 1

    async with open_simulator(
        port=None, replay=tape, contract=contract, speed=0, wall_clock=virtual_wall
    ) as sim:
        async with px.open_gateway(config_for(sim)) as gateway:
            async with gateway.open_bars(contract, "1s", "1m") as bars, trio.open_nursery() as nursery:
                for reader in range(2):
                    nursery.start_soon(trio.to_thread.run_sync, look, bars, reader)
                seen = 0
                while seen < count // 20 - 10:
                    seen += (await bars.receive()).timeframe == "1s"
                while min(looks) <= 3:  # readers run in real time, and the flood in no time at all
                    await trio.to_thread.run_sync(time.sleep, 0.01)
                stop.set()
    assert wrong == []
    assert min(looks) > 3
