"""Streams as statistics see them, and what is told before one overflows."""

from __future__ import annotations

import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.open_streams import OpenStreams
from trio_projectx.flow.stream import Feed

Level = px.StreamFilling | px.StreamEased


def made(share: float = 0.95) -> tuple[OpenStreams, list[Level]]:
    told: list[Level] = []
    return OpenStreams(told.append, lambda: 7, share, lambda: 0.0), told


def number(item: int) -> int:
    return item


@pytest.mark.parametrize(
    ("share", "capacity", "at"), [(0.95, 100, 95), (0.95, 10, 10), (0.5, 10, 5), (1.0, 1, 1), (0.001, 10, 1)]
)
def test_it_tells_at_its_share_and_again_only_after_half_of_that(
    share: float, capacity: int, at: int
) -> None:
    streams, told = made(share)
    pipe = streams.make("x", capacity, px.Overflow.DROP_OLDEST, stamp=number, key=number)
    feed = Feed(pipe)
    for item in range(at - 1):
        feed.offer(item)
    assert told == []
    for item in range(2 * capacity):
        feed.offer(item)
    assert told == [px.StreamFilling("x", at, capacity, px.Overflow.DROP_OLDEST, 7)]
    while pipe.buffer.waiting > at / 2:
        assert told[1:] == []
        pipe.take()
    assert told[1:] == [px.StreamEased("x", pipe.buffer.waiting, capacity, 7)]
    for item in range(capacity):
        feed.offer(item)
    assert len(told) == 3


def test_one_that_goes_up_and_down_is_told_once_a_second_and_its_last_word_holds() -> None:
    told: list[Level] = []
    now = 0
    streams = OpenStreams(told.append, lambda: now, 0.95, lambda: now / 1e9)
    pipe = streams.make("x", 1, px.Overflow.CONFLATE, stamp=number, key=lambda _: 0)
    for now in range(0, 10_000_000_000, 20_000_000):
        Feed(pipe).offer(now)
        pipe.take()
    assert len(told) <= 22
    assert [type(each) for each in told] == ([px.StreamFilling, px.StreamEased] * 11)[: len(told)]
    Feed(pipe).offer(1)
    assert isinstance(told[-1], px.StreamFilling)  # it is full, and that was said last
    now += 1_000_000_000
    pipe.take()
    assert isinstance(told[-1], px.StreamEased)
    Feed(pipe).offer(1)
    assert isinstance(told[-1], px.StreamFilling)


def test_it_knows_streams_until_they_are_closed_and_who_blocks() -> None:
    streams, _ = made()
    pipes = [streams.make(name, 1, px.Overflow.BLOCK, stamp=number, key=number) for name in "abc"]
    assert [each.name for each in streams.statistics()] == ["a", "b", "c"]
    assert streams.blocking() == "a stream (overflow=BLOCK)"
    for pipe in pipes[1:]:
        Feed(pipe).offer(1)
    assert streams.blocking() == "the stream of 'b' and 1 more (overflow=BLOCK)"
    pipes[1].close()
    pipes[1].close()
    assert [each.name for each in streams.statistics()] == ["a", "c"]
    assert streams.blocking() == "the stream of 'c' (overflow=BLOCK)"
    assert streams.statistics()[1].utilisation == 1.0


async def test_a_slow_reader_is_told_before_it_loses_anything(autojump_clock: MockClock) -> None:
    async with (
        open_sim() as sim,
        px.open_gateway(config_for(sim)) as gateway,
        gateway.open_events() as events,
        gateway.open_trades(CONTRACT, capacity=50) as trades,
        gateway.open_trades(CONTRACT, overflow=px.Overflow.DROP_OLDEST, capacity=60) as dropping,
    ):
        filling = [await told(events, px.StreamFilling)]
        assert trades.statistics().dropped == 0
        filling.append(await told(events, px.StreamFilling))
        assert dropping.statistics().dropped == 0
        assert [(each.queued, each.capacity) for each in filling] == [(48, 50), (57, 60)]
        await trio.sleep(30)
        with pytest.raises(px.SlowConsumer):
            await trades.receive()
        assert dropping.statistics().dropped > 0
        for _ in range(40):
            await dropping.receive()
        eased = await told(events, px.StreamEased)
        assert eased.stream == filling[1].stream == dropping.statistics().name


async def told(events: px.Stream[px.GatewayEvent | px.Dropped], kind: type):
    with trio.fail_after(60):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError


def test_however_often_the_capacity_changes_it_tells_at_its_share() -> None:
    opened = OpenStreams(lambda event: None, lambda: 7, 0.95)
    pipe = opened.make("trades of X", 10_000, px.Overflow.ERROR, stamp=int, key=int)
    for _ in range(1000):
        pipe.resize(12_345)
        pipe.resize(10_000)
    assert pipe.warn_at == 9_500


def test_one_that_emptied_untold_and_fills_much_later_is_told_before_it_loses_anything() -> None:
    told: list[Level] = []
    now = 0.0
    streams = OpenStreams(told.append, lambda: round(now * 1e9), 0.95, lambda: now)
    pipe = streams.make("x", 100, px.Overflow.DROP_OLDEST, stamp=number, key=number)
    feed = Feed(pipe)
    for at in (0.0, 0.3):
        now = at
        for item in range(100):
            feed.offer(item)
        for _ in range(100):
            pipe.take()
    kinds = [px.StreamFilling, px.StreamEased, px.StreamFilling]
    assert [type(each) for each in told] == kinds
    now = 3600.0
    for item in range(94):
        feed.offer(item)
    assert len(told) == 3
    feed.offer(94)
    assert [type(each) for each in told] == [*kinds, px.StreamEased, px.StreamFilling]
    assert [each.queued for each in told[-2:]] == [0, 95]
    for item in range(200):
        feed.offer(item)
    assert len(told) == 5
    assert pipe.buffer.dropped > 0
