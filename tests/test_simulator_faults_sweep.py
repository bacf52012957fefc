"""Reset and stall after every byte of upgrade, handshake, subscription and the first records (FAULTS.md row 4)."""

from __future__ import annotations

import pytest
import trio
from fault_tools import CONTRACT, ask, config_for, open_sim

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

#: Silence is found after these, so that a stall costs little; the deadlines themselves are tested elsewhere.
QUICK = px.Timeouts(
    connect_s=0.3, handshake_s=0.3, subscribe_s=0.3, server_s=0.4, keep_alive_s=0.2, close_s=0.1
)
#: Upgrade, handshake, the subscription's answer and some records.
BYTES = 400


async def outcome(gateway: px.Gateway) -> tuple[int, px.TrioProjectXError]:
    """Stream trades until our client gives up; never longer than its own deadlines allow."""
    count = 0
    with trio.fail_after(20):
        try:
            async with gateway.open_trades(CONTRACT) as trades:
                async for _ in trades:
                    count += 1
        except px.TrioProjectXError as exc:
            return count, exc
    raise AssertionError("the stream has ended without an error")


async def gone(gateway: px.Gateway) -> None:
    """Wait until the hub is lost, which outlives its streams: after a silence."""
    with trio.fail_after(4):
        while gateway.statistics().is_live:
            await trio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tcp_reset", "tcp_fin", "half_open"])
async def test_every_byte(autojump_clock: object, name: str) -> None:
    async with open_sim(client_timeout_s=0.5, keep_alive_s=0.15) as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        async with px.open_gateway(config_for(sim, timeouts=QUICK)) as gateway:
            met: dict[str, int] = {}
            for byte in range(BYTES):
                fault = Fault(name, hub="market", connection="next", after_bytes=byte)
                count, error = await strike(sim, gateway, fault)
                met[type(error).__name__] = met.get(type(error).__name__, 0) + 1
                assert count == 0 or byte > 200
            assert sum(met.values()) == BYTES
            assert met.keys() >= {
                "ConnectTimeout" if name == "half_open" else "ConnectError",
                "ConnectionLost",
            }
            async with gateway.open_trades(CONTRACT) as trades:
                await trades.receive()
            assert gateway.statistics().market.ledger.balanced
            assert sim.statistics().crashes == 0


async def strike(sim: Simulator, gateway: px.Gateway, fault: Fault) -> tuple[int, px.TrioProjectXError]:
    handle = sim.inject(fault)
    started = trio.current_time()
    count, error = await outcome(gateway)
    assert trio.current_time() - started <= 16, error
    assert isinstance(error, (px.ConnectError, px.ConnectionLost, px.SubscriptionError)), error
    assert handle.struck == 1, fault
    await gone(gateway)
    return count, error


@pytest.mark.slow
async def test_every_byte_that_the_client_sends(autojump_clock: object) -> None:
    async with open_sim(client_timeout_s=0.5, keep_alive_s=0.15) as sim:
        await ask(sim, "POST", "/control/hz?v=5")
        async with px.open_gateway(config_for(sim, timeouts=QUICK)) as gateway:
            for byte in range(1, 560, 7):
                fault = Fault("tcp_reset", hub="market", connection="next", after_bytes=byte, direction="in")
                await strike(sim, gateway, fault)
            assert sim.statistics().crashes == 0
