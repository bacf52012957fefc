"""What a hostile reader of the hub found: interleavings that lost data without a word, or left somebody waiting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trio.lowlevel
from fault_tools import CONTRACT, open_sim
from fault_tools import config_for as simulated_config
from hub_tools import EP, MNQ, Link, Service, check_rows, open_bench
from scripted import Json, Request, Wire, completion, config_for, open_network
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx.simulator.streams import _Way

Answer = Callable[[Link, str, Json], "str | float | None"]
"""What a call is answered with: a text refuses it, a number says after how many seconds it is taken, None never."""


class Choosy(Service):
    """A service that answers each connection as a test wants."""

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()
        self.answer: Answer = answer or (lambda link, target, subject: 0.0)

    async def _answer(self, link: Link, nursery: trio.Nursery) -> None:
        while True:
            call_id, target, arguments = await link.hub.call()
            subject = arguments[0] if arguments else None
            link.calls.append((trio.current_time(), target, subject))
            nursery.start_soon(self._give, link, call_id, target, subject)

    async def _give(self, link: Link, call_id: str, target: str, subject: Json) -> None:
        given = self.answer(link, target, subject)
        if given is None:
            return
        if isinstance(given, str):
            await link.send(completion(call_id, error=given))
            return
        await trio.sleep(given)
        kind = target.removeprefix("Subscribe").removeprefix("Unsubscribe")
        (link.held.add if target.startswith("Subscribe") else link.held.discard)((kind, subject))
        await link.send(completion(call_id))


def half_open(link: Link) -> None:
    """Let nothing of what the service sends arrive any more; nobody notices."""
    link.wire.stream._out = _Way(1 << 20)


async def forbid(wire: Wire, request: Request) -> bool:
    await wire.reply(403, b"one connection is enough")
    return True


async def unavailable(wire: Wire, request: Request) -> bool:
    await wire.reply(503)
    return True


# One line for another


async def test_a_successor_that_is_refused_a_subscription_replaces_nothing(autojump_clock: MockClock) -> None:
    service = Choosy(lambda link, target, subject: "one only" if link.number else 0.0)
    async with open_bench(service) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market)
        await bench.gateway.refresh_token()
        await trio.sleep(30)
        check_rows(bench, service)
        assert (bench.error, bench.gaps) == (None, [])
        assert bench.hub.state is px.HubState.LIVE
        assert service.links[0].is_up
        assert service.holding() == [service.links[0]]
        assert len(bench.rows) >= len(service.rows) - 1
        (told, *_) = bench.told.of(px.ReplacementFailed)
        assert isinstance(told, px.ReplacementFailed)


async def test_a_subscription_refused_beside_another_is_asked_for_again_when_that_goes(
    autojump_clock: MockClock,
) -> None:
    """Refused on the second connection it was no matter; when the first is gone for good, it is."""
    is_alone = False
    service = Choosy(lambda link, target, subject: "one only" if link.number and not is_alone else 0.0)
    async with open_bench(service, reconnect=px.Reconnect(redundant=True)) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market)
        await trio.sleep(5)
        assert len(service.up) == 2
        is_alone = True
        await service.links[0].close(error="enough", allowReconnect=False)
        await trio.sleep(3)
        assert service.links[1] in service.holding()
        assert bench.hub.state is px.HubState.LIVE
        check_rows(bench, service)
        assert len(bench.gaps) == 1
        assert bench.rows[-1] in service.rows[-2:]


async def test_refused_again_by_the_only_line_that_is_left_its_streams_are_told(
    autojump_clock: MockClock,
) -> None:
    service = Choosy(lambda link, target, subject: "one only" if link.number else 0.0)
    async with open_bench(service, reconnect=px.Reconnect(redundant=True)) as bench:
        await trio.sleep(5)
        await service.links[0].close(error="enough", allowReconnect=False)
        await trio.sleep(3)
        assert isinstance(bench.error, px.SubscriptionError)


async def test_a_reset_of_the_line_that_brings_it_is_an_outage_and_no_refusal(
    autojump_clock: MockClock,
) -> None:
    """The other one was refused it; the one that is reset has it again soon."""
    service = Choosy(lambda link, target, subject: "one only" if link.number == 1 else 0.0)
    async with open_bench(service, reconnect=px.Reconnect(redundant=True)) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market)
        await trio.sleep(5)
        service.links[0].reset()
        await trio.sleep(5)
        assert bench.error is None
        assert bench.hub.state is px.HubState.LIVE
        assert len(service.links[1].calls) == 1
        check_rows(bench, service)
        assert len(bench.gaps) == 1


async def test_a_reset_while_a_successor_is_refused_is_over_at_once(autojump_clock: MockClock) -> None:
    """The successor has waited longer and longer; the old one, which has done no wrong, begins anew."""
    service = Choosy()
    async with open_bench(service) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market, 0.2)
        service.at_upgrade = unavailable
        await bench.gateway.refresh_token()
        await trio.sleep(200)
        assert bench.hub.state is px.HubState.LIVE
        service.at_upgrade = None
        at = trio.current_time()
        service.links[0].reset()
        await trio.sleep(60)
        lost, back = [when - at for when, state in bench.told.states() if when >= at][:2]
        assert back - lost < 2
        check_rows(bench, service)
        assert len(service.up) == 1
        assert service.up[0].bearer != service.links[0].bearer


async def test_the_old_line_dies_before_the_new_one_is_acknowledged(autojump_clock: MockClock) -> None:
    """The gap lasts until the subscription is acknowledged, not until the new line exists."""
    service = Choosy(lambda link, target, subject: 5.0 if link.number else 0.0)
    async with open_bench(service) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market)
        await trio.sleep(1)
        await bench.gateway.refresh_token()
        await trio.sleep(1)
        assert len(service.links) == 2
        service.links[0].reset()
        await trio.sleep(10)
        check_rows(bench, service)
        (gap,) = bench.gaps
        assert gap.end - gap.start == pytest.approx(4e9, abs=0.2e9)


async def test_a_line_that_was_never_acknowledged_covers_nothing(autojump_clock: MockClock) -> None:
    """Of two lines that come back the first is not answered; the second is, and dies."""

    def answer(link: Link, target: str, subject: Json) -> float:
        return 12.0 if link.number == 2 else 0.0

    service = Choosy(answer)
    async with open_bench(service, reconnect=px.Reconnect(redundant=True)) as bench:
        assert bench.nursery is not None
        bench.nursery.start_soon(service.market)
        await trio.sleep(3)
        for link in service.up:
            link.reset()
        await trio.sleep(6)
        assert [link.number for link in service.up] == [2, 3]
        service.links[3].reset()
        service.at_upgrade = unavailable
        await trio.sleep(15)
        service.at_upgrade = None
        await trio.sleep(5)
        check_rows(bench, service)
        assert len(bench.gaps) == 2


async def test_a_quiet_market_and_an_old_line_that_is_dead(autojump_clock: MockClock) -> None:
    """No trade shows that the old line lived until the new one was there: without a sign of life there is a gap."""
    service = Choosy()
    async with open_bench(service) as bench:
        await service.publish(3)
        await trio.sleep(1)
        half_open(service.links[0])
        await service.publish(3)  # lost on their way
        await trio.sleep(5)
        await bench.gateway.refresh_token()
        await trio.sleep(20)
        await service.publish(3)
        await trio.sleep(1)
        check_rows(bench, service)
        assert len(bench.rows) == 6
        assert len(bench.gaps) == 1
        assert service.holding() == [service.links[1]]


async def test_a_quiet_market_and_an_old_line_that_lives(autojump_clock: MockClock) -> None:
    service = Choosy()
    async with open_bench(service) as bench:
        await service.publish(3)
        await trio.sleep(5)
        await bench.gateway.refresh_token()
        await trio.sleep(3)
        assert service.up == [service.links[1]]
        await service.publish(3)
        await trio.sleep(1)
        check_rows(bench, service)
        assert (len(bench.rows), bench.gaps) == (6, [])
        (told,) = bench.told.of(px.ConnectionReplaced)
        assert isinstance(told, px.ConnectionReplaced)
        assert told.overlapped


async def test_a_second_line_beside_one_that_is_dead(autojump_clock: MockClock) -> None:
    """In redundant mode: the one is reset and comes back, the other had died unnoticed before that."""
    service = Choosy()
    async with open_bench(service, reconnect=px.Reconnect(redundant=True)) as bench:
        await trio.sleep(3)
        await service.publish(3)
        await trio.sleep(1)
        half_open(service.links[0])
        service.links[1].reset()
        await service.publish(2)  # to nobody
        await trio.sleep(10)
        await service.publish(3)
        await trio.sleep(40)
        check_rows(bench, service)
        assert len(bench.rows) == 6
        assert len(bench.gaps) == 1
        assert len(service.holding()) == 2


async def test_a_line_that_joins_proves_nothing_of_what_was_sent_before(autojump_clock: MockClock) -> None:
    """A bar whose trades were lost on a dead line is not closed as a whole one by the pong of another."""
    service = Choosy()
    async with open_bench(service) as bench, bench.gateway.open_bars(MNQ, "1s", events=True) as bars:
        await service.publish(2)
        await trio.sleep(3)
        first = await bars.receive()
        await service.publish(2)
        await trio.sleep(0.1)
        half_open(service.links[0])
        await service.publish(2)  # of the same second, and lost
        await trio.sleep(0.1)
        await bench.gateway.refresh_token()
        await trio.sleep(40)
        await service.publish(2)
        await trio.sleep(3)
        items: list[object] = [first]
        while True:
            try:
                items.append(bars.receive_nowait())
            except trio.WouldBlock:
                break
        of_both = [item for item in items if isinstance(item, px.Bar)]
        assert [bar.trades for bar in of_both] == [2, 2, 2]
        assert of_both[1].partial
        assert len([item for item in items if isinstance(item, px.Gap)]) == 1


# A hub that was never live as a whole


async def test_a_stream_that_was_opened_before_the_hub_was_live_is_told_of_its_end(
    autojump_clock: MockClock,
) -> None:
    service = Choosy(lambda link, target, subject: None if subject == EP else 0.0)
    errors: list[px.TrioProjectXError] = []
    async with open_network(service) as network, px.open_gateway(config_for(network)) as gateway:
        opened = trio.Event()

        async def never_answered() -> None:
            with pytest.raises(px.TrioProjectXError):
                async with gateway.open_trades(EP):
                    pass

        async def answered() -> None:
            try:
                async with gateway.open_trades(MNQ) as trades:
                    opened.set()
                    await trades.receive()
            except px.TrioProjectXError as exc:
                errors.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(never_answered)
            nursery.start_soon(answered)
            await opened.wait()
            assert gateway.health().market.state is px.HubState.CONNECTING
            service.at_upgrade = forbid
            service.links[0].reset()
            await trio.sleep(5)
            assert len(errors) == 1
            assert isinstance(errors[0], px.ConnectionLost)
            assert gateway.health().market.state is px.HubState.CLOSED


# Several connections


async def test_a_further_connection_that_is_forbidden_costs_nobody_the_hub(autojump_clock: MockClock) -> None:
    service = Choosy()
    options = px.Reconnect(connections_max=2, contracts_per_connection=1)
    async with open_bench(service, reconnect=options) as bench:
        service.at_upgrade = forbid
        async with bench.gateway.open_trades(EP) as other:
            await service.publish(1)
            await service.publish(1, EP)
            await other.receive()
            await wait_all_tasks_blocked()
            assert (bench.error, len(bench.got)) == (None, 1)
            assert bench.hub.state is px.HubState.LIVE
            assert [link.number for link in service.up] == [0]
            assert bench.told.of(px.ReplacementFailed)
        await trio.sleep(5)
        assert service.holding(EP) == []


# Back-pressure


async def test_a_stream_that_is_not_read_is_no_stalled_market(autojump_clock: MockClock) -> None:
    """Our own back-pressure is not the service's silence: the connection stays, and nothing is lost."""
    service = Choosy()
    limits = px.Limits(batches_in_flight=1)
    async with open_network(service) as network:
        async with px.open_gateway(config_for(network, limits=limits)) as gateway:
            async with gateway.open_events() as events:
                async with gateway.open_trades(
                    MNQ, overflow=px.Overflow.BLOCK, capacity=1, events=True
                ) as trades:
                    await trio.lowlevel.checkpoint()
                    for _ in range(40):
                        await service.publish()
                        await trio.sleep(0.1)
                    await trio.sleep(200)
                    got: list[object] = []
                    with trio.move_on_after(2):
                        while True:
                            got.append(await trades.receive())
                    assert len(got) == 40
                    assert not any(isinstance(item, px.Gap) for item in got)
                    told: list[object] = []
                    while True:
                        try:
                            told.append(events.receive_nowait())
                        except trio.WouldBlock:
                            break
                    usual = px.HubStateChanged | px.StreamFilling | px.StreamEased
                    assert [event for event in told if not isinstance(event, usual)] == []
                    assert gateway.health().market.state is px.HubState.LIVE


