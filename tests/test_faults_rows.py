"""The rows of the fault catalogue (FAULTS.md) that are about connections, with the real bounds, in virtual time.

Rows about tokens are in test_faults_tokens.py, rows about clocks in test_faults_clocks.py; `test_no_row_is_left_out`
at the end says where the others are.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from fault_tools import (
    CONTRACT,
    Seen,
    ask,
    assert_steady,
    check,
    check_user,
    config_for,
    meet,
    open_sim,
    watch,
)
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.simulator import Fault, Simulator
from trio_projectx.simulator.faults.catalogue import BODY_KINDS, HANDSHAKE_KINDS

AT = 5.01
"""Between two looks at the market, with bars made."""


async def rate(sim: Simulator, trades_per_s: float) -> None:
    await ask(sim, "POST", f"/control/hz?v={trades_per_s}")


def back_after(seen: Seen, hub: str = "market") -> float:
    """Return how long the one outage of a hub lasted."""
    ((start, end),) = seen.outages(hub)
    assert end is not None
    return end - start


def told_at(seen: Seen, hub: str = "market") -> float:
    return seen.outages(hub)[0][0]


def raises(seen: Seen, error: type[px.TrioProjectXError], says: str) -> None:
    with pytest.raises(error, match=says):
        raise seen.error or AssertionError("it goes on")


# -- a connection that ends


@pytest.mark.parametrize("name", ["tcp_reset", "tcp_fin"])
async def test_an_end_without_a_word_is_one_gap_exactly_where_it_was(
    autojump_clock: MockClock, name: str
) -> None:
    """Rows 1 and 2."""
    async with open_sim() as sim:
        seen, _ = await meet(sim, Fault(name, hub="market"), at=AT, until=9, user=True)
        assert told_at(seen) - AT <= 0.05
        assert back_after(seen) <= 0.5
        (gap,) = seen.gaps
        at = seen.items.index(gap)
        before, after = seen.items[at - 1], seen.items[at + 1]
        assert (gap.contract_id, gap.start, gap.end) == (CONTRACT, before.ts_event, after.ts_event)
        assert "market hub: connection lost" in gap.cause
        check(seen, sim, is_live=True)
        check_user(seen)
        assert [bar.partial for bar in seen.bars] == [
            True,
            *(bar.start <= gap.end and gap.start < bar.end for bar in seen.bars[1:]),
        ]


@pytest.mark.parametrize("hub", ["market", "user"])
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1009, 1011, 1012, 1013, 3000, 4999])
async def test_every_close_code_but_one_reconnects(autojump_clock: MockClock, code: int, hub: str) -> None:
    """Row 9."""
    async with open_sim() as sim:
        fault = Fault("ws_close", hub=hub, code=code, reason="Bye\x1b[2J")
        seen, _ = await meet(sim, fault, at=2.01, until=5, user=True)
        assert back_after(seen, hub) <= 0.5
        (lost,) = [
            each.reason for each in seen.told(px.HubStateChanged) if each.state is px.HubState.RECONNECTING
        ]
        assert f"{code} (Bye\\x1b[2J)" in lost
        assert seen.gateway is not None
        assert seen.gateway.statistics().logins == 1
        check(seen, sim, is_live=True)
        check_user(seen)


async def test_a_policy_violation_means_a_fresh_login_and_then_the_end(autojump_clock: MockClock) -> None:
    """Row 9: 1008."""
    for count, logins, connects in ((1, 2, 2), (0, 2, 2)):
        async with open_sim() as sim:
            fault = Fault("ws_close", hub="market", code=1008, reason="Not you", count=count)
            seen, handle = await meet(sim, fault, at=AT, until=60)
            assert handle.struck == (count or 2)
            assert seen.statistics is not None
            assert (seen.statistics.logins, seen.statistics.connects) == (logins, connects)
            if count:
                assert back_after(seen) <= 0.5
                check(seen, sim, is_live=True)
            else:
                raises(seen, px.ConnectionLost, r"1008 \(Not you\); also with a fresh login")
                check(seen, sim)


async def test_a_close_record_that_forbids_to_return_is_the_end_of_its_hub_alone(
    autojump_clock: MockClock,
) -> None:
    """Rows 11 and 27: the text of the server, escaped; the other hub goes on."""
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with gateway.open_trades(CONTRACT) as trades, gateway.open_user_events():
            await trades.receive()
            sim.inject(Fault("close_record", hub="market", error="Gone\r\n\x1b[2J", allow_reconnect=False))
            with pytest.raises(
                px.ConnectionLost, match=r"asked not to come back: Gone\\r\\n\\x1b\[2J"
            ) as info:
                async for _ in trades:
                    pass
            with pytest.raises(px.ConnectionLost):
                await trades.receive()
            assert "\x1b" not in repr(info.value)
            await trio.sleep(100)
            health = gateway.health()
            assert (health.market.state, health.user.state) == (px.HubState.CLOSED, px.HubState.LIVE)
            assert gateway.statistics().connects == 1  # no storm
        assert sim.statistics().crashes == 0


async def test_a_service_that_closes_at_once_for_ever_meets_the_breaker(autojump_clock: MockClock) -> None:
    """Rows 10 and 12: what a real server does with a client's protocol error. It is told, and costs it little."""
    async with open_sim() as sim:
        await rate(sim, 0.05)
        fault = Fault("close_record", hub="market", count=0, error="Again")
        seen, handle = await meet(sim, fault, at=AT, until=600)
        ((start, end),) = seen.outages()
        assert start - AT <= 0.05
        assert end is None
        assert 8 <= handle.struck <= 5 + 600 / 30
        assert seen.samples[-1].market is px.HubState.RECONNECTING
        assert "Again" in seen.health
        check(seen, sim)


