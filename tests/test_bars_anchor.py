"""The invariants of BAR_TIME.md that concern intervals, for the UTC anchor (T1, T2, T3, T5, T9, T13, T14)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConfigError, TimeframeError
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.bars.edges import INT64_MAX, INT64_MIN, DateGroups

UTC_ANCHOR = Anchor.utc()
S = 10**9
counts = st.one_of(st.integers(1, 90), st.integers(1, 99_999))
frames = st.builds(lambda n, unit: Timeframe(f"{n}{unit}"), counts, st.sampled_from("smh"))
EDGE = 10**18 * 8  # well inside int64 for every timeframe there is
stamps = st.one_of(
    st.integers(-EDGE, EDGE), st.integers(-200 * S, 200 * S), st.integers(16 * 10**17, 19 * 10**17)
)


def ns(text: str) -> int:
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000


@given(frames, stamps)
def test_every_instant_has_one_interval_of_the_right_length(frame: Timeframe, ts: int) -> None:
    start, end = UTC_ANCHOR.edges(frame).interval(ts)
    assert start <= ts < end
    assert end - start == frame.step_ns
    assert start % (end - start) == 0


@given(frames, stamps)
def test_intervals_partition_time(frame: Timeframe, ts: int) -> None:
    interval = UTC_ANCHOR.edges(frame).interval
    start, end = interval(ts)
    assert interval(start) == interval(end - 1) == (start, end)
    assert interval(end)[0] == end
    assert interval(start - 1)[1] == start


@given(frames, st.tuples(stamps, stamps))
def test_later_instants_never_have_earlier_intervals(frame: Timeframe, pair: tuple[int, int]) -> None:
    interval = UTC_ANCHOR.edges(frame).interval
    earlier, later = sorted(pair)
    assert interval(earlier) <= interval(later)


@given(frames, st.integers(1, 50), st.sampled_from("smh"), stamps)
def test_what_nests_lies_within(fine: Timeframe, times: int, unit: str, ts: int) -> None:
    coarse = Timeframe(f"{times}{unit}")
    fine_step, coarse_step = fine.step_ns or 0, coarse.step_ns or 0
    assert UTC_ANCHOR.nests(fine, coarse) == (coarse_step % fine_step == 0)
    if UTC_ANCHOR.nests(fine, coarse):
        inner, outer = UTC_ANCHOR.edges(fine).interval(ts), UTC_ANCHOR.edges(coarse).interval(ts)
        assert outer[0] <= inner[0]
        assert inner[1] <= outer[1]


@given(frames)
def test_the_allowed_stamps_are_just_those_whose_edges_fit(frame: Timeframe) -> None:
    edges = UTC_ANCHOR.edges(frame)
    first, last = edges.first_ts, edges.last_ts
    for ts, inside in ((first, True), (first - 1, False), (last, True), (last + 1, False)):
        start, end = edges.interval(ts)
        assert (start >= INT64_MIN and end <= INT64_MAX) == inside


@given(st.lists(st.tuples(frames, stamps), min_size=1, max_size=20))
def test_an_answer_depends_on_nothing_asked_before(asked: list[tuple[Timeframe, int]]) -> None:
    alone = [Anchor.utc().edges(frame).interval(ts) for frame, ts in asked]
    edges = {frame: UTC_ANCHOR.edges(frame) for frame, _ in asked}
    assert [edges[frame].interval(ts) for frame, ts in reversed(asked)][::-1] == alone


@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_the_zone_of_the_process_does_not_matter(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert UTC_ANCHOR.edges("4h").interval(1_762_063_200 * S) == (1_762_056_000 * S, 1_762_070_400 * S)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != zone


@pytest.mark.parametrize(
    ("frame", "moment", "start"),
    [
        ("1m", "2025-11-02T06:59:59.999999", "2025-11-02T06:59"),
        ("4h", "2025-11-02T06:30", "2025-11-02T04:00"),
        ("7h", "1970-01-01T06:59", "1970-01-01T00:00"),
        ("7h", "1969-12-31T23:59", "1969-12-31T17:00"),
        ("30s", "2024-02-29T23:59:45", "2024-02-29T23:59:30"),
        ("48h", "1970-01-02T12:00", "1970-01-01T00:00"),
    ],
)
def test_known_intervals(frame: str, moment: str, start: str) -> None:
    assert UTC_ANCHOR.edges(frame).interval(ns(moment))[0] == ns(start)


@pytest.mark.parametrize(
    ("frame", "moment", "start", "end"),
    [
        ("1d", "2025-11-02T23:59:59", "2025-11-02", "2025-11-03"),
        ("3d", "1970-01-03T23:59", "1970-01-01", "1970-01-04"),
        ("1w", "1970-01-01T00:00", "1969-12-29", "1970-01-05"),
        ("2w", "1970-01-05T00:00", "1969-12-29", "1970-01-12"),
        ("1M", "2024-02-29T12:00", "2024-02-01", "2024-03-01"),
        ("5M", "2024-12-31T12:00", "2024-08-01", "2025-01-01"),
        ("12M", "2024-12-31T12:00", "2024-01-01", "2025-01-01"),
    ],
)
def test_days_weeks_and_months_of_utc(frame: str, moment: str, start: str, end: str) -> None:
    edges = UTC_ANCHOR.edges(frame)
    assert edges.interval(ns(moment)) == (ns(start), ns(end))
    assert edges.interval(ns(end))[0] == ns(end)
    assert edges.interval(ns(end) - 1)[0] == ns(start)


@pytest.mark.parametrize("frame", ["99999w", "9999M", "99999M"])
@pytest.mark.parametrize("anchor", [UTC_ANCHOR, Anchor.wall("UTC"), Anchor.session(Sessions.cme("EQ"))])
def test_a_timeframe_longer_than_the_nanoseconds_there_are_is_refused(frame: str, anchor: Anchor) -> None:
    with pytest.raises(TimeframeError, match=f'"{frame}" is too long'):
        anchor.edges(frame)


def test_an_anchor_is_a_value() -> None:
    made = [
        lambda: Anchor.utc(),
        lambda: Anchor.wall("America/Chicago"),
        lambda: Anchor.session(Sessions.cme("EQ")),
        lambda: Anchor.session(Sessions.weekly("America/Chicago", "Mon-Fri 08:30 > 15:00")),
    ]
    assert [make() == make() and hash(make()) == hash(make()) for make in made] == [True] * 4
    assert len({make() for make in made}) == 4
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        UTC_ANCHOR.kind = "wall"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Anchor("local"), r"'local' is not an anchor"),  # type: ignore[arg-type]
        (lambda: Anchor.wall("America/Gotham"), "'America/Gotham' is no time zone"),
        (lambda: Anchor.wall("../../etc/passwd"), "is no time zone"),
        (lambda: Anchor.wall(""), "is no time zone"),
        (lambda: Anchor.session("EQ"), "sessions must be a Sessions"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_anchor_is_refused(make: Callable[[], Anchor], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


@pytest.mark.parametrize(
    ("unit", "n", "first", "last"),
    [
        ("d", 1, "1679-01-01", "2261-12-31"),
        ("w", 1, "1679-01-02", "2261-12-29"),
        ("M", 12, "1679-01-01", "2261-12-31"),
    ],
)
def test_days_are_offered_from_the_first_whole_group_to_the_last(
    unit: str, n: int, first: str, last: str
) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
    days = tuple(datetime.fromisoformat(each).toordinal() - epoch for each in (first, last))
    assert DateGroups(unit, n).whole_days() == days
