"""T1 to T15 of BAR_TIME.md, over all zones and the years 1990 to 2035, and over random templates.

TRIO_PROJECTX_BAR_EXAMPLES=2000 (say) makes the properties look longer than the suite has time for.
"""

from __future__ import annotations

import datetime
import functools
import os
import time
import zoneinfo
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_bars_reference import S, Tick, batch

from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.bars.edges import DAY_NS, Edges
from trio_projectx.bars.session_edges import Outside
from trio_projectx.market.grid import PriceGrid

DAY = 86_400
EXAMPLES = int(os.environ.get("TRIO_PROJECTX_BAR_EXAMPLES", "40"))
house = settings(max_examples=EXAMPLES)
ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "Factory", "build/etc/localtime"})
#: Where days are odd: over midnight, of half an hour, of a day, of 20 minutes, twice a year within weeks.
ODD = [
    "America/St_Johns", "America/Goose_Bay", "America/Moncton", "Australia/Lord_Howe", "Pacific/Apia",
    "Pacific/Kwajalein", "Pacific/Kiritimati", "America/Havana", "America/Sao_Paulo", "Asia/Beirut",
    "Africa/Casablanca", "Asia/Gaza", "Europe/Dublin", "Antarctica/Troll", "America/Caracas",
    "Asia/Pyongyang", "America/Chicago", "Europe/London", "Asia/Kathmandu", "UTC",
]  # fmt: skip
zones = st.one_of(st.sampled_from(ZONES), st.sampled_from(ODD))
FIRST, LAST = (int(datetime.datetime(y, 1, 1, tzinfo=datetime.UTC).timestamp()) for y in (1990, 2036))
INTRADAY = ["1s", "7s", "1m", "5m", "25m", "1h", "90m", "2h", "3h", "4h", "5h", "7h", "12h", "24h", "48h"]
DATES = ["1d", "2d", "5d", "1w", "3w", "1M", "3M", "12M"]
intraday = st.one_of(
    st.sampled_from(INTRADAY),
    st.builds(lambda n, u: f"{n}{u}", st.integers(1, 200), st.sampled_from("smh")),
)
frames = st.one_of(intraday, st.sampled_from(DATES)).map(Timeframe)


def offset(zone: str, seconds: int) -> int:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone(zoneinfo.ZoneInfo(zone))
    found = moment.utcoffset()
    assert found is not None
    return int(found.total_seconds())


@functools.lru_cache(maxsize=1000)
def changes(zone: str) -> list[int]:
    """The seconds at which the offset changes, by the standard library alone."""
    found: list[int] = []
    for day in range(FIRST, LAST, DAY):
        if offset(zone, day) != offset(zone, day + DAY):
            low, high = day, day + DAY
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(zone, middle) == offset(zone, low) else (low, middle)
            found.append(high)
    return found


