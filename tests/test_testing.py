"""The plugin as a user has it: sample test files, run by pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import trio

import trio_projectx as px
from trio_projectx.testing import CONTRACT, START, play, trades_table, virtual_wall_clock

START_NS = 1_787_164_200_000_000_000
ROWS = [(START_NS + i * 250_000_000, 20_000.25 + i % 5, 1 + i % 3) for i in range(40)]

CONFTEST = 'pytest_plugins = ["trio_projectx.testing"]\n'
GOOD = """
import pytest
import trio
import trio_projectx as px

ROWS = [(f"2026-08-19T18:30:0{i}.500Z", 20000.25 + i, 2, px.Side.BUY) for i in range(6)]


async def test_own_trades(autojump_clock, scripted_market, gateway, simulator):
    contract = scripted_market(ROWS)
    async with gateway.open_bars(contract, "1s") as bars:
        first, second = await bars.receive(), await bars.receive()
    assert (first.close, second.close, second.volume) == (20000.25, 20001.25, 2)
    assert simulator.truth()["price"].to_pylist() == [20000.25, 20001.25, 20002.25]  # it takes a third to close two


@pytest.mark.simulator(seed=7, speed=60)
@pytest.mark.gateway(limits=px.Limits(stream_items=7))
async def test_a_made_market(autojump_clock, gateway, simulator):
    assert simulator.seed == 7
    async with gateway.open_bars("MNQ", "1m") as bars:
        assert (await bars.receive()).contract_id == simulator.contract_id
        assert bars.statistics().capacity == 7
    assert trio.current_time() < 5


async def test_a_fault(autojump_clock, gateway, simulator):
    async with gateway.open_trades("MNQ", events=True) as trades:
        await trades.receive()
        simulator.inject(px.simulator.Fault("tcp_reset", hub="market"))
        while not isinstance(await trades.receive(), px.Gap):
            pass
        assert isinstance(await trades.receive(), px.Trade)
    assert gateway.statistics().connects == 2
"""
NO_CLOCK = """
async def test_without_a_clock(gateway):
    pass
"""


def run_pytest(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_sample.py").write_text(code)
    command = [
        sys.executable,
        "-P",
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
    ]
    return subprocess.run(  # noqa: S603  our own Python, our own file
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.slow
def test_the_fixtures_serve_a_users_tests(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = run_pytest(tmp_path, GOOD)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.slow
def test_without_trio_mode_a_marked_test_does_and_a_missing_clock_is_told(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = run_pytest(tmp_path, "import pytest\npytestmark = pytest.mark.trio\n" + GOOD + NO_CLOCK)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "let the test itself take `autojump_clock`" in done.stdout


def test_tables_of_trades() -> None:
    table = trades_table(
        [("2026-08-19T18:30:00.1+00:00", 1, 2), (5, 1.5, 0, px.Side.SELL), (4, -1.0, -3, None)]
    )
    assert table.to_pydict() == {
        "ts_event": [START_NS + 100_000_000, 5, 4],
        "price": [1.0, 1.5, -1.0],
        "volume": [2, 0, -3],
        "side": [-1, 1, -1],
    }
    assert trades_table([]).num_rows == 0


@pytest.mark.parametrize(
    "row",
    [
        (),
        (1,),
        (1, 2.0),
        (1, 2.0, 3, None, 5),
        (1.5, 2.0, 3),
        (1, "2", 3),
        (1, 2.0, 3.0),
        (1, 2.0, 3, "buy"),
        ("x", 1, 1),
    ],
)
def test_rows_that_are_none(row: tuple[object, ...]) -> None:
    with pytest.raises((px.ConfigError, ValueError), match=r"row 1|stamp|x"):
        trades_table([(1, 1.0, 1), row])


async def test_the_wall_clock_is_at_its_start_when_it_is_first_asked(autojump_clock: object) -> None:
    await trio.sleep(100)
    clock, other = virtual_wall_clock(), virtual_wall_clock(7)
    assert clock() == START_NS
    await trio.sleep(1.25)
    assert clock() == START_NS + 1_250_000_000
    assert other() == 7
    assert virtual_wall_clock(START)() == START_NS


async def test_play_is_a_market_of_ones_own(autojump_clock: object) -> None:
    for speed, virtual_s in ((1.0, 10), (10.0, 1), (0.0, 0)):
        started = trio.current_time()
        async with play(ROWS, speed=speed) as stage, stage.gateway.open_trades(stage.contract_id) as trades:
            got = [await trades.receive() for _ in ROWS]
            assert stage.contract_id == CONTRACT
        assert [(each.ts_event, each.price, each.volume) for each in got] == ROWS
        assert trio.current_time() - started == pytest.approx(virtual_s, abs=0.4)


async def test_play_takes_a_table_and_another_contract(autojump_clock: object) -> None:
    table = pa.table({"ts_event": [START_NS], "price": [2000.1], "volume": [3]})
    async with play(table, contract="CON.F.US.MGC.Z26", speed=0) as stage:
        async with stage.gateway.open_trades(stage.contract_id) as trades:
            assert (await trades.receive()).price == 2000.1


async def test_a_contract_that_trades_already_is_not_played_over(autojump_clock: object) -> None:
    async with play(ROWS, speed=0) as stage:
        with pytest.raises(px.ConfigError, match="trading already"):
            stage.simulator.play(trades_table(ROWS), CONTRACT)
        stage.simulator.play(trades_table(ROWS), "CON.F.US.MES.U26")
        async with stage.gateway.open_trades("CON.F.US.MES.U26") as trades:
            assert (await trades.receive()).price == ROWS[0][1]


EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "testing"


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the examples are not beside the tests")
def test_the_documented_example_passes(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = run_pytest(tmp_path, (EXAMPLE / "test_strategy.py").read_text())
    assert (tmp_path / "conftest.py").read_text() == (EXAMPLE / "conftest.py").read_text()
    assert "3 passed" in done.stdout, done.stdout
