"""The simulator as a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from trio_projectx.simulator.faults import read_script
from trio_projectx.simulator.server import Simulator, open_simulator


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    speed: float = 1.0,
    replay: str | os.PathLike[str] | None = None,
    contract: str | None = None,
    *,
    allow_remote: bool = False,
    faults: str | os.PathLike[str] | None = None,
    watch: Callable[[Simulator], Awaitable[object]] | None = None,
) -> None:
    """Run a simulator until SIGINT, SIGTERM, ``POST /control/stop`` or cancellation; needs the main thread.

    One line goes to standard output when it can be talked to: ``simulator ready url=http://127.0.0.1:PORT
    seed=N``. ``faults`` is a file with a fault script, whose time begins with that line. ``watch`` then runs
    beside it, and is cancelled at the end. The other options and errors are those of `open_simulator`.

    :raises ConfigError: if the script cannot be read or done; nothing listens then.
    """
    script = () if faults is None else await read_script(faults)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_simulator(
            seed=seed,
            host=host,
            port=port,
            speed=speed,
            replay=replay,
            contract=contract,
            allow_remote=allow_remote,
        ) as simulator:
            sys.stdout.write(f"simulator ready url={simulator.url} seed={simulator.seed}\n")
            sys.stdout.flush()
            simulator.run_script(script)
            async with trio.open_nursery() as nursery:
                if watch is not None:
                    nursery.start_soon(watch, simulator)
                nursery.start_soon(_until_signal, signals, nursery.cancel_scope)
                await simulator.stopped.wait()
                nursery.cancel_scope.cancel(reason="the simulator was stopped")


async def _until_signal(signals: AsyncIterator[int], over: trio.CancelScope) -> None:
    async for _ in signals:
        over.cancel(reason="a signal came")
        return
