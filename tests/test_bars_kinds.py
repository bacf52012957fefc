"""Bars that end by what was traded, against brute force that expands every trade into single contracts."""

from __future__ import annotations

import pickle
from fractions import Fraction

import attrs
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import GRID, S, Tick, batch, cut, cuts

from trio_projectx import Bar, BarKind, ConfigError, Timeframe, TimeframeError
from trio_projectx.bars import Anchor, BarSet, Sessions, aggregate, heikin_ashi

LABELS = ["tick:1", "tick:3", "volume:1", "volume:7", "dollar:40", "dollar:1", "range:1", "range:6",
          "renko:1", "renko:3"]  # fmt: skip
trades = st.lists(
    st.builds(
        Tick,
        ts=st.integers(0, 50),
        ticks=st.one_of(st.integers(95, 105), st.integers(60, 140)),
        volume=st.one_of(st.integers(1, 4), st.integers(1, 30)),
        side=st.sampled_from([0, 1, -1]),
    ),
    min_size=1,
    max_size=40,
)


def make(labels: list[str], **options: object) -> BarSet:
    return BarSet("C", labels, anchor=Anchor.utc(), grid=GRID, lateness_ns=0, **options)  # type: ignore[arg-type]


@attrs.frozen
class Piece:
    """A part of a trade that lies in one bar; of its parts the first is the trade, for counting."""

    place: int
    tick: Tick
    volume: int
    is_first: bool


def groups_of(kind: BarKind, rows: list[Tick]) -> list[list[Piece]]:
    """The members of each bar, complete or not, by the definition of the kind."""
    groups: list[list[Piece]] = [[]]
    for place, tick in enumerate(rows):
        if kind.kind == "volume":
            for contract in range(tick.volume):
                if sum(p.volume for p in groups[-1]) == kind.size:
                    groups.append([])
                groups[-1].append(Piece(place, tick, 1, contract == 0))
            continue
        piece = Piece(place, tick, tick.volume, True)
        if kind.kind == "range":
            prices = [p.tick.ticks for p in groups[-1]] + [tick.ticks]
            if max(prices) - min(prices) > kind.size:
                groups.append([])
        elif kind.kind == "tick" and len(groups[-1]) == kind.size:
            groups.append([])
        elif kind.kind == "dollar":
            turnover = sum(Fraction(p.tick.ticks, 4) * p.volume for p in groups[-1])
            if groups[-1] and turnover >= kind.size:
                groups.append([])
        groups[-1].append(piece)
    return groups


def is_complete(kind: BarKind, group: list[Piece]) -> bool:
    if kind.kind == "volume":
        return sum(p.volume for p in group) == kind.size
    if kind.kind == "tick":
        return len(group) == kind.size
    return kind.kind == "dollar" and sum(Fraction(p.tick.ticks, 4) * p.volume for p in group) >= kind.size


def bar_of(kind: BarKind, group: list[Piece]) -> Bar:
    ordered = sorted(group, key=lambda p: (p.tick.ts, p.place))
    prices = [p.tick.ticks / 4 for p in ordered]
    volume = sum(p.volume for p in group)
    return Bar(
        contract_id="C",
        timeframe=kind,
        start=ordered[0].tick.ts,
        end=ordered[-1].tick.ts + 1,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=volume,
        trades=sum(p.is_first for p in group),
        trade_date=None,
        buy_volume=sum(p.volume for p in group if p.tick.side == 0),
        sell_volume=sum(p.volume for p in group if p.tick.side == 1),
        vwap=float(sum(Fraction(p.tick.ticks * p.volume, 4) for p in group) / volume),
        first_ts=ordered[0].tick.ts,
        last_ts=ordered[-1].tick.ts,
    )


