"""The bars of an oracle computed by other code (tests/data/oracle): all modes, all timeframes."""

from __future__ import annotations

import csv
import datetime
import functools
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
from trio_projectx.bars import Anchor, BarSet, Sessions, aggregate
from trio_projectx.market.grid import PriceGrid

ORACLE = Path(__file__).parent / "data" / "oracle"
DATASETS = json.loads((ORACLE / "manifest.json").read_text())["datasets"]
LATENESS = 5_000_000  # above the greatest disorder of any dataset
CASES = [(name, *case.split("|")) for name, facts in DATASETS.items() for case in facts["expected"]]
MODES = sorted({(name, mode) for name, mode, _ in CASES})


def timeframes(name: str, mode: str) -> list[str]:
    return [frame for each, found, frame in CASES if (each, found) == (name, mode)]


@functools.cache
def listed(template: str) -> Sessions:
    """The segments that the oracle used."""
    with (ORACLE / f"sessions_{template}.csv").open(newline="") as file:
        rows = [(r["trade_date"], int(r["open_s"]) * S, int(r["close_s"]) * S) for r in csv.DictReader(file)]
    return Sessions.from_segments(rows)


def anchor_of(name: str, mode: str) -> Anchor:
    if mode == "utc":
        return Anchor.utc()
    kind, _, zone = mode.partition(":")
    if kind == "wall":
        return Anchor.wall(zone)
    # The list of crypto's hours begins in the middle of the month that the ticks are in; our rule does not.
    template = DATASETS[name]["template"]
    return Anchor.session(Sessions.cme("CRYPTO") if template == "crypto247" else listed(template))


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


def expected(name: str, mode: str, frame: str) -> tuple[int, str]:
    case = DATASETS[name]["expected"][f"{mode}|{frame}"]
    return case["bars"], case["sha256"]


def outside(name: str, mode: str) -> int:
    """How many ticks are in no bar of this mode: of every timeframe the same."""
    (found,) = {DATASETS[name]["expected"][f"{mode}|{f}"]["ticks_outside"] for f in timeframes(name, mode)}
    return found


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
    assert len(CASES) == 195
    assert len(MODES) == 13


@pytest.mark.parametrize(("name", "mode", "frame"), CASES)
def test_aggregate(name: str, mode: str, frame: str, datasets: dict[str, Dataset]) -> None:
    data, anchor = datasets[name], anchor_of(name, mode)
    tick_size = DATASETS[name]["tick_size"]
    for lateness in (None, LATENESS):
        bars = aggregate(
            data.table, frame, anchor=anchor, outside="drop", lateness=lateness, tick_size=tick_size
        )
        assert digest_of_table(bars, data.grid) == expected(name, mode, frame)
        told = bars.schema.metadata
        assert told[b"late"] == b"0"
        assert int(told.get(b"outside", b"0")) == outside(name, mode)


@pytest.mark.parametrize(("name", "mode"), MODES)
@pytest.mark.parametrize("size", [1, 64, 10_000])
def test_a_set_of_all_timeframes_at_once(
    name: str, mode: str, size: int, datasets: dict[str, Dataset]
) -> None:
    """In order of arrival, tick by tick and in batches, through the cascade."""
    data, frames = datasets[name], timeframes(name, mode)
    anchor = anchor_of(name, mode)
    bars = BarSet("C", frames, anchor=anchor, grid=data.grid, lateness_ns=LATENESS, outside="drop")
    closed = [bar for piece in cut(data.ticks, [size]) for bar in bars.update(batch(piece))] + bars.flush()
    for frame in frames:
        mine = [bar for bar in closed if bar.timeframe == frame]
        assert digest_of_bars(mine, data.grid) == expected(name, mode, frame)
        assert digest_of_table(bars.table(frame), data.grid) == expected(name, mode, frame)
        counts = bars.counts(frame)
        assert (counts.late, counts.outside, counts.unscheduled) == (0, *[outside(name, mode)] * 2)
        assert counts.received == counts.in_bars + counts.outside == len(data.ticks)


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_sorted_and_out_of_order(name: str, mode: str, datasets: dict[str, Dataset]) -> None:
    """Sorted without lateness; and shuffled within a lateness, ticks of one stamp staying in their order."""
    data, frames, anchor = datasets[name], timeframes(name, mode), anchor_of(name, mode)
    rng = random.Random(3)
    order = sorted(range(len(data.ticks)), key=lambda place: data.ticks[place].ts)
    in_order = [data.ticks[place] for place in order]
    delay = {ts: ts + rng.randrange(20 * S) for ts in {tick.ts for tick in in_order}}
    shuffled = sorted(in_order, key=lambda tick: delay[tick.ts])
    assert shuffled != in_order
    for ticks, lateness in ((in_order, 0), (shuffled, 20 * S)):
        bars = BarSet("C", frames, anchor=anchor, grid=data.grid, lateness_ns=lateness, outside="drop")
        for piece in cut(ticks, [50]):
            bars.update(batch(piece))
        bars.flush()
        for frame in frames:
            assert digest_of_table(bars.table(frame), data.grid) == expected(name, mode, frame)


NAMES = ("start", "end", "open", "high", "low", "close", "volume", "n")


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_the_stored_rows_and_trade_dates(name: str, mode: str, datasets: dict[str, Dataset]) -> None:
    """Not only their digest: of a difference, this shows the bar. By our own table of sessions, not theirs."""
    data, anchor = datasets[name], anchor_of(name, mode)
    if mode == "session":
        family = {"equity": "EQ", "crypto247": "CRYPTO"}[DATASETS[name]["template"]]
        anchor = Anchor.session(Sessions.cme(family))
    stored = [
        row
        for row in pq.read_table(ORACLE / "expected" / f"{name}.parquet").to_pylist()
        if row["mode"] == mode
    ]
    for frame in sorted({row["tf"] for row in stored}):
        wanted = [row for row in stored if row["tf"] == frame]
        table = aggregate(data.table, frame, anchor=anchor, outside="drop")
        got = list(zip(*plain_columns(table, data.grid), strict=True))
        assert got == [tuple(row[name] for name in NAMES) for row in wanted]
        dates = table.column("trade_date").to_pylist()
        if mode != "session":
            assert dates == [None] * len(wanted)
        elif frame.endswith(
            "w"
        ):  # the oracle's is the Monday of the week, BAR_TIME's the last trade date of it
            assert [each - datetime.timedelta(each.weekday()) for each in dates] == [
                row["trade_date"] for row in wanted
            ]
        elif frame.endswith("M"):
            assert [each.replace(day=1) for each in dates] == [row["trade_date"] for row in wanted]
        else:
            assert dates == [row["trade_date"] for row in wanted]


@pytest.mark.parametrize("template", ["equity", "crypto247"])
def test_our_sessions_are_those_of_the_oracle(template: str) -> None:
    theirs = listed(template)
    ours = Sessions.cme({"equity": "EQ", "crypto247": "CRYPTO"}[template])
    assert theirs.known_from is not None
    assert theirs.known_through is not None
    both = [each.segments(theirs.known_from, theirs.known_through) for each in (ours, theirs)]
    assert both[0] == both[1]
    assert len(both[0]) > 40
