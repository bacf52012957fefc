from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain, pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import (
    GRID,
    Reference,
    S,
    Tick,
    arrivals,
    batch,
    cut,
    cuts,
    latenesses,
    stamps,
    ticks,
)

from trio_projectx import ConfigError, TimeframeError
from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import Anchor, BarCounts, BarSet
from trio_projectx.bars.edges import INT64_MAX, INT64_MIN
from trio_projectx.market.batch import TradeBatch

UTC = Anchor.utc()
# Chains, forks (2s and 3s are both folded from 1s), equal lengths under two labels, sets of several roots.
SETS = [
    ["1s"],
    ["1s", "5s", "15s", "1m"],
    ["1s", "5s", "15s", "1m", "5m", "15m", "1h", "4h"],
    ["1s", "2s", "3s", "6s", "12s"],
    ["1m", "60s", "1s"],
    ["2s", "3s", "5s"],
    ["7s", "14s", "1m", "4s", "8s"],
    ["1h", "10s", "1s", "30s"],
]


def make(
    timeframes: Sequence[Timeframe | str],
    lateness: int = 0,
    *,
    bars_kept: int = 100_000,
    partial_first: bool = False,
) -> BarSet:
    return BarSet(
        "C",
        timeframes,
        anchor=UTC,
        grid=GRID,
        lateness_ns=lateness,
        bars_kept=bars_kept,
        partial_first=partial_first,
    )


def step(bar: Bar) -> int:
    return bar.timeframe.step_ns or 0


def in_order(bars: list[Bar], timeframes: list[str]) -> list[Bar]:
    """Sort as `update` promises (equal lengths under two labels stay in the order they were asked for)."""
    return sorted(bars, key=lambda bar: (bar.end, step(bar), timeframes.index(bar.timeframe)))


def everything(bars: BarSet, timeframes: list[str]) -> list[tuple[BarCounts, Bar | None]]:
    return [(bars.counts(each), bars.forming(each)) for each in timeframes]


