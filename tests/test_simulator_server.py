"""The simulator as a whole: who may reach it, what it promises about truth, and that it ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx2
import pyarrow as pa
import pytest
import trio
import trio.testing
from simulator_tools import (
    HANDSHAKE,
    START_NS,
    HubClient,
    masked,
    open_hub,
    split,
    trades_in,
    until,
    upgrade_head,
    virtual_wall,
)
from wsproto.frame_protocol import FrameProtocol

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConfigError, ContractError
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator import Simulator, open_simulator

MNQ = "CON.F.US.MNQ.U26"


async def listen_for(client: HubClient, seconds: float) -> None:
    with trio.move_on_after(seconds):
        while True:
            await client.frame()


def sent_as_received(truth: pa.Table) -> list[tuple]:
    names = ("ts_event", "contract_id", "price", "volume", "side")
    return list(zip(*(truth[name].to_pylist() for name in names), strict=True))


def received(frames: list[str]) -> list[tuple]:
    return [
        (
            parse_stamp(trade["timestamp"]),
            trade["contractId"],
            float(trade["price"]),
            trade["volume"],
            trade["type"],
        )
        for trade in trades_in(frames)
    ]


async def test_what_is_received_is_the_truth(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim, queue=1000) as client:
        for target in ("Trades", "Quotes", "MarketDepth"):
            await client.call(f"SubscribeContract{target}", MNQ)
        await client.call("SubscribeContractTrades", "CON.F.US.MES.U26")
        await listen_for(client, 60)
        assert sent_as_received(sim.truth()) == received(client.frames)
        assert {row[1] for row in received(client.frames)} == {MNQ, "CON.F.US.MES.U26"}
        counts = sim.statistics()
        assert counts.trades_sent == sim.truth().num_rows > 1500
        everything = "".join(client.frames)
        assert counts.quotes_sent == everything.count('"GatewayQuote"') > 1500
        assert (
            counts.depth_lists_sent == everything.count('"GatewayDepth"') - 1 > 1000
        )  # less the book at first
        assert (counts.hub_connections, counts.hub_connections_open, counts.accepted) == (1, 1, 1)


async def test_all_subscribers_of_a_contract_see_the_same_trades_numbered_once(
    autojump_clock: object,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim, queue=1000) as first, open_hub(sim, queue=1000) as second:
            await first.call("SubscribeContractTrades", MNQ)
            await second.call("SubscribeContractTrades", MNQ)
            await second.call("SubscribeContractQuotes", MNQ)
            await trio.sleep(30)
            for client in (first, second):
                await listen_for(client, 0.001)
            assert received(first.frames) == received(second.frames) == sent_as_received(sim.truth())
            assert sim.truth()["seq"].to_pylist() == list(range(sim.truth().num_rows))


async def run_with(seed: int, look: float) -> tuple[list[tuple], list[str]]:
    async with (
        open_simulator(port=None, wall_clock=lambda: START_NS, seed=seed) as sim,
        open_hub(sim, queue=9999) as client,
    ):
        await trio.sleep(look)
        await client.call("SubscribeContractTrades", MNQ)
        await listen_for(client, 90 - look)
        return sent_as_received(sim.truth()), client.frames


def virtual(seed: int, look: float = 1.0) -> tuple[list[tuple], list[str]]:
    return trio.run(run_with, seed, look, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_same_seed_is_the_same_run_to_the_byte() -> None:
    first, again, other = virtual(1), virtual(1), virtual(2)
    assert first == again
    assert first[0] != other[0]
    # Who subscribes later misses the beginning, of the same market.
    late = virtual(1, look=40.0)[0]
    assert late == first[0][-len(late) :]
    assert len(late) < len(first[0])


@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0])
async def test_speed_is_how_fast_the_market_runs(speed: float, autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, speed=speed) as sim,
        open_hub(sim, queue=9999) as client,
    ):
        await client.call("SubscribeContractTrades", MNQ)
        seconds = 60 if speed <= 1 else 10
        await listen_for(client, seconds)
        stamps = [row[0] for row in received(client.frames)]
        assert len(stamps) / seconds == pytest.approx(20 * speed, rel=0.2)
        assert (stamps[-1] - stamps[0]) / 1e9 == pytest.approx(seconds * speed, rel=0.1)
        assert sim.market_now_ns() - START_NS == pytest.approx(trio.current_time() * speed * 1e9, abs=1000)
        assert stamps[-1] <= sim.market_now_ns()
        assert all(len(frame) <= 60_000 for frame in client.frames)


async def test_a_market_without_subscribers_is_not_sent_but_goes_on(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with open_hub(sim, queue=9999) as client:
            await client.call("SubscribeContractTrades", MNQ)
            await trio.sleep(10)
            await client.call("UnsubscribeContractTrades", MNQ)
            rows, sent = sim.truth().num_rows, sim.statistics().trades_sent
            await trio.sleep(100)
            assert sim.statistics().trades_sent == sent == rows
            await client.call("SubscribeContractTrades", MNQ)
            await trio.sleep(10)
        # What was missed is in the truth, and the deliveries say that it went to nobody.
        first, second = sim.deliveries().to_pylist()
        stamps = sim.truth()["ts_event"].to_pylist()
        assert (first["first_seq"], first["last_seq"]) == (0, rows - 1)
        assert stamps[second["first_seq"]] - stamps[first["last_seq"]] > 99 * 10**9
        assert sim.statistics().trades_sent == rows + second["last_seq"] - second["first_seq"] + 1
        await trio.sleep(10)
        assert sim.statistics().trades_sent < sim.truth().num_rows  # the connection took its subscriptions


async def test_one_that_does_not_read_is_dropped_and_delays_nobody(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=20) as sim:
        async with open_hub(sim) as stuck, open_hub(sim, queue=9999) as healthy:
            for target in ("Trades", "Quotes", "MarketDepth"):
                await stuck.call(f"SubscribeContract{target}", MNQ)
            await healthy.call("SubscribeContractTrades", MNQ)
            start = trio.current_time()
            await until(lambda: sim.statistics().dropped_slow, within_s=30)
            # The socket took what it could; then one send was stuck for ten seconds.
            assert 10 <= trio.current_time() - start < 14
            assert await stuck.until_closed() == 1006
            await listen_for(healthy, 1)
            assert received(healthy.frames) == sent_as_received(sim.truth())
        assert sim.statistics().crashes == 0


async def test_a_full_outbox_drops_its_connection_at_once(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, speed=4000) as sim, open_hub(sim) as stuck:
        for target in ("Trades", "Quotes", "MarketDepth"):
            await stuck.call(f"SubscribeContract{target}", MNQ)
        # Before any send is stuck for ten seconds.
        await until(lambda: sim.statistics().dropped_slow, within_s=8)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com", ""])  # noqa: S104
async def test_other_machines_are_kept_out(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_remote"):
        async with open_simulator(host=host):
            pass


async def test_other_machines_are_let_in_where_that_was_asked_for() -> None:
    async with open_simulator(host="0.0.0.0", allow_remote=True) as sim:  # noqa: S104
        async with await trio.open_tcp_stream("127.0.0.1", sim.port):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_the_urls_lead_in(host: str) -> None:
    async with open_simulator(host=host) as sim, httpx2.AsyncClient() as http:
        assert (await http.get(f"{sim.rest_url}/api/Status/ping")).text == "pong"
        config = GatewayConfig.simulated(sim.url)
        assert (config.endpoints.market_hub_url, config.endpoints.user_hub_url) == (
            sim.market_url,
            sim.user_url,
        )
        secret, _ = config.credentials.reveal()
        login = {"userName": config.credentials.username, "apiKey": secret}
        assert (await http.post(f"{sim.url}/api/Auth/loginKey", json=login)).json()["success"] is True


@pytest.mark.parametrize(
    "options",
    [{"speed": 0}, {"speed": -1.0}, {"speed": math.nan}, {"contract": MNQ}, {"replay": "/no/such/file.parquet"},
     {"keep_alive_s": -1.0}],
)  # fmt: skip
async def test_options_that_cannot_work_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError):
        async with open_simulator(port=None, **options):
            pass


async def test_a_replay_of_a_malformed_contract_is_refused() -> None:
    trades = pa.table({"ts_event": [1], "price": [1.0], "volume": [1]})
    with pytest.raises(ContractError):
        async with open_simulator(port=None, replay=trades, contract='x"'):
            pass


async def test_a_port_in_use_is_an_os_error() -> None:
    async with open_simulator() as sim:
        with pytest.raises(OSError, match="in use"):
            async with open_simulator(port=sim.port):
                pass


@pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyboardInterrupt(), ExceptionGroup("mine", [OSError()])]
)
async def test_what_the_body_raises_comes_out_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with open_simulator() as sim, await trio.open_tcp_stream("127.0.0.1", sim.port):
            raise error
    assert repr(caught.value) == repr(error)


async def test_over_sockets_it_is_the_same() -> None:
    async with open_simulator(wall_clock=lambda: START_NS, speed=20) as sim:
        stream = await trio.open_tcp_stream("127.0.0.1", sim.port)
        await check_over(sim, stream)


async def check_over(sim: Simulator, stream: trio.SocketStream) -> None:
    async with open_hub(sim, over=stream) as client:
        assert (await client.call("WhoAmI"))["result"] == "simulator|header"
        await client.call("SubscribeContractTrades", MNQ)
        while len(trades_in(client.frames)) < 300:
            await client.frame()
        got = received(client.frames)
        assert got == sent_as_received(sim.truth())[: len(got)]
        await client.send({"type": 7})
        assert await client.until_closed() == 1000
        assert split(client.frames[-1])[-1] == {"type": 7}


async def test_leaving_the_block_ends_everything_within_a_second() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    streams: list[trio.abc.Stream] = []
    async with open_simulator(speed=100) as sim:
        for begun in (
            b"",
            b"GET / HT",
            b"POST /api/Auth/loginKey HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        ):
            streams.append(await trio.open_tcp_stream("127.0.0.1", sim.port))
            await streams[-1].send_all(begun)
        burst = masked(HANDSHAKE + '{"type":1,"target":"Burst","arguments":["T","C",1000000]}\x1e')
        slow = masked(HANDSHAKE + '{"type":1,"target":"Slow","arguments":[60000]}\x1e')
        # Upgraded; then silent, no WebSocket, half a frame, one that does not read, one in the middle of a call.
        for begun in (b"", b"x", b"\x81\x85", burst, slow):
            head = upgrade_head(sim.mint_token())
            streams.append(await trio.open_tcp_stream("127.0.0.1", sim.port))
            await streams[-1].send_all(head + begun)
        stream = await sim.connect("127.0.0.1", 1, tls=False)
        await stream.send_all(head + burst)
        await trio.sleep(0.3)
        assert sim.statistics().hub_connections_open == 6
        start = trio.current_time()
    assert trio.current_time() - start < 1
    for stream in streams:
        with trio.fail_after(1), suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_it_can_be_cancelled_at_any_step(autojump_clock: object) -> None:
    # The deadline falls between any two awaits of the script in turn: under a virtual clock each checkpoint that
    # waits moves time on, and the market's own steps do so too.
    for step in range(60):
        with trio.move_on_after(step * 0.007):
            async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as client:
                await client.call("SubscribeContractTrades", MNQ)
                await listen_for(client, 0.2)
                await client.send({"type": 1, "invocationId": "x", "target": "Slow", "arguments": [100]})
                await client.until_closed()
        await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living < 6


SERVE = """
import sys, trio
from trio_projectx.simulator import serve
trio.run(serve, "127.0.0.1", 0, 11, 50.0)
"""


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[trio.Process, str]]:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-W", "error", "-c", SERVE]
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run)
        line = b""
        with trio.fail_after(20):
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
        words = line.decode().split()
        assert words[:2] == ["simulator", "ready"]
        assert words[3:] == ["seed=11"]
        yield process, words[2].removeprefix("url=")
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent to a process")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, "stop"])
async def test_as_a_process_it_says_when_it_is_ready_and_ends_when_told(how: signal.Signals | str) -> None:
    async with served() as (process, url), httpx2.AsyncClient(base_url=url) as http:
        token = (await http.get("/control/token")).json()["token"]
        stream = await trio.open_tcp_stream("127.0.0.1", httpx2.URL(url).port)
        async with open_hub(None, token=token, over=stream) as client:
            await client.call("SubscribeContractTrades", MNQ)
            start = trio.current_time()
            if isinstance(how, signal.Signals):
                process.send_signal(how)
            else:
                assert (await http.post("/control/stop")).json() == {"ok": True}
            code = await client.until_closed()
        with trio.fail_after(5):
            status = await process.wait()
        assert trio.current_time() - start < 2
        assert status == 0
        assert code == (1000 if how == "stop" else 1006)


async def test_a_bug_in_a_connection_ends_that_connection_only_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug in a method")

    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as neighbour:
        monkeypatch.setattr("trio_projectx.simulator.methods.PROBES", {})  # the tables are made already
        monkeypatch.setattr("trio_projectx.simulator.link.Link._handle", broken)
        async with open_hub(sim) as client:
            await client.send({"type": 6})
            assert await client.until_closed() == 1006
        monkeypatch.undo()
        assert (await neighbour.call("Add", 1, 1))["result"] == 2
        assert sim.statistics().crashes == 1
        assert "a bug in a method" in caplog.text
        assert sim.mint_token().split(".")[0] not in caplog.text


async def test_a_bug_in_the_front_is_counted_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug in the front")

    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        monkeypatch.setattr("trio_projectx.simulator.server.Conversation.run", broken)
        async with await sim.connect("h", 1, tls=False) as stream:
            assert await stream.receive_some() == b""
        await until(lambda: sim.statistics().crashes == 1, within_s=1)
        assert "a bug in the front" in caplog.text


async def test_a_client_that_pings_a_closing_websocket_breaks_off_only_itself(autojump_clock: object) -> None:
    # trio-websocket answers the ping, wsproto refuses to: the error of its reader has to end here.
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim, open_hub(sim) as neighbour:
        async with await sim.connect("h", 1, tls=False) as stream:
            goodbye = masked(HANDSHAKE, '{"type":7}\x1e')
            await stream.send_all(upgrade_head(sim.mint_token()) + goodbye)
            await trio.sleep(1)
            await stream.send_all(FrameProtocol(client=True, extensions=[]).ping(b"hello?"))
            await trio.sleep(1)
            got = b""
            while data := await stream.receive_some():
                got += data
            assert b'{"type":7}\x1e' in got
        assert (await neighbour.call("Add", 1, 1))["result"] == 2
        assert (sim.statistics().broken_off, sim.statistics().crashes) == (1, 0)


async def test_a_client_that_never_answers_the_close_is_let_go(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        async with await sim.connect("h", 1, tls=False) as stream:
            await stream.send_all(upgrade_head(sim.mint_token()) + masked(HANDSHAKE, '{"type":7}\x1e'))
            while await stream.receive_some():
                pass
            assert trio.current_time() == pytest.approx(5, abs=0.1)
        await until(lambda: not sim.statistics().hub_connections_open, within_s=1)


async def test_the_url_of_an_ipv6_simulator() -> None:
    try:
        async with open_simulator(host="::1") as sim, httpx2.AsyncClient() as http:
            assert sim.url == f"http://[::1]:{sim.port}"
            assert (await http.get(f"{sim.url}/api/Status/ping")).text == "pong"
    except OSError as exc:
        pytest.skip(f"this machine has no IPv6 loopback: {exc}")


async def test_the_statistics_are_a_frozen_copy(autojump_clock: object) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall) as sim:
        counts = sim.statistics()
        async with open_hub(sim):
            assert counts.accepted == 0
            assert sim.statistics().accepted == 1
        with pytest.raises(AttributeError):
            counts.accepted = 7  # type: ignore[misc]


async def test_without_a_replay_there_is_nothing_to_wait_for() -> None:
    async with open_simulator(port=None) as sim:
        assert sim.replay_state is None
        with pytest.raises(ConfigError, match="replays nothing"):
            _ = sim.replay_done
        assert json.loads(json.dumps(sim.url)) == "http://127.0.0.1:1"
