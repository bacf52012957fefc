"""The hub: what streams declare, how it stands, and who is told."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack

import pytest
import trio
from hub_tools import EP, MNQ, ORDERS, OTHER, QUOTES, TRADES, Link, Service, open_bench, running
from scripted import START_NS, Request, Wire, completion, config_for, open_network, record, trade
from trio.testing import MockClock

from trio_projectx import (
    AuthError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Gap,
    HubState,
    HubStateChanged,
    Reconnect,
    SubscriptionError,
    SubscriptionRefused,
    Timeouts,
    TrioProjectXError,
    open_gateway,
)
from trio_projectx.connection.checkup import hub_facts
from trio_projectx.connection.hub import Hub as ClientHub
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.market import Decoded


async def forbid(wire: Wire, request: Request) -> bool:
    await wire.reply(403, b"not you")
    return True


async def unavailable(wire: Wire, request: Request) -> bool:
    await wire.reply(503)
    return True


# Who wants the same shares it


async def test_all_who_come_share_one_connection_and_one_call(autojump_clock: MockClock) -> None:
    service = Service()
    service.delay_s = 1
    async with running(service) as bench:
        assert not bench.hub.is_live
        assert bench.network.requests == []  # it connects when somebody needs it
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bench.hub.subscribe, TRADES)
        await bench.hub.subscribe(TRADES)
        assert service.targets == ["SubscribeContractTrades"]
        assert (bench.connects, len(bench.network.upgrades), bench.network.logins) == (1, 1, 1)
        assert bench.hub.is_live
        assert hub_facts(bench.hub).round_trip_s == pytest.approx(0)
        for left in reversed(range(21)):
            assert service.targets == ["SubscribeContractTrades"], left
            bench.hub.release(TRADES)
            await trio.sleep(2)
        assert service.targets == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        assert service.links[0].held == set()


async def test_kinds_and_contracts_are_subscribed_each_for_itself(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        for wanted in (TRADES, QUOTES, OTHER):
            await bench.hub.subscribe(wanted)
        bench.hub.release(QUOTES)
        await trio.sleep(1)
        assert service.links[0].held == {("ContractTrades", MNQ), ("ContractTrades", EP)}


async def test_an_unsubscription_is_invoked_and_answered(autojump_clock: MockClock) -> None:
    """So that a server that is slow has one call of a subscription at a time, and the last wish is the last call."""
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        bench.hub.release(TRADES)
        await trio.sleep(1)
        calls = [each for each in service.links[0].hub.seen if each["type"] == 1]
        assert [each["target"] for each in calls] == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        assert len({each["invocationId"] for each in calls}) == 2


async def test_where_it_was_acknowledged_among_the_data_is_known(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        first, _, _ = await hub.call()
        await hub.send(trade(1.0))
        await hub.send(trade(2.0), completion(first))
        second, _, _ = await hub.call()
        await hub.send(trade(3.0))
        await hub.send(completion(second), trade(4.0))
        await hub.until_gone()

    async with running(script) as bench:
        first = await bench.hub.subscribe(TRADES)
        second = await bench.hub.subscribe(QUOTES)
        assert [bench.sink.prices()[:first], second] == [[1.0, 2.0], 3]
        assert await bench.hub.subscribe(TRADES) == first


# Refusals


async def test_a_refusal_is_for_its_callers_only(autojump_clock: MockClock) -> None:
    service = Service()
    service.delay_s = 1
    service.refuse[EP] = "not for\nyou"
    errors: list[SubscriptionError] = []
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)

        async def refused() -> None:
            with pytest.raises(SubscriptionError, match=r"not for\\nyou") as raised:
                await bench.hub.subscribe(OTHER)
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            nursery.start_soon(refused)
        assert errors[0] is not errors[1]
        assert errors[0].text == r"not for\nyou"
        assert bench.hub.is_live
        assert service.links[0].held == {("ContractTrades", MNQ)}
        (told,) = bench.told.of(SubscriptionRefused)
        assert isinstance(told, SubscriptionRefused)
        assert (told.hub, told.subscription) == ("market", f"ContractTrades of {EP}")
        # Nothing is left to end, and the next one is asked anew.
        service.refuse.clear()
        await bench.hub.subscribe(OTHER)
        assert service.targets == ["SubscribeContractTrades"] * 3
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]


async def test_who_is_refused_may_try_again_at_once(autojump_clock: MockClock) -> None:
    """In the very step in which the refusal was raised: nothing of it has been withdrawn anywhere yet."""
    service = Service()
    service.refuse[MNQ] = "later"
    async with running(service) as bench:
        for _ in range(3):
            with pytest.raises(SubscriptionError):
                await bench.hub.subscribe(TRADES)
        service.refuse.clear()
        await bench.hub.subscribe(TRADES)
        assert trio.current_time() < 1
        assert service.links[0].held == {("ContractTrades", MNQ)}


async def test_who_comes_at_the_instant_of_a_refusal_is_told_or_served(autojump_clock: MockClock) -> None:
    """It shares the call that was under way when it came; nobody hangs, and whoever asks again is asked for anew."""
    for _ in range(30):
        service = Service()
        service.delay_s = 1
        service.refuse[MNQ] = "no"
        outcomes: list[bool] = []
        began = trio.current_time()
        async with running(service) as bench:

            async def ask(hub: ClientHub[Decoded] = bench.hub, outcomes: list[bool] = outcomes) -> None:
                try:
                    await hub.subscribe(TRADES)
                    outcomes.append(True)
                except SubscriptionError:
                    outcomes.append(False)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                nursery.start_soon(ask)
                await trio.sleep(0.5)
                call = bench.hub.lines[0].cells.get(TRADES).call  # type: ignore[union-attr]
                await call.done.wait()  # type: ignore[union-attr]
                service.refuse.clear()
                await ask()
            assert trio.current_time() - began <= 2.1
            assert len(outcomes) == 3
            if not outcomes[-1]:
                await bench.hub.subscribe(TRADES)
            assert service.links[0].held == {("ContractTrades", MNQ)}
            assert service.targets.count("SubscribeContractTrades") == 2


async def test_refused_after_a_reconnect_its_streams_break_and_no_others(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        for wanted in (TRADES, OTHER):
            await bench.hub.subscribe(wanted)
        service.refuse[EP] = "delisted"
        service.links[0].reset()
        await trio.sleep(1)
        ((wanted, error),) = bench.sink.refused
        assert (wanted, error.text) == (OTHER, "delisted")
        assert bench.hub.state is HubState.LIVE
        assert service.links[1].held == {("ContractTrades", MNQ)}
        assert len(bench.told.of(SubscriptionRefused)) == 1
        bench.hub.release(OTHER)  # as its streams do now
        await trio.sleep(1)
        assert bench.hub.state is HubState.LIVE
        assert service.targets[2:] == ["SubscribeContractTrades"] * 2  # there is nothing to end


async def test_refused_streams_get_a_typed_error_of_their_own(autojump_clock: MockClock) -> None:
    """The same, seen from the streams of a whole gateway."""
    service = Service()
    async with open_bench(service) as bench, AsyncExitStack() as stack:
        quotes = await stack.enter_async_context(bench.gateway.open_quotes(MNQ))
        bars = await stack.enter_async_context(bench.gateway.open_bars(EP, "1m"))
        service.refuse[EP] = "delisted"
        service.links[0].reset()
        with pytest.raises(SubscriptionError, match="delisted"):
            await bars.receive()
        await stack.aclose()
        await trio.sleep(1)
        await service.publish()
        await trio.sleep(1)
        assert len(bench.got) == 1
        assert bench.error is None
        assert quotes.statistics() is not None


async def test_one_that_is_never_completed_fails_in_time_and_is_ended(autojump_clock: MockClock) -> None:
    service = Service()
    service.ignore.add(MNQ)
    async with running(service) as bench:
        await bench.hub.subscribe(OTHER)
        with pytest.raises(SubscriptionError, match="within 15 s"):
            await bench.hub.subscribe(TRADES)
        assert trio.current_time() == pytest.approx(15)
        await trio.sleep(1)
        assert service.targets[1:] == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        service.ignore.clear()
        await trio.sleep(15)
        await bench.hub.subscribe(TRADES)
        assert ("ContractTrades", MNQ) in service.links[0].held
        assert bench.connects == 1


# Cancelled, released, closed


async def test_cancelled_while_subscribing_it_is_ended(autojump_clock: MockClock) -> None:
    service = Service()
    service.delay_s = 5
    async with running(service) as bench:
        with trio.move_on_after(3):
            await bench.hub.subscribe(TRADES)
        await trio.sleep(20)
        assert service.targets == ["SubscribeContractTrades", "UnsubscribeContractTrades"]
        assert service.links[0].held == set()
        assert bench.hub.is_live
        assert len(bench.hub.wants) == 0


async def test_cancelled_while_connecting_it_fails_nobody_else(autojump_clock: MockClock) -> None:
    service = Service()

    async def slow() -> None:
        await trio.sleep(2)

    async with running(service) as bench:
        bench.network.connecting = slow

        async def impatient() -> None:
            with trio.move_on_after(1):
                await bench.hub.subscribe(TRADES)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            await trio.sleep(0.5)
            nursery.start_soon(bench.hub.subscribe, QUOTES)
        assert service.targets == ["SubscribeContractQuotes"]
        assert bench.connects == 1


async def test_released_and_wanted_again_at_once_it_stays(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        for _ in range(3):
            await bench.hub.subscribe(TRADES)
            bench.hub.release(TRADES)
        await bench.hub.subscribe(TRADES)
        assert service.links[0].held == {("ContractTrades", MNQ)}
        assert trio.current_time() < 1
        assert bench.hub.state is HubState.LIVE
        service.links[0].reset()  # it counts as established again: its absence is an outage
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(0.1)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]


@pytest.mark.parametrize("pause_s", [0.0, 0.5, 1.0, 1.5])
async def test_wanted_again_while_it_is_being_ended(autojump_clock: MockClock, pause_s: float) -> None:
    service = Service()
    service.delay_s = 1
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        bench.hub.release(TRADES)
        await trio.sleep(pause_s)
        await bench.hub.subscribe(TRADES)
        assert service.links[0].held == {("ContractTrades", MNQ)}
        await trio.sleep(5)
        assert service.links[0].held == {("ContractTrades", MNQ)}


async def test_released_while_the_connection_closes_nothing_is_sent(autojump_clock: MockClock) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        call_id, _, _ = await hub.call()
        await hub.send(completion(call_id))
        await trio.sleep(0.5)
        await hub.send(record(type=7))
        await trio.sleep_forever()  # and never ends the WebSocket

    async with running(script) as bench:
        await bench.hub.subscribe(TRADES)
        for _ in range(60):
            bench.hub.release(TRADES)
            bench.hub.wants.add(TRADES)
            await trio.sleep(0.1)
        assert not bench.hub.is_live
        assert bench.hub.state is HubState.CLOSED


async def test_after_the_gateway_was_closed_it_says_so(autojump_clock: MockClock) -> None:
    async with running(Service()) as bench:
        hub = bench.hub
        await hub.subscribe(TRADES)
    for _ in range(2):
        with trio.fail_after(60), pytest.raises(trio.ClosedResourceError, match="the gateway was closed"):
            await hub.live()
        with trio.fail_after(60), pytest.raises(trio.ClosedResourceError, match="the gateway was closed"):
            await hub.subscribe(TRADES)
    assert len(hub.wants) == 1  # the first one's, who never left


@pytest.mark.parametrize("before_s", [0.5, 1.5, 3.0])
async def test_who_waits_when_the_gateway_is_closed_is_told(
    autojump_clock: MockClock, before_s: float
) -> None:
    """Somebody else's task waits for a connection, or a subscription; the block is left, and it does not hang."""
    service = Service()
    service.delay_s = 1
    errors: list[Exception] = []

    async def wait(what: object) -> None:
        try:
            await what  # type: ignore[misc]
        except (ConnectionLost, trio.ClosedResourceError) as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        async with running(service) as bench:

            async def slow() -> None:
                await trio.sleep(1)

            bench.network.connecting = slow
            service.ignore.add(MNQ)
            nursery.start_soon(wait, bench.hub.subscribe(TRADES))
            if before_s < 2:
                nursery.start_soon(wait, bench.hub.live())
            await trio.sleep(before_s)
        left_at = trio.current_time()
    assert len(errors) == 1 + (before_s < 2)
    assert all("the gateway was closed" in str(error) for error in errors)
    assert trio.current_time() - left_at <= 1


