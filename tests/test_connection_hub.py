"""The hub: one connection and one subscription for all who want the same."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from scripted import (
    MNQ,
    PING,
    Hub,
    Network,
    Request,
    Script,
    Wire,
    completion,
    config_for,
    open_network,
    open_service,
    record,
    trade,
)
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectionLost,
    Gateway,
    SubscriptionError,
    Timeouts,
    open_gateway,
)
from trio_projectx.connection.hub import Kind, MarketHub, Subscription
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.pipeline import MarketPipeline

TRADES = Subscription(Kind.TRADES, MNQ)
QUOTES = Subscription(Kind.QUOTES, MNQ)
OTHER = Subscription(Kind.TRADES, "CON.F.US.EP.U26")


@attrs.define(eq=False)
class Bench:
    network: Network
    hub: MarketHub


@asynccontextmanager
async def running(script: Script, **changes: object) -> AsyncGenerator[Bench]:
    async with open_network(script) as network, open_service(config_for(network, **changes)) as service:
        async with open_background_tasks("gateway") as tasks:
            market = MarketPipeline(service.config.limits, tasks)
            hub = MarketHub(service.address, service.tokens, service.config, market, tasks)
            yield Bench(network, hub)


@asynccontextmanager
async def whole_gateway(script: Script) -> AsyncGenerator[Gateway]:
    async with open_network(script) as network, open_gateway(config_for(network)) as gateway:
        yield gateway


class Calls:
    """A hub that completes each call after ``delay_s``, and notes them; of each connection the subscriptions held."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.targets: list[str] = []
        self.held: list[list[tuple[str, str]]] = []
        self.refuse: set[str] = set()
        self.ignore: set[str] = set()
        self.hubs: list[Hub] = []

    async def __call__(self, wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        self.hubs.append(hub)
        self.held.append([])
        wire.nursery.start_soon(self.ping, hub)
        while True:
            call_id, target, (contract,) = await hub.call()
            assert isinstance(contract, str)
            self.targets.append(target)
            await trio.sleep(self.delay_s)
            if contract in self.ignore:
                continue
            self.note(target, contract)
            await hub.send(completion(call_id, error="not for you" if contract in self.refuse else None))

    async def ping(self, hub: Hub) -> None:
        while True:
            await trio.sleep(10)
            await hub.send(PING)

    def note(self, target: str, contract: str) -> None:
        verb, kind = target.split("Contract")
        if contract in self.refuse:
            return
        if verb == "Subscribe":
            self.held[-1].append((kind, contract))
        else:
            self.held[-1].remove((kind, contract))


def test_what_a_subscription_is_called() -> None:
    assert (TRADES.subscribe, TRADES.unsubscribe) == ("SubscribeContractTrades", "UnsubscribeContractTrades")
    assert (QUOTES.subscribe, QUOTES.unsubscribe) == ("SubscribeContractQuotes", "UnsubscribeContractQuotes")


async def test_all_who_come_share_one_connection_and_one_call(autojump_clock: MockClock) -> None:
    calls = Calls(delay_s=1)
    async with running(calls) as bench:
        assert not bench.hub.is_live
        assert bench.network.requests == []  # it connects when somebody needs it
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bench.hub.subscribe, TRADES)
        await bench.hub.subscribe(TRADES)
        assert calls.targets == ["SubscribeContractTrades"]
        assert (bench.hub.connects, len(bench.network.upgrades), bench.network.logins) == (1, 1, 1)
        assert bench.hub.is_live
        assert bench.hub.round_trip_s == pytest.approx(0)
        for left in reversed(range(21)):
            assert calls.targets == ["SubscribeContractTrades"], left
            bench.hub.release(TRADES)
            await trio.sleep(2)
        assert calls.targets == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        assert calls.held == [[]]


async def test_kinds_and_contracts_are_subscribed_each_for_itself(autojump_clock: MockClock) -> None:
    calls = Calls()
    async with running(calls) as bench:
        for wanted in (TRADES, QUOTES, OTHER):
            await bench.hub.subscribe(wanted)
        bench.hub.release(QUOTES)
        await trio.sleep(1)
        assert calls.held == [[("Trades", MNQ), ("Trades", OTHER.contract_id)]]


async def test_a_refusal_is_for_its_callers_only(autojump_clock: MockClock) -> None:
    calls = Calls(delay_s=1)
    calls.refuse.add(OTHER.contract_id)
    errors: list[SubscriptionError] = []
    async with running(calls) as bench:
        await bench.hub.subscribe(TRADES)

        async def refused() -> None:
            with pytest.raises(SubscriptionError, match="not for you") as raised:
                await bench.hub.subscribe(OTHER)
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            nursery.start_soon(refused)
        assert errors[0] is not errors[1]
        assert bench.hub.is_live
        assert calls.held == [[("Trades", MNQ)]]
        # Nothing is left to end, and the next one is asked anew.
        calls.refuse.clear()
        await bench.hub.subscribe(OTHER)
        assert calls.targets == ["SubscribeContractTrades"] * 3


