from __future__ import annotations

import pytest
import trio
from simulator_rest import Rest, running

APP = {"userName": "simulator", "password": "simulator-key", "deviceId": "d", "appId": "a", "verifyKey": "v"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"userName": "simulator", "apiKey": "simulator-key"}, 0), ({"userName": "simulator", "apiKey": "no"}, 3),
        ({"userName": "nobody", "apiKey": "simulator-key"}, 1),
    ],
)  # fmt: skip
async def test_keys(autojump_clock: object, fields: dict, code: int) -> None:
    async with running() as (sim, rest):
        body = (await rest.post("Auth/loginKey", **fields)).json
        assert body["errorCode"] == code
        assert (body["token"] is None) == bool(code)
        if not code:
            await Rest(sim, body["token"]).ok("Auth/validate")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0), ({"userName": "nobody"}, 1), ({"password": "no"}, 2), ({"appId": ""}, 4), ({"verifyKey": ""}, 5),
        ({"deviceId": ""}, 6),
    ],
)  # fmt: skip
async def test_apps(autojump_clock: object, change: dict, code: int) -> None:
    async with running() as (_, rest):
        body = (await rest.post("Auth/loginApp", **{**APP, **change})).json
        assert body["errorCode"] == code
        assert (body["token"] is None) == bool(code)


async def test_a_new_token_kills_no_old_one_and_logging_out_only_its_own(autojump_clock: object) -> None:
    async with running(token_ttl_s=100.0) as (sim, rest):
        newer = Rest(sim, (await rest.ok("Auth/validate"))["newToken"])
        assert newer.token != rest.token
        await rest.ok("Auth/validate")
        await newer.ok("Auth/logout")
        assert (await newer.post("Auth/validate")).status == 401
        await rest.ok("Auth/validate")
        await trio.sleep(60)
        third = Rest(sim, (await rest.ok("Auth/validate"))["newToken"])
        await trio.sleep(41)
        assert (await rest.post("Auth/validate")).status == 401
        await third.ok("Auth/validate")


async def test_accounts_are_of_the_seed_and_have_the_documented_fields(autojump_clock: object) -> None:
    seen = []
    for seed in (1, 1, 2):
        async with running(seed=seed) as (_, rest):
            accounts = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
            assert accounts == (await rest.ok("Account/search", onlyActiveAccounts=False))["accounts"]
            seen.append(accounts)
    assert seen[0] == seen[1] != seen[2]
    first, second = seen[0]
    assert list(first) == ["id", "name", "balance", "canTrade", "isVisible", "simulated"]
    assert first["name"].startswith("PRAC-V2-")
    assert second["name"].startswith("50KTC-V2-")
    assert (first["balance"], second["balance"], first["canTrade"]) == (150_000, 50_000, True)
    assert first["id"] != second["id"]
    assert first["id"] < 2**31
