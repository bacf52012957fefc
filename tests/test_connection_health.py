from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import HubState
from trio_projectx.connection.health import (
    ClockHealth,
    Health,
    HubHealth,
    TokenHealth,
    assess,
    hub_score,
)
from trio_projectx.connection.stalls import Stalled

DOWN = (HubState.CONNECTING, HubState.RECONNECTING, HubState.CLOSED)
MARKET = HubHealth(
    hub="market",
    state=HubState.LIVE,
    reason="all 3 subscriptions are acknowledged",
    since_s=100.0,
    connections=1,
    round_trip_s=0.02,
    lag_ms=25.0,
    bytes_per_s=20_000.0,
    records_per_s=80.0,
    data_age_s=0.05,
    record_age_s=0.05,
    subscriptions=3,
)
USER = HubHealth(hub="user", state=HubState.IDLE, reason="no stream has needed it", since_s=100.0)
TOKEN = TokenHealth(expires_in_s=80_000.0, refreshed_ago_s=6400.0)
CLOCK = ClockHealth(is_synchronised=True, max_error_ms=16.0, skew_ms=12.0)
SKEWED = ClockHealth(is_synchronised=False, skew_ms=90_000.0, is_skewed=True)


def judged(
    *,
    token: TokenHealth = TOKEN,
    clock: ClockHealth = CLOCK,
    silence: Stalled | None = None,
    user: HubHealth = USER,
    state: HubState = HubState.LIVE,
    round_trip_s: float | None = 0.02,
    lag_ms: float | None = 25.0,
    data_age_s: float | None = 0.05,
) -> Health:
    market = attrs.evolve(
        MARKET, state=state, round_trip_s=round_trip_s, lag_ms=lag_ms, data_age_s=data_age_s
    )
    return assess(market, user, token, clock, silence)


def test_ok_says_why_too() -> None:
    health = judged()
    assert health.status == "ok"
    assert health.reason == (
        "the market hub is live (all 3 subscriptions are acknowledged); the user hub is idle"
    )
    assert (health.market.score, health.user.score) == (100, 100)
    assert health.market.reason == MARKET.reason
    assert (health.token, health.clock) == (TOKEN, CLOCK)
    assert health.market == attrs.evolve(MARKET, score=100)


