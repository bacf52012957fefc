from __future__ import annotations

import datetime
import random
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import Reference, S, Tick, arrivals

from trio_projectx import ConfigError, TimeframeError
from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor, aggregate
from trio_projectx.bars.columns import FLAGS, SCHEMA

UTC = Anchor.utc()
NAMES = [name for name in SCHEMA.names if name not in (*FLAGS, "source")]


def table_of(ticks: list[Tick]) -> pa.Table:
    return pa.table(
        {
            "note": pa.array(["not looked at"] * len(ticks), pa.string()),
            "ts_event": pa.array([t.ts for t in ticks], pa.int64()),
            "price": pa.array([t.ticks / 4 for t in ticks], pa.float64()),
            "volume": pa.array([t.volume for t in ticks], pa.int64()),
            "side": pa.array([t.side for t in ticks], pa.int8()),
        }
    )


def rows(table: pa.Table) -> list[list[object]]:
    plain = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return [list(row) for row in zip(*(c.to_pylist() for c in plain), strict=True)]


def row(bar: Bar) -> list[object]:
    return [getattr(bar, name) for name in NAMES]


def positive(ticks: list[Tick]) -> list[Tick]:
    return [Tick(t.ts, t.ticks + 41, t.volume, t.side) for t in ticks]


def some(count: int, seed: int, span: int = 600) -> list[Tick]:
    rng = random.Random(seed)
    return [
        Tick(ms * 1_000_000, rng.randrange(1, 500), rng.randrange(1, 50), rng.choice([0, 1, -1]))
        for ms in (rng.randrange(span * 1000) for _ in range(count))
    ]


@settings(max_examples=60)
@given(
    ticks=arrivals(),
    frame=st.sampled_from(["1s", "7s", "1m"]),
    lateness=st.sampled_from([None, 0, 1, S, 5 * S]),
)
def test_the_bars_are_those_of_the_brute_force(ticks: list[Tick], frame: str, lateness: int | None) -> None:
    ticks = positive(ticks)
    reference = Reference(frame, lateness or 0)
    for tick in sorted(ticks, key=lambda t: t.ts) if lateness is None else ticks:
        reference.add(tick)
    got = aggregate(table_of(ticks), frame, anchor=UTC, lateness=lateness, tick_size=0.25)
    assert rows(got) == [row(bar) for bar in reference.flush()]
    assert got.schema.metadata == {b"late": str(reference.late).encode()}
    if lateness is not None:
        span = datetime.timedelta(microseconds=lateness // 1000)
        again = aggregate(table_of(ticks), frame, anchor=UTC, lateness=span)
        assert again.equals(aggregate(table_of(ticks), frame, anchor=UTC, lateness=lateness // 1000 * 1000))


@pytest.mark.parametrize("frame", ["1s", "15s", "1m", "5m", "1h", "4h"])
def test_polars_agrees_in_every_field(frame: str) -> None:
    ticks = some(5000, seed=7, span=20_000)
    got = aggregate(table_of(ticks), frame, anchor=UTC)
    step = Timeframe(frame).step_ns
    price, volume, side = pl.col("price"), pl.col("volume"), pl.col("side")
    wanted = (
        pl.DataFrame({"ts": [t.ts for t in ticks], "price": [t.ticks / 4 for t in ticks],
                      "volume": [t.volume for t in ticks], "side": [t.side for t in ticks]})
        .sort("ts", maintain_order=True)
        .group_by((pl.col("ts") // step * step).alias("start"), maintain_order=True)
        .agg(
            (pl.col("ts").first() // step * step + step).alias("end"),
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            volume.sum().alias("volume"),
            pl.len().cast(pl.Int64).alias("trades"),
            pl.lit(None, pl.Date).first().alias("trade_date"),
            volume.filter(side == 0).sum().alias("buy_volume"),
            volume.filter(side == 1).sum().alias("sell_volume"),
            # Quarters times whole volumes are exact in float64 at this size: one rounding here as well.
            ((price * volume).sum() / volume.sum()).alias("vwap"),
            pl.col("ts").first().alias("first_ts"),
            pl.col("ts").last().alias("last_ts"),
        )
        .sort("start")
        .select(NAMES)
    )  # fmt: skip
    assert len(wanted) > 1
    assert rows(got) == [list(each) for each in wanted.rows()]


def test_the_columns_out() -> None:
    full = aggregate(table_of(some(10, seed=1)), "1m", anchor=UTC)
    assert full.schema == pa.schema([SCHEMA.field(name) for name in NAMES])
    assert full.column("trade_date").null_count == full.num_rows
    bare = aggregate(table_of(some(10, seed=1)).drop_columns(["side"]), "1m", anchor=UTC)
    assert bare.schema == full.schema
    for name in NAMES:
        assert (bare.column(name).null_count == bare.num_rows) == (
            name in ("trade_date", "buy_volume", "sell_volume")
        )
        if bare.column(name).null_count == 0:
            assert bare.column(name).equals(full.column(name))
    bare.validate(full=True)


@pytest.mark.parametrize("lateness", [None, 0])
def test_an_empty_table_gives_an_empty_table(lateness: int | None) -> None:
    for empty in (table_of([]), pa.table({"ts_event": [], "price": [], "volume": []})):
        got = aggregate(empty, "1m", anchor=UTC, lateness=lateness, tick_size=0.25)
        assert (got.num_rows, got.schema.names, got.schema.metadata) == (0, NAMES, {b"late": b"0"})
        assert aggregate(empty, "1m", anchor=UTC, lateness=lateness).equals(got)


def test_sorting_keeps_the_order_of_equal_stamps() -> None:
    ticks = [Tick(9, 4), Tick(5, 8), Tick(9, 12), Tick(5, 16), Tick(9, 20)]
    (bar,) = rows(aggregate(table_of(ticks), "1s", anchor=UTC))
    assert (bar[NAMES.index("open")], bar[NAMES.index("close")]) == (2.0, 5.0)


def test_many_rows_in_many_chunks_are_one_table() -> None:
    """More rows than one batch has, in pieces of odd sizes, with late ones among them."""
    rng = random.Random(11)
    ticks = [
        Tick(n * 10_000_000 - rng.randrange(2 * S), 1 + n % 90, 1 + n % 3, n % 2) for n in range(140_000)
    ]
    whole = table_of(ticks)
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 69_999), whole.slice(70_000)])
    assert pieces.column("price").num_chunks == 3
    for lateness in (None, 0, S):
        bars: dict[int, tuple[int, int]] = {}
        youngest, late = -(1 << 63), 0
        for tick in sorted(ticks, key=lambda t: t.ts) if lateness is None else ticks:
            start = tick.ts // S * S
            if start + S <= youngest - (lateness or 0):
                late += 1
            else:
                trades, volume = bars.get(start, (0, 0))
                bars[start] = trades + 1, volume + tick.volume
            youngest = max(youngest, tick.ts)
        got = aggregate(pieces, "1s", anchor=UTC, lateness=lateness)
        columns = (got.column("start").cast(pa.int64()), got.column("trades"), got.column("volume"))
        built = [
            (start, (n, total)) for start, n, total in zip(*(c.to_pylist() for c in columns), strict=True)
        ]
        assert built == sorted(bars.items())
        assert got.schema.metadata == {b"late": str(late).encode()}
        assert (lateness is None) == (late == 0)


def test_the_table_given_is_not_touched() -> None:
    table = table_of(some(100, seed=3))
    before = table.to_pydict()
    aggregate(table, "1m", anchor=UTC)
    assert table.to_pydict() == before


@pytest.mark.parametrize("outside", ["own", "attach", "drop"])
def test_outside_changes_nothing_without_sessions(outside: str) -> None:
    table = table_of(some(100, seed=4))
    got = aggregate(table, Timeframe("5m"), anchor=UTC, outside=outside)  # type: ignore[arg-type]
    assert got.equals(aggregate(table, "5m", anchor=UTC))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"outside": "keep"}, "outside must be"),
        ({"lateness": -1}, "lateness must be"),
        ({"lateness": 1.5}, "lateness must be"),
        ({"lateness": True}, "lateness must be"),
        ({"lateness": datetime.timedelta(microseconds=-1)}, "lateness must be"),
        ({"tick_size": 0}, "tick size"),
        ({"tick_size": "a quarter"}, "tick size"),
        ({"timeframe": "99999w"}, '"99999w" is too long'),
        ({"timeframe": "1x"}, "is not a timeframe"),
    ],
)
def test_options_that_are_wrong_are_refused(options: dict[str, object], says: str) -> None:
    given = {"timeframe": "1m", "anchor": UTC, **options}
    with pytest.raises(ConfigError, match=says) as caught:
        aggregate(table_of([Tick(1)]), **given)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TimeframeError) == ("timeframe" in options)