@pytest.mark.parametrize("code", [403, 500])
async def test_closed_at_the_instant_of_a_failure(autojump_clock: MockClock, code: int) -> None:
    """Whatever comes first, the gateway closes without a crash in a task of its own."""
    for _ in range(20):  # trio shuffles what is due together

        async def script(wire: Wire, request: Request) -> None:
            await trio.sleep(1)
            await wire.reply(code)

        async with trio.open_nursery() as nursery:

            async def wait(hub: object) -> None:
                with pytest.raises((TrioProjectXError, trio.ClosedResourceError)):
                    await hub.live()  # type: ignore[attr-defined]

            async with running(script) as bench:
                nursery.start_soon(wait, bench.hub)
                await trio.sleep(1)


async def test_cancelled_while_connecting_the_gateway_leaves_nothing(autojump_clock: MockClock) -> None:
    for delay_s in (0.0, 0.001, 0.5, 1.0, 1.5, 2.0):

        async def slow() -> None:
            await trio.sleep(1)

        service = Service()
        service.delay_s = 1
        with trio.move_on_after(delay_s):
            async with running(service) as bench:
                bench.network.connecting = slow
                await bench.hub.subscribe(TRADES)
                await trio.sleep_forever()


# The first connection


async def test_a_failed_attempt_reaches_everyone_and_the_next_one_connects_anew(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    service.at_upgrade = forbid
    async with running(service) as bench:
        errors: list[Exception] = []

        async def subscribe() -> None:
            with pytest.raises(AuthError) as raised:
                await bench.hub.subscribe(TRADES)
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(subscribe)
        assert len({id(error) for error in errors}) == 5
        assert bench.connects == 1
        assert bench.hub.state is HubState.IDLE
        service.at_upgrade = None
        await bench.hub.subscribe(TRADES)
        assert bench.connects == 2
        assert service.links[0].held == {("ContractTrades", MNQ)}
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "IDLE", "CONNECTING", "LIVE"]
        assert bench.sink.lost == []  # nothing was open


