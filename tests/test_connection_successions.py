"""One connection for another: the new one first, then the old one goes; and what if the service does not want that."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from hub_tools import (
    MNQ,
    ORDERS,
    OTHER,
    TRADES,
    GatewayBench,
    Link,
    Service,
    check_rows,
    ends_at,
    jwt,
    open_bench,
    running,
)
from scripted import Request, Wire
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectionReplaced,
    HubState,
    Limits,
    Overflow,
    Refresh,
    ReplacementFailed,
    TokenRefreshed,
    TokenRefreshFailed,
    TrioProjectXError,
)

TTL = 60.0
LIVELY = functools.partial(open_bench, token=lambda number: jwt(number, TTL))
Upgrade = Callable[[Wire, Request], Awaitable[bool]]


async def trading(service: Service, seconds: float) -> None:
    """Let the market go on for so long, and then let everything arrive."""
    with trio.move_on_after(seconds):
        await service.market(0.25)
    await trio.sleep(4)


def check_whole(bench: GatewayBench, service: Service) -> None:
    """Nothing lost, nothing doubled, no gap, never down."""
    assert bench.error is None
    assert bench.gaps == []
    assert bench.rows == service.rows[service.rows.index(bench.rows[0]) :]
    assert [state for _, state in bench.told.states() if state != "CLOSED"] == ["CONNECTING", "LIVE"]


def replaced(bench: GatewayBench) -> list[bool]:
    """Of each connection that was replaced, whether without a gap."""
    return [
        each.overlapped for each in bench.told.of(ConnectionReplaced) if isinstance(each, ConnectionReplaced)
    ]


def longest_down(service: Service, until: float) -> float:
    """For how long no connection stood, at most, since the first one."""
    stood = sorted(
        (link.opened_at, until if link.gone_at is None else link.gone_at) for link in service.links
    )
    longest, covered = 0.0, stood[0][1]
    for opened, gone in stood:
        longest, covered = max(longest, opened - covered), max(covered, gone)
    return max(longest, until - covered)


# A token is renewed


async def test_a_new_token_costs_no_trade(autojump_clock: MockClock) -> None:
    service = Service()
    async with LIVELY(service) as bench:
        began = trio.current_time()
        await trading(service, 450)
        while len(service.up) > 1:  # a token may have come just now
            await trio.sleep(0.1)
        check_whole(bench, service)
        assert len(service.links) == bench.network.logins
        assert 9 <= len(service.links) <= 11
        assert len({link.bearer for link in service.links}) == len(service.links)
        assert replaced(bench) == [True] * (len(service.links) - 1)
        assert len(bench.told.of(TokenRefreshed)) == len(service.links) - 1
        assert service.most_up() == 2
        assert len(service.up) == 1
        # None outlived its token, and the old one went soon after the new one came.
        for before, after in pairwise(service.links):
            assert before.gone_at is not None
            assert before.gone_at - before.opened_at < TTL
            # Where the market has just stopped, a trade that would show it is waited for a little longer.
            most = 1.5 if after.opened_at < began + 449 else 6.0
            assert 0 <= before.gone_at - after.opened_at <= most


async def test_in_a_quiet_market_it_takes_a_second(autojump_clock: MockClock) -> None:
    service = Service()
    async with LIVELY(service) as bench:
        await service.publish()
        await trio.sleep(200)
        await service.publish()
        await trio.sleep(4)
        assert bench.rows == service.rows
        assert bench.gaps == []
        assert len(service.links) >= 4
        for before, after in pairwise(service.links):
            assert before.gone_at is not None
            assert 0.9 <= before.gone_at - after.opened_at <= 1.5


async def test_both_hubs_follow(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await bench.user.subscribe(ORDERS)
        await trio.sleep(10)
        first = {link.bearer for link in service.up}
        await bench.sites[0].tokens.refresh()
        bench.hub.look()
        bench.user.look()
        await trio.sleep(10)
        assert len(service.up) == 2
        assert first.isdisjoint(link.bearer for link in service.up)
        assert [state for _, state in bench.told.states("user")] == ["CONNECTING", "LIVE"]


async def test_refreshed_by_hand_it_follows_too(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(trading, service, 20.0)
        for _ in range(3):
            await trio.sleep(5)
            await bench.gateway.refresh_token()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    check_whole(bench, service)
    assert len(service.links) == 4


async def test_many_refreshes_at_once_end_with_one_connection_of_the_newest_token(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with open_bench(service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(trading, service, 30.0)
        for _ in range(10):
            await bench.gateway.refresh_token()
            await trio.sleep(0.02)
        await trio.sleep(35)
        assert [link.bearer for link in service.up] == [bench.network.token(bench.network.logins)]
        nursery.cancel_scope.cancel()
    check_whole(bench, service)


async def test_a_wish_that_comes_in_the_middle_is_on_the_new_one(autojump_clock: MockClock) -> None:
    """While the new connection only waits to be seen level, nothing else would wake it."""
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await bench.sites[0].tokens.refresh()
        bench.hub.look()
        while len(service.holding()) < 2:
            await trio.sleep(0.01)
        await bench.hub.subscribe(OTHER)
        bench.hub.release(TRADES)
        await trio.sleep(10)
        (link,) = service.up
        assert link is service.links[1]
        assert {subject for _, subject in link.held} == {OTHER.subject}
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]


# What may go wrong with the new one


async def test_a_new_one_that_is_reset_is_tried_again(autojump_clock: MockClock) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number in (1, 2):
            await trio.sleep(0.02)
            link.reset()

    service.at_open = at_open
    async with open_bench(service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(trading, service, 60.0)
        await trio.sleep(5)
        await bench.gateway.refresh_token()
        await trio.sleep(59)
        nursery.cancel_scope.cancel()
    check_whole(bench, service)
    assert len(service.links) == 4


async def test_an_old_one_that_is_reset_meanwhile_leaves_its_place(autojump_clock: MockClock) -> None:
    service = Service()

    async def at_upgrade(wire: Wire, request: Request) -> bool:
        await trio.sleep(2 if service.links else 0)
        return False

    service.at_upgrade = at_upgrade
    async with open_bench(service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(trading, service, 20.0)
        await trio.sleep(5)
        await bench.gateway.refresh_token()
        await trio.sleep(1)
        service.links[0].reset()
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
        assert len(service.links) == 2
    check_rows(bench, service)
    assert len(bench.gaps) == 1
    assert replaced(bench) == [False]


async def test_a_new_one_that_is_refused_a_subscription_is_not_taken(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(trading, service, 90.0)
        await trio.sleep(5)
        service.refuse[MNQ] = "not twice"
        await bench.gateway.refresh_token()
        await trio.sleep(10)
        (failed,) = bench.told.of(ReplacementFailed)
        assert isinstance(failed, ReplacementFailed)
        assert failed.retry_in_s == pytest.approx(60)
        assert [link.number for link in service.up] == [0]
        service.refuse.clear()
        await trio.sleep(60)
        assert [link.number for link in service.up] == [2]
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    check_whole(bench, service)


async def test_a_stream_that_is_not_read_does_not_make_it_lose_anything(autojump_clock: MockClock) -> None:
    """What our own back-pressure holds back is no quiet market: the old connection stays until all is level."""
    service = Service()
    async with (
        open_bench(service, limits=Limits(batches_in_flight=1)) as bench,
        bench.gateway.open_trades(MNQ, overflow=Overflow.BLOCK, capacity=1) as slow,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trading, service, 40.0)
        await trio.sleep(5)
        await bench.gateway.refresh_token()
        await trio.sleep(20)
        nursery.start_soon(_read, slow)
        await trio.sleep(40)
        nursery.cancel_scope.cancel()
    assert bench.gaps == []
    assert bench.rows == service.rows[: len(bench.rows)]
    assert len(bench.rows) == len(service.rows)
    assert len(service.up) == 0
    assert replaced(bench) == [True]


async def _read(stream: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass


# A service that does not want a second connection


def refusing(service: Service, status: int) -> Upgrade:
    async def at_upgrade(wire: Wire, request: Request) -> bool:
        if not service.up:
            return False
        await wire.reply(status, b"one at a time")
        return True

    return at_upgrade


@pytest.mark.parametrize("status", [403, 409, 429, 503])
async def test_refused_a_second_connection_it_goes_on_until_the_token_ends(
    autojump_clock: MockClock, status: int
) -> None:
    """And then the old one goes first, with a gap that is told; never are both down for good."""
    service = Service()
    service.at_upgrade = refusing(service, status)
    async with LIVELY(service) as bench:
        await trading(service, 250)
        check_rows(bench, service)
        ended = [link for link in service.links if link.gone_at is not None]
        assert 3 <= len(ended) <= 5
        for link in ended:
            # As long as its token lives, but for the half minute in which a retry may come late.
            assert link.gone_at is not None
            assert -0.1 <= link.gone_at - ends_at(link.bearer) <= 35
        assert longest_down(service, trio.current_time()) <= 1.5
        assert len(bench.gaps) == len(ended)
        assert replaced(bench) == [False] * len(ended)
        assert len(service.up) == 1
        assert bench.hub.state is HubState.LIVE
        assert len(service.attempts) < 250 / 3
        if status == 403:
            assert len(bench.told.of(ReplacementFailed)) >= len(ended)


@pytest.mark.parametrize("allow_reconnect", [True, False])
async def test_closed_as_a_second_connection_it_goes_on_until_the_token_ends(
    autojump_clock: MockClock, allow_reconnect: bool
) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if len(service.up) > 1:
            await link.close(allowReconnect=allow_reconnect, error="one at a time")
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    async with LIVELY(service) as bench:
        await trading(service, 250)
        check_rows(bench, service)
        assert bench.error is None
        assert longest_down(service, trio.current_time()) <= 1.5
        assert len(service.up) == 1
        assert bench.hub.state is HubState.LIVE
        assert len(service.attempts) < 250 / 3
        assert 3 <= len(bench.gaps) <= 5


@pytest.mark.parametrize("how", ["reset", "close", "close for good", "1008"])
async def test_where_the_second_connection_costs_the_first_one_its_life(
    autojump_clock: MockClock, how: str
) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        for other in service.up:
            if other is not link:
                await _kill(other, how)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    async with LIVELY(service) as bench:
        await trading(service, 250)
        check_rows(bench, service)
        assert bench.error is None
        assert bench.hub.state is HubState.LIVE
        assert len(service.up) == 1
        assert longest_down(service, trio.current_time()) <= 1.5
        # One for each new token, and no war of two connections with each other.
        assert len(service.links) <= 2 * bench.network.logins
        assert bench.network.logins <= 12
        assert len(bench.gaps) <= len(service.links)


async def _kill(link: Link, how: str) -> None:
    match how:
        case "reset":
            link.reset()
        case "1008":
            with trio.move_on_after(0.01):
                await link.hub.ws.aclose(1008, "logged in elsewhere")
        case _:
            await link.close(allowReconnect=how == "close", error="logged in elsewhere")


# A refresh that fails touches no connection


async def fail(wire: Wire) -> None:
    await wire.reply(500)


async def hang(wire: Wire) -> None:
    await trio.sleep_forever()


async def garbage(wire: Wire) -> None:
    await wire.reply(200, b"<html>")


async def nothing(wire: Wire) -> None:
    await wire.reply_json(token="")


async def no_success(wire: Wire) -> None:
    await wire.reply(200, b'{"success":false,"errorCode":3,"errorMessage":"no","token":null}')


async def unauthorized(wire: Wire) -> None:
    await wire.reply(401)


@pytest.mark.parametrize("how", [fail, hang, garbage, nothing, no_success, unauthorized])
async def test_a_refresh_that_fails_touches_no_connection(
    autojump_clock: MockClock, how: Callable[[Wire], Awaitable[None]]
) -> None:
    """Rows 47 to 50; and it is told, each time."""
    service = Service()

    async def rest(wire: Wire, request: Request) -> None:
        if wire.network.logins and request.path.startswith("/api/Auth"):
            await how(wire)
        elif request.path.startswith("/api/Auth"):
            await wire.network.log_in(wire, request)
        else:
            await wire.reply_json(bars=[])

    async with LIVELY(service, rest=rest) as bench:
        await trading(service, 180)
        check_whole(bench, service)
        assert len(service.links) == 1  # the session outlives its token, as long as the service lets it
        failures = [e for e in bench.told.of(TokenRefreshFailed) if isinstance(e, TokenRefreshFailed)]
        assert failures
        assert failures[0].expires_in_s is not None
        assert failures[0].expires_in_s <= 0.3 * TTL
        with pytest.raises(TrioProjectXError):
            await bench.gateway.refresh_token()
        assert len(service.links) == 1


async def test_three_failures_and_then_a_token(autojump_clock: MockClock) -> None:
    service = Service()
    left = 3

    async def rest(wire: Wire, request: Request) -> None:
        nonlocal left
        if wire.network.logins and left and request.path == "/api/Auth/loginKey":
            left -= 1
            await wire.reply(500)
        else:
            await wire.network.log_in(wire, request)

    async with LIVELY(service, rest=rest, refresh=Refresh(share=0.3, retry_s=5)) as bench:
        await trading(service, 58)
        check_whole(bench, service)
        assert len(bench.told.of(TokenRefreshFailed)) == 3
        assert len(service.links) == 2


async def test_a_token_that_comes_after_the_old_one_has_ended_goes_one_way_only(
    autojump_clock: MockClock,
) -> None:
    """Row 51: the service closes at the end of the token, while the answer to the refresh is on its way."""
    service = Service()
    valid: set[str | None] = set()

    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey":
            await trio.sleep(20 if wire.network.logins else 0)
            await wire.network.log_in(wire, request)
            valid.clear()
            valid.add(bench_token(wire))
        else:
            await wire.reply(404)

    def bench_token(wire: Wire) -> str:
        return tokens[wire.network.logins]

    tokens: dict[int, str] = {}

    def token(number: int) -> str:
        tokens[number] = jwt(number, TTL)
        return tokens[number]

    async def at_upgrade(wire: Wire, request: Request) -> bool:
        if request.bearer in valid:
            return False
        await wire.reply(401)
        return True

    async def at_open(link: Link) -> None:
        await trio.sleep(TTL)
        valid.discard(link.bearer)
        await link.close(allowReconnect=True, error="token expired")

    service.at_upgrade, service.at_open = at_upgrade, at_open
    refresh = Refresh(share=0.8, jitter=0.0)
    async with open_bench(service, rest=rest, token=token, refresh=refresh) as bench:
        await trading(service, 90)
        assert bench.network.logins == 2, "one request, for the refresh and for the connection"
        check_rows(bench, service)
        assert bench.error is None
        assert bench.hub.state is HubState.LIVE
        assert len(service.up) == 1
        assert [link.bearer for link in service.up] == [tokens[2]]
        # Down from the end of the token until the answer came, and not longer.
        down = longest_down(service, trio.current_time())
        assert 7 <= down <= 10
        assert len(bench.gaps) == 1


async def test_a_token_that_comes_late_is_used_without_a_gap_where_the_session_goes_on(
    autojump_clock: MockClock,
) -> None:
    """The old connection is not dropped because its token is over: the service has not dropped it either."""
    service = Service()

    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey" and wire.network.logins and trio.current_time() < 80:
            await wire.reply(500)
        else:
            await wire.network.log_in(wire, request)

    async with LIVELY(service, rest=rest) as bench:
        await trading(service, 150)
        check_whole(bench, service)
        assert replaced(bench)[0] is True
        first = service.links[0]
        assert first.gone_at is not None
        assert first.gone_at > 80


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refresh_that_is_refused_for_good_is_told_and_the_session_goes_on(
    autojump_clock: MockClock, status: int
) -> None:
    service = Service()

    async def rest(wire: Wire, request: Request) -> None:
        if wire.network.logins and "Auth" in request.path:
            await wire.reply(status)
        elif "Auth" in request.path:
            await wire.network.log_in(wire, request)
        else:
            await wire.reply_json(bars=[])

    async with LIVELY(service, rest=rest) as bench:
        await trading(service, 120)
        check_whole(bench, service)
        with pytest.raises(AuthError):
            await bench.gateway.refresh_token()
        service.links[0].reset()
        await trading(service, 5)
        # The old token is taken as long as the hub takes it: only the hub says what it is worth.
        assert bench.hub.state is HubState.LIVE