async def test_flaps_cost_no_storm_and_it_comes_back(autojump_clock: MockClock) -> None:
    """Row 22: 20 in 14 s."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 60, seen)
            await trio.sleep(AT)
            for _ in range(20):
                sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
                await trio.sleep(0.7)
            sim.clear_faults()
        assert seen.outages()[-1][1] is not None
        assert seen.outages()[-1][1] - (AT + 14) <= 30 + 1
        check(seen, sim, is_live=True)
        assert_steady(seen, AT)


async def test_many_reconnects_in_one_life_all_take_the_same(autojump_clock: MockClock) -> None:
    """Row 23; a thousand of them are in the load session."""
    async with open_sim() as sim:
        await rate(sim, 1)
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, AT + 15 * 31, seen)
            await trio.sleep(AT)
            for _ in range(15):
                sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
                await trio.sleep(30.5)
        assert len(seen.outages()) == 15
        assert all(end is not None and end - start <= 0.05 for start, end in seen.outages())
        check(seen, sim, is_live=True, bound_s=60)
        assert_steady(seen, AT)


# -- a connection that is dead and does not say so


@pytest.mark.parametrize("hub", ["market", "user"])
@pytest.mark.parametrize("pong_s", [None, 15.0])
async def test_a_half_open_connection_is_found(
    autojump_clock: MockClock, hub: str, pong_s: float | None
) -> None:
    """Rows 13 and 14: nothing comes any more in either direction, and nothing says so."""
    bound = pong_s or 30.0
    async with open_sim() as sim:
        await rate(sim, 5)
        timeouts = px.Timeouts(pong_s=pong_s)
        seen, _ = await meet(
            sim, Fault("half_open", hub=hub), at=AT, until=AT + bound + 6, user=True, timeouts=timeouts
        )
        assert bound - 6 <= told_at(seen, hub) - AT <= bound + 0.1
        assert back_after(seen, hub) <= 0.5
        assert seen.outages("user" if hub == "market" else "market") == []
        check(seen, sim, is_live=True, bound_s=bound)
        check_user(seen)


async def test_a_hub_without_pings_is_found_though_it_answers_ours(autojump_clock: MockClock) -> None:
    """Row 15, in a market where nothing happens."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 50, seen)
            await trio.sleep(AT)
            await rate(sim, 0)
            sim.inject(Fault("mute_pings", hub="market"))
            await trio.sleep(1)
            last = max(sample.at - sample.silent_s for sample in seen.samples)
        assert told_at(seen) - last <= 30.1
        assert "not even a ping" in seen.told(px.HubStateChanged)[-2].reason
        check(seen, sim)


