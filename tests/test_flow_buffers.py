from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._config import Overflow
from trio_projectx._events import Dropped, Gap, Quote
from trio_projectx.flow.buffers import Buffer
from trio_projectx.flow.keys import quote_key, quote_stamp


class Item(NamedTuple):
    at: int
    kind: int


def make(capacity: int, policy: Overflow) -> Buffer[Item]:
    return Buffer(capacity, policy, stamp=lambda i: i.at, key=lambda i: i.kind)


def drain(buffer: Buffer[Item]) -> list[Item | Dropped]:
    out = []
    while not buffer.is_empty:
        out.append(buffer.get())
    return out


def test_drop_oldest_puts_the_mark_where_items_are_missing() -> None:
    buffer = make(2, Overflow.DROP_OLDEST)
    for at in range(5):
        buffer.put(Item(at, 0))
    assert drain(buffer) == [Dropped(3, 0, 2), Item(3, 0), Item(4, 0)]


def test_drop_newest_puts_the_mark_behind_what_was_there() -> None:
    buffer = make(2, Overflow.DROP_NEWEST)
    for at in range(5):
        buffer.put(Item(at, 0))
    assert buffer.get() == Item(0, 0)
    buffer.put(Item(9, 0))
    assert drain(buffer) == [Item(1, 0), Dropped(3, 2, 4), Item(9, 0)]


@pytest.mark.parametrize("capacity", [1, 2, 64])
@pytest.mark.parametrize("policy", [Overflow.DROP_OLDEST, Overflow.CONFLATE])
def test_a_reader_that_is_always_too_slow_gets_items_between_its_marks(
    policy: Overflow, capacity: int
) -> None:
    """Three come for each that is taken: of what is taken, every other at least is an item, and marks are in place."""
    buffer = make(capacity, policy)
    taken: list[Item | Dropped] = []
    for at in range(600):
        buffer.put(Item(at, at))
        if at % 3 == 2:
            taken.append(buffer.get())
    pairs = itertools.pairwise(taken)
    assert not any(isinstance(one, Dropped) and isinstance(other, Dropped) for one, other in pairs)
    stamps = [
        stamp
        for each in taken
        for stamp in (each[:1] if isinstance(each, Item) else (each.first_ts, each.last_ts))
    ]
    assert policy is Overflow.CONFLATE or stamps == sorted(stamps)
    told = sum(each.count for each in [*taken, *drain(buffer)] if isinstance(each, Dropped))
    assert told == buffer.dropped


def test_conflate_replaces_in_place_by_key_and_marks_a_key_too_many() -> None:
    buffer = make(2, Overflow.CONFLATE)
    for item in [Item(0, 1), Item(1, 2), Item(2, 1), Item(3, 3)]:
        buffer.put(item)
    assert buffer.conflated == 1
    assert drain(buffer) == [Dropped(1, 2, 2), Item(1, 2), Item(3, 3)]


def test_empty_buffer_has_nothing() -> None:
    buffer = make(1, Overflow.DROP_OLDEST)
    assert buffer.is_empty
    assert buffer.span() is None
    with pytest.raises(IndexError):
        buffer.get()


POLICIES = st.sampled_from([Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.CONFLATE])
STEPS = st.lists(st.one_of(st.integers(0, 3), st.just("get"), st.just("discard")), max_size=200)


@given(st.integers(1, 5), POLICIES, STEPS)
def test_every_item_is_delivered_once_in_order_or_counted(
    capacity: int, policy: Overflow, steps: list[object]
) -> None:
    """The bound, the equation and the marks hold after every step, whatever is done."""
    buffer = make(capacity, policy)
    out: list[Item | Dropped] = []
    discarded = 0
    for at, step in enumerate(steps):
        if step == "get":
            if not buffer.is_empty:
                out.append(buffer.get())
        elif step == "discard":
            discarded += sum(m.count for m in buffer._items if isinstance(m, Dropped)) + len(buffer)
            buffer.discard()
        else:
            assert isinstance(step, int)
            buffer.put(Item(at, step))
        assert len(buffer) <= capacity
        assert buffer.high_water <= capacity
        assert buffer.offered == buffer.delivered + buffer.conflated + buffer.dropped + len(buffer)
    out += drain(buffer)
    items = [i for i in out if isinstance(i, Item)]
    marks = [m for m in out if isinstance(m, Dropped)]
    assert len(items) == buffer.delivered
    assert sum(m.count for m in marks) + discarded == buffer.dropped
    if policy is not Overflow.CONFLATE:
        stamps = [i.at if isinstance(i, Item) else i.first_ts for i in out]
        assert stamps == sorted(stamps)
        assert all(m.first_ts <= m.last_ts for m in marks)


