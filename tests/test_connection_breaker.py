"""The breaker on young deaths: its table, its times, and that it lets through one attempt in each of them."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._config import Reconnect
from trio_projectx.connection.breaker import TRANSITIONS, BreakerState, Step, YoungDeaths

NEAR = 1e-6
START = 250_000.0
OPTIONS = Reconnect()  # 5 deaths younger than 5 s: 30 s, 60 s, ... 300 s

# Written by hand from the options' words, not from the code.
TABLE = """
closed    TRIP open
closed    TRY  closed
closed    HEAL closed
open      TRY  half_open
half_open TRIP open
half_open TRY  half_open
half_open HEAL closed
"""


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", BreakerState)
def test_table(state: BreakerState, step: Step) -> None:
    rows = {(before, name): after for before, name, after in map(str.split, TABLE.strip().splitlines())}
    expected = rows.get((state.value, step.name))
    found = TRANSITIONS[state].get(step)
    assert (found and found.value) == expected


def opened(options: Reconnect = OPTIONS, now: float = START) -> YoungDeaths:
    breaker = YoungDeaths(options)
    for _ in range(options.young_deaths):
        assert breaker.wait(now) == 0.0
        breaker.started(now)
        breaker.died(now, 0.0)
    return breaker


def test_it_opens_at_the_fifth_young_death_in_a_row() -> None:
    breaker = YoungDeaths(OPTIONS)
    for life in (0.0, 4.999999, 1.0, 2.0, 5.0):  # 5.0 is not young
        breaker.died(START, life)
        assert breaker.state is BreakerState.CLOSED
    assert breaker.deaths == 0
    for n in range(1, 5):
        breaker.died(START, 4.999999)
        assert (breaker.deaths, breaker.state, breaker.wait(START)) == (n, BreakerState.CLOSED, 0.0)
    breaker.died(START, 4.999999)
    assert (breaker.state, breaker.wait(START)) == (BreakerState.OPEN, 30.0)
    assert breaker.wait(START + 10) == 20.0
    assert breaker.wait(START + 30) == breaker.wait(START + 1e6) == 0.0


def test_trials_that_die_young_double_the_time_up_to_the_cap() -> None:
    breaker, now, waits = opened(), START, list[float]()
    for _ in range(7):
        waits.append(breaker.wait(now))
        now += waits[-1]
        breaker.started(now)
        assert breaker.state is BreakerState.HALF_OPEN
        breaker.died(now, 1.0)
        assert breaker.state is BreakerState.OPEN
    assert waits == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0]


def test_a_trial_that_lives_ends_it_all() -> None:
    breaker = opened()
    for life, state, wait in ((1.0, BreakerState.OPEN, 60.0), (5.0, BreakerState.CLOSED, 0.0)):
        now = START + 1000 * life
        breaker.started(now)
        breaker.died(now, life)
        assert (breaker.state, breaker.wait(now)) == (state, wait)
    assert breaker.deaths == 0
    for _ in range(5):
        assert breaker.wait(now) == 0.0
        breaker.died(now, 1.0)
    assert breaker.wait(now) == 30.0  # from the beginning, not from where it was


def test_a_trial_that_is_not_live_yet_or_never_becomes_so_holds_the_next_for_a_while() -> None:
    breaker = opened()
    breaker.started(START + 30)
    breaker.died(START + 30, 1.0)  # 60 s from here
    breaker.started(START + 90)
    assert breaker.wait(START + 90) == 30.0
    assert breaker.wait(START + 119) == 1.0
    breaker.started(START + 120)  # the last one failed; nobody has told
    breaker.died(START + 125, 2.0)
    assert breaker.wait(START + 125) == 120.0


def test_a_trial_that_nobody_announced_is_one() -> None:
    breaker = opened()
    breaker.died(START + 31, 0.5)
    assert (breaker.state, breaker.wait(START + 31)) == (BreakerState.OPEN, 60.0)
    breaker.died(START + 92, 5.0)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("life", [0.0, 5.0, 1e6])
def test_a_death_before_its_time_is_of_a_connection_from_before(life: float) -> None:
    breaker = opened()
    breaker.died(START + 29.9, life)
    assert (breaker.state, breaker.wait(START + 29.9)) == (BreakerState.OPEN, pytest.approx(0.1))


def test_a_cap_below_the_time_does_not_shorten_it() -> None:
    breaker = opened(Reconnect(breaker_s=30.0, breaker_cap_s=1.0))
    assert breaker.wait(START) == 30.0
    breaker.died(START + 30, 0.0)
    assert breaker.wait(START + 30) == 30.0


@attrs.frozen
class Try:
    """One attempt: how long its caller lingered besides the breaker, and how long it lived; None: never live."""

    linger: float
    life: float | None


tries = st.lists(
    st.builds(
        Try,
        st.sampled_from([0.0, 0.5, 40.0]),
        st.none() | st.sampled_from([0.0, 1.0, 4.5, 5.0, 100.0]) | st.floats(0.0, 4.9),
    ),
    max_size=80,
)


@attrs.define
class Run:
    """What a line did that obeys the breaker."""

    attempts: list[float] = attrs.Factory(list)
    openings: list[list[float]] = attrs.Factory(list)
    """Each with its time, and those of the attempts after it, up to the trial that healed it."""


def follow(script: list[Try], options: Reconnect) -> Run:
    """Obey the breaker through ``script``, and compare with the words of the options at each step."""
    breaker, run, now = YoungDeaths(options), Run(), START
    deaths, open_s = 0, None  # the model: deaths in a row; the time of the present opening, if there is one
    for each in script:
        now += breaker.wait(now) + each.linger
        breaker.started(now)
        run.attempts.append(now)
        if open_s is not None:
            run.openings[-1].append(now)
        if each.life is None:
            continue
        now += each.life
        breaker.died(now, each.life)
        if each.life >= options.young_s:
            deaths, open_s = 0, None
        else:
            deaths += 1
            if open_s is not None:
                open_s = min(2 * open_s, options.breaker_cap_s)
            elif deaths >= options.young_deaths:
                open_s = options.breaker_s
                run.openings.append([now])
            assert breaker.wait(now) == pytest.approx(open_s or 0.0)
        assert breaker.deaths == deaths
        assert breaker.state is (BreakerState.CLOSED if open_s is None else BreakerState.OPEN)
    return run


@given(tries, st.integers(1, 6))
def test_from_an_opening_on_there_is_one_attempt_in_each_of_its_times(script: list[Try], most: int) -> None:
    options = attrs.evolve(OPTIONS, young_deaths=most)
    run = follow(script, options)
    for times in run.openings:
        # A window that begins with one of them ends before the next.
        assert all(b - a >= options.breaker_s - NEAR for a, b in pairwise(times)), times


def test_without_it_that_property_fails() -> None:
    """The property can fail: a service that ends every connection at once, and a line without a breaker."""
    run = follow([Try(0.0, 0.1)] * 20, attrs.evolve(OPTIONS, young_deaths=1000))
    assert run.openings == []
    assert len([at for at in run.attempts if at <= START + 30]) == 20
    assert len([at for at in follow([Try(0.0, 0.1)] * 20, OPTIONS).attempts if at <= START + 30]) == 5
