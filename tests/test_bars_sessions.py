from __future__ import annotations

import datetime
import json
import logging
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from test_bars_reference import GRID, S, Tick, batch

from trio_projectx import ConfigError
from trio_projectx.bars import Anchor, BarSet, Sessions, aggregate
from trio_projectx.market import products

CHICAGO = zoneinfo.ZoneInfo("America/Chicago")


def ns(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * S


def wall(at: int) -> str:
    return datetime.datetime.fromtimestamp(at // S, CHICAGO).strftime("%Y-%m-%dT%H:%M")


def hours(sessions: Sessions, date: str) -> list[tuple[str, str]]:
    return [(wall(opens), wall(closes)) for _, opens, closes in sessions.segments(date, date)]


@pytest.mark.parametrize("family", ["EQ", "RT", "FX", "EM"])
def test_the_table_is_the_exchanges(family: str, shared: Path) -> None:
    """Each trade date of three years, against the facts that the table was made of."""
    facts = json.loads((shared / "data" / "cme_sessions_2024_2026.json").read_text())
    exceptions = facts["families"][family]["trade_date_exceptions"]
    sessions = Sessions.cme(family)
    assert (sessions.known_from, sessions.known_through) == (
        datetime.date(2024, 1, 1),
        datetime.date(2026, 12, 31),
    )
    day = datetime.date(2024, 1, 1)
    while day <= datetime.date(2026, 12, 31):
        usual = [[f"{day - datetime.timedelta(1)}T17:00", f"{day}T16:00"]] if day.weekday() < 5 else []
        wanted = exceptions.get(str(day), usual)
        assert hours(sessions, str(day)) == [tuple(each) for each in wanted], day
        day += datetime.timedelta(1)
    for ticker in facts["families"][family]["products"]:
        assert Sessions.for_product(ticker) == sessions


def test_every_product_of_the_gateway_has_sessions() -> None:
    for product in products():
        found = Sessions.for_product(product.code)
        assert found == Sessions.for_product(product.ticker or product.code)
        assert found.segments("2026-11-17", "2026-11-18")
    with pytest.raises(ConfigError, match="no sessions are known for 'XYZ'"):
        Sessions.for_product("XYZ")


@pytest.mark.parametrize(
    ("sessions", "date", "wanted"),
    [
        (Sessions.cme("GRAINS"), "2026-11-17", ["16T19:00 17T07:45", "17T08:30 17T13:20"]),
        (Sessions.cme("GRAINS"), "2026-11-16", ["15T19:00 16T07:45", "16T08:30 16T13:20"]),
        (Sessions.cme("LIVESTOCK"), "2026-11-17", ["17T08:30 17T13:05"]),
        (Sessions.cme("CRYPTO"), "2026-11-16", ["13T16:02 14T02:00", "14T04:00 16T16:00"]),
        (Sessions.cme("CRYPTO"), "2026-11-17", ["16T16:02 17T16:00"]),
        (Sessions.cme("CRYPTO"), "2026-05-18", ["17T17:00 18T16:00"]),
        (Sessions.cme("CRYPTO"), "2026-11-15", []),
        (Sessions.cme("EQ", "RTH"), "2026-11-17", ["17T08:30 17T15:00"]),
        (Sessions.cme("EQ", "RTH"), "2026-11-27", ["27T08:30 27T12:15"]),
        (Sessions.cme("EQ", "RTH"), "2026-11-26", []),
        (Sessions.for_product("GC", "RTH"), "2026-11-17", ["17T07:20 17T12:30"]),
        (Sessions.for_product("CLE", "RTH"), "2026-11-17", ["17T08:00 17T13:30"]),
        (Sessions.cme("EQ").between("00:00", "24:00"), "2026-11-17", ["17T00:00 17T16:00"]),
        (Sessions.cme("EQ").override({"2026-11-17": "08:30 > 09:00"}), "2026-11-17", ["17T08:30 17T09:00"]),
        (Sessions.cme("EQ").override({"2026-11-17": ""}), "2026-11-17", []),
        (Sessions.cme("EQ").since("2026-11-17", "Tue 01:00 > 02:00"), "2026-11-17", ["17T01:00 17T02:00"]),
        (Sessions.cme("EQ").since("2026-11-18", "Tue 01:00 > 02:00"), "2026-11-17", ["16T17:00 17T16:00"]),
    ],
)
def test_hours_of_a_trade_date(sessions: Sessions, date: str, wanted: list[str]) -> None:
    assert [f"{o[8:]} {c[8:]}" for o, c in hours(sessions, date)] == wanted


def test_what_lies_around_an_instant() -> None:
    sessions = Sessions.cme("EQ")
    close, opens = ns("2026-11-25T16:00"), ns("2026-11-25T17:00")
    for ts, here, before, after in (
        (close - 1, "2026-11-25", "2026-11-24", "2026-11-27"),
        (close, None, "2026-11-25", "2026-11-27"),
        (opens - 1, None, "2026-11-25", "2026-11-27"),
        (opens, "2026-11-27", "2026-11-25", "2026-11-27"),
    ):
        around = sessions.around(ts)
        found = [each and str(each.trade_date) for each in (around.here, around.before, around.after)]
        assert found == [here, before, after]
        assert str(sessions.trade_date(ts)) == str(here)


def test_a_wall_time_that_is_skipped_or_comes_twice_is_one_instant() -> None:
    sessions = Sessions.weekly("America/Chicago", "Sun 01:30 > 02:30; Mon 02:30 > 03:30")
    spring, fall = hours(sessions, "2026-03-08"), hours(sessions, "2026-11-01")
    assert spring == [("2026-03-08T01:30", "2026-03-08T03:00")]
    assert fall == [("2026-11-01T01:30", "2026-11-01T02:30")]
    (segment,) = sessions.segments("2026-11-01", "2026-11-01")
    assert segment[2] - segment[1] == 2 * 3600 * S
    nothing = Sessions.weekly("America/Chicago", "Sun 02:00 > 02:59")
    assert nothing.segments("2026-03-08", "2026-03-08") == []
    assert len(nothing.segments("2026-03-01", "2026-03-15")) == 2


def test_sessions_are_values() -> None:
    def mine() -> Sessions:
        return Sessions.weekly("Europe/Berlin", "Mon-Fri 09:00 > 17:30", exceptions={"2026-12-25": ""})

    assert mine() == mine()
    assert hash(mine()) == hash(mine())
    assert mine() != mine().override({"2026-12-24": ""})
    assert repr(Sessions.cme("EQ")) == "Sessions(CME EQ, known 2024-01-01 to 2026-12-31)"


def test_listed_segments_are_known_from_first_to_last() -> None:
    dates = [datetime.date(2026, 11, day) for day in (16, 17, 17)]
    listed = Sessions.from_segments([(date, k * 10, k * 10 + 10) for k, date in enumerate(dates)])
    assert (listed.known_from, listed.known_through) == (dates[0], dates[-1])
    assert listed.segments("2026-11-01", "2026-11-30") == [
        (date, k * 10, k * 10 + 10) for k, date in enumerate(dates)
    ]
    assert [listed.is_known(date) for date in (dates[0], dates[-1], datetime.date(2026, 11, 18))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Sessions.cme("ES"), "is no family; there are EQ, RT, FX, EM"),
        (lambda: Sessions.cme("EQ", "day"), "hours must be"),  # type: ignore[arg-type]
        (lambda: Sessions.cme("EM", "RTH"), "no regular hours"),
        (lambda: Sessions.cme("CRYPTO", "RTH"), "no regular hours"),
        (lambda: Sessions.weekly("Mars/Olympus", "Mon 08:30 > 15:00"), "no time zone"),
        (lambda: Sessions.weekly("UTC", "Mon 08:30 - 15:00"), "are no hours"),
        (lambda: Sessions.weekly("UTC", "Mon 8:30 > 15:00"), "are no hours"),
        (lambda: Sessions.weekly("UTC", "Mon 15:00 > 08:30"), "must open before it closes"),
        (lambda: Sessions.weekly("UTC", "Mon 08:30 > 29:00"), "between 00:00 and 24:00"),
        (lambda: Sessions.weekly("UTC", "Fri-Mon 08:30 > 15:00"), "is no weekday"),
        (lambda: Sessions.weekly("UTC", "Day 08:30 > 15:00"), "is no weekday"),
        (lambda: Sessions.weekly("UTC", "Mon 08:30 > 15:00; Mon-Fri 08:30 > 15:00"), "named twice"),
        (lambda: Sessions.weekly("UTC", "Mon-Fri -1d 12:00 > 13:00"), "overlap"),
        (lambda: Sessions.weekly("UTC", "Mon-Fri -1d 12:00 > 12:01, 11:59 > 12:02"), "overlap"),
        (lambda: Sessions.cme("EQ").override({"2026-11-17": "-1d 15:00 > 16:00"}), "overlap"),
        (lambda: Sessions.cme("EQ").override({"2026-11-31": ""}), "is no date"),
        (lambda: Sessions.cme("EQ").override({"1500-01-01": ""}), "beyond the years"),
        (lambda: Sessions.cme("CRYPTO").since("2026-01-01", "Mon 08:30 > 15:00"), "there already is"),
        (lambda: Sessions.from_segments([]), "at least one segment"),
        (lambda: Sessions.from_segments([("2026-01-01", 5, 5)]), "closes before it opens"),
        (lambda: Sessions.from_segments([("2026-01-01", 0, 5), ("2026-01-02", 4, 9)]), "overlap"),
        (lambda: Sessions.from_segments([("2026-01-02", 0, 5), ("2026-01-01", 5, 9)]), "not in order"),
        (lambda: Sessions.from_segments([("2026-01-02", 0.0, 5)]), "is not int64"),  # type: ignore[list-item]
        (lambda: Sessions.from_segments([("2026-01-02", 0, 1 << 63)]), "is not int64"),
        (lambda: Sessions.from_segments([("2026-01-02", 0, 5)]).between("08:30", "15:00"), "list them anew"),
    ],
)
def test_what_makes_no_sessions_is_refused(make: Callable[[], Sessions], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


# --- a bar set and its sessions


def bars_of(sessions: Sessions, outside: str = "own") -> BarSet:
    return BarSet(
        "C",
        ["1m"],
        anchor=Anchor.session(sessions),
        grid=GRID,
        lateness_ns=0,
        outside=outside,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("moment", ["2027-01-18T10:00", "2023-12-29T10:00"])
def test_trades_beyond_the_known_holidays_are_told_once(
    moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    bars = bars_of(Sessions.cme("EQ"))
    with caplog.at_level(logging.WARNING, "trio_projectx"):
        bars.update(batch([Tick(ns("2025-11-17T10:00"))]))
        assert not bars.is_beyond_known
        for k in range(3):
            bars.update(batch([Tick(ns(moment) + k * 86_400 * S)]))
    assert bars.is_beyond_known
    assert [record.getMessage() for record in caplog.records] == [
        "C: a trade is outside the dates for which the sessions CME EQ know holidays, 2024-01-01 to "
        "2026-12-31; there the weekly rule alone decides"
    ]


def test_a_weekly_rule_says_that_it_knows_no_holidays(caplog: pytest.LogCaptureFixture) -> None:
    bars = bars_of(Sessions.cme("GRAINS"))
    bars.update(batch([Tick(ns("2025-11-17T10:00"))]))
    assert [r.getMessage() for r in caplog.records] == [
        "C: the sessions CME GRAINS know the weekly rule only; holidays are not in them"
    ]


@pytest.mark.parametrize("outside", ["own", "attach", "drop"])
def test_trades_in_closed_hours_are_kept_by_policy_and_counted(outside: str) -> None:
    bars = bars_of(Sessions.cme("EQ"), outside)
    day = "2025-11-18"
    times = ["T15:59:59", "T16:00:00", "T16:30:20", "T16:59:59", "T17:00:00"]
    closed = [b for t in times for b in bars.update(batch([Tick(ns(day + t))]))] + bars.flush()
    got = [(wall(bar.start)[11:], bar.trades, bar.scheduled, str(bar.trade_date)[8:]) for bar in closed]
    last, first = ("15:59", 1, True, "18"), ("17:00", 1, True, "19")
    own = [("16:00", 1, False, ""), ("16:30", 1, False, ""), ("16:59", 1, False, "")]
    wanted = {"own": [last, *own, first], "attach": [last, ("17:00", 4, True, "19")], "drop": [last, first]}
    assert got == wanted[outside]
    counts = bars.counts("1m")
    assert (counts.unscheduled, counts.outside) == (3, 3 if outside == "drop" else 0)
    assert counts.received == counts.in_bars + counts.outside == 5
    assert bars.table("1m")["scheduled"].to_pylist() == [each[2] for each in wanted[outside]]
    assert [str(date)[8:] for date in bars.table("1m")["trade_date"].to_pylist()] == [
        each[3] for each in wanted[outside]
    ]


def test_rows_are_sorted_by_start_also_where_bars_of_closed_hours_lie_inside_others() -> None:
    stamps = [ns(f"2025-11-2{day}:30") for day in ("4T10", "4T16", "5T10", "8T13", "8T20")]
    table = pa.table({"ts_event": stamps, "price": [1.0] * 5, "volume": [1] * 5})
    got = aggregate(table, "1w", anchor=Anchor.session(Sessions.cme("EQ")))
    assert got["trades"].to_pylist() == [2, 1, 2]
    assert [str(date) for date in got["trade_date"].to_pylist()] == ["2025-11-28", "None", "None"]
    starts = got["start"].cast(pa.int64()).to_pylist()
    assert starts == sorted(starts)
    assert got.schema.metadata == {b"late": b"0", b"outside": b"0", b"unscheduled": b"3"}


def test_an_unscheduled_halt_or_opening_breaks_nothing() -> None:
    """2025-11-28: the exchange stood still from 20:44 to 07:30, which no table knew."""
    bars = bars_of(Sessions.cme("EQ"))
    halted = [Tick(ns("2025-11-27T20:44") - S), Tick(ns("2025-11-28T07:30")), Tick(ns("2025-11-28T07:31"))]
    assert [wall(b.start) for b in bars.update(batch(halted))] == ["2025-11-27T20:43", "2025-11-28T07:30"]
    opened = [Tick(ns("2025-11-29T10:00")), Tick(ns("2025-11-29T10:01"))]
    assert [b.scheduled for b in bars.update(batch(opened))] == [True, False]


@pytest.mark.parametrize("anchor", [Anchor.wall("America/Chicago"), Anchor.session(Sessions.cme("CRYPTO"))])
def test_a_change_of_the_clocks_in_use_is_told_once_with_the_bars_around_it(
    anchor: Anchor, caplog: pytest.LogCaptureFixture
) -> None:
    bars = BarSet("C", ["1h", "4h"], anchor=anchor, grid=GRID, lateness_ns=0)
    with caplog.at_level(logging.INFO, "trio_projectx"):
        for hour in range(60):
            bars.update(batch([Tick(ns("2026-10-31T00:00") + hour * 3600 * S)]))
    told = [r.getMessage() for r in caplog.records if "clocks" in r.getMessage()]
    starts = "C: the clocks of America/Chicago went from -18000 to -21600 s off UTC at 2026-11-01T07:00:00Z; "
    assert [each[: len(starts)] for each in told] == [starts]
    around = {
        "wall": "1h: 2026-11-01T06:00:00Z to 2026-11-01T07:00:00Z, 1h: 2026-11-01T07:00:00Z to "
        "2026-11-01T08:00:00Z, 4h: 2026-11-01T05:00:00Z to 2026-11-01T10:00:00Z",
        "session": "1h: 2026-11-01T06:00:00Z to 2026-11-01T07:00:00Z, 1h: 2026-11-01T07:00:00Z to "
        "2026-11-01T08:00:00Z, 4h: 2026-11-01T05:00:00Z to 2026-11-01T09:00:00Z",
    }[anchor.kind]
    assert told[0].endswith(f"the bars there are {around}")


def test_nothing_is_told_of_clocks_that_are_not_in_use(caplog: pytest.LogCaptureFixture) -> None:
    listed = Anchor.session(Sessions.from_segments([("2026-11-02", 0, 1 << 62)]))
    with caplog.at_level(logging.INFO, "trio_projectx"):
        for anchor in (Anchor.utc(), Anchor.wall("UTC"), listed):
            bars = BarSet("C", ["1h"], anchor=anchor, grid=GRID, lateness_ns=0)
            for day in range(0, 900, 30):
                bars.update(batch([Tick(ns("2025-01-01T00:00") + day * 86_400 * S)]))
    assert [r for r in caplog.records if "clocks" in r.getMessage()] == []


def test_a_template_without_any_hours_has_only_trades_outside() -> None:
    empty = Sessions.weekly("UTC", "Mon ", known_from="2026-01-01", known_through="2026-12-31")
    bars = BarSet("C", ["1m", "1d"], anchor=Anchor.session(empty), grid=GRID, lateness_ns=0)
    bars.update(batch([Tick(ns("2026-11-17T10:00")), Tick(ns("2026-11-17T10:01"))]))
    assert [(bar.trade_date, bar.scheduled, bar.trades) for bar in bars.flush()] == [
        (None, False, 1),
        (None, False, 2),
    ]
    assert bars.is_beyond_known


@pytest.mark.parametrize("how", ["joined", "rejoined", "rejoined late", "covered"])
def test_the_first_bar_of_a_session_lacks_what_was_missed_of_the_closed_hours_before_it(how: str) -> None:
    """Under "attach" they are a part of it. Seen from an hour before they began, or not at all, nothing is missing."""
    for began, is_partial in (("T16:10", how != "none"), ("T15:10", False)):
        bars = attaching()
        if how != "joined":
            bars.update(batch([Tick(ns("2025-11-18T15:00")), Tick(ns("2025-11-18T15:03"))]))
            if how == "rejoined late":
                bars.update(batch([Tick(ns("2025-11-18T15:04")), Tick(ns("2025-11-18T15:05"))]))
            bars.rejoin()
        if how == "covered":
            bars.covered(ns("2025-11-18" + began))
        else:
            bars.update(batch([Tick(ns("2025-11-18" + began))]))
        day = "2025-11-18"
        got = bars.update(
            batch([Tick(ns(day + time)) for time in ("T16:30", "T17:00:01", "T17:01:01", "T17:02:01")])
        )
        found = {wall(bar.start)[11:]: bar.partial for bar in got if bar.timeframe == "1m"}
        assert (found["17:00"], found["17:01"]) == (is_partial, False)
        forming = bars.forming("1d")
        assert forming is not None
        assert forming.partial is is_partial


def attaching() -> BarSet:
    return BarSet(
        "C",
        ["1m", "1d"],
        anchor=Anchor.session(Sessions.cme("EQ")),
        grid=GRID,
        lateness_ns=S // 20,
        outside="attach",
        partial_first=True,
    )
