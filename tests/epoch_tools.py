"""One epoch at work against a scripted hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio
from scripted import (
    Gathered,
    Hub,
    Network,
    Request,
    Script,
    Service,
    Wire,
    config_for,
    open_network,
    open_service,
)

from trio_projectx import TrioProjectXError
from trio_projectx.connection.epoch import Epoch, EpochCounts
from trio_projectx.market import Decoded

Play = Callable[[Hub], Awaitable[None]]


@attrs.define(eq=False)
class Bench:
    """An epoch at work, and what it delivered."""

    network: Network
    service: Service
    epoch: Epoch[Decoded] = attrs.field(init=False)
    sink: Gathered = attrs.field(factory=Gathered)
    changes: list[bool] = attrs.field(factory=list)
    """Whether the epoch was live, each time it said that it had changed."""
    proofs: list[float] = attrs.field(factory=list)
    returned: trio.Event = attrs.field(factory=trio.Event)
    """Set when `Epoch.run` has returned: its connection is closed then, too."""

    def __attrs_post_init__(self) -> None:
        address, tokens, config = self.service.address, self.service.tokens, self.service.config
        self.epoch = Epoch(
            "market hub",
            7,
            address,
            tokens,
            config,
            self.sink,
            EpochCounts(),
            on_change=lambda: self.changes.append(self.epoch.live),
            on_proof=lambda: self.proofs.append(self.epoch.liveness.proved_until),
        )

    @property
    def got(self) -> list[tuple[Decoded, int]]:
        return [(found, ts_recv) for found, ts_recv, _ in self.sink.got]

    async def run(self) -> None:
        await self.epoch.run()
        self.returned.set()

    async def live(self) -> Epoch:
        with trio.fail_after(1000):
            await self.epoch.settled.wait()
        assert self.epoch.live, self.epoch.error
        return self.epoch

    async def failure(self) -> TrioProjectXError:
        """Wait until the epoch is over, and return why."""
        with trio.fail_after(1000):
            await self.epoch.over.wait()
        assert not self.epoch.live
        assert self.epoch.error is not None
        return self.epoch.error

    def prices(self) -> list[float]:
        return self.sink.prices()


@asynccontextmanager
async def running(
    hub: Script, rest: Script | None = None, capacity: int = 1 << 16, **changes: object
) -> AsyncGenerator[Bench]:
    """An epoch that runs as long as the block; leaving it leaves nothing open (`open_network` asserts it)."""
    async with (
        open_network(hub, rest, capacity) as network,
        open_service(config_for(network, **changes)) as service,
    ):
        bench = Bench(network, service)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            yield bench
            nursery.cancel_scope.cancel()


def hub_that(play: Play, answer: str = "{}\x1e") -> Script:
    """A hub that accepts, answers the handshake, plays, and then goes on reading until the client has gone."""

    async def script(wire: Wire, request: Request) -> None:
        hub = await wire.accept()
        await hub.shake(answer)
        await play(hub)
        await hub.until_gone()

    return script


async def nothing(hub: Hub) -> None:
    await trio.lowlevel.checkpoint()


def status(code: int, body: bytes = b"") -> Script:
    async def script(wire: Wire, request: Request) -> None:
        await wire.reply(code, body)

    return script
