"""What a gateway counts beside its data, in virtual time: exact where it is a count, bounded whatever came."""

from __future__ import annotations

import logging
import sys

import attrs
import pytest
import trio
import trio.testing
from ledger_watch import LedgerWatch
from test_faults_rows import rate
from test_gateway import running
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.background import TaskCounts, open_background_tasks
from trio_projectx.flow.books import Books
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.sampler import Totals
from trio_projectx.flow.sketch import Distribution
from trio_projectx.flow.timings import Timings


async def read(stream: px.Stream[object]) -> None:
    async for _ in stream:
        pass


async def test_rates_are_what_the_market_does(autojump_clock: MockClock) -> None:
    async with running() as (sim, gateway):
        await rate(sim, 1)
        async with gateway.open_bars("MNQ", "1s", "1m") as bars, gateway.open_quotes("MNQ") as quotes:
            async with open_background_tasks() as tasks:
                tasks.start_soon(read, bars)
                tasks.start_soon(read, quotes)
                await trio.sleep(131)
                found, loop = gateway.statistics(), gateway.health().machine.loop
        rates = found.rates
        (contract,) = found.market.contracts
        assert rates.totals.trades == contract.received
        assert rates.totals.quotes == contract.quotes > 0
        assert rates.totals.bars == sum(
            row.in_bars > 0 and bars.table(row.timeframe).num_rows for row in found.ledger.rows
        )
        for window, seconds, share in (
            (rates.ten_seconds, 10, 1.0),
            (rates.minute, 60, 0.5),
            (rates.ten_minutes, 131, 0.01),
        ):
            assert seconds - 1 <= window.seconds <= seconds + 6
            assert window.trades == pytest.approx(rates.totals.trades / 131, rel=share)
            assert window.bars == pytest.approx(rates.totals.bars / 131, rel=share)
            assert window.received_bytes > window.trades * 100
        assert (
            rates.totals.received_bytes == found.hubs.market.received_bytes + found.hubs.user.received_bytes
        )
        # In virtual time nothing takes any.
        assert found.latency.wire_to_bar == Distribution(found.latency.wire_to_bar.count)
        assert 0 < found.latency.recent_wire_to_bar.count < found.latency.wire_to_bar.count
        assert found.latency.wire_to_bar.count == found.latency.event_lag.count <= contract.received
        assert found.latency.event_lag.max < 10**9
        assert found.loop is not None
        assert 25 <= found.loop.lifetime.count <= 26
        assert found.loop.lifetime.max == found.loop.last_lag_ns == 0
        assert (loop.lag_s, loop.worst_s) == (0, 0)


async def test_how_late_the_loop_was_is_one_measure_for_statistics_and_health(
    autojump_clock: MockClock,
) -> None:
    books = Books(Timings(), Totals, Ledger, lambda event: None, lambda: 0, TaskCounts())
    due = books.turn(trio.current_time())
    assert books.lag_s is None  # nothing was due yet
    due = books.turn(due + 0.3)
    assert books.lag_s is not None
    lag_s, worst_s = books.lag_s
    assert lag_s == worst_s == pytest.approx(0.3)
    assert books.loop().last_lag_ns == books.loop().lifetime.max == round(worst_s * 1e9)
    for _ in range(60):  # windows go, the worst stays
        due = books.turn(due)
    assert books.lag_s == (0, worst_s)
    assert (books.loop().recent.max, books.loop().lifetime.max) == (0, round(worst_s * 1e9))


async def test_tasks_are_counted_from_their_beginning_to_their_end(autojump_clock: MockClock) -> None:
    async with running() as (sim, gateway):
        before = gateway.statistics().tasks
        async with gateway.open_trades("MNQ"):
            during = gateway.statistics().tasks
            # One contract; the hub's line, its epoch, and in this writer, probe and transport; and the supervisor.
            assert during.alive == before.alive + 7
            sim.inject(px.simulator.Fault("tcp_reset", hub="market"))
            await trio.sleep(60)
            after = gateway.statistics()
        assert after.tasks.alive == during.alive
        assert after.hubs.market.outages == 1
        assert after.hubs.market.connects == after.connects == 2
        ended = (after.tasks.completed + after.tasks.cancelled) - (during.completed + during.cancelled)
        assert ended >= 3
        assert after.tasks.failed == 0
    last = gateway.statistics().tasks
    assert last.alive == 0