async def test_muted_pings_and_pongs_matter_to_nobody_while_data_come(autojump_clock: MockClock) -> None:
    """Row 17, and half of row 15."""
    async with open_sim() as sim:
        await rate(sim, 2)
        sim.inject(Fault("mute_pongs", hub="market"))
        seen, handle = await meet(sim, Fault("mute_pings", hub="market"), at=AT, until=100)
        assert handle.struck == 1
        assert seen.outages() == []
        assert "round_trip_s=None" in seen.health
        check(seen, sim, is_live=True)


class Deaf(trio.abc.Stream):
    """The client's end of a connection whose other side takes nothing more from when it is told so."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream, self.is_full = stream, False

    async def send_all(self, data: bytes) -> None:
        if self.is_full:
            await trio.sleep_forever()
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_sends_that_block_are_given_up(autojump_clock: MockClock) -> None:
    """Row 16: the data go on, and so nobody else would notice; our ping is due within 15 s, and has 10."""
    made: list[Deaf] = []
    async with open_sim() as sim:
        await rate(sim, 5)

        async def connect(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
            made.append(Deaf(await sim.connect(host, port, tls=tls)))
            return made[-1]

        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 45, seen, connect=connect))
            await trio.sleep(AT)
            for stream in made:
                stream.is_full = True
        assert 10 <= told_at(seen) - AT <= 15 + 10 + 0.1
        assert back_after(seen) <= 0.5
        check(seen, sim, is_live=True)
        assert_steady(seen, AT)


async def test_a_slow_line_is_no_dead_one(autojump_clock: MockClock) -> None:
    """Row 18: a trade of 200 bytes takes 20 s here, and is waited for."""
    async with open_sim() as sim:
        await rate(sim, 0.02)
        fault = Fault("throttle", hub="market", bytes_per_s=10)
        seen, _ = await meet(sim, fault, at=AT, until=150, limits=px.Limits(stall_intervals=1000))
        assert seen.outages() == []
        check(seen, sim, bound_s=120)


async def test_a_record_has_its_time(autojump_clock: MockClock) -> None:
    """Row 18: one of 30 kB takes 150 s here, and has 120. No trade is behind it, so that nothing else is amiss."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 150, seen)
            await trio.sleep(AT)
            await rate(sim, 0)
            await trio.sleep(1)
            sim.inject(Fault("throttle", hub="market", bytes_per_s=200))
            await ask(sim, "POST", "/control/send?target=Gateway", f'["{"x" * 30_000}"]')
        assert told_at(seen) - (AT + 1) == pytest.approx(120, abs=2)
        assert "was not whole after 120 s" in str(seen.events)
        assert back_after(seen) <= 0.5
        check(seen, sim, bound_s=150)


async def test_latency_is_reported(autojump_clock: MockClock) -> None:
    """Row 19: 500 ms, more or less 250."""
    async with open_sim() as sim:
        seen, _ = await meet(sim, Fault("delay"), at=0.001, until=20)
        (hub,) = [each for each in seen.health.split("HubHealth(") if "hub='market'" in each]
        lag_ms = float(hub.split("lag_ms=")[1].split(",")[0])
        assert 250 <= lag_ms <= 2000
        assert seen.outages() == []
        check(seen, sim, is_live=True, slack_s=2.0)


async def test_a_stalled_market_is_told_asked_for_and_replaced(autojump_clock: MockClock) -> None:
    """Row 44 is like this too: data stop and pings go on. STALE in 30 s, then the service has newer."""
    async with open_sim() as sim:
        await rate(sim, 5)
        seen, _ = await meet(sim, Fault("mute_data", hub="market"), at=AT, until=45)
        (stalled,) = seen.told(px.MarketStalled)
        assert stalled.contract_id == CONTRACT
        (stale,) = [at for at, each in seen.events if getattr(each, "state", None) is px.HubState.STALE]
        assert 29 <= stale - AT <= 30.1
        assert told_at(seen) - stale == pytest.approx(1, abs=0.01)
        assert back_after(seen) <= 0.5
        check(seen, sim, is_live=True)
        assert "the service has newer" in seen.gaps[0].cause


# -- outages