@pytest.mark.parametrize(
    ("facts", "score", "sentence"),
    [
        ({"round_trip_s": 1.0}, 100, ""),
        ({"round_trip_s": 1.2}, 90, "a round trip takes 1.2 s"),
        ({"round_trip_s": 3.0}, 83, "a round trip takes 3.0 s"),
        ({"round_trip_s": 60.0}, 75, "a round trip takes 60.0 s"),
        ({"round_trip_s": math.nan}, 100, ""),
        ({"round_trip_s": None}, 100, ""),  # a mute pong is no fault: FAULTS.md row 17
        ({"lag_ms": 530.0}, 100, ""),  # FAULTS.md row 19
        ({"lag_ms": 5500.0}, 80, "data come 5.5 s after their stamps"),
        ({"lag_ms": 3_600_000.0}, 70, "data come 60 minutes after their stamps"),
        ({"lag_ms": 5500.0, "data_age_s": 61.0}, 100, ""),  # that was the last before a quiet hour
        ({"lag_ms": 5500.0, "data_age_s": None}, 100, ""),
        ({"lag_ms": None}, 100, ""),
        ({"silence": Stalled("C", 22.0, 30.0)}, 100, ""),
        ({"silence": Stalled("C", 24.0, 30.0)}, 92, "no data of C for 24 s of the 30 s that are allowed"),
        ({"silence": Stalled("C", 900.0, 600.0)}, 80, "for 15 minutes of the 10 minutes that are allowed"),
        ({"token": TokenHealth(expires_in_s=None)}, 100, ""),
        ({"token": TokenHealth(expires_in_s=90.0)}, 100, ""),
        ({"token": TokenHealth(expires_in_s=50.0)}, 80, "the token expires in 50 s and was not renewed"),
        (
            {"token": TokenHealth(expires_in_s=500.0, last_error="HTTP 500")},
            80,
            "the token expires in 8 minutes and was not renewed: HTTP 500",
        ),
        (
            {"token": TokenHealth(expires_in_s=-3.0, last_error="HTTP 500")},
            60,
            "the token expired 3.0 s ago and was not renewed: HTTP 500",
        ),
        ({"token": TokenHealth(expires_in_s=0.0)}, 60, "the token expired 0.0 s ago and was not renewed"),
        (
            {"token": TokenHealth(expires_in_s=7200.0, last_error="timed out")},
            90,
            "the token could not be renewed: timed out; it lasts for 2 hours more",
        ),
        ({"token": TokenHealth(last_error="timed out")}, 90, "the token could not be renewed: timed out"),
        ({"clock": SKEWED}, 85, "our clock is 90 s ahead of the exchange's, and nothing is known to keep"),
        (
            {"clock": attrs.evolve(SKEWED, skew_ms=-3.6e6, is_synchronised=None), "lag_ms": -3.6e6 + 25},
            85,
            "our clock is 60 minutes behind the exchange's",
        ),
        (
            {"clock": attrs.evolve(SKEWED, skew_ms=1500.0, is_synchronised=True)},
            85,
            "1.5 s ahead of the exchange's, though the system keeps it right",
        ),
        ({"clock": attrs.evolve(CLOCK, is_synchronised=False)}, 100, ""),
        # what the clock is off is in the lag, and is not counted twice
        ({"clock": SKEWED, "lag_ms": 90_400.0}, 85, "our clock is"),
        ({"clock": SKEWED, "lag_ms": 95_500.0}, 65, "data come 5.5 s after their stamps"),
        (
            {
                "clock": SKEWED,
                "lag_ms": 9e9,
                "round_trip_s": 9.0,
                "silence": Stalled("C", 29.9, 30.0),
                "token": TokenHealth(expires_in_s=-1.0),
            },
            31,
            "a round trip takes 9.0 s",
        ),
    ],
)
def test_what_takes_from_a_live_hub_and_what_is_said(
    facts: dict[str, object], score: int, sentence: str
) -> None:
    health = judged(**facts)  # type: ignore[arg-type]
    assert health.market.score == score
    assert health.status == ("ok" if score == 100 else "degraded")
    assert health.user.score == 100
    if not sentence:
        assert health.market.reason == MARKET.reason
    else:
        assert health.market.reason.startswith(MARKET.reason + "; ")
        assert sentence in health.market.reason
        assert health.reason.count(sentence) == 1


@pytest.mark.parametrize("state", DOWN)
def test_a_hub_that_is_down_is_0_whatever_the_other_is(state: HubState) -> None:
    for market, user in ((state, HubState.LIVE), (HubState.LIVE, state), (state, HubState.IDLE)):
        health = judged(state=market, user=attrs.evolve(USER, state=user))
        assert health.status == "down"
        assert (health.market.score == 0, health.user.score == 0) == (market is state, user is state)
        assert f"hub is {state.value}" in health.reason


def test_an_outage_says_when_it_is_tried_again() -> None:
    market = attrs.evolve(
        MARKET, state=HubState.RECONNECTING, reason="connection reset", attempts=4, next_attempt_s=2.5
    )
    health = assess(market, USER, TOKEN, CLOCK)
    assert health.reason.startswith(
        "the market hub is reconnecting, 4 attempts so far, the next in 2.5 s (connection reset); "
    )
    assert health.market.reason == "connection reset"


def test_a_stale_hub_is_degraded_and_below_any_live_one() -> None:
    stalled = Stalled("C", 45.0, 30.0)
    health = judged(state=HubState.STALE, silence=stalled)
    assert (health.status, health.market.score) == ("degraded", 30)
    assert "no data of C" not in health.market.reason  # its state has a reason already
    health = judged(state=HubState.STALE, silence=stalled, round_trip_s=5.0)
    assert health.market.score == 24
    assert "a round trip takes 5.0 s" in health.market.reason


