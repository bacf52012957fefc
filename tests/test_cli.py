"""The command line as a user calls it: in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

import trio_projectx as px

pytest.importorskip("cyclopts", reason="the extra `cli` is not installed")

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "trio_projectx"]


async def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(50):
        return await trio.run_process(
            [*COMMAND, *arguments], capture_stdout=True, capture_stderr=True, check=False
        )


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    n = 3000
    table = pa.table(
        {
            "ts_event": pa.array([1_787_172_660_000_000_000 + i * 50_000_000 for i in range(n)], pa.int64()),
            "price": [(13_000 + i % 37) / 10 for i in range(n)],
            "volume": [i % 4 for i in range(n)],
        }
    )
    path = tmp_path / "trades.parquet"
    pq.write_table(table, path)
    return path


@pytest.mark.slow
async def test_the_demo_ends_by_itself_with_a_summary() -> None:
    done = await run("demo", "--seconds", "2", "--speed", "60", "--seed", "3")
    out = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    received = int(re.search(r"trades received +([\d,]+)", out)[1].replace(",", ""))  # type: ignore[index]
    assert received > 100
    assert re.search(r"ledger balanced +yes", out)
    assert re.search(r"bars made +[\d,]+ \(\d+ x 1s", out)
    assert re.search(r"rate +[\d,]+ trades/s", out)


@pytest.mark.slow
async def test_the_demo_replays_a_file_to_its_last_trade(trades: Path) -> None:
    done = await run("demo", "--replay", str(trades))
    out = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert re.search(r"trades received +3,000 \(750 rejected, all counted\)", out)
    assert re.search(r"ledger balanced +yes", out)


def _hear_interrupts() -> None:
    """A job in the background of a shell ignores Ctrl-C, and so would the demo."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
async def test_the_demo_goes_on_forever_until_it_is_interrupted() -> None:
    process = await trio.lowlevel.open_process(
        [*COMMAND, "demo", "--forever", "--speed", "120"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hear_interrupts,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out = b""
    with trio.fail_after(50):
        while b" open " not in out:
            out += await process.stdout.receive_some(4096)
        process.send_signal(signal.SIGINT)
        async for part in process.stdout:
            out += part
        err = b"".join([part async for part in process.stderr])
        await process.wait()
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err


@pytest.mark.slow
async def test_sim_serves_until_it_is_told_to_stop(trades: Path) -> None:
    arguments = [
        "sim",
        "--port",
        "0",
        "--seed",
        "9",
        "--replay",
        str(trades),
        "--contract",
        "CON.F.US.MGC.Z26",
    ]
    process = await trio.lowlevel.open_process([*COMMAND, *arguments, "--speed", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with trio.fail_after(50):
        line = await process.stdout.receive_some(4096)
        match = re.search(rb"simulator ready url=(http://127\.0\.0\.1:\d+) seed=9", line)
        assert match is not None
        async with px.open_gateway(px.GatewayConfig.simulated(match[1].decode())) as gateway:
            async with gateway.open_trades("CON.F.US.MGC.Z26") as stream:
                assert (await stream.receive()).price == 1300.1
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await process.stdout.aclose()
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo", "--replay", "/nonexistent/file.parquet"), "file.parquet"),
        (("sim", "--host", "0.0.0.0"), "allow_remote"),  # noqa: S104  refused: that is the test
        (("sim", "--replay", "/nonexistent/file.parquet"), "file.parquet"),
        (("sim", "--port", "99999"), "0 to 65535"),
        (("demo", "--seconds", "-5"), "--seconds must be above 0"),
        (("demo", "--speed", "-1"), "--speed must be above 0"),
    ],
)
async def test_errors_are_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    done = await run(*arguments)
    assert done.returncode == 1
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
async def test_help_names_every_command_and_version_is_the_packages() -> None:
    out = (await run("--help")).stdout.decode()
    assert "demo" in out
    assert "sim" in out
    from importlib.metadata import version

    assert (await run("--version")).stdout.decode().strip() == version("trio-projectx")


def test_ctrl_c_strikes_at_a_checkpoint_and_not_in_the_middle_of_anything() -> None:
    """In between, it may leave a context manager half entered, which the garbage collector complains of later."""
    script = """
import signal, sys, trio
from trio_projectx.cli.app import app, run

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in what it starts behind itself

@app.command
async def struck():
    signal.raise_signal(signal.SIGINT)
    print("went on", flush=True)
    await trio.lowlevel.checkpoint()
    print("and on")

sys.exit(run(["struck"]))
"""
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", script], capture_output=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"went on\n", b"")