async def outage(seconds: float, sim: Simulator, nursery: trio.Nursery, seen: Seen, until: float) -> None:
    """Take the whole service away, 5 s after our client has begun."""
    nursery.start_soon(lambda: watch(sim, until, seen, user=True))
    await trio.sleep(AT)
    sim.inject(Fault("refuse", count=0, duration_s=seconds))
    for hub in ("market", "user"):
        sim.inject(Fault("tcp_reset", hub=hub, phase="stream"))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_restart_costs_at_most_as_long_again(autojump_clock: MockClock, seed: int) -> None:
    """Row 20: back 8 s after it is up, whatever was drawn."""
    async with open_sim(seed) as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            await outage(8, sim, nursery, seen, 30)
        for hub in ("market", "user"):
            assert 8 <= back_after(seen, hub) <= 16.1
        check(seen, sim, is_live=True)
        check_user(seen)
        assert_steady(seen, AT)


@pytest.mark.parametrize(("seconds", "trades_per_s"), [(90, 20), (1200, 0.1)])
async def test_a_long_outage_is_survived_and_the_gap_is_exact(
    autojump_clock: MockClock, seconds: float, trades_per_s: float
) -> None:
    """Row 21: two hours are as twenty minutes, but for the time they take; 24 are in the load session."""
    async with open_sim() as sim:
        await rate(sim, trades_per_s)
        seen = Seen()
        async with trio.open_nursery() as nursery:
            # The market closes for an hour at 16:00 in Chicago, which is 540 s after the beginning.
            await outage(seconds, sim, nursery, seen, AT + seconds + 60)
        assert seconds <= back_after(seen) <= seconds + 31
        assert len(seen.gaps) == 1
        account = check(seen, sim, is_live=True, bound_s=seconds)
        # What comes first may have been traded in the step before the subscription: it could have been sent again.
        come = len(_between(sim, seen)) - account.missed
        (gap,) = seen.gaps
        assert 0 <= come <= len([ts for (ts,) in _between(sim, seen) if ts > gap.end - 100_000_000])
        assert seen.connects <= 2 + 2 * (8 + seconds / 10)
        assert_steady(seen, AT)


def _between(sim: Simulator, seen: Seen) -> list[tuple[int]]:
    (gap,) = seen.gaps
    return [(ts,) for ts in sim.truth()["ts_event"].to_pylist() if gap.start < ts < gap.end]


async def test_one_hub_is_down_and_the_other_does_not_care(autojump_clock: MockClock) -> None:
    """Row 27."""
    for down, up in (("user", "market"), ("market", "user")):
        async with open_sim() as sim:
            await rate(sim, 5)
            seen = Seen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: watch(sim, 70, seen, user=True))  # noqa: B023  it is run in this round
                await trio.sleep(AT)
                sim.inject(Fault("http_status", hub=down, phase="upgrade", count=0, duration_s=30))
                sim.inject(Fault("tcp_reset", hub=down))
            assert seen.outages(up) == []
            assert 30 <= back_after(seen, down) <= 61
            assert (len(seen.gaps) == 0) is (up == "market")
            check(seen, sim, is_live=True, bound_s=60)
            check_user(seen)


# -- the way in


@pytest.mark.parametrize("failures", [1, 6])
async def test_at_start_a_hub_is_tried_again_where_that_is_asked_for(
    autojump_clock: MockClock, failures: int
) -> None:
    """Row 24; without the option its failure is raised at once (test_simulator_faults_client.py)."""
    async with open_sim() as sim:
        sim.inject(Fault("http_status", hub="market", phase="upgrade", count=failures))
        seen = await watch(sim, 70, reconnect=px.Reconnect(at_start=True))
        assert seen.error is None
        assert seen.statistics is not None
        assert seen.statistics.connects == failures + 1
        assert len(seen.trades) > 50
        check(seen, sim, is_live=True)


