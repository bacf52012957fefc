"""Two days of a market in virtual time, with a fault every quarter of an hour, and everything accounted for.

The whole stack in one process: the simulator, trio-websocket at both ends of bounded streams in memory, login and
refreshes, gap fill, bars of eight timeframes, and four readers with four policies. docs/load.md says what must hold.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
import trio.testing
from ground import seed_scheduler
from memory import frozen, touch_stack
from spool import Spool, compare
from stack import Course, Template, Watched, figures, readers, run, template, verdict
from world import Here

import trio_projectx as px
from trio_projectx.simulator import Simulator, open_simulator
from trio_projectx.testing import virtual_wall_clock

CONTRACT: Final = "CON.F.US.MNQ.Z25"
FRAMES: Final = ("1s", "5s", "30s", "1m", "5m", "15m", "1h", "1d")
#: How often the market is looked at, so that a frame has a real one's 1 to 10 records.
STEP_S: Final = 1.0
#: A day of the minutes that the simulator has traded, which is the warming up of two days.
CANDLES_KEPT: Final = 1440
#: Bars that ended so long before the end are compared: what was to be read again was read by then.
MENDED_NS: Final = 300 * 10**9


@attrs.frozen
class Soaked:
    """What a soak has come to."""

    template: str
    hours: float
    figures: Mapping[str, object]
    compared: Mapping[str, object]
    digest: str
    """Of all bars in the end: the same for the same seed."""
    wrong: tuple[str, ...]
    real_s_per_hour: float = 0.0
    cpu_s_per_hour: float = 0.0


def soak(name: str, hours: float, seed: int, tell: Callable[[str], None] | None = None) -> Soaked:
    """Let ``hours`` of the market of a template go by; ``tell`` is told a line at each look."""
    began, cpu = time.monotonic(), time.process_time()
    touch_stack()
    # What was imported is looked at once, and not at each look.
    with frozen(), tempfile.TemporaryDirectory() as folder:

        async def body() -> Soaked:
            seed_scheduler(seed)
            return await _soak(template(name), hours, seed, Path(folder), tell or (lambda _: None))

        found = trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))
    return attrs.evolve(
        found,
        real_s_per_hour=round((time.monotonic() - began) / hours, 2),
        cpu_s_per_hour=round((time.process_time() - cpu) / hours, 2),
    )


def course_of(hours: float) -> Course:
    """Return the course: in a short one the last fault comes a little later than it should."""
    seconds = hours * 3600
    return Course(seconds, last_s=min(Course(seconds).last_s, 0.7 * seconds))


def config_for(sim: Simulator, wall: Callable[[], int]) -> px.GatewayConfig:
    """Return the configuration: a token an hour, and as few bars kept as fill up while it warms up."""
    return attrs.evolve(
        px.GatewayConfig.simulated(sim.url),
        connect=sim.connect,
        wall_clock=wall,
        negotiate=True,
        limits=px.Limits(bars_kept=64, revisable_bars=128),
        history=px.HistoryOptions(bars_kept=256),
        refresh=px.Refresh(share=0.8, jitter=0.0),
    )


@asynccontextmanager
async def _opened(
    stage: Template, course: Course, seed: int, spool: Spool
) -> AsyncGenerator[tuple[Simulator, px.Gateway, Watched]]:
    wall = virtual_wall_clock(stage.start)
    wall()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(
            open_simulator(
                port=None,
                seed=seed,
                wall_clock=wall,
                token_ttl_s=4500,
                step_s=STEP_S,
                candles_kept=CANDLES_KEPT,
            )
        )
        gateway = await stack.enter_async_context(px.open_gateway(config_for(sim, wall)))
        gateway._parts.market_hub.tools.rng.seed(
            seed
        )  # of the back-off, so that a seed goes the same way again
        watched = Watched(course, stage, readers(spool), trio.current_time())
        for reader in watched.readers:
            await stack.enter_async_context(reader.opened(gateway, CONTRACT, FRAMES, stage.anchor))
        yield sim, gateway, watched


async def _soak(
    stage: Template, hours: float, seed: int, folder: Path, tell: Callable[[str], None]
) -> Soaked:
    root = trio.lowlevel.current_task()
    with Spool(folder, FRAMES) as spool:
        return await _gone(stage, hours, seed, spool, root, tell)


async def _gone(
    stage: Template,
    hours: float,
    seed: int,
    spool: Spool,
    root: trio.lowlevel.Task,
    tell: Callable[[str], None],
) -> Soaked:
    async with _opened(stage, course_of(hours), seed, spool) as (sim, gateway, watched):
        async with trio.open_nursery() as nursery:
            await run(
                Here(sim),
                gateway,
                watched,
                seed,
                root,
                lambda: spool.take_truth(sim, CONTRACT),
                tell,
                nursery,
            )
            statistics, health, until_ns = gateway.statistics(), gateway.health(), sim.market_now_ns()
            now = trio.current_time()
            nursery.cancel_scope.cancel()
        crashes = sim.statistics().crashes
    compared = compare(
        spool, stage.anchor, until_ns - MENDED_NS, [each.market_ns for each in watched.strikes if each.lies]
    )
    told = attrs.asdict(compared, filter=lambda field, _: field.name not in ("digest", "wrong"))
    return Soaked(
        stage.name, hours, figures(watched, statistics, health, now), told, compared.digest,
        verdict(watched, health, compared, now, crashes),
    )  # fmt: skip
