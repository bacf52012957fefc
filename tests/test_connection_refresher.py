"""The token is renewed before it ends, whatever the service does meanwhile; days of it, in virtual time."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import (
    API_KEY,
    START_NS,
    Request,
    Wire,
    config_for,
    open_network,
    rest_for,
    virtual_wall,
)
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectTimeout,
    Credentials,
    GatewayError,
    Refresh,
    Timeouts,
    TokenRefreshed,
    TokenRefreshFailed,
    TrioProjectXError,
)
from trio_projectx._events import ConnectionEvent
from trio_projectx.connection.auth import CredentialsRefused, TokenRefused, TokenSource
from trio_projectx.connection.refresher import TokenRefresher
from trio_projectx.connection.rest import RestClient
from trio_projectx.simulator import Fault, Simulator, open_simulator

HOUR_S = 3600
VALIDATE = {"hub": "rest", "phase": "rest", "path": "/api/[Aa]uth/validate"}
LOGIN = {"hub": "rest", "phase": "rest", "path": "/api/[Aa]uth/login[Kk]ey"}
AUTH = {"hub": "rest", "phase": "rest", "path": "/api/[Aa]uth/*"}
#: A token of an hour is due after 0.8 hours then, to the second.
PLAIN = Refresh(jitter=0)


def jwt(number: int, **claims: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"jti": number, **claims}).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


@attrs.define
class Rig:
    """A refresher at work, and what it told, each with when."""

    tokens: TokenSource
    refresher: TokenRefresher
    told: list[tuple[float, ConnectionEvent]] = attrs.Factory(list)
    renewed: list[float] = attrs.Factory(list)

    @property
    def failures(self) -> list[tuple[float, TokenRefreshFailed]]:
        return [(at, event) for at, event in self.told if isinstance(event, TokenRefreshFailed)]

    @property
    def refreshes(self) -> list[float]:
        return [at for at, event in self.told if isinstance(event, TokenRefreshed)]


@asynccontextmanager
async def refreshing(
    tokens: TokenSource,
    options: Refresh = PLAIN,
    *,
    seed: int = 0,
    wall_clock: Callable[[], int] = virtual_wall,
    refresh_s: float = 30,
) -> AsyncGenerator[Rig]:
    """Log in, and let the refresher run for the length of the block."""
    await tokens.token()

    def tell(event: ConnectionEvent) -> None:
        rig.told.append((trio.current_time(), event))

    def renewed() -> None:
        assert isinstance(rig.told[-1][1], TokenRefreshed)
        rig.renewed.append(trio.current_time())

    timeouts = Timeouts(refresh_s=refresh_s)
    refresher = TokenRefresher(tokens, options, timeouts, wall_clock, Random(seed), tell, renewed)
    rig = Rig(tokens, refresher)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refresher.run)
        yield rig
        nursery.cancel_scope.cancel()
    assert rig.renewed == rig.refreshes


@asynccontextmanager
async def simulated(
    options: Refresh = PLAIN,
    *,
    ttl_s: float = HOUR_S,
    seed: int = 0,
    token: str | None = None,
    **sim_options: object,
) -> AsyncGenerator[tuple[Simulator, Rig]]:
    """The same, against the simulator's REST side."""
    async with open_simulator(port=None, wall_clock=virtual_wall, token_ttl_s=ttl_s, **sim_options) as sim:
        async with RestClient(sim.url, connect=sim.connect, deadline_s=60, body_limit=100_000) as rest:
            given_token = sim.mint_token(ttl_s) if token == "mint" else token
            credentials = (
                Credentials("simulator", "simulator-key")
                if given_token is None
                else Credentials.from_token(given_token)
            )
            tokens = TokenSource(credentials, rest.login, rest.validate, wall_clock=virtual_wall)
            async with refreshing(tokens, options, seed=seed) as rig:
                yield sim, rig


