"""Tokens that are renewed, that cannot be, and that end under load (FAULTS.md rows 8, 28 and 43 to 51)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from fault_tools import (
    API_KEY,
    TENTH,
    TENTH_SIM,
    Seen,
    ask,
    assert_steady,
    check,
    check_user,
    open_sim,
    unseen_secrets,
    watch,
)
from sweeps import every
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx import composition
from trio_projectx.simulator import Fault, Simulator

AT = 5.01
#: A refresh comes only when the token has less than a thousandth left: so it ends in use.
NEVER = px.Refresh(share=0.999, jitter=0.0001)
CREDENTIALS = px.Credentials("simulator", API_KEY)


def told(seen: Seen) -> tuple[int, int]:
    return len(seen.told(px.TokenRefreshed)), len(seen.told(px.TokenRefreshFailed))


def replaced(seen: Seen) -> list[tuple[str, bool]]:
    return [(each.hub, each.overlapped) for each in seen.told(px.ConnectionReplaced)]


def nothing_was_lost(seen: Seen) -> None:
    assert (seen.outages("market"), seen.outages("user"), seen.gaps) == ([], [], [])
    assert not [item for item in seen.user_items if isinstance(item, px.Gap)]


# -- a refresh


async def refresh(seen: Seen) -> px.TrioProjectXError | None:
    assert seen.gateway is not None
    try:
        await seen.gateway.refresh_token()
    except px.TrioProjectXError as exc:
        return exc
    return None


async def test_a_refresh_makes_before_it_breaks(autojump_clock: MockClock) -> None:
    """Row 46: five of them under load; nothing is lost, nothing comes twice."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 20, seen, user=True))
            await trio.sleep(AT)
            for _ in range(5):
                assert await refresh(seen) is None
                await trio.sleep(2)
        nothing_was_lost(seen)
        assert sorted(replaced(seen)) == [("market", True)] * 5 + [("user", True)] * 5
        assert told(seen) == (5, 0)
        account = check(seen, sim, is_live=True)
        assert account.missed == 0
        check_user(seen)
        assert_steady(seen, AT)


@pytest.mark.parametrize("phase", ["upgrade", "handshake", "subscribe", "stream"])
@pytest.mark.parametrize("hub", ["market", "user"])
async def test_a_reset_of_the_new_connection_leaves_the_old_one(
    autojump_clock: MockClock, phase: str, hub: str
) -> None:
    """Row 8."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 12, seen, user=True))
            await trio.sleep(AT)
            fault = Fault("tcp_reset", hub=hub, phase=phase, connection="#2")
            if phase == "stream":  # half-way: it has answered, and nothing of the market has come yet
                fault = attrs.evolve(fault, after_records=3)
            handle = sim.inject(fault)
            assert await refresh(seen) is None
        assert handle.struck == 1
        if phase != "stream":
            nothing_was_lost(seen)
            assert sorted(replaced(seen)) == [("market", True), ("user", True)]
        check(seen, sim, is_live=True)
        check_user(seen)
        assert_steady(seen, AT)


async def test_a_reset_of_the_old_connection_while_the_new_one_is_made(autojump_clock: MockClock) -> None:
    """Row 8: the new one is slow, and the only one then; there is a gap, and it is told."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 12, seen, user=True))
            await trio.sleep(AT)
            sim.inject(
                Fault("delay", hub="market", phase="upgrade", connection="#2", latency_s=0.5, jitter_s=0)
            )
            assert await refresh(seen) is None
            await trio.sleep(0.2)
            sim.inject(Fault("tcp_reset", hub="market", connection="#1"))
        ((start, end),) = seen.outages()
        assert end is not None
        assert end - start <= 2.1
        assert len(seen.gaps) == 1
        check(seen, sim, is_live=True, slack_s=1.0)
        check_user(seen)
        assert_steady(seen, AT)


