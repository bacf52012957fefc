"""A program that runs out of memory for real: under RLIMIT_AS, on one core, without psutil; it prints what it saw.

`python tests/pressure_child.py FOLDER` records its trades into the folder and leaves with `MemoryExhausted.exit_code`.
With a second argument, the folder of a cgroup (v2, or v1's of memory), it enters that, and runs into its limit.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

import trio_projectx as px
from trio_projectx.simulator import open_simulator

MIB = 1 << 20
ROOM = 1024 * MIB
PIECE = 4 * MIB


def size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def options(limit: int) -> px.MemoryOptions:
    """Levels at the last 500, 350, 220 and 120 MiB, whatever the program takes."""
    tight, high, severe, last = ((limit - left * MIB) / limit for left in (500, 350, 220, 120))
    return px.MemoryOptions(
        look_s=0.25,
        tight_share=tight,
        high_share=high,
        severe_share=severe,
        last_share=last,
        back_share=0.001,
        drain_s=2,
    )


async def leak() -> None:
    held = []
    while True:
        held.append(bytearray(b"x") * PIECE)  # touched: a cgroup counts no other pages
        await trio.sleep(0.01)


async def collect(
    events: px.Stream[px.GatewayEvent | px.Dropped], into: list[px.MemoryPressureChanged]
) -> None:
    async for event in events:
        note(event, into)


def note(event: px.GatewayEvent | px.Dropped, into: list[px.MemoryPressureChanged]) -> None:
    if isinstance(event, px.MemoryPressureChanged):
        into.append(event)


def limited(group: str | None) -> int:
    """Have a limit, and return it."""
    if group is None:
        limit = size() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return limit
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    names = ("memory.max", "memory.limit_in_bytes")
    return next(int((Path(group) / name).read_text()) for name in names if (Path(group) / name).exists())


async def main(folder: str, group: str | None = None) -> int:
    sys.modules["psutil"] = None  # type: ignore[assignment]  # as where it is not installed
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    limit = limited(group)
    steps: list[px.MemoryPressureChanged] = []
    seen: dict[str, object] = {}
    count = 0
    async with open_simulator(speed=5) as sim:
        config = px.GatewayConfig.simulated(sim.url)
        config = px.GatewayConfig(config.credentials, config.endpoints, memory=options(limit))
        try:
            async with (
                px.open_gateway(config) as gateway,
                gateway.open_recorder(folder, what=["trades"]) as recorder,
                gateway.open_events() as events,
                gateway.open_quotes("MNQ", overflow=px.Overflow.DROP_OLDEST) as quotes,
                gateway.open_bars("MNQ", "1s"),
                gateway.open_trades("MNQ") as trades,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(collect, events, steps)
                nursery.start_soon(leak)
                try:
                    async for _ in trades:
                        count += 1
                finally:
                    with suppress(
                        trio.WouldBlock, trio.EndOfChannel
                    ):  # what the other task was not in time for
                        while True:
                            note(events.receive_nowait(), steps)
                    statistics = gateway.statistics()
                    health = gateway.health()
                    seen |= {
                        "ledger": statistics.market.ledger.balanced,
                        "trades": trades.statistics().balanced,
                        "left": trades.statistics().queued,
                        "quotes": quotes.statistics().balanced,
                        "policy": quotes.statistics().policy.value,
                        "status": health.status,
                        "memory": health.machine.memory.sentence,
                        "processors": health.machine.cpu.processors,
                    }
        except px.MemoryExhausted as exc:
            seen |= {
                "count": count,
                "steps": [(step.before.value, step.level.value, step.bound, step.did) for step in steps],
                "said": str(exc),
                "written": recorder.statistics().written,
            }
            print(msgspec.json.encode(seen).decode(), flush=True)
            return exc.exit_code
    return 1


if __name__ == "__main__":
    sys.exit(trio.run(main, *sys.argv[1:]))
