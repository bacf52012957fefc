from __future__ import annotations

import datetime
import math
import random
import zoneinfo
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.bars import Sessions
from trio_projectx.connection.stalls import Stalled, StallWatch

S = 1_000_000_000
CHICAGO = zoneinfo.ZoneInfo("America/Chicago")
EQ = Sessions.cme("EQ")
MNQ = "CON.F.US.MNQ.Z26"
ALWAYS = Sessions.weekly("UTC", "Mon-Sun 00:00 > 24:00")
#: No interval makes the bound longer than ``stall_s``.
NO_INTERVALS = 1e-9


def ns(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * S


class World:
    """One watch, and two clocks that go alike: monotonic seconds 0 are ``start_ns`` on the exchange's.

    Where ``is_quiet``, a probe of whatever is told finds at once that nothing is missing.
    """

    def __init__(
        self, start: str | int, stall_s: float = 30.0, intervals: float = 20.0, *, is_quiet: bool = False
    ) -> None:
        self.is_quiet = is_quiet
        self.start_ns = ns(start) if isinstance(start, str) else start
        self.watch = StallWatch(stall_s, intervals)
        self.now = 0.0
        self.looks = 0

    def time_of(self, ts_ns: int) -> float:
        return (ts_ns - self.start_ns) / S

    def at(self, text: str) -> float:
        return self.time_of(ns(text))

    def until(self, end: float) -> list[tuple[float, Stalled]]:
        """Look whenever it is due before ``end``, and go there."""
        told = []
        while (due := self.watch.due(self.now)) < end:
            assert due >= self.now
            self.now = due
            self.looks += 1
            for each in self.watch.look(due, self.start_ns + round(due * S)):
                told.append((due, each))
                if self.is_quiet:
                    self.watch.quiet(each.contract_id, due)
        self.now = end
        return told

    def run(self, data: Iterable[float], contract_id: str = MNQ) -> list[tuple[float, Stalled]]:
        """The same, with data of a contract at given times."""
        told = []
        for at in data:
            told += self.until(at)
            self.watch.heard(contract_id, at)
        return told


def flow(first: float, last: float, every: float) -> Iterator[float]:
    for k in range(int((last - first) / every) + 1):
        yield first + k * every


# -- the clock of one contract


def test_a_stall_is_told_by_the_time_its_bound_is_passed() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    assert world.watch.due(0.0) == 0.0
    assert world.run(flow(0.1, 600, 0.1)) == []
    last = world.now
    ((at, stalled),) = world.until(last + 50)
    assert at == pytest.approx(last + 30, abs=1e-6)
    assert stalled == Stalled(MNQ, pytest.approx(30, abs=1e-6), 30.0)
    assert world.watch.stalled == (MNQ,)
    assert world.watch.heard(MNQ, world.now) is True
    assert world.watch.heard(MNQ, world.now) is False
    assert world.watch.stalled == ()


def test_a_stall_goes_on_being_told_once_per_bound() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    told = world.until(200)
    assert [at for at, _ in told] == [30, 60, 90, 120, 150, 180]
    assert [each.silent_s for _, each in told] == [30, 60, 90, 120, 150, 180]


def test_nothing_is_due_where_nothing_is_watched() -> None:
    watch = StallWatch(30.0, 20.0)
    assert watch.due(5.0) == math.inf
    assert watch.heard(MNQ, 6.0) is False
    watch.quiet(MNQ, 6.0)
    watch.watch(MNQ, EQ, 7.0)
    assert watch.due(9.0) == 9.0
    watch.unwatch(MNQ)
    watch.unwatch(MNQ)
    assert watch.due(9.0) == math.inf
    assert watch.look(100.0, ns("2026-11-17T10:00")) == []


def test_one_silent_contract_is_told_among_those_that_are_not() -> None:
    world = World("2026-11-17T10:00")
    for name in ("A", "B", "C"):
        world.watch.watch(name, EQ, 0.0)
    told = []
    for at in flow(0.0, 100.0, 1.0):
        told += world.until(at)
        for name in ("A", "C") if at > 20 else ("A", "B", "C"):
            world.watch.heard(name, at)
    assert [(at, each.contract_id) for at, each in told] == [(50, "B"), (80, "B")]


def test_a_second_watch_of_a_contract_changes_only_its_sessions() -> None:
    world = World("2026-11-17T16:30")  # the daily break of EQ
    world.watch.watch(MNQ, EQ, 0.0)
    assert world.until(100.0) == []
    world.watch.watch(MNQ, EQ, 100.0)
    assert world.until(200.0) == []
    world.watch.watch(MNQ, ALWAYS, 200.0)
    ((at, stalled),) = world.until(201.0)
    assert (at, stalled.silent_s) == (200, 200)


# -- the pace of a contract


def test_the_bound_follows_the_interval() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    assert world.run(flow(1.0, 1001.0, 10.0)) == []
    ((at, stalled),) = world.until(1300.0)
    assert stalled.bound_s == pytest.approx(200)
    assert at == pytest.approx(1201)


def test_a_bound_that_becomes_shorter_is_kept_within_one_look() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    assert world.run(flow(1.0, 501.0, 20.0)) == []  # a bound of 400 s
    assert world.run(flow(501.1, 600.0, 0.1)) == []
    last = world.now
    ((at, stalled),) = world.until(last + 59.0)
    assert stalled.bound_s == 30
    assert last + 30 <= at <= last + 60


def test_a_burst_does_not_hide_the_pace_of_what_comes_in_bursts() -> None:
    """Twenty reads within a second every two minutes: told apart from a feed of twenty reads a second."""
    world = World("2026-11-17T09:00", is_quiet=True)
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    bursts = [start + k * 0.05 for start in flow(10.0, 7210.0, 120.0) for k in range(20)]
    told = world.run(bursts)
    assert [at for at, _ in told if at > 400] == []
    worst = world.watch.worst(world.now)
    assert worst is not None
    assert worst.bound_s > 1000


def test_what_was_a_stall_is_no_interval() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    assert world.run(flow(1.0, 301.0, 0.5)) == []
    assert len(world.until(900.0)) == 19
    assert world.run(flow(900.0, 901.0, 0.5)) == []
    ((at, stalled),) = world.until(940.0)
    assert (at, stalled.bound_s) == (931, 30)


def test_closed_hours_are_no_interval() -> None:
    """A break of an hour between two trades a few minutes apart in trading hours leaves the bound as it was."""
    world = World("2026-11-16T12:00", is_quiet=True)
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    before = flow(60.0, world.at("2026-11-16T16:00"), 100.0)
    after = flow(world.at("2026-11-16T17:00") + 50.0, world.at("2026-11-16T20:00"), 100.0)
    assert [at for at, _ in world.run(before) if at > 300] == []
    assert world.run(after) == []
    worst = world.watch.worst(world.now)
    assert worst is not None
    assert worst.bound_s == pytest.approx(2000, rel=0.01)


def test_the_pace_of_closed_hours_is_not_that_of_the_market() -> None:
    world = World("2026-11-17T15:50")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(0.1)
    opens = world.at("2026-11-17T17:00")
    assert world.run(flow(0.1, 599.9, 0.1)) == []
    assert world.run(flow(600.0, opens - 1, 100.0)) == []
    ((at, stalled),) = world.until(opens + 40)
    assert (at, stalled.bound_s) == (pytest.approx(opens + 30), 30)


# -- probes, reconnects, sleep


def test_each_probe_that_finds_nothing_doubles_the_bound_up_to_ten_minutes() -> None:
    world = World("2026-11-17T08:00")
    world.watch.watch(MNQ, EQ, 0.0)
    bounds: list[tuple[float, float]] = []
    while len(bounds) < 8:
        for at, stalled in world.until(math.nextafter(world.watch.due(world.now), math.inf)):
            bounds.append((at, stalled.bound_s))
            world.watch.quiet(MNQ, at)
            assert world.watch.stalled == ()
            world.watch.quiet(MNQ, at)  # a second answer to the same question changes nothing
    assert bounds == [
        (30, 30),
        (90, 60),
        (210, 120),
        (450, 240),
        (930, 480),
        (1530, 600),
        (2130, 600),
        (2730, 600),
    ]
    world.watch.heard(MNQ, world.now)
    last = world.now
    ((at, stalled),) = world.until(last + 50)
    assert (at, stalled.bound_s) == (pytest.approx(last + 30), 30)


def test_a_long_bound_is_not_made_shorter_by_patience() -> None:
    world = World("2026-11-17T08:00", is_quiet=True)
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    world.run(flow(1.0, 1001.0, 50.0))
    ((at, stalled),) = world.until(2050.0)
    assert (at, stalled.bound_s) == (pytest.approx(2001), pytest.approx(1000))
    ((at, stalled),) = world.until(3060.0)
    assert (at, stalled.bound_s) == (pytest.approx(3001), pytest.approx(1000))


def test_an_answer_that_data_have_overtaken_says_nothing() -> None:
    world = World("2026-11-17T08:00")
    world.watch.watch(MNQ, EQ, 0.0)
    assert len(world.until(31.0)) == 1
    world.watch.heard(MNQ, 31.0)
    world.watch.quiet(MNQ, 32.0)
    ((at, stalled),) = world.until(70.0)
    assert (at, stalled.bound_s) == (61, 30)


def test_patience_ends_with_the_session() -> None:
    world = World("2026-11-17T15:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(31.0)
    world.watch.quiet(MNQ, 31.0)
    world.until(92.0)
    world.watch.quiet(MNQ, 92.0)
    opens = world.at("2026-11-17T17:00")
    told = [each for each in world.until(opens + 31) if each[0] >= world.at("2026-11-17T16:00")]
    assert told == [(pytest.approx(opens + 30), Stalled(MNQ, pytest.approx(30), 30.0))]


def test_a_new_connection_begins_anew_but_remembers_the_pace() -> None:
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    world.run(flow(1.0, 1001.0, 10.0))
    assert len(world.until(1210.0)) == 1
    world.watch.restart(1210.0)
    assert world.watch.stalled == ()
    ((at, stalled),) = world.until(1500.0)
    assert at == pytest.approx(1410)
    assert stalled.silent_s == pytest.approx(200)
    assert stalled.bound_s == pytest.approx(200)
    world.watch.restart(1500.0)
    world.watch.heard(MNQ, 1600.0)  # 600 s after the last, across an outage: no interval
    worst = world.watch.worst(1600.0)
    assert worst is not None
    assert worst.bound_s == pytest.approx(200)


def test_a_machine_that_slept_finds_its_contracts_silent_at_once() -> None:
    """FAULTS.md row 91: the monotonic clock stood still for ten minutes, the exchange's did not."""
    world = World("2026-11-17T10:00")
    world.watch.watch(MNQ, EQ, 0.0)
    world.until(1.0)
    assert world.run(flow(1.0, 61.0, 1.0)) == []
    world.watch.slept(600.0)
    assert world.watch.due(61.5) == 61.5
    (stalled,) = world.watch.look(61.5, world.start_ns + 661 * S)
    assert stalled == Stalled(MNQ, 600.5, 30.0)


def test_sleep_counts_after_a_probe_too() -> None:
    world = World("2026-11-17T10:00", is_quiet=True)
    world.watch.watch(MNQ, EQ, 0.0)
    assert len(world.until(31.0)) == 1
    world.watch.slept(600.0)
    (stalled,) = world.watch.look(31.0, world.start_ns + 631 * S)
    assert stalled == Stalled(MNQ, 631.0, 60.0)


# -- trading hours


@pytest.mark.parametrize(
    "opens",
    [
        "2026-11-15T17:00",  # a Sunday
        "2026-11-17T17:00",  # a daily break
        "2026-03-08T17:00",  # the Sunday on which summer time began, and on which it ended
        "2026-11-01T17:00",
        "2026-03-09T17:00",
        "2026-11-02T17:00",
        "2026-11-26T17:00",  # after a half day of Thanksgiving
        "2026-12-25T17:00",
    ],
)
def test_silence_counts_from_the_opening(opens: str) -> None:
    if opens == "2026-12-25T17:00":
        opens = "2026-12-27T17:00"  # Christmas is a Friday
    start = datetime.datetime.fromisoformat(opens) - datetime.timedelta(hours=49)
    world = World(start.isoformat())
    opening = world.at(opens)
    world.now = opening - 3600 * 0.9
    world.watch.watch(MNQ, EQ, world.now)
    assert world.until(opening + 29.99) == []
    assert [at for at, _ in world.until(opening + 31)] == [pytest.approx(opening + 30, abs=1e-4)]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-11-13T16:00", "2026-11-15T17:00"),  # a weekend
        ("2026-11-17T16:00", "2026-11-17T17:00"),  # a daily break
        ("2026-11-26T12:00", "2026-11-26T17:00"),  # the half day of Thanksgiving
        ("2026-12-24T12:15", "2026-12-27T17:00"),  # Christmas
        ("2026-03-06T16:00", "2026-03-08T17:00"),  # a weekend of 48 hours
        ("2026-10-30T16:00", "2026-11-01T17:00"),  # and one of 50
    ],
)
def test_closed_hours_are_never_a_stall(first: str, last: str) -> None:
    world = World(first)
    world.now = -100.0
    world.watch.watch(MNQ, EQ, world.now)
    assert world.run(flow(-100.0, -0.5, 0.5)) == []
    assert world.until(world.at(last) - 1) == []
    assert world.watch.worst(world.now) is None
    assert world.until(world.at(last) + 29.9) == []
    assert len(world.until(world.at(last) + 30.1)) == 1


