"""A storm of wishes: streams opened and left by the thousand, and what the service believes in the end."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

import attrs
import trio
from ground import START_NS, Door, config_for, control, open_ground, run_virtually, seed_scheduler
from wsproto.frame_protocol import FrameProtocol

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator
from trio_projectx.simulator.products import front

_PRODUCTS: Final = ("MNQ", "EP", "GCE", "CLE", "RTY")
#: Its names in ``/control/state``.
_KINDS: Final = ("GatewayTrade", "GatewayQuote")
_RECORDS_END: Final = "\x1e"
#: A stream is held for so small a part of the storm: then each subscription comes and goes many times.
_HOLDS: Final = 100.0

Wish: TypeAlias = tuple[str, str]
"""A kind and a contract."""


@attrs.frozen
class Granted:
    """What came of a storm of wishes."""

    wishes: int
    """Times that a stream was asked for, and times that one was left."""
    calls: int
    """Subscribe and Unsubscribe calls that were sent."""
    most_calls: int
    """Of these, for the subscription that had most, on one connection."""
    may_call: float
    """How many one subscription may need there: one call at a time, each at least as long as the way to the service."""
    agreed: bool
    """Whether the service had exactly the subscriptions that were wished last."""
    agreed_on_none: bool
    """Whether it had none once all streams were left."""
    connects: int

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if not self.agreed:
            wrong.append("the service has other subscriptions than those that were wished last")
        if not self.agreed_on_none:
            wrong.append("the service has subscriptions that nobody needs")
        if self.most_calls > self.may_call:
            wrong.append(f"{self.most_calls} calls for one subscription, where {self.may_call:g} do")
        return wrong


class Tap(trio.abc.Stream):
    """A client's end of a connection to a hub; the calls that go through it are counted."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._frames = FrameProtocol(client=False, extensions=[])
        self._head = b""
        self._text = ""
        self.calls: Counter[Wish] = Counter()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and look what it is."""
        self._look(bytes(data))
        await self._stream.send_all(data)

    def _look(self, data: bytes) -> None:
        if not self._head.endswith(b"\r\n\r\n"):
            self._head += data  # the request is sent by itself
            return
        self._frames.receive_bytes(data)
        for frame in self._frames.received_frames():
            if isinstance(frame.payload, str):
                self._text += frame.payload
        *records, self._text = self._text.split(_RECORDS_END)
        for record in map(json.loads, records):
            if record.get("type") == 1:
                kind = "GatewayTrade" if record["target"].endswith("Trades") else "GatewayQuote"
                self.calls[kind, record["arguments"][0]] += 1

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive."""
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()


@attrs.define
class _Taps:
    """Taps each connection to the market hub."""

    door: Door
    taps: list[Tap] = attrs.Factory(list)

    async def connect(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        stream = await self.door.connect(host, port, tls=tls)
        if not host.startswith("market"):
            return stream
        self.taps.append(Tap(stream))
        return self.taps[-1]


def storm(
    wishes: int, *, seconds: float, way_s: float, seed: int = 0, losses: int = 0, redundant: bool = False
) -> Granted:
    """Let ``wishes`` be made and taken back within ``seconds``, by a service whose answers take ``way_s``.

    ``losses`` times in that the connections are lost.
    """
    seed_scheduler(seed)
    rng = random.Random(seed)
    return run_virtually(lambda: _storm(wishes, seconds, way_s, rng, losses, redundant=redundant))


async def _storm(
    wishes: int, seconds: float, way_s: float, rng: random.Random, losses: int, *, redundant: bool
) -> Granted:
    contracts = [front(product, START_NS).contract_id for product in _PRODUCTS]
    every = list(itertools.product(_KINDS, contracts))
    async with open_ground(rng.randrange(1000), 0.0) as (sim, door):
        taps = _Taps(door)
        config = config_for(door, connect=taps.connect, reconnect=px.Reconnect(redundant=redundant))
        async with px.open_gateway(config) as gateway:
            await gateway.wait_connected()
            sim.inject(Fault("delay", hub="market", count=0, latency_s=way_s, jitter_s=0.0))
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(wishes // 2):
                    nursery.start_soon(_wish_for_a_while, gateway, rng.choice(every), seconds, rng)
                for _ in range(losses):
                    nursery.start_soon(_lose, door, rng.uniform(0, seconds))
            took = trio.current_time() - began
            last = rng.sample(every, 4)
            agreed, agreed_on_none = await _settle(sim, gateway, last, 2 if redundant else 1)
            connects = gateway.statistics().connects
    return Granted(
        wishes=wishes,
        calls=sum(tap.calls.total() for tap in taps.taps),
        most_calls=max(max(tap.calls.values(), default=0) for tap in taps.taps),
        may_call=took / way_s + 4,
        agreed=agreed,
        agreed_on_none=agreed_on_none,
        connects=connects,
    )


async def _wish_for_a_while(gateway: px.Gateway, wish: Wish, seconds: float, rng: random.Random) -> None:
    await trio.sleep(rng.uniform(0, seconds))
    with trio.move_on_after(rng.expovariate(_HOLDS / seconds)):
        async with _open(gateway, wish):
            await trio.sleep_forever()


def _open(gateway: px.Gateway, wish: Wish) -> AbstractAsyncContextManager[object]:
    kind, contract = wish
    opens: Callable[[str], AbstractAsyncContextManager[object]] = (
        gateway.open_trades if kind == "GatewayTrade" else gateway.open_quotes
    )
    return opens(contract)


async def _lose(door: Door, after_s: float) -> None:
    await trio.sleep(after_s)
    door.reset_all()


async def _settle(sim: Simulator, gateway: px.Gateway, last: list[Wish], lines: int) -> tuple[bool, bool]:
    """Wish for ``last``, then for nothing; return whether the service comes to agree, both times."""
    async with trio.open_nursery() as nursery:
        for wish in last:
            nursery.start_soon(_keep, gateway, wish)
        agreed = await _agrees(sim, last, lines)
        nursery.cancel_scope.cancel()
    return agreed, await _agrees(sim, [], lines)


async def _keep(gateway: px.Gateway, wish: Wish) -> None:
    async with _open(gateway, wish):
        await trio.sleep_forever()


async def _agrees(sim: Simulator, wished: list[Wish], lines: int) -> bool:
    """Whether each connection comes to have just what is wished, and keeps to it."""
    wanted = [sorted(f"{kind} {contract}" for kind, contract in wished)] * lines
    try:
        await until_state(sim, wanted)
    except trio.TooSlowError:
        return False
    await trio.sleep(30)
    return await _subscriptions(sim) == wanted


async def until_state(sim: Simulator, wanted: list[list[str]]) -> None:
    """Wait until each connection has the subscriptions that are wanted."""
    with trio.fail_after(120):
        while await _subscriptions(sim) != wanted:
            await trio.sleep(0.5)


async def _subscriptions(sim: Simulator) -> list[list[str]]:
    state = await control(sim, "GET", "state")
    assert isinstance(state, dict)
    return [sorted(each["subs"]) for each in state["connections"]]
