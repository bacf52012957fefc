from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import S, Tick, arrivals, batch, latenesses

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.builder import AFTER_ALL, BEFORE_ALL, Builder

ANCHOR = Anchor.utc()


def builder(timeframe: str, source: Builder | None = None) -> Builder:
    frame = Timeframe(timeframe)
    return Builder(frame, ANCHOR.edges(frame), source)


def feed(to: Builder, rows: list[Tick], youngest: int = BEFORE_ALL, lateness: int = 0) -> bool:
    ts = [row.ts for row in rows]
    return to.feed(batch(rows), min(ts), max(ts), ts == sorted(ts), youngest, lateness)


def shape(bars: list[OpenBar]) -> list[tuple[int, int, int]]:
    return [(bar.start, bar.end, bar.trades) for bar in bars]


def test_a_batch_inside_the_current_bar_changes_no_structure() -> None:
    second = builder("1s")
    assert feed(second, [Tick(0)])
    assert second.next_end == S
    assert not feed(second, [Tick(9), Tick(3), Tick(S - 1)], youngest=0)
    assert not feed(second, [Tick(at) for at in range(20)], youngest=S - 1)
    assert feed(second, [Tick(S)], youngest=S - 1)
    assert shape(second.open_parts()) == [(0, S, 24), (S, 2 * S, 1)]


def test_settling_closes_what_is_final_in_order_and_hands_it_on() -> None:
    second = builder("1s")
    minute = builder("1m", second)
    feed(second, [Tick(61 * S), Tick(2 * S), Tick(0)], lateness=100 * S)
    second.settle(S - 1)
    assert second.take_closed() == []
    second.settle(3 * S)
    assert shape(second.take_closed()) == [(0, S, 1), (2 * S, 3 * S, 1)]
    assert (second.in_bars, second.next_end, minute.next_end) == (2, 62 * S, 60 * S)
    assert shape(minute.open_parts()) == [(0, 60 * S, 2), (61 * S, 62 * S, 1)]
    assert (second.own_open_volume(), minute.own_open_volume()) == (1, 2)
    second.settle(60 * S)
    assert (second.take_closed(), shape(minute.take_closed())) == ([], [(0, 60 * S, 2)])
    second.settle(AFTER_ALL)
    assert shape(second.take_closed() + minute.take_closed()) == [(61 * S, 62 * S, 1), (60 * S, 120 * S, 1)]
    assert (second.next_end, minute.next_end, minute.in_bars, minute.open_parts()) == (
        AFTER_ALL,
        AFTER_ALL,
        3,
        [],
    )


def test_a_late_trade_is_offered_up_to_where_it_is_in_time() -> None:
    second = builder("1s")
    five = builder("5s", second)
    minute = builder("1m", five)
    feed(second, [Tick(0), Tick(7 * S), Tick(1)])
    assert (second.late, five.late, minute.late) == (1, 1, 0)
    assert shape(minute.open_parts()) == [(0, 60 * S, 2), (7 * S, 8 * S, 1)]
    feed(second, [Tick(6 * S)], youngest=7 * S)
    assert (second.late, five.late, minute.late) == (2, 1, 0)
    feed(second, [Tick(60 * S), Tick(3)], youngest=7 * S)
    assert (second.late, five.late, minute.late) == (3, 2, 1)


def test_forming_leaves_the_builder_as_it_is() -> None:
    second = builder("1s")
    minute = builder("1m", second)
    assert minute.forming() is None
    feed(second, [Tick(59 * S), Tick(60 * S), Tick(61 * S)], lateness=10 * S)
    for _ in range(2):
        bar = minute.forming()
        assert bar is not None
        assert shape([bar]) == [(60 * S, 120 * S, 2)]
        assert minute.own_open_volume() == 0


@settings(max_examples=60)
@given(rows=arrivals(), lateness=latenesses, prefix=st.integers(0, 60))
def test_each_way_of_feeding_comes_to_the_same(rows: list[Tick], lateness: int, prefix: int) -> None:
    """Runs, whole batches and single trades: what differs is which of them a call takes."""
    one, many = builder("1s"), builder("1s")
    coarse_one, coarse_many = builder("5s", one), builder("5s", many)
    youngest = BEFORE_ALL
    for row in rows:
        feed(one, [row], youngest, lateness)
        youngest = max(youngest, row.ts)
    head, tail = rows[:prefix], rows[prefix:]
    if head:
        feed(many, head, BEFORE_ALL, lateness)
    if tail:
        feed(many, tail, max((row.ts for row in head), default=BEFORE_ALL), lateness)
    for each in (one, many):
        each.settle(AFTER_ALL)
    for left, right in ((one, many), (coarse_one, coarse_many)):
        assert left.late == right.late
        assert shape(left.take_closed()) == shape(right.take_closed())


@pytest.mark.parametrize("count", range(1, 20))
def test_runs_around_the_length_where_the_way_changes(count: int) -> None:
    second = builder("1s")
    rows = [Tick(at, ticks=at) for at in range(count)] + [Tick(S + at, ticks=-at) for at in range(count)]
    feed(second, rows)
    second.settle(AFTER_ALL)
    first, last = second.take_closed()
    assert (first.open, first.high, first.close, first.trades) == (0, count - 1, count - 1, count)
    assert (last.open, last.low, last.close, last.trades) == (0, 1 - count, 1 - count, count)