async def test_a_reset_while_the_service_thinks_about_the_token(autojump_clock: MockClock) -> None:
    """Row 8: the session comes back with the token that it has."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 60, seen, user=True))
            await trio.sleep(AT)
            sim.inject(Fault("hang", hub="rest", phase="rest", path="/api/auth/validate"))
            nursery.start_soon(refresh, seen)
            await trio.sleep(1)
            sim.inject(Fault("tcp_reset", hub="market"))
        ((start, end),) = seen.outages()
        assert end is not None
        assert end - start <= 0.5
        assert told(seen) == (0, 1)
        check(seen, sim, is_live=True)
        check_user(seen)


# what the service answers, and how many times it says so
ANSWERS: list[tuple[str, dict[str, Any], int]] = [
    ("hang", {}, 1),
    ("http_status", {"status": 500}, 4),
    ("http_status", {"status": 429, "retry_after_s": 9}, 2),
    *[
        ("http_body", {"kind": kind}, 2)
        for kind in ("garbage", "html", "empty", "types", "array", "truncated")
    ],
    ("half_open", {}, 1),
    ("tcp_reset", {}, 4),
]


@pytest.mark.parametrize(("name", "options", "times"), ANSWERS[:: every(2)])
async def test_a_refresh_that_fails_touches_nothing_and_is_tried_again(
    autojump_clock: MockClock, name: str, options: dict[str, Any], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 47, 48 and 49: both ways to a token, for as long as it takes; told each time."""
    with unseen_secrets(monkeypatch) as shown:
        seen = Seen()
        shown.append(seen)
        async with open_sim(token_ttl_s=100, api_key=API_KEY) as sim:
            await ask(sim, "POST", "/control/hz?v=2")
            async with trio.open_nursery() as nursery:
                refresh_early = px.Refresh(share=0.2, jitter=0.001, retry_s=4)
                nursery.start_soon(
                    lambda: watch(sim, 95, seen, user=True, credentials=CREDENTIALS, refresh=refresh_early)
                )
                await trio.sleep(AT)
                sim.inject(Fault(name, hub="rest", phase="rest", path="/api/auth/*", count=times, **options))
            refreshed, failed = told(seen)
            assert refreshed >= 1
            assert 1 <= failed <= times
            nothing_was_lost(seen)
            check(seen, sim, is_live=True)
            check_user(seen)


@pytest.mark.parametrize(
    "body", ['{"success":false,"errorCode":3,"newToken":null}', '{"success":true,"errorCode":0,"newToken":""}',
             '{"success":true,"errorCode":0}', '{"success":true,"errorCode":0,"newToken":"a b\\r\\nX: y"}', "[]"]
)  # fmt: skip
async def test_an_answer_without_a_token_is_none(autojump_clock: MockClock, body: str) -> None:
    """Row 49: the old token stays, and so does what was made with it."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 12, seen, user=True))
            await trio.sleep(AT)
            handle = sim.inject(
                Fault(
                    "http_status",
                    hub="rest",
                    phase="rest",
                    path="/api/auth/*",
                    status=200,
                    body=body,
                    count=2,
                )
            )
            error = await refresh(seen)
        assert isinstance(error, px.TrioProjectXError)
        assert handle.struck == 2  # that token, and then the API key
        assert told(seen) == (0, 1)
        nothing_was_lost(seen)
        check(seen, sim, is_live=True)
        check_user(seen)


async def test_a_refused_refresh_logs_in_once_and_then_it_is_the_end_when_the_token_ends(
    autojump_clock: MockClock,
) -> None:
    """Row 50: the live session goes on until its token ends; then nothing gives another."""
    async with open_sim(token_ttl_s=40) as sim:
        await ask(sim, "POST", "/control/hz?v=2")
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 120, seen, refresh=px.Refresh(share=0.5, jitter=0.001)))
            await trio.sleep(AT)
            handle = sim.inject(
                Fault("http_status", hub="rest", phase="rest", path="/api/auth/*", status=401, count=0)
            )
        (failed,) = seen.told(px.TokenRefreshFailed)
        assert failed.retry_in_s is None
        assert 19 <= failed.expires_in_s <= 21
        assert isinstance(seen.error, px.ConnectionLost)
        assert 39 <= (seen.ended_at or 0) <= 43
        assert handle.struck <= 6
        check(seen, sim)


async def test_both_hubs_need_a_token_and_one_is_asked_for(autojump_clock: MockClock) -> None:
    """Row 28."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 10, seen, user=True))
            await trio.sleep(AT)
            sim.inject(Fault("token_expiry", hub="market"))
            sim.inject(Fault("token_expiry", hub="user"))
        assert seen.statistics is not None
        assert seen.statistics.logins == 2
        assert told(seen) == (1, 0)
        for hub in ("market", "user"):
            ((start, end),) = seen.outages(hub)
            assert end is not None
            assert end - start <= 1
        check(seen, sim, is_live=True)
        check_user(seen)


# -- a token that ends


async def end_under_load(sim: Simulator, seen: Seen, until: float, **changes: object) -> None:
    await watch(sim, until, seen, user=True, **changes)