class Office:
    """Logins and validates that take a second and give tokens of an hour, or fail as they are told."""

    def __init__(self, wall_clock: Callable[[], int] = virtual_wall, ttl_s: float | None = HOUR_S) -> None:
        self.wall_clock = wall_clock
        self.ttl_s = ttl_s
        self.given = 0
        self.asked: list[tuple[str, float]] = []
        self.login_error: TrioProjectXError | None = None
        self.validate_error: TrioProjectXError | None = None

    async def login(self, username: str, api_key: str) -> str:
        return await self._answer("login", self.login_error)

    async def validate(self, token: str) -> str:
        return await self._answer("validate", self.validate_error)

    async def _answer(self, what: str, error: TrioProjectXError | None) -> str:
        self.asked.append((what, trio.current_time()))
        await trio.sleep(1)
        if error is not None:
            raise error
        self.given += 1
        claims = {} if self.ttl_s is None else {"exp": self.wall_clock() // 10**9 + self.ttl_s}
        return jwt(self.given, **claims)

    def source(self, wall_clock: Callable[[], int] = virtual_wall) -> TokenSource:
        return TokenSource(Credentials("me", "key"), self.login, self.validate, wall_clock=wall_clock)


# The schedule


@pytest.mark.parametrize(
    ("options", "least", "most"),
    # At 0.72 to 0.8 of an hour each: 30 to 33 in a day. At 0.9025 to 0.95: 25 to 26.
    [(Refresh(), 30, 33), (Refresh(share=0.95, jitter=0.05), 25, 26)],
)
async def test_a_day_of_tokens_that_last_an_hour(
    autojump_clock: MockClock, options: Refresh, least: int, most: int
) -> None:
    async with simulated(options) as (_, rig):
        await trio.sleep(24 * HOUR_S)
        assert least <= len(rig.refreshes) <= most
        assert rig.failures == []
        assert rig.tokens.logins == 1  # the rest by validate
        assert rig.tokens.generation == len(rig.refreshes) + 1
        times = [0.0, *rig.refreshes]
        for before, after in pairwise(times):
            # The simulator cuts a token's end to the second.
            assert (
                options.share * (1 - options.jitter) * (HOUR_S - 1)
                <= after - before
                <= options.share * HOUR_S
            )
        assert len({round(after - before) for before, after in pairwise(times)}) > 10  # jittered


async def test_a_thousand_hours_leave_nothing_behind(autojump_clock: MockClock) -> None:
    office = Office()
    async with refreshing(office.source(), Refresh()) as rig:
        await trio.sleep(1000 * HOUR_S)
        assert len(rig.refreshes) > 1200
        assert rig.failures == []
        assert len(rig.tokens._secrets()) == 9


@settings(max_examples=25)
@given(
    ttl_s=st.integers(60, 86_400),
    share=st.floats(0.1, 0.99),
    jitter=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_it_is_renewed_at_its_share_or_somewhat_earlier(
    ttl_s: int, share: float, jitter: float, seed: int
) -> None:
    """In virtual time, of a run of its own each: the first refresh of a token of ``ttl_s``."""

    async def main() -> list[float]:
        office = Office(ttl_s=ttl_s)
        async with refreshing(office.source(), Refresh(share=share, jitter=jitter), seed=seed) as rig:
            await trio.sleep(ttl_s)
            assert rig.failures == []
        return [at for what, at in office.asked if what == "validate"]

    first = trio.run(main, clock=MockClock(autojump_threshold=0))[0]
    # Got after one second, in which the end was cut to the second.
    assert share * (1 - jitter) * (ttl_s - 1) + 1 - 0.01 <= first <= max(1.0, share * ttl_s) + 1 + 0.01


async def test_gateways_do_not_come_all_at_once_and_a_seed_repeats(autojump_clock: MockClock) -> None:
    times: dict[int, list[float]] = {}
    for seed in (1, 2, 1):
        started = trio.current_time()
        async with refreshing(Office().source(), Refresh(), seed=seed) as rig:
            await trio.sleep(3 * HOUR_S)
            found = [round(at - started, 6) for at in rig.refreshes]
        assert times.setdefault(seed, found) == found
    assert times[1] != times[2]


async def test_a_token_that_does_not_say_is_renewed_only_when_asked(autojump_clock: MockClock) -> None:
    office = Office(ttl_s=None)
    async with refreshing(office.source()) as rig:
        await trio.sleep(1000 * HOUR_S)
        assert rig.told == []
        assert rig.refresher.expires_in_s() is None
        await rig.refresher.refresh_now()
        _, event = rig.told[0]
        assert event == TokenRefreshed(None, virtual_wall())
        assert rig.refresher.refreshed_ago_s() == 0
        office.validate_error = office.login_error = GatewayError("HTTP 500", 500)
        with pytest.raises(GatewayError):
            await rig.refresher.refresh_now()
        assert rig.failures[0][1].retry_in_s is None
        assert rig.failures[0][1].expires_in_s is None
        await trio.sleep(1000 * HOUR_S)
        assert len(rig.told) == 2


async def test_what_is_told_of_a_refresh(autojump_clock: MockClock) -> None:
    async with simulated() as (_, rig):
        await trio.sleep(0.8 * HOUR_S + 1)
        ((at, event),) = rig.told
        assert at == pytest.approx(0.8 * HOUR_S, abs=1)
        assert event == TokenRefreshed(rig.tokens.expires_at_ns, START_NS + round(at * 1e9))
        assert rig.refresher.expires_in_s() == pytest.approx(HOUR_S, abs=2)
        assert rig.refresher.refreshed_ago_s() == pytest.approx(1, abs=1)
        assert rig.refresher.last_error is None


# Failures: told, tried again, and the token stays


async def test_a_hang_is_bounded_and_tried_again(autojump_clock: MockClock) -> None:
    async with simulated() as (sim, rig):
        old = await rig.tokens.token()
        fault = sim.inject(Fault("hang", **VALIDATE))
        await trio.sleep(0.8 * HOUR_S + 29)
        assert fault.struck == 1
        assert rig.told == []
        await trio.sleep(1.5)
        ((at, failed),) = rig.failures
        assert at == pytest.approx(0.8 * HOUR_S + 30, abs=1)
        assert failed.reason == rig.refresher.last_error == "the service gave no token within 30 s; is it up?"
        assert failed.retry_in_s == 5
        assert failed.expires_in_s == pytest.approx(0.2 * HOUR_S - 30, abs=1)
        assert await rig.tokens.token() == old
        await trio.sleep(6)
        assert rig.refreshes == [pytest.approx(at + 5, abs=0.1)]
        assert rig.refresher.last_error is None
        assert rig.tokens.logins == 2  # what hung is not asked again at once


async def test_the_service_fails_three_times_and_then_works(autojump_clock: MockClock) -> None:
    async with simulated() as (sim, rig):
        old = await rig.tokens.token()
        fault = sim.inject(Fault("http_status", status=500, count=3, body="oh\nno", **AUTH))
        await trio.sleep(0.8 * HOUR_S + 34)
        due = rig.failures[0][0]
        assert [round(at - due) for at, _ in rig.failures] == [0, 5, 15]
        assert [event.retry_in_s for _, event in rig.failures] == [5, 10, 20]
        assert "HTTP 500" in rig.failures[0][1].reason
        assert await rig.tokens.token() == old
        assert fault.struck == 3
        await trio.sleep(3)
        assert rig.refreshes == [pytest.approx(due + 35, abs=0.1)]
        await trio.sleep(0.8 * HOUR_S)
        assert len(rig.refreshes) == 2  # and the schedule is the plain one again
        assert len(rig.failures) == 3


@pytest.mark.parametrize(
    "kind", ["garbage", "html", "empty", "types", "array", "truncated", "huge", "redirect"]
)
async def test_an_answer_that_is_none_leaves_the_old_token(autojump_clock: MockClock, kind: str) -> None:
    async with simulated() as (sim, rig):
        old = await rig.tokens.token()
        # A validate that makes no sense is followed by a login at once, which makes none either.
        sim.inject(Fault("http_body", kind=kind, size_bytes=200_000, count=0, **AUTH))
        await trio.sleep(0.8 * HOUR_S + 2)
        assert len(rig.failures) == 1
        assert await rig.tokens.token() == old
        assert rig.tokens.generation == 1
        sim.clear_faults()
        await trio.sleep(30)
        assert len(rig.refreshes) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"success": False, "errorCode": 3, "newToken": None, "token": None}),
        (200, {"success": True, "errorCode": 0, "newToken": "", "token": ""}),
        (200, {"success": True, "errorCode": 0, "newToken": "a b", "token": "a\nb"}),
        (200, {"success": True, "errorCode": 0, "newToken": 5, "token": None}),
        (404, {}),
    ],
    ids=str,
)
async def test_refusals_and_empty_tokens_are_typed_and_the_old_token_stays(
    autojump_clock: MockClock, status: int, body: dict[str, object]
) -> None:
    """FAULTS.md row 49, at both routes."""
    async with simulated() as (sim, rig):
        old = await rig.tokens.token()
        sim.inject(Fault("http_status", status=status, body=json.dumps(body), count=0, **AUTH))
        with pytest.raises(TrioProjectXError) as raised:
            await rig.refresher.refresh_now()
        assert type(raised.value) is not TrioProjectXError
        assert (await rig.tokens.token(), rig.tokens.generation) == (old, 1)