def test_hubs_that_nothing_has_needed_are_no_fault() -> None:
    market = attrs.evolve(USER, hub="market")
    health = assess(market, USER, TOKEN, CLOCK)
    assert (health.status, health.market.score, health.user.score) == ("ok", 100, 100)
    assert health.reason == "the market hub is idle; the user hub is idle"
    health = assess(market, USER, TokenHealth(expires_in_s=-1.0), CLOCK)
    assert (health.status, health.market.score) == ("degraded", 100)
    assert health.market.reason == USER.reason


def test_a_state_without_a_reason_says_its_name() -> None:
    health = assess(attrs.evolve(MARKET, reason=""), USER, TOKEN, CLOCK)
    assert health.market.reason == "live"
    assert health.reason == "the market hub is live; the user hub is idle"


def test_a_snapshot_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        judged().market.score = 100  # type: ignore[misc]


_SECONDS = st.none() | st.floats() | st.floats(0, 100)
_HUBS = st.builds(
    HubHealth,
    hub=st.sampled_from(["market", "user"]),
    state=st.sampled_from(HubState),
    reason=st.text(max_size=5),
    since_s=st.floats(0, 1e6),
    round_trip_s=_SECONDS,
    lag_ms=_SECONDS,
    data_age_s=_SECONDS,
    attempts=st.integers(0, 10**6),
    next_attempt_s=st.none() | st.floats(0, 1e6),
)
_TOKENS = st.builds(TokenHealth, expires_in_s=_SECONDS, last_error=st.none() | st.just("why"))
_CLOCKS = st.builds(
    ClockHealth,
    is_synchronised=st.sampled_from([None, True, False]),
    skew_ms=_SECONDS,
    is_skewed=st.booleans(),
)
_SILENCES = st.none() | st.builds(
    Stalled, contract_id=st.just("C"), silent_s=st.floats(), bound_s=st.floats(1e-3, 1e6)
)


def nan_in(hub: HubHealth) -> bool:
    return any(isinstance(value, float) and math.isnan(value) for value in attrs.astuple(hub))


@given(_HUBS, _HUBS, _TOKENS, _CLOCKS, _SILENCES)
def test_any_facts_have_a_score_in_range_and_a_reason(
    market: HubHealth, user: HubHealth, token: TokenHealth, clock: ClockHealth, silence: Stalled | None
) -> None:
    health = assess(market, user, token, clock, silence)
    for before, hub in ((market, health.market), (user, health.user)):
        assert 0 <= hub.score <= 100
        assert (hub.score == 0) is (hub.state in DOWN)
        assert (1 <= hub.score <= 30) is (hub.state in (HubState.STALE, HubState.BLOCKED))
        assert (hub.state is HubState.IDLE) <= (hub.score == 100)
        assert hub.reason
        assert hub.status == ("down" if hub.score == 0 else "ok" if hub.score == 100 else "degraded")
        assert attrs.evolve(hub, score=before.score, reason=before.reason) == before or nan_in(before)
    scores = [hub.score for hub in (health.market, health.user)]
    assert (health.status == "down") is (0 in scores)
    assert (health.status == "ok") <= (scores == [100, 100])
    assert health.reason


@given(st.sampled_from(HubState), st.integers(0, 300), st.integers(0, 300))
def test_more_trouble_is_never_a_better_score(state: HubState, one: int, other: int) -> None:
    least, most = sorted((one, other))
    assert hub_score(state, most) <= hub_score(state, least)
    lowest, highest = {
        HubState.LIVE: (31, 100),
        HubState.STALE: (1, 30),
        HubState.BLOCKED: (1, 30),
        HubState.IDLE: (100, 100),
    }.get(state, (0, 0))
    assert hub_score(state, 0) == highest
    assert lowest <= hub_score(state, most)
