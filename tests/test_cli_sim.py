"""``trio-projectx sim``: the ready line, a script of faults, and the status line, which only a terminal gets."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from fault_tools import CONTRACT, open_sim
from simulator_tools import open_hub

import trio_projectx as px
from trio_projectx.simulator import Fault

pytest.importorskip("cyclopts", reason="the extra `cli` is not installed")

from rich.console import Console

from trio_projectx.cli.sim_view import SimView

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "trio_projectx", "sim", "--port", "0", "--seed", "9"]


@pytest.mark.slow
async def test_a_fault_script_from_a_file(tmp_path: Path) -> None:
    script = tmp_path / "faults.jsonl"
    script.write_text(
        '{"name":"close_record","error":"By script.","allow_reconnect":false,"phase":"stream","hub":"market"}\n'
    )
    process = await trio.lowlevel.open_process([*COMMAND, "--faults", str(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with trio.fail_after(50):
        line = (await process.stdout.receive_some(4096)).decode()
        match = re.fullmatch(r"simulator ready url=(http://127\.0\.0\.1:\d+) seed=9\n", line)
        assert match is not None
        async with px.open_gateway(px.GatewayConfig.simulated(match[1])) as gateway:
            with pytest.raises(px.ConnectionLost, match=r"By script\."):
                async with gateway.open_trades("MNQ") as trades:
                    async for _ in trades:
                        pass
        process.send_signal(signal.SIGTERM)
        rest = b"".join([part async for part in process.stdout])
        await process.wait()
    assert process.returncode == 0
    assert rest == b""  # no status line where there is no terminal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ('{"name":"tcp_rst"}', "step 1 of the script.*did you mean tcp_reset")],
)
async def test_a_script_that_cannot_be_is_one_sentence(tmp_path: Path, text: str | None, says: str) -> None:
    script = tmp_path / "faults.jsonl"
    if text is not None:
        script.write_text(text)
    with trio.fail_after(50):
        done = await trio.run_process(
            [*COMMAND, "--faults", str(script)], capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 1
    assert done.stdout == b""
    error = done.stderr.decode()
    assert error.startswith("trio-projectx: ")
    assert re.search(says, error)
    assert error.count("\n") == 1


@pytest.mark.slow
async def test_a_terminal_gets_a_status_line_below_the_ready_line() -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = await trio.lowlevel.open_process([*COMMAND], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    async with trio.lowlevel.FdStream(ours) as terminal:
        with trio.fail_after(50):
            while b"no faults" not in text:
                text += await terminal.receive_some(4096)
            process.send_signal(signal.SIGINT)
            await process.wait()
    lines = text.decode().split("\r\n")
    assert lines[0].startswith("simulator ready url=http://127.0.0.1:")
    assert "0 connected (0 in all)  |  0 trades, 0/s  |  no faults" in text.decode()
    assert process.returncode in (0, 130)


async def test_the_line_tells_connections_trades_and_faults(autojump_clock: object) -> None:
    async with open_sim() as sim, open_hub(sim, queue=1000) as hub, open_hub(sim):
        view = SimView(sim)
        view.tick()
        await hub.call("SubscribeContractTrades", CONTRACT)
        sim.inject(Fault("mute_data", duration_s=1))
        sim.inject(Fault("tcp_reset", connection="next", phase="stream"))
        for _ in range(20):
            await trio.sleep(0.5)
            view.tick()
        assert 3 < view.rate < 60
        console = Console(file=io.StringIO(), width=200)
        console.print(view)
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        trades = sim.statistics().trades_sent
        assert f"2 connected (2 in all)  |  {trades:,} trades, {view.rate:,.0f}/s" in shown
        assert "faults struck 1 (mute_data), 1 in place" in shown
        narrow = Console(file=io.StringIO(), width=30)
        narrow.print(view)
        assert isinstance(narrow.file, io.StringIO)
        assert narrow.file.getvalue().count("\n") == 1