class Door:
    """A way to a simulator whose first steps fail as somebody says."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.fails: Callable[[], Awaitable[None]] | None = None
        self.tried: list[tuple[float, str]] = []

    async def __call__(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        self.tried.append((trio.current_time(), host))
        if self.fails is not None:
            await self.fails()
        return await self.sim.connect(host, port, tls=tls)


async def no_such_name() -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def no_name_server() -> None:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize("fails", [no_such_name, no_name_server, trio.sleep_forever])
async def test_names_that_cannot_be_found_for_a_while(
    autojump_clock: MockClock, fails: Callable[[], Awaitable[None]]
) -> None:
    """Row 25: tried again under back-off, and a look-up that hangs is given up after 10 s."""
    async with open_sim() as sim:
        door, seen = Door(sim), Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 40, seen, connect=door))
            await trio.sleep(AT)
            door.fails, before = fails, len(door.tried)
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(8)
            door.fails, during = None, len(door.tried) - before
        tried = [at for at, _ in door.tried[before:]]
        assert during <= 5 + 8  # what the bucket has at once, and in eight seconds; who finds it comes later
        assert len(tried) >= 2
        back = back_after(seen)  # behind that come requests of REST, which the bucket does not count
        assert sum(at - tried[0] <= back for at in tried) <= 5 + back + 1
        assert all(later - earlier <= 16 for earlier, later in pairwise(tried))
        assert 8 <= back_after(seen) <= 16.1
        check(seen, sim, is_live=True)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("phase", ["negotiate", "upgrade"])
async def test_a_status_that_passes_is_tried_again(
    autojump_clock: MockClock, status: int, phase: str
) -> None:
    """Row 33."""
    seen, struck = await reconnect_meets("http_status", phase, status=status, count=3)
    assert struck == 3
    assert back_after(seen) <= 0.5 + 1 + 2 + 0.1


async def reconnect_meets(name: str, phase: str, *, until: float = 12, **options: object) -> tuple[Seen, int]:
    """Let a connection that is to replace a lost one meet a fault; return what was seen, and how often it struck."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, until, seen, negotiate=phase == "negotiate"))
            await trio.sleep(2.01)
            handle = sim.inject(Fault(name, hub="market", phase=phase, **options))  # type: ignore[arg-type]
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        check(seen, sim, is_live=None if seen.error else True)
        return seen, handle.struck


@pytest.mark.parametrize(("asked", "waited"), [(7, 7), (0, 0)])
async def test_too_many_requests_waits_as_told(autojump_clock: MockClock, asked: int, waited: int) -> None:
    """Row 32."""
    seen, _ = await reconnect_meets("http_status", "upgrade", status=429, retry_after_s=asked)
    assert waited <= back_after(seen) <= waited + 0.6


async def test_a_retry_after_of_days_is_cut(autojump_clock: MockClock) -> None:
    async with open_sim() as sim:
        await rate(sim, 0.1)
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 640, seen))
            await trio.sleep(2.01)
            sim.inject(Fault("http_status", hub="market", phase="upgrade", status=429, retry_after_s=500_000))
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        assert back_after(seen) == pytest.approx(600, abs=1)
        check(seen, sim, is_live=True, bound_s=600)


@pytest.mark.parametrize(
    ("negotiate", "status", "says"), [(False, 404, "no hub"), (False, 403, "403"), (True, 403, "403")]
)
async def test_a_status_that_stays_is_the_end(
    autojump_clock: MockClock, negotiate: bool, status: int, says: str
) -> None:
    """Rows 30 and 31: with the server's text, escaped, and without another attempt."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 60, seen, negotiate=negotiate))
            await trio.sleep(2.01)
            fault = Fault(
                "http_status", hub="market", phase="upgrade", status=status, body="No\x1b[2J", count=0
            )
            handle = sim.inject(fault)
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        raises(seen, px.ConnectionLost, says)
        assert "\x1b" not in repr(seen.error)
        assert handle.struck == 1
        check(seen, sim)


async def test_an_id_that_was_used_is_negotiated_anew(autojump_clock: MockClock) -> None:
    """Row 31."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 8, seen, negotiate=True))
            await trio.sleep(2.01)
            handle = sim.inject(Fault("http_status", hub="market", phase="upgrade", status=404))
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        assert handle.struck == 1
        assert back_after(seen) <= 0.6
        check(seen, sim, is_live=True)


@pytest.mark.parametrize(
    ("phase", "bound_s"), [("negotiate", 10), ("upgrade", 10), ("handshake", 15), ("subscribe", 15)]
)
@pytest.mark.parametrize("name", ["hang", "half_open"])
async def test_a_step_that_hangs_is_given_up(
    autojump_clock: MockClock, name: str, phase: str, bound_s: float
) -> None:
    """Rows 34, 37 and 41."""
    seen, struck = await reconnect_meets(name, phase, until=20)
    assert struck == 1
    assert bound_s - 0.001 <= back_after(seen) <= bound_s + 1.1