async def test_one_that_is_never_completed_fails_in_time_and_is_ended(autojump_clock: MockClock) -> None:
    calls = Calls()
    calls.ignore.add(MNQ)
    async with running(calls) as bench:
        await bench.hub.subscribe(OTHER)
        with pytest.raises(SubscriptionError, match="within 15 s"):
            await bench.hub.subscribe(TRADES)
        assert trio.current_time() == pytest.approx(15)
        await trio.sleep(1)
        assert calls.targets[1:] == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        calls.ignore.clear()
        await bench.hub.subscribe(TRADES)
        assert ("Trades", MNQ) in calls.held[0]


async def test_cancelled_while_subscribing_it_is_ended(autojump_clock: MockClock) -> None:
    calls = Calls(delay_s=5)
    async with running(calls) as bench:
        with trio.move_on_after(3):
            await bench.hub.subscribe(TRADES)
        await trio.sleep(20)
        assert calls.targets == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        assert calls.held == [[]]
        assert bench.hub.is_live


async def test_cancelled_while_connecting_it_fails_nobody_else(autojump_clock: MockClock) -> None:
    calls = Calls()

    async def slow() -> None:
        await trio.sleep(2)

    async with running(calls) as bench:
        bench.network.connecting = slow

        async def impatient() -> None:
            with trio.move_on_after(1):
                await bench.hub.subscribe(TRADES)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            await trio.sleep(0.5)
            nursery.start_soon(bench.hub.subscribe, QUOTES)
        assert calls.targets == ["SubscribeContractQuotes"]
        assert bench.hub.connects == 1


async def test_released_and_wanted_again_at_once_it_stays(autojump_clock: MockClock) -> None:
    calls = Calls()
    async with running(calls) as bench:
        for _ in range(3):
            await bench.hub.subscribe(TRADES)
            bench.hub.release(TRADES)
        await bench.hub.subscribe(TRADES)
        assert calls.held == [[("Trades", MNQ)]]


async def test_a_failed_attempt_reaches_everyone_and_the_next_one_connects_anew(
    autojump_clock: MockClock,
) -> None:
    calls = Calls()
    refused = True

    async def script(wire: Wire, request: Request) -> None:
        if refused:
            await wire.reply(403)
        else:
            await calls(wire, request)

    async with running(script) as bench:
        errors: list[Exception] = []

        async def subscribe() -> None:
            with pytest.raises(AuthError) as raised:
                await bench.hub.subscribe(TRADES)
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(subscribe)
        assert len({id(error) for error in errors}) == 5
        assert bench.hub.connects == 1
        refused = False
        await bench.hub.subscribe(TRADES)
        assert bench.hub.connects == 2
        assert calls.held == [[("Trades", MNQ)]]


async def test_a_loss_reaches_the_streams_that_were_open_and_the_next_one_connects_anew(
    autojump_clock: MockClock,
) -> None:
    calls = Calls()
    async with whole_gateway(calls) as gateway, AsyncExitStack() as old_user:
        old = await old_user.enter_async_context(gateway.open_trades(MNQ))
        await calls.hubs[0].send(trade(100.0), record(type=7, allowReconnect=True))
        assert (await old.receive()).price == 100.0
        with pytest.raises(ConnectionLost, match="the hub closed the connection"):
            await old.receive()
        async with gateway.open_trades(MNQ) as new:
            await old_user.aclose()  # the old one's user leaves late; the new one's subscription stays
            await trio.sleep(1)
            await calls.hubs[1].send(trade(101.0))
            assert (await new.receive()).price == 101.0
            assert calls.held == [[("Trades", MNQ)], [("Trades", MNQ)]]
            assert calls.targets == ["SubscribeContractTrades"] * 2
        with pytest.raises((ConnectionLost, trio.ClosedResourceError)):
            await old.receive()


async def test_opened_again_at_the_very_moment_of_a_loss_it_is_not_lost_too(
    autojump_clock: MockClock,
) -> None:
    """A call that was pending fails in the same instant; whoever tries again at once gets a new connection."""
    for _ in range(20):  # trio shuffles what is due together
        calls = Calls()
        calls.ignore.add(MNQ)

        async def lose(calls: Calls = calls) -> None:
            await trio.sleep(5)
            calls.ignore.clear()
            await calls.hubs[0].send(record(type=7))

        async with whole_gateway(calls) as gateway, trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            with pytest.raises(ConnectionLost):
                async with gateway.open_trades(MNQ):
                    pass
            async with gateway.open_trades(MNQ) as stream:
                assert gateway.statistics().connects == 2
                await calls.hubs[1].send(trade(2.0))
                assert (await stream.receive()).price == 2.0


