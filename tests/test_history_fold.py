"""Folding, and which of the service's bars are folded: never one across an edge of ours."""

from __future__ import annotations

import datetime
from itertools import pairwise

import pytest
from history_tools import DAY, HOUR, MINUTE, MNQ, SECOND, T0, candle, folded

from trio_projectx import Timeframe, TimeframeError
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.history.fold import fold
from trio_projectx.history.rolls import legs
from trio_projectx.history.table import SCHEMA, UNKNOWN, to_table
from trio_projectx.history.units import source_of

EQ = Anchor.session(Sessions.cme("EQ"))
RTH = Anchor.session(Sessions.cme("EQ", "RTH"))
UTC = Anchor.utc()
KOLKATA = Anchor.wall("Asia/Kolkata")
BERLIN = Anchor.wall("Europe/Berlin")

SOURCES = [
    ("5s", UTC, "5s"),
    ("7s", UTC, "1s"),
    ("90s", EQ, "1s"),
    ("1m", EQ, "1m"),
    ("5m", EQ, "5m"),
    ("7m", EQ, "1m"),
    ("15m", RTH, "15m"),
    ("1h", UTC, "1h"),
    ("1h", EQ, "1h"),
    ("1h", RTH, "1m"),
    ("4h", UTC, "1h"),
    ("4h", EQ, "1h"),
    ("1d", EQ, "1h"),
    ("1d", RTH, "1m"),
    ("1d", UTC, "1h"),
    ("1d", KOLKATA, "1m"),
    ("1d", BERLIN, "1h"),
    ("1w", EQ, "1h"),
    ("1M", EQ, "1h"),
    ("30m", KOLKATA, "30m"),
    ("45m", KOLKATA, "1m"),
]


@pytest.mark.parametrize(("label", "anchor", "source"), SOURCES)
def test_the_longest_bars_that_no_edge_cuts(label: str, anchor: Anchor, source: str) -> None:
    frame = Timeframe(label)
    found = source_of(frame, anchor, T0, T0 + 20 * DAY)
    assert found.label == source
    edges = anchor.edges(frame)
    at = edges.interval(T0)[0]
    while at < T0 + 3 * DAY:
        assert at % found.step_ns == 0
        at = edges.interval(at)[1]


def test_an_early_close_within_an_hour_asks_for_minutes() -> None:
    def at(date: str) -> int:
        return int(datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC).timestamp()) * SECOND

    day = Timeframe("1d")
    assert (
        source_of(day, EQ, at("2025-11-28"), at("2025-11-29")).label == "1m"
    )  # closes at 12:15 Chicago time
    assert source_of(day, EQ, at("2025-11-18"), at("2025-11-20")).label == "1h"


def test_there_is_no_history_of_bars_that_do_not_end_by_time() -> None:
    with pytest.raises(TimeframeError, match="tick:500"):
        source_of(Timeframe("tick:500"), UTC, T0, T0 + DAY)


