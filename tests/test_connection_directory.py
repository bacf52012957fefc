"""From what a user writes to one contract: what is asked, what counts, what is assumed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import (
    Json,
    Network,
    Request,
    Wire,
    config_for,
    open_network,
    open_service,
    token_no,
    virtual_wall,
)
from trio.testing import MockClock

from trio_projectx import AuthError, ContractError, GatewayError, ProtocolError
from trio_projectx.connection.directory import ContractDirectory
from trio_projectx.market import PriceGrid

Contracts = list[dict[str, Json]]


def contract(contract_id: str, tick_size: float | None = 0.25, *, active: bool = True) -> dict[str, Json]:
    return {"id": contract_id, "name": "x", "tickSize": tick_size, "activeContract": active}


#: What the service's search finds for "ES" (GATEWAY.md section 3), and some that it might.
FUZZY: Contracts = [
    contract("CON.F.US.MES.U26"),
    contract("CON.F.US.EP.U26"),
    contract("CON.F.US.EP.Z26", active=False),
    contract("CON.F.US.FVA.U26", 0.0078125),
    contract("CON.F.US.JY6.U26", 5e-7),
    contract("con.f.us.ep.u26"),
    contract("CON.F.US.EP"),
    contract(""),
]


def found(*contracts: dict[str, Json]) -> Callable[[Request], Json]:
    return lambda _: {"contracts": list(contracts), "success": True, "errorCode": 0}


@asynccontextmanager
async def directory(
    answer: Callable[[Request], Json] | int, wall_clock: Callable[[], int] = virtual_wall
) -> AsyncGenerator[tuple[Network, ContractDirectory]]:
    """A directory whose service answers with JSON, or with a status."""

    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey":
            await wire.network.log_in(wire, request)
        elif isinstance(answer, int):
            await wire.reply(answer)
        else:
            reply = answer(request)
            assert isinstance(reply, dict)
            await wire.reply_json(**reply)

    async with open_network(rest=rest) as network, open_service(config_for(network)) as service:
        yield network, ContractDirectory(service.rest, service.tokens, wall_clock)


def asked(network: Network) -> list[str]:
    return [request.path.removeprefix("/api/") for request in network.requests]


@pytest.mark.parametrize("text", ["ES", "EP", " es "])
async def test_only_the_exact_product_counts(autojump_clock: MockClock, text: str) -> None:
    async with directory(found(*FUZZY)) as (network, contracts):
        got = await contracts.resolve(text)
        assert got.contract_id == "CON.F.US.EP.U26"
        assert got.grid == PriceGrid(1, 4)
        assert asked(network) == ["Auth/loginKey", "Contract/search"]
        assert b'"searchText":"ES"' in network.requests[1].body
        assert network.requests[1].bearer == token_no(1)


async def test_the_services_tick_size_wins_over_the_table(autojump_clock: MockClock) -> None:
    async with directory(found(contract("CON.F.US.MNQ.U26", 0.05))) as (_, contracts):
        assert (await contracts.resolve("MNQ")).grid == PriceGrid(1, 20)
    async with directory(found(contract("CON.F.US.MNQ.U26", None))) as (_, contracts):
        assert (await contracts.resolve("MNQ")).grid == PriceGrid(1, 4)


@pytest.mark.parametrize("tick_size", [0, -0.25, 1e300, 1e-300])
async def test_a_tick_size_that_is_none_is_the_services_fault(
    autojump_clock: MockClock, tick_size: float
) -> None:
    async with directory(found(contract("CON.F.US.MNQ.U26", tick_size))) as (_, contracts):
        with pytest.raises(ProtocolError, match=r"tick size of CON\.F\.US\.MNQ\.U26"):
            await contracts.resolve("MNQ")


async def test_a_full_id_of_a_known_product_asks_nothing(autojump_clock: MockClock) -> None:
    async with directory(500) as (network, contracts):
        got = await contracts.resolve("CON.F.US.MNQ.Z19")
        assert (got.contract_id, got.grid) == ("CON.F.US.MNQ.Z19", PriceGrid(1, 4))
        assert network.requests == []


async def test_a_full_id_of_an_unknown_product_is_asked_for(autojump_clock: MockClock) -> None:
    described = {"contract": contract("CON.F.US.NEW.U26", 0.02)}
    async with directory(lambda _: described) as (network, contracts):
        got = await contracts.resolve("CON.F.US.NEW.U26")
        assert (got.contract_id, got.grid.num / got.grid.den) == ("CON.F.US.NEW.U26", 0.02)
        assert asked(network) == ["Auth/loginKey", "Contract/searchById"]
        with pytest.raises(ProtocolError, match=r"asked for CON.F.US.OLD.U26 and described CON.F.US.NEW.U26"):
            await contracts.resolve("CON.F.US.OLD.U26")


@pytest.mark.parametrize(
    "answer",
    [
        {"success": False, "errorCode": 1, "contract": None},
        {"contract": None},
        {"contract": contract("CON.F.US.NEW.U26", None)},
    ],
)
async def test_a_full_id_that_nobody_knows(autojump_clock: MockClock, answer: Json) -> None:
    async with directory(lambda _: answer) as (_, contracts):
        with pytest.raises(ContractError, match=r"does not know CON\.F\.US\.NEW\.U26"):
            await contracts.resolve("CON.F.US.NEW.U26")


async def test_an_unknown_product_is_answered_with_a_suggestion(autojump_clock: MockClock) -> None:
    async with directory(500) as (network, contracts):
        with pytest.raises(ContractError, match=r"MNK.*did you mean .*MNQ"):
            await contracts.resolve("MNK")
        assert network.requests == []


async def test_none_active(autojump_clock: MockClock) -> None:
    async with directory(found(contract("CON.F.US.MNQ.U26", active=False), *FUZZY)) as (_, contracts):
        with pytest.raises(ContractError, match="no active contract of MNQ; give a full"):
            await contracts.resolve("MNQ")


async def test_several_active(autojump_clock: MockClock) -> None:
    both = found(contract("CON.F.US.MNQ.U26"), contract("CON.F.US.MNQ.Z26"))
    async with directory(both) as (_, contracts):
        with pytest.raises(ContractError, match=r"several .*: CON.F.US.MNQ.U26, CON.F.US.MNQ.Z26; name one"):
            await contracts.resolve("MNQ")
    twice = found(contract("CON.F.US.MNQ.U26"), contract("CON.F.US.MNQ.U26"))
    async with directory(twice) as (_, contracts):
        assert (await contracts.resolve("MNQ")).contract_id == "CON.F.US.MNQ.U26"


@pytest.mark.parametrize("status", [404, 405])
async def test_without_a_search_the_front_month_is_assumed_and_told(
    autojump_clock: MockClock, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with directory(status) as (_, contracts):  # in August 2026
        got = await contracts.resolve("NQ")
    assert (got.contract_id, got.grid) == ("CON.F.US.ENQ.U26", PriceGrid(1, 4))
    (told,) = [r for r in caplog.records if r.name == "trio_projectx"]
    assert told.levelno == logging.WARNING
    assert "assuming that ENQ means CON.F.US.ENQ.U26" in told.getMessage()


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_any_other_refusal_assumes_nothing(autojump_clock: MockClock, status: int) -> None:
    async with directory(status) as (_, contracts):
        with pytest.raises((GatewayError, AuthError), match=f"HTTP {status}"):
            await contracts.resolve("MNQ")


@pytest.mark.parametrize("text", ["MNQ", "CON.F.US.NEW.U26"])
async def test_a_token_that_has_expired_is_renewed_once(autojump_clock: MockClock, text: str) -> None:
    """A gateway lives longer than the 24 hours of a token."""

    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/Auth/loginKey":
            await wire.network.log_in(wire, request)
        elif request.bearer == token_no(1) or always:
            await wire.reply(401)
        else:
            listed = contract("CON.F.US.MNQ.U26" if text == "MNQ" else text)
            await wire.reply_json(contracts=[listed], contract=listed)

    always = False
    async with open_network(rest=rest) as network, open_service(config_for(network)) as service:
        contracts = ContractDirectory(service.rest, service.tokens, virtual_wall)
        assert (await contracts.resolve(text)).grid == PriceGrid(1, 4)
        assert network.logins == 2
        always = True
        with pytest.raises(AuthError, match="also a fresh one"):
            await contracts.resolve(text)
        assert network.logins == 3


HOSTILE = [
    "CON.F.US.../../etc.U26",
    "CON.F.US.MNQ.U26\r\nX: y",
    "CON.F.US.MNQ.U26\x00",
    "CON." + "A" * 300,
    "CON.F.US.MNQ.U26 ",
    "CON.F.US.\u0661\u0662.U26",
    "CON.F.US.MNQ.A26",
    "MNQ\x1b[31m",
    "M" * 100_000,
    "",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_name_is_refused_before_anything_is_asked(
    autojump_clock: MockClock, text: str
) -> None:
    async with directory(500) as (network, contracts):
        with pytest.raises(ContractError) as raised:
            await contracts.resolve(text)
        assert network.requests == []
    assert str(raised.value).isprintable()
    assert str(raised.value).isascii()
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("thing", [None, 5, b"MNQ", ["MNQ"]])
async def test_what_is_no_text_is_refused(autojump_clock: MockClock, thing: object) -> None:
    async with directory(500) as (_, contracts):
        with pytest.raises(ContractError, match="named by a string such as 'MNQ'"):
            await contracts.resolve(thing)  # type: ignore[arg-type]


@given(st.text(max_size=60))
async def test_whatever_is_asked_for_only_contracts_and_typed_errors_come_out(text: str) -> None:
    async with directory(404) as (_, contracts):
        try:
            got = await contracts.resolve(text)
        except ContractError:
            return
    assert got.contract_id.startswith("CON.F.US.")
    assert Fraction(got.grid.num, got.grid.den) > 0
