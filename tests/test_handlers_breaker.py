from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_projectx as px
from trio_projectx.connection.breaker import BreakerState
from trio_projectx.handlers.breaker import CallBreaker

CLOSED, OPEN, HALF_OPEN = BreakerState


def breaker(
    failures: int = 3, window_s: float = 10, open_s: float = 5, open_cap_s: float = 15
) -> CallBreaker:
    return CallBreaker(
        px.HandlerOptions(failures=failures, window_s=window_s, open_s=open_s, open_cap_s=open_cap_s)
    )


@pytest.mark.parametrize(
    ("at", "state"),
    [
        ((0, 1), CLOSED),
        ((0, 1, 2), OPEN),
        ((0, 5, 10), OPEN),
        ((0, 5, 10.5), CLOSED),
        ((0, 9, 11, 12), OPEN),
        ((0, 11, 22, 33, 44), CLOSED),
    ],
)
def test_failures_within_the_window_open_it(at: tuple[float, ...], state: BreakerState) -> None:
    one = breaker()
    opened = [one.failed(now) for now in at]
    assert one.state is state
    assert opened == [False] * (len(at) - 1) + [state is OPEN]


def test_successes_between_failures_do_not_hide_them() -> None:
    one = breaker()
    for now in (0, 1, 2):
        assert one.allows(now)
        assert not one.succeeded()
        one.failed(now)
    assert one.state is OPEN


def test_a_trial_closes_it_and_what_was_before_is_forgotten() -> None:
    one = breaker()
    for now in (0, 1, 2):
        one.failed(now)
    assert not one.allows(6.9)
    assert one.state is OPEN
    assert one.allows(7)
    assert one.state is HALF_OPEN
    assert one.succeeded()
    assert one.state is CLOSED
    one.failed(7)
    one.failed(7)
    assert one.state is CLOSED


def test_each_trial_that_fails_doubles_the_time_up_to_the_cap() -> None:
    one, now = breaker(failures=1), 0.0
    assert one.failed(now)
    for pause in (5, 10, 15, 15):
        assert not one.allows(now + pause - 0.01)
        now += pause
        assert one.allows(now)
        assert one.failed(now)
    one.allows(now + 15)
    assert one.succeeded()
    assert one.failed(now + 15)
    assert one.allows(now + 20)  # after a success it begins anew


class Model:
    """The same by the whole past, without a bound."""

    def __init__(self) -> None:
        self.failures: list[float] = []
        self.until = self.pause = 0.0
        self.state = "closed"

    def call(self, now: float, *, ok: bool) -> bool:
        if self.state == "open":
            if now < self.until:
                return False
            self.state = "half_open"
        if ok:
            self.failures = self.failures if self.state == "closed" else []
            self.state = "closed"
            return True
        near = [at for at in self.failures if now - at <= 10]
        if self.state == "half_open":
            self.open(now, min(2 * self.pause, 15))
        elif len(near) >= 2:
            self.open(now, 5)
        else:
            self.failures.append(now)
        return True

    def open(self, now: float, pause: float) -> None:
        self.state, self.failures, self.pause, self.until = "open", [], pause, now + pause


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40))
def test_it_is_what_the_whole_past_says(calls: list[tuple[int, bool]]) -> None:
    one, model, now = breaker(), Model(), 0
    for step, ok in calls:
        now += step
        assert model.call(now, ok=ok) == one.allows(now)
        if one.state is not OPEN:
            one.succeeded() if ok else one.failed(now)
        assert model.state == one.state.value.replace(" ", "_")


@pytest.mark.parametrize(
    "options",
    [
        {"failures": 0},
        {"failures": True},
        {"window_s": 0},
        {"open_s": -1},
        {"open_s": 10, "open_cap_s": 9},
        {"deadline_s": 0},
        {"rate_per_s": 0},
        {"rate_burst": 0},
        {"batch_most": 0},
        {"batch_aim_s": "1"},
        {"blocking_s": None},
        {"name": ""},
        {"name": "two\nlines"},
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(
        px.ConfigError, match=rf"HandlerOptions\.{'open_cap_s' if len(options) > 1 else min(options)}"
    ):
        px.HandlerOptions(**options)  # type: ignore[arg-type]
