"""``trio-projectx history`` as a user calls it: in a process of its own, against a simulator on loopback."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

pytest.importorskip("cyclopts", reason="the extra `cli` is not installed")

from trio_projectx.cli.app import run as run_command
from trio_projectx.history.inventory import holdings
from trio_projectx.history.queries import dataset
from trio_projectx.simulator import open_simulator

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "trio_projectx", "history"]
MNQ = "CON.F.US.MNQ.U26"
#: 2026-08-19T20:51:00Z, for the simulator and, by the options, for the command.
NOW = 1_787_172_660_000_000_000


async def run(*arguments: str, **env: str) -> tuple[int, str, str]:
    with trio.fail_after(50):
        done = await trio.run_process(
            [*COMMAND, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, **env},
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def here(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The same without a process of its own, in a run of trio's own."""
    capsys.readouterr()
    code = await trio.to_thread.run_sync(run_command, ["history", *arguments])
    return (code, *capsys.readouterr())


@asynccontextmanager
async def simulator(**options: object) -> AsyncGenerator[str]:
    async with open_simulator(wall_clock=lambda: NOW, seed=4, **options) as sim:  # type: ignore[arg-type]
        yield sim.url


WINDOW = ("--start", "2026-08-12", "--end", "2026-08-17T00:00Z")


