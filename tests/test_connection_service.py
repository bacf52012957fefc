"""REST over several endpoints: the one in use first, the others where it is not reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from scripted import MNQ, START_NS, Network, Request, Wire, config_for, open_network, open_sites, virtual_wall
from trio.testing import MockClock

from trio_projectx import AuthError, ConnectError, Endpoint, GatewayError
from trio_projectx.connection.service import Service
from trio_projectx.connection.sites import Site

THREE = tuple(
    Endpoint(f"http://rest{n}.test", f"http://hub{n}.test/hubs/market", f"http://hub{n}.test/hubs/user")
    for n in range(3)
)


@attrs.define
class Bench:
    network: Network
    service: Service
    down: set[str]

    @property
    def hosts(self) -> list[str]:
        """The hosts that were asked for, in order."""
        return [host for host, _, _ in self.network.asked]


@asynccontextmanager
async def running(rest: object = None) -> AsyncGenerator[Bench]:
    async with open_network(rest=rest) as network:  # type: ignore[arg-type]
        down: set[str] = set()

        async def connecting() -> None:
            await trio.lowlevel.checkpoint()
            if network.asked[-1][0] in down:
                raise ConnectionRefusedError(111, "refused")

        network.connecting = connecting
        async with open_sites(config_for(network, endpoints=THREE)) as sites:
            yield Bench(network, Service(sites, virtual_wall, 30.0), down)


async def test_the_first_is_asked_as_long_as_it_is_reached(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.service.log_in()
        await bench.service.log_in()
        assert bench.hosts == ["rest0.test"]
        assert [site.tokens.generation for site in bench.service.sites] == [1, 0, 0]


async def test_the_next_is_asked_where_one_is_not_reached_and_stays_in_use(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.down |= {"rest0.test", "rest1.test"}
        await bench.service.log_in()
        assert bench.hosts == ["rest0.test", "rest1.test", "rest2.test"]
        assert bench.service.sites.current == 2
        bench.down = {"rest2.test"}
        bench.network.asked.clear()
        asked: list[str] = []

        async def question(site: Site) -> int:
            asked.append(site.endpoint.rest_url)
            if site.endpoint.rest_url == "http://rest2.test":
                raise ConnectError("down")
            return 5

        assert await bench.service.ask(question) == 5
        assert asked == ["http://rest2.test", "http://rest0.test"]  # in a circle
        assert bench.service.sites.current == 0


async def test_where_none_is_reached_it_is_the_one_in_uses_error(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.service.sites.current = 1

        async def question(site: Site) -> None:
            raise ConnectError(site.endpoint.rest_url)

        with pytest.raises(ConnectError, match=r"rest1\.test"):
            await bench.service.ask(question)
        assert bench.service.sites.current == 1


@pytest.mark.parametrize("error", [AuthError("no"), GatewayError("no")])
async def test_a_no_is_not_asked_of_the_others(autojump_clock: MockClock, error: Exception) -> None:
    asked: list[Site] = []
    async with running() as bench:

        async def question(site: Site) -> None:
            asked.append(site)
            raise error

        with pytest.raises(type(error)):
            await bench.service.ask(question)
        assert len(asked) == 1
        assert bench.service.sites.current == 0


async def test_the_newest_bar_is_asked_for_with_the_token(autojump_clock: MockClock) -> None:
    async def rest(wire: Wire, request: Request) -> None:
        if request.path == "/api/History/retrieveBars":
            await wire.reply_json(bars=[])
        else:
            await wire.network.log_in(wire, request)

    async with running(rest) as bench:
        assert await bench.service.newest_bar_ns(MNQ, START_NS) is None
        (bars,) = [each for each in bench.network.requests if "History" in each.path]
        assert bars.bearer is not None
        assert MNQ.encode() in bars.body


@pytest.mark.parametrize(("failures", "found"), [(2, True), (3, False)])
async def test_a_contract_is_asked_for_three_times_where_that_may_help(
    autojump_clock: MockClock, failures: int, found: bool
) -> None:
    asked = 0

    async def rest(wire: Wire, request: Request) -> None:
        nonlocal asked
        if request.path != "/api/Contract/search":
            await wire.network.log_in(wire, request)
            return
        asked += 1
        if asked <= failures:
            await wire.reply(503)
        else:
            await wire.reply_json(contracts=[{"id": MNQ, "tickSize": 0.25, "activeContract": True}])

    async with running(rest) as bench:
        if found:
            assert (await bench.service.contract("MNQ")).contract_id == MNQ
        else:
            with pytest.raises(GatewayError, match="503"):
                await bench.service.contract("MNQ")
    assert asked == 3


async def test_a_contract_that_is_refused_is_asked_for_once(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    async def rest(wire: Wire, request: Request) -> None:
        asked.append(request.path)
        if request.path == "/api/Contract/search":
            await wire.reply(400)
        else:
            await wire.network.log_in(wire, request)

    async with running(rest) as bench:
        with pytest.raises(GatewayError, match="400"):
            await bench.service.contract("MNQ")
    assert asked.count("/api/Contract/search") == 1