async def test_a_dead_connection_is_told_before_it_is_closed(autojump_clock: MockClock) -> None:
    """A silent peer answers no closing handshake either: streams do not wait for it."""

    async def silent(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        call_id, _, _ = await hub.call()
        await hub.send(completion(call_id))
        await trio.sleep_forever()

    async with whole_gateway(silent) as gateway, gateway.open_trades(MNQ) as stream:
        with pytest.raises(ConnectionLost, match="no record for 30 s"):
            await stream.receive()
        assert trio.current_time() == pytest.approx(30)
        assert not gateway.statistics().is_live
        assert gateway.statistics().round_trip_s is None


async def test_a_pending_subscription_does_not_wait_for_the_closing_either(autojump_clock: MockClock) -> None:
    async def silent(wire: Wire, request: Request) -> None:
        await (await wire.accept()).shake()
        await trio.sleep_forever()

    async with running(silent, timeouts=Timeouts(server_s=10)) as bench:
        with pytest.raises(ConnectionLost, match="no record for 10 s"):
            await bench.hub.subscribe(TRADES)
        assert trio.current_time() == pytest.approx(10)


async def test_who_comes_at_the_instant_of_a_loss_is_told_or_served(autojump_clock: MockClock) -> None:
    """Never both: a stream on a new connection does not break with the old one."""
    told = 0
    for _ in range(30):  # trio shuffles what is due together
        calls = Calls()
        async with whole_gateway(calls) as gateway, gateway.open_trades(MNQ):
            epoch = await gateway._hub.live()
            await calls.hubs[0].send(record(type=7))
            await epoch.over.wait()
            try:
                async with gateway.open_trades(MNQ) as stream:
                    await calls.hubs[1].send(trade(2.0))
                    assert (await stream.receive()).price == 2.0
            except ConnectionLost:
                told += 1
                assert gateway.statistics().connects == 1
    assert 0 < told < 30


async def test_who_comes_at_the_instant_of_a_refusal_is_asked_for_anew(autojump_clock: MockClock) -> None:
    for _ in range(30):
        calls = Calls(delay_s=1)
        calls.refuse.add(MNQ)
        async with running(calls) as bench:

            async def refused(bench: Bench = bench) -> None:
                with pytest.raises(SubscriptionError):
                    await bench.hub.subscribe(TRADES)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(refused)
                nursery.start_soon(refused)
                await trio.sleep(0.5)
                await bench.hub._asked[TRADES].done.wait()
                calls.refuse.clear()
                await bench.hub.subscribe(TRADES)
            assert calls.targets == ["SubscribeContractTrades"] * 2
            assert calls.held == [[("Trades", MNQ)]]


async def test_released_while_the_connection_closes_nothing_is_sent(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        call_id, _, _ = await hub.call()
        await hub.send(completion(call_id), record(type=7))
        await trio.sleep_forever()  # and never ends the WebSocket

    async with running(script) as bench:
        await bench.hub.subscribe(TRADES)
        for _ in range(60):
            bench.hub.release(TRADES)
            bench.hub._users[TRADES] += 1
            await trio.sleep(0.1)
        assert not bench.hub.is_live


async def test_an_attempt_is_bounded(autojump_clock: MockClock) -> None:
    async def hang(wire: Wire, request: Request) -> None:
        await trio.sleep_forever()

    async with running(hang, timeouts=Timeouts(connect_s=4)) as bench:
        with pytest.raises(ConnectError, match="within 4 s"):
            await bench.hub.live()
        assert trio.current_time() == pytest.approx(4)


async def test_a_storm_of_subscriptions_ends_as_the_last_wish_was(autojump_clock: MockClock) -> None:
    calls = Calls()
    chance = random.Random(7)
    contracts = [Subscription(Kind.TRADES, f"CON.F.US.MNQ.{month}26") for month in "HMUZ"]
    async with running(calls) as bench:

        async def user(wanted: Subscription, stays: float) -> None:
            with trio.move_on_after(stays * 2):
                await bench.hub.subscribe(wanted)
                try:
                    await trio.sleep(stays)
                finally:
                    bench.hub.release(wanted)

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(user, chance.choice(contracts), chance.random() * 0.1)
                if chance.random() < 0.2:
                    await trio.sleep(0.01)
            await bench.hub.subscribe(contracts[0])
        await trio.sleep(1)
        assert calls.held == [[("Trades", contracts[0].contract_id)]]
        assert bench.hub.connects == 1
        assert dict(bench.hub._users) == {contracts[0]: 1}


async def test_after_the_gateway_was_closed_it_says_so(autojump_clock: MockClock) -> None:
    async with running(Calls()) as bench:
        hub = bench.hub
        await hub.subscribe(TRADES)
    for _ in range(2):
        with trio.fail_after(60), pytest.raises(trio.ClosedResourceError, match="the gateway was closed"):
            await hub.live()


async def test_cancelled_while_connecting_the_gateway_leaves_nothing(autojump_clock: MockClock) -> None:
    for delay_s in (0.0, 0.001, 0.5, 1.0, 1.5, 2.0):

        async def slow() -> None:
            await trio.sleep(1)

        with trio.move_on_after(delay_s):
            async with running(Calls(delay_s=1)) as bench:
                bench.network.connecting = slow
                await bench.hub.subscribe(TRADES)
                await trio.sleep_forever()
