from __future__ import annotations

from itertools import pairwise

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.outbox import FRAME_CHARS, PUT_CHARS, Outbox, frames


@given(st.lists(st.integers(1, FRAME_CHARS + 10), max_size=12))
def test_frames_keep_order_and_size(sizes: list[int]) -> None:
    records = [chr(97 + at) * size for at, size in enumerate(sizes)]
    texts = frames(records)
    assert "".join(texts) == "".join(records)
    assert all(text for text in texts)
    for text in texts:
        assert len(text) <= FRAME_CHARS or text in records
    for left, right in pairwise(texts):
        first_of_right = next(record for record in records if right.startswith(record))
        assert len(left) + len(first_of_right) > FRAME_CHARS


async def test_what_waits_is_taken_as_one_frame_in_order() -> None:
    box = Outbox(limit=100)
    for text in ("a", "b", "c"):
        assert box.offer(text)
    assert await box.take() == "abc"


async def test_frames_taken_stay_below_the_largest() -> None:
    box = Outbox(limit=10 * FRAME_CHARS)
    half = "x" * (FRAME_CHARS // 2 + 1)
    box.offer(half)
    box.offer(half)
    box.offer("y" * (2 * FRAME_CHARS))
    assert await box.take() == half
    assert await box.take() == half
    assert await box.take() == "y" * (2 * FRAME_CHARS)


async def test_an_offer_beyond_the_limit_is_refused_and_changes_nothing() -> None:
    box = Outbox(limit=10)
    assert box.offer("12345678")
    assert not box.offer("9ab")
    assert box.offer("9a")
    assert await box.take() == "123456789a"
    assert box.offer("one text may be longer than the limit")


async def test_a_put_waits_until_there_is_room() -> None:
    box = Outbox(limit=10)
    box.offer("0123456789")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.put, "next")
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        assert await box.take() == "0123456789"
        assert await box.take() == "next"


async def test_a_put_is_never_far_ahead() -> None:
    box = Outbox(limit=1 << 30)
    put = 0

    async def producer() -> None:
        nonlocal put
        while await box.put("x" * 1000):
            put += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer)
        await trio.testing.wait_all_tasks_blocked()
        assert put == PUT_CHARS // 1000
        box.abandon()


async def test_finish_gives_what_waits_then_the_last_then_none() -> None:
    box = Outbox(limit=100)
    box.offer("waits ")
    box.finish("last")
    assert box.is_finished
    assert box.offer("goes nowhere")
    assert not await box.put("goes nowhere")
    box.finish("a second time changes nothing")
    assert await box.take() == "waits last"
    assert await box.take() is None


async def test_abandon_wakes_everybody_and_throws_away() -> None:
    box = Outbox(limit=4)
    results: list[object] = []
    async with trio.open_nursery() as nursery:

        async def note(fn, *args: object) -> None:  # type: ignore[no-untyped-def]
            results.append(await fn(*args))

        nursery.start_soon(note, box.take)
        await trio.testing.wait_all_tasks_blocked()
        box.offer("full")
        await trio.testing.wait_all_tasks_blocked()
        box.offer("more")
        nursery.start_soon(note, box.put, "waits")
        nursery.start_soon(note, box.wait_sent)
        await trio.testing.wait_all_tasks_blocked()
        assert results == ["full"]
        box.abandon()
    assert sorted(map(str, results[1:])) == ["False", "False"]
    assert await box.take() is None
    assert not box.is_finished


async def test_wait_sent_waits_for_the_send_not_for_the_taking() -> None:
    box = Outbox(limit=10)
    box.offer("text")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.wait_sent)
        assert await box.take() == "text"
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        with trio.move_on_after(0.01):
            await box.take()  # asking for the next says that the last one went out
    assert await box.wait_sent()