async def test_a_validate_that_is_not_there_is_a_login(autojump_clock: MockClock) -> None:
    for status in (401, 403, 404):
        async with simulated() as (sim, rig):
            sim.inject(Fault("http_status", status=status, count=0, **VALIDATE))
            await trio.sleep(2 * HOUR_S)
            assert len(rig.refreshes) == 2
            assert rig.failures == []
            assert rig.tokens.logins == 3


async def test_credentials_that_are_refused_are_not_tried_again(autojump_clock: MockClock) -> None:
    """FAULTS.md row 50: the token is refused, one login follows, and is refused too."""
    office = Office()
    async with refreshing(office.source()) as rig:
        office.validate_error = TokenRefused("validate: HTTP 401")
        office.login_error = CredentialsRefused("login refused: invalid credentials")
        await trio.sleep(100 * HOUR_S)
        ((_, failed),) = rig.failures
        assert failed.reason == "login refused: invalid credentials"
        assert failed.retry_in_s is None
        assert failed.expires_in_s == pytest.approx(0.2 * HOUR_S, abs=3)
        assert [what for what, _ in office.asked] == ["login", "validate", "login"]
        # The key works again, and somebody whose token was refused has logged in: the schedule begins anew.
        office.login_error = office.validate_error = None
        rig.tokens.renew(await rig.tokens.token())
        await rig.tokens.token()
        await trio.sleep(1)
        assert len(rig.refreshes) == 1
        await trio.sleep(0.9 * HOUR_S)
        assert len(rig.refreshes) == 2