@settings(max_examples=150)
@given(timeframes=st.sampled_from(SETS), trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_the_cascade_is_the_brute_force_in_every_field_count_and_call(
    timeframes: list[str], trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    cascade = make(timeframes, lateness)
    references = [Reference(each, lateness) for each in timeframes]
    for piece in cut(trades, sizes):
        got = cascade.update(batch(piece))
        assert got == in_order([bar for each in references for bar in each.update(piece)], timeframes)
        assert everything(cascade, timeframes) == [(each.counts(), each.forming()) for each in references]
    got = cascade.flush()
    assert got == in_order([bar for each in references for bar in each.flush()], timeframes)
    assert everything(cascade, timeframes) == [(each.counts(), None) for each in references]


@settings(max_examples=75)
@given(timeframes=st.sampled_from(SETS), trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_the_cascade_is_a_set_of_each_timeframe_alone(
    timeframes: list[str], trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    cascade = make(timeframes, lateness)
    alone = [make([each], lateness) for each in timeframes]
    for piece in [*cut(trades, sizes), None]:
        if piece is None:
            got, parts = cascade.flush(), [each.flush() for each in alone]
        else:
            got, parts = cascade.update(batch(piece)), [each.update(batch(piece)) for each in alone]
        assert got == in_order(list(chain(*parts)), timeframes)
        for timeframe, single in zip(timeframes, alone, strict=True):
            assert cascade.counts(timeframe) == single.counts(timeframe)
            assert cascade.forming(timeframe) == single.forming(timeframe)
            assert cascade.table(timeframe).equals(single.table(timeframe))


@settings(max_examples=75)
@given(timeframes=st.sampled_from(SETS), trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_how_trades_are_cut_into_batches_changes_nothing(
    timeframes: list[str], trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    results: list[tuple[list[Bar], list[tuple[BarCounts, Bar | None]]]] = []
    for pieces in ([trades], cut(trades, sizes), cut(trades, [1])):
        bars = make(timeframes, lateness, partial_first=True)
        closed = [bar for piece in pieces for bar in bars.update(batch(piece))]
        results.append((in_order(closed, timeframes), everything(bars, timeframes)))
    assert results[0] == results[1] == results[2]


@settings(max_examples=75)
@given(
    timeframes=st.sampled_from(SETS),
    trades=st.lists(ticks, min_size=1, max_size=60, unique_by=lambda t: t.ts),
    lateness=st.sampled_from([1, S // 2, S, 5 * S]),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    sizes=cuts,
)
def test_any_order_of_arrival_within_the_lateness_gives_the_same_bars(
    timeframes: list[str], trades: list[Tick], lateness: int, seeds: tuple[int, int], sizes: list[int]
) -> None:
    """T11. Stamps are unique: of equal ones, arrival decides, so their order is not free."""
    results: list[list[Bar]] = []
    for seed in (None, *seeds):
        rng = random.Random(seed)
        delay = {t.ts: 0 if seed is None else rng.randrange(lateness + 1) for t in trades}
        came = sorted((t.ts + delay[t.ts], place) for place, t in enumerate(trades))
        arrived = [trades[place] for _, place in came]
        bars = make(timeframes, lateness)
        closed = [bar for piece in cut(arrived, sizes) for bar in bars.update(batch(piece))]
        results.append(in_order(closed + bars.flush(), timeframes))
        assert all(bars.counts(each).late == 0 for each in timeframes)
    assert results[0] == results[1] == results[2]


@settings(max_examples=75)
@given(timeframes=st.sampled_from(SETS), trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_each_trade_is_in_exactly_one_place(
    timeframes: list[str], trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    """T4 and the ledger, at every instant: bars and the trades left out add up to what came."""
    bars = make(timeframes, lateness)
    closed: list[Bar] = []
    received = 0
    for piece in cut(trades, sizes):
        closed += bars.update(batch(piece))
        received += len(piece)
        for each in timeframes:
            counts = bars.counts(each)
            assert counts.received == received == counts.in_bars + counts.forming + counts.late
            assert counts.in_bars == sum(bar.trades for bar in closed if bar.timeframe == each)
    closed += bars.flush()
    for each in timeframes:
        mine = [bar for bar in closed if bar.timeframe == each]
        assert sum(bar.trades for bar in mine) == received - bars.counts(each).late
        assert all(a.end <= b.start for a, b in pairwise(mine))
        assert all(bar.start <= bar.first_ts <= bar.last_ts < bar.end for bar in mine)
        if not bars.counts(each).late:
            assert sum(bar.volume for bar in mine) == sum(t.volume for t in trades)


@settings(max_examples=75)
@given(trades=arrivals(), sizes=cuts)
def test_a_coarse_bar_is_the_fold_of_its_fine_bars(trades: list[Tick], sizes: list[int]) -> None:
    """T10, over the outputs of sets that do not know of each other, with a lateness that loses nothing."""
    fine, coarse = make(["1s"], 600 * S), make(["15s"], 600 * S)
    for piece in cut(trades, sizes):
        fine.update(batch(piece))
        coarse.update(batch(piece))
    children = fine.flush()
    for bar in coarse.flush():
        inside = [child for child in children if bar.start <= child.start and child.end <= bar.end]
        assert (bar.open, bar.close) == (inside[0].open, inside[-1].close)
        assert (bar.high, bar.low) == (max(c.high for c in inside), min(c.low for c in inside))
        for name in ("volume", "trades", "buy_volume", "sell_volume"):
            assert getattr(bar, name) == sum(getattr(child, name) for child in inside)
        assert (bar.first_ts, bar.last_ts) == (inside[0].first_ts, inside[-1].last_ts)


@pytest.mark.parametrize("disorder", [0, 30_000_000, 3 * S])
@pytest.mark.parametrize("size", [1, 7, 64, 512, 4000])
def test_thousands_of_trades_in_long_runs(disorder: int, size: int) -> None:
    """What Hypothesis does not reach with short lists: batches within one bar, long runs, many late ones."""
    rng = random.Random(disorder + size)
    timeframes, lateness = ["1s", "5s", "1m"], 20_000_000
    trades = [
        Tick(at * 4_000_000 - rng.randrange(disorder + 1), 90 + rng.randrange(9), 1 + rng.randrange(3), side)
        for at in range(4000)
        for side in [rng.choice([0, 1, 1, -1]) if at > 2000 else rng.choice([0, 1])]
    ]
    bars, references = make(timeframes, lateness), [Reference(each, lateness) for each in timeframes]
    for each in references:  # all at once: the reference is quadratic when asked trade by trade
        each.seen = trades
        youngest = INT64_MIN
        for place, tick in enumerate(trades):
            start = tick.ts // each.step * each.step
            if start + each.step <= youngest - lateness:
                each.late += 1
            else:
                each.members.setdefault(start, []).append((tick.ts, place, tick))
            youngest = max(youngest, tick.ts)
    got = [bar for piece in cut(trades, [size]) for bar in bars.update(batch(piece))] + bars.flush()
    assert in_order(got, timeframes) == in_order(
        [bar for each in references for bar in each.flush()], timeframes
    )
    assert [bars.counts(each) for each in timeframes] == [each.counts() for each in references]
    assert (disorder > S) == (bars.counts("1s").late > 0)


@pytest.mark.parametrize(
    ("lateness", "ts", "closes"),
    [
        (0, S - 1, False),
        (0, S, True),
        (5, S + 4, False),
        (5, S + 5, True),
        (S, 2 * S - 1, False),
        (S, 2 * S, True),
    ],
)
def test_a_bar_is_final_when_the_watermark_reaches_its_end(lateness: int, ts: int, closes: bool) -> None:
    bars = make(["1s"], lateness)
    assert bars.update(batch([Tick(0)])) == []
    assert [bar.end for bar in bars.update(batch([Tick(ts)]))] == ([S] if closes else [])


def test_an_older_bar_closes_while_trades_stay_within_the_younger_one() -> None:
    bars = make(["1s"], lateness=S // 2)
    assert bars.update(batch([Tick(0), Tick(S)])) == []
    assert bars.update(batch([Tick(S + S // 2 - 1)])) == []
    assert [bar.end for bar in bars.update(batch([Tick(S + S // 2)]))] == [S]


def test_one_root_opens_a_bar_while_another_stays_within_its_own() -> None:
    bars = make(["3s", "7s"], lateness=2 * S)
    assert bars.update(batch([Tick(100 * S)])) == []
    assert bars.update(batch([Tick(98 * S + 1)])) == []  # 3s: before the bar that is open; 7s: in it
    assert bars.update(batch([Tick(100 * S + 1)])) == []
    assert [(bar.timeframe, bar.end) for bar in bars.update(batch([Tick(101 * S)]))] == [("3s", 99 * S)]


def test_a_straggler_goes_to_the_coarser_bar_and_ties_are_by_arrival() -> None:
    bars = make(["1s", "1m"])
    closed = bars.update(batch([Tick(5, 10), Tick(S, 11), Tick(5, 12), Tick(S - 1, 13), Tick(2 * S, 14)]))
    assert [(bar.start, bar.open, bar.close) for bar in closed] == [(0, 2.5, 2.5), (S, 2.75, 2.75)]
    assert bars.counts("1s") == BarCounts(received=5, in_bars=2, forming=1, late=2)
    assert bars.counts("1m") == BarCounts(received=5, in_bars=0, forming=5, late=0)
    (_, minute) = bars.flush()
    assert (minute.open, minute.high, minute.close, minute.trades) == (2.5, 3.5, 3.5, 5)
    tied = make(["1s", "1m"])
    tied.update(batch([Tick(S - 1, 10), Tick(S, 11), Tick(S - 1, 12)]))
    tied.update(batch([Tick(5, 20), Tick(5, 21)]))
    minute = tied.flush()[-1]
    assert (minute.open, minute.close) == (5.0, 2.75)


def test_a_late_trade_of_an_interval_that_had_no_bar_makes_none() -> None:
    bars = make(["1s"])
    assert bars.update(batch([Tick(10 * S), Tick(3 * S)])) == []
    assert bars.counts("1s") == BarCounts(2, 0, 1, 1)
    assert [bar.start for bar in bars.flush()] == [10 * S]


def test_forming_is_a_snapshot_of_the_youngest_open_bar() -> None:
    bars = make(["1s", "1m"], lateness=10 * S)
    assert bars.forming("1m") is None
    bars.update(batch([Tick(59 * S, 8), Tick(60 * S, 12), Tick(61 * S, 16, volume=3)]))
    young, minute = bars.forming("1s"), bars.forming(Timeframe("1m"))
    assert young is not None
    assert minute is not None
    assert (young.start, young.volume) == (61 * S, 3)
    assert (minute.start, minute.open, minute.close, minute.volume) == (60 * S, 3.0, 4.0, 4)
    bars.update(batch([Tick(62 * S, 20)]))
    assert minute.close == 4.0
    grown = attrs.evolve(minute, close=5.0, high=5.0, volume=5, trades=3, buy_volume=5, last_ts=62 * S)
    assert attrs.evolve(grown, vwap=4.0) == bars.forming("1m")


def test_partial_marks_what_was_forming_when_the_first_trade_came() -> None:
    bars = make(["1s", "5s", "1m"], lateness=S, partial_first=True)
    got = bars.update(batch([Tick(61 * S + 5), Tick(61 * S - 1), Tick(62 * S), Tick(63 * S), Tick(200 * S)]))
    forming = bars.forming("1m")
    assert [(bar.timeframe, bar.start // S) for bar in got if bar.partial] == [
        ("1s", 60),
        ("1s", 61),
        ("1s", 62),
        ("5s", 60),
        ("1m", 60),
    ]
    assert [(bar.timeframe, bar.start // S) for bar in got if not bar.partial] == [("1s", 63)]
    assert forming is not None
    assert not forming.partial
    assert bars.table("1s").column("partial").to_pylist() == [True, True, True, False]
    sharp = make(["1s", "1m"], partial_first=True)
    sharp.update(batch([Tick(60 * S)]))
    assert [bar.partial for bar in sharp.flush()] == [True, True]
    plain = make(["1s"])
    plain.update(batch([Tick(5)]))
    assert [bar.partial for bar in plain.flush()] == [False]


def test_a_timeframe_is_folded_from_the_coarsest_that_nests_in_it() -> None:
    bars = make(["1m", "4h", "1s", "7s", "15s", "90s", "1h"])
    sources = {name: rung.builder.source for name, rung in bars._rungs.items()}
    assert {name: source and source.timeframe for name, source in sources.items()} == {
        "1s": None,
        "7s": "1s",
        "15s": "1s",
        "1m": "15s",
        "90s": "15s",
        "1h": "90s",
        "4h": "1h",
    }


def test_flush_closes_everything_once_and_is_the_end() -> None:
    bars = make(["1s", "1m"], lateness=S)
    bars.update(batch([Tick(0), Tick(S)]))
    assert [(bar.timeframe, bar.end) for bar in bars.flush()] == [("1s", S), ("1s", 2 * S), ("1m", 60 * S)]
    assert bars.flush() == []
    before = everything(bars, ["1s", "1m"])
    with pytest.raises(ConfigError, match="flushed"):
        bars.update(batch([Tick(100 * S)]))
    assert everything(bars, ["1s", "1m"]) == before


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (batch([Tick(1)], "D"), "batch of 'D'"),
        (TradeBatch("C", [1, 2], [1], [1, 1], [0, 0], 0), "differ in length"),
        (TradeBatch("C", [1, 2], [1, 1], [1], [0, 0], 0), "differ in length"),
        (TradeBatch("C", [1, 2], [1, 1], [1, 1], [0], 0), "differ in length"),
        (batch([Tick(5), Tick(INT64_MAX)]), "no bar can hold the stamp 9223372036854775807"),
        (batch([Tick(INT64_MIN), Tick(5)]), "no bar can hold the stamp -9223372036854775808"),
        (batch([Tick(5, volume=INT64_MAX)]), "int64"),
        (batch([Tick(5, volume=1 << 62), Tick(6, volume=1 << 62)]), "int64"),
    ],
)
def test_a_batch_that_cannot_be_taken_changes_nothing(bad: TradeBatch, says: str) -> None:
    bars, other = make(["1s", "1m"]), make(["1s", "1m"])
    for each in (bars, other):
        each.update(batch([Tick(0), Tick(1)]))
    with pytest.raises(ConfigError, match=says):
        bars.update(bad)
    assert everything(bars, ["1s", "1m"]) == everything(other, ["1s", "1m"])
    rest = batch([Tick(2, volume=7), Tick(S)])
    assert bars.update(rest) == other.update(rest)
    assert bars.flush() == other.flush()


def test_volumes_are_added_up_over_open_bars_not_over_all_time() -> None:
    bars = make(["1s"])
    for second in range(5):
        bars.update(batch([Tick(second * S, volume=(1 << 62) - 1)]))
    assert [bar.volume for bar in bars.flush()] == [(1 << 62) - 1]
    assert bars.table("1s").column("volume").to_pylist() == [(1 << 62) - 1] * 5


@settings(max_examples=50)
@given(ts=stamps, timeframes=st.sampled_from(SETS))
def test_a_trade_at_the_very_limits_has_a_bar_with_edges_in_int64(ts: int, timeframes: list[str]) -> None:
    longest = 4 * 3600 * S
    for at in (INT64_MAX // longest * longest - 1, -(INT64_MAX // longest) * longest, ts):
        bars = make(timeframes)
        bars.update(batch([Tick(at)]))
        for bar in bars.flush():
            assert INT64_MIN <= bar.start <= at < bar.end <= INT64_MAX


def test_an_empty_batch_is_nothing() -> None:
    bars = make(["1s"])
    assert bars.update(batch([])) == []
    assert bars.counts("1s") == BarCounts(0, 0, 0, 0)
    assert bars.flush() == []
    assert bars.table("1s").num_rows == 0


@pytest.mark.parametrize(
    ("timeframes", "lateness", "kept", "says"),
    [
        ([], 0, 1, "at least one timeframe"),
        (["1s", "1s"], 0, 1, "twice: 1s, 1s"),
        (["1s"], -1, 1, "lateness_ns must be"),
        (["1s"], 0.5, 1, "lateness_ns must be"),
        (["1s"], True, 1, "lateness_ns must be"),
        (["1s"], 0, 0, "bars_kept must be"),
        (["1s", "99999M"], 0, 1, '"99999M" is too long'),
        ("1m", 0, 1, "'1' is not a timeframe"),
    ],
)
def test_options_that_are_wrong_are_refused(
    timeframes: list[str], lateness: int, kept: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        make(timeframes, lateness, bars_kept=kept)


def test_asking_for_a_timeframe_that_is_not_there() -> None:
    bars = make(["1m", "1s"])
    assert bars.timeframes == ("1m", "1s")
    for ask in (bars.table, bars.counts, bars.forming):
        with pytest.raises(TimeframeError, match='"5m" is not one of 1m, 1s'):
            ask("5m")


def test_bars_kept_bounds_the_table() -> None:
    bars = make(["1s"], bars_kept=100)
    for second in range(1000):
        bars.update(batch([Tick(second * S)]))
        assert bars.table("1s").num_rows <= 100 + 128
    assert bars.table("1s").num_rows >= 100
    assert bars.table("1s").column("first_ts")[-1].as_py() == 998 * S
