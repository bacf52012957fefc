"""Pages: whatever the cap, the order and the borders, each bar comes once and none is missing."""

from __future__ import annotations

import random

import pytest
from history_tools import DAY, GRID, MINUTE, SECOND, T0, FakeService, candle, wire
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ProtocolError
from trio_projectx.connection.answers import BarsQuestion, WireCandle
from trio_projectx.history.candles import Candle, read_page
from trio_projectx.history.paging import LIMITS, Pager, Span


def run(pager: Pager, service: FakeService, most: int = 200) -> Pager:
    for _ in range(most):
        span = pager.next
        if span is None:
            return pager
        question = BarsQuestion("c", 2, 1, span.start, span.end, span.limit)
        service.asked.append(question)
        pager.take(read_page(service.answer(question), GRID, MINUTE))
    raise AssertionError("it does not end")


def minutes(count: int, share: float = 1.0) -> list[Candle]:
    rng = random.Random(count)
    return [candle(T0 + n * MINUTE) for n in range(count) if rng.random() < share]


@pytest.mark.parametrize("cap", [1_000, 20_000])
@pytest.mark.parametrize("inclusive", [False, True])
def test_both_caps_that_are_told_of(cap: int, *, inclusive: bool) -> None:
    bars = minutes(21_500, 0.97)
    service = FakeService(bars, cap=cap, inclusive=inclusive)
    pager = run(Pager(T0, T0 + 21_500 * MINUTE), service)
    assert pager.candles == bars
    assert pager.cap == (1_000 if cap == 1_000 else None)  # a page of 20,000 is what was asked for
    assert pager.known_from == T0
    assert not pager.conflicts
    assert {question.limit for question in service.asked} == {20_000}


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(0, 60),
    share=st.floats(0.1, 1),
    cap=st.integers(1, 25),
    inclusive=st.booleans(),
    shuffled=st.booleans(),
    doubled=st.integers(0, 3),
    cut=st.tuples(st.integers(-70, 70 * 60), st.integers(-70, 70 * 60)),
)
def test_every_bar_once_whatever_the_service_does(
    count: int, share: float, cap: int, inclusive: bool, shuffled: bool, doubled: int, cut: tuple[int, int]
) -> None:
    bars = minutes(count, share)
    service = FakeService(bars, cap=cap, inclusive=inclusive, shuffled=shuffled, doubled=doubled)
    start, end = (T0 + each * SECOND for each in cut)
    pager = run(Pager(start, end), service)
    assert pager.candles == [bar for bar in bars if start <= bar.start < end]
    assert not pager.conflicts
    assert pager.known_from == start
    # Nothing is asked twice; but where the end lies within a second of a bar, the question that reaches over that bar
    # may be the one before it.
    asked_once = len({(q.start_ns, q.end_ns) for q in service.asked})
    is_near = any(start <= bar.start < end <= bar.start + SECOND for bar in bars)
    assert asked_once >= len(service.asked) - is_near
    assert pager.doubts == 0
    assert pager.is_proven is (pager.size > 0 or end <= start)


@settings(max_examples=80, deadline=None)
@given(count=st.integers(0, 40), wanted=st.integers(1, 50), cap=st.integers(1, 25), inclusive=st.booleans())
def test_the_youngest_so_many(count: int, wanted: int, cap: int, inclusive: bool) -> None:
    bars = minutes(count)
    service = FakeService(bars, cap=cap, inclusive=inclusive)
    pager = run(Pager(T0, T0 + 60 * MINUTE, wanted), service)
    got = pager.candles
    assert got == bars[len(bars) - len(got) :]
    assert min(wanted, count) <= len(got) <= wanted + cap
    assert pager.known_from <= (got[0].start if got else T0)


def test_nothing_to_ask_for() -> None:
    assert Pager(T0, T0).next is None
    assert Pager(T0 + 1, T0).candles == []


def test_instants_within_a_second_are_asked_for_as_whole_ones() -> None:
    assert Pager(T0 + 1, T0 + MINUTE + 1).next == Span(T0 + SECOND, T0 + MINUTE + SECOND, 20_000)