@settings(max_examples=120)
@given(trades, st.sampled_from([label for label in LABELS if "renko" not in label]), cuts)
def test_each_kind_is_its_brute_force(rows: list[Tick], label: str, sizes: list[int]) -> None:
    kind, bars = BarKind(label), make([label])
    groups = groups_of(kind, rows)
    got = [bar for piece in cut(rows, sizes) for bar in bars.update(batch(piece))]
    complete = groups if is_complete(kind, groups[-1]) else groups[:-1]
    assert got == [bar_of(kind, group) for group in complete]
    forming = bars.forming(label)
    rest = groups[len(complete) :]
    assert forming == (attrs.evolve(bar_of(kind, rest[0]), closed=False) if rest else None)
    counts = bars.counts(label)
    assert counts.received == len(rows) == counts.in_bars + counts.forming
    got += bars.flush()
    assert sum(bar.volume for bar in got) == sum(tick.volume for tick in rows)
    assert sum(bar.trades for bar in got) == len(rows) == bars.counts(label).in_bars
    assert bars.table(label)["close"].to_pylist() == [bar.close for bar in got]
    if kind.kind == "range":
        assert all(bar.high - bar.low <= kind.size / 4 for bar in got)


def bricks_of(size: int, rows: list[Tick]) -> list[tuple[int, int]]:
    """(open, close) in ticks, one tick of price at a time."""
    found: list[tuple[int, int]] = []
    low = high = rows[0].ticks // size * size
    at = rows[0].ticks
    for tick in rows:
        while True:
            if at >= high + size:
                found.append((high, high + size))
                low, high = high, high + size
            elif at <= low - size:
                found.append((low, low - size))
                low, high = low - size, low
            elif at == tick.ticks:
                break
            else:
                at += 1 if tick.ticks > at else -1
    return found


@settings(max_examples=120)
@given(trades, st.sampled_from(["renko:1", "renko:3", "renko:10"]), cuts)
def test_bricks(rows: list[Tick], label: str, sizes: list[int]) -> None:
    kind, bars = BarKind(label), make([label])
    got = [bar for piece in cut(rows, sizes) for bar in bars.update(batch(piece))]
    assert [(bar.open * 4, bar.close * 4) for bar in got] == bricks_of(kind.size, rows)
    for bar in got:
        assert (bar.high, bar.low) == (max(bar.open, bar.close), min(bar.open, bar.close))
        assert bar.synthetic == (bar.volume == 0) == (bar.trades == 0)
        assert bar.start <= bar.first_ts <= bar.last_ts < bar.end
    forming = bars.forming(label)
    left = 0 if forming is None else forming.volume
    assert sum(bar.volume for bar in got) + left == sum(tick.volume for tick in rows)
    counts = bars.counts(label)
    assert counts.received == len(rows) == counts.in_bars + counts.forming
    assert bars.flush() == []  # a brick is whole or is none


def test_a_big_trade_is_split_and_counted_where_it_begins() -> None:
    bars = make(["volume:1000"])
    got = bars.update(batch([Tick(1, 100, 600), Tick(2, 104, 3500, 1)]))
    assert [(b.volume, b.trades, b.open, b.close, b.sell_volume) for b in got] == [
        (1000, 2, 25.0, 26.0, 400),
        (1000, 0, 26.0, 26.0, 1000),
        (1000, 0, 26.0, 26.0, 1000),
        (1000, 0, 26.0, 26.0, 1000),
    ]
    forming = bars.forming("volume:1000")
    assert forming is not None
    assert (forming.volume, forming.trades) == (100, 0)


def test_kinds_and_timeframes_share_a_set_and_its_gate() -> None:
    anchor = Anchor.session(Sessions.from_segments([("2026-11-17", 0, 10 * S)]))
    bars = BarSet(
        "C",
        ["1s", "tick:2"],
        anchor=anchor,
        grid=GRID,
        lateness_ns=0,
        outside="drop",
        partial_first=True,
    )
    got = bars.update(batch([Tick(0), Tick(1), Tick(11 * S), Tick(S), Tick(S + 1), Tick(3)]))
    assert [(bar.timeframe, bar.trades, bar.partial) for bar in got] == [
        ("1s", 2, True),
        ("tick:2", 2, True),
        ("tick:2", 2, False),
    ]
    assert [bars.counts(each).outside for each in bars.timeframes] == [1, 1]
    assert [bars.counts(each).late for each in bars.timeframes] == [1, 0]


def test_a_bar_with_an_interruption_in_it_is_partial() -> None:
    bars = make(["tick:2"], partial_first=True)
    got = bars.update(batch([Tick(k) for k in range(5)]))
    bars.rejoin()
    got += bars.update(batch([Tick(k) for k in range(5, 9)]))
    assert [bar.partial for bar in got] == [True, False, True, False]
    plain = make(["tick:2"])
    plain.rejoin()
    assert [bar.partial for bar in plain.update(batch([Tick(0), Tick(1)]))] == [False]


