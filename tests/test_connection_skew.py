from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.connection.skew import SkewEstimate

MS = 1_000_000
S = 1_000_000_000
T0 = 1_790_000_000 * S


class Line:
    """A service whose exchange's clock is true, and a client whose clock is ahead by ``ahead_ns``."""

    def __init__(self, estimate: SkewEstimate, ahead_ns: int = 0) -> None:
        self.estimate = estimate
        self.ahead_ns = ahead_ns
        self.now = 1000.0

    def true_ns(self) -> int:
        return T0 + round((self.now - 1000.0) * 1e9)

    def read(self, wait_s: float, delay_ms: float, stamp_off_ns: int = 0) -> None:
        self.now += wait_s
        stamp = self.true_ns() - round(delay_ms * MS) + stamp_off_ns
        self.estimate.heard(stamp, self.true_ns() + self.ahead_ns, self.now)

    def reads(self, seconds: float, every_s: float = 0.1, delay_ms: float = 20.0) -> None:
        for k in range(round(seconds / every_s)):
            self.read(every_s, delay_ms + k % 7)


def skew_of(estimate: SkewEstimate) -> float:
    assert estimate.skew_ms is not None
    return estimate.skew_ms


@pytest.mark.parametrize("ahead_s", [0, 90, -90, 3600, -3600])
def test_the_skew_is_told_with_the_shortest_way(ahead_s: int) -> None:
    """FAULTS.md rows 87 to 89."""
    estimate = SkewEstimate()
    assert (estimate.skew_ms, estimate.lag_ms, estimate.last_lag_ms) == (None, None, None)
    line = Line(estimate, ahead_s * S)
    line.reads(3.0)
    assert skew_of(estimate) == pytest.approx(ahead_s * 1000 + 20, abs=0.01)
    assert estimate.lag_ms == pytest.approx(ahead_s * 1000 + 23, abs=3)
    wall = line.true_ns() + line.ahead_ns
    assert abs(estimate.exchange_ns(wall, line.now) - line.true_ns()) <= 21 * MS
    assert estimate.judge(1000) is (True if ahead_s else None)
    assert estimate.is_skewed is bool(ahead_s)


def test_nothing_is_known_before_five_reads_and_a_second() -> None:
    estimate = SkewEstimate()
    line = Line(estimate)
    for _ in range(4):
        line.read(0.5, 10)
        assert estimate.skew_ms is None
        assert estimate.exchange_ns(5, line.now) == 5
        estimate.exchange_ns(line.true_ns(), line.now)
    other = Line(SkewEstimate())
    for _ in range(50):
        other.read(0.01, 10)
        assert other.estimate.skew_ms is None
    other.read(0.6, 10)
    assert other.estimate.skew_ms is not None


def test_old_data_shown_at_a_subscription_are_no_clock() -> None:
    """At a weekend each contract's last quote, and 50 trades in one read, come with Friday's stamps."""
    estimate = SkewEstimate()
    line = Line(estimate)
    for k in (5, 1, 3, 2, 0.5, 4, 1, 2):
        line.read(0.3, 0.0, -2 * 86_400 * S - round(k * S))
    assert estimate.skew_ms is None
    line.reads(2.0)
    assert skew_of(estimate) == pytest.approx(20, abs=1)


def test_one_stamp_in_the_future_moves_nothing() -> None:
    estimate = SkewEstimate()
    line = Line(estimate)
    line.reads(10.0)
    line.read(0.1, 0.0, 3600 * S)
    assert skew_of(estimate) < 30
    for _ in range(10):
        line.reads(10.0)
        assert 19 <= skew_of(estimate) <= 27
        assert estimate.judge(1000) is None
    line.read(0.2, 123)
    assert estimate.last_lag_ms == 123  # it was forgotten with its windows


@pytest.mark.parametrize("step_s", [3600, -3600, 5, -5])
def test_a_step_of_our_clock_is_seen_in_a_second(step_s: int) -> None:
    estimate = SkewEstimate()
    line = Line(estimate)
    line.reads(100.0)
    assert estimate.judge(1000) is None
    line.ahead_ns = step_s * S
    line.read(0.1, 20)
    assert estimate.skew_ms is None  # what was known does not hold
    line.reads(1.5)
    assert skew_of(estimate) == pytest.approx(step_s * 1000 + 20, abs=0.01)
    assert estimate.judge(1000) is True
    line.ahead_ns = 0
    line.reads(1.5)
    assert estimate.judge(1000) is False
    assert estimate.judge(1000) is None