@pytest.mark.parametrize("kind", [kind for kind in BODY_KINDS if kind not in ("redirect", "huge")])
async def test_an_answer_to_negotiate_that_is_none_is_tried_again(
    autojump_clock: MockClock, kind: str
) -> None:
    """Row 35."""
    seen, struck = await reconnect_meets("http_body", "negotiate", kind=kind, until=20)
    assert struck == 1
    assert back_after(seen) <= (11 if kind == "declared" else 0.6)


async def test_a_huge_answer_to_negotiate_is_not_taken(autojump_clock: MockClock) -> None:
    seen, struck = await reconnect_meets("http_body", "negotiate", kind="huge", size_bytes=40 << 20, until=20)
    assert struck == 1
    assert back_after(seen) <= 0.6


async def test_a_redirect_to_another_origin_is_not_followed(autojump_clock: MockClock) -> None:
    """Row 36: nobody connects there, so that no token goes there."""
    async with open_sim() as sim:
        door, seen = Door(sim), Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 20, seen, negotiate=True, connect=door))
            await trio.sleep(2.01)
            handle = sim.inject(Fault("http_body", hub="market", phase="negotiate", kind="redirect"))
            sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        assert handle.struck >= 1
        assert {host for _, host in door.tried} == {"127.0.0.1"}
        check(seen, sim)


@pytest.mark.parametrize("kind", HANDSHAKE_KINDS)
async def test_an_answer_to_the_handshake_that_is_none_is_tried_again(
    autojump_clock: MockClock, kind: str
) -> None:
    """Rows 38 and 39: but a refusal in words is the end."""
    error = "Not\x07 today" if kind == "error" else ""
    seen, struck = await reconnect_meets("handshake_answer", "handshake", kind=kind, error=error, until=20)
    assert struck == 1
    if kind == "error":
        raises(seen, px.ConnectionLost, r"Not\\x07 today")
    else:
        assert back_after(seen) <= (15.6 if kind == "unterminated" else 0.6)


# -- subscriptions


async def drain(stream: px.Stream[px.Trade], ended: dict[str, px.SubscriptionError], name: str) -> None:
    try:
        async for _ in stream:
            pass
    except px.SubscriptionError as exc:
        ended[name] = exc


async def test_a_refused_subscription_breaks_its_own_streams_and_can_be_had_again(
    autojump_clock: MockClock,
) -> None:
    """Row 40, where the service does not take one of two again after a reconnect."""
    contracts, ended = {CONTRACT, "CON.F.US.MES.U26"}, dict[str, px.SubscriptionError]()
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        async with gateway.open_events() as events, AsyncExitStack() as stack, trio.open_nursery() as nursery:
            for name in contracts:
                stream = await stack.enter_async_context(gateway.open_trades(name))
                nursery.start_soon(drain, stream, ended, name)
            await trio.sleep(1.01)
            sim.inject(Fault("subscribe_refused", hub="market", phase="subscribe", error="No\x1b."))
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(1)
            ((broken, error),) = ended.items()
            assert r"No\x1b." in str(error)
            (kept,) = contracts - {broken}
            assert gateway.health().market.state is px.HubState.LIVE
            for name in (broken, kept):
                async with gateway.open_trades(name) as again:
                    assert (await again.receive()).contract_id == name
            assert gateway.statistics().connects == 2
            nursery.cancel_scope.cancel()
            told = [event async for event in _all(events)]
        assert [each.subscription for each in told if isinstance(each, px.SubscriptionRefused)] == [
            f"ContractTrades of {broken}"
        ]


async def _all(events: px.Stream[px.ConnectionEvent | px.Dropped]) -> AsyncGenerator[object]:
    with suppress(trio.WouldBlock, trio.ClosedResourceError):
        while True:
            yield events.receive_nowait()


# -- the storm of wishes, and to leave


