"""How long a reset takes to be seen, and to be recovered from: real sockets on loopback, real time."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio
from ground import CONTRACT

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator, open_simulator

SEEN_S = 0.050
P50_S = 0.5
P99_S = 1.0


@attrs.frozen
class Recoveries:
    """What came of resets; seconds from each reset on, sorted."""

    seen_s: list[float]
    """Until the state was RECONNECTING."""
    live_s: list[float]
    """Until it was LIVE again."""
    trade_s: list[float]
    """Until the first trade behind the gap; the simulator makes trades every 50 ms."""

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if max(self.seen_s) > SEEN_S:
            wrong.append(f"a reset was seen only after {max(self.seen_s) * 1000:.1f} ms")
        if share(self.trade_s, 0.5) > P50_S or share(self.trade_s, 0.99) > P99_S:
            wrong.append(
                f"recovery: p50 {share(self.trade_s, 0.5):.3f} s, p99 {share(self.trade_s, 0.99):.3f} s"
            )
        return wrong

    def figures(self) -> str:
        """Return the figures as a line."""
        rows = (("seen", self.seen_s), ("live", self.live_s), ("trade", self.trade_s))
        return "; ".join(
            f"{name} p50 {share(each, 0.5) * 1000:.1f} p99 {share(each, 0.99) * 1000:.1f} max {max(each) * 1000:.1f} ms"
            for name, each in rows
        )


def share(values: Sequence[float], part: float) -> float:
    """Return the value that ``part`` of the sorted values do not exceed."""
    return values[min(len(values) - 1, int(part * len(values)))]


def recover(resets: int, every_s: float, reconnect: px.Reconnect, seed: int = 0) -> Recoveries:
    """Reset the connection ``resets`` times, ``every_s`` apart."""
    return trio.run(recover_here, resets, every_s, reconnect, seed)


async def recover_here(resets: int, every_s: float, reconnect: px.Reconnect, seed: int = 0) -> Recoveries:
    """Do what `recover` does, in the loop that runs."""
    seen, live, traded = list[float](), list[float](), list[float]()
    async with open_simulator(seed=seed) as sim:
        config = attrs.evolve(px.GatewayConfig.simulated(sim.url), reconnect=reconnect)
        async with px.open_gateway(config) as gateway, gateway.open_events() as events:
            async with gateway.open_trades(CONTRACT, events=True, overflow=px.Overflow.BLOCK) as trades:
                for _ in range(resets):
                    with trio.move_on_after(every_s):
                        async for _ in trades:
                            pass
                    while _takes_one(events):
                        pass
                    began = _reset(sim)
                    seen.append(await _until(events, px.HubState.RECONNECTING) - began)
                    live.append(await _until(events, px.HubState.LIVE) - began)
                    while not isinstance(await trades.receive(), px.Gap):
                        pass
                    await trades.receive()
                    traded.append(trio.current_time() - began)
    return Recoveries(sorted(seen), sorted(live), sorted(traded))


def _reset(sim: Simulator) -> float:
    sim.inject(Fault("tcp_reset", hub="market"))
    return trio.current_time()


def _takes_one(events: px.Stream[px.ConnectionEvent | px.Dropped]) -> bool:
    try:
        events.receive_nowait()
    except trio.WouldBlock:
        return False
    return True


async def _until(events: px.Stream[px.ConnectionEvent | px.Dropped], state: px.HubState) -> float:
    with trio.fail_after(60):
        async for event in events:
            if isinstance(event, px.HubStateChanged) and event.state is state:
                return trio.current_time()
    raise AssertionError("the events have ended")
