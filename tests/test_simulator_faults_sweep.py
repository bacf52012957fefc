"""Reset, end and stall after every byte of upgrade, handshake, subscription and the first records (FAULTS.md row 4).

One gateway and one stream live through all of it: for each byte the connection is reset, the next one is struck at that
byte, and the one after it is the cure. No trade is lost untold, none comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
from fault_tools import CONTRACT, account_for, ask, config_for, open_sim, tasks_below, truth_rows
from sweeps import every

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

#: Silence is found after these, so that a stall costs little; the deadlines themselves are tested elsewhere.
QUICK = px.Timeouts(
    connect_s=0.3, handshake_s=0.3, subscribe_s=0.3, server_s=0.4, keep_alive_s=0.2, close_s=0.1
)
#: Back-off, breaker and bucket have tests of their own too: here they stand in the way.
AGAIN = px.Reconnect(
    base_s=0.001, cap_s=0.001, refill_s=0.001, young_s=0.001, connect_burst=100_000, connects_per_s=1e5
)
#: Upgrade, handshake, the subscription's answer and the first record.
EVERY_BYTE = 450
#: Ten records more.
BYTES = 2600


class Sweep:
    """One life of a stream; it must not end."""

    def __init__(self, sim: Simulator, gateway: px.Gateway) -> None:
        self.sim, self.gateway = sim, gateway
        self.items: list[px.Trade | px.Gap] = []

    async def read(self, trades: px.Stream[px.Trade | px.Gap]) -> None:
        async for item in trades:
            self.items.append(item)

    async def strike(self, fault: Fault) -> None:
        """Have the next connection meet the fault, and see it cured."""
        handle = self.sim.inject(fault)
        live = list(self.sim._hubs.links)[
            -1
        ]  # what is half open is there still, and this is not meant for it
        self.sim.inject(Fault("tcp_reset", connection=live))
        with trio.fail_after(10):
            await handle.wait_struck()
            # As long as anything of it could still be found: a silence, and the way back.
            await trio.sleep(0.9 if fault.name == "half_open" else 0.05)
            await self.gateway.wait_connected()
            count = len(self.items)
            while not any(isinstance(item, px.Trade) for item in self.items[count:]):
                await trio.sleep(0.05)
        assert self.gateway.health().market.state is px.HubState.LIVE


async def sweep(faults: Iterable[Fault], trades_per_s: float) -> None:
    async with open_sim(client_timeout_s=0.5, keep_alive_s=0.15) as sim:
        await ask(sim, "POST", f"/control/hz?v={trades_per_s}")
        async with trio.open_nursery() as nursery:  # so that the task below has no tasks of the simulator's
            nursery.start_soon(live, sim, faults)
        assert sim.statistics().crashes == 0


async def live(sim: Simulator, faults: Iterable[Fault]) -> None:
    config = config_for(sim, timeouts=QUICK, reconnect=AGAIN)
    async with px.open_gateway(config) as gateway, gateway.open_trades(CONTRACT, events=True) as trades:
        life, done = Sweep(sim, gateway), 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.read, trades)
            await trio.sleep(1)
            before = tasks_below(trio.lowlevel.current_task())
            for fault in faults:
                await life.strike(fault)
                done += 1
            await trio.sleep(1)
            assert tasks_below(trio.lowlevel.current_task()) == before
            nursery.cancel_scope.cancel()
        statistics = gateway.statistics()
        assert statistics.market.ledger.balanced
        # Each fault costs two connections: the struck one, and its cure.
        assert 2 * done <= statistics.connects - 1 <= 2.2 * done
        gaps = [item for item in life.items if isinstance(item, px.Gap)]
        assert done <= len(gaps) <= 2 * done + 1
    account = account_for(life.items, truth_rows(sim.truth()))
    assert (account.untold, account.made_up) == ([], [])


NAMES = ["tcp_reset", "tcp_fin", "half_open"]
#: In parts, which may run side by side: all bytes of the beginning (in the suite: each for one of the three), some of
#: what follows.
PARTS = (range(150), range(150, 300), range(300, EVERY_BYTE), range(EVERY_BYTE, BYTES, 41))


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
async def test_every_byte(autojump_clock: trio.testing.MockClock, name: str, part: range) -> None:
    step = 1 if part.step > 1 else every(3)
    bytes_ = part[NAMES.index(name) % step :: step]
    await sweep((Fault(name, hub="market", connection="next", after_bytes=byte) for byte in bytes_), 20)


@pytest.mark.slow
async def test_every_byte_that_the_client_sends(autojump_clock: trio.testing.MockClock) -> None:
    """Its request, handshake and call: some 700 bytes, and a ping now and then."""
    await sweep(
        (
            Fault("tcp_reset", hub="market", connection="next", after_bytes=byte, direction="in")
            for byte in range(1, 700, 5 * every(3))
        ),
        10,
    )
