"""A service that takes connections, or not, and ends them: how often our client then comes, for hours."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs
import trio
from ground import CONTRACT, Door, config_for, first_of, open_ground, run_virtually, seed_scheduler

import trio_projectx as px
from trio_projectx.simulator import Fault

OPTIONS: Final = px.Reconnect()
#: A little more than the length of a wait may be rounded by.
_ROUNDING: Final = 1e-6
#: What strikes before a request was read needs a number: for ever, it would lock out who wants to end it.
_ENDLESS: Final = 1_000_000
#: No whole number of any wait.
_ODD_S: Final = 37.0


def _of_hubs(name: str, phase: str, **fields: Any) -> tuple[Fault, ...]:
    """What a service does to every connection of either hub, and not to REST."""
    return tuple(Fault(name, hub=hub, phase=phase, count=0, **fields) for hub in ("market", "user"))


@attrs.frozen
class Storm:
    """What the service does, and how often our client may come in an hour, and how late it may be back."""

    faults: tuple[Fault, ...]
    per_hour: float
    """Attempts of both hubs together; the bucket alone would let 3,600 through."""
    back_s: float = 31.0
    apart_s: float = 0.0
    """The least time between two attempts of one hub, once the storm blows."""


#: A mean wait of 15 s (full jitter under a cap of 30 s) is 240 attempts in an hour, for each hub. What opens the
#: breaker comes to be tried every 300 s.
_BACKOFF: Final = 2 * 240 * 1.25
_BREAKER: Final = 2 * 12 * 1.25
_BREAKER_BACK_S: Final = 331.0

STORMS: Final[Mapping[str, Storm]] = MappingProxyType(
    {
        "refused": Storm((Fault("refuse", count=_ENDLESS),), _BACKOFF),
        "accepted and killed": Storm((Fault("tcp_reset", phase="connect", count=_ENDLESS),), _BACKOFF),
        "reset at the upgrade": Storm(_of_hubs("tcp_reset", "upgrade"), _BACKOFF),
        "hung up at the upgrade": Storm(_of_hubs("tcp_fin", "upgrade"), _BACKOFF),
        "silent at the upgrade": Storm(_of_hubs("hang", "upgrade"), _BACKOFF, back_s=31.0 + 10.0),
        "reset at the handshake": Storm(_of_hubs("tcp_reset", "handshake"), _BACKOFF),
        "reset before the acknowledgement": Storm(
            _of_hubs("tcp_reset", "subscribe"), _BREAKER, _BREAKER_BACK_S
        ),
        "reset after the acknowledgement": Storm(_of_hubs("tcp_reset", "stream"), _BREAKER, _BREAKER_BACK_S),
        "closed, and asked back": Storm(_of_hubs("close_record", "stream"), _BREAKER, _BREAKER_BACK_S),
        "1011 after a second": Storm(_of_hubs("ws_close", "stream", delay_s=1.0), _BREAKER, _BREAKER_BACK_S),
        "429": Storm(_of_hubs("http_status", "upgrade", status=429), _BACKOFF),
        "429, come back in 120 s": Storm(
            _of_hubs("http_status", "upgrade", status=429, retry_after_s=120), 2 * 31, 121.0, apart_s=120.0
        ),
        "503": Storm(_of_hubs("http_status", "upgrade", status=503), _BACKOFF),
    }
)


@attrs.frozen
class Blown:
    """What came of a storm."""

    name: str
    hours: float
    attempts: int
    crowding: float
    back_s: float
    shortest_s: float
    """The least time between two attempts of one hub in the storm."""
    lines: int
    """Connections that each hub should have."""
    error: BaseException | None

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        storm, wrong = STORMS[self.name], []
        if self.error is not None:
            wrong.append(f"it was not survived: {self.error!r}")
        if self.crowding > OPTIONS.connect_burst + _ROUNDING:
            wrong.append(f"a window with {self.crowding:.2f} attempts more than its seconds allow")
        if self.attempts > self.lines * (storm.per_hour * self.hours + 40):
            wrong.append(f"{self.attempts} attempts in {self.hours:g} h")
        if self.back_s > storm.back_s:
            wrong.append(f"back only {self.back_s:.1f} s after its end")
        if self.lines == 1 and self.shortest_s < storm.apart_s:
            wrong.append(f"two attempts of one hub within {self.shortest_s:.1f} s")
        return wrong


def crowding(attempts: Sequence[float]) -> float:
    """Return by how much the fullest window of all has more attempts than it lasts seconds (x ``connects_per_s``).

    A bucket of ``connect_burst`` allows that many.
    """
    worst, least = 0.0, float("inf")
    for count, at in enumerate(sorted(attempts)):
        level = count - at * OPTIONS.connects_per_s
        least = min(least, level)
        worst = max(worst, level - least + 1)
    return worst


def blow(name: str, hours: float, seed: int = 0, *, redundant: bool = False) -> Blown:
    """Let a storm blow for so many hours, on a gateway with a stream on each hub."""
    seed_scheduler(seed)
    return run_virtually(lambda: _blow(name, hours, seed, redundant=redundant))


async def _blow(name: str, hours: float, seed: int, *, redundant: bool) -> Blown:
    error: BaseException | None = None
    back_s, began = float("inf"), 0.0
    async with open_ground(seed, 0.1) as (sim, door):
        config = config_for(door, reconnect=px.Reconnect(redundant=redundant))
        try:
            async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
                # Quotes: a market of trades goes on while nobody is connected, and costs a day of steps.
                async with gateway.open_quotes(CONTRACT) as quotes, gateway.open_user_events() as user:
                    nursery.start_soon(_drain, quotes)
                    nursery.start_soon(_drain, user)
                    await trio.sleep(60)
                    for fault in STORMS[name].faults:
                        sim.inject(fault)
                    door.reset_all()
                    began = trio.current_time()
                    await trio.sleep(hours * 3600 + _ODD_S)
                    sim.clear_faults()
                    back_s = await _back(gateway)
                    await trio.sleep(60)
                    nursery.cancel_scope.cancel()
        except* px.TrioProjectXError as group:
            error = first_of(group)
    return Blown(
        name=name,
        hours=hours,
        attempts=sum(at >= began for at in door.hub_attempts),
        crowding=crowding(door.hub_attempts),
        back_s=back_s,
        shortest_s=_shortest(door, began + 1, began + hours * 3600),
        lines=1 + redundant,
        error=error,
    )


def _shortest(door: Door, begin: float, end: float) -> float:
    gaps = []
    for hub in ("market", "user"):
        times = [at for at in door.attempts[hub] if begin <= at < end]
        gaps += [later - earlier for earlier, later in itertools.pairwise(times)]
    return min(gaps, default=float("inf"))


async def _back(gateway: px.Gateway) -> float:
    """Wait until both hubs are live for good; return how long that took."""
    began = trio.current_time()
    with trio.move_on_after(2000):
        while not _is_well(gateway):
            await trio.sleep(0.1)
        return trio.current_time() - began
    return float("inf")


def _is_well(gateway: px.Gateway) -> bool:
    health = gateway.health()
    return health.market.state is health.user.state is px.HubState.LIVE


async def _drain(stream: trio.abc.ReceiveChannel[object]) -> None:
    async for _ in stream:
        pass
