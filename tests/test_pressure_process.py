"""Memory that runs out for real (FAULTS.md row 110): RLIMIT_AS, one core, no psutil; and a `MemoryError` of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pyarrow.dataset as ds
import pytest
import trio
from fault_tools import config_for, open_sim
from test_bars_atomic import Fault, make
from test_bars_reference import Tick, batch
from trio.testing import MockClock

import trio_projectx as px

CHILD = Path(__file__).parent / "pressure_child.py"


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="there is no /proc, and psutil is not to be used"
)
def test_a_process_whose_address_space_runs_out_ends_in_order_to_be_started_again(tmp_path: Path) -> None:
    """Levels one after the other, all counted, the journal sealed, exit code 75."""
    _ends_in_order("RLIMIT_AS", tmp_path / "journal")


def _ends_in_order(bound: str, journal: Path, *group: str) -> None:
    command = [sys.executable, str(CHILD), str(journal), *group]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)  # noqa: S603
    assert done.returncode == 75, done.stderr[-2000:]
    assert px.MemoryExhausted.exit_code == os.EX_TEMPFAIL == 75
    seen = msgspec.json.decode(done.stdout)
    levels = [level.value for level in px.MemoryLevel]
    assert [step[:3] for step in seen["steps"]] == [
        [before, after, bound] for before, after in pairwise(levels)
    ]
    assert (seen["ledger"], seen["trades"], seen["quotes"], seen["left"]) == (True, True, True, 0)
    assert (seen["policy"], seen["status"], seen["processors"]) == ("conflate", "down", 1)
    assert "items dropped, told in them" in seen["steps"][0][3][0]
    assert seen["memory"].startswith("memory is last: ")
    assert seen["memory"] in seen["said"]
    rows = {kind: _sealed_rows(journal / kind) for kind in ("trades", "instruments")}
    assert sum(rows.values()) == seen["written"]
    assert rows["trades"] >= seen["count"] > 0


def _sealed_rows(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {file.suffix for file in files} == {".parquet"}  # nothing is left as it was written
    return ds.dataset([str(file) for file in files], format="parquet").count_rows()


def test_under_a_real_limit_of_a_cgroup(tmp_path: Path) -> None:
    """Only where somebody has said which cgroup, with a limit of 1 GiB or so, may be had for it: none is made here."""
    group = os.environ.get("TRIO_PROJECTX_CGROUP")
    if group is None:
        pytest.skip(
            "TRIO_PROJECTX_CGROUP names no cgroup with a limit on memory for this test's process to enter"
        )
    _ends_in_order(f"the limit of the cgroup /{Path(group).name}", tmp_path / "journal", group)


def test_a_builder_that_finds_no_memory_is_not_a_builder_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = make(["1s", "5s"])
    bars.update(batch([Tick(0, 4, 1, 0)]))
    fault = Fault(bars, "5s")

    def nothing_left(ts: int) -> object:
        raise MemoryError

    monkeypatch.setattr(bars._rung("5s").builder, "_locate", nothing_left)  # type: ignore[union-attr]
    with pytest.raises(MemoryError):
        bars.update(batch([Tick(10**10, 4, 1, 0)]))
    assert bars.take_told() == []
    assert bars.counts("1s").in_bars == 0  # nobody has it, as though it had not come
    monkeypatch.setattr(bars._rung("5s").builder, "_locate", fault._locate)  # type: ignore[union-attr]
    assert [bar.timeframe for bar in bars.update(batch([Tick(10**10, 4, 1, 0)]))] == ["1s", "5s"]


async def test_a_memory_error_in_a_task_of_ours_goes_out_of_the_gateway(autojump_clock: MockClock) -> None:
    class Greedy:
        """A tap that finds no memory, whatever it is shown."""

        def __getattr__(self, name: str) -> object:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
            async with gateway.open_bars("MNQ", "1s") as bars:
                await bars.receive()
                gateway._parts.taps.attach(Greedy())  # type: ignore[arg-type]
                await trio.sleep_forever()
