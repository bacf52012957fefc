"""The adapter for pandas_market_calendars: against our own table, a calendar made here, and without the package."""

from __future__ import annotations

import datetime
import subprocess
import sys
import types
import warnings
from typing import Any

import pytest
from test_bars_reference import GRID, S, Tick, batch

from trio_projectx import ConfigError
from trio_projectx.bars import Anchor, BarSet, Sessions, market_calendar


@pytest.fixture(scope="module")
def package() -> types.ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas says to it is not ours to mend
        return pytest.importorskip("pandas_market_calendars", reason="the extra calendars is not installed")


@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_our_table_on_ordinary_days(package: types.ModuleType) -> None:
    theirs = market_calendar("CME Globex Equity", "2026-02-02", "2026-02-13")
    assert theirs.segments("2026-02-01", "2026-02-28") == Sessions.cme("EQ").segments(
        "2026-02-02", "2026-02-13"
    )
    assert (theirs.known_from, theirs.known_through) == (
        datetime.date(2026, 2, 2),
        datetime.date(2026, 2, 13),
    )
    assert theirs.name == "CME Globex Equity of pandas_market_calendars"


@pytest.mark.filterwarnings("ignore")
def test_breaks_part_the_day_and_bars_do_not_cross_them(package: types.ModuleType) -> None:
    tokyo = market_calendar("JPX", "2026-02-02", "2026-02-06")
    day = tokyo.segments("2026-02-03", "2026-02-03")
    assert [(opens // S % 86_400, closes // S % 86_400) for _, opens, closes in day] == [
        (0, 9000),
        (12_600, 23_400),
    ]
    hours = Anchor.session(tokyo).edges("1h")
    assert hours.interval(day[0][2] - 1) == (day[0][1] + 7200 * S, day[0][2])
    bars = BarSet("C", ["1d"], anchor=Anchor.session(tokyo), grid=GRID, lateness_ns=0)
    (bar,) = bars.update(batch([Tick(day[0][1]), Tick(day[1][2] - 1), Tick(day[1][2] + 86_400 * S)]))
    assert (bar.trades, str(bar.trade_date)) == (2, "2026-02-03")


@pytest.mark.filterwarnings("ignore")
def test_a_calendar_of_ones_own_with_interruptions(package: types.ModuleType) -> None:
    class Mine(package.MarketCalendar):  # type: ignore[misc, name-defined]
        regular_market_times = {  # noqa: RUF012
            "market_open": ((None, datetime.time(9)),),
            "market_close": ((None, datetime.time(17)),),
        }

        @property
        def name(self) -> str:
            return "MINE"

        @property
        def tz(self) -> Any:
            return datetime.UTC

        @property
        def interruptions(self) -> list[tuple[str, datetime.time, datetime.time]]:
            ten, eleven = datetime.time(10), datetime.time(11)
            return [("2026-02-03", ten, eleven, datetime.time(8), datetime.time(9))]  # type: ignore[list-item]

    found = market_calendar(Mine(), datetime.date(2026, 2, 2), "2026-02-03")
    segments = found.segments("2026-02-02", "2026-02-03")
    hours = [(opens // S % 86_400 // 3600, closes // S % 86_400 // 3600) for _, opens, closes in segments]
    assert hours == [(9, 17), (9, 10), (11, 17)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("calendar", "last", "says"),
    [
        ("MARS", "2026-02-06", "has no calendar 'MARS'"),
        (5, "2026-02-06", "must be a name or a calendar"),
        ("NYSE", "2026-01-31", "NYSE has no session from 2026-01-31 to 2026-01-31"),
        ("NYSE", "tomorrow", "NYSE gives no schedule"),
    ],
)
def test_what_cannot_be_had_is_refused(
    package: types.ModuleType, calendar: object, last: str, says: str
) -> None:
    first = last if last < "2026-02" else "2026-02-02"
    with pytest.raises(ConfigError, match=says):
        market_calendar(calendar, first, last)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas_market_calendars", None)
    with pytest.raises(ConfigError, match=r"trio-projectx\[calendars\]"):
        market_calendar("NYSE", "2026-02-02", "2026-02-06")


def test_it_costs_nothing_until_it_is_asked() -> None:
    code = (
        "import sys, trio_projectx as px; early = {'pandas', 'trio_projectx.simulator'} & set(sys.modules);"
        "assert px.simulator.open_simulator; sys.exit(len(early))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