async def test_the_last_wish_wins_in_a_storm(autojump_clock: MockClock) -> None:
    """Row 101: a thousand times, at random, with answers that take their time; the server has what was wished last."""
    products = ("MNQ", "MES", "GC", "CL", "ES")
    rng = random.Random(7)
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        await rate(sim, 0)
        await gateway.wait_connected()
        sim.inject(Fault("delay", hub="market", latency_s=0.05, jitter_s=0.04))
        hub = gateway._streams.market_hub
        ids = [(await gateway._streams.service.contract(each)).contract_id for each in products]
        wishes = dict.fromkeys(ids, False)
        for _ in range(1000):
            name = rng.choice(ids)
            wanted = Subscription(Kind.TRADES, name)
            if wishes[name]:
                hub.release(wanted)
            else:
                hub.wants.add(wanted)
                hub.keeper.declare(wanted)
            wishes[name] = not wishes[name]
            if rng.random() < 0.3:
                await trio.sleep(0.02 * rng.random())
        await trio.sleep(2)
        _, state = await ask(sim, "GET", "/control/state")
        (connection,) = state["connections"]
        assert set(connection["subs"]) == {f"GatewayTrade {name}" for name, is_on in wishes.items() if is_on}
        assert gateway.health().market.state is px.HubState.LIVE


WAYS: dict[str, tuple[Fault, ...]] = {
    "live": (),
    "half-open": (Fault("half_open", hub="market"), Fault("half_open", hub="user")),
    "server that does not read": (Fault("stop_reading", hub="market"),),
    "reconnecting": (Fault("refuse", count=0, duration_s=100), Fault("tcp_reset", hub="market")),
    "in the upgrade": (Fault("hang", hub="market", phase="upgrade"), Fault("tcp_reset", hub="market")),
    "in the handshake": (Fault("hang", hub="market", phase="handshake"), Fault("tcp_reset", hub="market")),
    "subscribing": (
        Fault("hang", hub="market", phase="subscribe"),
        Fault("tcp_reset", hub="market", phase="stream"),
    ),
    "stalled": (Fault("mute_data", hub="market"),),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after_s", [0.0, 0.3, 12.0, 32.0])
async def test_leaving_takes_no_time_whatever_the_state(
    autojump_clock: MockClock, way: str, after_s: float
) -> None:
    """Row 102: a second, what a farewell that is not read and a Close that is not answered may take included."""
    async with open_sim() as sim:
        await rate(sim, 2)
        before = trio.lowlevel.current_task().child_nurseries.copy()
        async with px.open_gateway(config_for(sim)) as gateway:
            async with gateway.open_bars(CONTRACT, "1s"), gateway.open_user_events():
                await trio.sleep(2.01)
                for fault in WAYS[way]:
                    sim.inject(fault)
                await trio.sleep(after_s)
                left = trio.current_time()
        assert trio.current_time() - left <= 1.0
        assert trio.lowlevel.current_task().child_nurseries == before


# -- where the other rows are

HERE = {
    1,
    2,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    27,
    30,
    31,
    32,
    33,
    34,
    35,
    36,
    37,
}
HERE |= {38, 39, 40, 41, 101, 102}
ELSEWHERE = {
    "test_faults_matrix.py": {1, 2, 6, 7, 10, 13, 33, 37, 39, 41, 42, 64, 65, 66, 67, 69},
    "test_simulator_faults_sweep.py": {3, 4},
    "test_connection_sweep.py": {5},
    "test_connection_network.py": {26},
    "test_simulator_faults_client.py": {24, 29, 42},
    "test_faults_tokens.py": {8, 28, 29, *range(43, 52)},
    "test_simulator_faults_hostile.py": {67, 68, 69, 70, 71, 85},
    "test_faults_clocks.py": {44, 87, 88, 89, 90, 91},
    "test_faults_history.py": {84, 86, 103, 104, 105, 111},
    "test_journal_recorder.py": {106, 108},
    "test_journal_kill.py": {107},
}
WANTED = {*range(1, 52), *range(64, 72), *range(84, 92), *range(101, 109), 111}


def test_no_row_is_left_out() -> None:
    assert set().union(HERE, *ELSEWHERE.values()) == WANTED
    folder = Path(__file__).parent
    assert [name for name in ELSEWHERE if not (folder / name).is_file()] == []
