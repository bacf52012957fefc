"""Leaving at random instants from every state a gateway can be in: real sockets, real time.

The service is `bomb_server` in a process of its own. Each leave is a loop of its own, in this process: how long it took
from the wish to the end of the gateway's block is measured, and what is left afterwards is counted: tasks, descriptors,
threads, and what the interpreter complains of.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import attrs
import trio
from bombs import Peer, of_a_script, serving
from forks import open_fds, threads
from ground import CONTRACT, first_of
from recovery import share
from steps import _listening

import trio_projectx as px

EXIT_S: Final = 1.0
MOST_S: Final = 5.0
#: How long trio keeps a thread that has nothing to do.
_THREADS_S: Final = 12.0

Way: TypeAlias = Literal["cancelled", "raised", "left"]
WAYS: Final[tuple[Way, ...]] = ("cancelled", "raised", "left")


class Enough(Exception):
    """Raised in the body of a gateway's block, to leave it."""


@attrs.define
class Leave:
    """One leave."""

    state: str
    way: Way
    took_s: float = -1.0
    wrong: list[str] = attrs.Factory(list)


@attrs.define
class Client:
    """A gateway on its way into some state."""

    peer: Peer
    gateway: px.Gateway
    stack: AsyncExitStack
    readers: trio.Nursery
    folder: Path

    async def stream(self) -> None:
        """Open some streams that are read."""
        bars = await self.stack.enter_async_context(self.gateway.open_bars(CONTRACT, "1s", "1m"))
        user = await self.stack.enter_async_context(self.gateway.open_user_events())
        self.readers.start_soon(_drain, bars)
        self.readers.start_soon(_drain, user)

    async def fault(self, name: str, **fields: object) -> None:
        """Let something happen to the service."""
        await self.peer.tell({"fault": {"name": name, "count": 0, **fields}})


async def _drain(stream: trio.abc.ReceiveChannel[object]) -> None:
    with suppress(trio.ClosedResourceError):  # its block was left, which is what all this is about
        async for _ in stream:
            pass


# States: what goes wrong before the gateway is opened, and what is done with it then


async def _stream(client: Client) -> None:
    await client.stream()
    await trio.sleep_forever()


async def _blocked(client: Client) -> None:
    stream = client.gateway.open_trades(CONTRACT, overflow=px.Overflow.BLOCK, capacity=1)
    await client.stack.enter_async_context(stream)
    await _stream(client)


async def _half_open(client: Client) -> None:
    await client.stream()
    await client.fault("half_open", phase="stream")
    await trio.sleep_forever()


async def _unread(client: Client) -> None:
    await client.stream()
    await client.fault("stop_reading", phase="stream")
    await trio.sleep_forever()


async def _reconnecting(client: Client) -> None:
    await client.stream()
    await client.fault("http_status", phase="upgrade", status=503)
    await client.fault("tcp_reset", phase="stream")
    await trio.sleep_forever()


async def _refreshing(client: Client) -> None:
    await client.stream()
    await client.fault("hang", phase="rest", hub="rest", path="/api/Auth/*")
    await client.gateway.refresh_token()


async def _replacing(client: Client) -> None:
    await client.stream()
    while True:
        await client.gateway.refresh_token()
        await trio.sleep(0.05)


async def _history_hangs(client: Client) -> None:
    await client.fault("hang", phase="rest", hub="rest", path="/api/History/*")
    await client.stream()
    await client.gateway.history(CONTRACT, "1m", count=100)


async def _history_comes(client: Client) -> None:
    await client.stream()
    while True:
        await client.gateway.history(CONTRACT, "1m", count=5000)


async def _beginning(client: Client) -> None:
    bars = client.gateway.open_bars(CONTRACT, "1m", "5m", history=200)
    await client.stack.enter_async_context(bars)
    await trio.sleep_forever()


async def _recording(client: Client) -> None:
    async with client.gateway.open_recorder(client.folder):
        await _stream(client)


async def _handling(client: Client) -> None:
    """Let handlers be in the middle of something: one that waits, one that counts."""
    seen: list[object] = []

    async def slow(item: object) -> None:
        await trio.sleep(0.2)

    client.gateway.on_trade(slow, CONTRACT)
    client.gateway.on_bar(seen.append, CONTRACT, "1s")
    await client.gateway.run_handlers()


@attrs.frozen
class State:
    """How a gateway gets into a state."""

    be: Callable[[Client], Awaitable[None]] = _stream
    before: Mapping[str, object] | None = None


def _hang(phase: str, **fields: object) -> dict[str, object]:
    return {"name": "hang", "phase": phase, "count": 0, **fields}


STATES: Final[Mapping[str, State]] = {
    "logging in": State(before=_hang("rest", hub="rest", path="/api/Auth/*")),
    "connecting": State(before=_hang("upgrade", hub="market")),
    "handshake": State(before=_hang("handshake", hub="market")),
    "subscribing": State(before={"name": "subscribe_never", "count": 0}),
    "live": State(),
    "blocked": State(_blocked),
    "half open": State(_half_open),
    "not read by the server": State(_unread),
    "reconnecting": State(_reconnecting),
    "refreshing": State(_refreshing),
    "replacing connections": State(_replacing),
    "history hangs": State(_history_hangs),
    "history comes": State(_history_comes),
    "beginning with history": State(_beginning),
    "recording": State(_recording),
    "handlers": State(_handling),
}