@pytest.mark.parametrize("is_late", [False, True])
def test_what_replaces_an_item_from_before_a_gap_stands_behind_the_gap(is_late: bool) -> None:
    policy = Overflow.DROP_OLDEST if is_late else Overflow.CONFLATE
    buffer: Buffer[Quote | Gap] = Buffer(10, policy, stamp=quote_stamp, key=quote_key)
    gap = Gap("X", 1, 6, "lost")
    for item in (Quote("X", 1, 1), gap):
        buffer.put(item)
    if is_late:  # memory got scarce
        buffer.conflate()
    buffer.put(Quote("X", 6, 6))
    buffer.put(Quote("X", 7, 7))
    assert [buffer.get(), buffer.get()] == [gap, Quote("X", 7, 7)]
    for stamp in (8, 9):  # and where none waits, in place
        buffer.put(Quote("X", stamp, stamp))
        buffer.put(Quote("Y", stamp, stamp))
    assert [buffer.get(), buffer.get()] == [Quote("X", 9, 9), Quote("Y", 9, 9)]
    assert buffer.is_empty
    assert buffer.offered == buffer.delivered + buffer.conflated


@pytest.mark.parametrize(
    ("policy", "capacity"),
    [(Overflow.DROP_OLDEST, 1), (Overflow.DROP_NEWEST, 1), (Overflow.CONFLATE, 1)],
)
def test_a_gap_that_is_left_out_is_inside_of_its_mark(policy: Overflow, capacity: int) -> None:
    buffer: Buffer[Quote | Gap] = Buffer(capacity, policy, stamp=quote_stamp, key=quote_key)
    for item in (Quote("X", 1, 1), Gap("X", 5, 30, "lost"), Quote("X", 30, 30), Quote("X", 31, 31)):
        buffer.put(item)
    marks = [item for item in drain(buffer) if isinstance(item, Dropped)]  # type: ignore[arg-type]
    assert any(mark.first_ts <= 5 and mark.last_ts >= 30 for mark in marks)


def test_a_mark_spans_all_that_it_counts_in_whatever_order_they_came() -> None:
    buffer = make(1, Overflow.DROP_OLDEST)
    for at in (5, 9, 3, 7, 8):
        buffer.put(Item(at, 0))
    assert drain(buffer) == [Dropped(4, 3, 9), Item(8, 0)]


def test_looks_are_seen_in_the_high_water() -> None:
    buffer = make(1, Overflow.BLOCK)
    buffer.put(Item(0, 9))
    for kind in range(4):
        buffer.put_latest(Item(1, kind))
    assert (len(buffer), buffer.high_water) == (5, 5)


@pytest.mark.parametrize("policy", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_a_mark_spans_all_that_is_missing_also_where_it_is_out_of_order(policy: Overflow) -> None:
    """Bars of several timeframes: one of an hour is given behind those of its minutes, and begins before them."""
    buffer = make(1, policy)
    for at in (5, 6, 2, 9, 4, 5):
        buffer.put(Item(at, 0))
    wanted = Dropped(5, 2, 9)
    assert buffer.mark() == wanted
    assert wanted in drain(buffer)
    assert buffer.mark() is None


def test_the_mark_of_all_that_wait() -> None:
    buffer = make(2, Overflow.DROP_NEWEST)
    assert buffer.mark() is None
    for at in (1, 2, 3):
        buffer.put(Item(at, 0))
    buffer.get()
    buffer.put(Item(4, 0))
    buffer.put(Item(0, 0))
    assert buffer.mark() == Dropped(2, 0, 3)
    assert drain(buffer) == [Item(2, 0), Dropped(1, 3, 3), Item(4, 0), Dropped(1, 0, 0)]