def test_aggregate_makes_kinds_too() -> None:
    table = pa.table({"ts_event": [3, 1, 2], "price": [1.0, 2.0, 3.0], "volume": [4, 5, 6]})
    got = aggregate(table, "volume:10", anchor=Anchor.utc(), tick_size=0.25)
    assert got["volume"].to_pylist() == [10, 5]
    assert got["close"].to_pylist() == [3.0, 1.0]
    assert got["first_ts"].to_pylist() == [1, 2]


def test_heikin_ashi() -> None:
    bars = make(["tick:2"])
    got = bars.update(batch([Tick(k, 100 + (7 * k) % 5) for k in range(20)]))
    candles = list(heikin_ashi(got))
    before: tuple[float, float] | None = None
    for bar, candle in zip(got, candles, strict=True):
        close = (bar.open + bar.high + bar.low + bar.close) / 4
        opens = sum(before) / 2 if before else (bar.open + bar.close) / 2
        wanted = attrs.evolve(
            bar, open=opens, high=max(bar.high, opens, close), low=min(bar.low, opens, close), close=close
        )
        assert candle == wanted
        before = opens, close
    assert list(heikin_ashi([])) == []


@pytest.mark.parametrize("label", LABELS)
def test_a_kind_is_a_label_that_is_checked(label: str) -> None:
    kind = Timeframe(label)
    assert isinstance(kind, BarKind)
    assert kind == label == f"{kind.kind}:{kind.size}"
    assert BarKind(kind) is kind is Timeframe(kind)
    assert pickle.loads(pickle.dumps(kind)) == kind  # noqa: S301
    assert kind.step_ns is None
    with pytest.raises(TimeframeError, match="do not end by time"):
        Anchor.utc().edges(kind)


@pytest.mark.parametrize(
    "label", ["tick:0", "tick:", "ticks:5", "volume:-1", "range:1.5", ":5", "renko:٣", "5m:1"]
)
def test_what_is_no_kind_is_refused(label: str) -> None:
    with pytest.raises(TimeframeError, match="is no kind of bar"):
        Timeframe(label)
    with pytest.raises(ConfigError):
        make(["1s", label])


def test_a_table_of_a_kind_is_cut_by_time_also_where_ends_are_in_no_order() -> None:
    bars = make(["tick:1"])
    bars.update(batch([Tick(at) for at in (50, 10, 90, 30, 50, 70)]))
    ends = [51, 11, 91, 31, 51, 71]
    whole = bars.table("tick:1")
    assert whole["end"].cast(pa.int64()).to_pylist() == ends
    for start, end in ((None, None), (11, None), (None, 51), (30, 71), (91, 91)):
        wanted = [e for e in ends if (start is None or e > start) and (end is None or e <= end)]
        cut_out = bars.table("tick:1", start, end)
        assert cut_out["end"].cast(pa.int64()).to_pylist() == wanted
        assert cut_out.schema == whole.schema


def test_only_the_first_bar_after_an_interruption_is_partial_also_while_it_forms() -> None:
    bars = make(["tick:2"], partial_first=True)
    bars.update(batch([Tick(7)]))
    forming = bars.forming("tick:2")
    assert forming is not None
    assert forming.partial
    bars.update(batch([Tick(7), Tick(7)]))
    forming = bars.forming("tick:2")
    assert forming is not None
    assert not forming.partial


def test_bars_that_begin_before_the_end_of_a_gap_are_partial_however_many_they_are() -> None:
    bars = make(["tick:2"], partial_first=True)
    bars.update(batch([Tick(1), Tick(2), Tick(3), Tick(4), Tick(5)]))
    bars.rejoin()
    bars.covered(60)
    again = [Tick(6), Tick(7), Tick(8), Tick(9)]  # these were sent again, and behind them there is a hole
    got = bars.update(batch([*again, Tick(60), Tick(61), Tick(62)]))
    assert [(bar.start, bar.partial) for bar in got] == [(5, True), (7, True), (9, True), (61, False)]
    plain = make(["tick:2"])
    plain.rejoin()
    plain.covered(60)
    assert [bar.partial for bar in plain.update(batch([Tick(0), Tick(1)]))] == [False]
