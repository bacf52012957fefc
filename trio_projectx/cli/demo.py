"""``trio-projectx demo``: a simulator in its own process, the real client, and a live table of bars."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio
from rich.console import Console
from rich.live import Live

import trio_projectx as px
from trio_projectx.cli.demo_view import DemoView
from trio_projectx.flow.background import BackgroundTasks, open_background_tasks

TIMEFRAMES: Final = ("1s", "5s", "15s", "1m", "5m")
_START_S: Final = 15.0
_STOP_S: Final = 3.0
_IDLE_S: Final = 10.0


@attrs.frozen(slots=True, kw_only=True)
class DemoOptions:
    """What the command line asked for."""

    forever: bool
    speed: float | None
    replay: Path | None
    contract: str | None
    seed: int
    seconds: float

    def __attrs_post_init__(self) -> None:
        if not self.seconds > 0:
            raise px.ConfigError(f"--seconds must be above 0, not {self.seconds:g}")
        if self.speed is not None and not (self.speed > 0 or (self.speed == 0 and self.replay is not None)):
            raise px.ConfigError("--speed must be above 0 (or 0, as fast as it can be read, with --replay)")

    @property
    def chosen_contract(self) -> str:
        """The contract to open; a file is played as gold unless told otherwise."""
        return self.contract or ("MNQ" if self.replay is None else "CON.F.US.GCE.Z25")

    def simulator_arguments(self) -> list[str]:
        """The command line of the simulator's process."""
        speed = (30.0 if self.replay is None else 0.0) if self.speed is None else self.speed
        arguments = [
            "sim",
            "--until-input-ends",
            "--port",
            "0",
            "--seed",
            str(self.seed),
            "--speed",
            str(speed),
        ]
        if self.replay is not None:
            arguments += ["--replay", str(self.replay), "--contract", self.chosen_contract]
        return [sys.executable, "-m", "trio_projectx", *arguments]


async def run_demo(options: DemoOptions) -> int:
    """Run the demo and return the exit code: 0 if every trade is accounted for."""
    console = Console()
    total = None if options.replay is None else await trio.to_thread.run_sync(_rows, options.replay)
    async with _simulator(options) as url, px.open_gateway(px.GatewayConfig.simulated(url)) as gateway:
        console.print(f"simulator on {url} in its own process, seed {options.seed}")
        # BLOCK: a replay is to be seen whole, however slow this terminal is.
        async with gateway.open_bars(
            options.chosen_contract, *TIMEFRAMES, overflow=px.Overflow.BLOCK
        ) as bars:
            view = DemoView(console, gateway, bars, total, None if options.forever else options.seconds)
            await _watch(view, bars, options, total)
            view.summary()
            return 0 if gateway.statistics().market.ledger.balanced else 1


async def _watch(
    view: DemoView, bars: px.BarStream[px.Bar | px.Dropped], options: DemoOptions, total: int | None
) -> None:
    limit = float("inf") if options.forever or total is not None else options.seconds
    # Refreshed by a task, not by rich's thread: nothing here is made to be read from two threads.
    with Live(view, console=view.console, auto_refresh=False) as live:
        with trio.move_on_after(limit):
            async with open_background_tasks() as tasks:
                tasks.start_soon(_refresh, view, live)
                tasks.start_soon(_finish, view, total, options.forever, tasks)
                async for bar in bars:
                    if isinstance(bar, px.Bar):
                        view.add(bar)
        view.tick()
        live.refresh()


async def _refresh(view: DemoView, live: Live) -> None:
    while view.console.is_terminal:
        view.tick()
        live.refresh()
        await trio.sleep(0.15)


async def _finish(view: DemoView, total: int | None, forever: bool, tasks: BackgroundTasks) -> None:
    """Look at the counts now and then; end a replay when all of its trades came, or nothing comes any more."""
    idle_since, seen = trio.current_time(), -1
    while True:
        await trio.sleep(0.25)
        view.tick()
        received = view.received
        if received != seen:
            idle_since, seen = trio.current_time(), received
        done = total is not None and received >= total and view.in_flight == 0
        if not forever and (done or (total is not None and trio.current_time() - idle_since > _IDLE_S)):
            tasks.cancel("the demo is over")


@asynccontextmanager
async def _simulator(options: DemoOptions) -> AsyncGenerator[str]:
    # Nothing is written to its input; that ends with this process, and the simulator with it, also by kill -9.
    process = await trio.lowlevel.open_process(
        options.simulator_arguments(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url: str | None = None
        with trio.move_on_after(_START_S):
            url = await _ready(process.stdout)
        if url is None:
            raise px.ConnectError("the simulator did not start; run `trio-projectx sim` to see why")
        yield url
    finally:
        with trio.move_on_after(_STOP_S, shield=True):
            process.terminate()
            await process.wait()
        if process.returncode is None:
            process.kill()
        await trio.aclose_forcefully(process.stdin)
        await trio.aclose_forcefully(process.stdout)


async def _ready(stdout: trio.abc.ReceiveStream) -> str | None:
    text = b""
    async for part in stdout:
        text += part
        if b"\n" in text:
            fields = dict(word.split(b"=", 1) for word in text.split() if b"=" in word)
            url = fields.get(b"url")
            return None if url is None else url.decode()
    return None


def _rows(path: Path) -> int:
    try:
        # pyarrow-stubs leaves the kind of file open here
        return pq.ParquetFile(str(path)).metadata.num_rows
    except (OSError, pa.ArrowException) as exc:
        raise px.ConfigError(f"{path} cannot be read as a Parquet file: {exc}") from exc
