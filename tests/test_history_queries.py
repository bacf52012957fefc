"""What is on disk, asked: a lazy dataset, polars, and SQL that can be cancelled and reaches nothing else."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
import trio
from history_tools import DAY, HOUR, MINUTE, MNQ, T0, candle
from simulator_tools import until

from trio_projectx import ConfigError, ContractError
from trio_projectx.history import queries
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.queries import QueryError, QueryOptions, dataset, query
from trio_projectx.history.store import BarStore
from trio_projectx.history.units import HOUR as HOURS
from trio_projectx.history.units import MINUTE as MINUTES
from trio_projectx.journal.scan import dataset as journal
from trio_projectx.market import PriceGrid, TradeBatch

needs_duckdb = pytest.mark.skipif(
    importlib.util.find_spec("duckdb") is None, reason="the extra `query` is not installed"
)
OTHER = "CON.F.US.EP.U26"
BARS = [candle(T0 + n * MINUTE) for n in range(40 * 24 * 60) if n % 97 == 0]
SPAN = Intervals([(T0, T0 + 40 * DAY)])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    store = BarStore(tmp_path)
    store.save(MNQ, MINUTES, SPAN, BARS)
    store.save(OTHER, MINUTES, SPAN, BARS[:50])
    store.save(MNQ, HOURS, SPAN, [candle(T0 + n * HOUR) for n in range(30)])
    store.close()
    return tmp_path


def test_filters_and_columns_reach_the_files(cache: Path) -> None:
    bars = dataset(cache)
    assert bars.schema.names == ["start", "open", "high", "low", "close", "volume", "contract", "unit"]
    assert bars.count_rows() == len(BARS) + 50 + 30
    where = (pc.field("contract") == MNQ) & (pc.field("unit") == "1m") & (pc.field("start") >= T0 + 30 * DAY)
    assert len(list(bars.get_fragments(where))) == 2  # of that folder alone, whose months are two files
    found = bars.to_table(columns=["start", "close"], filter=where)
    expected = [bar for bar in BARS if bar.start >= T0 + 30 * DAY]
    assert found["start"].to_pylist() == [bar.start for bar in expected]
    assert found["close"].to_pylist() == [bar.close for bar in expected]
    assert dataset(cache, contract=OTHER).count_rows() == 50
    assert dataset(str(cache), unit="1h").count_rows() == 30
    assert dataset(cache / "nothing").count_rows() == 0
    with pytest.raises(ContractError):
        dataset(cache, contract="../..")


def test_a_lazy_frame_is_one_line(cache: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.scan_pyarrow_dataset(dataset(cache))
    found = frame.filter(pl.col("unit") == "1h").select(pl.col("volume").sum()).collect()
    assert found.item() == sum(candle(T0 + n * HOUR).volume for n in range(30))


def test_files_of_a_later_version_are_left_out_and_damaged_ones_are_not_missing_in_silence(
    cache: Path,
) -> None:
    import pyarrow.parquet as pq

    path = min((cache / "bars" / f"contract={OTHER}").rglob("*.parquet"))
    good = path.read_bytes()
    table = pq.read_table(path)  # type: ignore[no-untyped-call]
    marks = {**table.schema.metadata, b"trio_projectx.bars": b"2"}
    pq.write_table(table.replace_schema_metadata(marks), path)  # type: ignore[no-untyped-call]
    assert dataset(cache, contract=OTHER).count_rows() == 0
    path.write_bytes(good[:-20])
    with pytest.raises((pa.ArrowException, OSError)):
        dataset(cache, contract=OTHER).to_table()


@needs_duckdb
async def test_sql_over_the_cache_and_over_tables(cache: Path) -> None:
    names = pa.table({"contract": [MNQ, OTHER], "name": ["MNQ", "ES"]})
    found = await query(
        """
        SELECT name, date_trunc('day', make_timestamp(start // 1000)) AS day, sum(volume)::BIGINT AS volume
        FROM bars JOIN names USING (contract)
        WHERE unit = '1m' AND start < ? GROUP BY ALL ORDER BY ALL
        """,
        QueryOptions(parameters=(T0 + DAY,)),
        bars=dataset(cache),
        names=names,
    )
    first_day = [bar for bar in BARS if bar.start < T0 + DAY]
    assert found["name"].to_pylist() == ["ES", "MNQ"]
    assert found["volume"].to_pylist() == [sum(bar.volume for bar in first_day)] * 2
    assert str(found["day"][0].as_py().date()) == "2026-08-18"


@needs_duckdb
async def test_a_journal_is_asked_in_the_same_way(tmp_path: Path) -> None:
    from trio_projectx.journal.recorder import open_recorder

    batch = TradeBatch(MNQ, [T0, T0 + 1], [80_000, 80_001], [3, 4], [0, 1], T0 + 2)
    async with open_recorder(tmp_path, tell=print) as recorder:
        recorder.trades(batch, PriceGrid.from_tick_size("0.25"))
    trades = await trio.to_thread.run_sync(journal, tmp_path, "trades")
    found = await query(
        "SELECT sum(price * volume) AS v FROM trades WHERE contract = ?", QueryOptions((MNQ,)), trades=trades
    )
    assert found["v"].to_pylist() == [20_000.0 * 3 + 20_000.25 * 4]


REFUSED = [
    "SELEC 1",
    "SELECT * FROM nowhere",
    "SELECT * FROM read_csv('/etc/hostname')",
    "SELECT * FROM '/etc/hostname'",
    "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
    "COPY bars TO '/tmp/out-of-the-box.csv'",
    "ATTACH '/tmp/out-of-the-box.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SELECT * FROM hidden",
    "SELECT error('a\x1b[31m' || 'b')",
]


@needs_duckdb
@pytest.mark.parametrize("sql", REFUSED)
async def test_what_is_wrong_or_reaches_out_is_a_typed_error(sql: str) -> None:
    hidden = pa.table({"secret": [1]})  # a variable is no table
    with pytest.raises(QueryError) as caught:
        await query(sql, bars=pa.table({"x": [1]}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 400
    assert hidden.num_rows == 1
    assert not Path("/tmp/out-of-the-box.csv").exists()  # noqa: ASYNC240, S108


@needs_duckdb
async def test_what_is_too_much_or_damaged_is_a_typed_error(cache: Path) -> None:
    with pytest.raises(QueryError):
        await query("SELECT * FROM range(30000000) a ORDER BY hash(a.range)", QueryOptions(memory_mb=20))
    path = min((cache / "bars" / f"contract={OTHER}").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(QueryError):
        await query("SELECT count(*) FROM bars", bars=dataset(cache))
    with pytest.raises(ConfigError):
        QueryOptions(memory_mb=0)


async def test_without_duckdb_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"trio-projectx\[query\]"):
        await query("SELECT 1")


LONG = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range * b.range) % 7 = 3"


@needs_duckdb
@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.3])
async def test_a_long_query_is_cancelled_and_nothing_is_left_of_it(after_s: float) -> None:
    """Also in the first moments, when it is only connecting, and an interrupt would be lost."""
    for _ in range(3):
        start = time.perf_counter()
        with trio.move_on_after(after_s) as scope:
            await query(LONG)
        assert scope.cancelled_caught
        assert time.perf_counter() - start < 4
        await until(lambda: queries._places().borrowed_tokens == 0, 0.5)
    assert (await query("SELECT 42 AS x"))["x"].to_pylist() == [42]


@needs_duckdb
async def test_cancelled_while_it_waits_for_a_place(cache: Path) -> None:
    running = threading.active_count()
    with trio.move_on_after(0.4) as scope:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(query, LONG)
    assert scope.cancelled_caught
    await until(lambda: queries._places().borrowed_tokens == 0, 0.5)
    assert threading.active_count() <= running + 2  # trio keeps threads for later work; duckdb's own are gone
    found = await query("SELECT count(*) AS n FROM bars", bars=dataset(cache))
    assert found["n"].to_pylist() == [len(BARS) + 80]


def test_datasets_are_what_pyarrow_calls_one(cache: Path) -> None:
    assert isinstance(dataset(cache), ds.Dataset)
