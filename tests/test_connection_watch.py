"""Market data that stop though the connection lives: told, asked about, and acted on; and what is no such thing."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from hub_tools import EP, MNQ, GatewayBench, Link, Service, check_rows, open_bench
from scripted import Request, Wire
from trio.testing import MockClock

from trio_projectx import (
    ClockSkewed,
    ConnectionReplaced,
    HubState,
    Limits,
    MarketStalled,
    Overflow,
    Reconnect,
    Timeouts,
)
from trio_projectx.connection import watch

Rest = Callable[[Wire, Request], Awaitable[None]]


def at(text: str) -> Callable[[], int]:
    """A clock that shows ``text`` (UTC) at the beginning, and runs with trio's."""
    start = round(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()) * 10**9
    return lambda: start + round(trio.current_time() * 1e9)


OPEN = "2026-08-19T14:00"  # a Wednesday, 9:00 in Chicago


@attrs.define(eq=False)
class History:
    """The bars of REST: none, newer ones, an error, or no answer at all."""

    wall: Callable[[], int]
    newest: str = "none"
    asked: list[tuple[float, bytes]] = attrs.Factory(list)

    async def __call__(self, wire: Wire, request: Request) -> None:
        if request.path != "/api/History/retrieveBars":
            await wire.network.log_in(wire, request)
            return
        self.asked.append((trio.current_time(), request.body))
        match self.newest:
            case "none":
                await wire.reply_json(bars=[])
            case "newer":
                moment = datetime.datetime.fromtimestamp(self.wall() // 10**9 - 1, datetime.UTC)
                await wire.reply_json(
                    bars=[{"t": moment.isoformat(), "o": 1, "h": 1, "l": 1, "c": 1, "v": 3}]
                )
            case "hangs":
                await trio.sleep_forever()
            case _:
                await wire.reply(500)


@asynccontextmanager
async def running(
    start: str = OPEN, newest: str = "none", **changes: object
) -> AsyncGenerator[tuple[GatewayBench, Service, History]]:
    service, history = Service(), History(at(start), newest)
    service.wall = at(start)
    async with open_bench(service, rest=history, **{"wall_clock": at(start), **changes}) as bench:
        yield bench, service, history


async def trade_for(service: Service, seconds: float, every_s: float = 0.5, contract_id: str = MNQ) -> None:
    with trio.move_on_after(seconds):
        await service.market(every_s, contract_id)


async def freeze(link: Link) -> None:
    """Records go on, data do not."""
    link.held.clear()
    await trio.lowlevel.checkpoint()


def stalls(bench: GatewayBench) -> list[tuple[float, MarketStalled]]:
    return [(when, event) for when, event in bench.told.events if isinstance(event, MarketStalled)]


def states(bench: GatewayBench) -> list[str]:
    return [state for _, state in bench.told.states()]


# A market that stalls


async def test_where_the_service_has_newer_the_connection_is_replaced(autojump_clock: MockClock) -> None:
    """Silent expiry (row 44): pings go on, and nothing else. Told within 30 s."""
    async with running(newest="newer") as (bench, service, history):
        await trade_for(service, 20)
        await freeze(service.up[0])
        frozen_at = trio.current_time()
        await trade_for(service, 45)
        await trio.sleep(3)
        ((told_at, stalled),) = stalls(bench)
        assert told_at - frozen_at <= 30
        assert stalled.contract_id == MNQ
        assert stalled.silent_s == pytest.approx(30, abs=0.6)
        assert stalled.bound_s == 30
        assert states(bench) == ["CONNECTING", "LIVE", "STALE", "RECONNECTING", "LIVE"]
        reconnecting = bench.told.states()[3][0]
        assert reconnecting - frozen_at <= 33
        assert len(service.links) == 2
        assert len(bench.gaps) == 1
        assert "the service has newer" in bench.gaps[0].cause
        check_rows(bench, service)
        ((_, body),) = history.asked
        assert MNQ.encode() in body


async def test_where_the_service_has_none_the_market_is_quiet(autojump_clock: MockClock) -> None:
    async with running() as (bench, service, _):
        await trade_for(service, 20)
        await trio.sleep(900)
        assert states(bench)[:4] == ["CONNECTING", "LIVE", "STALE", "LIVE"]
        assert len(service.links) == 1
        # Each answer that nothing is missing doubles the patience, up to ten minutes.
        bounds = [event.bound_s for _, event in stalls(bench)]
        assert bounds == [30, 60, 120, 240, 480][: len(bounds)]
        assert 4 <= len(bounds) <= 5
        assert bench.hub.state is HubState.LIVE
        await trade_for(service, 90)  # the long interval is forgotten
        await trio.sleep(36)  # it is as impatient as at first again
        assert stalls(bench)[-1][1].bound_s == 30
        assert bench.gaps == []


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_where_the_service_cannot_be_asked_there_is_a_new_connection_first(
    autojump_clock: MockClock, how: str
) -> None:
    async with running(newest=how) as (bench, service, _):
        await trade_for(service, 20)
        await freeze(service.up[0])
        await trade_for(service, 75)
        await trio.sleep(3)
        assert len(service.links) == 2
        assert states(bench)[:4] == ["CONNECTING", "LIVE", "STALE", "LIVE"]
        assert bench.told.of(ConnectionReplaced)
        assert len(bench.gaps) == 1  # the old one was silent while the new one was not
        check_rows(bench, service)
        assert bench.rows[-1] == service.rows[-1]
        assert bench.hub.state is HubState.LIVE


async def test_a_probe_that_hangs_is_bounded_and_there_are_few_of_them(autojump_clock: MockClock) -> None:
    async with running(newest="hangs", timeouts=Timeouts(rest_s=20)) as (bench, service, history):
        await trade_for(service, 5)
        await trio.sleep(600)
        assert len(history.asked) <= 600 / 30 + 1
        assert len(service.links) <= 600 / 30 + 1
        assert bench.error is None


async def test_a_contract_with_long_intervals_has_more_time(autojump_clock: MockClock) -> None:
    """Twenty times its recent interval, where that is longer."""
    async with running() as (bench, service, _):
        await trade_for(service, 300, every_s=6.0)
        last = trio.current_time()
        await trio.sleep(200)
        ((told_at, stalled),) = stalls(bench)
        assert 100 <= told_at - last <= 125
        assert stalled.bound_s == pytest.approx(120, rel=0.05)


async def test_one_contract_may_stall_while_the_others_do_not(autojump_clock: MockClock) -> None:
    async with running(newest="newer") as (bench, service, _), bench.gateway.open_trades(EP) as trades:
        nursery: trio.Nursery
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.market, 0.5, EP)
            await trade_for(service, 20)
            service.up[0].held.discard(("ContractTrades", MNQ))
            await trio.sleep(36)
            nursery.cancel_scope.cancel()
        assert {event.contract_id for _, event in stalls(bench)} == {MNQ}
        assert len(service.links) == 2
        assert ("ContractTrades", MNQ) in service.links[1].held
        assert trades.statistics() is not None