async def test_a_connection_given_up_while_its_reader_waits_loses_nothing_that_was_read(
    autojump_clock: MockClock,
) -> None:
    service = Choosy()
    limits = px.Limits(batches_in_flight=1)
    async with open_network(service) as network:
        async with px.open_gateway(config_for(network, limits=limits)) as gateway:
            hub = gateway._streams.market_hub
            async with (
                gateway.open_bars(MNQ, "1s", events=True) as bars,
                gateway.open_trades(MNQ, overflow=px.Overflow.BLOCK, capacity=1, events=True) as trades,
            ):
                for _ in range(12):
                    await service.publish()
                    await trio.sleep(0.01)
                await trio.sleep(1)
                assert hub.lines[0].epoch is not None
                assert hub.lines[0].epoch.liveness.is_held_back
                hub.lines[0].fail(px.ConnectionLost("given up"))
                await trio.sleep(5)
                got: list[px.Trade | px.Gap] = []
                with trio.move_on_after(5):
                    while True:
                        got.append(await trades.receive())
                assert isinstance(got[-1], px.Gap)
                had = len(got) - 1
                await service.publish(2)
                with trio.move_on_after(20):
                    while True:
                        got.append(await trades.receive())
                statistics = gateway.statistics().market
                (contract,) = statistics.contracts
                assert contract.in_flight == 0
                assert contract.received == had + 2 == len(got) - 1
                assert statistics.ledger.balanced
                closed = []
                with trio.move_on_after(1):
                    while True:
                        closed.append(await bars.receive())
                of_both = [bar for bar in closed if isinstance(bar, px.Bar)]
                assert [bar.trades for bar in of_both] == [had, 2]  # the last one by the clock


