"""Faults over HTTP, over real sockets, and who is struck."""

from __future__ import annotations

import json
import socket
from typing import Any

import attrs
import pytest
import trio
from fault_tools import CONTRACT, ask, config_for, open_sim
from simulator_tools import open_hub

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator, open_simulator


async def test_the_life_of_a_fault_over_http(autojump_clock: object) -> None:
    async with open_sim() as sim, open_hub(sim) as hub:
        assert await ask(sim, "GET", "/control/faults") == (200, {"faults": []})
        body = json.dumps({"name": "ws_close", "hub": "market", "code": 1008, "delay_s": 2})
        assert await ask(sim, "POST", "/control/fault", body) == (200, {"id": "f1"})
        given = {"id": "f1", "name": "ws_close", "hub": "market", "delay_s": 2.0, "code": 1008}
        still = {**given, "struck": 0, "over": False, "connections": []}
        assert await ask(sim, "GET", "/control/faults") == (200, {"faults": [still]})
        assert await ask(sim, "GET", "/control/faults/f1") == (200, still)
        assert await hub.until_closed() == 1008
        _, state = await ask(sim, "GET", "/control/state")
        (shown,) = sim.faults()
        assert (shown.struck, shown.over) == (1, True)
        assert len(shown.connections) == 1
        _, after = await ask(sim, "GET", "/control/faults/f1")
        assert after == {**given, "struck": 1, "over": True, "connections": list(shown.connections)}
        assert await ask(sim, "DELETE", "/control/faults/f1") == (200, {"n": 1})
        assert await ask(sim, "DELETE", "/control/faults") == (200, {"n": 0})
        assert state is not None


async def test_scripts_over_http(autojump_clock: object) -> None:
    async with open_sim() as sim, open_hub(sim) as hub:
        script = '[{"name":"close_record","error":"Off.","at_s":3},{"at_s":9,"clear":true}]'
        assert await ask(sim, "POST", "/control/script", script) == (200, {"steps": 2})
        assert await hub.until_closed() == 1000
        assert hub.frames[-1] == '{"type":7,"error":"Off.","allowReconnect":true}\x1e'
        assert trio.current_time() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "says"),
    [
        ("POST", "/control/fault", "", 400, "this is not JSON"),
        ("POST", "/control/fault", '{"name":"tcp_rst"}', 400, "did you mean tcp_reset"),
        ("POST", "/control/fault", '{"name":"refuse","count":0}', 400, "lock out"),
        ("POST", "/control/script", '{"name":"x"}', 400, "step 1 of the script"),
        ("GET", "/control/faults/f9", "", 404, "no such fault"),
        ("DELETE", "/control/faults/f9", "", 404, "no such fault"),
    ],
)
async def test_what_cannot_be_over_http(
    autojump_clock: object, method: str, target: str, body: str, status: int, says: str
) -> None:
    async with open_sim() as sim:
        got, answer = await ask(sim, method, target, body)
        assert got == status
        assert isinstance(answer, dict)
        assert says in answer["detail"]
        assert sim.faults() == ()


async def test_other_methods_are_refused(autojump_clock: object) -> None:
    async with open_sim() as sim:
        assert (await ask(sim, "PUT", "/control/faults"))[0] == 405
        assert (await ask(sim, "GET", "/control/fault"))[0] == 405
        assert (await ask(sim, "GET", "/control/script"))[0] == 405


async def test_control_routes_are_not_struck(autojump_clock: object) -> None:
    async with open_sim() as sim:
        for name in ("tcp_reset", "half_open", "throttle", "http_status"):
            sim.inject(Fault(name, count=0))
        sim.inject(Fault("hang", phase="rest", count=0))
        assert (await ask(sim, "GET", "/control/state"))[0] == 200
        assert [state.struck for state in sim.faults()] == [0] * 5


async def test_who_is_struck(autojump_clock: object) -> None:
    async with open_sim() as sim, open_hub(sim) as first, open_hub(sim, "user") as user:
        after = sim.inject(Fault("ws_close", hub="market", phase="subscribe", connection="next", code=4001))
        third = sim.inject(Fault("ws_close", hub="market", phase="subscribe", connection="#3", code=4003))
        async with open_hub(sim) as second, open_hub(sim) as other:
            assert await second.until_closed() == 4001
            assert await other.until_closed() == 4003
            assert (after.struck, third.struck) == (1, 1)
            ids = [link["Id"] for link in (await ask(sim, "GET", "/control/state"))[1]["connections"]]  # type: ignore[index]
            picked = sim.inject(Fault("ws_close", connection=ids[1], code=4005))
            assert await user.until_closed() == 4005
            assert picked.state.connections == (ids[1],)
            assert (await first.call("Add", 1, 1))["result"] == 2
            sim.inject(Fault("ws_close", code=4000, count=0))
            assert await first.until_closed() == 4000