@pytest.mark.slow
async def test_it_fetches_keeps_writes_and_says_what_has_come(tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "bars.parquet"
    async with simulator() as url:
        common = ("--cache", str(cache), "--url", url)
        code, text, error = await run("MNQ", "1m", "1h", *WINDOW, *common, "--out", str(out))
        assert (code, error) == (0, "")
        rows = re.findall(
            r"^ *(\S+) +(CON\S+) +([\d,]+) +(2026-\S+ \S+) +(\d+) +(\d+) +(\w+) *$", text, re.MULTILINE
        )
        assert [row[:2] for row in rows] == [("1m", MNQ), ("1h", MNQ)]
        assert [row[2:] for row in rows] == [
            ("7,200", "2026-08-12 00:00:00", "1", "0", "false"),
            ("120", "2026-08-12 00:00:00", "1", "0", "false"),
        ]
        assert "2026-08-16 23:59:00" in text
        assert f"written to {out}" in text
        code, again, error = await run("MNQ", "1m", "1h", *WINDOW, *common)
    # The simulator has gone: the second time nothing was asked for but the contract and the token.
    assert (code, error) == (0, "")
    assert [line.split()[1:] for line in again.splitlines()[:2]] == [
        ["100%", "7,200", "bars,", "0", "pages"],
        ["100%", "120", "bars,", "0", "pages"],
    ]
    table = pq.read_table(out)  # type: ignore[no-untyped-call]
    assert table.num_rows == 7_320
    assert set(table["timeframe"].to_pylist()) == {"1m", "1h"}
    assert table.schema.field("start").type == pa.timestamp("ns", "UTC")
    names = sorted(path.name for path in tmp_path.iterdir())  # noqa: ASYNC240
    assert names == ["bars.parquet", "cache"]
    assert dataset(cache, MNQ, "1m").count_rows() == 7_200


@pytest.mark.slow
async def test_coverage_says_what_is_there_and_what_is_missing_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = str(tmp_path / "cache")
    async with simulator() as url:
        for start, end in (("2026-08-10", "2026-08-12"), ("2026-08-14", "2026-08-15")):
            options = ("--start", start, "--end", end, "--cache", cache, "--url", url)
            code, _, error = await here(capsys, "ES", "1h", *options)
            assert (code, error) == (0, "")
    code, text, error = await run("ES", "--coverage", "--cache", cache)
    assert (code, error) == (3, "")
    assert re.search(r"CON\.F\.US\.EP\.U26 +1h +72 +2026-08-10 00:00:00 +1 +false", text)
    assert "missing of CON.F.US.EP.U26 1h: 2026-08-12 00:00:00 to 2026-08-14 00:00:00" in text
    window = ("--start", "2026-08-10", "--end", "2026-08-12")
    whole = await here(capsys, "--coverage", "--cache", cache, *window)
    assert (whole[0], "missing of" in whole[1]) == (0, False)
    for other in (("MNQ",), ("CON.F.US.EP.Z26",), ("EP", "1m")):
        code, text, _ = await here(capsys, *other, "--coverage", "--cache", cache)
        assert (code, "nothing of that is in" in text) == (3, True)
    (found,) = holdings(cache)
    assert (found.bars, found.live, len(found.covered)) == (72, False, 2)
    assert found.size_bytes > 0


@pytest.mark.slow
async def test_ctrl_c_leaves_a_good_cache(tmp_path: Path) -> None:
    """Pages of 25 bars: the service's limits make it wait after forty of them."""
    async with simulator(history_cap=25) as url:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "MNQ", "1m", *WINDOW, "--cache", str(tmp_path / "cache"), "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        out = b""
        with trio.fail_after(50):
            while b"%" not in out:
                out += await process.stdout.receive_some(4096)
            process.send_signal(signal.SIGINT)
            err = b"".join([part async for part in process.stderr])
            await process.wait()
            await process.stdout.aclose()
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    (found,) = await trio.to_thread.run_sync(lambda: list(holdings(tmp_path / "cache")))
    assert found.bars >= 700  # a tenth, and what had come behind it
    ((start, end),) = found.covered
    assert found.bars == (end - start) // 60_000_000_000
    assert list(tmp_path.rglob("*.tmp")) == []  # noqa: ASYNC240


@pytest.mark.slow
async def test_a_continuous_history_is_one_file_that_names_each_contract(tmp_path: Path) -> None:
    out, held = tmp_path / "x.parquet", tmp_path / "elsewhere.parquet"
    held.touch()
    out.symlink_to(held)
    async with simulator() as url:
        code, text, error = await run(
            "MNQ", "1h", "--continuous", "--start", "2026-06-10", "--end", "2026-06-20", "--url", url, "--out", str(out)
        )  # fmt: skip
    assert (code, error) == (0, "")
    assert out.is_symlink()
    names = pq.read_table(held)["contract_id"].to_pylist()  # type: ignore[no-untyped-call]
    assert sorted(set(names)) == ["CON.F.US.MNQ.M26", MNQ]
    assert all(name in text for name in set(names))


@pytest.mark.slow
async def test_a_terminal_gets_a_bar() -> None:
    async with simulator() as url:
        ours, theirs = pty.openpty()
        env = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
        process = await trio.lowlevel.open_process(
            [*COMMAND, "MNQ", "1m", "--count", "500", "--end", "2026-08-17", "--url", url],
            stdout=theirs,
            stderr=theirs,
            env=env,
        )
        os.close(theirs)
        text = b""
        async with trio.lowlevel.FdStream(ours) as terminal:
            with trio.fail_after(50):
                try:
                    while part := await terminal.receive_some(4096):
                        text += part
                except trio.BrokenResourceError:  # what Linux says when the other end has closed
                    pass
                await process.wait()
    assert process.returncode == 0
    assert "━━━".encode() in text
    assert b"100 %" in text
    assert b"500 bars of 1m" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which contract"),
        (("MNQ",), "one of --start, --days and --count"),
        (("MNQ", "--days", "3", "--count", "5"), "one of --start, --days and --count"),
        (("MNQ", "--days", "-3"), "--days must be above 0"),
        (("MNQ", "--start", "yesterday"), "--start must be a date or a time"),
        (("MNQ", "7q", "--count", "5"), "7q"),
        (("--coverage",), "name its folder with --cache"),
        (("--coverage", "--cache", "/nonexistent/folder"), "/nonexistent/folder"),
        (("--coverage", "--cache", "x", "--count", "3"), "takes no --count"),
        (("MNQ", "--count", "5", "--out", "/nonexistent/folder/x.parquet"), "/nonexistent/folder"),
        (("MNQ", "--count", "5", "--out", "."), "--out: . is there, and is no file"),
        # Whoever runs it as root would have a file there from now on.
        (("MNQ", "--count", "5", "--out", os.devnull), f"--out: {os.devnull} is there, and is no file"),
        (("MNQ", "--count", "5", "--url", "http://127.0.0.1:9"), "no TCP connection to 127.0.0.1:9"),
    ],
)
async def test_errors_are_one_sentence(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = () if "--url" in arguments else ("--url", "http://127.0.0.1:1")
    code, out, error = await here(capsys, *arguments, *url)
    assert code == 1
    assert error.startswith("trio-projectx: ")
    assert says in error
    assert error.count("\n") == 1
    assert out == ""


@pytest.mark.slow
async def test_an_unknown_contract_is_one_sentence() -> None:
    async with simulator() as url:
        code, _, error = await run("../../x", "--count", "5", "--url", url)
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("trio-projectx: ")


@pytest.mark.slow
async def test_without_credentials_it_is_said_which_are_missing() -> None:
    code, _, error = await run("MNQ", "--count", "5", PROJECTX_USERNAME="", PROJECTX_API_KEY="")
    assert code == 1
    assert "PROJECTX_USERNAME" in error
