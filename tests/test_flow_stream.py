from __future__ import annotations

import math
from contextlib import aclosing
from typing import NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_projectx._config import Overflow
from trio_projectx._errors import ConnectionLost, SlowConsumer
from trio_projectx._events import Dropped
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe


class Item(NamedTuple):
    at: int


def make(capacity: int, policy: Overflow = Overflow.ERROR) -> tuple[Stream[Item], Feed[Item]]:
    pipe: Pipe[Item] = make_pipe("stream of tests", capacity, policy, stamp=lambda i: i.at, key=lambda i: 0)
    return Stream(pipe), Feed(pipe)


async def test_items_come_in_order_and_a_reader_waits_for_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, feed = make(10)
    got: list[Item] = []

    async def read() -> None:
        async for item in stream:
            got.append(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for at in range(3):
            feed.offer(Item(at))
            await trio.sleep(1)
        feed.end()
    assert got == [Item(0), Item(1), Item(2)]
    assert stream.statistics().balanced


async def test_error_policy_breaks_at_once_names_the_lag_and_counts_all() -> None:
    stream, feed = make(2)
    for at in (0, 10**9, 3 * 10**9):
        feed.offer(Item(at))
    with pytest.raises(SlowConsumer, match=r"stream of tests.*3 items \(3\.000 s.*capacity of 2") as info:
        await stream.receive()
    assert info.value.lost == 3
    with pytest.raises(SlowConsumer):
        stream.receive_nowait()
    feed.offer(Item(4))
    stats = stream.statistics()
    assert (stats.offered, stats.dropped, stats.queued) == (3, 3, 0)
    assert stats.balanced


async def test_a_lost_connection_is_raised_after_what_came_before_it() -> None:
    stream, feed = make(5)
    feed.offer(Item(1))
    feed.fail(ConnectionLost("the hub is gone"))
    feed.fail(ConnectionLost("again"))
    assert await stream.receive() == Item(1)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="the hub is gone"):
            await stream.receive()


async def test_end_of_channel_only_after_what_waits() -> None:
    stream, feed = make(5)
    feed.offer(Item(1))
    feed.end()
    assert [item async for item in stream] == [Item(1)]


async def test_closing_counts_what_waits_and_frees_everybody() -> None:
    stream, feed = make(1, Overflow.BLOCK)
    results: list[str] = []

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await other.receive()
        results.append("reader")

    async def write() -> None:
        await feed.deliver([Item(1), Item(2), Item(3)])
        results.append("writer")

    other, _ = make(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await other.aclose()
        await stream.aclose()
    assert sorted(results) == ["reader", "writer"]
    assert stream.statistics().balanced
    assert stream.statistics().dropped == 1


async def test_block_waits_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    stream, feed = make(2, Overflow.BLOCK)
    got: list[Item] = []

    async def read() -> None:
        async for item in stream:
            got.append(item)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await feed.deliver([Item(at) for at in range(20)])
        assert stream.statistics().queued <= 2
        feed.end()
    assert got == [Item(at) for at in range(20)]
    assert stream.statistics().blocked > 0


async def test_a_dropping_stream_tells_in_band() -> None:
    stream, feed = make(1, Overflow.DROP_OLDEST)
    for at in range(3):
        feed.offer(Item(at))
    assert await stream.receive() == Dropped(2, 0, 1)
    assert await stream.receive() == Item(2)
    with pytest.raises(trio.WouldBlock):
        stream.receive_nowait()


async def test_cancelling_a_receive_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """At whatever moment the cancellation comes: before, at, or after the item."""
    for offer_at in range(4):
        for cancel_at in range(4):
            stream, feed = make(5)
            got: list[Item] = []
            async with trio.open_nursery() as nursery:

                async def read(stream: Stream[Item] = stream, got: list[Item] = got) -> None:
                    got.append(await stream.receive())

                scope = trio.CancelScope()

                async def scoped(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await read()

                nursery.start_soon(scoped)
                for step in range(6):
                    if step == offer_at:
                        feed.offer(Item(1))
                    if step == cancel_at:
                        scope.cancel()
                    await trio.lowlevel.checkpoint()
            if not got:
                got.append(stream.receive_nowait())
            assert got == [Item(1)]


async def test_tasks_that_share_a_stream_compete_for_its_items() -> None:
    stream, feed = make(100)
    got: list[Item] = []

    async def read() -> None:
        async for item in stream:
            got.append(item)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for at in range(50):
            feed.offer(Item(at))
        feed.end()
    assert sorted(got) == [Item(at) for at in range(50)]


async def test_an_async_generator_may_be_written_over_a_stream() -> None:
    stream, feed = make(10)

    async def doubled():  # type: ignore[no-untyped-def]
        async for item in stream:
            yield item.at * 2

    feed.offer(Item(21))
    async with aclosing(doubled()) as numbers:
        async for number in numbers:
            assert number == 42
            break
    feed.offer(Item(1))
    assert await stream.receive() == Item(1)


@pytest.mark.parametrize("policy", [Overflow.ERROR, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
@pytest.mark.parametrize("capacity", [1, 10])
@pytest.mark.parametrize("slice_s", [math.inf, -1], ids=["never-yields", "yields-at-each"])
async def test_a_reader_that_waits_is_not_slow_whatever_a_read_brings(
    policy: Overflow, capacity: int, slice_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the machine is busy, so that it lets others run in the middle of a burst."""
    monkeypatch.setattr("trio_projectx.flow.stream._SLICE_S", slice_s)
    stream, feed = make(capacity, policy)
    got: list[Item] = []

    async def read() -> None:
        async for item in stream:
            got.append(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for burst in range(3):
            await feed.deliver([Item(burst * 500 + at) for at in range(500)])
        feed.end()
    assert got == [Item(at) for at in range(1500)]
    assert stream.statistics().dropped == 0


async def test_one_that_does_not_read_costs_the_feed_no_step_under_a_dropping_policy() -> None:
    stream, feed = make(2, Overflow.DROP_OLDEST)
    stepped = False

    async def other() -> None:
        nonlocal stepped
        stepped = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await feed.deliver([Item(at) for at in range(1000)])
        assert not stepped
    assert stream.statistics().dropped == 998


async def test_a_reader_that_hangs_after_it_has_waited_gets_one_chance() -> None:
    stream, feed = make(2, Overflow.DROP_OLDEST)
    steps = 0

    async def other() -> None:
        nonlocal steps
        while True:
            steps += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0):
            await stream.receive()  # it has waited, and is gone
        nursery.start_soon(other)
        await feed.deliver([Item(at) for at in range(1000)])
        nursery.cancel_scope.cancel()
    assert steps <= 4
    assert stream.statistics().dropped == 998