async def test_a_handle_can_be_waited_for(autojump_clock: object) -> None:
    async with open_sim() as sim, open_hub(sim):
        handle = sim.inject(Fault("ws_close", delay_s=4))
        with trio.fail_after(4.1):
            await handle.wait_struck()
        late = sim.inject(Fault("ws_close", hub="user"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.wait_struck)
            await trio.sleep(1)
            sim.clear_faults()
        assert late.struck == 0


async def test_paths_of_requests(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        fault = sim.inject(Fault("http_status", path="/api/contract/*", status=500, count=5))
        with pytest.raises(px.GatewayError, match="500"):  # asked three times
            async with gateway.open_trades("MNQ"):
                pass
        async with gateway.open_trades("MNQ") as trades:
            await trades.receive()
        assert fault.struck == 5


async def test_an_expired_token_is_refused_until_somebody_logs_in(autojump_clock: object) -> None:
    async with open_sim() as sim:
        token = sim.mint_token()
        async with open_hub(sim, token=token) as hub:
            sim.inject(Fault("token_expiry", policy="logout"))
            assert (await hub.records(1))[0]["target"] == "GatewayLogout"
            with pytest.raises(ExceptionGroup) as refused:
                async with open_hub(sim, token=token):
                    pass
            assert "401" in repr(refused.value.exceptions[0])
            assert (await hub.call("Add", 1, 1))["result"] == 2
        async with open_hub(sim):
            pass


async def test_stop_ends_what_a_fault_keeps_open_too(autojump_clock: object) -> None:
    for fault in (Fault("half_open"), Fault("hang", phase="stream"), Fault("throttle", bytes_per_s=1)):
        async with open_sim() as sim, open_hub(sim) as hub:
            await hub.call("Nothing")
            sim.inject(fault)
            await trio.sleep(1)
            started = trio.current_time()
            await ask(sim, "POST", "/control/stop")
            with trio.fail_after(1):
                await sim.stopped.wait()
            await trio.sleep(0.1)
            assert sim.statistics().hub_connections_open == 0, (fault, started)


# -- what only sockets show


@pytest.fixture
async def over_tcp() -> Any:
    async with open_simulator(seed=3) as sim:
        yield sim


async def bytes_until_the_end(sim: Simulator) -> tuple[bytes, type[BaseException] | None]:
    stream = await trio.open_tcp_stream("127.0.0.1", sim.port)
    got = b""
    async with stream:
        try:
            await stream.send_all(b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with trio.fail_after(5):
                while data := await stream.receive_some():
                    got += data
        except trio.BrokenResourceError as exc:
            return got, type(exc.__cause__)
        except trio.TooSlowError:
            return got, trio.TooSlowError
    return got, None


async def test_a_reset_over_tcp_is_a_rst_at_the_byte(over_tcp: Simulator) -> None:
    over_tcp.inject(Fault("tcp_reset", hub="rest", after_bytes=9))
    assert await bytes_until_the_end(over_tcp) == (b"HTTP/1.1 ", ConnectionResetError)
    over_tcp.inject(Fault("tcp_fin", hub="rest", after_bytes=12))
    assert await bytes_until_the_end(over_tcp) == (b"HTTP/1.1 200", None)
    got, error = await bytes_until_the_end(over_tcp)
    assert got.endswith(b"pong")
    assert error is None


async def test_a_refused_connection_over_tcp_is_reset(over_tcp: Simulator) -> None:
    fault = over_tcp.inject(Fault("refuse", count=2))
    for _ in range(2):
        assert await bytes_until_the_end(over_tcp) == (b"", ConnectionResetError)
    assert fault.struck == 2
    assert (await bytes_until_the_end(over_tcp))[0].endswith(b"pong")


async def test_a_half_open_connection_over_tcp_stays_open_until_the_faults_are_cleared(
    over_tcp: Simulator,
) -> None:
    over_tcp.inject(Fault("half_open", hub="rest"))
    stream = await trio.open_tcp_stream("127.0.0.1", over_tcp.port)
    async with stream:
        await stream.send_all(b"GET /api/Status/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.move_on_after(0.3) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        await stream.send_all(b"more")
        over_tcp.clear_faults()


async def test_a_server_that_stops_reading_blocks_the_senders(over_tcp: Simulator) -> None:
    over_tcp.inject(Fault("stop_reading", hub="market"))
    stream = await trio.open_tcp_stream("127.0.0.1", over_tcp.port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    async with stream:
        await stream.send_all(b"GET /hubs/market HTTP/1.1\r\n")
        with trio.move_on_after(0.5) as scope:
            while True:
                await stream.send_all(b"x" * 65536)
        assert scope.cancelled_caught


async def test_our_client_over_tcp(over_tcp: Simulator) -> None:
    config = px.GatewayConfig.simulated(over_tcp.url)
    config = attrs.evolve(config, reconnect=px.Reconnect(base_s=0.01))
    async with px.open_gateway(config) as gateway:
        for name, says in (
            ("tcp_reset", "1006"),
            ("tcp_fin", "1006"),
            ("ws_close", "1011"),
            ("garbage", "100"),
        ):
            async with gateway.open_trades(CONTRACT, events=True) as trades:
                await trades.receive()
                with trio.fail_after(15):
                    fault = over_tcp.inject(Fault(name, hub="market", connection="all"))
                    async for item in trades:
                        if isinstance(item, px.Gap):
                            break
                assert says in item.cause
            assert fault.struck == 1
            await trio.sleep(0.05)


async def test_leaving_takes_no_longer_than_a_second_whatever_is_in_place() -> None:
    faults = [
        Fault("half_open"), Fault("stop_reading"), Fault("throttle", bytes_per_s=1), Fault("delay", latency_s=60),
        Fault("hang", phase="stream"), Fault("hang", phase="subscribe"), Fault("mute_data"),
    ]  # fmt: skip
    for fault in faults:
        with trio.fail_after(10):
            async with open_simulator(seed=3) as sim:
                stream = await trio.open_tcp_stream("127.0.0.1", sim.port)
                async with open_hub(None, over=stream, token=sim.mint_token()) as hub:
                    await hub.send({"type": 1, "target": "SubscribeContractTrades", "arguments": [CONTRACT]})
                    sim.inject(fault)
                    await trio.sleep(0.1)
                left = trio.current_time()
            assert trio.current_time() - left < 1, fault
