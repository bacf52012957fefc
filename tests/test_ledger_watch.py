"""What looks at the ledger in every test that streams, can fail: while the test runs, and at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from ledger_watch import LedgerWatch, watched_ledgers

import trio_projectx as px
from trio_projectx.simulator import open_simulator


async def stream(spoil: str = "", *, repair: bool = False, trades: int = 30) -> px.GatewayStatistics:
    async with (
        open_simulator(seed=3, speed=50) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_bars("MNQ", "1s", "1m"),
        gateway.open_trades("MNQ") as stream,
    ):
        with trio.fail_after(20):
            for _ in range(trades):
                await stream.receive()
            (contract,) = gateway._streams.market.contracts
            assert gateway.statistics().ledger.balanced
            if spoil == "trades":
                contract.counts.rejected += 1
            if spoil == "items":
                stream._pipe.buffer.delivered += 1
            # Where thirty wait already, there would be no step to look behind.
            await trio.lowlevel.checkpoint()
            for _ in range(trades):
                await stream.receive()
            if repair:
                contract.counts.rejected -= 1
        return gateway.statistics()


async def test_a_whole_life_balances_at_every_step(ledger_watch: LedgerWatch) -> None:
    ledger_watch.whole = True
    counted = await stream()
    assert counted.ledger.balanced
    assert {type(row).__name__ for row in (*counted.ledger.rows, *counted.ledger.contracts)} == {
        "LedgerRow",
        "ContractRow",
    }
    assert [row.name.partition(" of ")[0] for row in counted.ledger.streams] == ["bars", "trades"]
    assert counted.ledger.streams[1].delivered == 60
    assert ledger_watch.steps > 100
    assert ledger_watch.looks >= ledger_watch.steps - 10  # until it was told to look at all


@pytest.mark.parametrize(("spoil", "says"), [("trades", "LedgerRow"), ("items", "StreamRow")])
async def test_a_counter_that_is_off_fails_the_test(
    ledger_watch: LedgerWatch, monkeypatch: pytest.MonkeyPatch, spoil: str, says: str
) -> None:
    with pytest.raises(AssertionError, match=says), watched_ledgers(monkeypatch, whole=True) as watch:
        assert not (await stream(spoil)).ledger.balanced
    assert watch.broken
    with pytest.raises(AssertionError, match="did not balance"):
        ledger_watch.conclude()  # the fixture's own, which every test has
    ledger_watch.forgive()


async def test_a_counter_that_was_off_for_some_steps_only_is_seen_too(
    ledger_watch: LedgerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="after step"), watched_ledgers(monkeypatch, whole=True):
        assert (await stream("trades", repair=True)).ledger.balanced
    ledger_watch.forgive()


async def test_a_replay_is_watched_as_well(ledger_watch: LedgerWatch, tmp_path: Path) -> None:
    async with (
        open_simulator(seed=3, speed=50) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
        gateway.open_recorder(tmp_path),
        gateway.open_trades("MNQ") as trades,
    ):
        for _ in range(20):
            await trades.receive()
    before = ledger_watch.looks
    async with px.open_replay(tmp_path) as replay, replay.open_bars("MNQ", "1s") as bars:
        async for _ in bars:
            pass
        counted = replay.statistics()
        ledger = counted.ledger
        assert ledger.balanced
        # The wire was another day's; what came is counted all the same.
        assert (counted.latency.wire_to_bar.count, counted.loop) == (0, None)
        assert counted.latency.event_lag.count > 0
        assert counted.rates.totals.trades == ledger.contracts[0].received
        assert counted.rates.ten_minutes.trades > 0
        assert counted.tasks.failed == 0
        assert ledger.rows[0].received >= 20
        (contract,) = replay._streams.market.contracts
        contract.counts.received += 1
    assert ledger_watch.looks > before
    with pytest.raises(AssertionError, match="at the end"):
        ledger_watch.conclude()
    ledger_watch.forgive()


async def test_closed_streams_are_summed_and_not_kept() -> None:
    async with (
        open_simulator(seed=3, speed=50) as sim,
        px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
    ):
        with trio.fail_after(20):
            for _ in range(3):
                async with gateway.open_trades("MNQ") as trades:
                    for _ in range(5):
                        await trades.receive()
        ledger = gateway.statistics().ledger
    assert ledger.streams == ()
    (closed,) = ledger.closed
    assert (closed.name, closed.delivered, closed.queued) == ("trades", 15, 0)
    assert closed.balanced