@pytest.mark.parametrize("hubs", [("market",), ("user",), ("market", "user")])
@pytest.mark.parametrize("policy", ["close", "logout", "silence"])
async def test_a_token_that_ends_on_command(
    autojump_clock: MockClock, policy: str, hubs: tuple[str, ...]
) -> None:
    """Rows 43, 44 and 45. A silent user hub cannot be told from one that has nothing to say."""
    async with open_sim() as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 45, seen, user=True))
            await trio.sleep(AT)
            for hub in hubs:
                sim.inject(Fault("token_expiry", hub=hub, policy=policy))
        wanted = {hub: 1 for hub in hubs if policy != "silence"}
        for hub in ("market", "user"):
            outages = seen.outages(hub)
            assert len(outages) == wanted.get(hub, 0)
            assert all(start - AT <= 0.1 and end is not None and end - start <= 1 for start, end in outages)
        is_stalled = policy == "silence" and "market" in hubs
        stale = [at for at, each in seen.events if getattr(each, "state", None) is px.HubState.STALE]
        assert [29 <= at - AT <= 30.1 for at in stale] == [True] * is_stalled
        assert len(seen.gaps) == wanted.get("market", 0) + is_stalled
        assert seen.statistics is not None
        assert seen.statistics.logins == (1 if (policy, hubs) == ("silence", ("user",)) else 2)
        check(seen, sim, is_live=True)
        if policy != "silence" or "user" not in hubs:
            check_user(seen)
        assert_steady(seen, AT)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_token_that_ends_by_itself_under_load(autojump_clock: MockClock, closes: bool) -> None:
    """Row 43, as a real server does it: it closes what a token has opened, or keeps it; a token lives for 20 s here."""
    async with open_sim(token_ttl_s=20, close_on_expiry=closes) as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 90, seen, user=True, refresh=NEVER))
        assert seen.error is None
        assert told(seen)[0] >= 4
        # Each time the hubs are lost, or have replaced their connections in the last moment; nothing is untold.
        assert seen.down_s("market") <= 5
        assert seen.down_s("user") <= 5
        check(seen, sim, is_live=True)
        check_user(seen)
        assert_steady(seen, 2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hang", {"count": 1}),
        ("http_status", {"status": 500, "count": 3}),
        ("http_body", {"kind": "garbage", "count": 3}),
        ("http_status", {"status": 503, "count": 0, "duration_s": 40}),
    ],
)
@pytest.mark.parametrize("early", [True, False][:: every(2)])
async def test_a_token_that_ends_while_its_refresh_fails(
    autojump_clock: MockClock, name: str, options: dict[str, Any], early: bool
) -> None:
    """Row 51 and more: what comes of the refresh comes after the end; one path leads back, with all told."""
    async with open_sim(token_ttl_s=30) as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        seen = Seen()
        options_of = px.Refresh(share=0.8, jitter=0.001, retry_s=2) if early else NEVER
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 110, seen, user=True, refresh=options_of))
            await trio.sleep(23)
            sim.inject(Fault(name, hub="rest", phase="rest", path="/api/auth/*", **options))
        assert seen.error is None
        assert told(seen)[0] >= 2
        # Without a token from 30 s on, with a service from 63 s on, and the next attempt 30 s later at most.
        assert seen.down_s("market") <= 64
        assert seen.gateway is not None
        check(seen, sim, is_live=True, bound_s=64)
        check_user(seen)
        assert_steady(seen, 20)


@pytest.mark.parametrize("status", [403, 429, 409, 503][:: every(2)])
async def test_a_service_that_takes_no_second_connection_gets_one(
    autojump_clock: MockClock, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make before break is refused: the old one goes on until its token ends, and goes first then; the gap is told.

    The fault ends half a second before the token; back-off is seeded, so that no attempt falls in between.
    """
    monkeypatch.setattr(composition, "random", SimpleNamespace(Random=lambda: random.Random(1)))
    async with open_sim(token_ttl_s=40, **TENTH_SIM) as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: watch(sim, 60, seen, refresh=px.Refresh(share=0.5, jitter=0.001), timeouts=TENTH)
            )
            await trio.sleep(AT)
            # While the first one is there; the simulator closes it when its token ends.
            handle = sim.inject(
                Fault("http_status", hub="market", phase="upgrade", status=status, count=0, duration_s=34.5)
            )
        assert handle.struck >= 1
        assert seen.error is None
        assert seen.down_s() <= 10
        assert len(seen.gaps) == len(seen.outages()) == 1
        check(seen, sim, is_live=True, bound_s=4.5)
