"""What becomes of a handler at its end: its stream is closed at once, and all that it was not given is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from handler_tools import Desk, settle
from test_gateway import running
from test_replay_leaving import MNQ, playing
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.handlers.registration import Registration


async def hangs(_: object) -> None:
    await trio.sleep_forever()


def fails(_: object) -> None:
    raise ValueError


def told(events: list[px.GatewayEvent], one: Registration, reason: str) -> int:
    skipped = [e for e in events if isinstance(e, px.HandlerSkipped)]
    return sum(e.items for e in skipped if (e.handler, e.reason) == (one.name, reason))


@pytest.mark.parametrize("batch", [False, True])
async def test_what_one_lost_is_told_when_it_is_removed_though_its_call_hangs(
    autojump_clock: MockClock, batch: bool
) -> None:
    desk, heard = Desk(), list[px.GatewayEvent]()
    one = desk.add(
        hangs, capacity=3, overflow=px.Overflow.DROP_NEWEST, deadline_s=None, batch=batch, batch_most=4
    )
    desk.add(heard.append, kind="event")
    async with desk.running():
        for item in range(5):
            desk.feeds["x"].offer(item)
        await settle()
        for item in range(5, 15):
            desk.feeds["x"].offer(item)
        await settle(2)
        one.remove()
        now = one.statistics()
        assert (now.skipped.overflow, now.skipped.left, now.running) == (11, 3, 1)
        assert now.balanced
        assert told(desk.told, one, "overflow") == 11
        await settle(1)
        assert told(heard, one, "overflow") == 11
        one.remove()
    now = one.statistics()
    assert (now.skipped.overflow, now.skipped.left, now.offered, now.balanced) == (11, 4, 15, True)
    assert told(desk.told, one, "overflow") == 11


async def test_a_mark_behind_a_batch_is_told_before_its_call_is_over(autojump_clock: MockClock) -> None:
    desk, marks = Desk(), list[px.Dropped]()
    one = desk.add(
        hangs,
        capacity=2,
        overflow=px.Overflow.DROP_NEWEST,
        deadline_s=None,
        batch=True,
        rate_per_s=1000,
        on_skipped=marks.append,
    )
    async with desk.running():
        for item in range(5):
            desk.feeds["x"].offer(item)
        await settle()
        assert one.statistics().running == 2
        assert told(desk.told, one, "overflow") == 3
        one.remove()
    assert told(desk.told, one, "overflow") == one.statistics().skipped.overflow == 3
    assert marks == []


async def test_what_one_lost_is_told_when_the_run_is_cancelled(autojump_clock: MockClock) -> None:
    desk = Desk()
    one = desk.add(hangs, capacity=3, deadline_s=None)
    async with desk.running():
        for item in range(20):
            desk.feeds["x"].offer(item)
            if not item:
                await settle()
        await settle(1)
    now = one.statistics()
    assert told(desk.told, one, "overflow") == now.skipped.overflow == 16
    assert now.balanced


async def test_one_that_is_removed_holds_nobody_who_would_wait_for_it(autojump_clock: MockClock) -> None:
    desk = Desk()
    one = desk.add(hangs, capacity=2, overflow=px.Overflow.BLOCK, deadline_s=None)
    async with desk.running():
        feed = desk.feeds["x"]
        with trio.fail_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed.deliver, range(10))
                await settle(3)
                assert feed.pipe.blocks
                one.remove()
        assert feed.pipe.closed
        now = one.statistics()
        assert (now.running, now.skipped.left, now.balanced) == (1, 2, True)


async def test_one_that_is_removed_lets_a_live_hub_go_on(autojump_clock: MockClock) -> None:
    bars: list[px.Bar] = []
    options = px.HandlerOptions(deadline_s=None)
    async with running() as (_, gateway):
        one = gateway.on_trade(hangs, "MNQ", overflow=px.Overflow.BLOCK, capacity=2, options=options)
        gateway.on_bar(bars.append, "MNQ", "1s")
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run_handlers)
            await trio.sleep(8)
            before = len(bars)
            one.remove()
            await trio.sleep(8)
            assert len(bars) - before > 10
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("way", ["closed", "removed"])
async def test_what_is_skipped_last_is_told_to_handlers_of_events(
    autojump_clock: MockClock, way: str
) -> None:
    desk, heard, marks = Desk(), list[px.GatewayEvent](), list[px.Dropped]()

    async def slow(_: int) -> None:
        await trio.sleep(2)

    limited = desk.add(print, stream="limited", rate_per_s=1e-3, on_skipped=marks.append)
    broken = desk.add(fails, stream="broken", failures=1, open_s=1000, open_cap_s=1000)
    late = desk.add(slow, stream="late", capacity=4)
    desk.add(heard.append, kind="event")
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        for item in range(12):
            for feed in desk.feeds.values():
                feed.offer(item)
            await settle(0.1)
        if way == "removed":
            for each in (limited, broken, late):
                each.remove()
            await settle(3)
        desk.board.end()
        if way == "closed":
            with trio.fail_after(0.05):
                await trio.testing.wait_all_tasks_blocked()
            assert marks == [px.Dropped(11, 1, 11)]  # as nothing else comes
    for one, reason, count in ((limited, "rate", 11), (broken, "breaker", 11), (late, "overflow", 7)):
        assert told(heard, one, reason) == count == getattr(one.statistics().skipped, reason)
        assert one.statistics().balanced
    assert len(marks) == (way == "closed")


async def test_a_stream_of_events_has_what_was_skipped_when_the_gateway_closes(
    autojump_clock: MockClock,
) -> None:
    heard: list[px.GatewayEvent] = []

    async def listen(events: px.Stream[px.GatewayEvent]) -> None:
        heard.extend([each async for each in events])

    async with trio.open_nursery() as nursery:
        async with running() as (_, gateway):
            one = gateway.on_trade(print, "MNQ", options=px.HandlerOptions(rate_per_s=1e-3))
            opened = gateway.open_events()
            nursery.start_soon(listen, await opened.__aenter__())
            await nursery.start(gateway.run_handlers)
            await trio.sleep(10.55)
        await trio.testing.wait_all_tasks_blocked()
    assert told(heard, one, "rate") == one.statistics().skipped.rate > 200
    await opened.__aexit__(None, None, None)


async def test_one_that_hangs_at_the_end_is_told_of_too_and_who_hears_it_has_as_long_again(
    autojump_clock: MockClock,
) -> None:
    desk, heard, waited = Desk(grace_s=2), list[px.GatewayEvent](), list[float]()

    async def listens(event: px.GatewayEvent) -> None:
        await trio.sleep(1)
        heard.append(event)
        waited.append(trio.current_time())

    one = desk.add(hangs, capacity=3, deadline_s=None)
    desk.add(listens, kind="event")
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        for item in range(9):
            desk.feeds["x"].offer(item)
            await settle()
        desk.board.end()
    assert told(heard, one, "overflow") == one.statistics().skipped.overflow == 5
    assert (one.statistics().state, waited[-1]) == ("idle", 3.0)
    desk.add(hangs, kind="event", deadline_s=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.handlers.run)
        await settle()
    assert trio.current_time() == 3.0  # it has ended: nothing comes that they could hang at


@pytest.mark.parametrize("way", ["hangs", "fails"])
async def test_the_last_on_skipped_is_a_call_like_any_other(autojump_clock: MockClock, way: str) -> None:
    desk = Desk(grace_s=10)
    on_skipped = hangs if way == "hangs" else fails
    one = desk.add(print, rate_per_s=1e-3, on_skipped=on_skipped, deadline_s=3)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle()
        desk.board.end()
    now = one.statistics()
    assert [(each.type, each.count) for each in now.failures] == [("on_skipped", 1)]
    assert (trio.current_time(), now.balanced) == (3.0 if way == "hangs" else 0.0, True)


async def test_nobody_is_told_what_it_missed_when_the_run_is_cancelled(autojump_clock: MockClock) -> None:
    desk, marks = Desk(), list[px.Dropped]()
    desk.add(print, rate_per_s=1e-3, on_skipped=marks.append)
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle()
    assert marks == []


async def test_a_stream_that_breaks_lets_handlers_of_events_hear_of_it_last(
    autojump_clock: MockClock,
) -> None:
    desk, heard = Desk(), list[px.GatewayEvent]()

    async def slow(_: int) -> None:
        await trio.sleep(1)
        raise ValueError

    one = desk.add(slow)
    desk.add(print, stream="y")
    desk.add(heard.append, kind="event")
    with pytest.raises(px.ConnectionLost):
        async with open_background_tasks() as tasks:
            tasks.start_soon(desk.handlers.run)
            await settle()
            desk.feeds["x"].offer(1)
            desk.feeds["x"].offer(2)
            desk.feeds["y"].fail(px.ConnectionLost("gone"))
            await trio.sleep_forever()
    assert [type(e) for e in heard] == [px.HandlerStopped, px.HandlerFailed, px.HandlerFailed]
    assert one.statistics().failed == 2


async def test_in_a_replay_all_that_is_skipped_is_told_to_everybody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    heard, marks = list[px.GatewayEvent](), list[px.Dropped]()
    async with playing(tmp_path, rows=3000, speed=None) as replay:
        one = replay.on_trade(fails, MNQ, on_skipped=marks.append)
        replay.on_event(heard.append)
        async with replay.open_events() as events:
            await replay.run_handlers()
            read = [each async for each in events]
    now = one.statistics()
    assert now.failed + now.skipped.breaker == 3000
    assert told(heard, one, "breaker") == told(read, one, "breaker") == now.skipped.breaker > 2900
    assert sum(mark.count for mark in marks) == now.skipped.breaker


async def test_a_replay_is_played_though_a_handler_hangs_and_its_events_end_when_it_is_left(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        async with playing(tmp_path, rows=10, speed=None) as replay:
            one = replay.on_trade(hangs, MNQ, options=px.HandlerOptions(deadline_s=None))
            nursery.start_soon(replay.run_handlers)
            await replay.wait_ended()
            assert replay.has_ended
    assert one.statistics().state == "idle"


async def test_what_is_skipped_is_logged(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.add(print, rate_per_s=1e-3, name="mine")
    async with desk.running():
        for item in range(3):
            desk.feeds["x"].offer(item)
        await settle(2)
    records = [r for r in caplog.records if getattr(r, "event", "") == "handler_skipped"]
    assert [r.getMessage() for r in records] == [
        "mine was not given 1 items (rate; 1 in all)",
        "mine was not given 1 items (rate; 2 in all)",
    ]
    assert vars(records[0])["handler"] == "mine"
