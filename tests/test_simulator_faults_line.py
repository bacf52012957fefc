"""The stream between socket and server: counting, cutting, phases, turns, the end; also `progress` and `modes`."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from trio_projectx.flow.background import BackgroundTasks, open_background_tasks
from trio_projectx.simulator import Fault, breakable_pair
from trio_projectx.simulator.faults.engine import Faults
from trio_projectx.simulator.faults.frames import read_frame, text_frame, write_frame
from trio_projectx.simulator.faults.line import Line
from trio_projectx.simulator.faults.progress import Progress, Where
from trio_projectx.simulator.settings import Counters
from trio_projectx.simulator.streams import BreakableStream

UPGRADE = b"GET /hubs/Market?id=1 HTTP/1.1\r\nHost: x\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
DONE = '{"type":3,"invocationId":"1","result":null}'
TRADES = '{"type":1,"target":"GatewayTrade","arguments":["C",[]]}'


def made(
    tasks: BackgroundTasks, capacity: int = 65536, seed: int = 0
) -> tuple[Faults, Line, BreakableStream]:
    faults = Faults(tasks, Counters(), lambda: None, seed=seed)
    ours, theirs = breakable_pair(capacity)
    return faults, faults.attach(ours), theirs


async def go_live(line: Line, client: BreakableStream) -> None:
    """Take ``line`` to the phase `stream`."""
    await client.send_all(UPGRADE)
    assert await line.receive_some() == UPGRADE
    for data in (SWITCHING, text_frame("{}"), text_frame(DONE)):
        await line.send_all(data)
        assert await client.receive_some() == data
    assert line.phase == "stream"


async def heard(client: BreakableStream) -> bytes:
    got = b""
    with trio.move_on_after(5):
        while data := await client.receive_some():
            got += data
    return got


def test_progress_of_a_hub_connection() -> None:
    progress = Progress(Where(1))
    assert not progress.see(UPGRADE[:9])
    assert progress.see(UPGRADE[9:])
    assert (progress.where.hub, progress.where.path, progress.phase) == ("market", "/hubs/market", "upgrade")
    assert not progress.begin_request("/hubs/market")
    phases = []
    for data in (
        SWITCHING,
        b"\x8a\x00",
        text_frame("{}"),
        text_frame(TRADES),
        text_frame(DONE),
        text_frame(DONE),
    ):
        progress.note_sent(data)
        phases.append(progress.phase)
    assert phases == ["handshake", "handshake", "subscribe", "subscribe", "stream", "stream"]


@pytest.mark.parametrize(
    ("line", "hub", "phase"),
    [
        (b"POST /hubs/user/negotiate?negotiateVersion=1 HTTP/1.1\r\n", "user", "negotiate"),
        (b"POST http://h:1/API/Auth/loginKey/ HTTP/1.1\r\n", "rest", "rest"),
        (b"GET /control/state HTTP/1.1\r\n", "control", "control"),
        (b"\x16\x03\x01\n", "rest", "rest"),
        (b"x" * 70_000, "rest", "rest"),
    ],
)
def test_the_first_line_tells_who_it_is(line: bytes, hub: str, phase: str) -> None:
    progress = Progress(Where(1))
    assert progress.see(line)
    assert (progress.where.hub, progress.phase) == (hub, phase)


async def test_without_a_fault_everything_passes_and_is_counted(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        _, line, client = made(tasks)
        await go_live(line, client)
        before = line.progress.bytes_out
        await line.send_all(memoryview(b"abc"))
        assert await client.receive_some() == b"abc"
        assert line.progress.bytes_out == before + 3
        assert line.progress.bytes_in == len(UPGRADE)
        await client.aclose()
        assert await line.receive_some() == b""


@pytest.mark.parametrize("name", ["tcp_reset", "tcp_fin", "half_open", "garbage"])
async def test_a_fault_at_a_byte_strikes_between_two_bytes(autojump_clock: object, name: str) -> None:
    for at in range(1, 40, 7):
        async with open_background_tasks() as tasks:
            faults, line, client = made(tasks)
            await go_live(line, client)
            start = line.progress.bytes_out
            handle = faults.inject(Fault(name, after_bytes=start + at))
            got = b""

            async def read(client: BreakableStream = client) -> None:
                nonlocal got
                with trio.move_on_after(3):
                    try:
                        while data := await client.receive_some():
                            got += data
                    except trio.BrokenResourceError:
                        pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                try:
                    await line.send_all(b"x" * 40)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    assert name == "tcp_reset"
            assert got[:at] == b"x" * at
            assert (len(got) == at) is (name != "garbage")
            assert handle.struck == 1
            await client.aclose()


async def test_what_is_read_is_cut_too(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        handle = faults.inject(Fault("tcp_reset", hub="market", after_bytes=5, direction="in"))
        await client.send_all(UPGRADE)
        assert await line.receive_some() == UPGRADE[:5]
        assert (handle.struck, line.progress.bytes_in) == (1, 5)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()


async def test_inserts_wait_for_the_end_of_a_frame_and_for_their_turn(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks, capacity=64)
        await go_live(line, client)
        frame = write_frame(b"y" * 500)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.send_all, frame)
            await trio.sleep(1)
            handle = faults.inject(Fault("unknown_type"))
            await trio.sleep(1)
            assert handle.struck == 0  # the frame before it is stuck
            got = await heard(client)
        assert got[: len(frame)] == frame
        assert read_frame(got[len(frame) :]) is not None
        assert handle.struck == 1


async def test_a_reset_does_not_wait_for_its_turn(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks, capacity=64)
        await go_live(line, client)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await line.send_all(b"y" * 500)

            nursery.start_soon(send)
            await trio.sleep(1)
            faults.inject(Fault("tcp_reset"))
        assert faults.struck == 1
        await client.aclose()


async def test_throttling_is_at_the_rate_and_what_is_on_its_way_arrives_after_the_close(
    autojump_clock: object,
) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        faults.inject(Fault("throttle", bytes_per_s=100))
        await trio.lowlevel.checkpoint()
        started = trio.current_time()
        await line.send_all(b"z" * 200)
        await line.aclose()
        assert trio.current_time() == started
        assert await heard(client) == b"z" * 200
        assert trio.current_time() - started == pytest.approx(2, abs=0.2)


async def test_a_send_while_a_line_stops_being_slow_is_sent(autojump_clock: object) -> None:
    """Whoever is about to hand something to the pump when it ends sends it: the connection is not gone."""
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        for steps in (*range(12), *range(12)):
            faults.inject(Fault("throttle", bytes_per_s=100_000))
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(line.send_all, b"zz")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                faults.clear()
            await trio.sleep(1)
            assert await client.receive_some() == b"zz" * 3
        await line.aclose()


async def test_a_slow_line_holds_only_so_much_and_is_given_up_after_the_close(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        faults.inject(Fault("throttle", bytes_per_s=1))
        await trio.lowlevel.checkpoint()
        await line.send_all(b"z" * 70_000)
        with trio.move_on_after(3) as scope:
            await line.send_all(b"z")
        assert scope.cancelled_caught
        await line.aclose()
        await trio.sleep(6)
        assert len(await heard(client)) < 20


async def test_delays_are_seeded_and_keep_the_order(autojump_clock: object) -> None:
    times: list[list[float]] = []
    for seed in (1, 1, 2):
        async with open_background_tasks() as tasks:
            faults, line, client = made(tasks, seed=seed)
            await go_live(line, client)
            faults.inject(Fault("delay", latency_s=1, jitter_s=0.9))
            await trio.lowlevel.checkpoint()
            started = trio.current_time()
            for number in range(5):
                await line.send_all(bytes((number,)))
            came: list[float] = []
            got = b""
            while len(got) < 5:
                got += await client.receive_some()
                came.append(round(trio.current_time() - started, 6))
            assert got == bytes(range(5))
            times.append(came)
            await client.aclose()
    assert times[0] == times[1] != times[2]
    assert len(set(times[0])) > 1


async def test_a_fault_ends_after_its_duration(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        faults.inject(Fault("half_open", duration_s=10))
        await trio.sleep(1)
        await line.send_all(b"lost")
        await client.send_all(b"late")
        assert await line.receive_some() == b"late"
        assert trio.current_time() >= 10
        await line.send_all(b"there")
        assert await client.receive_some() == b"there"


async def test_a_half_open_line_stays_open_for_the_client_until_the_faults_are_cleared(
    autojump_clock: object,
) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        faults.inject(Fault("half_open"))
        await trio.sleep(0.1)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await line.receive_some()

            nursery.start_soon(read)
            await trio.sleep(1)
            await line.aclose()
        await client.send_all(b"anybody?")
        assert await heard(client) == b""
        assert faults.clear() == 1
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()


async def test_lines_are_forgotten(autojump_clock: object) -> None:
    async with open_background_tasks() as tasks:
        faults, line, client = made(tasks)
        await go_live(line, client)
        await line.aclose()
        assert faults._lines == {}
        faults.inject(Fault("tcp_reset"))
        line.add(faults.inject(Fault("tcp_reset"))._armed)
        with pytest.raises(trio.ClosedResourceError):
            await line.send_all(b"x")


async def test_there_may_be_ten_thousand_faults_and_the_oldest_that_is_over_goes(
    autojump_clock: object,
) -> None:
    async with open_background_tasks() as tasks:
        faults = Faults(tasks, Counters(), lambda: None)
        first = faults.inject(Fault("tcp_reset"))
        faults.remove(first.id)
        for _ in range(10_000):
            faults.inject(Fault("refuse", duration_s=1))
        assert len(faults.states()) == 10_000
        assert not faults.remove(first.id)
