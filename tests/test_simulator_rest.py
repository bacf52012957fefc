"""REST as a whole: who may ask, how often, and what comes of a request that nobody can read."""

from __future__ import annotations

import json

import pytest
import trio
from simulator_rest import MNQ, Rest, running, send

GUARDED = [
    "Auth/validate", "Auth/logout", "Account/search", "Contract/search", "Contract/searchById", "Contract/available",
    "History/retrieveBars", "Order/place", "Order/modify", "Order/cancel", "Order/search", "Order/searchOpen",
    "Order/searchById", "Order/v2/query", "Position/searchOpen", "Position/closeContract",
    "Position/partialCloseContract", "Trade/search",
]  # fmt: skip
OPEN = ["Auth/loginKey", "Auth/loginApp"]
#: A body that each route takes.
BODIES: dict[str, dict] = {
    "Auth/loginKey": {"userName": "u", "apiKey": "k"},
    "Auth/loginApp": {"userName": "u", "password": "p", "deviceId": "d", "appId": "a", "verifyKey": "v"},
    "Account/search": {"onlyActiveAccounts": True},
    "Contract/search": {"searchText": "ES", "live": False},
    "Contract/searchById": {"contractId": MNQ},
    "Contract/available": {"live": False},
    "History/retrieveBars": {
        "contractId": MNQ, "live": False, "startTime": "2026-08-19T20:00:00Z", "endTime": "2026-08-19T20:01:00Z",
        "unit": 2, "unitNumber": 1, "limit": 5, "includePartialBar": False,
    },
    "Order/place": {"accountId": 1, "contractId": MNQ, "type": 2, "side": 0, "size": 1},
    "Order/modify": {"accountId": 1, "orderId": 1},
    "Order/cancel": {"accountId": 1, "orderId": 1},
    "Order/search": {"accountId": 1, "startTimestamp": "2026-08-19T20:00:00Z"},
    "Order/searchOpen": {"accountId": 1},
    "Order/searchById": {"accountId": 1, "orderId": 1},
    "Order/v2/query": {"filter": {"accountId": 1}},
    "Position/searchOpen": {"accountId": 1},
    "Position/closeContract": {"accountId": 1, "contractId": MNQ},
    "Position/partialCloseContract": {"accountId": 1, "contractId": MNQ, "size": 1},
    "Trade/search": {"accountId": 1, "startTimestamp": "2026-08-19T20:00:00Z"},
}  # fmt: skip


async def test_every_route_answers_in_an_envelope(autojump_clock: object) -> None:
    async with running() as (sim, rest):
        for path in (*OPEN, *GUARDED):
            if path == "Auth/logout":
                continue
            answer = await rest.post(path, **BODIES.get(path, {}))
            assert answer.status == 200, path
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            body = answer.json
            assert list(body)[-3:] == ["success", "errorCode", "errorMessage"]
            assert body["success"] == (body["errorCode"] == 0)
            # Where there is an account to find, this one is none.
            expected = 1 if "accountId" in str(BODIES.get(path)) or path in OPEN else 0
            assert body["errorCode"] == expected, path
        assert sim.statistics().crashes == 0


@pytest.mark.parametrize("path", GUARDED)
async def test_nobody_comes_in_without_a_good_token(autojump_clock: object, path: str) -> None:
    async with running() as (sim, _):
        body = json.dumps(BODIES.get(path, {})).encode()
        tokens = [None, "x.y.z", sim.mint_token(-1)]
        for token in tokens:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = await send(sim, "POST", f"/api/{path}", body, **headers)
            assert (answer.status, answer.body) == (401, b"")


async def test_what_is_missing_or_of_another_type_is_told(autojump_clock: object) -> None:
    async with running(rate_limits=False) as (_, rest):
        for path, body in BODIES.items():
            optional = {
                "searchText", "startTime", "endTime", "includePartialBar", "startTimestamp", "deviceId", "appId",
                "verifyKey",
            }  # fmt: skip
            for name in body:
                if name not in optional:
                    await check_400(rest, path, {key: value for key, value in body.items() if key != name})
                await check_400(rest, path, {**body, name: ["no"]})
            for garbage in (b"", b"[]", b"nul", b"\xff", b"[" * 20_000):
                assert (await rest.raw(path, garbage)).status == 400, (path, garbage[:10])