@pytest.mark.parametrize(("label", "step"), [("5m", 5 * MINUTE), ("1h", HOUR), ("1d", DAY)])
def test_folded_bars_are_those_of_the_independent_sum(label: str, step: int) -> None:
    minutes = [candle(T0 + n * MINUTE) for n in range(3 * 1440) if n % 7]
    got = fold(MNQ, minutes, MINUTE, UTC.edges(label), now_ns=T0 + 3 * DAY, known_from=T0)
    assert [(bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in got.bars] == [
        (c.start, c.open, c.high, c.low, c.close, c.volume) for c in folded(minutes, step)
    ]
    assert all(bar.end == bar.start + step and not bar.partial for bar in got.bars)
    assert (got.forming, got.straddling) == (0, 0)


def test_session_days_are_the_sessions_and_not_the_services() -> None:
    hours = [candle(T0 + n * HOUR) for n in range(-48, 48)]
    got = fold(MNQ, hours, HOUR, EQ.edges("1d"), now_ns=T0 + 9 * DAY, known_from=T0 - 48 * HOUR)
    days = [bar for bar in got.bars if bar.scheduled]
    assert days[-2].trade_date == datetime.date(2026, 8, 19)
    opens = T0 + 22 * HOUR  # 17:00 in Chicago on the 18th
    assert (days[-2].start, days[-2].end) == (opens, opens + 23 * HOUR)
    inside = [c for c in hours if opens <= c.start < opens + 23 * HOUR]
    assert days[-2].volume == sum(c.volume for c in inside)
    # The hour of the break belongs to no session, and is not lost.
    assert sum(bar.volume for bar in got.bars) == sum(c.volume for c in hours if c.start >= got.bars[0].start)


def test_a_day_that_closes_for_hours_and_opens_again_is_one_bar() -> None:
    """A holiday's trade date has two segments; a trade in between has a bar of its own and does not end the day's."""
    sessions = Sessions.from_segments(
        [("2026-08-18", T0, T0 + 4 * HOUR), ("2026-08-18", T0 + 8 * HOUR, T0 + 12 * HOUR)]
    )
    hours = [candle(T0 + n * HOUR) for n in range(12)]
    edges = Anchor.session(sessions).edges("1d")
    got = fold(MNQ, hours, HOUR, edges, now_ns=T0 + DAY, known_from=T0)
    day, between = got.bars
    assert (day.start, day.end, day.scheduled) == (T0, T0 + 12 * HOUR, True)
    assert day.volume == sum(c.volume for c in hours[:4] + hours[8:])
    assert (day.open, day.close) == (hours[0].open, hours[11].close)
    assert (between.start, between.end, between.scheduled) == (T0 + 4 * HOUR, T0 + 8 * HOUR, False)
    assert between.volume == sum(c.volume for c in hours[4:8])


@pytest.mark.parametrize("behind", [0, 30 * SECOND, 20 * MINUTE, 365 * DAY])
def test_the_bar_that_is_not_over_is_left_out_and_no_other(behind: int) -> None:
    """A clock that is behind sees by the bars themselves how late it is."""
    minutes = [candle(T0 + n * MINUTE) for n in range(10)]
    now = T0 + 9 * MINUTE + 30 * SECOND - behind
    got = fold(MNQ, minutes, MINUTE, UTC.edges("1m"), now_ns=now, known_from=T0)
    assert [bar.start for bar in got.bars] == [c.start for c in minutes[:-1]]
    assert got.forming == 1


def test_a_bar_whose_beginning_is_not_known_is_left_out() -> None:
    minutes = [candle(T0 + n * MINUTE) for n in range(3, 20)]
    got = fold(MNQ, minutes, MINUTE, UTC.edges("5m"), now_ns=T0 + DAY, known_from=T0 + 3 * MINUTE)
    assert [bar.start for bar in got.bars] == [T0 + n * MINUTE for n in (5, 10, 15)]


def test_a_bar_of_theirs_over_an_edge_of_ours_marks_it() -> None:
    got = fold(MNQ, [candle(T0)], HOUR, UTC.edges("5m"), now_ns=T0 + DAY, known_from=T0)
    assert (got.straddling, got.bars[0].partial) == (1, True)


def test_the_table_says_what_is_known_and_null_for_the_rest() -> None:
    minutes = [candle(T0 + n * MINUTE) for n in range(5)]
    bars = fold(MNQ, minutes, MINUTE, EQ.edges("1m"), now_ns=T0 + DAY, known_from=T0).bars
    table = to_table(bars, {"pages": "3"})
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata == {b"pages": b"3"}
    for name in UNKNOWN:
        assert table[name].null_count == 5
    assert table["source"].to_pylist() == ["history"] * 5
    assert table["contract_id"].to_pylist() == [MNQ] * 5
    assert table["start"].cast("int64").to_pylist() == [c.start for c in minutes]
    assert table["close"].to_pylist() == [c.close for c in minutes]
    assert table["trade_date"].to_pylist() == [datetime.date(2026, 8, 18)] * 5
    assert to_table([]).num_rows == 0


@pytest.mark.parametrize("sessions", [None, Sessions.cme("EQ")])
def test_legs_follow_each_other_without_a_hole(sessions: Sessions | None) -> None:
    start, end = T0 - 400 * DAY, T0 + 100 * DAY
    found = legs("ES", start, end, sessions)
    assert [leg.contract_id[-3:] for leg in found] == ["U25", "Z25", "H26", "M26", "U26", "Z26"]
    assert (found[0].start, found[-1].end) == (start, end)
    for one, other in pairwise(found):
        assert one.end == other.start
    if sessions is not None:
        # It gives way with an open: the first of the roll's trade date, on the evening before.
        date = sessions.trade_date(found[1].start)
        assert date == datetime.date(2025, 9, 11)
        assert sessions.trade_date(found[1].start - 2 * HOUR) == datetime.date(2025, 9, 10)
