"""`gateway.rest`: what the service lists, typed; its refusals, limits and lengths; storms of cancellation."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from fault_tools import config_for, open_sim
from scripted import Network, Request, Wire, open_network, token_no
from scripted import config_for as scripted_config

import trio_projectx as px
from trio_projectx import AuthError, ConfigError, ConnectError, ContractError, GatewayError, ProtocolError
from trio_projectx.connection.pacer import Lane

Call = Callable[[px.Rest], Awaitable[object]]
CALLS: dict[str, Call] = {
    "Contract/search": lambda rest: rest.contracts("ES"),
    "Contract/searchById": lambda rest: rest.contract("CON.F.US.EP.U26"),
    "Contract/available": lambda rest: rest.available_contracts(),
    "Account/search": lambda rest: rest.accounts(),
}


# Against the simulator


async def test_es_is_ep_and_never_mes(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        fuzzy = await gateway.rest.contracts("ES")
        assert {"CON.F.US.EP.U26", "CON.F.US.MES.U26"} <= {each.id for each in fuzzy}
        assert len(fuzzy) > 2
        found = [await gateway.rest.contract(name) for name in ("ES", "es", "EP", "CON.F.US.EP.U26")]
        assert len(set(found)) == 1
        assert attrs.asdict(found[0]) == {
            "id": "CON.F.US.EP.U26",
            "name": "ESU6",
            "description": found[0].description,
            "tick_size": 0.25,
            "tick_value": 12.5,
            "active": True,
        }
        assert (await gateway.rest.contract("MES")).id == "CON.F.US.MES.U26"
        assert not (await gateway.rest.contract("CON.F.US.EP.Z26")).active


@pytest.mark.parametrize("text", ["NOSUCH", "CON.F.US.ZZZZ.U26", "CON.F.US.EP", "../../x", "", "ES\0"])
async def test_what_nobody_knows_is_a_contract_error(autojump_clock: object, text: str) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        with pytest.raises(ContractError):
            await gateway.rest.contract(text)


async def test_lists_accounts_and_ping(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        available = await gateway.rest.available_contracts()
        assert len({each.id for each in available}) == len(available) > 40
        assert all(each.active and each.tick_size for each in available)
        assert await gateway.rest.available_contracts(live=True) == ()  # the wrong tier is an empty success
        accounts = await gateway.rest.accounts()
        assert [(each.name[:4], each.can_trade, each.simulated) for each in accounts] == [
            ("PRAC", True, True),
            ("50KT", True, True),
        ]
        assert set(accounts) <= set(await gateway.rest.accounts(active=False))
        await gateway.rest.ping()
        for bad in ("", "x" * 101):
            with pytest.raises(ConfigError):
                await gateway.rest.contracts(bad)


async def test_a_token_that_has_expired_is_renewed_once(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        source = gateway._parts.sites[0].tokens
        source._token = attrs.evolve(source._token, text=sim.mint_token(ttl_s=-5))  # type: ignore[arg-type]
        assert (await gateway.rest.contract("ES")).id == "CON.F.US.EP.U26"
        assert source.logins == 2


# Against a scripted service


Answer = Callable[[Wire, Request], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer, **changes: object) -> AsyncGenerator[tuple[Network, px.Gateway]]:
    """A gateway whose service lets it in, and then answers as scripted."""

    async def script(wire: Wire, request: Request) -> None:
        if request.path.startswith("/api/Auth/"):
            await network.log_in(wire, request)
        else:
            await answer(wire, request)

    async with open_network(rest=script) as network:
        async with px.open_gateway(scripted_config(network, **changes)) as gateway:
            yield network, gateway


@pytest.mark.parametrize("path", CALLS)
async def test_success_false_is_an_error_with_code_and_text(autojump_clock: object, path: str) -> None:
    async def no(wire: Wire, request: Request) -> None:
        assert request.path == f"/api/{path}"
        await wire.reply_json(success=False, errorCode=77, errorMessage=f"because\n{request.bearer}")

    async with answering(no) as (network, gateway):
        with pytest.raises(GatewayError) as caught:
            await CALLS[path](gateway.rest)
        assert type(caught.value) is GatewayError
        assert caught.value.code == 77
        assert (caught.value.text or "").startswith(r"because\n")
        assert token_no(1) not in repr(caught.value)
        assert len(network.requests) == 2  # the login and one question: it does not pass


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("status", "kind", "asked"), [(401, AuthError, 2), (403, AuthError, 1), (400, GatewayError, 1)]
)
async def test_statuses_that_do_not_pass(
    autojump_clock: object, path: str, status: int, kind: type[Exception], asked: int
) -> None:
    async def refuse(wire: Wire, request: Request) -> None:
        await wire.reply(status, b"no")

    async with answering(refuse) as (network, gateway):
        with pytest.raises(kind):
            await CALLS[path](gateway.rest)
        questions = [each for each in network.requests if not each.path.startswith("/api/Auth/")]
        assert len(questions) == asked


@pytest.mark.parametrize(("headers", "waited"), [((("Retry-After", "7"),), 7.0), ((), 1.0)])
async def test_429_is_waited_for_with_and_without_retry_after(
    autojump_clock: object, headers: tuple[tuple[str, str], ...], waited: float
) -> None:
    times: list[float] = []

    async def busy(wire: Wire, request: Request) -> None:
        times.append(trio.current_time())
        if len(times) == 1:
            await wire.reply(429, b"", *headers)
        else:
            await wire.reply_json(contracts=[])

    async with answering(busy) as (_, gateway):
        assert await gateway.rest.available_contracts() == ()
    assert times[1] - times[0] == waited


async def test_a_service_that_stays_busy_is_given_up_in_time(autojump_clock: object) -> None:
    async def busy(wire: Wire, request: Request) -> None:
        await wire.reply(429, b"", ("Retry-After", "3600"))

    async with answering(busy) as (_, gateway):
        start = trio.current_time()
        with pytest.raises(ConnectError, match="contracts: no answer within") as caught:
            await gateway.rest.available_contracts()
        assert trio.current_time() - start == 2 * px.Timeouts().rest_s
        assert isinstance(caught.value.__cause__, GatewayError)


@pytest.mark.parametrize("how", ["declared", "chunked"])
async def test_a_body_without_end_is_bounded(autojump_clock: object, how: str) -> None:
    sent = 0

    async def endless(wire: Wire, request: Request) -> None:
        nonlocal sent
        head = "Content-Length: 100000000" if how == "declared" else "Transfer-Encoding: chunked"
        await wire.stream.send_all(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        while True:
            await wire.stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")
            sent += 1024

    async with answering(endless, limits=px.Limits(rest_body_bytes=100_000)) as (_, gateway):
        with pytest.raises(ProtocolError, match="limit of 100000"):
            await gateway.rest.available_contracts()
    assert sent < 300_000


ODD = [
    {"contracts": []},
    {"contracts": [{"id": "CON.F.US.EP.U26", "name": None, "description": None}]},
    {"contracts": [{"id": "x\x1b[31m", "name": "\n" * 500, "tickSize": None, "unknown": [1]}]},
]


@pytest.mark.parametrize("fields", ODD, ids=str)
async def test_odd_answers_are_typed_all_the_same(autojump_clock: object, fields: dict) -> None:
    async def odd(wire: Wire, request: Request) -> None:
        await wire.reply_json(**fields)

    async with answering(odd) as (_, gateway):
        for found in await gateway.rest.available_contracts():
            assert (found.id + found.name + found.description).isprintable()
            assert len(found.name) <= 60
            assert (found.tick_size, found.active) == (None, False)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"contracts":[]}', b'{"success":true,"errorCode":0,"contracts":7}']
)
async def test_an_answer_that_is_none_is_a_protocol_error(autojump_clock: object, body: bytes) -> None:
    async def none(wire: Wire, request: Request) -> None:
        await wire.reply(200, body)

    async with answering(none) as (_, gateway):
        with pytest.raises(ProtocolError, match="the answer is not the Gateway's"):
            await gateway.rest.available_contracts()


async def test_the_other_contract_and_several_are_refused(autojump_clock: object) -> None:
    async def other(wire: Wire, request: Request) -> None:
        contract = {"id": "CON.F.US.MES.U26", "activeContract": True}
        again = {"id": "CON.F.US.EP.U26", "activeContract": True}
        both = [again, {**again, "id": "CON.F.US.EP.Z26"}]
        await wire.reply_json(contract=contract, contracts=[contract] if wants == 1 else both)

    async with answering(other) as (_, gateway):
        wants = 1
        with pytest.raises(
            ProtocolError, match=r"asked for CON\.F\.US\.EP\.U26 and described CON\.F\.US\.MES"
        ):
            await gateway.rest.contract("CON.F.US.EP.U26")
        with pytest.raises(ContractError, match="no active contract of EP"):
            await gateway.rest.contract("ES")
        wants = 2
        with pytest.raises(ContractError, match="several active contracts of EP"):
            await gateway.rest.contract("ES")


@pytest.mark.parametrize("where", ["waiting", "answered"])
async def test_storms_of_cancelled_calls_leave_pool_and_pacer_whole(
    autojump_clock: object, where: str
) -> None:
    """40 rounds of 12 cancelled calls, under the real limits: 480 of 200 in a minute; then a call works."""
    slow = True

    async def answer(wire: Wire, request: Request) -> None:
        if slow and where == "waiting":
            await trio.sleep_forever()
        if slow:
            await wire.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n{")
            await trio.sleep_forever()
        await wire.reply_json(contracts=[], accounts=[])

    async with answering(answer) as (network, gateway):
        pacer = gateway._parts.sites[0].rest._pacer
        assert pacer is not None
        for storm in range(40):
            with trio.move_on_after(0.01 * storm) as scope:
                async with trio.open_nursery() as nursery:
                    for call in list(CALLS.values()) * 3:
                        nursery.start_soon(call, gateway.rest)
            assert scope.cancelled_caught
            assert network.open_streams() <= 1  # that of the login, which was answered
            found = pacer.statistics(Lane.OTHER)
            assert found.waiting == 0
            assert found.used <= 200  # those that began count as asked: the service may have counted them
        slow = False
        start = trio.current_time()
        assert await gateway.rest.accounts() == ()
        assert trio.current_time() - start < 61  # when the window has room again, and not never
        statistics = pacer.statistics(Lane.OTHER)
        assert (statistics.waiting, statistics.refusals) == (0, 0)


async def test_asked_by_json_and_with_the_token_in_the_header_alone(autojump_clock: object) -> None:
    bodies: list[object] = []

    async def answer(wire: Wire, request: Request) -> None:
        bodies.append((request.target, json.loads(request.body or b"null"), request.bearer == token_no(1)))
        await (wire.reply(200, b"pong") if "ping" in request.path else wire.reply_json())

    async with answering(answer) as (_, gateway):
        await gateway.rest.contracts("ES", live=True)
        await gateway.rest.accounts(active=False)
        await gateway.rest.ping()
    assert bodies == [
        ("/api/Contract/search", {"searchText": "ES", "live": True}, True),
        ("/api/Account/search", {"onlyActiveAccounts": False}, True),
        ("/api/Status/ping", None, False),
    ]
