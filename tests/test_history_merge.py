"""No hole in the record: bars(outages + fill) == bars(uninterrupted), whatever the outages and the fill were like."""

from __future__ import annotations

import random

import attrs
import pytest
from history_tools import DAY, GRID, HOUR, MINUTE, MNQ, SECOND, T0
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import Bar, Timeframe
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.history.candles import Candle
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.fold import fold
from trio_projectx.history.merge import differ, merged
from trio_projectx.history.table import PastBar
from trio_projectx.history.units import Source, source_of
from trio_projectx.market import TradeBatch

EQ = Anchor.session(Sessions.cme("EQ"))
#: Timeframe, and about how long the trades go on.
FRAMES = {"5s": 200 * SECOND, "1m": 40 * MINUTE, "4h": 30 * HOUR, "1d": 4 * DAY}


@attrs.frozen
class Tick:
    ts: int
    ticks: int
    volume: int


def trades_of(seed: int, span: int, count: int) -> list[Tick]:
    """Trades in open hours; some share a stamp, so that their order matters."""
    rng = random.Random(seed)
    sessions = Sessions.cme("EQ")
    stamps = sorted(T0 + rng.randrange(span) // SECOND * SECOND for _ in range(count))
    return [
        Tick(ts, 80_000 + rng.randrange(-40, 40), rng.randrange(1, 9))
        for ts in stamps
        if sessions.trade_date(ts) is not None
    ]


def bars_of(ticks: list[Tick], label: str) -> list[Bar]:
    """The bars that a live set makes of these trades, in one run without a break."""
    bars = BarSet(MNQ, [Timeframe(label)], anchor=EQ, grid=GRID, lateness_ns=0, bars_kept=100_000)
    closed: list[Bar] = []
    for tick in ticks:
        closed += bars.update(TradeBatch(MNQ, [tick.ts], [tick.ticks], [tick.volume], [0], tick.ts))
    return closed + list(bars.flush())


def candles_of(ticks: list[Tick], source: Source) -> list[Candle]:
    """The service's bars of the same trades: made here without the builders."""
    found: dict[int, list[Tick]] = {}
    for tick in ticks:
        found.setdefault(tick.ts // source.step_ns * source.step_ns, []).append(tick)
    return [
        Candle(
            start,
            parts[0].ticks / 4,
            max(part.ticks for part in parts) / 4,
            min(part.ticks for part in parts) / 4,
            parts[-1].ticks / 4,
            sum(part.volume for part in parts),
        )
        for start, parts in sorted(found.items())
    ]


def said(bar: Bar | PastBar) -> tuple[object, ...]:
    return bar.start, bar.end, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_date


@settings(max_examples=500, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    label=st.sampled_from(list(FRAMES)),
    outages=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.4)), min_size=0, max_size=4),
    disorder=st.booleans(),
    count=st.integers(1, 120),
)
def test_bars_with_outages_and_fill_are_those_without(
    seed: int, label: str, outages: list[tuple[float, float]], disorder: bool, count: int
) -> None:
    span = FRAMES[label]
    ticks = trades_of(seed, span, count)
    end = T0 + span + 2 * DAY
    coverage = Coverage(MNQ)
    coverage.saw(T0 - 3 * DAY, end)
    holes = [(T0 + int(at * span), T0 + int(min(1.0, at + length) * span) + SECOND) for at, length in outages]
    for hole in holes:
        coverage.lost(*hole, "an outage")
    seen = [tick for tick in ticks if not any(low <= tick.ts < high for low, high in holes)]
    live = [
        attrs.evolve(bar, partial=any(low < bar.end and bar.start < high for low, high in holes))
        for bar in bars_of(seen, label)
    ]
    # The fill: the service's bars of all intervals that a hole touches, perhaps doubled and out of order.
    source = source_of(Timeframe(label), EQ, T0, T0 + span)
    history = fold(
        MNQ, candles_of(ticks, source), source.step_ns, EQ.edges(label), now_ns=end, known_from=T0 - 3 * DAY
    )
    touched = [bar for bar in history.bars if any(low < bar.end and bar.start < high for low, high in holes)]
    for low, high in holes:
        coverage.filled(low, high)
    if disorder:
        touched = random.Random(seed).sample(touched * 2, 2 * len(touched))
    whole = bars_of(ticks, label)
    result = merged(live, touched, coverage)
    assert [said(each.bar) for each in result.bars] == [said(bar) for bar in whole]
    assert all(each.is_complete for each in result.bars)
    assert result.mismatches == 0
    by_start = {bar.start: bar for bar in live}
    for each in result.bars:
        before = by_start.get(each.bar.start)
        assert (each in result.changed) is (
            before is None or before.partial or said(before) != said(each.bar)
        )
        assert (each.source == "live") is isinstance(each.bar, Bar)
    # And once more: nothing changes, however often a fill is merged.
    assert merged(live, touched * 2, coverage) == result


def bar(volume: int = 5, *, partial: bool = False) -> Bar:
    (found,) = bars_of([Tick(T0 + SECOND, 80_000, volume)], "1m")
    return attrs.evolve(found, partial=partial)


def past(volume: int, *, partial: bool = False) -> PastBar:
    one = bar(volume)
    numbers = (one.open, one.high, one.low, one.close, one.volume)
    return PastBar(MNQ, one.start, one.end, *numbers, one.trade_date, partial=partial)


def ledger(*, hole: bool) -> Coverage:
    coverage = Coverage(MNQ)
    coverage.saw(T0, T0 + HOUR)
    if hole:
        coverage.lost(T0 + 10 * SECOND, T0 + 20 * SECOND, "an outage")
    return coverage


CASES = [
    # live, history, was there a hole, was it filled; then: volume, source, complete, changed, mismatches
    (bar(5), [past(9)], False, False, (5, "live", True, 0, 1)),
    (bar(5), [past(5)], False, False, (5, "live", True, 0, 0)),
    (bar(5, partial=True), [past(9)], True, True, (9, "mixed", True, 1, 0)),
    (bar(5, partial=True), [past(5)], True, True, (5, "mixed", True, 1, 0)),
    (bar(5, partial=True), [past(7), past(9), past(8)], True, True, (9, "mixed", True, 1, 0)),
    (bar(5, partial=True), [], True, False, (5, "live", False, 0, 0)),
    (bar(5, partial=True), [past(9, partial=True)], True, False, (5, "live", False, 0, 0)),
    (bar(5, partial=True), [past(9)], False, False, (9, "history", True, 1, 0)),
]


@pytest.mark.parametrize(("live", "history", "hole", "filled", "expected"), CASES)
def test_which_bar_counts(
    live: Bar, history: list[PastBar], hole: bool, filled: bool, expected: tuple[object, ...]
) -> None:
    coverage = ledger(hole=hole)
    if filled:
        coverage.filled(T0 + 10 * SECOND, T0 + 20 * SECOND)
    result = merged([live], history, coverage)
    (one,) = result.bars
    assert (one.bar.volume, one.source, one.is_complete, len(result.changed), result.mismatches) == expected


def test_bars_differ_in_what_both_say() -> None:
    assert not differ(bar(5), past(5))
    assert differ(bar(5), past(6))