async def test_a_connection_that_has_ended_is_not_live_because_its_data_wait(
    autojump_clock: MockClock,
) -> None:
    service = Choosy()
    limits = px.Limits(batches_in_flight=1)
    async with open_network(service) as network:
        async with px.open_gateway(config_for(network, limits=limits)) as gateway:
            hub = gateway._streams.market_hub
            async with gateway.open_trades(
                MNQ, overflow=px.Overflow.BLOCK, capacity=1, events=True
            ) as trades:
                for _ in range(12):
                    await service.publish()
                    await trio.sleep(0.01)
                service.links[0].reset()
                await trio.sleep(30)
                assert hub.state is px.HubState.RECONNECTING
                await trades.receive()


# What is told to whom


async def test_who_comes_when_a_gap_is_open_is_not_told_of_it(autojump_clock: MockClock) -> None:
    service = Choosy()
    async with open_bench(service) as bench:
        async with bench.gateway.open_quotes(MNQ, events=True, overflow=px.Overflow.ERROR) as old:
            await service.publish()
            service.links[0].reset()
            await trio.sleep(0.5)
            assert bench.hub.state is px.HubState.LIVE
            async with (
                bench.gateway.open_trades(MNQ, events=True) as late,
                bench.gateway.open_quotes(MNQ, events=True, overflow=px.Overflow.ERROR) as late_quotes,
            ):
                await trio.sleep(0.1)
                await service.publish()
                await trio.sleep(0.1)
                assert len(bench.gaps) == 1
                assert isinstance(late.receive_nowait(), px.Trade)
                del old, late_quotes