def test_the_lateness_of_a_timedelta_is_exact() -> None:
    ticks = [Tick(0), Tick(S + 86_400 * S + 1000)]
    for span, late in (
        (datetime.timedelta(days=1, microseconds=1), 1),
        (datetime.timedelta(days=1, microseconds=2), 0),
    ):
        got = aggregate(table_of([*ticks, Tick(1)]), "1s", anchor=UTC, lateness=span)
        assert got.schema.metadata == {b"late": str(late).encode()}


@pytest.mark.parametrize("tick_size", [None, 0.1, "0.1", Decimal("0.1"), Fraction(1, 10)])
def test_prices_come_out_as_they_went_in(tick_size: float | str | Decimal | Fraction | None) -> None:
    prices = [n / 10 for n in range(1, 30_000, 7)]
    table = pa.table(
        {"ts_event": [n * S for n in range(len(prices))], "price": prices, "volume": [3] * len(prices)}
    )
    got = aggregate(table, "1s", anchor=UTC, tick_size=tick_size)
    for name in ("open", "high", "low", "close", "vwap"):
        assert got.column(name).to_pylist() == prices


# Up to a million a float tells nine decimal places apart.
@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_vwap_is_the_exact_mean_rounded_once(trades: list[tuple[float, int]]) -> None:
    table = pa.table(
        {"ts_event": [0] * len(trades), "price": [p for p, _ in trades], "volume": [v for _, v in trades]}
    )
    (vwap,) = aggregate(table, "1s", anchor=UTC).column("vwap").to_pylist()
    # The decimals that are written, if they all have nine places at most; else what the floats are.
    decimals = [Decimal(repr(p)) for p, _ in trades]
    written = all(d == round(d, 9) for d in decimals)
    exact = [Fraction(d) if written else Fraction(p) for d, (p, _) in zip(decimals, trades, strict=True)]
    total = sum(p * v for p, (_, v) in zip(exact, trades, strict=True))
    assert vwap == float(total / sum(v for _, v in trades))
    assert min(trades)[0] <= vwap <= max(trades)[0]
