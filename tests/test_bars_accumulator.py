from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st
from test_bars_reference import Tick

from trio_projectx.bars.accumulator import OpenBar

FIELDS = [name for name in OpenBar.__slots__ if not name.startswith("__")]
# Few stamps and few prices, so that ties are common; some lists without a trade of unknown side, some with.
ticks = st.builds(Tick, st.integers(0, 7), st.integers(-3, 3), st.integers(1, 5), st.sampled_from([0, 1]))
unknown = st.builds(
    Tick, st.integers(0, 7), st.integers(-3, 3), st.integers(1, 5), st.sampled_from([0, 1, -1])
)
trades = st.one_of(st.lists(ticks, min_size=1, max_size=30), st.lists(unknown, min_size=1, max_size=30))


def state(bar: OpenBar) -> dict[str, object]:
    return {name: getattr(bar, name) for name in FIELDS}


def one_by_one(rows: list[Tick]) -> OpenBar:
    bar = OpenBar(0, 100, rows[0].ticks)
    for row in rows:
        bar.add(row.ts, row.ticks, row.volume, row.side)
    return bar


def add_run(bar: OpenBar, rows: list[Tick]) -> None:
    ts = [row.ts for row in rows]
    bar.add_run(
        ts, [r.ticks for r in rows], [r.volume for r in rows], [r.side for r in rows], min(ts), max(ts)
    )


@given(trades)
def test_adding_gives_what_sorting_gives(rows: list[Tick]) -> None:
    ordered = [row for _, _, row in sorted((row.ts, place, row) for place, row in enumerate(rows))]
    assert state(one_by_one(rows)) == {
        "start": 0,
        "end": 100,
        "trade_date": None,
        "is_scheduled": True,
        "is_partial": None,
        "source": "live",
        "late_trades": 0,
        "open": ordered[0].ticks,
        "close": ordered[-1].ticks,
        "high": max(row.ticks for row in rows),
        "low": min(row.ticks for row in rows),
        "volume": sum(row.volume for row in rows),
        "trades": len(rows),
        "buy_volume": sum(row.volume for row in rows if row.side == 0),
        "sell_volume": sum(row.volume for row in rows if row.side == 1),
        "notional": sum(row.volume * row.ticks for row in rows),
        "first_ts": ordered[0].ts,
        "last_ts": ordered[-1].ts,
    }


@given(trades, st.integers(0, 30))
def test_a_run_is_its_trades(rows: list[Tick], at: int) -> None:
    bar = OpenBar(0, 100, rows[0].ticks)
    for part in (rows[:at], rows[at:]):
        if part:
            add_run(bar, part)
    assert state(bar) == state(one_by_one(rows))


@given(trades)
def test_ties_between_what_is_there_and_a_run_are_by_arrival(rows: list[Tick]) -> None:
    tied = [Tick(5, row.ticks, row.volume, row.side) for row in rows]
    for at in range(1, len(tied)):
        run, fold = one_by_one(tied[:at]), one_by_one(tied[:at])
        add_run(run, tied[at:])
        fold.fold(one_by_one(tied[at:]))
        assert state(run) == state(fold) == state(one_by_one(tied))
        assert (run.open, run.close) == (tied[0].ticks, tied[-1].ticks)


@given(trades, st.integers(1, 30))
def test_folding_bars_is_adding_their_trades(rows: list[Tick], at: int) -> None:
    whole = OpenBar(0, 100, rows[0].ticks)
    for part in (rows[:at], rows[at:]):
        if part:
            finer = one_by_one(part)
            before = copy.copy(finer)
            whole.fold(finer)
            assert state(finer) == state(before)
    assert state(whole) == state(one_by_one(rows))


def test_sums_do_not_wrap() -> None:
    bar = OpenBar(0, 100, 1)
    add_run(bar, [Tick(1, 1 << 60, 1 << 62), Tick(2, 1 << 60, 1 << 62)])
    assert (bar.volume, bar.notional) == (1 << 63, 1 << 123)
