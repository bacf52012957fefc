"""Connections that look alive and bring nothing, or bring what nobody takes: what is lost is told, the rest is not."""

from __future__ import annotations

import pytest
import trio
from fault_tools import CONTRACT, Row, config_for, open_sim, row_of, truth_rows
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

#: Silence of three seconds is a stall. It is less than any other time at which somebody would act.
QUICK = px.Timeouts(stall_s=3)


def check_told(items: list[px.Trade | px.Gap], truth: list[Row]) -> None:
    """Each trade once and in order, or inside of a gap that stands where it is missing."""
    at, gap = truth.index(row_of(items[0])), None
    for item in items:
        if isinstance(item, px.Gap):
            gap = item
            continue
        found = truth.index(row_of(item), at)
        missing = truth[at:found]
        assert not missing or gap is not None, missing
        assert all(gap.start <= row[0] <= gap.end for row in missing if gap is not None)
        at, gap = found + 1, None


async def collect(stream: trio.abc.ReceiveChannel[object], into: list) -> None:
    async for item in stream:
        into.append(item)


async def stream_for(sim: Simulator, seconds: float, act, **changes: object) -> tuple[list, list]:
    """Stream trades, with ``act(gateway)`` beside it; return what came and what was told."""
    items: list[px.Trade | px.Gap] = []
    told: list[px.ConnectionEvent] = []
    async with (
        px.open_gateway(config_for(sim, timeouts=QUICK, **changes)) as gateway,
        gateway.open_events() as events,
        gateway.open_trades(CONTRACT, events=True) as trades,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(collect, events, told)
        nursery.start_soon(collect, trades, items)
        nursery.start_soon(act, gateway)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
        assert gateway.statistics().market.ledger.balanced
    return items, told


def states(told: list[px.ConnectionEvent]) -> list[str]:
    return [event.state.value for event in told if isinstance(event, px.HubStateChanged)]


@pytest.mark.parametrize("answers", [False, True], ids=["REST fails", "REST confirms"])
async def test_a_silent_connection_is_replaced_behind_a_gap(autojump_clock: MockClock, answers: bool) -> None:
    async with open_sim() as sim:

        async def fall_silent(_: px.Gateway) -> None:
            await trio.sleep(2)
            if not answers:
                sim.inject(Fault("http_status", hub="rest", path="*/History/*", phase="rest", count=0))
            sim.inject(Fault("mute_data", hub="market", connection="#1"))

        items, told = await stream_for(sim, 12, fall_silent)
        check_told(items, truth_rows(sim.truth()))
        (gap,) = [item for item in items if isinstance(item, px.Gap)]
        assert 3e9 < gap.end - gap.start < 7e9
        replaced = [event for event in told if isinstance(event, px.ConnectionReplaced)]
        if answers:
            assert states(told) == ["connecting", "live", "stale", "reconnecting", "live"]
            assert replaced == []
        else:  # the new connection came first; that it overlapped the old one says nothing
            assert states(told) == ["connecting", "live", "stale", "live"]
            assert [each.overlapped for each in replaced] == [False]
        assert items[-1].ts_event > truth_rows(sim.truth())[-20][0]


async def test_a_quiet_market_costs_a_connection_and_a_gap_where_nobody_can_be_asked(
    autojump_clock: MockClock,
) -> None:
    async with open_sim() as sim:

        async def go_quiet(_: px.Gateway) -> None:
            await trio.sleep(2)
            sim.inject(Fault("http_status", hub="rest", path="*/History/*", phase="rest", count=0))
            sim.inject(Fault("mute_data", hub="market", count=0))

        items, told = await stream_for(sim, 8, go_quiet)
        # It cannot be known whether trades are missing, so that it is told.
        assert isinstance(items[-1], px.Gap)
        check_told(items, truth_rows(sim.truth()))
        assert states(told) == ["connecting", "live", "stale"]


async def test_a_refresh_finds_that_the_old_connection_is_dead(autojump_clock: MockClock) -> None:
    async with open_sim() as sim:

        async def refresh(gateway: px.Gateway) -> None:
            await trio.sleep(2)
            sim.inject(Fault("mute_data", hub="market", connection="#1"))
            await trio.sleep(1)  # nobody suspects anything yet
            await gateway.refresh_token()

        items, told = await stream_for(sim, 8, refresh)
        check_told(items, truth_rows(sim.truth()))
        (gap,) = [item for item in items if isinstance(item, px.Gap)]
        assert 1e9 < gap.end - gap.start < 1.5e9
        assert not any(isinstance(event, px.MarketStalled) for event in told)
        assert items[-1].ts_event > truth_rows(sim.truth())[-20][0]


async def test_what_a_stream_holds_back_is_no_stall(autojump_clock: MockClock) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim, timeouts=QUICK)) as gateway,
        gateway.open_events() as events,
        gateway.open_trades(CONTRACT, events=True, overflow=px.Overflow.BLOCK, capacity=1) as trades,
    ):
        while not gateway.statistics().market.held_back:
            await trio.sleep(0.1)
        # It counts from five seconds on; the bound of a stall is three.
        items: list[px.Trade | px.Gap] = []
        with trio.move_on_after(3):
            await collect(trades, items)
        assert len(items) > 300
        assert [row_of(item) for item in items] == truth_rows(sim.truth())[: len(items)]
        told = [events.receive_nowait() for _ in range(events.statistics().queued)]
        assert not any(isinstance(event, px.MarketStalled) for event in told)
        assert states(told)[:4] == ["connecting", "live", "blocked", "live"]


async def test_a_loss_behind_a_stream_that_blocks_is_told_before_it_is_read(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_trades(CONTRACT, overflow=px.Overflow.BLOCK, capacity=1),
    ):
        while not gateway.statistics().market.held_back:
            await trio.sleep(0.1)
        sim.inject(Fault("tcp_reset", hub="market"))
        await trio.sleep(30)  # two of our pings
        found = gateway.health()
        assert found.status == "down"
        assert "connection lost" in found.market.reason
        assert found.market.next_attempt_s is None  # not before that stream has made room
