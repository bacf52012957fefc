"""What the long proofs stand on: virtual time, a simulator in it, and a door that notes what goes through it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import attrs
import trio
import trio.testing

import trio_projectx as px
from trio_projectx.simulator import BreakableStream, Simulator, open_simulator

T = TypeVar("T")

CONTRACT = "CON.F.US.MNQ.U26"
#: 2026-08-19T18:30:00Z, a Wednesday in the middle of the US session.
START_NS = 1_787_164_200_000_000_000
_HUBS = ("market", "user")


def virtual_wall() -> int:
    """Return a wall time (int64 ns) that follows trio's clock."""
    return START_NS + int(trio.current_time() * 1e9)


def run_virtually(body: Callable[[], Awaitable[T]]) -> T:
    """Run ``body`` in virtual time: nobody waits for a sleep."""
    return trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def unraisables(complaints: list[str]) -> Generator[None]:
    """Take down exceptions that nobody could catch, and would only be printed."""
    hook = sys.unraisablehook

    def note(args: sys.UnraisableHookArgs) -> None:
        complaints.append(f"unraisable: {args.exc_value!r} in {args.object!r}")

    sys.unraisablehook = note
    try:
        yield
    finally:
        sys.unraisablehook = hook


def seed_scheduler(seed: int) -> None:
    """Let trio shuffle its tasks in the same way each time, so that a step that fails can be gone to again.

    trio has no public name for it; Hypothesis does the same.
    """
    trio._core._run._r.seed(seed)


class Door:
    """A `Connect` that leads to a simulator. The three hosts of `config` tell what a connection is for."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self.attempts: dict[str, list[float]] = {"rest": [], "market": [], "user": []}
        """When each connection was asked for (trio's clock), also if none was had."""
        self._streams: list[BreakableStream] = []

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Connect, and take note."""
        self.attempts[host.partition(".")[0]].append(trio.current_time())
        stream = await self._sim.connect(host, port, tls=tls)
        assert isinstance(stream, BreakableStream)
        self._streams = [*self.open_streams, stream]
        return stream

    @property
    def open_streams(self) -> list[BreakableStream]:
        """The streams that our client has not closed."""
        return [stream for stream in self._streams if not stream._closed]

    @property
    def hub_attempts(self) -> list[float]:
        """When connections of hubs were asked for, of both together, in order."""
        return sorted(at for hub in _HUBS for at in self.attempts[hub])

    def reset_all(self) -> int:
        """Reset every connection there is, REST's too; return how many."""
        streams = self.open_streams
        for stream in streams:
            stream.reset()
        return len(streams)


def config_for(door: Door, **changes: object) -> px.GatewayConfig:
    """Return the configuration of a gateway that goes through ``door``."""
    config = px.GatewayConfig(
        credentials=px.Credentials("simulator", "simulator-key"),
        endpoints=px.Endpoint(
            "http://rest.sim", "http://market.sim/hubs/market", "http://user.sim/hubs/user"
        ),
        connect=door.connect,
        wall_clock=virtual_wall,
    )
    return attrs.evolve(config, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def open_ground(
    seed: int = 0, trades_per_s: float | None = None, **options: object
) -> AsyncGenerator[tuple[Simulator, Door]]:
    """Open a simulator in memory, and the door to it."""
    async with open_simulator(port=None, seed=seed, wall_clock=virtual_wall, **options) as sim:  # type: ignore[arg-type]
        if trades_per_s is not None:
            await control(sim, "POST", f"hz?v={trades_per_s:g}")
        yield sim, Door(sim)
        assert sim.statistics().crashes == 0


async def control(sim: Simulator, method: str, route: str) -> object:
    """Ask one of the simulator's control routes; return its answer."""
    async with await sim.connect("control", 1, tls=False) as stream:
        head = (
            f"{method} /control/{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        await stream.send_all(head.encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@attrs.define
class Told:
    """What ``gateway.open_events()`` has told."""

    events: list[px.ConnectionEvent] = attrs.Factory(list)
    """All of them, unless only counts are kept."""
    counts: Counter[str] = attrs.Factory(Counter)
    """By the name of the type."""
    overlapped: int = 0
    """Connections that were replaced without a gap."""
    keep: bool = True

    async def listen(
        self, gateway: px.Gateway, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled."""
        async with gateway.open_events() as stream:
            task_status.started()
            async for event in stream:
                assert not isinstance(event, px.Dropped)
                self.counts[type(event).__name__] += 1
                self.overlapped += isinstance(event, px.ConnectionReplaced) and event.overlapped
                if self.keep:
                    self.events.append(event)


def first_of(error: BaseException) -> BaseException:
    """Return the first leaf of a group, or what is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
