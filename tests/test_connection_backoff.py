"""The back-off: bounds, jitter, what begins an outage and what ends it, and that it recovers for ever."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._config import Reconnect
from trio_projectx.connection.backoff import PROMPT_S, RETRY_AFTER_MAX_S, Backoff

NEAR = 1e-6
START = 250_000.0  # trio's clock begins anywhere
OPTIONS = Reconnect()


def backoff(seed: int = 1, options: Reconnect = OPTIONS) -> Backoff:
    return Backoff(options, random.Random(seed))


def refused_until(back_at: float, seed: int, options: Reconnect = OPTIONS) -> list[float]:
    """Times of the attempts, from the loss (0) on, at a service that refuses at once until it is back."""
    line = backoff(seed, options)
    line.lived(START, 3600.0)
    times: list[float] = []
    now = START
    while not times or times[-1] < back_at:
        now += line.delay(now)
        times.append(now - START)
        line.failed(now, 0.0)
    return times


# -- one outage


def test_the_first_attempt_is_at_once_and_later_ones_are_not() -> None:
    line = backoff()
    assert (line.delay(START), line.attempts, line.since) == (0.0, 0, None)
    line.failed(START, 0.0)
    assert (line.attempts, line.since) == (1, START)
    assert 0 < line.delay(START) < 2 * OPTIONS.base_s


def test_an_outage_of_a_hub_that_was_never_live_begins_with_its_first_attempt() -> None:
    line = backoff()
    line.failed(START + 10, 10.0)
    assert (line.attempts, line.since) == (1, START)


def test_a_loss_begins_an_outage_with_an_attempt_at_once() -> None:
    line = backoff()
    line.lived(START, 1.0)  # there was no outage that this could be a part of
    assert (line.delay(START), line.attempts, line.since) == (0.0, 0, START)


def test_the_wait_runs_down_and_asking_changes_nothing() -> None:
    line = backoff()
    line.failed(START, 0.0)
    wait = line.delay(START)
    assert line.delay(START) == wait
    assert line.delay(START + wait / 2) == pytest.approx(wait / 2, abs=NEAR)
    assert line.delay(START + wait + 1) == 0.0


positive = st.floats(0.01, 100.0)


@given(
    seed=st.integers(0, 1 << 32),
    base_s=positive,
    cap_s=positive,
    gaps=st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=60),
)
def test_no_wait_is_above_its_ceiling(seed: int, base_s: float, cap_s: float, gaps: list[float]) -> None:
    line = backoff(seed, Reconnect(base_s=base_s, cap_s=cap_s))
    now = START
    for n, gap in enumerate(gaps, start=1):
        now += gap
        line.failed(now, 0.0)
        longest = max(base_s, PROMPT_S, now - START)
        assert 0 <= line.delay(now) <= min(cap_s, base_s * 2**n, longest) + NEAR


@pytest.mark.parametrize(
    ("failures", "elapsed", "ceiling"),
    [
        (1, 0.0, 0.5),
        (2, 0.0, 1.0),
        (5, 0.0, 8.0),
        (6, 0.0, 8.0),
        (6, 12.0, 12.0),
        (6, 60.0, 16.0),
        (9, 60.0, 30.0),
    ],
)
def test_the_jitter_is_full(failures: int, elapsed: float, ceiling: float) -> None:
    shares: list[float] = []
    for seed in range(2000):
        line = backoff(seed)
        for n in range(failures):
            now = START + elapsed * n / max(1, failures - 1)
            line.failed(now, 0.0)
        shares.append(line.delay(now) / ceiling)
    tenths = [sum(k / 10 <= share < (k + 1) / 10 for share in shares) for k in range(10)]
    assert max(shares) <= 1 + NEAR
    assert all(140 < count < 260 for count in tenths), tenths  # 200 expected; 4.5 deviations are 60
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.03)


def test_a_base_above_the_prompt_time_is_not_cut_to_it() -> None:
    waits: list[float] = []
    for seed in range(300):
        line = backoff(seed, Reconnect(base_s=20.0, cap_s=100.0))
        line.failed(START, 0.0)
        waits.append(line.delay(START))
    assert max(waits) == pytest.approx(20.0, abs=0.5)


def test_equal_seeds_make_equal_waits_and_others_do_not() -> None:
    first, again, other = (refused_until(600.0, seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


# -- FAULTS.md rows 20 and 21, I6


@pytest.mark.parametrize("away", [0.0, 0.3, 8.0, 20.0, 90.0, 7200.0])
def test_a_service_that_is_back_is_tried_in_time(away: float) -> None:
    late = [refused_until(away, seed)[-1] - away for seed in range(400)]
    assert max(late) <= min(OPTIONS.cap_s, max(away, PROMPT_S)) + NEAR


@given(away=st.floats(0.0, 300.0), base_s=st.floats(0.05, 20.0), seed=st.integers(0, 1 << 32))
@settings(max_examples=200)
def test_and_that_holds_for_any_base_and_time(away: float, base_s: float, seed: int) -> None:
    options = Reconnect(base_s=base_s)
    late = refused_until(away, seed, options)[-1] - away
    assert late <= min(options.cap_s, max(away, PROMPT_S, base_s)) + NEAR


def test_an_outage_of_a_day_is_no_storm_and_has_no_end() -> None:
    times = refused_until(86_400.0, seed=3)
    assert 86_400 / 30 < len(times) < 86_400 / 12  # 15 s between two, on average
    assert max(b - a for a, b in pairwise(times)) <= OPTIONS.cap_s + NEAR


def test_ten_thousand_failures_overflow_nothing() -> None:
    line = backoff(options=Reconnect(base_s=3e8, cap_s=3e8))
    for n in range(10_000):
        line.failed(START + n, 0.0)
        assert math.isfinite(line.delay(START + n))
    assert line.attempts == 10_000


@pytest.mark.parametrize("options", [Reconnect(base_s=40.0), Reconnect(base_s=0.01, cap_s=0.001)])
def test_a_base_above_the_cap_is_the_cap(options: Reconnect) -> None:
    line = backoff(options=options)
    for _ in range(50):
        line.failed(START, 0.0)
        assert line.delay(START) <= options.cap_s + NEAR


# -- what is seen of the service


def test_what_a_slow_attempt_took_is_a_part_of_the_wait() -> None:
    quick, slow, slower = backoff(), backoff(), backoff()
    for n in range(8):
        for line in (quick, slow, slower):
            line.failed(START + 60 + n, 0.0)
    slow_s = quick.delay(START + 67) + 1.0
    slow._rng.setstate(quick._rng.getstate())
    slower._rng.setstate(quick._rng.getstate())
    for line, took in ((quick, 0.0), (slow, slow_s), (slower, 1000.0)):
        line.failed(START + 100, took)
    drawn = quick.delay(START + 100)
    assert slow.delay(START + 100) == pytest.approx(max(0.0, drawn - slow_s), abs=NEAR)
    assert slower.delay(START + 100) == 0.0


def test_what_an_attempt_took_that_was_shorter_than_its_wait_is_not() -> None:
    quick, other = backoff(), backoff()
    for line in (quick, other):
        for n in range(8):
            line.failed(START + 60 + n, 0.0)
    waited = quick.delay(START + 67)
    assert waited > 0.1
    quick.failed(START + 100, 0.0)
    other.failed(START + 100, waited - 0.05)
    assert other.delay(START + 100) == quick.delay(START + 100)


def test_the_first_attempt_of_an_outage_had_no_wait_whatever_the_last_one_had() -> None:
    quick, slow = backoff(), backoff()
    for line, took in ((quick, 0.0), (slow, 0.01)):
        line.failed(START, 0.0, 300.0)
        line.lived(START + 400, 30.0)
        line.failed(START + 400, took)
    assert quick.delay(START + 400) - slow.delay(START + 400) == pytest.approx(0.01, abs=NEAR)


@given(asked=st.floats(0.0, 1e9), seed=st.integers(0, 1000), failures=st.integers(1, 12))
def test_retry_after_is_waited_at_least_up_to_its_cap(asked: float, seed: int, failures: int) -> None:
    plain, told = backoff(seed), backoff(seed)
    for n in range(failures):
        last = n == failures - 1
        plain.failed(START + n, 0.0)
        told.failed(START + n, 0.0, asked if last else None)
    now = START + failures - 1
    least = min(asked, RETRY_AFTER_MAX_S)
    assert least - NEAR <= told.delay(now) <= max(least, plain.delay(now)) + NEAR


def test_retry_after_is_for_one_wait() -> None:
    line = backoff()
    line.failed(START, 0.0, 120.0)
    assert line.delay(START) == pytest.approx(120.0)
    line.failed(START + 120, 0.0)
    assert line.delay(START + 120) <= 1.0


# -- a life between two losses


@pytest.mark.parametrize("short_by", [1e-6, 1.0, 29.9])
def test_a_life_of_just_refill_s_begins_anew_and_a_shorter_one_does_not(short_by: float) -> None:
    line = backoff()
    for _ in range(6):
        line.failed(START, 0.0)
    line.lived(START + 40, OPTIONS.refill_s - short_by)
    assert (line.attempts, line.since) == (7, START)
    assert line.delay(START + 40) > 0
    line.lived(START + 80, OPTIONS.refill_s)
    assert (line.attempts, line.since, line.delay(START + 80)) == (0, START + 80, 0.0)
    line.failed(START + 80, 0.0)
    assert line.delay(START + 80) <= 2 * OPTIONS.base_s


def test_flaps_are_no_storm() -> None:
    """FAULTS.md row 22: a service that ends each connection after 0.2 s."""
    for seed in range(100):
        line = backoff(seed)
        line.lived(START, 3600.0)
        now, attempts = START, 0
        while now < START + 60:
            now += line.delay(now) + 0.2
            attempts += 1
            line.lived(now, 0.2)
        assert attempts <= 60 / 2


@attrs.frozen
class Told:
    """One attempt: how long it took, or how long it lived."""

    took: float
    life: float | None
    retry_after: float | None


told = st.builds(
    Told,
    st.floats(0.0, 60.0),
    st.none() | st.sampled_from([0.0, 29.999999, 30.0, 1e6]) | st.floats(0.0, 100.0),
    st.none() | st.floats(0.0, 1000.0),
)


@given(st.lists(told, max_size=40), st.integers(0, 1 << 32))
def test_against_a_model(script: list[Told], seed: int) -> None:
    line = backoff(seed)
    attempts, since, now = 0, None, START
    for step in script:
        now += line.delay(now) + step.took
        asked = 0.0
        if step.life is None:
            since = now - step.took if since is None else since
            attempts += 1
            line.failed(now, step.took, step.retry_after)
            asked = min(step.retry_after or 0.0, RETRY_AFTER_MAX_S)
        else:
            now += step.life
            if since is None or step.life >= OPTIONS.refill_s:
                attempts, since = 0, now
            else:
                attempts += 1
            line.lived(now, step.life)
        assert (line.attempts, line.since) == (attempts, since)
        ceiling = min(OPTIONS.cap_s, OPTIONS.base_s * 2**attempts) if attempts else 0.0
        assert asked - NEAR <= line.delay(now) <= max(ceiling, asked) + NEAR
        assert line.exhausted(now) is None


# -- an end, where one is wanted


def test_attempts_are_used_up() -> None:
    line = backoff(options=Reconnect(max_attempts=3))
    for _ in range(2):
        line.failed(START, 0.0)
        assert line.exhausted(START) is None
    line.lived(START, 1.0)  # too short a life is an attempt, too
    assert line.exhausted(START) == "given up after 3 attempts (reconnect.max_attempts)"
    line.lived(START + 100, 30.0)
    assert line.exhausted(START + 100) is None


@given(seed=st.integers(0, 1000), max_s=st.floats(0.1, 1000.0), asked=st.none() | st.floats(0.0, 5000.0))
def test_time_is_used_up_and_no_wait_goes_beyond(seed: int, max_s: float, asked: float | None) -> None:
    line = backoff(seed, Reconnect(max_s=max_s))
    line.lived(START, 3600.0)
    now = START
    while line.exhausted(now) is None:
        line.failed(now, 0.0, asked)
        wait = line.delay(now)
        assert now + wait <= START + max_s + NEAR
        now += wait + 1e-9  # a sleep ends a little later than asked for
    assert START + max_s - NEAR <= now <= START + max_s + NEAR
    assert line.exhausted(now) == f"given up after {max_s:g} s (reconnect.max_s)"


def test_before_the_first_outage_nothing_is_used_up() -> None:
    assert backoff(options=Reconnect(max_s=1.0, max_attempts=1)).exhausted(START) is None
