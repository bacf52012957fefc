"""A thousand lost connections in one life, and a day without a service."""

from __future__ import annotations

import gc
import random
import statistics
from collections import Counter
from pathlib import Path
from typing import Final

import attrs
import trio
from ground import (
    CONTRACT,
    Door,
    Told,
    config_for,
    control,
    first_of,
    open_ground,
    run_virtually,
    seed_scheduler,
)
from judge import Received, Sound, judge
from storms import crowding

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

#: How long a connection lives before it is lost: longer than ``reconnect.refill_s``, so that each loss is an outage of
#: its own.
_LIVES_S: Final = (31.0, 33.0)
_TRADES_PER_S: Final = 5.0
_OUTAGE_ENDS_S: Final = 30.0

#: How a connection is lost. Nothing of it is put in as a fault, for the simulator remembers those.
_LOSSES: Final = ("drop", "drop", "drop", "requestclose")


@attrs.frozen
class Held:
    """What the process holds at one moment."""

    tasks: int
    objects: int
    """Objects of the client's own classes."""
    rss_bytes: int


@attrs.frozen
class Reconnects:
    """What came of many losses."""

    losses: int
    recovered: int
    recoveries_s: list[float] = attrs.field(repr=False)
    """From each loss to LIVE again (virtual time)."""
    early: Held
    late: Held
    sound: Sound
    counts: Counter[str]

    @property
    def first_median_s(self) -> float:
        """The median of the first hundred recoveries."""
        return statistics.median(self.recoveries_s[:100])

    @property
    def last_median_s(self) -> float:
        """The median of the last hundred."""
        return statistics.median(self.recoveries_s[-100:])

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if self.recovered != self.losses or self.sound.gaps != self.losses:
            wrong.append(f"{self.losses} losses, {self.recovered} recoveries, {self.sound.gaps} gaps told")
        if max(self.recoveries_s) > 1.0:
            wrong.append(f"the slowest recovery took {max(self.recoveries_s):.2f} s")
        if self.last_median_s > 2 * self.first_median_s + 0.05:
            wrong.append(f"recoveries grew from {self.first_median_s:.3f} to {self.last_median_s:.3f} s")
        if self.late.tasks != self.early.tasks:
            wrong.append(f"tasks went from {self.early.tasks} to {self.late.tasks}")
        if self.late.objects > self.early.objects + 20:
            wrong.append(f"objects of ours went from {self.early.objects} to {self.late.objects}")
        if self.late.rss_bytes - self.early.rss_bytes > 32 << 20:
            wrong.append(f"memory grew by {(self.late.rss_bytes - self.early.rss_bytes) >> 20} MiB")
        return wrong


def reconnect(losses: int, seed: int = 0) -> Reconnects:
    """Lose the connection again and again."""
    seed_scheduler(seed)
    return run_virtually(lambda: _reconnect(losses, random.Random(seed), seed))


async def _reconnect(losses: int, rng: random.Random, seed: int) -> Reconnects:
    received, told, recoveries = Received(), Told(keep=False), list[float]()
    early: Held | None = None
    async with open_ground(seed, _TRADES_PER_S) as (sim, door):
        async with (
            px.open_gateway(config_for(door, limits=px.Limits(recent_trades=100))) as gateway,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(told.listen, gateway)
            async with gateway.open_trades(CONTRACT, events=True) as trades:
                nursery.start_soon(_collect, trades, received)
                for number in range(losses):
                    await trio.sleep(rng.uniform(*_LIVES_S))
                    if number == min(100, 3 * losses // 4):  # what is remembered of trades is full by then
                        early = held()
                    recoveries.append(await _lose(sim, gateway, rng.choice(_LOSSES)))
                await trio.sleep(10)
                late = held()
                assert gateway.statistics().market.ledger.balanced
                nursery.cancel_scope.cancel()
        sound = judge(received, sim.truth())
    assert early is not None
    recovered = sum(took < 20 for took in recoveries)
    return Reconnects(losses, recovered, recoveries, early, late, sound, told.counts)


async def _lose(sim: Simulator, gateway: px.Gateway, how: str) -> float:
    """Lose the connection; return how long it took to be live again."""
    lost_at = trio.current_time()
    connects = gateway.statistics().connects
    await control(sim, "POST", how)
    with trio.move_on_after(20):
        while gateway.statistics().connects == connects or not gateway.statistics().is_live:
            await trio.sleep(0.005)
    return trio.current_time() - lost_at


def held() -> Held:
    """Return what is held now."""
    gc.collect()
    objects = sum(_is_ours(getattr(type(each), "__module__", None)) for each in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(trio.lowlevel.current_statistics().tasks_living, objects, pages * 4096)


def _is_ours(module: object) -> bool:
    if not isinstance(module, str):  # a class may have anything there
        return False
    return module.startswith("trio_projectx.") and not module.startswith("trio_projectx.simulator")


async def _collect(trades: px.Stream[px.Trade | px.Gap], received: Received) -> None:
    async for item in trades:
        received.take(item)


@attrs.frozen
class Outage:
    """What came of a long outage."""

    hours: float
    attempts: int
    back_s: float
    """How long after its end the hub was live again."""
    expected: float
    """Attempts at the mean wait of the back-off's cap."""
    crowding: float
    """See `storms.crowding`."""
    sound: Sound
    error: BaseException | None

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if self.error is not None:
            wrong.append(f"it was not survived: {self.error!r}")
        if self.back_s > _OUTAGE_ENDS_S:
            wrong.append(f"back only {self.back_s:.1f} s after its end")
        if self.sound.gaps != 1:
            wrong.append(f"{self.sound.gaps} gaps")
        if not 0.5 * self.expected < self.attempts < 1.5 * self.expected + 20:
            wrong.append(f"{self.attempts} attempts, where {self.expected:.0f} were to be expected")
        return wrong


def outage(hours: float, seed: int = 0) -> Outage:
    """Be refused for hours, by all of the service, so that the token ends too; then come back."""
    seed_scheduler(seed)
    return run_virtually(lambda: _outage(hours, seed))


async def _outage(hours: float, seed: int) -> Outage:
    received, error = Received(), None
    back_s = float("inf")
    async with open_ground(seed, 0.2) as (sim, door):
        try:
            async with px.open_gateway(config_for(door)) as gateway, trio.open_nursery() as nursery:
                async with gateway.open_trades(CONTRACT, events=True) as trades:
                    nursery.start_soon(_collect, trades, received)
                    await trio.sleep(60)
                    back_s = await _be_away(sim, door, gateway, hours)
                    await trio.sleep(60)
                    nursery.cancel_scope.cancel()
        except* px.TrioProjectXError as group:
            error = first_of(group)
        sound = judge(received, sim.truth())
    attempts = door.attempts["market"]
    return Outage(hours, len(attempts) - 2, back_s, hours * 3600 / 15, crowding(attempts), sound, error)


async def _be_away(sim: Simulator, door: Door, gateway: px.Gateway, hours: float) -> float:
    handle = sim.inject(Fault("refuse", count=1_000_000))
    door.reset_all()
    await trio.sleep(hours * 3600)
    assert not gateway.statistics().is_live
    assert handle.struck
    sim.clear_faults()
    ended_at = trio.current_time()
    with trio.move_on_after(1000):
        await gateway.wait_connected()
    return trio.current_time() - ended_at
