"""The facts of `gateway.health()`, gathered from what runs."""

from __future__ import annotations

import pytest
import trio
from hub_tools import EP, MNQ, ORDERS, TRADES, Service, jwt, open_bench, running
from scripted import Request, Wire
from trio.testing import MockClock

from trio_projectx import HubState, Reconnect
from trio_projectx.connection.checkup import hub_facts


async def unavailable(wire: Wire, request: Request) -> bool:
    await wire.reply(503)
    return True


async def test_a_hub_that_nothing_has_needed(autojump_clock: MockClock) -> None:
    async with running(Service()) as bench:
        await trio.sleep(100)
        facts = hub_facts(bench.hub)
        assert (facts.hub, facts.state, facts.since_s) == ("market", HubState.IDLE, pytest.approx(100))
        assert (facts.connections, facts.subscriptions, facts.outages, facts.attempts) == (0, 0, 0, 0)
        assert facts.next_attempt_s is facts.round_trip_s is facts.record_age_s is facts.data_age_s is None
        assert facts.bytes_per_s == facts.records_per_s == 0


async def test_a_hub_that_is_connecting(autojump_clock: MockClock) -> None:
    service = Service()
    service.at_upgrade = unavailable
    async with running(service, reconnect=Reconnect(at_start=True)) as bench:
        with trio.move_on_after(20):
            await bench.hub.subscribe(TRADES)
        bench.hub.wants.add(TRADES)
        facts = hub_facts(bench.hub)
        assert facts.state is HubState.CONNECTING
        assert facts.attempts >= 3
        assert facts.connections == 0
        assert facts.subscriptions == 1
        assert "HTTP 503" in facts.reason


async def test_a_hub_of_several_connections(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=Reconnect(redundant=True)) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(5)
        await service.publish(100)
        await trio.sleep(1)
        facts = hub_facts(bench.hub)
        assert (facts.connections, facts.outages, facts.attempts) == (2, 0, 0)
        assert facts.record_age_s == pytest.approx(1)
        assert facts.round_trip_s == pytest.approx(0)
        assert facts.records_per_s > 1
        assert facts.bytes_per_s > 100 * facts.records_per_s
        service.up[0].reset()
        await trio.sleep(0.001)
        assert hub_facts(bench.hub).outages == 0  # one of two is none


async def test_what_is_left_of_the_wait_is_told(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(40)
        service.at_upgrade = unavailable
        service.links[0].reset()
        told = False
        for _ in range(60):
            await trio.sleep(1)
            facts = hub_facts(bench.hub)
            assert facts.state is HubState.RECONNECTING
            assert facts.next_attempt_s is None or 0 <= facts.next_attempt_s <= 30
            told |= facts.next_attempt_s is not None
        assert told
        assert facts.since_s == pytest.approx(60)
        assert facts.outages == 1


async def test_a_hub_that_was_lost_for_good(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.user.subscribe(ORDERS)
        await service.links[0].close(error="no more")
        await trio.sleep(10)
        facts = hub_facts(bench.user)
        assert (facts.state, facts.connections, facts.attempts) == (HubState.CLOSED, 0, 0)
        assert facts.next_attempt_s is None
        assert "no more" in facts.reason


async def test_the_whole_of_it(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service, token=lambda number: jwt(number, 1000)) as bench:
        for _ in range(8):
            await trio.sleep(1)
            await service.publish(5)
        await trio.sleep(2)
        health = bench.gateway.health()
        assert health.market.state is HubState.LIVE
        assert health.market.status == "ok", health.market.reason
        assert health.market.data_age_s == pytest.approx(2)
        assert health.market.lag_ms is not None
        assert health.market.subscriptions == 1
        assert health.user.state is HubState.IDLE
        assert health.token.expires_in_s == pytest.approx(990)
        assert health.token.refreshed_ago_s == pytest.approx(10)
        assert health.token.last_error is None
        service.at_upgrade = unavailable
        service.links[0].reset()
        await trio.sleep(5)
        health = bench.gateway.health()
        assert (health.market.score, health.market.status) == (0, "down")
        assert "HTTP 503" in health.market.reason
        assert MNQ not in health.market.reason
        assert EP not in health.market.reason
        assert service.links[0].bearer not in repr(health)