async def test_each_is_told_and_both_are_named(autojump_clock: MockClock) -> None:
    async with running() as (bench, service, _), bench.gateway.open_quotes(EP):
        await trade_for(service, 5)
        reasons: list[str] = []
        while not reasons:
            await trio.sleep(0.25)
            if bench.hub.state is HubState.STALE:
                reasons.append(bench.hub.machine.reason)
        await trio.sleep(10)
        assert {event.contract_id for _, event in stalls(bench)} == {MNQ, EP}
        assert "no data of" in reasons[0]


async def test_data_that_come_again_while_the_service_is_asked_are_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with running(newest="newer") as (bench, service, _):
        await trade_for(service, 5)
        await trio.sleep(29.9)
        assert bench.hub.state is HubState.STALE
        await service.publish()
        await trio.sleep(5)
        assert states(bench) == ["CONNECTING", "LIVE", "STALE", "LIVE"]
        assert len(service.links) == 1
        assert bench.gaps == []


async def test_in_redundant_mode_one_dead_line_is_no_stall(autojump_clock: MockClock) -> None:
    async with running(newest="newer", reconnect=Reconnect(redundant=True)) as (bench, service, _):
        await trade_for(service, 10)
        await freeze(service.up[0])
        await trade_for(service, 100)
        await trio.sleep(3)
        assert stalls(bench) == []
        assert bench.gaps == []
        assert bench.rows == service.rows


# What is no stall


@pytest.mark.parametrize(
    "start",
    ["2026-08-21T20:58", "2026-08-22T12:00", "2026-08-23T20:00", "2026-08-19T20:58", "2026-12-25T12:00"],
    ids=["Friday's close", "Saturday", "Sunday before the open", "the daily break", "Christmas"],
)
async def test_in_closed_hours_there_is_no_alarm(autojump_clock: MockClock, start: str) -> None:
    async with running(start, newest="newer") as (bench, service, history):
        if start.endswith("58"):
            await trade_for(service, 110)
        await trio.sleep(3300)
        assert stalls(bench) == []
        assert history.asked == []
        assert states(bench) == ["CONNECTING", "LIVE"]
        assert len(service.links) == 1


async def test_when_the_market_opens_and_nothing_comes_it_is_told_soon(autojump_clock: MockClock) -> None:
    async with running("2026-08-23T21:55") as (bench, _, _):  # a Sunday; it opens at 22:00 UTC
        await trio.sleep(300)
        assert stalls(bench) == []
        await trio.sleep(61)
        (told_at, stalled), *_ = stalls(bench)
        assert 330 <= told_at <= 360
        assert stalled.silent_s <= told_at - 300 + 0.001


async def test_a_contract_that_nobody_needs_is_not_watched(autojump_clock: MockClock) -> None:
    async with running() as (bench, service, _):
        async with bench.gateway.open_trades(EP), bench.gateway.open_quotes(EP):
            await trade_for(service, 20)
        await trade_for(service, 100)
        assert {event.contract_id for _, event in stalls(bench)} <= {EP}
        told = len(stalls(bench))
        await trade_for(service, 100)
        assert len(stalls(bench)) == told