def test_two_versions_of_a_bar_are_told_and_the_one_that_saw_more_stays() -> None:
    one, more = candle(T0, 1, volume=5), candle(T0, 2, volume=500)
    for order in ((one, more), (more, one)):
        pager = Pager(T0, T0 + MINUTE)
        pager.take(read_page([wire(bar) for bar in order], GRID, MINUTE))
        assert pager.candles == [more]
        assert pager.conflicts == 1


def test_a_smaller_limit_is_asked_for_where_the_service_wants_it() -> None:
    pager = Pager(T0, T0 + MINUTE)
    limits = [pager.next.limit] if pager.next else []
    while pager.refuse_limit():
        assert pager.next is not None
        limits.append(pager.next.limit)
    assert limits == list(LIMITS)


def test_a_page_of_bad_bars_is_no_end() -> None:
    bars = minutes(30)
    page = [wire(bar) for bar in reversed(bars[20:])]
    for bad in page:
        bad.o = None
    pager = Pager(T0, T0 + 30 * MINUTE)
    pager.take(read_page(page, GRID, MINUTE))
    assert pager.next is not None
    assert pager.next.end == bars[20].start + SECOND  # that bar again, and what is older
    pager.take(read_page([wire(bar) for bar in bars[:20]], GRID, MINUTE))
    assert pager.candles == bars[:20]
    assert pager.faults.total() == 10


def test_bars_of_another_time_are_an_error_and_no_endless_loop() -> None:
    pager = Pager(T0, T0 + MINUTE)
    far = [wire(candle(T0 + 99 * MINUTE))]
    with pytest.raises(ProtocolError, match="another time"):
        pager.take(read_page(far, GRID, MINUTE))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-5, 40), max_size=8), max_size=60))
def test_a_service_that_says_anything_is_left_in_the_end(pages: list[list[int]]) -> None:
    """Each answer brings something older, or is one of the last few: a service cannot keep us asking."""
    pager, asked = Pager(T0, T0 + 30 * MINUTE), 0
    answers = iter(pages)
    while pager.next is not None:
        answer: list[WireCandle] = [wire(candle(T0 + n * MINUTE)) for n in next(answers, [])]
        asked += 1
        try:
            pager.take(read_page(answer, GRID, MINUTE))
        except ProtocolError:
            break
    assert asked <= 35


def test_an_empty_answer_between_two_pages_is_no_end() -> None:
    """An empty success in the middle would cut off what is older; the bar at the border shows that it is none."""
    bars = minutes(30)
    pager = Pager(T0, T0 + 30 * MINUTE)
    pager.take(read_page([wire(bar) for bar in bars[20:]], GRID, MINUTE))
    for _ in range(2):
        asked = pager.next
        pager.take(read_page([], GRID, MINUTE))
        assert pager.next == asked
    pager.take(read_page([wire(bar) for bar in bars[:21]], GRID, MINUTE))
    assert pager.next is None
    assert (pager.candles, pager.is_proven, pager.doubts) == (bars, True, 2)
    assert (pager.doubles, pager.conflicts) == (0, 0)


def test_a_border_that_is_never_shown_again_ends_it_and_is_told() -> None:
    bars = minutes(30)
    pager = Pager(T0, T0 + 30 * MINUTE)
    pager.take(read_page([wire(bar) for bar in bars[20:]], GRID, MINUTE))
    for _ in range(3):
        pager.take(read_page([], GRID, MINUTE))
    assert pager.next is None
    assert (pager.candles, pager.is_proven, pager.oldest) == (bars[20:], False, bars[20].start)


def test_an_end_is_proven_by_the_oldest_bar_alone() -> None:
    bars = minutes(5)
    pager = Pager(T0 - DAY, T0 + 30 * MINUTE)
    pager.take(read_page([wire(bar) for bar in bars], GRID, MINUTE))
    assert pager.next is not None
    pager.take(read_page([wire(bars[0])], GRID, MINUTE))
    assert (pager.next, pager.is_proven, pager.known_from) == (None, True, T0 - DAY)
    nothing = Pager(T0, T0 + MINUTE)
    nothing.take(read_page([], GRID, MINUTE))
    assert (nothing.next, nothing.is_proven) == (None, False)
