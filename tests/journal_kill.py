"""kill -9 at random instants: a process records, tells what is acknowledged, and dies; nothing of that may be missing.

`python tests/journal_kill.py 1000` does it a thousand times. Children are forks of one process that has imported
everything, so that a round costs the time it records and hardly more.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import attrs
import trio
import trio.lowlevel

from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import files, is_segment, places
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import open_recorder
from trio_projectx.journal.scan import dataset
from trio_projectx.journal.seal import Sealer
from trio_projectx.market import PriceGrid, TradeBatch

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size(0.25)
T0 = 1_787_172_660_000_000_000
#: Small segments, so that the kill strikes while they are sealed, too.
OPTIONS = JournalOptions(linger_s=0.0, sync_s=None, segment_bytes=20_000)


def batch(first: int, count: int) -> TradeBatch:
    numbers = range(first, first + count)
    return TradeBatch(
        MNQ,
        [T0 + n for n in numbers],
        [80_000 + n % 97 for n in numbers],
        [1 + n % 5 for n in numbers],
        [n % 2 for n in numbers],
        T0,
    )


async def _record(root: str, acknowledged: int, seed: int) -> None:
    rng = random.Random(seed)

    def tell(event: object) -> None:
        os.write(acknowledged, b"\xff" * 8)

    async with open_recorder(root, options=OPTIONS, tell=tell) as recorder:
        await trio.lowlevel.checkpoint()
        offered = told = 0
        while True:
            count = rng.randrange(1, 120)
            recorder.trades(batch(offered, count), GRID)
            offered += count
            await trio.sleep(rng.choice((0, 0, 0.0005, 0.002)))
            written = recorder.statistics().written
            if written > told:
                told = written
                os.write(acknowledged, told.to_bytes(8, "big"))


def _child(root: str, pipe: multiprocessing.connection.Connection, seed: int) -> None:
    os.write(pipe.fileno(), (0).to_bytes(8, "big"))
    trio.run(_record, root, pipe.fileno(), seed)


@attrs.frozen
class Round:
    """What one kill has shown."""

    acknowledged: int
    found: int
    in_segments: int
    """Segments that were left unsealed."""
    is_right: bool
    """Every row is the one that was recorded, in order, each once."""
    is_right_after_sealing: bool

    @property
    def lost(self) -> int:
        return max(0, self.acknowledged - self.found)


def one_round(context: multiprocessing.context.ForkServerContext, seed: int) -> Round:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "journal"
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(str(root), its, seed))
        process.start()
        its.close()
        os.read(mine.fileno(), 8)  # it has begun
        acknowledged = _kill_after(process, mine.fileno(), rng.uniform(0.0, 0.12))
        return _judged(root, acknowledged)


def _kill_after(process: BaseProcess, pipe: int, delay_s: float) -> int:
    """Kill the child and return what it had said by then that is acknowledged."""
    time.sleep(delay_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL, f"the child ended by itself: {process.exitcode}"
    data = b""
    while piece := os.read(pipe, 1 << 16):
        data += piece
    said = [int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data) - 7, 8)]
    assert (1 << 64) - 1 not in said, "the child told of a failure"
    return max(said, default=0)


def _judged(root: Path, acknowledged: int) -> Round:
    left = [n for place in places(root) for n in files(place.folder(root)) if is_segment(n)]
    found = _rows(root)
    is_right = found == _expected(len(found))
    for place in list(places(root)):
        report = Sealer(root, Disk()).seal(place, compact=True)
        assert not report.damaged
    return Round(acknowledged, len(found), len(left), is_right, _rows(root) == found)


def _rows(root: Path) -> list[tuple[object, ...]]:
    table = dataset(root, "trades").to_table(columns=["ts_event", "price", "volume", "side"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _expected(count: int) -> list[tuple[object, ...]]:
    return [(T0 + n, (80_000 + n % 97) / 4, 1 + n % 5, n % 2) for n in range(count)]


def run(rounds: int, seed: int = 1) -> list[Round]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["journal_kill"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # the fork server's own has nothing but this
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return [one_round(context, seed * 1_000_003 + number) for number in range(rounds)]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import journal_kill

    start = time.perf_counter()
    results = journal_kill.run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, seed=os.getpid())
    lost = sum(each.lost for each in results)
    wrong = sum(not (each.is_right and each.is_right_after_sealing) for each in results)
    rows = sum(each.acknowledged for each in results)
    print(
        f"{len(results)} kills, {rows} rows acknowledged, {lost} of them lost, {wrong} journals with a wrong row, "
        f"{time.perf_counter() - start:.0f} s"
    )
    sys.exit(bool(lost or wrong))
