"""Room behind a reader, and what is told where there is none for long."""

from __future__ import annotations

import logging

import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.room import BufferStatistics, Room


def full(limit: int = 2, who: str = "the stream of 'x'") -> tuple[Room, list[str | None]]:
    room, told = Room("market", limit, lambda: who), list[str | None]()
    room.on_held = told.append
    for _ in range(limit + 1):
        room.put()
    return room, told


def test_it_counts_and_is_full_above_its_limit() -> None:
    room = Room("market", 2)
    for is_full in (False, False, True):
        room.put()
        assert room.is_full is is_full
    room.taken()
    assert not room.is_full
    assert room.statistics() == BufferStatistics("market reads", 2, 2, 3)
    assert room.statistics().utilisation == 1.0


async def test_a_short_wait_is_not_told(autojump_clock: MockClock) -> None:
    room, told = full()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.wait)
        await trio.sleep(0.9)
        room.taken()
    assert (told, room.held_back) == ([], 0)


async def test_a_long_one_is_told_once_for_all_who_wait_and_so_is_its_end(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    room, told = full()
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.wait)
            nursery.start_soon(room.wait)
            await trio.sleep(2)
            assert [each for each in told if each is None] == []
            await trio.sleep(10)
            room.taken()
    assert set(told[:-1]) == {"the stream of 'x' is not read; every stream of the hub waits for it"}
    assert told[-1] is None
    assert room.held_back == 2
    assert "market feed is held back" in caplog.text


async def test_a_wait_that_is_cancelled_is_over(autojump_clock: MockClock) -> None:
    room, told = full()
    with trio.move_on_after(3):
        await room.wait()
    assert told[-1] is None
    assert room.statistics().queued == 3


async def test_a_stream_that_blocks_makes_the_hub_blocked_until_it_is_read(autojump_clock: MockClock) -> None:
    """Our pings go on meanwhile, our wait is not the server's silence, and who waits too long is cut off: a Gap."""
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim, limits=px.Limits(batches_in_flight=4))) as gateway,
        gateway.open_events() as events,
        gateway.open_trades(CONTRACT, events=True, overflow=px.Overflow.BLOCK, capacity=1) as trades,
    ):
        await trio.sleep(8)  # less than a server puts up with
        health = gateway.health()
        assert health.market.state is px.HubState.BLOCKED
        assert health.status == "degraded"
        assert repr(f"trades of {CONTRACT}") in health.market.reason
        assert sim.statistics().dropped_slow == 0
        await trio.sleep(120)  # and this is more
        assert sim.statistics().dropped_slow == 1
        items: list[px.Trade | px.Gap] = []
        with trio.move_on_after(10):
            async for item in trades:
                items.append(item)
        assert gateway.health().market.state is px.HubState.LIVE
        assert [isinstance(item, px.Gap) for item in items].count(True) == 1
        told = [events.receive_nowait() for _ in range(events.statistics().queued)]
        states = [
            event.state.value
            for event in told
            if isinstance(event, px.HubStateChanged) and event.hub == "market"
        ]
        assert states[:3] == ["connecting", "live", "blocked"]
        assert "reconnecting" in states
        assert states[-1] == "live"
        assert gateway.statistics().market.ledger.balanced