def local(zone: str, seconds: int) -> int:
    return seconds + offset(zone, seconds)


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, int]:
    """A zone, and an instant (ns) anywhere, or near a change, or at an edge of a local second."""
    zone = draw(zones)
    known = changes(zone)
    if known and draw(st.booleans()):
        near = st.one_of(
            st.integers(-3 * DAY, 3 * DAY), st.integers(-3700, 3700), st.sampled_from([-1, 0, 1])
        )
        seconds = draw(st.sampled_from(known)) + draw(near)
    else:
        seconds = draw(st.integers(FIRST, LAST))
    return zone, seconds * S + draw(st.sampled_from([0, 1, S - 1, S // 2]))


def check_partition(edges: Edges, ts: int) -> None:
    """T1, T2 and T13, where every instant has its bar."""
    start, end, low, high, _, _ = edges.locate(ts)
    assert start <= ts < end
    assert (low, high) == (start, end)
    assert edges.interval(start) == edges.interval(end - 1) == (start, end)
    assert edges.interval(end)[0] == end
    assert edges.interval(start - 1)[1] == start


@house
@given(moments(), frames)
@example(("America/St_Johns", 1_162_092_600 * S), Timeframe("1d"))
@example(("Pacific/Apia", 1_325_239_200 * S), Timeframe("1d"))
def test_t1_t2_t13_wall_bars_partition_time(moment: tuple[str, int], frame: Timeframe) -> None:
    zone, ts = moment
    check_partition(Anchor.wall(zone).edges(frame), ts)
    check_partition(Anchor.utc().edges(frame), ts)


@house
@given(moments(), st.integers(-400 * DAY, 400 * DAY), frames)
def test_t3_later_instants_never_have_earlier_bars(
    moment: tuple[str, int], apart: int, frame: Timeframe
) -> None:
    """Of sessions, those in open hours: a bar of closed ones may lie inside a day's, a week's, a month's."""
    zone, ts = moment
    sessions = Sessions.cme("EQ")
    one, other = sorted((ts, ts + apart * S))
    for anchor in (Anchor.wall(zone), Anchor.utc(), Anchor.session(sessions)):
        interval = anchor.edges(frame).interval
        if anchor.sessions is None or (sessions.trade_date(one) and sessions.trade_date(other)):
            assert interval(one)[0] <= interval(other)[0]
        assert interval(one)[1] <= interval(other)[1] or anchor.sessions is not None


@house
@given(moments(), intraday)
def test_t5_wall_bars_have_their_length_but_for_changes_and_midnight(
    moment: tuple[str, int], label: str
) -> None:
    zone, ts = moment
    step = (Timeframe(label).step_ns or 0) // S
    start, end = (edge // S for edge in Anchor.wall(zone).edges(label).interval(ts))
    inside = [at for at in changes(zone) if start < at < end or at in (start, end)]
    shift = max((abs(offset(zone, at) - offset(zone, at - 1)) for at in inside), default=0)
    assert 0 < end - start <= step + shift
    if not inside and start > FIRST and end < LAST:
        days = {local(zone, start) // DAY, (local(zone, end - 1)) // DAY}
        assert len(days) == 1 or DAY % step
        if end - start != step:
            assert local(zone, end) % DAY == 0
            assert DAY % step


@house
@given(moments(), intraday)
def test_wall_cuts_are_those_of_the_definition(moment: tuple[str, int], label: str) -> None:
    """B of BAR_TIME.md, second by second around the cut, by the standard library alone."""
    zone, ts = moment
    step = (Timeframe(label).step_ns or 0) // S
    edges = Anchor.wall(zone).edges(label)
    for cut in edges.interval(ts):
        for at in (cut // S - 1, cut // S, cut // S + 1):
            before, here = local(zone, at - 1) + 1, local(zone, at)
            skips = range(before, here) if here > before else range(0)
            is_cut = here % DAY % step == 0 or any(
                each % DAY % step == 0 for each in _candidates(skips, step)
            )
            assert (edges.interval(at * S)[0] == at * S) == is_cut


def _candidates(skips: range, step: int) -> list[int]:
    """Of the skipped local seconds, those that could be multiples of the step on their day: a few."""
    if not skips:
        return []
    midnights = range(skips.start // DAY * DAY, skips.stop + DAY, DAY)
    found = {m + k for m in midnights for k in range(0, DAY, step)} if step >= 60 else set(skips)
    return [each for each in found if each in skips]


@house
@given(moments())
def test_t6_the_bars_of_a_local_date_are_as_long_as_it_is(moment: tuple[str, int]) -> None:
    zone, ts = moment
    day = Anchor.wall(zone).edges("1d").interval(ts)
    hour = Anchor.wall(zone).edges("1h").interval
    inside = [at for at in changes(zone) if day[0] < at * S < day[1]]
    lengths: list[int] = []
    at = day[0]
    while at < day[1]:
        start, end = hour(at)
        assert start == at
        lengths.append(end - start)
        at = end
    assert at == day[1]
    if not inside and (day[1] - day[0]) == DAY_NS:
        assert lengths == [3600 * S] * 24
    if zone == "America/Chicago":
        assert len(lengths) == (day[1] - day[0]) // (3600 * S) in (23, 24, 25)
    if zone == "Australia/Lord_Howe" and inside:
        assert day[1] - day[0] in (23.5 * 3600 * S, 24.5 * 3600 * S)


@house
@given(moments(), st.sampled_from(INTRADAY), st.sampled_from(INTRADAY + DATES))
def test_t9_what_nests_lies_within(moment: tuple[str, int], fine: str, coarse: str) -> None:
    zone, ts = moment
    for anchor in (Anchor.utc(), Anchor.wall(zone), Anchor.session(Sessions.cme("EQ"))):
        if anchor.nests(Timeframe(fine), Timeframe(coarse)):
            inner, outer = anchor.edges(fine).interval(ts), anchor.edges(coarse).interval(ts)
            assert outer[0] <= inner[0]
            assert inner[1] <= outer[1]


@pytest.mark.parametrize(
    ("fine", "coarse", "utc", "wall", "session"),
    [
        ("1m", "5m", True, True, True),
        ("5m", "1m", False, False, False),
        ("1h", "1d", True, True, True),
        ("7h", "1d", False, True, False),
        ("1h", "1M", True, True, True),
        ("1d", "1w", True, True, True),
        ("1d", "1M", True, True, True),
        ("1w", "1M", False, False, False),
        ("2d", "1w", False, False, False),
        ("7d", "1w", False, False, False),
        ("1M", "12M", True, True, True),
        ("1w", "2w", True, True, True),
        ("1M", "1d", False, False, False),
        ("1d", "1h", False, False, False),
    ],
)
def test_t9_what_nests_is_known(fine: str, coarse: str, utc: bool, wall: bool, session: bool) -> None:
    frames = Timeframe(fine), Timeframe(coarse)
    assert Anchor.utc().nests(*frames) == utc
    assert Anchor.wall("America/Chicago").nests(*frames) == wall
    eq = Anchor.session(Sessions.cme("EQ"))
    assert eq.nests(*frames) == session
    assert eq.nests(*frames, outside="drop") == wall  # without bars of closed hours, all sessions begin anew


@house
@given(moments(), st.lists(st.tuples(frames, st.integers(-9, 9)), min_size=1, max_size=6))
def test_t14_an_answer_depends_on_nothing_asked_before(
    moment: tuple[str, int], asked: list[tuple[Timeframe, int]]
) -> None:
    zone, ts = moment
    for make in (lambda: Anchor.wall(zone), lambda: Anchor.session(Sessions.cme("FX"))):
        alone = [make().edges(frame).locate(ts + days * DAY_NS) for frame, days in asked]
        edges = {frame: make().edges(frame) for frame, _ in asked}
        again = [edges[frame].locate(ts + days * DAY_NS) for frame, days in reversed(asked)]
        assert again[::-1] == alone


def test_t14_the_zone_of_the_process_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    ts = 1_762_063_200 * S
    anchors = [Anchor.wall("America/Chicago"), Anchor.session(Sessions.cme("EQ"))]
    before = [anchor.edges(frame).interval(ts) for anchor in anchors for frame in ("4h", "1d", "1M")]
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        after = [anchor.edges(frame).interval(ts) for anchor in anchors for frame in ("4h", "1d", "1M")]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert after == before


@house
@given(moments(), frames, st.integers(-12, 14))
def test_t15_zone_data(moment: tuple[str, int], frame: Timeframe, hours: int) -> None:
    _, ts = moment
    utc, wall = Anchor.utc().edges(frame), Anchor.wall("UTC").edges(frame)
    if frame.step_ns is None or DAY_NS % frame.step_ns == 0:
        assert wall.interval(ts) == utc.interval(ts)
    fixed = Anchor.wall(f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT")
    days, shift = fixed.edges("1d").interval(ts), hours * 3600 * S
    assert days == tuple(edge - shift for edge in Anchor.utc().edges("1d").interval(ts + shift))


def seconds(text: str, zone: str = "America/Chicago") -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp())


def hours_of(anchor: Anchor, frame: str, first: int, last: int) -> list[float]:
    """The lengths, in hours, of the bars from ``first`` to ``last`` (seconds)."""
    edges = anchor.edges(frame)
    lengths: list[float] = []
    while first < last:
        start, end = edges.interval(first * S)
        lengths.append((end - start) / (3600 * S))
        first = end // S
    return lengths


def test_the_lengths_that_bar_time_expects_on_chicagos_clock() -> None:
    wall = Anchor.wall("America/Chicago")
    fall = seconds("2025-11-02T00:00"), seconds("2025-11-03T00:00")
    assert hours_of(wall, "1h", *fall) == [1.0] * 25
    assert hours_of(wall, "2h", *fall) == [3.0, *[2.0] * 11]
    assert hours_of(wall, "4h", *fall) == [5.0, *[4.0] * 5]
    assert hours_of(wall, "1d", *fall) == [25.0]
    spring = seconds("2025-03-09T00:00"), seconds("2025-03-10T00:00")
    assert hours_of(wall, "1h", *spring) == [1.0] * 23
    assert hours_of(wall, "2h", *spring) == [2.0, 1.0, *[2.0] * 10]
    assert hours_of(wall, "4h", *spring) == [3.0, *[4.0] * 5]
    assert hours_of(wall, "1d", *spring) == [23.0]


def test_the_lengths_that_bar_time_expects_of_an_es_session() -> None:
    es = Anchor.session(Sessions.for_product("ES"))
    day = seconds("2025-11-03T17:00"), seconds("2025-11-04T16:00")
    assert hours_of(es, "1h", *day) == [1.0] * 23
    assert hours_of(es, "2h", *day) == [*[2.0] * 11, 1.0]
    assert hours_of(es, "4h", *day) == [*[4.0] * 5, 3.0]
    edges = es.edges("4h")
    assert [edges.interval((day[0] + k * 4 * 3600) * S)[0] // S for k in range(6)] == [
        seconds(f"2025-11-0{d}T{h}:00")
        for d, h in ((3, 17), (3, 21), (4, "01"), (4, "05"), (4, "09"), (4, 13))
    ]
    thanksgiving = es.edges("1d").locate(seconds("2025-11-27T10:00") * S)
    assert (thanksgiving.start, thanksgiving.end) == (
        seconds("2025-11-26T17:00") * S,
        seconds("2025-11-28T12:15") * S,
    )
    assert thanksgiving.trade_date == datetime.date(2025, 11, 28)
    segments = Sessions.cme("EQ").segments("2025-11-28", "2025-11-28")
    assert [(closes - opens) / (3600 * S) for _, opens, closes in segments] == [19.0, 19.25]
    assert es.edges("1M").interval(seconds("2025-12-10T10:00") * S)[0] == seconds("2025-11-30T17:00") * S


def test_t12_no_change_of_the_clocks_lies_inside_a_segment_of_es() -> None:
    sessions = Sessions.cme("EQ").segments("2010-01-04", "2035-12-31")
    known = changes("America/Chicago")
    opens_at: set[int] = set()
    for _, opens, closes in sessions:
        assert not any(opens < at * S < closes for at in known if abs(at * S - opens) < 5 * DAY_NS)
        opens_at.add(opens // S % DAY // 60)
    ordinary = Sessions.cme("RT").segments("2027-01-04", "2035-12-31")
    assert {opens // S % DAY // 3600 for _, opens, _ in ordinary} == {22, 23}


# --- sessions, over random templates


@st.composite
def templates(draw: st.DrawFn) -> tuple[Sessions, list[tuple[datetime.date, int, int]]]:
    """Segments of any length with any gaps, their trade dates going on by none, one or several days."""
    at = draw(st.sampled_from([0, 1_700_000_000, 1_762_000_000])) + draw(st.integers(0, DAY))
    day = draw(st.integers(719_200, 740_000))
    found: list[tuple[datetime.date, int, int]] = []
    lengths = st.one_of(st.integers(1, 200), st.integers(1, 90_000))
    for gap, length, days in draw(
        st.lists(
            st.tuples(st.one_of(st.just(0), st.integers(1, 90_000)), lengths, st.sampled_from([0, 1, 1, 3])),
            min_size=1,
            max_size=12,
        )
    ):
        at, day = at + gap, day + days
        found.append((datetime.date.fromordinal(day), at * S, (at + length) * S))
        at += length
    return Sessions.from_segments(found), found


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Sessions, list[tuple[datetime.date, int, int]], int]:
    sessions, segments = draw(templates())
    edge = draw(st.sampled_from([edge for _, *edges in segments for edge in edges]))
    ts = edge + draw(st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-100_000 * S, 100_000 * S)))
    return sessions, segments, ts


@house
@given(scenes(), frames)
def test_t1_t2_t7_session_bars(
    scene: tuple[Sessions, list[tuple[datetime.date, int, int]], int], frame: Timeframe
) -> None:
    sessions, segments, ts = scene
    edges = Anchor.session(sessions).edges(frame)
    slot = edges.locate(ts)
    here = next(((d, o, c) for d, o, c in segments if o <= ts < c), None)
    assert slot.is_scheduled == (here is not None) == (slot.trade_date is not None)
    assert slot.start <= ts < slot.end
    assert slot.start <= slot.low <= ts < slot.high <= slot.end
    assert edges.locate(slot.low) == edges.locate(slot.high - 1) == slot
    if here is None:
        assert not any(o < slot.end and slot.start < c for _, o, c in segments)
        grid = Anchor.utc().edges(frame).interval(ts)
        assert grid[0] <= slot.start
        assert slot.end <= grid[1]
    elif frame.step_ns is not None:
        assert slot.start == here[1] + (ts - here[1]) // frame.step_ns * frame.step_ns
        assert slot.end == min(slot.start + frame.step_ns, here[2])
        assert slot.trade_date == here[0]
    else:
        group = [(d, o, c) for d, o, c in segments if _group(d, frame) == _group(here[0], frame)]
        assert (slot.start, slot.end, slot.trade_date) == (group[0][1], group[-1][2], group[-1][0])


def _group(date: datetime.date, frame: Timeframe) -> int:
    epoch = datetime.date(1970, 1, 1)
    if frame.unit == "d":
        return (date - epoch).days // frame.n
    if frame.unit == "w":
        return (date - datetime.date(1969, 12, 29)).days // 7 // frame.n
    return (date.year * 12 + date.month - 1) // frame.n


@house
@given(templates(), st.integers(1, 100_000))
def test_t8_a_segment_has_as_many_bars_as_steps(
    template: tuple[Sessions, list[tuple[datetime.date, int, int]]], step: int
) -> None:
    if step > 99_999:
        return
    sessions, segments = template
    edges = Anchor.session(sessions).edges(f"{step}s")
    for _, opens, closes in segments[:3]:
        at, lengths = opens, list[int]()
        while at < closes and len(lengths) < 500:
            start, end = edges.interval(at)
            assert start == at
            lengths.append(end - start)
            at = end
        if at == closes:
            assert len(lengths) == -(-(closes - opens) // (step * S))
            assert all(length == step * S for length in lengths[:-1])
        else:
            assert at < closes


@house
@given(scenes(), intraday, st.sampled_from(INTRADAY + DATES), st.sampled_from(["own", "attach", "drop"]))
def test_t9_sessions(
    scene: tuple[Sessions, list[tuple[datetime.date, int, int]], int],
    fine: str,
    coarse: str,
    outside: Outside,
) -> None:
    sessions, segments, ts = scene
    anchor = Anchor.session(sessions)
    is_open = any(o <= ts < c for _, o, c in segments)
    if anchor.nests(Timeframe(fine), Timeframe(coarse), outside) and (is_open or outside != "drop"):
        inner, outer = (anchor.edges(frame, outside).interval(ts) for frame in (fine, coarse))
        assert outer[0] <= inner[0]
        assert inner[1] <= outer[1]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[Sessions, list[tuple[datetime.date, int, int]], list[Tick]]:
    sessions, segments = draw(templates())
    edges = [edge for _, *pair in segments for edge in pair]
    near = st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-300 * S, 300 * S), st.integers(0, 90_000 * S))
    stamps = st.builds(lambda edge, off: edge + off, st.sampled_from(edges), near)
    rows = draw(st.lists(st.tuples(stamps, st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=60))
    ticks = [Tick(ts, price, volume, 0) for ts, price, volume in rows]
    return sessions, segments, sorted(ticks, key=lambda t: t.ts) if draw(st.booleans()) else ticks


CASCADES = [["1m", "5m", "1h", "1d", "1w", "1M"], ["7h", "1d", "3m", "2d"], ["1s", "25m", "1M", "3w"]]


@house
@given(
    arrivals(),
    st.sampled_from(CASCADES),
    st.sampled_from(["own", "attach", "drop"]),
    st.sampled_from([0, S, 400 * S]),
    st.integers(1, 20),
)
def test_t4_t10_the_cascade_is_each_alone_and_every_trade_is_in_one_place(
    scene: tuple[Sessions, list[tuple[datetime.date, int, int]], list[Tick]],
    labels: list[str],
    outside: Outside,
    lateness: int,
    size: int,
) -> None:
    sessions, segments, ticks = scene
    anchor = Anchor.session(sessions)

    def make(frames: list[str]) -> BarSet:
        return BarSet("C", frames, anchor=anchor, grid=PriceGrid(1, 4), lateness_ns=lateness, outside=outside)

    together, alone = make(labels), [make([label]) for label in labels]
    for piece in [ticks[at : at + size] for at in range(0, len(ticks), size)]:
        got = together.update(batch(piece))
        apart = [bar for each in alone for bar in each.update(batch(piece))]
        assert sorted(got, key=lambda b: (b.timeframe, b.start)) == sorted(
            apart, key=lambda b: (b.timeframe, b.start)
        )
        for label, each in zip(labels, alone, strict=True):
            assert together.counts(label) == each.counts(label)
            assert together.forming(label) == each.forming(label)
    together.flush()
    closed = [t for t in ticks if not any(o <= t.ts < c for _, o, c in segments)]
    for label, each in zip(labels, alone, strict=True):
        each.flush()
        assert together.table(label).equals(each.table(label))
        counts = together.counts(label)
        assert counts.unscheduled == len(closed)
        assert counts.outside == (len(closed) if outside == "drop" else 0)
        assert counts.received == len(ticks) == counts.in_bars + counts.late + counts.outside
        table = together.table(label)
        assert sum(table["trades"].to_pylist()) == counts.in_bars


@house
@given(arrivals(), st.sampled_from([*INTRADAY, *DATES]), st.sampled_from(["own", "attach", "drop"]))
def test_sorted_trades_make_the_bars_of_brute_force(
    scene: tuple[Sessions, list[tuple[datetime.date, int, int]], list[Tick]], label: str, outside: Outside
) -> None:
    """Each trade is put into its bar by the definition, by a list of all segments, and bars by sorting."""
    sessions, segments, ticks = scene
    frame = Timeframe(label)
    ticks = sorted(ticks, key=lambda t: t.ts)
    members: dict[tuple[int, datetime.date | None], list[Tick]] = {}
    for tick in ticks:
        here = next((each for each in segments if each[1] <= tick.ts < each[2]), None)
        after = next((each for each in segments if each[1] > tick.ts), None)
        at = tick.ts
        if here is None and outside == "drop":
            continue
        if here is None and outside == "attach" and after is not None:
            here, at = after, after[1]
        if here is None:
            before = [c for _, _, c in segments if c <= tick.ts]
            start = max([Anchor.utc().edges(frame).interval(tick.ts)[0], *before])
            members.setdefault((start, None), []).append(tick)
        elif frame.step_ns is not None:
            start = here[1] + (at - here[1]) // frame.step_ns * frame.step_ns
            members.setdefault((start, here[0]), []).append(tick)
        else:
            group = [each for each in segments if _group(each[0], frame) == _group(here[0], frame)]
            members.setdefault((group[0][1], group[-1][0]), []).append(tick)
    bars = BarSet(
        "C",
        [label],
        anchor=Anchor.session(sessions),
        grid=PriceGrid(1, 1),
        lateness_ns=10**7 * S,
        outside=outside,
    )
    bars.update(batch(ticks))
    got = [
        (b.start, b.trade_date, b.open, b.high, b.low, b.close, b.volume, b.trades, b.scheduled)
        for b in bars.flush()
    ]
    wanted: list[tuple[object, ...]] = []
    for (start, date), rows in members.items():
        prices = [row.ticks for row in rows]
        ohlc = prices[0], max(prices), min(prices), prices[-1]
        wanted.append((start, date, *ohlc, sum(r.volume for r in rows), len(rows), date is not None))
    assert sorted(got, key=repr) == sorted(wanted, key=repr)


def test_bars_of_a_segment_and_of_closed_hours_never_overlap() -> None:
    sessions = Sessions.cme("EQ")
    edges = Anchor.session(sessions).edges("4h")
    at, stop = seconds("2025-11-20T00:00") * S, seconds("2025-12-05T00:00") * S
    slots = [edges.locate(at)]
    while slots[-1].end < stop:
        slots.append(edges.locate(slots[-1].end))
    assert all(one.end == other.start for one, other in pairwise(slots))
    assert {slot.is_scheduled for slot in slots} == {True, False}
