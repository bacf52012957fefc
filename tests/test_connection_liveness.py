"""Whether the other side lives: records, pongs, proofs, and what is nobody's silence but our own."""

from __future__ import annotations

import math

import pytest
import trio
from epoch_tools import Bench, hub_that, nothing, running
from scripted import PING, Hub, Request, Script, Wire, record, trade
from trio.testing import MockClock
from wsproto.events import Event, Pong

from trio_projectx import Timeouts
from trio_projectx.connection.endings import Silent


class Silently:
    """A hub that may stop answering WebSocket pings, and everything else, from some time on."""

    def __init__(self, *, mute_at: float = math.inf, dead_at: float = math.inf, ping_s: float = 10.0) -> None:
        self.mute_at = mute_at
        self.dead_at = dead_at
        self.ping_s = ping_s
        self.pings = 0
        """WebSocket pings that came."""

    async def __call__(self, wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        send = hub.ws._send  # trio_websocket answers pings by itself, and has no switch for it

        async def all_but_pongs(event: Event) -> None:
            if isinstance(event, Pong):
                self.pings += 1
                if trio.current_time() >= min(self.mute_at, self.dead_at):
                    return
            await send(event)

        hub.ws._send = all_but_pongs  # type: ignore[method-assign]
        await hub.shake()
        wire.nursery.start_soon(self._ping, hub)
        await hub.until_gone()

    async def _ping(self, hub: Hub) -> None:
        while True:
            await trio.sleep(self.ping_s)
            if trio.current_time() >= self.dead_at:
                return
            await hub.send(PING)


def hold_pongs(hub: Hub) -> trio.Event:
    """Let what the server's own end sends wait for the event: no pong stands within a frame."""
    send, is_through = hub.ws._send, trio.Event()

    async def behind_it(event: Event) -> None:
        await is_through.wait()
        await send(event)

    hub.ws._send = behind_it  # type: ignore[method-assign]
    return is_through


def dripping(text: str, bytes_per_s: int) -> Script:
    """A hub that sends one record very slowly, in one frame."""

    async def play(hub: Hub) -> None:
        payload = text.encode()
        size = len(payload)
        is_through = hold_pongs(hub)
        await hub.stream.send_all(b"\x81\x7e" + size.to_bytes(2, "big"))
        for start in range(0, size, bytes_per_s):
            await trio.sleep(1)
            await hub.stream.send_all(payload[start : start + bytes_per_s])
        is_through.set()

    return hub_that(play)


def long_trade(size: int) -> str:
    return trade(7.0)[:-2] + ',"x":"' + "y" * size + '"}\x1e'


async def test_pings_and_pongs(autojump_clock: MockClock) -> None:
    script = Silently()
    async with running(script) as bench:
        epoch = await bench.live()
        assert epoch.liveness.record_at == 0
        await trio.sleep(46)
        assert script.pings == 4  # at 0, 15, 30 and 45 s
        assert epoch.liveness.round_trip_s == pytest.approx(0)
        assert epoch.liveness.record_at == pytest.approx(40)
        assert epoch.liveness.pong_at == epoch.liveness.proved_until == pytest.approx(45)
        assert bench.proofs == pytest.approx([0, 15, 30, 45])


async def test_a_proof_is_given_by_a_ping_that_is_sent_after_its_time(autojump_clock: MockClock) -> None:
    script = Silently()
    async with running(script) as bench:
        epoch = await bench.live()
        await trio.sleep(3)
        epoch.liveness.prove(5.0)
        epoch.liveness.prove(4.0)
        await trio.sleep(1.99)
        assert bench.proofs == pytest.approx([0])
        await trio.sleep(0.02)
        assert bench.proofs == pytest.approx([0, 5])
        assert (
            epoch.liveness.proved_until > 5
        )  # not at it: what was sent at that very time is received then, too
        epoch.liveness.prove(5.0)  # proved
        epoch.liveness.prove(-math.inf)
        await trio.sleep(14)
        assert script.pings == 2
        epoch.liveness.prove(trio.current_time() - 1)  # past already
        await trio.testing.wait_all_tasks_blocked()
        assert script.pings == 3
        assert epoch.liveness.proved_until == pytest.approx(trio.current_time())


async def test_many_wishes_for_proofs_cost_one_ping_for_each_time(autojump_clock: MockClock) -> None:
    script = Silently()
    async with running(script) as bench:
        epoch = await bench.live()
        await trio.sleep(1)
        for until in range(2, 12):
            for _ in range(100):
                epoch.liveness.prove(float(until))
            await trio.sleep(1.01)
        assert script.pings <= 1 + 10 + 1
        assert epoch.liveness.proved_until > 11


async def test_muted_pongs_are_ignored_and_cost_nothing(autojump_clock: MockClock) -> None:
    """FAULTS.md row 17. Also where a proof is wanted that nobody gives, for hours."""
    script = Silently(mute_at=20)
    async with running(script) as bench:
        epoch = await bench.live()
        await trio.sleep(29)
        epoch.liveness.prove(29.0)
        await trio.sleep(2 * 3600)
        assert epoch.live
        assert epoch.liveness.round_trip_s is None
        assert epoch.liveness.proved_until == pytest.approx(15)
        assert script.pings <= 2 * 3600 / 15 + 3


async def test_who_has_no_pong_in_time_may_have_one_later(autojump_clock: MockClock) -> None:
    script = Silently(mute_at=20)
    async with running(script) as bench:
        epoch = await bench.live()
        await trio.sleep(46)  # the ping of 30 s has waited for its 15 s
        assert epoch.liveness.round_trip_s is None
        script.mute_at = math.inf
        await trio.sleep(15)
        assert epoch.liveness.round_trip_s == pytest.approx(0)
        assert epoch.liveness.proved_until == pytest.approx(60)


# Half-open: found in 30 s, or in 15 where that was asked for (rows 13 and 15)


@pytest.mark.parametrize("dead_at", [0.0, 0.1, 4.9, 5.0, 5.1, 9.9, 14.0, 20.0, 23.3, 61.0])
@pytest.mark.parametrize("pong_s", [None, 15.0, 6.0])
async def test_a_half_open_connection_is_found_in_time(
    autojump_clock: MockClock, pong_s: float | None, dead_at: float
) -> None:
    script = Silently(dead_at=dead_at)
    async with running(script, timeouts=Timeouts(pong_s=pong_s)) as bench:
        error = await bench.failure()
        within = 30.0 if pong_s is None else pong_s
        assert isinstance(error, Silent)
        assert trio.current_time() <= dead_at + within + 0.001
        assert trio.current_time() >= within
        assert ("neither a record nor a pong" in str(error)) is (pong_s is not None)


@pytest.mark.parametrize("pong_s", [None, 15.0, 1.0])
async def test_a_hub_that_lives_is_not_taken_for_dead(
    autojump_clock: MockClock, pong_s: float | None
) -> None:
    script = Silently(ping_s=29.9)
    async with running(script, timeouts=Timeouts(pong_s=pong_s)) as bench:
        epoch = await bench.live()
        await trio.sleep(1000)
        assert epoch.live


async def test_records_are_a_sign_of_life_where_pongs_are_muted(autojump_clock: MockClock) -> None:
    script = Silently(mute_at=0, ping_s=14.9)
    async with running(script, timeouts=Timeouts(pong_s=15)) as bench:
        epoch = await bench.live()
        await trio.sleep(1000)
        assert epoch.live


async def test_a_hub_that_is_dead_behind_a_websocket_that_lives_is_found(autojump_clock: MockClock) -> None:
    """Row 15: pongs go on. They prove the line, not the hub, also where ``pong_s`` is set."""
    for pong_s in (None, 15.0):
        began = trio.current_time()
        async with running(hub_that(nothing), timeouts=Timeouts(pong_s=pong_s)) as bench:
            error = await bench.failure()
            assert "no record for 30 s" in str(error)
            assert trio.current_time() - began == pytest.approx(30)
            assert bench.epoch.liveness.pong_at > bench.epoch.liveness.record_at


# A slow line is not a dead one (row 18)


@pytest.mark.parametrize("pong_s", [None, 15.0])
async def test_a_record_that_comes_slowly_is_waited_for(
    autojump_clock: MockClock, pong_s: float | None
) -> None:
    async with running(dripping(long_trade(9_000), 100), timeouts=Timeouts(pong_s=pong_s)) as bench:
        epoch = await bench.live()
        await trio.sleep(95)
        assert bench.prices() == [7.0]
        assert epoch.live


@pytest.mark.parametrize("pong_s", [None, 15.0])
async def test_but_not_for_ever(autojump_clock: MockClock, pong_s: float | None) -> None:
    timeouts = Timeouts(pong_s=pong_s, record_s=60)
    async with running(dripping(long_trade(9_000), 100), timeouts=timeouts) as bench:
        error = await bench.failure()
        assert "a record was not whole after 60 s" in str(error)
        assert trio.current_time() == pytest.approx(60)


async def test_half_a_record_and_then_nothing_is_silence(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await trio.sleep(10)
        hold_pongs(hub)
        await hub.stream.send_all(b"\x81\x7e\x10\x00" + b"x" * 100)
        await trio.sleep_forever()

    async with running(hub_that(play)) as bench:
        error = await bench.failure()
        assert "no record for 30 s" in str(error)
        assert trio.current_time() <= 60


async def test_half_a_record_and_then_nothing_is_found_sooner_by_ping(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await trio.sleep(10)
        hold_pongs(hub)
        await hub.stream.send_all(b"\x81\x7e\x10\x00" + b"x" * 100)
        await trio.sleep_forever()

    async with running(hub_that(play), timeouts=Timeouts(pong_s=15)) as bench:
        error = await bench.failure()
        assert "neither a record nor a pong" in str(error)
        assert trio.current_time() <= 25.001  # a pong cannot stand within a frame


async def test_pongs_within_a_wait_do_not_make_it_longer(autojump_clock: MockClock) -> None:
    """They are bytes, too, and no part of a record."""
    async with running(hub_that(nothing), timeouts=Timeouts(probe_s=1)) as bench:
        await bench.failure()
        assert trio.current_time() == pytest.approx(30)


# Our own back-pressure


async def held(bench: Bench, seconds: float) -> None:
    await bench.live()
    bench.sink.gate = trio.Event()
    await trio.sleep(seconds)
    assert bench.epoch.liveness.is_held_back
    assert bench.epoch.live
    bench.sink.gate.set()


@pytest.mark.parametrize("seconds", [20.0, 200.0])
@pytest.mark.parametrize("pong_s", [None, 15.0, 1.0])
async def test_while_the_reader_is_held_back_nothing_is_taken_for_silence(
    autojump_clock: MockClock, seconds: float, pong_s: float | None
) -> None:
    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        wire.nursery.start_soon(hub.until_gone)
        await trio.sleep(1)
        while True:
            await hub.send(trade())
            await trio.sleep(0.9)

    for _ in range(3):  # trio shuffles what is due together
        async with running(script, timeouts=Timeouts(pong_s=pong_s)) as bench:
            await held(bench, seconds)
            await trio.sleep(60)
            assert bench.epoch.live
            assert not bench.epoch.liveness.is_held_back
            assert bench.epoch.liveness.round_trip_s is not None


async def test_what_was_held_back_and_then_is_silent_is_found_in_time(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        await hub.send(trade())
        await trio.sleep_forever()

    for pong_s, within in ((None, 30.0), (15.0, 30.0)):
        began = trio.current_time()
        async with running(hub_that(play), timeouts=Timeouts(pong_s=pong_s)) as bench:
            bench.sink.gate = trio.Event()
            await held(bench, 100)
            await bench.failure()
            assert 100 < trio.current_time() - began <= 100 + within + 0.001


async def test_our_pings_go_out_right_after_the_handshake_and_while_the_reader_is_held_back(
    autojump_clock: MockClock,
) -> None:
    """The server counts our silence from the handshake on, and disconnects whoever says nothing for 30 s."""
    pings: list[float] = []

    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake()
        await hub.send(trade())
        while True:
            if (await hub.record())["type"] == 6:
                pings.append(trio.current_time())

    async with running(script) as bench:
        bench.sink.gate = trio.Event()
        await held(bench, 100)
        assert pings == pytest.approx([0, 15, 30, 45, 60, 75, 90])


async def test_what_is_no_record_of_data_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async def play(hub: Hub) -> None:
        for text in (PING, record(type=99), "x\x1e", "{", "}\x1e", PING):
            await trio.sleep(29)
            await hub.send(text)

    async with running(hub_that(play)) as bench:
        await bench.live()
        await trio.sleep(6 * 29 + 29)
        assert bench.epoch.live
