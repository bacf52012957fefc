from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS

from trio_projectx.simulator.candles import Candle
from trio_projectx.simulator.history import DEPTH_NS, BarQuery, bars
from trio_projectx.simulator.past import Past, Rates
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.periods import Unit, period
from trio_projectx.simulator.products import listed
from trio_projectx.simulator.truth import TradeColumns

NOW = START_NS + 17 * 10**9
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


def found(past: Past, query: BarQuery, now: int = NOW, limit: int = 100_000) -> list[tuple[int, Candle]]:
    return list(itertools.islice((bar for bar in bars(past, query, now) if bar is not None), limit))


@pytest.fixture(scope="module")
def past() -> Past:
    return Past(3, listed("CON.F.US.MNQ.U26"), Rates(), NOW)


def asked(unit: Unit, number: int, start: int, end: int = NOW, *, partial: bool = True) -> BarQuery:
    return BarQuery(start, end, unit, number, partial)


@pytest.mark.parametrize(
    ("unit", "number", "span"),
    [
        (Unit.SECOND, 1, 10 * MINUTE_NS), (Unit.SECOND, 7, 10 * MINUTE_NS), (Unit.MINUTE, 1, 3 * HOUR_NS),
        (Unit.MINUTE, 7, 5 * HOUR_NS), (Unit.HOUR, 1, 3 * DAY_NS), (Unit.HOUR, 4, 5 * DAY_NS),
        (Unit.DAY, 1, 9 * DAY_NS), (Unit.WEEK, 1, 60 * DAY_NS), (Unit.MONTH, 1, 400 * DAY_NS),
    ],
)  # fmt: skip
def test_bars_of_every_unit_are_made_of_the_finer_ones(
    past: Past, unit: Unit, number: int, span: int
) -> None:
    """Each bar newest first, on its period, and equal to the seconds, minutes or hours in it put together."""
    wanted = found(past, asked(unit, number, NOW - span))
    starts = [start for start, _ in wanted]
    assert starts == sorted(set(starts), reverse=True)
    assert len(starts) > 4
    finer = Unit.SECOND if unit is Unit.SECOND else Unit.MINUTE if unit <= Unit.HOUR else Unit.HOUR
    for start, candle in wanted[:6]:
        begin, end = period(unit, number, start)
        assert start == begin
        whole: Candle | None = None
        for _, part in reversed(found(past, asked(finer, 1, begin, min(end, NOW)))):
            whole = part if whole is None else whole.merged(part)
        assert candle == whole


def test_a_window_is_half_open_and_only_starts_count(past: Past) -> None:
    begin = START_NS - 10 * MINUTE_NS
    starts = [start for start, _ in found(past, asked(Unit.MINUTE, 1, begin, begin + 3 * MINUTE_NS))]
    assert starts == [begin + 2 * MINUTE_NS, begin + MINUTE_NS, begin]
    starts = [start for start, _ in found(past, asked(Unit.MINUTE, 1, begin + 1, begin + 3 * MINUTE_NS + 1))]
    assert starts == [begin + 3 * MINUTE_NS, begin + 2 * MINUTE_NS, begin + MINUTE_NS]
    assert found(past, asked(Unit.MINUTE, 1, begin, begin)) == []
    assert found(past, asked(Unit.MINUTE, 1, begin, begin - DAY_NS)) == []
    assert found(past, asked(Unit.MINUTE, 1, NOW + 1, NOW + DAY_NS)) == []


def test_the_end_of_a_window_cuts_no_bar(past: Past) -> None:
    begin = START_NS - 31 * MINUTE_NS  # 20:20
    whole = found(past, asked(Unit.MINUTE, 5, begin, begin + 5 * MINUTE_NS))
    assert whole == found(past, asked(Unit.MINUTE, 5, begin, begin + 1))


@pytest.mark.parametrize("unit", list(Unit))
def test_the_bar_that_is_not_over_is_told_only_to_who_wants_it(past: Past, unit: Unit) -> None:
    begin, end = period(unit, 1, NOW)
    query = asked(unit, 1, NOW - 3 * (end - begin), NOW + DAY_NS)
    now = NOW + 300_000_000  # not at the edge of a second
    with_it, without = found(past, query, now), found(past, attrs_without(query), now)
    assert with_it[0][0] == begin
    assert with_it[1:] == without


def attrs_without(query: BarQuery) -> BarQuery:
    return BarQuery(query.start_ns, query.end_ns, query.unit, query.number, with_partial=False)


@pytest.mark.parametrize("unit", list(Unit))
def test_history_is_only_so_deep(past: Past, unit: Unit) -> None:
    deepest = NOW - DEPTH_NS[unit]
    oldest = found(
        past, asked(unit, 1, deepest - DAY_NS, deepest + 40 * DAY_NS if unit > 3 else deepest + HOUR_NS)
    )
    assert deepest <= oldest[-1][0] <= deepest + 40 * DAY_NS


def test_spans_without_a_trade_are_absent() -> None:
    tape = Past.of_tape()
    stamps = [minute * MINUTE_NS + 1 for minute in (3, 4, 9, 70)]
    tape.add(TradeColumns(stamps, [1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], [0] * 4))
    now = stamps[-1]
    assert [start // MINUTE_NS for start, _ in found(tape, asked(Unit.MINUTE, 1, 0, now + 1), now)] == [
        70,
        9,
        4,
        3,
    ]
    five = found(tape, asked(Unit.MINUTE, 5, 0, now + 1), now)
    assert [(start // MINUTE_NS, candle.volume) for start, candle in five] == [(70, 1), (5, 1), (0, 2)]
    assert [start for start, _ in found(tape, asked(Unit.SECOND, 1, 0, now + 1), now)] == [
        minute * MINUTE_NS for minute in (70, 9, 4, 3)
    ]
    assert [start // HOUR_NS for start, _ in found(tape, asked(Unit.HOUR, 1, 0, now + 1), now)] == [1, 0]


@given(st.integers(1, 300), st.integers(0, 600), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_a_part_of_a_window_is_a_part_of_its_bars(begin: int, length: int, number: int) -> None:
    past = Past(3, listed("CON.F.US.MES.U26"), Rates(), NOW)
    start = START_NS - (begin + 60 + length) * MINUTE_NS
    end = start + length * MINUTE_NS
    wide = found(past, asked(Unit.MINUTE, number, start - DAY_NS, end))
    assert found(past, asked(Unit.MINUTE, number, start, end)) == [bar for bar in wide if bar[0] >= start]


def test_others_get_a_turn_while_minutes_are_made_again() -> None:
    past = Past(3, listed("CON.F.US.MNQ.U26"), Rates(), NOW)
    for unit in (Unit.HOUR, Unit.DAY, Unit.SECOND):
        made = past.made
        for _ in bars(past, asked(unit, 1, NOW - DAY_NS), NOW):
            assert past.made - made <= 2  # one dense minute at most between two turns, and the forming one
            made = past.made
