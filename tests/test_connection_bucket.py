"""The bucket of connects: the bound in every window, the earliest time, and nothing lost by cancellation."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx.connection.bucket import ConnectBucket, Slot

NEAR = 1e-5
START = 250_000.0


def keeps_the_bound(grants: Sequence[float], burst: int, per_s: float) -> bool:
    """Whether every window of T seconds holds at most burst + T * per_s; the windows that matter end in two grants."""
    times = sorted(grants)
    return all(
        j - i + 1 <= burst + (times[j] - times[i]) * per_s + NEAR
        for i in range(len(times))
        for j in range(i, len(times))
    )


def earliest(grants: Sequence[float], now: float, burst: int, per_s: float) -> float:
    """By brute force, the earliest time from ``now`` on at which one more keeps the bound."""
    steps = range(len(grants) + 2)
    candidates = {now, *(at + k / per_s for at in grants for k in steps)}
    return next(at for at in sorted(candidates) if at >= now and keeps_the_bound([*grants, at], burst, per_s))


def test_a_burst_goes_at_once_and_then_one_a_second() -> None:
    bucket = ConnectBucket(5, 1.0)
    assert [bucket.reserve(START).wait(START) for _ in range(9)] == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert [bucket.reserve(START + 100).wait(START + 100) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_it_fills_by_its_rate() -> None:
    bucket = ConnectBucket(2, 0.5)
    assert [bucket.reserve(START).at - START for _ in range(3)] == [0.0, 0.0, 2.0]
    assert bucket.reserve(START + 3.0).at - START == 4.0
    assert bucket.reserve(START + 5.0).at - START == 6.0
    assert [bucket.reserve(START + 9.0).at - START for _ in range(2)] == [9.0, 10.0]


def test_a_slot_given_back_is_the_next_ones_and_nobody_else_is_moved() -> None:
    bucket = ConnectBucket(1, 1.0)
    slots = [bucket.reserve(START) for _ in range(5)]
    assert [slot.at - START for slot in slots] == [0, 1, 2, 3, 4]
    bucket.release(slots[2])
    bucket.release(slots[2])  # again: nothing happens
    assert bucket.reserve(START + 0.5).at - START == 2.0
    assert bucket.reserve(START + 0.5).at - START == 5.0


def test_a_hole_whose_time_has_gone_is_not_filled_later() -> None:
    bucket = ConnectBucket(1, 1.0)
    slots = [bucket.reserve(START) for _ in range(4)]
    bucket.release(slots[1])
    assert bucket.reserve(START + 1.5).at - START == 4.0  # between 2 and 3 there is no room


def test_a_slot_may_be_given_back_in_its_last_moment() -> None:
    bucket = ConnectBucket(1, 1.0)
    _, waiting = bucket.reserve(START), bucket.reserve(START)
    later = bucket.reserve(START + 1)  # comes in the moment in which the other would go
    bucket.release(waiting)
    assert later.at == START + 2
    assert bucket.reserve(START + 1).at == START + 1


def test_all_given_back_is_as_if_nobody_had_come() -> None:
    bucket = ConnectBucket(5, 1.0)
    gone = [bucket.reserve(START) for _ in range(5)]
    waiting = [bucket.reserve(START) for _ in range(1000)]
    assert waiting[-1].at == START + 1000
    for slot in waiting:
        bucket.release(slot)
    assert [bucket.reserve(START + 5).at - START for _ in range(6)] == [5, 5, 5, 5, 5, 6]
    bucket.release(gone[0])  # it was used long ago
    bucket.release(Slot(START + 6))  # it is another's
    assert bucket.reserve(START + 5).at - START == 7


@attrs.frozen
class Come:
    """Somebody comes so much later, and wants to go."""

    after: float


@attrs.frozen
class Cancel:
    """So much later one of those who wait is cancelled."""

    after: float
    which: int


quarters = st.integers(0, 12).map(lambda n: n / 4)
scripts = st.lists(
    st.builds(Come, quarters)
    | st.builds(Come, st.just(0.0))
    | st.builds(Cancel, quarters, st.integers(0, 20)),
    max_size=24,
)


@given(scripts, st.integers(1, 4), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
@settings(max_examples=150)
def test_each_gets_the_earliest_time_that_keeps_the_bound(
    script: list[Come | Cancel], burst: int, per_s: float
) -> None:
    bucket, now = ConnectBucket(burst, per_s), START
    held: list[Slot] = []
    for step in script:
        now += step.after
        if isinstance(step, Cancel):
            waiting = [slot for slot in held if slot.at > now]
            if waiting:
                gone = waiting[step.which % len(waiting)]
                bucket.release(gone)
                held.remove(gone)
            continue
        expected = earliest([slot.at for slot in held], now, burst, per_s)
        slot = bucket.reserve(now)
        assert slot.at == pytest.approx(expected, abs=NEAR)
        assert slot.wait(now) == slot.at - now
        held.append(slot)
    assert keeps_the_bound([slot.at for slot in held], burst, per_s)


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60),
    st.integers(1, 5),
    st.floats(0.05, 50.0),
)
def test_the_bound_holds_for_any_times(script: list[tuple[float, bool]], burst: int, per_s: float) -> None:
    bucket, now = ConnectBucket(burst, per_s), START
    held: list[Slot] = []
    for after, cancel in script:
        now += after
        if cancel and held and held[len(held) // 2].at >= now:
            bucket.release(held.pop(len(held) // 2))
        slot = bucket.reserve(now)
        assert slot.at >= now
        held.append(slot)
    assert keeps_the_bound([slot.at for slot in held], burst, per_s)


def test_a_day_of_callers_that_come_in_storms_and_are_cancelled() -> None:
    rng, bucket, now = random.Random(11), ConnectBucket(5, 1.0), START
    slots: list[Slot] = []
    used: list[float] = []
    while now < START + 86_400:
        now += rng.choice((0.0, 0.0, 0.1, 1.0, 20.0)) * rng.random()
        used += [slot.at for slot in slots if slot.at <= now]
        slots = [slot for slot in slots if slot.at > now]
        if slots and (len(slots) > 15 or rng.random() < 0.3):
            bucket.release(slots.pop(rng.randrange(len(slots))))
        else:
            slots.append(bucket.reserve(now))
    assert len(used) > 10_000
    level, last = 0.0, START
    for at in sorted(used):  # a leaky bucket that never runs over is that bound
        level, last = max(0.0, level - (at - last)) + 1, at
        assert level <= 5 + NEAR
    assert len(bucket._slots) <= len(slots) + 1  # what has gone is not kept


async def test_a_turn_is_given_back_where_its_wait_is_cancelled(autojump_clock: MockClock) -> None:
    bucket = ConnectBucket(1, 1.0)
    went: list[float] = []

    async def go() -> None:
        with bucket.turn(trio.current_time()) as wait_s:
            await trio.sleep(wait_s)
        went.append(trio.current_time())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(go)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as left:
                for _ in range(20):
                    left.start_soon(go)
        nursery.start_soon(go)
    assert [round(at - start, 6) for at in went] == [0.0, 1.0, 2.0, 3.0]


def test_a_turn_is_given_back_whatever_is_raised_and_kept_otherwise() -> None:
    bucket = ConnectBucket(1, 1.0)
    with bucket.turn(START) as wait_s:
        assert wait_s == 0.0
    with pytest.raises(KeyboardInterrupt), bucket.turn(START) as wait_s:
        assert wait_s == 1.0
        raise KeyboardInterrupt
    assert bucket.reserve(START).at == START + 1
