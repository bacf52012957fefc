"""The bars of an oracle computed by other code (tests/data/oracle), for mode `utc` and s, m and h."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from test_bars_reference import S, Tick, batch, cut

from trio_projectx._events import Bar
from trio_projectx.bars import Anchor, BarSet, aggregate
from trio_projectx.market.grid import PriceGrid

ORACLE = Path(__file__).parent / "data" / "oracle"
DATASETS = json.loads((ORACLE / "manifest.json").read_text())["datasets"]
LATENESS = 5_000_000  # above the greatest disorder of any dataset
UTC = Anchor.utc()


def timeframes(name: str) -> list[str]:
    found = [case.split("|") for case in DATASETS[name]["expected"]]
    return [frame for mode, frame in found if mode == "utc" and frame[-1] in "smh"]


CASES = [(name, frame) for name in DATASETS for frame in timeframes(name)]


@attrs.frozen
class Dataset:
    ticks: list[Tick]
    table: pa.Table
    grid: PriceGrid


@pytest.fixture(scope="module")
def datasets() -> dict[str, Dataset]:
    loaded: dict[str, Dataset] = {}
    for name, facts in DATASETS.items():
        raw = pq.read_table(ORACLE / "ticks" / f"{name}.parquet")
        columns = (raw.column(c).to_pylist() for c in ("ts_ns", "price", "size"))
        ticks = [Tick(ts, price, size, -1) for ts, price, size in zip(*columns, strict=True)]
        prices = pc.multiply(raw.column("price").cast(pa.float64()), facts["tick_size"])
        table = pa.table({"ts_event": raw.column("ts_ns"), "price": prices, "volume": raw.column("size")})
        loaded[name] = Dataset(ticks, table, PriceGrid.from_tick_size(facts["tick_size"]))
        assert len(ticks) == facts["ticks"]
    return loaded


def digest(rows: Iterable[tuple[int, ...]]) -> tuple[int, str]:
    lines = [",".join(map(str, row)) + "\n" for row in rows]
    return len(lines), hashlib.sha256("".join(lines).encode()).hexdigest()


def expected(name: str, frame: str) -> tuple[int, str]:
    case = DATASETS[name]["expected"][f"utc|{frame}"]
    return case["bars"], case["sha256"]


def ticks_of(price: float, grid: PriceGrid) -> int:
    found = grid.ticks(price)
    assert found is not None
    return found


def plain_columns(table: pa.Table, grid: PriceGrid) -> list[list[int]]:
    """The columns of the oracle, out of a table of ours: whole seconds, whole ticks, whole volumes."""

    def values(name: str) -> list[Any]:
        return table.column(name).to_pylist()

    nanoseconds: list[list[Any]] = [table.column(c).cast(pa.int64()).to_pylist() for c in ("start", "end")]
    edges = [[ns // S for ns in column] for column in nanoseconds]
    prices = [[ticks_of(price, grid) for price in values(c)] for c in ("open", "high", "low", "close")]
    return [*edges, *prices, values("volume"), values("trades")]


def digest_of_table(table: pa.Table, grid: PriceGrid) -> tuple[int, str]:
    return digest(zip(*plain_columns(table, grid), strict=True))


def digest_of_bars(bars: list[Bar], grid: PriceGrid) -> tuple[int, str]:
    rows: list[tuple[int, ...]] = []
    for bar in bars:
        prices = (ticks_of(price, grid) for price in (bar.open, bar.high, bar.low, bar.close))
        rows.append((bar.start // S, bar.end // S, *prices, bar.volume, bar.trades))
    return digest(rows)


def test_there_are_as_many_cases_as_the_manifest_has() -> None:
    assert len(CASES) == 48


@pytest.mark.parametrize(("name", "frame"), CASES)
def test_aggregate(name: str, frame: str, datasets: dict[str, Dataset]) -> None:
    data = datasets[name]
    for lateness in (None, LATENESS):
        bars = aggregate(data.table, frame, anchor=UTC, lateness=lateness)
        assert digest_of_table(bars, data.grid) == expected(name, frame)
        assert bars.schema.metadata == {b"late": b"0"}
    gridded = aggregate(data.table, frame, anchor=UTC, tick_size=DATASETS[name]["tick_size"])
    assert gridded.equals(aggregate(data.table, frame, anchor=UTC))


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("size", [1, 17, 64, 1000, 10_000])
def test_a_set_of_all_timeframes_at_once(name: str, size: int, datasets: dict[str, Dataset]) -> None:
    """In order of arrival, tick by tick and in batches, through the cascade."""
    data, frames = datasets[name], timeframes(name)
    bars = BarSet("C", frames, anchor=UTC, grid=data.grid, lateness_ns=LATENESS)
    closed = [bar for piece in cut(data.ticks, [size]) for bar in bars.update(batch(piece))] + bars.flush()
    for frame in frames:
        mine = [bar for bar in closed if bar.timeframe == frame]
        assert digest_of_bars(mine, data.grid) == expected(name, frame)
        assert digest_of_table(bars.table(frame), data.grid) == expected(name, frame)
        assert bars.counts(frame).late == 0


@pytest.mark.parametrize("name", DATASETS)
def test_sorted_and_out_of_order(name: str, datasets: dict[str, Dataset]) -> None:
    """Sorted without lateness; and shuffled within a lateness, ticks of one stamp staying in their order."""
    data, frames = datasets[name], timeframes(name)
    rng = random.Random(3)
    order = sorted(range(len(data.ticks)), key=lambda place: data.ticks[place].ts)
    in_order = [data.ticks[place] for place in order]
    delay = {ts: ts + rng.randrange(20 * S) for ts in {tick.ts for tick in in_order}}
    shuffled = sorted(in_order, key=lambda tick: delay[tick.ts])
    assert shuffled != in_order
    for ticks, lateness in ((in_order, 0), (shuffled, 20 * S)):
        bars = BarSet("C", frames, anchor=UTC, grid=data.grid, lateness_ns=lateness)
        for piece in cut(ticks, [50]):
            bars.update(batch(piece))
        bars.flush()
        for frame in frames:
            assert digest_of_table(bars.table(frame), data.grid) == expected(name, frame)


@pytest.mark.parametrize("name", DATASETS)
def test_the_stored_rows_are_what_aggregate_gives(name: str, datasets: dict[str, Dataset]) -> None:
    """Not only their digest: of a difference, this shows the bar."""
    data, stored = datasets[name], pq.read_table(ORACLE / "expected" / f"{name}.parquet")
    names = ("start", "end", "open", "high", "low", "close", "volume", "n")
    for frame in ("1m", "4h"):
        wanted = [
            tuple(each[name] for name in names)
            for each in stored.to_pylist()
            if (each["mode"], each["tf"]) == ("utc", frame)
        ]
        got = plain_columns(aggregate(data.table, frame, anchor=UTC), data.grid)
        assert list(zip(*got, strict=True)) == wanted