async def check_400(rest: Rest, path: str, body: dict) -> None:
    answer = await rest.post(path, **body)
    assert answer.status == 400, (path, body)
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert list(answer.json) == ["type", "title", "status", "detail", "instance"]
    assert answer.json["status"] == 400
    assert answer.json["instance"] == f"/api/{path.lower()}"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("Order/place", {"type": "Market"}), ("Order/place", {"side": "Bid"}), ("Order/place", {"type": "2"}),
        ("Order/place", {"stopLossBracket": {"ticks": 4, "type": "Stop"}}),
        ("History/retrieveBars", {"unit": "Minute"}),
        ("History/retrieveBars", {"startTime": "yesterday"}), ("History/retrieveBars", {"endTime": "2026-02-30"}),
        ("Trade/search", {"endTimestamp": "x"}),
        ("Order/v2/query", {"filter": {"accountId": 1, "createdAfter": "x"}}),
    ],
)  # fmt: skip
async def test_an_enum_in_words_is_a_400(autojump_clock: object, path: str, change: dict) -> None:
    async with running() as (sim, rest):
        accounts = await rest.ok("Account/search", onlyActiveAccounts=True)
        body = {**BODIES[path], "accountId": accounts["accounts"][0]["id"], **change}
        if "filter" in change:
            body["filter"]["accountId"] = body.pop("accountId")
        await check_400(rest, path, body)
        assert sim.statistics().crashes == 0


async def test_another_kind_of_body_is_a_415(autojump_clock: object) -> None:
    async with running() as (_, rest):
        answer = await rest.raw("Contract/search", b'{"live":false}', "text/plain")
        assert answer.status == 415
        assert answer.json["title"] == "Unsupported Media Type"
        assert (await rest.raw("Contract/search", b'{"live":false}', "text/json")).status == 200


async def test_routes_and_methods(autojump_clock: object) -> None:
    async with running() as (sim, rest):
        assert (await send(sim, "GET", "/api/Order/place")).status == 405
        assert (await send(sim, "GET", "/api/Order/place")).headers["allow"] == "POST"
        assert (await rest.post("Order/none")).status == 404
        assert (await send(sim, "GET", "/api/Status/ping")).body == b"pong"


async def status(rest: Rest, path: str) -> int:
    return (await rest.post(path, **BODIES[path])).status


async def test_history_and_the_rest_have_their_own_buckets_for_each_token(autojump_clock: object) -> None:
    async with running() as (sim, rest):
        assert [await status(rest, "History/retrieveBars") for _ in range(51)] == [200] * 50 + [429]
        assert [await status(rest, "Contract/searchById") for _ in range(201)] == [200] * 200 + [429]
        assert await status(rest, "Order/searchOpen") == 429
        assert await status(Rest(sim, sim.mint_token()), "Order/searchOpen") == 200
        answer = await rest.post("History/retrieveBars", **BODIES["History/retrieveBars"])
        assert (answer.status, answer.body, "retry-after" in answer.headers) == (429, b"", False)
        await trio.sleep(29)
        assert await status(rest, "History/retrieveBars") == 429
        await trio.sleep(1)
        assert await status(rest, "History/retrieveBars") == 200
        assert await status(rest, "Order/searchOpen") == 429
        await trio.sleep(30)
        assert await status(rest, "Order/searchOpen") == 200


async def test_an_option_says_when_to_come_back_and_another_lets_everything_pass(
    autojump_clock: object,
) -> None:
    async with running(retry_after=True) as (_, rest):
        for _ in range(50):
            await status(rest, "History/retrieveBars")
        await trio.sleep(9.5)
        answer = await rest.post("History/retrieveBars", **BODIES["History/retrieveBars"])
        assert (answer.status, answer.headers["retry-after"]) == (429, "21")
    async with running(rate_limits=False) as (_, rest):
        assert {await status(rest, "History/retrieveBars") for _ in range(60)} == {200}


async def test_a_bad_token_takes_nothing_from_a_bucket(autojump_clock: object) -> None:
    async with running() as (sim, _):
        for _ in range(210):
            assert (await send(sim, "POST", "/api/Auth/validate", Authorization="Bearer x")).status == 401


async def test_no_token_and_no_key_is_ever_told_back(autojump_clock: object) -> None:
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzZWNyZXQiOjF9.c2VjcmV0c2VjcmV0c2VjcmV0"
    async with running() as (_, rest):
        for path in BODIES:
            answer = await rest.post(
                path, **{**BODIES[path], "contractId": {"token": secret}, "startTime": secret}
            )
            assert secret not in answer.body.decode()
