"""The connections of one hub: two for one, one for another when it is old, several for many contracts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio
from hub_tools import (
    EP,
    MNQ,
    ORDERS,
    QUOTES,
    TRADES,
    Bench,
    GatewayBench,
    Link,
    Service,
    check_rows,
    open_bench,
    running,
)
from scripted import Request, Wire, trade
from trio.testing import MockClock
from wsproto.events import Event, Pong

from trio_projectx import (
    ConnectionLost,
    ConnectionReplaced,
    HubState,
    HubStateChanged,
    Reconnect,
    ReplacementFailed,
    Timeouts,
)
from trio_projectx.flow.subscriptions import Kind, Subscription

REDUNDANT = Reconnect(redundant=True)
Kill = Callable[[Link], Awaitable[None]]


async def reset(link: Link) -> None:
    link.reset()
    await trio.lowlevel.checkpoint()


async def close(link: Link) -> None:
    await link.close(allowReconnect=True)


async def freeze(link: Link) -> None:
    """It stands, and brings nothing any more: half-open."""
    link.held.clear()

    async def nothing(*records: str) -> None:
        await trio.lowlevel.checkpoint()

    link.send = nothing  # type: ignore[method-assign]


def lagging(link: Link, seconds: float) -> None:
    """Let what is sent on it come so much later, in order."""
    send = link.send
    queue, waiting = trio.open_memory_channel[tuple[float, tuple[str, ...]]](10_000)

    async def later() -> None:
        async for due, records in waiting:
            await trio.sleep_until(due)
            await send(*records)

    async def enqueue(*records: str) -> None:
        await queue.send((trio.current_time() + seconds, records))

    link.wire.nursery.start_soon(later)
    link.send = enqueue  # type: ignore[method-assign]


def check_whole(bench: GatewayBench, service: Service) -> None:
    """Nothing lost, nothing doubled, in order, no gap."""
    assert bench.error is None
    assert bench.gaps == []
    start = service.rows.index(bench.rows[0])
    assert bench.rows == service.rows[start : start + len(bench.rows)]
    assert len(bench.rows) == len(service.rows) - start
    statistics = bench.gateway.statistics().market
    assert statistics.ledger.balanced
    (contract,) = statistics.contracts
    assert contract.rejected.total == 0
    assert contract.gaps == 0


async def settle(bench: GatewayBench) -> None:
    """Let everything that is on its way arrive."""
    await trio.sleep(4)


# Redundant mode: two connections for each subscription


async def test_there_are_two_once_the_first_is_live(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=REDUNDANT) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1)
        assert len(service.holding()) == 2
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]
        bench.hub.release(TRADES)
        await trio.sleep(1)
        assert service.holding() == []
        assert len(service.up) == 2


async def test_a_first_connection_that_fails_fails_once(autojump_clock: MockClock) -> None:
    service = Service()

    async def unavailable(wire: Wire, request: Request) -> bool:
        await wire.reply(503)
        return True

    service.at_upgrade = unavailable
    async with running(service, reconnect=REDUNDANT) as bench:
        with pytest.raises(Exception, match="503"):
            await bench.hub.subscribe(TRADES)
        assert len(service.attempts) == 1


@pytest.mark.parametrize("kill", [reset, close, freeze])
@pytest.mark.parametrize("which", [0, 1])
async def test_either_may_be_killed_and_nothing_is_missing(
    autojump_clock: MockClock, kill: Kill, which: int
) -> None:
    service = Service()
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(5)
                await kill(service.up[which])
                await trio.sleep(45)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)
        assert len(bench.rows) > 450
        assert len(service.holding()) == 2
        assert bench.hub.state is HubState.LIVE
        assert [state for _, state in bench.told.states()] == [
            "CONNECTING",
            "LIVE",
        ]  # it was live all the time


@pytest.mark.parametrize("seed", range(4))
async def test_one_after_the_other_at_any_time(autojump_clock: MockClock, seed: int) -> None:
    service, chance = Service(), random.Random(seed)
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market, 0.1)
                for _ in range(8):
                    while len(service.holding()) < 2:
                        await trio.sleep(0.1)
                    await trio.sleep(1 + 5 * chance.random())
                    await chance.choice([reset, close])(chance.choice(service.up))
                    await trio.sleep(0.3)  # the service has seen it, too
                await trio.sleep(1)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)
        assert len(service.links) >= 9


@pytest.mark.parametrize("lag_s", [0.02, 0.4, 0.9])
@pytest.mark.parametrize("kills_the_quick", [True, False])
async def test_one_that_lags_behind_is_merged_all_the_same(
    autojump_clock: MockClock, lag_s: float, kills_the_quick: bool
) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number == 1:
            lagging(link, lag_s)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(20)
                quick, slow = service.up
                await reset(quick if kills_the_quick else slow)
                await trio.sleep(20)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)


async def test_one_that_lags_for_longer_than_is_waited_for_may_cost_a_gap_but_no_trade(
    autojump_clock: MockClock,
) -> None:
    """Whether it is dead, or only late, cannot be known before it is given up: what is told is the worse of both."""
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number == 1:
            lagging(link, 2.5)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(20)
                await reset(service.up[0])
                await trio.sleep(20)
                trading.cancel()
        await settle(bench)
        check_rows(bench, service)
        assert sorted(bench.rows) == service.rows[service.rows.index(bench.rows[0]) :]
        assert len(bench.gaps) <= 1


async def test_both_at_once_is_a_gap(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(40)
                for link in service.up:
                    link.reset()
                await trio.sleep(10)
                trading.cancel()
        await settle(bench)
        assert len(bench.gaps) == 1
        check_rows(bench, service)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]


async def test_a_second_one_that_is_refused_is_told_and_tried_later(autojump_clock: MockClock) -> None:
    """The first one goes on; what was asked for, and is not had, is told each time."""
    service = Service()

    async def only_one(wire: Wire, request: Request) -> bool:
        if service.up:
            await wire.reply(403, b"one is enough")
        return bool(service.up)

    service.at_upgrade = only_one
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(100)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)
        failures = [each for each in bench.told.of(ReplacementFailed) if isinstance(each, ReplacementFailed)]
        assert 3 <= len(failures) <= 5
        assert failures[0].cause == "a second connection"
        assert "one is enough" in failures[0].reason
        assert failures[0].retry_in_s == pytest.approx(30)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]


async def test_in_a_quiet_market_the_second_is_level_after_a_second(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service, reconnect=REDUNDANT) as bench:
        await trio.sleep(3)
        await reset(service.up[0])  # no trade has ever shown that the other one is level
        await trio.sleep(3)
        await service.publish(3)
        await settle(bench)
        check_whole(bench, service)
        assert len(bench.rows) == 3


# Old connections


async def test_an_old_connection_is_replaced_before_it_goes(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service, reconnect=Reconnect(max_connection_age_s=20)) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market, 0.1)
                await trio.sleep(200)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)
        replaced = [
            each for each in bench.told.of(ConnectionReplaced) if isinstance(each, ConnectionReplaced)
        ]
        assert 9 <= len(replaced) <= 12  # by up to a tenth earlier, each
        assert all(each.overlapped and each.cause == "the age of the connection" for each in replaced)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]
        assert service.most_up() == 2
        ages = [link.gone_at - link.opened_at for link in service.links if link.gone_at is not None]
        assert all(17.9 <= age <= 22 for age in ages)
        assert len(set(ages)) > len(ages) / 2


async def test_in_a_quiet_market_too(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service, reconnect=Reconnect(max_connection_age_s=20)) as bench:
        await service.publish()
        await trio.sleep(100)
        await service.publish()
        await settle(bench)
        check_whole(bench, service)
        assert len(service.links) >= 5


async def test_old_ones_are_replaced_in_redundant_mode_too(autojump_clock: MockClock) -> None:
    service = Service()
    reconnect = Reconnect(redundant=True, max_connection_age_s=20)
    async with open_bench(service, reconnect=reconnect) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market, 0.1)
                await trio.sleep(100)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)
        assert len(service.links) >= 10
        assert len(service.holding()) == 2


# Many contracts


def trades_of(number: int) -> Subscription:
    return Subscription(Kind.TRADES, f"CON.F.US.C{number}.U26")


def holdings(service: Service) -> Counter[object]:
    return Counter(subject for link in service.up for _, subject in link.held)


SPREAD = Reconnect(contracts_per_connection=2, connections_max=3, connect_burst=10)


async def spread(bench: Bench, contracts: int) -> None:
    for number in range(contracts):
        await bench.hub.subscribe(trades_of(number))
    await trio.sleep(1)


async def test_contracts_are_spread_over_connections(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=SPREAD) as bench:
        await spread(bench, 8)
        assert [len(link.held) for link in service.up] == [3, 3, 2]
        assert set(holdings(service).values()) == {1}
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]  # more is no outage
        await bench.hub.subscribe(Subscription(Kind.QUOTES, "CON.F.US.C0.U26"))
        assert ("ContractQuotes", "CON.F.US.C0.U26") in service.up[0].held
        for number in range(8):
            bench.hub.release(trades_of(number))
        await trio.sleep(1)
        assert [len(link.held) for link in service.up] == [1, 0, 0]
        assert bench.hub.state is HubState.LIVE


async def test_one_of_several_that_is_lost_is_an_outage_of_its_contracts_only(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with running(service, reconnect=SPREAD) as bench:
        await spread(bench, 6)
        noted = len(bench.sink.noted)
        service.up[1].reset()
        await trio.sleep(1)
        assert [state for _, state in bench.told.states()][2:] == ["RECONNECTING", "LIVE"]
        assert {each.subject for _, _, each in bench.sink.noted[noted:]} == {
            "CON.F.US.C2.U26",
            "CON.F.US.C3.U26",
        }
        assert set(holdings(service).values()) == {1}


async def test_contracts_of_one_that_stays_down_move_to_the_others(autojump_clock: MockClock) -> None:
    service = Service()
    up = 3

    async def no_more(wire: Wire, request: Request) -> bool:
        if len(service.up) >= up:
            await wire.reply(503)
            return True
        return False

    async with running(service, reconnect=SPREAD) as bench:
        await spread(bench, 6)
        up = 2
        service.at_upgrade = no_more
        service.up[1].reset()
        await trio.sleep(9)
        assert bench.hub.state is HubState.RECONNECTING
        await trio.sleep(10)
        assert bench.hub.state is HubState.LIVE  # nothing is missing, though one connection is
        assert set(holdings(service).values()) == {1}
        assert len(holdings(service)) == 6
        assert [len(link.held) for link in service.up] in ([4, 2], [2, 4])
        up = 3
        await trio.sleep(60)
        assert len(service.up) == 3
        await bench.hub.subscribe(trades_of(6))  # where there are the fewest
        await trio.sleep(1)
        assert sorted(len(link.held) for link in service.up) == [1, 2, 4]


def slow_pongs(link: Link, seconds: float) -> None:
    send = link.hub.ws._send

    async def delayed(event: Event) -> None:
        if isinstance(event, Pong):
            await trio.sleep(seconds)
        await send(event)

    link.hub.ws._send = delayed  # type: ignore[method-assign]


async def test_a_slow_connection_gives_its_contracts_away_without_a_gap(autojump_clock: MockClock) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number == 0:
            slow_pongs(link, 3)
            lagging(link, 0.5)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    reconnect = Reconnect(contracts_per_connection=1, connections_max=2)
    async with open_bench(service, reconnect=reconnect) as bench, bench.gateway.open_trades(EP):
        assert [sorted(subject for _, subject in link.held) for link in service.up] == [[MNQ], [EP]]  # type: ignore[type-var]
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                nursery.start_soon(service.market, 1.0, EP)
                await trio.sleep(60)
                trading.cancel()
        await settle(bench)
        assert [len(link.held) for link in service.up] == [0, 2]
        assert bench.gaps == []
        assert bench.rows == service.rows[service.rows.index(bench.rows[0]) :]
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]


async def test_what_another_connection_is_refused_stays_where_it_is(autojump_clock: MockClock) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number == 0:
            slow_pongs(link, 3)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    reconnect = Reconnect(contracts_per_connection=1, connections_max=2)
    async with running(service, reconnect=reconnect) as bench:
        await spread(bench, 2)
        service.refuse["CON.F.US.C0.U26"] = "one contract each"
        await trio.sleep(100)
        assert set(holdings(service).values()) == {1}
        assert bench.sink.refused == []
        assert bench.hub.state is HubState.LIVE
        refused = [call for call in service.up[1].calls if call[2] == "CON.F.US.C0.U26"]
        assert 1 <= len(refused) <= 100 / 5
        service.refuse.clear()
        await trio.sleep(10)
        assert [len(link.held) for link in service.up] == [0, 2]


async def test_what_is_released_while_it_moves_is_on_none(autojump_clock: MockClock) -> None:
    service = Service()

    async def at_open(link: Link) -> None:
        if link.number == 0:
            slow_pongs(link, 3)
        await trio.lowlevel.checkpoint()

    service.at_open = at_open
    reconnect = Reconnect(contracts_per_connection=1, connections_max=2)
    async with running(service, reconnect=reconnect, timeouts=Timeouts(overlap_s=10)) as bench:
        await spread(bench, 2)
        while holdings(service)["CON.F.US.C0.U26"] < 2:
            await trio.sleep(0.1)
        bench.hub.release(trades_of(0))
        await trio.sleep(60)
        assert holdings(service) == {"CON.F.US.C1.U26": 1}


# What the hub asks of its connections


async def test_a_dead_contract_costs_the_connections_that_should_bring_it(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=SPREAD) as bench:
        await spread(bench, 4)
        first, second = service.up
        bench.hub.keeper.fail("CON.F.US.C3.U26", ConnectionLost("market hub: no data of it"))
        await trio.sleep(1)
        assert (first.is_up, second.is_up) == (True, False)
        assert bench.hub.state is HubState.LIVE
        changes = [each for each in bench.told.of(HubStateChanged) if isinstance(each, HubStateChanged)]
        assert "no data of it" in changes[2].reason


async def test_who_wants_a_proof_gets_it_of_each_connection(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=REDUNDANT) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(3)
        bench.hub.keeper.prove(4.0)
        await trio.sleep(1.5)
        assert all(line.epoch.liveness.proved_until > 4 for line in bench.hub.lines)  # type: ignore[union-attr]


async def test_doubtful_connections_are_replaced_the_new_ones_first(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service) as bench:
        with trio.CancelScope() as trading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.market)
                await trio.sleep(5)
                bench.hub.keeper.replace_doubtful("it seems dead")
                bench.hub.look()
                await trio.sleep(5)
                trading.cancel()
        await settle(bench)
        check_whole(bench, service)  # trades have shown that both live: nothing is missing
        (replaced,) = bench.told.of(ConnectionReplaced)
        assert isinstance(replaced, ConnectionReplaced)
        assert (replaced.overlapped, replaced.cause) == (True, "it seems dead")
        assert len(service.up) == 1


async def test_where_no_trade_shows_that_the_doubtful_one_lived_there_is_a_gap(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with open_bench(service) as bench:
        await service.publish(2)
        await freeze(service.up[0])
        await service.publish(3)  # nobody brings them
        await trio.sleep(1)
        bench.hub.keeper.replace_doubtful("it seems dead")
        bench.hub.look()
        await trio.sleep(5)
        await service.publish(2)
        await settle(bench)
        assert bench.rows == service.rows[:2] + service.rows[-2:]
        assert len(bench.gaps) == 1
        check_rows(bench, service)
        (replaced,) = bench.told.of(ConnectionReplaced)
        assert isinstance(replaced, ConnectionReplaced)
        assert not replaced.overlapped


async def test_kinds_of_both_hubs_are_kept_apart(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service, reconnect=REDUNDANT) as bench:
        await bench.hub.subscribe(TRADES)
        await bench.hub.subscribe(QUOTES)
        await bench.user.subscribe(ORDERS)
        await trio.sleep(1)
        assert sorted(len(link.held) for link in service.up) == [1, 1, 2, 2]
        await service.up[0].send(trade(1.0))
        await trio.sleep(1)
        assert (bench.sink.prices(), bench.user_sink.prices()) == ([1.0], [])