@pytest.mark.parametrize(
    "error",
    [
        AuthError("login refused: unknown error (errorCode 77)"),
        GatewayError("login: HTTP 500", 500),
        ConnectError("down"),
    ],
    ids=str,
)
async def test_anything_else_is_tried_again_for_ever_and_says_when_the_token_has_expired(
    autojump_clock: MockClock, error: TrioProjectXError
) -> None:
    office = Office()
    async with refreshing(office.source()) as rig:
        office.validate_error = office.login_error = error
        await trio.sleep(24 * HOUR_S)
        waits = [event.retry_in_s for _, event in rig.failures]
        assert waits[:6] == [5, 10, 20, 40, 60, 60]
        assert set(waits[4:]) == {60}
        assert len(waits) > 1300
        for _, event in rig.failures:
            assert event.expires_in_s is not None
            assert (event.expires_in_s <= 0) == event.reason.endswith("; the token has expired")
        assert rig.failures[-1][1].expires_in_s < -22 * HOUR_S
        office.validate_error = office.login_error = None
        await trio.sleep(62)
        assert len(rig.refreshes) == 1


@pytest.mark.parametrize(
    ("retry_after_s", "waits"),
    [(None, [5, 10, 20]), (7, [7, 10, 20]), (90, [90, 90, 90]), (9999, [600, 600, 600])],
)
async def test_a_service_that_asks_to_wait_is_waited_for(
    autojump_clock: MockClock, retry_after_s: int | None, waits: list[float]
) -> None:
    async with simulated(ttl_s=24 * HOUR_S) as (sim, rig):
        sim.inject(Fault("http_status", status=429, retry_after_s=retry_after_s, count=3, **AUTH))
        await trio.sleep(21 * HOUR_S)
        assert [event.retry_in_s for _, event in rig.failures] == waits
        assert len(rig.refreshes) == 1