async def test_what_a_snapshot_holds_does_not_grow_with_time(autojump_clock: MockClock) -> None:
    async with running() as (sim, gateway):
        await rate(sim, 0.2)
        async with gateway.open_trades("MNQ") as trades, open_background_tasks() as tasks:
            tasks.start_soon(read, trades)
            sizes = []
            for _ in range(3):
                await trio.sleep(150)
                sizes.append(size_of(gateway.statistics()))
        assert max(sizes) - min(sizes) <= 2


def size_of(value: object) -> int:
    """How many values there are in it."""
    if attrs.has(type(value)):
        return sum(size_of(getattr(value, field.name)) for field in attrs.fields(type(value)))
    if isinstance(value, (tuple, list)):
        return sum(map(size_of, value))
    return 1


async def test_a_ledger_that_breaks_is_told_once_and_logged(
    autojump_clock: MockClock, ledger_watch: LedgerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as (_sim, gateway):
        async with gateway.open_events() as events, gateway.open_trades("MNQ", capacity=10**6):
            await trio.sleep(20)
            (contract,) = gateway._streams.market.contracts
            contract.counts.received += 3
            told = await next_of(events, px.LedgerBroken)
            assert told.row == f"all trades of {contract.contract_id}"
            assert told.came == told.accounted + 3
            await trio.sleep(60)
            assert rest(events) == []
            contract.counts.received -= 3
            await trio.sleep(10)
            assert gateway.statistics().ledger.balanced
            contract.counts.received -= 1
            assert (await next_of(events, px.LedgerBroken)).came >= told.came - 4
            contract.counts.received += 1
    ledger_watch.forgive()
    assert [r.levelno for r in caplog.records if "does not balance" in r.message] == [logging.ERROR] * 2


async def next_of(events: px.Stream[object], kind: type[px.LedgerBroken]) -> px.LedgerBroken:
    with trio.fail_after(6):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError


def rest(events: px.Stream[object]) -> list[object]:
    found = []
    while True:
        try:
            event = events.receive_nowait()
        except trio.WouldBlock:
            return found
        if isinstance(event, px.LedgerBroken):
            found.append(event)


async def test_blocks_that_share_their_counts_are_counted_together() -> None:
    counts = TaskCounts()

    async def fails() -> None:
        raise ValueError("one of ours")

    async def only_cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)

    async with open_background_tasks("a", counts) as outer:
        outer.start_soon(trio.sleep_forever)
        outer.start_soon(only_cancelled)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="one of ours"):
            async with open_background_tasks("b", counts) as inner:
                inner.start_soon(fails)
                await trio.sleep_forever()
        assert counts.statistics() == outer.statistics()
        assert (counts.statistics().alive, counts.failed, counts.completed, counts.cancelled) == (1, 1, 1, 0)
    assert (counts.statistics().alive, counts.cancelled) == (0, 1)


async def test_a_statistic_is_cheap(autojump_clock: MockClock) -> None:
    """Not a time: how many lines of Python it takes does not depend on how much came."""
    async with running() as (sim, gateway):
        await rate(sim, 2)
        async with gateway.open_trades("MNQ", capacity=10**6), gateway.open_bars("MNQ", "1s", capacity=10**6):
            await trio.sleep(30)
            early = calls(gateway)
            await trio.sleep(150)
            assert calls(gateway) <= early * 1.2


def calls(gateway: px.Gateway) -> int:
    """Count the calls that a snapshot makes."""
    made = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal made
        made += 1

    sys.setprofile(count)
    try:
        gateway.statistics()
    finally:
        sys.setprofile(None)
    return made
