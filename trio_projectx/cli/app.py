"""The commands: ``demo``, ``doctor``, ``history`` and ``sim``."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter

import trio_projectx as px
from trio_projectx.cli.demo import DemoOptions, run_demo
from trio_projectx.cli.doctor import DoctorCommand, run_doctor
from trio_projectx.cli.ending import missing_outputs, run_until_told
from trio_projectx.cli.ending import until_input_ends as stop_with_input
from trio_projectx.cli.history import HistoryCommand, run_history
from trio_projectx.cli.sim_view import watch_simulator
from trio_projectx.simulator import serve

app = App(
    name="trio-projectx",
    help="Validated, multi-timeframe bars from the ProjectX (TopstepX) Gateway.",
    version_flags=["--version"],
)


@app.command
async def demo(
    *,
    forever: bool = False,
    speed: float | None = None,
    replay: Path | None = None,
    contract: str | None = None,
    seed: int = 7,
    seconds: float = 12.0,
) -> int:
    """Stream live bars from a simulated gateway on loopback; no account and no network are needed.

    Parameters
    ----------
    forever
        Go on until Ctrl-C.
    speed
        How many times faster than real time the market runs (30; a replay: as fast as it can be read).
    replay
        A Parquet file of trades (ts_event or ts_ns, price, volume or size) instead of the made-up market.
    contract
        The contract to stream; for a replay, the one that the file is played as.
    seed
        What the made-up market is made from.
    seconds
        How long to stream.
    """
    options = DemoOptions(
        forever=forever, speed=speed, replay=replay, contract=contract, seed=seed, seconds=seconds
    )
    return await run_demo(options)


@app.command
async def sim(
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
    seed: int = 0,
    speed: float = 1.0,
    replay: Path | None = None,
    contract: str | None = None,
    faults: Path | None = None,
    allow_remote: Annotated[bool, Parameter(negative=())] = False,
    until_input_ends: Annotated[bool, Parameter(negative=(), show=False)] = False,
) -> int:
    """Run a simulated gateway until Ctrl-C; it prints one line with its URL when it is ready.

    On a terminal a second line then shows who is connected, how many trades go out, and what has gone wrong.

    Parameters
    ----------
    port
        The TCP port; 0 lets the system choose.
    host
        The address to listen on.
    seed
        What its markets are made from.
    speed
        How many times faster than real time its markets run; 0, for a replay, is as fast as it can be read.
    replay
        A Parquet file of trades to play.
    contract
        The contract that the file is played as.
    faults
        A script of faults, as JSON: a list, or one object a line (docs/faults.md).
    allow_remote
        Listen on an address that other machines reach. The simulator lets everybody in.
    until_input_ends
        End with standard input: so the simulator of the demo ends with it, whatever becomes of that.
    """
    watch = watch_simulator if sys.stdout.isatty() else None
    if until_input_ends:
        watch = stop_with_input
    await serve(
        host, port, seed, speed, replay, contract, allow_remote=allow_remote, faults=faults, watch=watch
    )
    return 0


@app.command
async def history(
    contract: str | None = None,
    *timeframes: str,
    start: str | None = None,
    end: str | None = None,
    count: int | None = None,
    days: float | None = None,
    cache: Path | None = None,
    continuous: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    url: str | None = None,
    live: bool | None = None,
    coverage: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Fetch bars of the past, keep them in a cache, and say what has come; or what the cache covers.

    Credentials are those of the environment (PROJECTX_USERNAME, PROJECTX_API_KEY). The exit code is 0 if all has come;
    with --coverage 3 if something is missing. Ctrl-C leaves a cache that holds what had come.

    Parameters
    ----------
    contract
        A product ("MNQ"), a ticker ("ES") or a full id; with --coverage all that are there, if left out.
    timeframes
        "1s", "5m", "4h", "1d" and their like (1m); with --coverage units of the cache.
    start
        From when on, such as 2026-08-19 or 2026-08-19T13:30Z; without a zone it is UTC.
    end
        Until when (now).
    count
        The last so many bars.
    days
        The last so many days.
    cache
        A folder in which bars are kept: what is there is not asked for again.
    continuous
        Stitch the contracts that stood for the product, each bar naming its own.
    out
        A Parquet file for the bars.
    url
        A simulator instead of the service.
    live
        The tier of data; it is found out if left out.
    coverage
        Say what the cache covers and what is missing, and ask nobody.
    """
    command = HistoryCommand(
        contract=contract,
        timeframes=timeframes,
        start=start,
        end=end,
        count=count,
        days=days,
        cache=cache,
        continuous=continuous,
        out=out,
        url=url,
        live=live,
        coverage=coverage,
    )
    return await run_history(command)


@app.command
async def doctor(
    *,
    contract: str = "MNQ",
    seconds: float = 10.0,
    url: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Check one thing after the other, from the configuration to the first bar, and say what is wrong.

    Credentials and endpoints are those of the environment (PROJECTX_USERNAME, PROJECTX_API_KEY); nothing secret is
    printed, and no order is sent. The exit code is 0, or 3 if a check has failed.

    Parameters
    ----------
    contract
        What to subscribe to: a product ("MNQ"), a ticker ("ES") or a full id.
    seconds
        How long to listen to its trades and quotes.
    url
        A simulator instead of the service.
    json
        Print one JSON document instead of lines and tables.
    """
    return await run_doctor(DoctorCommand(contract=contract, seconds=seconds, url=url, as_json=json))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    with missing_outputs():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    command, bound, _ = app.parse_args(list(arguments))
    try:
        if not inspect.iscoroutinefunction(command):
            return int(command(*bound.args, **bound.kwargs) or 0)
        # Ctrl-C between any two instructions could leave a context manager half entered, to be found by the garbage
        # collector when the run is over.
        main = partial(command, *bound.args, **bound.kwargs)
        return trio.run(run_until_told, main, restrict_keyboard_interrupt_to_checkpoints=True)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (px.TrioProjectXError, OSError) as exc:
        # What the user can mend is told in one sentence; a bug keeps its traceback.
        sys.stderr.write(f"trio-projectx: {exc}\n")
        return exc.exit_code if isinstance(exc, px.MemoryExhausted) else 1