def test_a_stall_that_the_close_overtakes_is_over() -> None:
    world = World("2026-11-17T15:59:00")
    world.watch.watch(MNQ, EQ, 0.0)
    assert len(world.until(59.0)) == 1
    assert world.watch.stalled == (MNQ,)
    assert world.until(100.0) == []
    assert world.watch.stalled == ()


def test_a_break_between_two_looks_is_a_break() -> None:
    start = ns("2026-11-17T08:00")
    spans = [(0, 35), (45, 900), (9000, 9001)]
    listed = Sessions.from_segments([("2026-11-17", start + a * S, start + b * S) for a, b in spans])
    world = World(start)
    world.watch.watch(MNQ, listed, 0.0)
    assert [at for at, _ in world.until(65.0)] == [30]
    assert world.watch.stalled == ()
    assert [at for at, _ in world.until(80.0)] == [pytest.approx(75)]


def test_a_wall_clock_that_was_wrong_is_believed_anew_at_each_look() -> None:
    watch = StallWatch(30.0, 20.0)
    watch.watch(MNQ, EQ, 0.0)
    assert len(watch.look(31.0, ns("2026-11-17T10:00"))) == 1
    assert watch.worst(31.0) is not None
    assert watch.look(61.0, ns("2026-11-21T10:00")) == []  # it is a Saturday after all
    assert watch.worst(61.0) is None
    assert watch.stalled == ()
    assert len(watch.look(91.0, ns("2026-11-17T10:00"))) == 1