async def test_a_subscription_is_not_silent_before_it_began(autojump_clock: MockClock) -> None:
    async with running() as (bench, service, _):
        await trade_for(service, 100)
        async with bench.gateway.open_trades(EP):
            await trade_for(service, 29)
            assert stalls(bench) == []
            await trade_for(service, 2)
            assert len(stalls(bench)) == 1


async def test_an_outage_is_no_stall(autojump_clock: MockClock) -> None:
    async with running(newest="newer") as (bench, service, history):

        async def unavailable(wire: Wire, request: Request) -> bool:
            await wire.reply(503)
            return True

        await trade_for(service, 20)
        service.at_upgrade = unavailable
        service.links[0].reset()
        await trio.sleep(300)
        assert stalls(bench) == []
        assert history.asked == []
        service.at_upgrade = None
        await bench.gateway.wait_connected()
        await trio.sleep(29)
        assert stalls(bench) == []  # a new connection begins to be silent only now
        assert states(bench) == ["CONNECTING", "LIVE", "RECONNECTING", "LIVE"]


async def test_after_a_stall_and_a_reconnect_it_is_live_without_a_flap(autojump_clock: MockClock) -> None:
    for _ in range(5):  # trio shuffles what is due together
        async with running() as (bench, service, _):
            await trade_for(service, 5)
            while bench.hub.state is not HubState.STALE:
                await trio.sleep(0.5)
            service.links[0].reset()
            await trio.sleep(5)
            assert states(bench) == ["CONNECTING", "LIVE", "STALE", "RECONNECTING", "LIVE"]


async def test_what_a_stream_that_blocks_holds_back_is_no_stall(autojump_clock: MockClock) -> None:
    async with (
        running(newest="newer", limits=Limits(batches_in_flight=1)) as (bench, service, _),
        bench.gateway.open_trades(MNQ, overflow=Overflow.BLOCK, capacity=1),
    ):
        await trade_for(service, 120)
        assert len(service.links) == 1
        assert bench.gateway.statistics().market.held_back >= 1
        assert bench.hub.state is HubState.BLOCKED
        assert "trades of" in bench.hub.machine.reason


# Clocks


async def test_a_clock_that_is_wrong_is_told_and_rejects_nothing(autojump_clock: MockClock) -> None:
    """Rows 87 to 89."""
    for skew_s in (90, -3600, 3600):
        wrong = at(OPEN)

        def clock(wrong: Callable[[], int] = wrong, skew_s: int = skew_s) -> int:
            return wrong() + skew_s * 10**9

        async with running(wall_clock=clock) as (bench, service, _):
            await trade_for(service, 100)
            await trio.sleep(1)
            (told,) = bench.told.of(ClockSkewed)
            assert isinstance(told, ClockSkewed)
            assert told.is_skewed
            assert told.skew_ms == pytest.approx(skew_s * 1000, abs=5)
            assert bench.rows == service.rows
            (contract,) = bench.gateway.statistics().market.contracts
            assert contract.rejected.total == 0
            assert stalls(bench) == []
            assert abs(bench.gateway._streams.watch.exchange_ns() - wrong()) < 10**8


@attrs.define
class Sleep:
    """What the kernel says of how long the machine has slept."""

    seconds: float | None = 0.0

    def __call__(self) -> float | None:
        return self.seconds


@pytest.mark.parametrize("slept_s", [2.0, 600.0, 86_400.0])
async def test_a_machine_that_slept_connects_anew(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, slept_s: float
) -> None:
    """Row 91: the clock stood still, no deadline has passed, and the service has long gone."""
    sleep = Sleep()
    monkeypatch.setattr(watch, "suspended_s", sleep)
    async with running() as (bench, service, _):
        await trade_for(service, 20)
        sleep.seconds = slept_s
        woke_at = trio.current_time()
        await trade_for(service, 40)
        await trio.sleep(3)
        assert len(service.links) == 2
        lost_at = next(when for when, state in bench.told.states() if state == "RECONNECTING")
        assert lost_at - woke_at <= 30
        assert len(bench.gaps) == 1
        assert f"the machine slept for {slept_s:.0f} s" in bench.gaps[0].cause
        check_rows(bench, service)


async def test_without_a_stream_it_is_noticed_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = Sleep()
    monkeypatch.setattr(watch, "suspended_s", sleep)
    async with running("2026-08-22T12:00") as (_, service, _):
        await trio.sleep(100)
        sleep.seconds = 600
        await trio.sleep(31)
        assert len(service.links) == 2


@pytest.mark.parametrize("readings", [[0.0, 0.2, 0.4, 0.9], [None] * 4, [5.0, 5.0, 5.0], [9.0, 1.0, 1.5]])
async def test_where_it_did_not_sleep_nothing_happens(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, readings: list[float | None]
) -> None:
    """Two clocks that are read one after the other differ a little; and not every system says."""
    sleep = Sleep(readings[0])
    monkeypatch.setattr(watch, "suspended_s", sleep)
    async with running() as (bench, service, _):
        for reading in readings:
            sleep.seconds = reading
            await trade_for(service, 40)
        assert len(service.links) == 1
        assert bench.gaps == []