async def test_a_given_token_is_validated_in_time(autojump_clock: MockClock) -> None:
    async with simulated(token="mint") as (_, rig):
        await trio.sleep(10 * HOUR_S)
        assert 12 <= len(rig.refreshes) <= 13
        assert rig.failures == []
        assert rig.tokens.logins == 0


async def test_a_given_token_that_cannot_be_renewed_is_told_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with simulated(token="mint") as (sim, rig):
        old = await rig.tokens.token()
        sim.inject(Fault("http_status", status=404, count=0, **VALIDATE))
        await trio.sleep(0.8 * HOUR_S + 1)
        ((_, failed),) = rig.failures
        assert failed.retry_in_s == 5
        assert failed.expires_in_s == pytest.approx(0.2 * HOUR_S, abs=2)
        await trio.sleep(2 * HOUR_S)
        assert await rig.tokens.token() == old
        assert rig.failures[-1][1].retry_in_s == 60
        assert rig.failures[-1][1].reason.endswith("; the token has expired")


async def test_a_users_function_is_called_in_time(autojump_clock: MockClock) -> None:
    office = Office()

    async def function() -> str:
        if office.login_error is not None:
            raise RuntimeError("the secret is s3cret")
        return await office.login("", "")

    tokens = TokenSource(Credentials.from_callable(function), office.login, wall_clock=virtual_wall)
    async with refreshing(tokens) as rig:
        await trio.sleep(0.9 * HOUR_S)
        assert len(rig.refreshes) == 1
        office.login_error = ConnectError("down")
        await trio.sleep(0.9 * HOUR_S)
        assert rig.failures[0][1].reason == "the function that gets tokens failed (RuntimeError)"
        assert rig.failures[0][1].retry_in_s == 5  # a function that failed may work the next time
        office.login_error = None
        await trio.sleep(61)
        assert len(rig.refreshes) == 2


# By others, and at once


async def test_a_login_by_others_restarts_the_schedule(autojump_clock: MockClock) -> None:
    async with simulated() as (_, rig):
        await trio.sleep(0.7 * HOUR_S)
        rig.tokens.renew(await rig.tokens.token())  # a hub was told 401
        await rig.tokens.token()
        await trio.sleep(0.7 * HOUR_S)
        assert rig.refreshes == [
            pytest.approx(0.7 * HOUR_S, abs=1)
        ]  # told, as every new token; the hubs follow it
        await trio.sleep(0.2 * HOUR_S)
        assert rig.refreshes[1:] == [pytest.approx(1.5 * HOUR_S, abs=2)]


async def test_an_answer_after_the_token_has_expired_goes_one_way(autojump_clock: MockClock) -> None:
    """FAULTS.md row 51: while the refresh waits, the hub is refused its token; both get the one answer."""
    async with open_simulator(port=None, wall_clock=virtual_wall, token_ttl_s=100) as sim:
        async with RestClient(sim.url, connect=sim.connect, deadline_s=60, body_limit=100_000) as rest:

            async def late(token: str) -> str:
                new = await rest.validate(token)
                await trio.sleep(25)  # the service has answered in time; the way back is slow
                return new

            credentials = Credentials("simulator", "simulator-key")
            tokens = TokenSource(credentials, rest.login, late, wall_clock=virtual_wall)
            async with refreshing(tokens, Refresh(share=0.9, jitter=0)) as rig:
                await trio.sleep(105)
                assert rig.told == []

                async def search(token: str) -> object:
                    return await rest.search_contracts("MNQ", live=False, token=token)

                assert await tokens.using(search)
                assert 110 <= trio.current_time() <= 116
                await trio.sleep(1)
                assert len(rig.refreshes) == 1
                assert (tokens.logins, tokens.generation, rig.failures) == (1, 2, [])


