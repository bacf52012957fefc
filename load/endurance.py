"""The soak's course in real time: real sockets, and the simulator in a process of its own. As long as is asked for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import attrs
import trio
from spool import Spool, compare
from stack import Course, Template, Watched, figures, readers, run, verdict
from world import open_elsewhere

import trio_projectx as px

FRAMES: Final = ("1s", "2s", "5s", "10s", "15s", "30s", "1m", "5m")
#: Every wait a tenth of what it is, so that a fault can come every twenty seconds.
TIMEOUTS: Final = px.Timeouts(
    connect_s=1, handshake_s=1.5, subscribe_s=1.5, server_s=3, keep_alive_s=1.5, rest_s=3, send_s=1, close_s=0.5,
    probe_s=1.5, record_s=12, refresh_s=3, stall_s=3, overlap_s=0.2,
)  # fmt: skip
_SIM: Final = {"keep_alive_s": 1.5, "client_timeout_s": 3.0, "handshake_s": 1.5}
#: The token's life: it is renewed every 48 seconds.
_TOKEN_S: Final = 60.0
_MENDED_NS: Final = 40 * 10**9


@attrs.frozen
class Endured:
    """What an endurance has come to."""

    minutes: float
    figures: Mapping[str, object]
    compared: Mapping[str, object]
    wrong: tuple[str, ...]


def course_of(minutes: float) -> Course:
    """Return the course: a fault every twenty seconds, but for the last minute."""
    return Course(
        minutes * 60, trades_per_s=50.0, look_s=10.0, aside_s=1.0, fault_s=20.0, first_s=5.0, last_s=60.0,
        lasts_s=7.0, back_s=8.0, settled_s=8.0, pooled=10, warm_s=3600.0,
    )  # fmt: skip


def endure(minutes: float, seed: int, tell: Callable[[str], None] | None = None) -> Endured:
    """Go the course for ``minutes`` (of real time, 2 or more)."""
    with tempfile.TemporaryDirectory() as folder:
        with Spool(Path(folder), FRAMES) as spool:
            return trio.run(_endure, minutes, seed, spool, tell or (lambda _: None))


def config_for(url: str) -> px.GatewayConfig:
    """Return the configuration."""
    return attrs.evolve(
        px.GatewayConfig.simulated(url),
        negotiate=True,
        timeouts=TIMEOUTS,
        # More connections than anybody has who does not lose one every twenty seconds.
        reconnect=px.Reconnect(refill_s=3.0, young_s=0.5, cap_s=3.0, connect_burst=20, connects_per_s=5.0),
        limits=px.Limits(bars_kept=256),
        refresh=px.Refresh(share=0.8, jitter=0.0, retry_s=0.5),
        history=px.HistoryOptions(retry_cap_s=5.0),
    )


async def _endure(minutes: float, seed: int, spool: Spool, tell: Callable[[str], None]) -> Endured:
    root, course = trio.lowlevel.current_task(), course_of(minutes)
    stage = Template("now", "", px.Anchor.utc(), closes=False)
    options = {"seed": seed, "token_ttl_s": _TOKEN_S, "rate_limits": False, **_SIM}
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_elsewhere(time.time_ns, course.trades_per_s, **options))
        gateway = await stack.enter_async_context(px.open_gateway(config_for(world.url)))
        watched = Watched(course, stage, readers(spool), trio.current_time())
        for reader in watched.readers:
            await stack.enter_async_context(reader.opened(gateway, "MNQ", FRAMES, stage.anchor))
        watched.began = trio.current_time()
        contract_id = watched.contract_id
        async with trio.open_nursery() as nursery:
            await run(
                world,
                gateway,
                watched,
                seed,
                root,
                lambda: _received(gateway) - watched.trades,
                tell,
                nursery,
            )
            statistics, health, until_ns = gateway.statistics(), gateway.health(), time.time_ns()
            now = trio.current_time()
            nursery.cancel_scope.cancel()
        await world.truth(spool.truth_path, contract_id)
        crashes = await world.crashes()
    lies = [each.market_ns for each in watched.strikes if each.lies]
    compared = compare(spool, stage.anchor, until_ns - _MENDED_NS, lies)
    told = attrs.asdict(compared, filter=lambda field, _: field.name not in ("digest", "wrong"))
    return Endured(
        minutes,
        figures(watched, statistics, health, now),
        told,
        verdict(watched, health, compared, now, crashes),
    )


def _received(gateway: px.Gateway) -> int:
    return sum(each.received for each in gateway.statistics().market.contracts)