def test_beyond_the_known_holidays_the_weekly_rule_holds() -> None:
    assert not EQ.is_known(datetime.date(2027, 1, 5))
    for start, is_open in (
        ("2027-01-05T10:00", True),
        ("2027-01-09T10:00", False),
        ("2027-01-05T16:20", False),
    ):
        world = World(start)
        world.watch.watch(MNQ, EQ, 0.0)
        assert bool(world.until(40.0)) is is_open


def test_without_sessions_those_of_equity_indices_are_assumed() -> None:
    listed = Sessions.from_segments([("2026-11-17", ns("2026-11-16T17:00"), ns("2026-11-17T16:00"))])
    for sessions in (None, listed):
        for start, is_open in (
            ("2026-11-10T10:00", True),
            ("2026-11-17T10:00", True),
            ("2026-11-17T16:20", False),
            ("2026-11-24T10:00", True),
            ("2026-11-21T10:00", False),  # a Saturday
            ("2026-11-26T14:00", False),  # the half day of Thanksgiving
        ):
            world = World(start)
            world.watch.watch(MNQ, sessions, 0.0)
            assert bool(world.until(40.0)) is is_open, (sessions, start)


def test_between_listed_segments_the_market_is_closed() -> None:
    day = ns("2026-11-17T00:00")
    hours = [("2026-11-17", day + h * 3600 * S, day + (h + 1) * 3600 * S) for h in (8, 10)]
    world = World("2026-11-17T08:00")
    world.watch.watch(MNQ, Sessions.from_segments(hours), 0.0)
    told = world.until(4 * 3600.0 - 3600)
    assert {int(at // 3600) for at, _ in told} == {0, 2}


# -- what health shows


def test_the_worst_is_the_one_that_has_used_up_most_of_its_bound() -> None:
    world = World("2026-11-17T10:00")
    assert world.watch.worst(0.0) is None
    assert world.watch.data_age_s(0.0) is None
    for name in ("slow", "fast"):
        world.watch.watch(name, EQ, 0.0)
    assert world.watch.worst(0.0) is None  # not looked yet: nothing says that the market is open
    world.until(0.5)
    world.run(flow(1.0, 401.0, 20.0), "slow")
    for at in flow(401.0, 402.0, 0.1):
        world.watch.heard("fast", at)
    assert world.watch.data_age_s(412.0) == pytest.approx(10)
    assert world.watch.worst(412.0) == Stalled("fast", pytest.approx(10), 30.0)
    for at in flow(412.0, 700.0, 0.1):
        world.watch.heard("fast", at)
    assert world.watch.worst(701.0) == Stalled("slow", pytest.approx(300), pytest.approx(400))
    world.until(810.0)
    world.watch.heard("fast", 810.0)
    assert world.watch.stalled == ("slow",)
    assert world.watch.worst(810.0) == Stalled("slow", pytest.approx(409), pytest.approx(400))
    world.watch.quiet("slow", 810.0)
    worst = world.watch.worst(815.0)
    assert worst is not None
    assert (worst.contract_id, worst.silent_s) == ("fast", 5)


# -- a year of CME


def year(
    sessions: Sessions, rng: random.Random, longest: float, origin: int
) -> Iterator[tuple[float, float]]:
    """Times of data, at random intervals in trading hours, each with the close of its hours."""
    for _, opens, closes in sessions.segments("2026-01-01", "2026-12-31"):
        at, close = (opens - origin) / S, (closes - origin) / S
        while (at := at + min(rng.expovariate(3 / longest), longest)) < close:
            yield at, close


@pytest.mark.parametrize("family", ["EQ", "FX", "GRAINS", "CRYPTO"])
def test_a_year_of_data_in_trading_hours_alarms_nobody(family: str) -> None:
    """Weekends, breaks, holidays, half days, both changes of the clocks: 525,600 minutes."""
    sessions, rng = Sessions.cme(family), random.Random(7)
    world = World("2025-12-31T12:00", stall_s=600.0)
    world.watch.watch(MNQ, sessions, 0.0)
    world.until(world.at("2025-12-31T16:00"))  # the old year's last hours have no data
    first = sessions.segments("2026-01-01", "2026-01-10")[0][1]
    begin = world.time_of(first)
    told = [each for each in world.until(begin) if each[0] > world.at("2025-12-31T17:00")]
    data = [at for at, _ in year(sessions, rng, 599.0, world.start_ns)]
    told += world.run(data)
    assert told == []
    assert world.looks < 120_000
    assert len(data) > 20_000


@pytest.mark.parametrize("family", ["EQ", "EM"])
def test_a_year_of_stalls_is_told_to_the_last_one(family: str) -> None:
    """Each day or so the data stop until the next hours begin: told in time, or the market closed before that."""
    sessions, rng = Sessions.cme(family), random.Random(11)
    world = World("2025-12-31T12:00", stall_s=120.0)
    world.watch.watch(MNQ, sessions, 0.0)
    world.until(world.at("2026-01-01T12:00"))
    told_in_time = too_late = 0
    for _, opens, closes in sessions.segments("2026-01-02", "2026-12-31"):
        start, close = world.time_of(opens), world.time_of(closes)
        assert world.until(start) == []
        stop = rng.uniform(start, close)
        if rng.random() < 0.3:
            stop = rng.uniform(close - 240, close)
        at = start
        while (at := at + rng.uniform(100, 119.9)) < stop:
            assert world.run([at]) == []
        age = world.watch.data_age_s(world.now)
        assert age is not None
        since = max(world.now - age, start)
        worst = world.watch.worst(world.now)
        bound = 120.0 if worst is None else worst.bound_s
        told = world.until(min(since + bound + 120.0, close))
        if since + bound + 120.0 <= close:
            assert len(told) >= 1
            assert since + 120.0 - 1e-4 <= told[0][0] <= since + bound + 120.0
            told_in_time += 1
        too_late += not told
        assert all(at < close for at, _ in told)
        world.until(close)
        assert world.until(close + 1) == []
    assert told_in_time > 100
    assert too_late > 10


# -- any script, against a count by the second

_OPEN, _SHUT = st.integers(60, 400), st.integers(40, 400)


@settings(max_examples=150)
@given(
    stall_s=st.integers(1, 20),
    hours=st.lists(st.tuples(_SHUT, _OPEN), min_size=1, max_size=4),
    script=st.dictionaries(
        st.integers(1, 1200), st.sampled_from(["data", "data", "data", "quiet", "restart"]), max_size=60
    ),
)
def test_any_script_is_told_as_by_looking_every_second(
    stall_s: int, hours: list[tuple[int, int]], script: dict[int, str]
) -> None:
    spans, at = [], 0
    for shut, open_ in hours:
        spans.append((at + shut, at + shut + open_))
        at += shut + open_
    start = ns("2026-11-17T00:00")
    listed = [("2026-11-17", start + a * S, start + b * S) for a, b in [(-10, -5), *spans, (9000, 9001)]]
    world = World(start, stall_s, NO_INTERVALS)
    world.watch.watch(MNQ, Sessions.from_segments(listed), 0.0)
    found: list[tuple[float, float]] = []
    for at in range(1299):
        found += [(told, each.bound_s) for told, each in world.until(at + 0.5)]
        match script.get(at):
            case "data":
                world.watch.heard(MNQ, at + 0.5)
            case "quiet":
                world.watch.quiet(MNQ, at + 0.5)
            case "restart":
                world.watch.restart(at + 0.5)
            case _:
                pass
    assert [
        (pytest.approx(told, abs=1e-3), bound) for told, bound in by_the_half_second(stall_s, spans, script)
    ] == found


def by_the_half_second(
    stall_s: int, spans: list[tuple[int, int]], script: dict[int, str]
) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    since = excused = 0.0
    doublings, stalled, was = 0, False, -1
    for half in range(2597):
        at = half / 2
        here = next((k for k, (a, b) in enumerate(spans) if a <= at < b), -1)
        if here != was:
            stalled, was = False, here
            if here >= 0:
                since, doublings = max(since, spans[here][0]), 0
        what = script.get(half // 2) if half % 2 else None
        if what == "data":
            since, doublings, stalled = at, 0, False
        elif what == "restart":
            since, stalled = at, False
        elif what == "quiet" and stalled:
            doublings, excused, stalled = doublings + 1, at, False
        bound = max(stall_s, min(stall_s * 2.0**doublings, 600.0))
        if here >= 0 and at >= max(since, excused) + bound:
            found.append((at, bound))
            stalled, excused = True, at
    return found


def test_silence_counts_in_trading_hours_only_and_not_what_a_probe_found_quiet() -> None:
    world = World("2026-11-17T15:59:00")
    watch = world.watch

    def silent_s(since: float, now: float) -> float:
        return watch.silent_s(MNQ, since, now, world.start_ns + round(now * S))

    assert silent_s(10.0, 50.0) == 40.0  # nobody watches it
    watch.watch(MNQ, EQ, 0.0)
    assert silent_s(10.0, 50.0) == 40.0
    assert silent_s(10.0, 70.0) == 50.0  # the market closed at 60
    assert silent_s(70.0, 100.0) == 0.0
    assert silent_s(10.0, 3720.0) == 60.0  # it opened at 3660
    world.until(40.0)
    watch.quiet(MNQ, 40.0)
    assert silent_s(10.0, 50.0) == 0.0
    assert silent_s(45.0, 50.0) == 5.0
