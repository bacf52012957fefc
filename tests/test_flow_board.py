from __future__ import annotations

import pytest
import trio

from trio_projectx import (
    ClockSkewed,
    Dropped,
    GatewayEvent,
    HubState,
    HubStateChanged,
    Overflow,
    SlowConsumer,
)
from trio_projectx.flow.board import EventBoard
from trio_projectx.flow.keys import event_key, event_stamp
from trio_projectx.flow.stream import Feed, Pipe, Stream, make_pipe


def event(at: int) -> ClockSkewed:
    return ClockSkewed(float(at), True, at)


def opened(
    board: EventBoard, capacity: int, overflow: Overflow
) -> tuple[Stream[GatewayEvent], Feed[GatewayEvent]]:
    pipe: Pipe[GatewayEvent] = make_pipe("events", capacity, overflow, stamp=event_stamp, key=event_key)
    feed = Feed(pipe)
    board.attach(feed)
    return Stream(pipe), feed


def rest(stream: Stream[GatewayEvent]) -> list[object]:
    found: list[object] = []
    while True:
        try:
            found.append(stream.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return found


async def test_everybody_gets_everything_in_order_from_when_they_came() -> None:
    board, heard = EventBoard(), list[GatewayEvent]()
    board.tell(event(0))
    first, feed = opened(board, 9, Overflow.DROP_OLDEST)
    board.tell(event(1))
    second, _ = opened(board, 9, Overflow.ERROR)
    board.listen(heard.append)
    board.tell(event(2))
    board.detach(feed)
    board.tell(event(3))
    assert rest(first) == [event(1), event(2)]
    assert rest(second) == [event(2), event(3)]
    assert heard == [event(2), event(3)]


async def test_a_listener_has_it_before_any_stream() -> None:
    board = EventBoard()
    stream, _ = opened(board, 9, Overflow.ERROR)
    seen: list[list[object]] = []
    board.listen(lambda event: seen.append(rest(stream)))
    board.tell(event(1))
    assert (seen, rest(stream)) == ([[]], [event(1)])


async def test_one_who_does_not_read_keeps_nobody_waiting_and_is_told() -> None:
    board = EventBoard()
    oldest, _ = opened(board, 2, Overflow.DROP_OLDEST)
    latest, _ = opened(board, 2, Overflow.CONFLATE)
    strict, _ = opened(board, 2, Overflow.ERROR)
    for at in range(5):
        board.tell(event(at))
    assert rest(oldest) == [Dropped(3, 0, 2), event(3), event(4)]
    assert rest(latest) == [event(4)]
    with pytest.raises(SlowConsumer):
        strict.receive_nowait()


async def test_the_end_is_behind_what_was_told() -> None:
    board = EventBoard()
    stream, _ = opened(board, 9, Overflow.ERROR)
    last = HubStateChanged("user", HubState.LIVE, HubState.CLOSED, "the gateway was closed", 5)
    board.tell(last)
    board.end()
    assert [item async for item in stream] == [last]


async def test_who_comes_after_the_end_has_it_at_once() -> None:
    board = EventBoard()
    board.end()
    stream, _ = opened(board, 9, Overflow.ERROR)
    assert [item async for item in stream] == []


async def test_a_stream_that_outlasts_the_board_is_told_what_comes_behind_its_end() -> None:
    board = EventBoard()
    board.before_end(lambda: board.tell(event(2)))
    usual, _ = opened(board, 10, Overflow.DROP_OLDEST)
    pipe: Pipe[GatewayEvent] = make_pipe("events", 10, Overflow.DROP_OLDEST, stamp=event_stamp, key=event_key)
    feed = Feed(pipe)
    board.attach(feed, outlasts=True)
    last = Stream(pipe)
    board.tell(event(1))
    board.end()
    board.end()
    board.tell(event(3))
    assert [each async for each in usual] == [event(1), event(2)]
    assert [last.receive_nowait() for _ in range(3)] == [event(1), event(2), event(3)]
    with pytest.raises(trio.WouldBlock):
        last.receive_nowait()
    board.detach(feed)
    board.tell(event(4))
    with pytest.raises(trio.WouldBlock):
        last.receive_nowait()
    board.attach(feed, outlasts=True)  # after the end: it is not ended either
    board.tell(event(5))
    assert last.receive_nowait() == event(5)


async def test_a_streams_unread_mark_is_there_until_it_is_read() -> None:
    board = EventBoard()
    stream, _ = opened(board, 1, Overflow.DROP_OLDEST)
    assert stream.unread_mark() is None
    for at in range(3):
        board.tell(event(at))
    assert stream.unread_mark() == Dropped(2, 0, 1)
    assert stream.receive_nowait() == Dropped(2, 0, 1)
    assert stream.unread_mark() is None
