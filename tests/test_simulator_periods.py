from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.periods import Unit, opened, period, trade_date

CHICAGO = ZoneInfo("America/Chicago")
NS = 10**9


def ns(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp()) * NS


@pytest.mark.parametrize(
    ("unit", "number", "at", "start", "end"),
    [
        (Unit.SECOND, 5, "2026-08-19T20:51:33+00:00", "2026-08-19T20:51:30+00:00", "2026-08-19T20:51:35+00:00"),
        (Unit.MINUTE, 15, "2026-08-19T20:51:33+00:00", "2026-08-19T20:45:00+00:00", "2026-08-19T21:00:00+00:00"),
        (Unit.HOUR, 4, "2026-08-19T20:51:33+00:00", "2026-08-19T20:00:00+00:00", "2026-08-20T00:00:00+00:00"),
        (Unit.DAY, 1, "2026-08-19T21:59:59+00:00", "2026-08-18T22:00:00+00:00", "2026-08-19T22:00:00+00:00"),
        (Unit.DAY, 1, "2026-08-19T22:00:00+00:00", "2026-08-19T22:00:00+00:00", "2026-08-20T22:00:00+00:00"),
        # Clocks go back on 1 November 2026: that day has 25 hours; and forward on 8 March: 23.
        (Unit.DAY, 1, "2026-11-01T12:00:00+00:00", "2026-10-31T22:00:00+00:00", "2026-11-01T23:00:00+00:00"),
        (Unit.DAY, 1, "2026-03-08T12:00:00+00:00", "2026-03-07T23:00:00+00:00", "2026-03-08T22:00:00+00:00"),
        # A week is Sunday evening to Sunday evening.
        (Unit.WEEK, 1, "2026-08-19T20:51:33+00:00", "2026-08-16T22:00:00+00:00", "2026-08-23T22:00:00+00:00"),
        (Unit.MONTH, 1, "2026-08-19T20:51:33+00:00", "2026-07-31T22:00:00+00:00", "2026-08-31T22:00:00+00:00"),
        (Unit.MONTH, 3, "2026-01-31T23:00:00+00:00", "2025-12-31T23:00:00+00:00", "2026-03-31T22:00:00+00:00"),
    ],
)  # fmt: skip
def test_periods(unit: Unit, number: int, at: str, start: str, end: str) -> None:
    assert period(unit, number, ns(at)) == (ns(start), ns(end))


@given(
    st.sampled_from(list(Unit)),
    st.integers(1, 40),
    st.integers(ns("1990-01-01T00:00+00:00"), ns("2090-01-01T00:00+00:00")),
)
def test_periods_tile_the_time(unit: Unit, number: int, at: int) -> None:
    start, end = period(unit, number, at)
    assert start <= at < end
    assert period(unit, number, start) == period(unit, number, end - 1) == (start, end)
    assert period(unit, number, end)[0] == end
    if unit >= Unit.DAY:
        assert datetime.datetime.fromtimestamp(start // NS, CHICAGO).time() == datetime.time(17)


def test_a_trade_date_begins_on_the_eve() -> None:
    assert trade_date(ns("2026-08-19T17:00-05:00")) == datetime.date(2026, 8, 20)
    assert opened(datetime.date(2026, 8, 20)) == ns("2026-08-19T17:00-05:00")


@pytest.mark.parametrize("unit", [Unit.DAY, Unit.WEEK, Unit.MONTH])
def test_the_calendar_ends(unit: Unit) -> None:
    with pytest.raises(OverflowError):
        period(unit, 10**9, ns("2026-08-19T17:00-05:00"))