async def test_an_attempt_is_bounded(autojump_clock: MockClock) -> None:
    async def hang(wire: Wire, request: Request) -> None:
        await trio.sleep_forever()

    async with running(hang, timeouts=Timeouts(connect_s=4)) as bench:
        with pytest.raises(ConnectError, match="within 4 s"):
            await bench.hub.live()
        assert trio.current_time() == pytest.approx(4)


async def test_the_first_connection_is_retried_where_that_was_asked_for(autojump_clock: MockClock) -> None:
    service = Service()
    service.at_upgrade = unavailable
    async with running(service, reconnect=Reconnect(at_start=True)) as bench:

        async def up() -> None:
            await trio.sleep(20)
            service.at_upgrade = None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(up)
            nursery.start_soon(bench.hub.subscribe, TRADES)
            await trio.sleep(10)
            assert bench.hub.state is HubState.CONNECTING
            assert "HTTP 503" in bench.hub.machine.reason
        assert bench.hub.state is HubState.LIVE
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]
        assert trio.current_time() <= 40


async def test_a_subscription_that_finds_no_connection_in_time_says_why(autojump_clock: MockClock) -> None:
    service = Service()
    service.at_upgrade = unavailable
    async with running(service, reconnect=Reconnect(at_start=True)) as bench:
        with pytest.raises(ConnectTimeout, match=r"nothing of ContractTrades of .* within 55 s: .*HTTP 503"):
            await bench.hub.subscribe(TRADES)
        assert trio.current_time() == pytest.approx(55)
        assert len(bench.hub.wants) == 0