# One leave


async def _one(peer: Peer, found: Leave, wait_s: float, folder: Path) -> None:
    config = px.GatewayConfig.simulated(f"http://127.0.0.1:{peer.port}")
    scope, body, wished = trio.CancelScope(), trio.CancelScope(), list[float]()

    async def leave() -> None:
        await trio.sleep(wait_s)
        wished.append(trio.current_time())
        (scope if found.way == "cancelled" else body).cancel()

    try:
        async with trio.open_nursery() as readers:
            readers.start_soon(leave)
            with scope:
                async with AsyncExitStack() as stack:
                    gateway = await stack.enter_async_context(px.open_gateway(config))
                    with body, suppress(px.ConnectionLost, px.SubscriptionError):
                        await STATES[found.state].be(Client(peer, gateway, stack, readers, folder))
                    if found.way == "raised":
                        raise Enough  # noqa: TRY301  it is the user's, out of the user's block
    except* Enough:
        pass
    found.took_s = trio.current_time() - wished[0]


async def _with_peer(found: Leave, peer: Peer, wait_s: float, folder: Path) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    await peer.tell({"over": True})
    if STATES[found.state].before is not None:
        await peer.tell({"fault": STATES[found.state].before})
    with trio.fail_after(60):
        await _one(peer, found, wait_s, folder)
    if left := trio.lowlevel.current_statistics().tasks_living - before:
        found.wrong.append(f"{left} tasks are left")


def leave(state: str, way: Way, peer: Peer, wait_s: float) -> Leave:
    """Get into a state and leave it after ``wait_s``, in a loop of its own."""
    found, fds = Leave(state, way), open_fds()
    with tempfile.TemporaryDirectory() as folder, _listening(found.wrong):
        try:
            trio.run(_with_peer, found, peer, wait_s, Path(folder))
        except Exception as exc:  # noqa: BLE001  whatever it is, leaving has failed
            found.wrong.append(f"{type(exc).__name__}: {first_of(exc)}")
        gc.collect()
    if left := open_fds() - fds:
        found.wrong.append(f"descriptors {sorted(left)} are open")
    return found


# The proof


@attrs.define
class Shutdowns:
    """What all leaves come to; seconds."""

    leaves: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    most_s: float = 0.0
    by_state: dict[str, tuple[float, float]] = attrs.Factory(dict)
    """The median and the longest of each state."""
    leaks: int = 0
    threads_left: int = 0
    wrong: list[str] = attrs.Factory(list)

    def faults(self) -> list[str]:
        """Return what is wrong."""
        found = list(self.wrong)
        if self.p99_s > EXIT_S or self.most_s > MOST_S:
            found.append(f"leaving took {self.p99_s:.2f} s (p99), {self.most_s:.2f} s at most")
        if self.threads_left:
            found.append(f"{self.threads_left} threads are left")
        return found


def prove(times: int, seed: int, states: Iterable[str] = STATES) -> Shutdowns:
    """Leave each state ``times`` times, at random instants, in this process."""
    rng, found = random.Random(seed), Shutdowns()
    threads_before = threads()
    took: dict[str, list[float]] = {state: [] for state in states}
    with serving() as peer:
        for n in range(times):
            for state in took:
                left = leave(
                    state,
                    WAYS[n % len(WAYS)] if state != "logging in" else "cancelled",
                    peer,
                    rng.uniform(0.05, 1.2),
                )
                took[state].append(left.took_s)
                found.leaks += bool(left.wrong)
                found.wrong += [f"{state}, {left.way}: {each}" for each in left.wrong]
    every = sorted(each for values in took.values() for each in values)
    found.leaves, found.most_s = len(every), every[-1]
    found.p50_s, found.p99_s = share(every, 0.5), share(every, 0.99)
    found.by_state = {state: (share(sorted(each), 0.5), max(each)) for state, each in took.items()}
    found.threads_left = _threads_left(threads_before)
    return found


def _threads_left(before: int) -> int:
    """Wait until trio has let go of its idle threads; return how many there are more than before."""
    until = time.monotonic() + _THREADS_S
    while threads() > before and time.monotonic() < until:
        time.sleep(0.2)
    return max(0, threads() - before)


def prove_beside(times: int, seed: int) -> Shutdowns:
    """Do what `prove` does in a process of its own."""
    command = [sys.executable, "-W", "error", str(Path(__file__)), str(times), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=of_a_script())  # noqa: S603
    if done.returncode:
        return Shutdowns(wrong=[f"the process ended with {done.returncode}: {done.stderr[-1000:]}"])
    return Shutdowns(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    logging.getLogger("trio_projectx").setLevel(logging.CRITICAL)
    print(json.dumps(attrs.asdict(prove(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or STATES))))
