from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import Bar, Side, Timeframe
from trio_projectx._events import to_datetime


def bar(start: int = 0) -> Bar:
    return Bar(
        contract_id="CON.F.US.MNQ.Z26",
        timeframe=Timeframe("1m"),
        start=start,
        end=start + 60 * 10**9,
        open=1.0,
        high=2.0,
        low=0.5,
        close=1.5,
        volume=3,
        trades=2,
        trade_date=None,
        buy_volume=1,
        sell_volume=2,
        vwap=1.25,
        first_ts=start,
        last_ts=start + 1,
    )


def test_a_bar_is_frozen_and_shows_its_times() -> None:
    b = bar(1_787_172_690_000_000_000)
    with pytest.raises(AttributeError):
        b.close = 2.0  # type: ignore[misc]
    assert b.start_time.isoformat() == "2026-08-19T20:51:30+00:00"
    assert b.end_time.isoformat() == "2026-08-19T20:52:30+00:00"


def test_sides_are_the_wires() -> None:
    assert (Side.BUY, Side.SELL) == (0, 1)


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_display_cuts_to_microseconds_and_never_rounds_up(ts: int) -> None:
    moment = to_datetime(ts)
    delta = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert (delta.days * 86400 + delta.seconds) * 10**6 + delta.microseconds == ts // 1000


@pytest.mark.parametrize(
    ("ts", "shown"),
    [
        (1_762_063_200_000_000_000, "2025-11-02T01:00:00-05:00"),
        (1_762_066_800_000_000_000, "2025-11-02T01:00:00-06:00"),
    ],
)
def test_both_wall_times_of_a_dst_night_are_told_apart(ts: int, shown: str) -> None:
    assert to_datetime(ts, "America/Chicago").isoformat() == shown