# States


async def test_live_is_only_after_the_handshake_and_the_acknowledgements(autojump_clock: MockClock) -> None:
    service = Service()
    service.delay_s = 2

    async def slow(wire: Wire, request: Request) -> bool:
        await trio.sleep(1)
        return False

    service.at_upgrade = slow
    async with running(service) as bench:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.hub.subscribe, TRADES)
            nursery.start_soon(bench.hub.subscribe, OTHER)
            await bench.hub.live()
            assert trio.current_time() == pytest.approx(5)  # the server answers one call after the other
            assert len(service.links[0].held) == 2
        service.links[0].reset()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.hub.state is HubState.RECONNECTING
        await trio.sleep(4.9)
        assert bench.hub.state is HubState.RECONNECTING
        await trio.sleep(0.2)
        assert bench.hub.state is HubState.LIVE
        assert bench.told.states() == [
            (pytest.approx(0), "CONNECTING"),
            (pytest.approx(5), "LIVE"),
            (pytest.approx(5), "RECONNECTING"),
            (pytest.approx(10), "LIVE"),
        ]


async def test_each_change_says_from_where_and_why(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1)
        await service.links[0].close(allowReconnect=True, error="maint\nenance")
        await trio.sleep(1)
        events = [each for each in bench.told.of(HubStateChanged) if isinstance(each, HubStateChanged)]
        before = HubState.IDLE
        for event in events:
            assert event.before is before
            before = event.state
        lost = events[2]
        assert lost.state is HubState.RECONNECTING
        assert r"the hub closed the connection: maint\nenance" in lost.reason
        assert lost.at == START_NS + 10**9
        facts = hub_facts(bench.hub)
        assert (facts.state, facts.outages, facts.connections) == (HubState.LIVE, 1, 1)
        assert facts.subscriptions == 1


