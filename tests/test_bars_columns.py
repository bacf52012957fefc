from __future__ import annotations

import datetime
import gc
import random
from typing import Any

import attrs
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars.columns import SCHEMA, SCHEMAS, BarColumns, Row

MINUTE = Timeframe("1m")
FIELDS = (
    ("start", "timestamp[ns, tz=UTC]"),
    ("end", "timestamp[ns, tz=UTC]"),
    ("open", "double"),
    ("high", "double"),
    ("low", "double"),
    ("close", "double"),
    ("volume", "int64"),
    ("trades", "int64"),
    ("trade_date", "date32[day]"),
    ("buy_volume", "int64"),
    ("sell_volume", "int64"),
    ("vwap", "double"),
    ("first_ts", "int64"),
    ("last_ts", "int64"),
    ("partial", "bool"),
    ("scheduled", "bool"),
    ("synthetic", "bool"),
    ("source", "dictionary<values=string, indices=int8, ordered=0>"),
)
#: Columns that have a null where there is no trade date, or no trades are known.
NULLABLE = {"trade_date", "trades", "buy_volume", "sell_volume", "vwap", "first_ts", "last_ts"}


def bar(n: int, *, partial: bool = False) -> Bar:
    """A bar whose every field tells its number."""
    return Bar(
        contract_id="C",
        timeframe=MINUTE,
        start=n * 60,
        end=n * 60 + 60,
        open=n + 0.1,
        high=n + 0.4,
        low=n - 0.1,
        close=n + 0.2,
        volume=n + 7,
        trades=n + 1,
        trade_date=datetime.date.fromordinal(719_163 + n % 40_000) if n % 3 else None,
        buy_volume=n + 2,
        sell_volume=n + 3,
        vwap=n + 0.3,
        first_ts=n * 60 + 1,
        last_ts=n * 60 + 59,
        partial=partial,
        scheduled=n % 5 != 0,
        synthetic=n % 7 == 0,
    )


def row_of(each: Bar) -> Row:
    n = each.start // 60
    return Row(each, (n, n + 3, n - 3, n + 1))


def put(columns: BarColumns, each: Bar) -> None:
    """Append one bar and show it."""
    columns.append(row_of(each))
    columns.keep()


def rows(table: pa.Table) -> list[list[object]]:
    """The rows as plain values, stamps as int64 (their nanoseconds would be lost in a datetime)."""
    columns = [table.column(name) for name, _ in FIELDS]
    plain = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in columns]
    return [list(row) for row in zip(*(c.to_pylist() for c in plain), strict=True)]


def row(of: Bar) -> list[object]:
    return [getattr(of, name) for name, _ in FIELDS]


def values(chunk: pa.Array[Any], name: str = "volume") -> pa.Buffer:
    if isinstance(chunk, pa.DictionaryArray):
        chunk = chunk.indices
    validity, found = chunk.buffers()
    assert (validity is None) == (name not in NULLABLE)
    assert found is not None
    return found


def addresses(table: pa.Table) -> list[list[int]]:
    """Where the values of each chunk of each column lie."""
    return [[values(chunk, name).address for chunk in table.column(name).chunks] for name, _ in FIELDS]


def test_the_schema_is_the_public_one() -> None:
    assert [(field.name, str(field.type)) for field in SCHEMA] == list(FIELDS)
    assert BarColumns(5).table().schema == SCHEMA
    assert BarColumns(5).table().num_rows == 0


@settings(max_examples=60)
@given(partial=st.lists(st.booleans(), max_size=300), every=st.integers(1, 40))
def test_what_was_written_is_what_is_read_in_every_snapshot_ever_taken(
    partial: list[bool], every: int
) -> None:
    """Snapshots at any length, also in the middle of a byte of bits, never change while rows follow."""
    columns, written = BarColumns(10_000), [bar(n, partial=p) for n, p in enumerate(partial)]
    snapshots: list[pa.Table] = []
    for n, each in enumerate(written):
        put(columns, each)
        if n % every == 0:
            snapshots.append(columns.table())
    assert len(columns) == len(written)
    for table in [*snapshots, columns.table()]:
        table.validate(full=True)
        assert rows(table) == [row(each) for each in written[: table.num_rows]]
    assert [table.num_rows for table in snapshots] == list(range(1, len(written) + 1, every))


def test_a_snapshot_copies_nothing_and_allocates_nothing() -> None:
    columns = BarColumns(20_000)
    for n in range(20_000):
        put(columns, bar(n))
    first = columns.table()
    put(columns, bar(20_000, partial=True))
    gc.collect()
    before = pa.total_allocated_bytes()
    tables = [columns.table() for _ in range(50)]
    assert pa.total_allocated_bytes() == before
    assert [addresses(table) for table in tables] == [addresses(first)] * 50
    assert (first.num_rows, tables[0].num_rows) == (20_000, 20_001)
    assert tables[0].column("open").num_chunks == 3


def test_memory_comes_once_per_chunk_however_many_bars_there_are() -> None:
    columns = BarColumns(64 * 100)
    chunk = 64 * 100
    steps: list[int] = []
    before = pa.total_allocated_bytes()
    for n in range(chunk * 2 + 1):
        put(columns, bar(n))
        now = pa.total_allocated_bytes()
        if now != before:
            steps.append(n)
        before = now
    assert steps[:2] == [0, chunk]
    assert set(steps) <= {0, chunk, chunk * 2 - 1, chunk * 2}  # a new chunk comes, and then an old one goes


def test_who_holds_a_snapshot_cannot_write_into_it() -> None:
    columns = BarColumns(10)
    put(columns, bar(1))
    for name, _ in FIELDS:
        for buffer in columns.table().column(name).chunks[0].buffers():
            assert buffer is None or not buffer.is_mutable
    with pytest.raises(TypeError, match="read-only"):
        memoryview(values(columns.table().column("volume").chunks[0]))[0] = 1


