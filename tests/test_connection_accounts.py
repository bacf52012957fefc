"""Which accounts are subscribed to: what is asked, what counts, what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from scripted import Json, Network, Request, Wire, config_for, open_network, open_service
from simulator_rest import running
from trio.testing import MockClock

from trio_projectx import AuthError, ConfigError, GatewayError, ProtocolError
from trio_projectx.connection.accounts import AccountDirectory
from trio_projectx.connection.rest import RestClient

SOME: list[Json] = [
    {
        "id": 26282486,
        "name": "PRAC-V2-1",
        "balance": 149848.64,
        "canTrade": True,
        "isVisible": True,
        "new": {},
    },
    {"id": 3425270858, "name": None, "simulated": None},
    {"id": 26282486, "name": "again"},
]


@asynccontextmanager
async def directory(*answers: list[Json] | int | None) -> AsyncGenerator[tuple[Network, AccountDirectory]]:
    """A directory whose service gives these answers, accounts or a status, one after the other."""
    left = list(answers)

    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey":
            await wire.network.log_in(wire, request)
            return
        answer = left.pop(0)
        if isinstance(answer, int):
            await wire.reply(answer)
        else:
            await wire.reply_json(accounts=answer)

    async with open_network(rest=rest) as network, open_service(config_for(network)) as service:
        yield network, AccountDirectory(service.rest, service.tokens)
        assert not left


def asked(network: Network) -> list[Json]:
    return [json.loads(each.body) for each in network.requests if each.path == "/api/Account/search"]


async def test_all_means_those_that_are_active(autojump_clock: MockClock) -> None:
    async with directory(SOME) as (network, accounts):
        assert await accounts.ids() == (26282486, 3425270858)
        assert asked(network) == [{"onlyActiveAccounts": True}]


async def test_one_by_its_number_may_be_inactive(autojump_clock: MockClock) -> None:
    async with directory(SOME) as (network, accounts):
        assert await accounts.ids(3425270858) == (3425270858,)
        assert asked(network) == [{"onlyActiveAccounts": False}]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (SOME, r"5 is no account of yours; these are: 26282486 \(PRAC-V2-1\), 3425270858 \(no name\), "),
        ([], "5 is no account of yours; these are: none"),
        (None, "these are: none"),
        ([{"id": n, "name": "x\r\n"} for n in range(20, 40)], r"29 \(x\\r\\n\), \.\.\.$"),
    ],
)
async def test_a_wrong_number_is_found_before_a_hub_is_asked(
    autojump_clock: MockClock, answer: list[Json] | None, text: str
) -> None:
    async with directory(answer) as (_, accounts):
        with pytest.raises(ConfigError, match=text):
            await accounts.ids(5)


@pytest.mark.parametrize("named", ["26282486", 1.0, True, b"1"])
async def test_an_account_is_named_by_a_number(autojump_clock: MockClock, named: object) -> None:
    async with directory() as (network, accounts):
        with pytest.raises(ConfigError, match="named by its number"):
            await accounts.ids(named)  # type: ignore[arg-type]
        assert asked(network) == []


@pytest.mark.parametrize("answer", [[], None])
async def test_without_any_account_there_is_nothing_to_stream(
    autojump_clock: MockClock, answer: list[Json] | None
) -> None:
    async with directory(answer) as (_, accounts):
        with pytest.raises(ConfigError, match="no active account"):
            await accounts.ids()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_service_without_that_search_is_believed_to_know_the_number(
    autojump_clock: MockClock, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with directory(status, status) as (_, accounts):
        with caplog.at_level(logging.WARNING, "trio_projectx"):
            assert await accounts.ids(7) == (7,)
        assert "assuming that 7 is an account of yours" in caplog.text
        with pytest.raises(GatewayError):
            await accounts.ids()


async def test_other_failures_are_what_they_are(autojump_clock: MockClock) -> None:
    async with directory(500, 403, [{"id": "x"}], [{"name": "no number"}]) as (_, accounts):
        for kind in (GatewayError, AuthError, ProtocolError, ProtocolError):
            with pytest.raises(kind):
                await accounts.ids(7)


async def test_an_expired_token_is_renewed(autojump_clock: MockClock) -> None:
    async with directory(401, SOME) as (network, accounts):
        assert await accounts.ids(26282486) == (26282486,)
        assert len(asked(network)) == 2


async def test_the_simulators_accounts_are_found(autojump_clock: MockClock) -> None:
    async with running() as (sim, rest):
        client = RestClient("http://sim.test", connect=sim.connect, deadline_s=5, body_limit=1 << 20)
        async with client:
            found = await client.search_accounts(rest.token, active=True)
        expected = (await rest.ok("Account/search", onlyActiveAccounts=True))["accounts"]
        assert [(each.id, each.name, each.balance) for each in found] == [
            (each["id"], each["name"], each["balance"]) for each in expected
        ]
        assert len(found) == 2