async def test_who_was_there_when_it_was_lost_again_is_told(autojump_clock: MockClock) -> None:
    """A second loss before anything has come is the same gap; who came between the two has missed something too."""
    service = Choosy()
    async with open_bench(service) as bench:
        async with bench.gateway.open_trades(EP):
            await service.publish()
            await trio.sleep(1)
            service.links[0].reset()
            await trio.sleep(0.5)
            await service.publish(1, EP)  # the reads go on
            async with bench.gateway.open_trades(MNQ, events=True) as late:
                await trio.lowlevel.checkpoint()
                await service.publish(1, EP)
                await trio.sleep(0.1)
                service.links[1].reset()
                await trio.sleep(3)
                await service.publish()
                await trio.sleep(0.1)
                assert isinstance(late.receive_nowait(), px.Gap)
                assert isinstance(late.receive_nowait(), px.Trade)
                assert len(bench.gaps) == 1


async def test_nobody_is_watched_for_whom_no_stream_was_opened(autojump_clock: MockClock) -> None:
    service = Choosy(lambda link, target, subject: None if "Quotes" in target else 0.0)
    async with open_bench(service) as bench:
        gateway = bench.gateway

        async def refused() -> None:
            with trio.move_on_after(3):
                async with gateway.open_quotes(EP):
                    pass

        async with trio.open_nursery() as nursery:
            async with gateway.open_trades(EP):
                nursery.start_soon(refused)
                await trio.sleep(1)
        assert EP not in gateway._streams.watch.stalls._silences