async def test_while_it_is_down_the_facts_say_so(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        facts = hub_facts(bench.hub)
        assert (facts.state, facts.connections, facts.record_age_s) == (HubState.IDLE, 0, None)
        await bench.hub.subscribe(TRADES)
        await trio.sleep(12)
        facts = hub_facts(bench.hub, lag_ms=1.5, data_age_s=2.5)
        assert (facts.attempts, facts.next_attempt_s, facts.lag_ms, facts.data_age_s) == (0, None, 1.5, 2.5)
        assert facts.record_age_s == pytest.approx(2.3)
        assert facts.since_s == pytest.approx(12)
        assert facts.bytes_per_s > 0
        service.at_upgrade = unavailable
        service.links[0].reset()
        await trio.sleep(40)
        facts = hub_facts(bench.hub)
        assert (facts.state, facts.connections, facts.round_trip_s) == (HubState.RECONNECTING, 0, None)
        assert facts.attempts > 1
        assert facts.record_age_s is None
        assert facts.next_attempt_s is not None
        assert 0 <= facts.next_attempt_s <= 40
        assert "HTTP 503" in facts.reason


async def test_waiting_never_hangs_while_the_state_flaps(autojump_clock: MockClock) -> None:
    """Each connection is closed in the instant in which it was live; who waited for one has seen it."""
    service = Service()
    service.ping_s = 1000

    async def flap(link: Link) -> None:
        while not link.held:
            await trio.sleep(0.01)
        await link.close(allowReconnect=True)

    async with running(service, reconnect=Reconnect(young_deaths=1000, connects_per_s=50)) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_open = flap
        service.links[0].reset()
        waited = 0
        for _ in range(50):
            with trio.fail_after(61):  # the cap of the back-off, twice
                await bench.hub.live()
            waited += 1
            await trio.sleep(0.05)
        assert waited == 50
        assert len(service.links) > 10


async def test_who_waits_through_an_outage_is_woken_at_its_end(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = unavailable
        service.links[0].reset()
        await trio.sleep(5)
        woken: list[float] = []

        async def wait() -> None:
            await bench.hub.live()
            woken.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(wait)
            await trio.sleep(900)
            assert woken == []
            service.at_upgrade = None
        assert len(set(woken)) == 1
        assert woken[0] == {state: at for at, state in bench.told.states()}["LIVE"]


async def test_a_stream_that_is_new_in_an_outage_waits_for_its_end(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = unavailable
        service.links[0].reset()
        await trio.sleep(1)

        async def up() -> None:
            await trio.sleep(10)
            service.at_upgrade = None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(up)
            await bench.hub.subscribe(OTHER)
        assert service.links[1].held == {("ContractTrades", MNQ), ("ContractTrades", EP)}


async def test_a_new_wish_is_no_outage_while_it_is_not_answered(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1)
        service.delay_s = 5
        await bench.hub.subscribe(OTHER)
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE"]


async def test_a_new_wish_that_nobody_answers_does_not_prolong_an_outage(autojump_clock: MockClock) -> None:
    service = Service()
    service.ignore.add(EP)
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1)
        service.links[0].reset()
        with pytest.raises(SubscriptionError, match="within 15 s"):
            await bench.hub.subscribe(OTHER)
        assert bench.told.states()[-1] == (pytest.approx(1, abs=0.1), "LIVE")


async def test_stale_is_told_and_heals(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.hub.subscribe(TRADES)
        await trio.sleep(1)
        bench.hub.suspect("no data of MNQ")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.hub.state is HubState.STALE
        assert bench.hub.is_live
        bench.hub.suspect("no data of MNQ, EP")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.hub.machine.reason == "no data of MNQ, EP"
        bench.hub.suspect(None)
        await trio.testing.wait_all_tasks_blocked()
        assert [state for _, state in bench.told.states()] == ["CONNECTING", "LIVE", "STALE", "LIVE"]
        bench.hub.suspect("again")
        await trio.testing.wait_all_tasks_blocked()
        service.links[0].reset()
        await trio.testing.wait_all_tasks_blocked()
        assert [state for _, state in bench.told.states()][4:6] == ["STALE", "RECONNECTING"]


# The two hubs


async def test_one_hub_may_be_down_while_the_other_works(autojump_clock: MockClock) -> None:
    service = Service()

    async def market_only(wire: Wire, request: Request) -> bool:
        if "market" in request.path:
            return False
        return await unavailable(wire, request)

    async with running(service) as bench:
        await bench.user.subscribe(ORDERS)
        await bench.hub.subscribe(TRADES)
        service.at_upgrade = market_only
        user, market = service.links
        user.reset()
        await trio.sleep(100)
        assert (bench.hub.state, bench.user.state) == (HubState.LIVE, HubState.RECONNECTING)
        assert market.is_up
        assert [state for _, state in bench.told.states("market")] == ["CONNECTING", "LIVE"]
        service.at_upgrade = None
        await trio.sleep(60)
        assert bench.user.state is HubState.LIVE
        assert bench.sink.noted == [("join", 2, TRADES), ("acknowledged", 2, TRADES)]


async def test_a_hub_that_is_lost_for_good_takes_the_other_not_with_it(autojump_clock: MockClock) -> None:
    service = Service()
    async with running(service) as bench:
        await bench.user.subscribe(ORDERS)
        await bench.hub.subscribe(TRADES)
        user, market = service.links
        await user.close(error="away\x1b[31m with you")
        await trio.sleep(100)
        assert (bench.hub.state, bench.user.state) == (HubState.LIVE, HubState.CLOSED)
        assert market.is_up
        (error,) = bench.user_sink.lost
        assert r"asked not to come back: away\x1b[31m with you" in str(error)
        assert bench.sink.lost == []
        assert len(service.attempts) == 2


# What streams see of a loss


async def test_a_loss_is_a_gap_and_the_stream_goes_on(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service) as bench:
        await service.publish(3)
        await trio.sleep(1)
        await service.links[0].close(allowReconnect=True)
        await trio.sleep(1)
        await service.publish(2)
        await trio.sleep(3)
        assert bench.rows == service.rows
        (gap,) = bench.gaps
        assert (gap.start, gap.end) == (service.rows[2][0], service.rows[3][0])
        assert "the hub closed the connection" in gap.cause
        assert bench.error is None


async def test_a_final_loss_reaches_the_streams_that_were_open_and_the_next_one_connects_anew(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with (
        open_network(service) as network,
        open_gateway(config_for(network)) as gateway,
        AsyncExitStack() as old_user,
    ):
        old = await old_user.enter_async_context(gateway.open_trades(MNQ))
        await service.links[0].send(trade(100.0), record(type=7, error="go"))
        assert (await old.receive()).price == 100.0
        with pytest.raises(
            ConnectionLost, match="the hub closed the connection, and asked not to come back: go"
        ):
            await old.receive()
        async with gateway.open_trades(MNQ) as new:
            await old_user.aclose()  # the old one's user leaves late; the new one's subscription stays
            await trio.sleep(1)
            await service.links[1].send(trade(101.0))
            assert (await new.receive()).price == 101.0
            assert service.links[1].held == {("ContractTrades", MNQ)}
            assert service.targets == ["SubscribeContractTrades"] * 2
        with pytest.raises((ConnectionLost, trio.ClosedResourceError)):
            await old.receive()


async def test_opened_again_at_the_very_moment_of_a_final_loss_it_is_not_lost_too(
    autojump_clock: MockClock,
) -> None:
    """A call that was pending fails in the same instant; whoever tries again at once gets a new connection."""
    for _ in range(20):  # trio shuffles what is due together
        service = Service()
        service.ignore.add(MNQ)

        async def lose(service: Service = service) -> None:
            await trio.sleep(5)
            service.ignore.clear()
            await service.links[0].close()

        async with (
            open_network(service) as network,
            open_gateway(config_for(network)) as gateway,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lose)
            with pytest.raises(ConnectionLost):
                async with gateway.open_trades(MNQ):
                    pass
            async with gateway.open_trades(MNQ) as stream:
                assert gateway.statistics().connects == 2
                await service.links[1].send(trade(2.0))
                assert (await stream.receive()).price == 2.0


async def test_a_dead_connection_is_told_before_it_is_closed(autojump_clock: MockClock) -> None:
    """A silent peer answers no closing handshake either: nobody waits for it, the next connection does not."""
    service = Service()
    service.ping_s = 1000
    async with open_bench(service) as bench:
        await trio.sleep(29.9)
        assert bench.hub.is_live
        await trio.sleep(0.2)
        assert [(at, state) for at, state in bench.told.states() if state == "RECONNECTING"] == [
            (pytest.approx(30), "RECONNECTING")
        ]
        assert len(service.links) == 2
        assert bench.gateway.statistics().is_live


async def test_a_pending_subscription_does_not_wait_for_the_closing_either(autojump_clock: MockClock) -> None:
    silent = True

    async def script(wire: Wire, request: Request) -> None:
        if not silent:
            await service(wire, request)
            return
        await (await wire.accept()).shake()
        await trio.sleep_forever()

    service = Service()
    async with running(script, timeouts=Timeouts(server_s=10)) as bench:

        async def heal() -> None:
            nonlocal silent
            await trio.sleep(5)
            silent = False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            await bench.hub.subscribe(TRADES)  # a connection was made: it is tried again
        assert trio.current_time() == pytest.approx(10)


async def test_who_comes_at_the_instant_of_a_final_loss_is_told_or_served(autojump_clock: MockClock) -> None:
    """Never both: a stream on a new connection does not break with the old one."""
    told = 0
    for _ in range(30):  # trio shuffles what is due together
        service = Service()
        async with (
            open_network(service) as network,
            open_gateway(config_for(network)) as gateway,
            gateway.open_trades(MNQ),
        ):
            epoch = gateway._streams.market_hub.lines[0].epoch
            assert epoch is not None
            await service.links[0].close()
            await epoch.over.wait()
            try:
                async with gateway.open_trades(MNQ) as stream:
                    await trio.sleep(1)
                    await service.links[1].send(trade(2.0))
                    assert (await stream.receive()).price == 2.0
            except ConnectionLost:
                told += 1
                assert gateway.statistics().connects == 1
    assert 0 < told <= 30


# Storms


async def test_a_storm_of_subscriptions_ends_as_the_last_wish_was(autojump_clock: MockClock) -> None:
    service = Service()
    chance = random.Random(7)
    contracts = [Subscription(Kind.TRADES, f"CON.F.US.MNQ.{month}26") for month in "HMUZ"]
    async with running(service) as bench:

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
        assert service.links[0].held == {("ContractTrades", contracts[0].contract_id)}
        assert bench.connects == 1
        assert [(want.wanted, want.users) for want in bench.hub.wants.all()] == [(contracts[0], 1)]


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_through_resets_ends_as_the_last_wish_was(autojump_clock: MockClock, seed: int) -> None:
    """Connections come and go in the middle of it, answers take their time."""
    service = Service()
    service.delay_s = 0.005
    chance = random.Random(seed)
    contracts = [Subscription(Kind.TRADES, f"CON.F.US.MNQ.{month}26") for month in "HMUZ"]
    reconnect = Reconnect(connects_per_s=20, young_deaths=1000, base_s=0.01)
    async with running(service, reconnect=reconnect) as bench:

        async def user(wanted: Subscription, stays: float) -> None:
            with trio.move_on_after(stays * 2):
                await bench.hub.subscribe(wanted)
                try:
                    await trio.sleep(stays)
                finally:
                    bench.hub.release(wanted)

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(user, chance.choice(contracts), chance.random() * 0.3)
                await trio.sleep(0.01)
                if chance.random() < 0.05 and service.up:
                    chance.choice(service.up).reset()
            wished = set(contracts[: 1 + seed])
            for wanted in wished:
                await bench.hub.subscribe(wanted)
        await trio.sleep(60)
        (link,) = service.up
        assert link.held == {("ContractTrades", each.contract_id) for each in wished}
        assert bench.hub.state is HubState.LIVE
        # What each connection joined was left again, but for what is on now.
        joined = [(line, each) for what, line, each in bench.sink.noted if what == "join"]
        left = [(line, each) for what, line, each in bench.sink.noted if what == "leave"]
        assert {each for each in joined if joined.count(each) > left.count(each)} == {
            (bench.hub.lines[0].epoch.number, each)  # type: ignore[union-attr]
            for each in wished
        }


async def test_the_gap_of_a_stream_that_was_open_twice_is_told_to_both(autojump_clock: MockClock) -> None:
    service = Service()
    async with open_bench(service) as bench, bench.gateway.open_trades(MNQ, events=True) as second:
        await service.publish()
        await trio.sleep(1)
        service.links[0].reset()
        await trio.sleep(1)
        await service.publish()
        items = [await second.receive() for _ in range(3)]
        assert isinstance(items[1], Gap)
        await trio.sleep(1)
        assert bench.gaps == [items[1]]
