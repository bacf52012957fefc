"""Turns: shared limits, urgency, refusals with and without Retry-After, and storms of cancellation."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from scripted import MNQ, Network, Request, Wire, config_for, open_network, token_no
from simulator_tools import virtual_wall

from trio_projectx import ConnectError, ContractError, GatewayError, ProtocolError
from trio_projectx.connection.answers import BarsQuestion, TryLater
from trio_projectx.connection.auth import TokenRefused
from trio_projectx.connection.pacer import LIMITS, Lane, Pacer, Urgency
from trio_projectx.connection.rest import RestClient
from trio_projectx.connection.routes import ROUTES, BarsRefused, UnknownContract
from trio_projectx.simulator import open_simulator

TOKEN = token_no(1)
START_NS = 1_787_172_660_000_000_000
QUESTION = BarsQuestion(MNQ, 2, 1, START_NS - 3600 * 10**9, START_NS, 500)
FEW = {Lane.HISTORY: (2, 30.0), Lane.OTHER: (3, 60.0)}


@asynccontextmanager
async def client(network: Network, pacer: Pacer | None = None) -> AsyncGenerator[RestClient]:
    config = config_for(network)
    async with RestClient(
        config.all_endpoints[0].rest_url,
        connect=config.connect,
        deadline_s=30,
        body_limit=1 << 20,
        pacer=pacer,
    ) as rest:
        yield rest


async def empty(wire: Wire, request: Request) -> None:
    await wire.reply_json(bars=[], contracts=[])


async def test_each_lane_has_its_own_limit_and_all_users_share_it(autojump_clock: object) -> None:
    pacer = Pacer(FEW)
    times: list[float] = []

    async def one() -> None:
        async with pacer.turn(Lane.HISTORY):
            times.append(trio.current_time())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert [at - start for at in times] == [0, 0, 30, 30, 60]
    async with pacer.turn(Lane.OTHER):
        pass
    assert trio.current_time() - start == 60
    assert (pacer.statistics(Lane.HISTORY).sent, pacer.statistics(Lane.OTHER).sent) == (5, 1)


async def test_who_is_urgent_goes_first_and_bulk_leaves_room(autojump_clock: object) -> None:
    pacer, order = Pacer({Lane.HISTORY: (10, 30.0), Lane.OTHER: (1, 1.0)}), []

    async def one(urgency: Urgency, name: str) -> None:
        async with pacer.turn(Lane.HISTORY, urgency):
            order.append((name, trio.current_time()))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(one, Urgency.BULK, f"bulk {number}")
        await trio.sleep(1)
        assert len(order) == 8
        assert pacer.statistics(Lane.HISTORY).waiting == 4
        await one(Urgency.LIVE, "live")
        assert order[-1] == ("live", start + 1)
        await one(Urgency.FILL, "fill")
        nursery.start_soon(one, Urgency.FILL, "late fill")
        nursery.start_soon(one, Urgency.LIVE, "late live")
    waited = [name for name, at in order if at > start + 1]
    assert waited[:2] == ["late live", "late fill"]
    assert len(order) == 16


async def test_who_is_cancelled_while_waiting_has_used_nothing_up(autojump_clock: object) -> None:
    pacer = Pacer(FEW)
    for _ in range(2):
        async with pacer.turn(Lane.HISTORY):
            pass
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_soon, scope)
                async with pacer.turn(Lane.HISTORY):
                    raise AssertionError("no turn was due")
            assert scope.cancelled_caught
    async with pacer.turn(Lane.HISTORY):
        assert trio.current_time() == start + 30
    assert pacer.statistics(Lane.HISTORY).waiting == 0


async def test_the_place_of_a_first_one_who_is_cancelled_goes_to_the_next(autojump_clock: object) -> None:
    pacer = Pacer(FEW)
    for _ in range(2):
        async with pacer.turn(Lane.HISTORY):
            pass
    start = trio.current_time()

    async def first() -> None:
        with trio.move_on_after(5):
            async with pacer.turn(Lane.HISTORY):
                raise AssertionError("no turn was due")

    async def second() -> None:
        with trio.fail_after(40):
            async with pacer.turn(Lane.HISTORY):
                assert trio.current_time() == start + 30

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.sleep(1)
        nursery.start_soon(second)


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.sleep(0.1)
    scope.cancel()


def refusing(times: int, *headers: tuple[str, str]) -> tuple[list[float], object]:
    asked: list[float] = []

    async def answer(wire: Wire, request: Request) -> None:
        asked.append(trio.current_time())
        if len(asked) <= times:
            await wire.reply(429, b"", *headers)
        else:
            await wire.reply_json(bars=[])

    return asked, answer


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), [0, 1, 3, 7]),
        ((("Retry-After", "9"),), [0, 9, 18, 27]),
        ((("Retry-After", "999999999"),), [0, 300, 600, 900]),
        ((("Retry-After", "Fri, 21 Aug 2026 07:28:00 GMT"),), [0, 1, 3, 7]),
    ],
)
async def test_a_429_holds_its_lane_and_nothing_else(
    autojump_clock: object, headers: tuple[tuple[str, str], ...], expected: list[float]
) -> None:
    asked, answer = refusing(3, *headers)
    pacer = Pacer()
    async with open_network(rest=answer) as network, client(network, pacer) as rest:  # type: ignore[arg-type]
        start = trio.current_time()
        for _ in range(3):
            with pytest.raises(TryLater):
                await rest.bars(QUESTION, TOKEN)
        assert pacer.statistics(Lane.HISTORY).paused_s > 0
        with trio.fail_after(0.5):
            async with pacer.turn(Lane.OTHER):
                pass
        assert await rest.bars(QUESTION, TOKEN) == []
        assert [at - start for at in asked] == expected
        assert pacer.statistics(Lane.HISTORY).refusals == 3


async def test_after_a_good_answer_the_pauses_begin_anew(autojump_clock: object) -> None:
    asked, answer = refusing(1)
    pacer = Pacer()
    async with open_network(rest=answer) as network, client(network, pacer) as rest:  # type: ignore[arg-type]
        start = trio.current_time()
        for _ in range(3):
            with pytest.raises(TryLater):
                await rest.bars(QUESTION, TOKEN)
            await rest.bars(QUESTION, TOKEN)
            asked.clear()
        assert pacer.statistics(Lane.HISTORY).paused_s == 0
        assert trio.current_time() - start == 3  # a second each time, and not 1, 2, 4


async def test_the_simulators_limits_are_never_met(autojump_clock: object) -> None:
    """The simulator counts as the documentation says; 120 requests of eight users get through without a 429."""
    pacer = Pacer()
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        token = sim.mint_token()
        async with RestClient(
            sim.url, connect=sim.connect, deadline_s=30, body_limit=1 << 20, pacer=pacer
        ) as rest:

            async def user() -> None:
                for _ in range(15):
                    await rest.bars(QUESTION, token)

            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(user)
            assert (
                60 <= trio.current_time() - start < 91
            )  # 40 of 50 are bulk's: 120 take two windows and a bit
            assert pacer.statistics(Lane.HISTORY).refusals == 0


@pytest.mark.parametrize("paced", [False, True])
async def test_storms_of_cancellation_leave_the_pool_whole(autojump_clock: object, *, paced: bool) -> None:
    """40 rounds of 12 cancelled requests (httpx 0.28 was dead after the first), then a request works."""
    pacer = Pacer({Lane.HISTORY: (10_000, 30.0), Lane.OTHER: (10_000, 60.0)}) if paced else None

    async def slow(wire: Wire, request: Request) -> None:
        await trio.sleep(0.03 if len(network.requests) < 480 else 0)
        await wire.reply_json(bars=[], contracts=[])

    async with open_network(rest=slow) as network, client(network, pacer) as rest:
        for number in range(40):
            with trio.move_on_after(0.001 * number):
                async with trio.open_nursery() as nursery:
                    for _ in range(12):
                        nursery.start_soon(rest.bars, QUESTION, TOKEN)
        with trio.fail_after(5):
            assert await rest.bars(QUESTION, TOKEN) == []
            assert await rest.search_contracts("MNQ", live=False, token=TOKEN) == []
        assert network.open_streams() <= 10


async def test_a_history_that_hangs_takes_no_connection_that_live_streams_need(
    autojump_clock: object,
) -> None:
    """The pool has ten: forty requests for bars that are never answered would hold up a token for half a minute."""

    async def answer(wire: Wire, request: Request) -> None:
        if "retrieveBars" in request.path:
            await trio.sleep_forever()
        await wire.reply_json(newToken=None)

    async with open_network(rest=answer) as network, client(network, Pacer()) as rest:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                urgency = Urgency.FILL if number % 4 == 0 else Urgency.BULK
                nursery.start_soon(rest.bars, QUESTION, TOKEN, urgency)
            await trio.testing.wait_all_tasks_blocked()
            assert network.open_streams() == 6  # three for gaps, three for whoever asks for much
            start = trio.current_time()
            assert await rest.validate(TOKEN) == TOKEN
            assert trio.current_time() == start
            nursery.cancel_scope.cancel()


# What a route's errorCode means

MEANINGS = [
    ("History/retrieveBars", 1, UnknownContract),
    ("History/retrieveBars", 2, BarsRefused),
    ("History/retrieveBars", 3, BarsRefused),
    ("History/retrieveBars", 4, BarsRefused),
    ("History/retrieveBars", 77, GatewayError),
    ("Auth/validate", 1, TokenRefused),
    ("Auth/validate", 3, TokenRefused),
    ("Auth/validate", 4, GatewayError),
    ("Auth/logout", 1, TokenRefused),
    ("Auth/logout", 2, GatewayError),
]


@pytest.mark.parametrize(("path", "code", "kind"), MEANINGS)
async def test_a_refusal_has_its_routes_type_code_and_text(
    autojump_clock: object, path: str, code: int, kind: type[Exception]
) -> None:
    async def no(wire: Wire, request: Request) -> None:
        assert request.path == f"/api/{path}"
        await wire.reply_json(success=False, errorCode=code, errorMessage="because", bars=None)

    async with open_network(rest=no) as network, client(network) as rest:
        calls = {
            "History/retrieveBars": lambda: rest.bars(QUESTION, TOKEN),
            "Auth/validate": lambda: rest.validate(TOKEN),
            "Auth/logout": lambda: rest.logout(TOKEN),
        }
        with pytest.raises(kind, match=f"errorCode {code} because") as raised:
            await calls[path]()
        assert type(raised.value) is kind
        assert isinstance(raised.value, ContractError) is (kind is UnknownContract)
        assert not isinstance(raised.value, ConnectError)
        if isinstance(raised.value, GatewayError):
            assert (raised.value.code, raised.value.text) == (code, "because")


def test_every_route_has_a_limit_and_only_bars_have_their_own() -> None:
    assert {route.lane for route in ROUTES.values()} == set(LIMITS)
    assert [path for path, route in ROUTES.items() if route.lane is Lane.HISTORY] == ["History/retrieveBars"]
    assert (LIMITS[Lane.HISTORY], LIMITS[Lane.OTHER]) == ((50, 30.0), (200, 60.0))


async def test_bars_are_asked_for_in_the_services_words(autojump_clock: object) -> None:
    async with open_network(rest=empty) as network, client(network) as rest:
        await rest.bars(QUESTION, TOKEN)
        (request,) = network.requests
        assert json.loads(request.body) == {
            "contractId": MNQ,
            "live": False,
            "startTime": "2026-08-19T19:51:00Z",
            "endTime": "2026-08-19T20:51:00Z",
            "unit": 2,
            "unitNumber": 1,
            "limit": 500,
            "includePartialBar": False,
        }
        assert request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_the_simulator_is_there_and_lists_its_contracts(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with RestClient(
            sim.url, connect=sim.connect, deadline_s=30, body_limit=1 << 20, pacer=Pacer()
        ) as rest:
            await rest.ping()
            found = await rest.available_contracts(live=False, token=sim.mint_token())
            assert MNQ in [each.id for each in found]
            assert all(each.activeContract for each in found)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"hello", ProtocolError),
        (500, b"pong", GatewayError),
        (429, b"", TryLater),
        (200, b'"pong"', None),
    ],
)
async def test_a_ping_that_is_answered_by_somebody_else(
    autojump_clock: object, status: int, body: bytes, kind: type[Exception] | None
) -> None:
    async def answer(wire: Wire, request: Request) -> None:
        assert (request.method, request.path, request.body) == ("GET", "/api/Status/ping", b"")
        assert "authorization" not in request.headers
        await wire.reply(status, body)

    async with open_network(rest=answer) as network, client(network) as rest:
        if kind is None:
            await rest.ping()
        else:
            with pytest.raises(kind):
                await rest.ping()
