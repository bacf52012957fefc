"""Replays of any length take the memory of a short one. Each is a process of its own, whose peak is measured.

python load/replays.py table PATH     plays what is there and prints what it took, as a line of JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio

import trio_projectx as px
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place, date_of
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import Sealer
from trio_projectx.journal.segment import SegmentWriter

CONTRACT = "CON.F.US.MNQ.U26"
START_NS = 1_787_164_200_000_000_000
FRAMES = ("1s", "1m", "5m", "1h")
_CHUNK = 100_000
#: How much more memory ten times as many trades may take.
_MORE_MIB = 24


@attrs.frozen
class Played:
    """What one process took."""

    trades: int
    bars: int
    seconds: float
    peak_mib: float

    @property
    def per_s(self) -> float:
        """Trades in a second."""
        return self.trades / self.seconds


def _columns(count: int) -> Iterator[pa.Table]:
    """Trades 10 ms apart, some thousand rows at a time."""
    for first in range(0, count, _CHUNK):
        n = range(first, min(count, first + _CHUNK))
        stamps = pa.array([START_NS + i * 10_000_000 for i in n], pa.int64())
        columns = {
            "ts_event": stamps,
            "ts_recv": stamps,
            "price": [(80_000 + i * 7 % 997) / 4 for i in n],
            "volume": pa.array([1 + i % 5 for i in n], pa.int64()),
            "side": pa.array([i % 2 for i in n], pa.int8()),
            "batch": pa.array([i // 5 for i in n], pa.int64()),
        }
        yield pa.table(columns)


def make(kind: str, path: Path, count: int) -> None:
    """Write a Parquet file of trades ("table"), or a sealed journal of them ("journal")."""
    if kind == "table":
        writer: pq.ParquetWriter | None = None
        for table in _columns(count):
            table = table.drop_columns(["ts_recv", "batch"])
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
        return
    disk, places = Disk(), dict[Place, int]()
    for number, table in enumerate(_columns(count)):
        place = Place("trades", CONTRACT, date_of(table["ts_recv"][0].as_py()))
        disk.make_folder(place.folder(path))
        places[place] = number
        segment = SegmentWriter(
            place.folder(path) / f"{table['ts_recv'][0].as_py():019d}-{number:06d}.arrows", "trades", disk
        )
        for batch in table.combine_chunks().to_batches(1000):
            segment.append(pa.RecordBatch.from_arrays(batch.columns, schema=SCHEMAS["trades"]))
        segment.close()
    for place in places:
        Sealer(path, disk).seal(place)


async def play(kind: str, path: Path) -> int:
    """Play it into bars, and return how many there were."""
    bars_seen = 0
    contract = CONTRACT if kind == "table" else None
    async with px.open_replay(path, contract=contract, limits=px.Limits(bars_kept=1000)) as replay:
        async with replay.open_bars(CONTRACT, *FRAMES, anchor=px.Anchor.utc()) as bars:
            async for _ in bars:
                bars_seen += 1
            assert replay.statistics().market.ledger.balanced
    return bars_seen


def measure(kind: str, count: int, folder: Path) -> Played:
    """Play ``count`` trades in a process of its own."""
    path = folder / f"{kind}{count}"
    make(kind, path, count)
    command = [sys.executable, str(Path(__file__).resolve()), kind, str(path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the library that this process has
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=env)  # noqa: S603  ourselves
    figures = json.loads(found.stdout)
    return Played(count, figures["bars"], figures["seconds"], figures["peak_mib"])


@attrs.frozen
class Found:
    """A long replay beside one a tenth as long."""

    kind: str
    short: Played
    long: Played

    def faults(self) -> list[str]:
        """Return what does not hold."""
        wrong: list[str] = []
        if self.long.peak_mib - self.short.peak_mib > _MORE_MIB:
            wrong.append(f"ten times the trades took {self.long.peak_mib - self.short.peak_mib:.0f} MiB more")
        seconds = self.long.trades // 100 - 1
        if not seconds <= self.long.bars <= seconds * 1.03 + 3:
            wrong.append(f"{self.long.bars} bars of {self.long.trades} trades")
        return wrong


def prove(kind: str, count: int) -> Found:
    """Play ``count`` trades, and a tenth of them."""
    with tempfile.TemporaryDirectory() as folder:
        return Found(kind, measure(kind, count // 10, Path(folder)), measure(kind, count, Path(folder)))


def peak_mib() -> float:
    """Return the most memory that this process has had (`resource` counts in what its parent had)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _main(kind: str, path: Path) -> None:
    began = time.monotonic()
    bars = trio.run(play, kind, path)
    print(json.dumps({"bars": bars, "seconds": time.monotonic() - began, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