async def test_fifty_who_want_it_now_make_one_request_and_one_event(autojump_clock: MockClock) -> None:
    office = Office()
    async with refreshing(office.source()) as rig:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(rig.refresher.refresh_now)
        assert [what for what, _ in office.asked] == ["login", "validate"]
        assert len(rig.told) == 1
        assert rig.tokens.generation == 2


async def test_fifty_who_fail_are_told_one_by_one_and_the_others_once(autojump_clock: MockClock) -> None:
    office = Office()
    raised: list[TrioProjectXError] = []
    async with refreshing(office.source()) as rig:
        office.validate_error = GatewayError("HTTP 500", 500)

        async def ask() -> None:
            try:
                await rig.refresher.refresh_now()
            except GatewayError as exc:
                raised.append(exc)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert len({id(each) for each in raised}) == 50
        ((_, failed),) = rig.failures
        # What failed was not due: it is done when it is, and is not tried again before.
        assert failed.retry_in_s == pytest.approx(0.8 * HOUR_S - 1, abs=2)
        office.validate_error = None
        await trio.sleep(0.7 * HOUR_S)
        assert len(rig.told) == 1
        await trio.sleep(0.2 * HOUR_S)
        assert len(rig.refreshes) == 1


async def test_what_fails_by_hand_changes_no_schedule_also_after_attempts_that_were_due(
    autojump_clock: MockClock,
) -> None:
    office = Office()
    async with refreshing(office.source()) as rig:
        await trio.sleep(0.9 * HOUR_S)
        assert len(rig.refreshes) == 1
        office.validate_error = CredentialsRefused("no")
        office.login_error = office.validate_error
        with pytest.raises(CredentialsRefused):
            await rig.refresher.refresh_now()
        assert rig.failures[0][1].retry_in_s == pytest.approx(0.7 * HOUR_S, abs=4)
        office.validate_error = office.login_error = None
        await trio.sleep(0.8 * HOUR_S)
        assert len(rig.refreshes) == 2


async def test_whatever_an_error_says_no_token_of_ours_is_told(autojump_clock: MockClock) -> None:
    office = Office()
    async with refreshing(office.source()) as rig:
        token = await rig.tokens.token()
        office.validate_error = GatewayError(f"HTTP 500: you sent {token}", 500)
        with pytest.raises(GatewayError):
            await rig.refresher.refresh_now()
        assert rig.failures[0][1].reason == rig.refresher.last_error == "HTTP 500: you sent [redacted]"


async def test_who_joins_a_due_attempt_shares_its_failure_and_it_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    office = Office()
    async with refreshing(office.source()) as rig:
        office.validate_error = ConnectTimeout("slow")
        due = 1 + 0.8 * HOUR_S
        await trio.sleep_until(due - 1.5)
        for _ in range(6):  # some begin before it is due, some after, and all before the answer
            with pytest.raises(ConnectTimeout):
                await rig.refresher.refresh_now()
            office.login_error = office.validate_error
        assert 5 in {event.retry_in_s for _, event in rig.failures}
        office.validate_error = office.login_error = None
        await trio.sleep(70)
        assert len(rig.refreshes) == 1


async def test_a_refresh_now_is_told_also_where_nothing_runs(autojump_clock: MockClock) -> None:
    office, told = Office(), list[ConnectionEvent]()
    tokens = office.source()
    await tokens.token()
    refresher = TokenRefresher(tokens, PLAIN, Timeouts(), virtual_wall, Random(0), told.append, lambda: None)
    await refresher.refresh_now()
    office.validate_error = GatewayError("HTTP 500", 500)
    with pytest.raises(GatewayError):
        await refresher.refresh_now()
    assert [type(event) for event in told] == [TokenRefreshed, TokenRefreshFailed]


async def test_the_first_token_is_no_refresh(autojump_clock: MockClock) -> None:
    office, told = Office(), list[ConnectionEvent]()
    tokens = office.source()
    refresher = TokenRefresher(tokens, PLAIN, Timeouts(), virtual_wall, Random(0), told.append, lambda: None)
    assert refresher.refreshed_ago_s() is None
    with trio.move_on_after(0.9 * HOUR_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refresher.run)
            nursery.start_soon(tokens.token)
    assert len(told) == 1
    assert [what for what, _ in office.asked] == ["login", "validate"]


