from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.simulator.streams import BreakableStream, PrefixedStream, breakable_pair, reset_stream


async def test_it_keeps_every_rule_of_a_trio_stream() -> None:
    async def pair() -> tuple[BreakableStream, BreakableStream]:
        return breakable_pair()

    async def clogged() -> tuple[BreakableStream, BreakableStream]:
        left, right = breakable_pair(capacity=8)
        await left.send_all(b"x" * 8)
        await right.send_all(b"x" * 8)
        return left, right

    await trio.testing.check_half_closeable_stream(pair, clogged)


@pytest.mark.parametrize("capacity", [1, 7, 1000])
async def test_a_send_waits_for_room_and_never_holds_more_than_the_capacity(
    capacity: int, autojump_clock: object
) -> None:
    left, right = breakable_pair(capacity=capacity)
    with trio.move_on_after(1) as scope:
        await left.send_all(bytes(capacity + 1))
    assert scope.cancelled_caught
    assert len(await right.receive_some()) == capacity


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 30), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_what_is_sent_is_received_in_order_whatever_the_sizes(
    parts: list[bytes], capacity: int, read: int
) -> None:
    async def main() -> bytes:
        left, right = breakable_pair(capacity=capacity)
        received = bytearray()

        async def send() -> None:
            for part in parts:
                await left.send_all(part)
            await left.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while data := await right.receive_some(read):
                assert len(data) <= read
                received.extend(data)
        return bytes(received)

    assert trio.run(main) == b"".join(parts)


async def test_after_a_close_what_was_sent_is_still_read() -> None:
    left, right = breakable_pair()
    await left.send_all(b"bye")
    await left.aclose()
    assert await right.receive_some() == b"bye"
    assert await right.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"anybody?")


async def test_a_reset_destroys_what_is_on_its_way_and_wakes_both_ends() -> None:
    left, right = breakable_pair(capacity=4)
    await left.send_all(b"lost")
    async with trio.open_nursery() as nursery:

        async def stuck_sender() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await right.send_all(b"more than fits")

        async def stuck_receiver() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await left.receive_some()

        nursery.start_soon(stuck_sender)
        await trio.testing.wait_all_tasks_blocked()
        await left.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        left.reset()
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await left.receive_some()


async def test_a_reset_is_seen_by_a_waiting_receiver() -> None:
    left, right = breakable_pair()
    async with trio.open_nursery() as nursery:

        async def waiting() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await right.receive_some()

        nursery.start_soon(waiting)
        await trio.testing.wait_all_tasks_blocked()
        reset_stream(left)


async def test_reset_stream_on_a_socket_sends_a_rst() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.testing.open_stream_to_socket_listener(listeners[0])
    server = await listeners[0].accept()
    async with listeners[0], client, server:
        reset_stream(server)
        with pytest.raises(trio.BrokenResourceError):  # after a FIN this would be b""
            await client.receive_some()
        reset_stream(server)  # again changes nothing


def test_a_pair_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        breakable_pair(capacity=0)


async def test_a_prefixed_stream_reads_head_then_rest_once_open() -> None:
    left, right = breakable_pair()
    stream = PrefixedStream(right, b"head", b"rest")
    assert await stream.receive_some() == b"head"
    async with trio.open_nursery() as nursery:

        async def rest() -> None:
            assert await stream.receive_some() == b"rest"
            assert await stream.receive_some() == b"below"

        nursery.start_soon(rest)
        await trio.testing.wait_all_tasks_blocked()
        await left.send_all(b"below")
        assert len(nursery.child_tasks) == 1
        stream.open()
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"up")
    assert await left.receive_some() == b"up"
    await stream.aclose()
    assert await left.receive_some() == b""