def test_a_clock_that_drifts_is_seen_within_two_windows() -> None:
    """Slower than anything that is taken for a step."""
    estimate = SkewEstimate(window_s=30.0)
    line = Line(estimate)
    line.reads(30.0)
    for k in range(1, 101):
        line.ahead_ns = k * 20 * MS
        line.read(0.1, 20)
    line.reads(60.0)
    assert skew_of(estimate) == pytest.approx(2020, abs=0.01)


def test_a_step_while_no_data_come_is_seen_when_the_time_is_asked_for() -> None:
    estimate = SkewEstimate()
    line = Line(estimate, 3600 * S)
    line.reads(2.0)
    assert estimate.judge(1000) is True
    line.now += 86_400
    wall = line.true_ns() + 3600 * S
    assert estimate.exchange_ns(wall, line.now) == pytest.approx(line.true_ns(), abs=21 * MS)
    line.now += 30
    assert estimate.exchange_ns(line.true_ns(), line.now) == line.true_ns()  # it was put right
    assert estimate.skew_ms is None
    assert estimate.is_skewed  # until data say that it is not
    line.ahead_ns = 0
    line.reads(2.0)
    assert estimate.judge(1000) is False


def test_the_limit_is_left_lower_than_it_was_passed() -> None:
    estimate = SkewEstimate()
    line = Line(estimate)
    told = []
    for skew_ms in (990, 1010, 990, 810, 790, 810, 990, 1010):
        line.ahead_ns = skew_ms * MS
        for _ in range(700):
            line.read(0.1, 0.0)
        told.append(estimate.judge(1000))
    assert told == [None, True, None, None, False, None, None, True]


def test_lag_is_smoothed() -> None:
    estimate = SkewEstimate()
    line = Line(estimate)
    for _ in range(20):
        line.read(0.1, 500)
    line.read(0.1, 580)
    assert estimate.last_lag_ms == 580
    assert estimate.lag_ms == 510
    assert estimate.skew_ms == 500  # a steady way cannot be told from a clock
    line.read(0.1, 690)  # older than one that came: it tells nothing
    assert (estimate.last_lag_ms, estimate.lag_ms) == (580, 510)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 1 << 30),
    ahead_ns=st.integers(-10_000 * S, 10_000 * S),
    window_s=st.floats(1, 60),
    pace_s=st.floats(0.001, 3),
    longest_ms=st.floats(0.001, 5000),
)
def test_the_estimate_lies_between_what_one_and_two_windows_saw(
    seed: int, ahead_ns: int, window_s: float, pace_s: float, longest_ms: float
) -> None:
    """Against all lags that were fed, kept in a list."""
    rng = random.Random(seed)
    estimate = SkewEstimate(window_s)
    line = Line(estimate, ahead_ns)
    lags: list[tuple[float, int, int]] = []
    for delay_ns in rng.sample(range(round(longest_ms * MS)), 200):  # all different
        wait, delay = rng.expovariate(1 / pace_s), delay_ns / MS
        before = estimate.skew_ms
        line.read(wait, delay)
        stamp = line.true_ns() - round(delay * MS)
        lag = line.true_ns() + ahead_ns - stamp
        assert estimate.skew_ms is None or 0 <= estimate.skew_ms - ahead_ns / MS <= longest_ms + 0.001
        recent = [each for each in lags if each[0] > line.now - 2 * window_s]
        lags.append((line.now, stamp, lag))
        if estimate.last_lag_ms != lag / MS:  # it told nothing: an older stamp, or too little evidence
            assert estimate.skew_ms == before
            continue
        least = min(each[2] for each in (*recent, lags[-1])) / MS
        surely_seen = sorted(each[2] for each in younger_each(lags, line.now - window_s))
        assert estimate.skew_ms is not None
        assert estimate.skew_ms >= least
        if len(surely_seen) > 2:
            assert (
                estimate.skew_ms <= surely_seen[2] / MS
            )  # the second of one window, or of both of its halves


def younger_each(lags: list[tuple[float, int, int]], since: float) -> list[tuple[float, int, int]]:
    """Return the reads after ``since`` whose stamps were younger than every one before them."""
    newest, found = 0, []
    for each in lags:
        if each[1] > newest:
            newest = each[1]
            if each[0] > since:
                found.append(each)
    return found