# Clocks


async def test_a_machine_that_slept_renews_when_it_wakes(autojump_clock: MockClock) -> None:
    slept_s = 0

    def wall() -> int:
        return virtual_wall() + slept_s * 1_000_000_000

    office = Office(wall)
    async with refreshing(office.source(wall), wall_clock=wall) as rig:
        await trio.sleep(610)
        slept_s = 2 * HOUR_S
        await trio.sleep(302)
        assert len(rig.refreshes) == 1
        assert office.asked[-1][0] == "validate"
        slept_s = 0  # the clock is set back: nothing is due for that
        await trio.sleep(0.7 * HOUR_S)
        assert len(rig.refreshes) == 1


@pytest.mark.parametrize("skew_s", [-86_400, -7200, -60, 60, 3400, 7200, 86_400])
@pytest.mark.parametrize("with_iat", [False, True])
async def test_a_clock_that_is_wrong_makes_no_storm_and_no_silence(
    autojump_clock: MockClock, skew_s: int, with_iat: bool
) -> None:
    """Tokens of an hour for a day, by a local clock that is ahead (above 0) or behind."""

    def wall() -> int:
        return virtual_wall() + skew_s * 1_000_000_000

    asked = 0

    async def give(*_: str) -> str:
        nonlocal asked
        asked += 1
        now_s = virtual_wall() // 10**9
        return jwt(asked, exp=now_s + HOUR_S, **({"iat": now_s} if with_iat else {}))

    tokens = TokenSource(Credentials("me", "key"), give, give, wall_clock=wall)
    async with refreshing(tokens, Refresh(), wall_clock=wall) as rig:
        await trio.sleep(24 * HOUR_S)
        assert rig.failures == []
        if with_iat:
            assert 30 <= len(rig.refreshes) <= 33
        elif skew_s > 0:  # more often than need be, but no storm: at 7200 s each new token seems to be over
            assert 30 <= len(rig.refreshes) <= 24 * 60
        elif skew_s > -HOUR_S:
            assert len(rig.refreshes) >= 24


# Cancellation, secrets


async def test_cancelling_it_at_any_moment_leaves_nothing(autojump_clock: MockClock) -> None:
    for tenths in range(30):
        office = Office()
        tokens = office.source()
        async with refreshing(tokens) as rig:
            await trio.sleep(0.8 * HOUR_S - 1 + tenths / 10)
            before = trio.current_time()
        assert trio.current_time() == before  # it ends at once
        with trio.fail_after(3):
            assert await tokens.token()
            await tokens.refresh()
        assert rig.failures == []


async def test_a_service_that_echoes_is_not_quoted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    opaque = [f"opaque-token-number-{n}" for n in range(4)]
    given: list[str] = []

    async def rest_script(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey" and len(given) < len(opaque):
            given.append(opaque[len(given)])
            await wire.reply_json(token=given[-1])
        else:
            said = f"{request.body.decode()} {request.headers} {' '.join(given)}"
            await wire.reply_json(success=False, errorCode=2, errorMessage=said)

    async with open_network(rest=rest_script) as network:
        config = config_for(network)
        async with rest_for(config) as rest:
            tokens = TokenSource(config.credentials, rest.login, rest.validate, wall_clock=virtual_wall)
            async with refreshing(tokens) as rig:
                for _ in range(8):
                    try:
                        await rig.refresher.refresh_now()
                    except AuthError as exc:
                        caplog.records.append(logging.makeLogRecord({"msg": f"{exc!r} {exc.args}"}))
                shown = (
                    "".join(f"{event!r} {event}" for _, event in rig.told)
                    + repr(rig)
                    + repr(vars(rig.refresher))
                )
                shown += repr(rig.refresher.last_error)
    shown += "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert len(rig.refreshes) == 3
    assert len(rig.failures) == 5
    assert "[redacted]" in shown
    for secret in (API_KEY, *opaque):
        assert secret not in shown
