"""How commands end by signals, and the demo's simulator with the demo, whatever became of that."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from sweeps import every

pytest.importorskip("cyclopts", reason="the extra `cli` is not installed")

import trio_projectx as px
from trio_projectx.cli import ending
from trio_projectx.cli.ending import run_until_told

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "trio_projectx"]
linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="it looks for children in /proc")


async def test_a_command_that_is_told_by_no_signal_ends_by_itself() -> None:
    async def main() -> int:
        await trio.lowlevel.checkpoint()
        return 3

    async def silent() -> None:
        await trio.lowlevel.checkpoint()

    assert await run_until_told(main) == 3
    assert await run_until_told(silent) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    ended = False

    async def main() -> None:
        nonlocal ended
        try:
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            ended = True

    with trio.fail_after(5):
        assert await run_until_told(main) == 128 + number
    assert ended
    assert signal.getsignal(number) is signal.SIG_DFL


async def test_an_error_comes_out_as_it_is() -> None:
    async def main() -> None:
        raise px.ConfigError("this")

    with pytest.raises(px.ConfigError, match="this"):
        await run_until_told(main)


async def test_a_signal_that_is_ignored_stays_so() -> None:
    async def main() -> int:
        signal.raise_signal(signal.SIGHUP)
        await trio.lowlevel.checkpoint()
        return 0

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert await run_until_told(main) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_outside_of_the_main_thread_no_signal_is_waited_for() -> None:
    async def main() -> int:
        await trio.lowlevel.checkpoint()
        return 4

    assert await trio.to_thread.run_sync(trio.run, run_until_told, main) == 4


def children(pid: int) -> list[str]:
    files = Path(f"/proc/{pid}/task").glob("*/children")  # by the thread that started them
    return [each for file in files for each in file.read_text().split()]


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL][:: every(2)])
async def test_the_simulator_of_a_demo_ends_with_it(number: signal.Signals) -> None:
    arguments = ["demo", "--forever", "--speed", "120"]
    process = await trio.lowlevel.open_process(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with trio.fail_after(50):
        out = b""
        while b" open " not in out:
            out += await process.stdout.receive_some(4096)
        (child,) = children(process.pid)
        process.send_signal(number)
        async for _ in process.stdout:
            pass
        err = b"".join(
            [part async for part in process.stderr]
        )  # the simulator has it too: it ends with the last
        await process.wait()
        while is_running(child):
            await trio.sleep(0.05)
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    assert err == b""


@pytest.mark.slow
@pytest.mark.parametrize("stdin", ["</dev/null", "<&-"][:: every(2)])
async def test_a_simulator_of_its_own_does_not_end_with_its_input(stdin: str) -> None:
    line = f'exec "$@" {stdin}'
    process = await trio.lowlevel.open_process(
        ["sh", "-c", line, "sh", *COMMAND, "sim", "--port", "0"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with trio.fail_after(50):
        assert b"ready" in await process.stdout.receive_some(4096)
        with trio.move_on_after(1):
            await process.wait()
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        await process.stdout.aclose()


@pytest.mark.slow
async def test_a_closed_output_is_no_error() -> None:
    with trio.fail_after(50):
        done = await trio.run_process(
            ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "sim", "--port", "99999"],
            check=False,
            capture_stderr=True,
        )
        assert re.fullmatch(rb"trio-projectx: .*port.*\n", done.stderr)
        assert done.returncode == 1


def test_outputs_that_are_missing_are_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with ending.missing_outputs():
        made = sys.stdout, sys.stderr
        assert [(each.isatty(), each.name) for each in made] == [(False, os.devnull)] * 2
    assert (sys.stdout, sys.stderr) == (None, None)
    assert all(each.closed for each in made)