async def test_what_lies_unread_on_one_line_comes_before_what_another_one_begins_with(
    autojump_clock: MockClock,
) -> None:
    """A slow stream holds the hub back, while contracts go from line to line."""
    options = px.Reconnect(connections_max=2, contracts_per_connection=1, max_connection_age_s=20.0)
    contracts = (CONTRACT, "CON.F.US.RTY.U26")
    async with open_sim(1, step_s=0.25) as sim, AsyncExitStack() as stack:
        sim.set_trades_per_s(20.0)
        config = simulated_config(sim, reconnect=options, limits=px.Limits(batches_in_flight=1))
        gateway = await stack.enter_async_context(px.open_gateway(config))
        prompt = [
            await stack.enter_async_context(gateway.open_trades(contract, capacity=100_000))
            for contract in contracts
        ]
        slow = await stack.enter_async_context(
            gateway.open_book(contracts[1], overflow=px.Overflow.BLOCK, capacity=1)
        )
        with trio.move_on_after(60):
            async for _ in slow:
                await trio.sleep(0.3)
        sim.set_trades_per_s(0.0)
        with trio.move_on_after(30):
            async for _ in slow:
                pass
        for stream in prompt:
            stamps = [stream.receive_nowait().ts_event for _ in range(stream.statistics().queued)]
            assert stamps == sorted(stamps)
