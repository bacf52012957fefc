"""What a soak has made and what it should have made, on disk until it is compared."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

import attrs
import pyarrow as pa

import trio_projectx as px
from trio_projectx.simulator import Simulator

#: Timeframe's number, start, end, open, high, low, close, volume, is partial, source's number.
_BAR: Final = struct.Struct("<BqqddddqBB")
_SOURCES: Final = ("live", "mixed", "history")
_TRUTH: Final = pa.schema(
    [("ts_event", pa.int64()), ("price", pa.float64()), ("volume", pa.int64()), ("side", pa.int8())]
)
#: Bars that are shown of those that are wrong.
_SHOWN: Final = 5


@attrs.frozen
class Numbers:
    """A bar, as it is compared."""

    end: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    partial: bool = False
    source: str = "live"

    @property
    def traded(self) -> tuple[float, float, float, float, int]:
        """What the trades make of it."""
        return self.open, self.high, self.low, self.close, self.volume


class Spool:
    """Bars as they came, and the truth as it was made; both grow on disk alone."""

    def __init__(self, folder: Path, frames: Sequence[str]) -> None:
        self.frames = tuple(frames)
        self._number = {frame: number for number, frame in enumerate(self.frames)}
        self._bars: IO[bytes] = (folder / "bars").open("w+b", buffering=1 << 14)
        self.truth_path = folder / "truth"
        """An Arrow IPC stream; `take_truth` writes it, or somebody else does."""
        self._sink: pa.OSFile | None = None
        self._truth: pa.RecordBatchStreamWriter | None = None
        self.next_seq = 0
        self.written = 0

    def take(self, bar: px.Bar) -> None:
        """Write a bar as it is now: of several of one start the last one counts."""
        self.written += 1
        number, source = self._number[bar.timeframe], _SOURCES.index(bar.source)
        prices = bar.open, bar.high, bar.low, bar.close
        self._bars.write(_BAR.pack(number, bar.start, bar.end, *prices, bar.volume, bar.partial, source))

    def take_truth(self, sim: Simulator, contract_id: str) -> int:
        """Write what the simulator has traded since the last time, and have it forget that; return how much it was."""
        table = sim.truth(contract_id, self.next_seq)
        if table.num_rows:
            self.next_seq = table["seq"][-1].as_py() + 1
            if self._truth is None:
                self._sink = pa.OSFile(str(self.truth_path), "wb")
                self._truth = pa.ipc.new_stream(self._sink, _TRUTH)
            for batch in table.select(_TRUTH.names).to_batches():
                self._truth.write_batch(batch)
            sim.forget_truth(self.next_seq)
        return table.num_rows

    def bars(self) -> dict[str, dict[int, Numbers]]:
        """Return the bars as they were in the end, by timeframe and start."""
        found: dict[str, dict[int, Numbers]] = {frame: {} for frame in self.frames}
        self._bars.flush()
        self._bars.seek(0)
        while data := self._bars.read(_BAR.size * 10_000):
            for number, start, end, *rest, partial, source in _BAR.iter_unpack(data):
                frame = self.frames[number]
                key = (
                    len(found[frame]) if ":" in frame else start
                )  # bars of 100 trades may begin at one instant
                found[frame][key] = Numbers(end, *rest, bool(partial), _SOURCES[source])
        return found

    def truth(self) -> pa.Table:
        """Return the truth; it stays on disk. Nothing can be taken any more."""
        self._end_truth()
        return pa.ipc.open_stream(pa.memory_map(str(self.truth_path))).read_all().select(_TRUTH.names)

    def rows(self) -> int:
        """Return how many trades the truth has."""
        self._end_truth()
        with pa.memory_map(str(self.truth_path)) as file:
            return sum(batch.num_rows for batch in pa.ipc.open_stream(file))

    def close(self) -> None:
        """Close the files."""
        self._bars.close()
        self._end_truth()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _end_truth(self) -> None:
        if self._truth is not None and self._sink is not None:
            self._truth.close()
            self._sink.close()
            self._truth = self._sink = None


@attrs.frozen
class Compared:
    """How the bars stand beside the truth."""

    bars: int
    """Bars of the truth that ours were held against."""
    equal: int
    sources: Mapping[str, int]
    first: int
    """Bars that were forming when the stream began, which nobody saw whole."""
    excused: int
    """Bars in which a fault had the wire lie, and what each has more than the truth is in finer ones."""
    digest: str
    """Of all bars as they were in the end."""
    wrong: tuple[str, ...]


def compare(spool: Spool, anchor: px.Anchor, until_ns: int, lies: Sequence[tuple[int, int]]) -> Compared:
    """Hold the bars that ended by ``until_ns`` against those of the truth; ``lies`` are spans of market time."""
    ours, truth = spool.bars(), spool.truth()
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for frame in spool.frames:
        true = dict(_rows(px.bars.aggregate(truth, frame, anchor=anchor), frame))
        first = min(true, default=0)
        for start in sorted(true.keys() | ours[frame].keys()):
            wanted, made = true.get(start), ours[frame].get(start)
            end = (wanted or made or Numbers(0, 0, 0, 0, 0, 0)).end
            if end > until_ns:
                continue
            counts["bars"] += 1
            if made is not None:
                sources[made.source] += 1
            if start == first:
                counts["first"] += 1
            elif (
                wanted is not None and made is not None and made.traded == wanted.traded and not made.partial
            ):
                counts["equal"] += 1
            elif any(start <= lie[1] and lie[0] < end for lie in lies):
                counts["excused"] += 1
            else:
                wrong.append(f"{frame} at {px.to_datetime(start)}: {made} should be {wanted}")
    told = [f"{len(wrong)} bars are not the truth's", *wrong[:_SHOWN]] if wrong else []
    return Compared(
        counts["bars"],
        counts["equal"],
        dict(sources),
        counts["first"],
        counts["excused"],
        digest(ours),
        tuple(told),
    )


def _rows(table: pa.Table, frame: str) -> Iterator[tuple[int, Numbers]]:
    names = ("start", "end", "open", "high", "low", "close", "volume")
    columns = [table[name].cast(pa.int64()) if name in names[:2] else table[name] for name in names]
    for number, (start, *rest) in enumerate(zip(*(column.to_pylist() for column in columns), strict=True)):
        yield (number if ":" in frame else start), Numbers(*rest)


def digest(bars: Mapping[str, Mapping[int, Numbers]]) -> str:
    """Return one short text that is the same for the same bars."""
    found = hashlib.sha256()
    for frame, rows in bars.items():
        for start, bar in sorted(rows.items()):
            found.update(f"{frame} {start} {attrs.astuple(bar)}\n".encode())
    return found.hexdigest()[:16]