@settings(max_examples=40)
@given(kept=st.integers(1, 400), count=st.integers(0, 1200))
def test_old_bars_go_a_chunk_at_a_time_and_the_last_ones_stay(kept: int, count: int) -> None:
    columns, chunk = BarColumns(kept), -(-kept // 64) * 64
    for n in range(count):
        put(columns, bar(n))
        assert min(n + 1, kept) <= len(columns) <= kept + chunk
    table = columns.table()
    assert len(columns) == table.num_rows
    assert table.column("volume").to_pylist() == list(range(count - len(columns) + 7, count + 7))


def test_a_snapshot_outlives_what_it_was_taken_from() -> None:
    columns = BarColumns(64)
    for n in range(64):
        put(columns, bar(n, partial=n % 3 == 0))
    table = columns.table()
    expected = rows(table)
    for n in range(64, 1000):
        put(columns, bar(n))
    del columns
    gc.collect()
    held = [pa.allocate_buffer(4096) for _ in range(64)]  # take the memory again, if it was let go
    for buffer in held:
        memoryview(buffer).cast("B")[:] = bytes([255]) * 4096
    assert rows(table) == expected


def test_a_row_that_cannot_be_written_does_not_count() -> None:
    columns = BarColumns(64)
    put(columns, bar(0))
    with pytest.raises((OverflowError, ValueError)):
        put(columns, attrs.evolve(bar(1), volume=1 << 63))
    assert len(columns) == 1
    put(columns, bar(2, partial=True))
    assert rows(columns.table()) == [row(bar(0)), row(bar(2, partial=True))]


def test_extremes_of_int64_and_bits_in_random_order() -> None:
    rng = random.Random(5)
    low, high = -(1 << 63), (1 << 63) - 1
    columns = BarColumns(1000)
    written: list[Bar] = []
    for n in range(500):
        extreme = attrs.evolve(bar(n), start=rng.choice([low, -1]), end=high, first_ts=low, volume=high)
        written.append(attrs.evolve(extreme, partial=rng.random() < 0.5))
    for each in written:
        put(columns, each)
    assert rows(columns.table()) == [row(each) for each in written]


def test_prices_are_kept_in_ticks_too_and_neither_way_of_showing_them_copies() -> None:
    columns = BarColumns(200)
    for n in range(150):
        put(columns, bar(n))
    ticks, floats = columns.table(shown="ticks"), columns.table()
    assert ticks.schema == SCHEMAS["ticks"]
    assert [ticks.column(name).to_pylist() for name in ("open", "high", "low", "close")] == [
        [n + step for n in range(150)] for step in (0, 3, -3, 1)
    ]
    prices = ["open", "high", "low", "close"]
    assert ticks.drop_columns(prices).equals(floats.drop_columns(prices))
    before = pa.total_allocated_bytes()
    again = [columns.table(shown="ticks") for _ in range(20)]
    assert pa.total_allocated_bytes() == before
    assert [addresses(table) for table in again] == [addresses(ticks)] * 20
    only_floats = BarColumns(200, in_ticks=False)
    only_floats.append(Row(bar(1), (1 << 70, 0, 0, 0)))  # ticks that no int64 holds are not kept
    only_floats.keep()
    assert rows(only_floats.table()) == [row(bar(1))]


def test_what_was_not_kept_was_never_there() -> None:
    """Over the edge of a chunk, with revisions, and with chunks that went: readers saw nothing of it."""
    columns = BarColumns(100)
    for n in range(0, 240, 2):
        put(columns, bar(n))
    before = columns.table()
    shown = rows(before)
    for n in range(240, 700, 2):
        columns.append(row_of(bar(n)))
    columns.revise([row_of(attrs.evolve(bar(238), volume=77)), row_of(bar(301))])
    assert rows(columns.table()) == shown
    columns.undo()
    assert (rows(columns.table()), len(columns)) == (shown, len(shown))
    put(columns, attrs.evolve(bar(241), partial=True))
    assert rows(columns.table()) == [*shown, row(attrs.evolve(bar(241), partial=True))]
    assert rows(before) == shown


@settings(max_examples=60)
@given(st.data())
def test_revisions_by_the_dozen_are_those_of_a_sorted_list(data: st.DataObject) -> None:
    columns = BarColumns(1000)
    numbers = data.draw(st.lists(st.integers(0, 300), unique=True, max_size=80).map(sorted))
    held = {n: bar(n) for n in numbers}
    for each in held.values():
        columns.append(row_of(each))
    columns.keep()
    for volume in range(3):
        changed = data.draw(st.lists(st.integers(0, 300), unique=True, max_size=20))
        some = [attrs.evolve(bar(n), volume=volume) for n in changed]
        columns.revise([row_of(each) for each in some])
        columns.keep()
        held |= {each.start // 60: each for each in some}
        assert rows(columns.table()) == [row(held[n]) for n in sorted(held)]
        columns.table().validate(full=True)


def test_synthetic_bars_behind_another_are_found_over_the_edges_of_chunks() -> None:
    columns = BarColumns(64)  # chunks of 64
    for n in range(100):
        put(columns, attrs.evolve(bar(n), synthetic=40 <= n < 90))
    assert [each.start // 60 for each in columns.synthetic_after(bar(45).end)] == list(range(46, 90))
    assert columns.synthetic_after(bar(90).end) == columns.synthetic_after(bar(99).end) == []
    first, *_ = columns.synthetic_after(bar(49).end)
    assert first[:] == (3000, 3060, bar(50).close, bar(50).trade_date, False)
