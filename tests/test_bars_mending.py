"""No hole in the record: bars(outages + fill) == bars(uninterrupted), whatever the outages and the fill were like.

The real builders take trades with outages; the service's bars, made without our code, are folded and put in.
"""

from __future__ import annotations

import random

import attrs
import pytest
from history_tools import DAY, GRID, HOUR, MINUTE, MNQ, SECOND, T0
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import Bar, BarRevised, Timeframe, TimeframeError
from trio_projectx._timeframe import BarKind
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.bars.mending import AFTER_ALL, Known
from trio_projectx.history.candles import Candle
from trio_projectx.history.fold import fold
from trio_projectx.history.reading import known_of
from trio_projectx.history.units import Source, source_of
from trio_projectx.market import TradeBatch

ANCHORS = {
    "session": Anchor.session(Sessions.cme("EQ")),
    "utc": Anchor.utc(),
    "wall": Anchor.wall("America/Chicago"),
}
#: Timeframes, where trades begin, and about how long they go on: the third with the night of 2026-11-01, when clocks
#: go back, the fourth with Thanksgiving 2026 and its two segments.
CASES = [
    (("5s", "15s"), T0, 200 * SECOND),
    (("1m", "5m"), T0, 40 * MINUTE),
    (("1h", "4h", "1d"), 1_793_448_000 * SECOND, 4 * DAY),
    (("2h", "1d", "1w"), 1_795_564_800 * SECOND, 5 * DAY),
    (("1m", "1h", "1d"), T0, 30 * HOUR),
]


@attrs.frozen
class Tick:
    ts: int
    ticks: int
    volume: int


def trades_of(seed: int, start: int, span: int, count: int) -> list[Tick]:
    """Trades in open hours, in order; some share a stamp, so that their order matters."""
    rng = random.Random(seed)
    sessions = Sessions.cme("EQ")
    stamps = sorted(start + rng.randrange(span) // SECOND * SECOND for _ in range(count))
    return [
        Tick(ts, 80_000 + rng.randrange(-40, 40), rng.randrange(1, 9))
        for ts in stamps
        if sessions.trade_date(ts) is not None
    ]


def candles_of(ticks: list[Tick], source: Source, low: int, high: int) -> list[Candle]:
    """The service's bars of the same trades: made here without the builders."""
    found: dict[int, list[Tick]] = {}
    for tick in ticks:
        if low <= tick.ts < high:
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


def said(bar: Bar) -> tuple[object, ...]:
    numbers = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return bar.start, bar.end, *numbers, bar.trade_date, bar.scheduled, bar.synthetic


@attrs.define
class Reader:
    """A reader of a stream: what it knows of each bar is the last that it was told."""

    known: dict[tuple[str, int], Bar] = attrs.Factory(dict)

    def closed(self, bars: list[Bar]) -> None:
        for bar in bars:
            assert (bar.timeframe, bar.start) not in self.known
            self.known[bar.timeframe, bar.start] = bar

    def revised(self, bars: tuple[BarRevised, ...]) -> None:
        for each in bars:
            before = self.known.get((each.bar.timeframe, each.bar.start))
            assert each.is_new is (before is None or (before.synthetic and not each.bar.synthetic))
            assert before != each.bar
            self.known[each.bar.timeframe, each.bar.start] = each.bar


def fill(
    bars: BarSet,
    frame: Timeframe,
    sent: list[Tick],
    low: int,
    high: int,
    rng: random.Random,
    *,
    disorder: bool,
) -> tuple[list[Bar], tuple[BarRevised, ...]]:
    """What the gap fill does, with a service that knows all that was sent."""
    mender = bars.mender
    edges = mender.edges(frame)
    source = source_of(frame, bars.anchor, low, high)
    first = min(low, edges.locate(low).low)
    past = fold(
        MNQ, candles_of(sent, source, first, high), source.step_ns, edges, now_ns=high, known_from=low
    ).bars
    known = list(known_of(past, GRID))
    if disorder:
        less = [attrs.evolve(bar, volume=bar.volume - 1) for bar in known if bar.volume > 1]
        known = rng.sample(known + less, len(known) + len(less))
    closed = bars.settle(high)
    mended = mender.mend(frame, known, low, high)
    assert not mended.conflicts
    again = mender.mend(frame, known, low, high)
    assert again.revised == again.conflicts == ()
    return closed, mended.revised


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    case=st.sampled_from(CASES),
    anchor=st.sampled_from(list(ANCHORS)),
    outages=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.4)), min_size=0, max_size=4),
    disorder=st.booleans(),
    filled=st.booleans(),
    count=st.integers(1, 120),
)
def test_bars_with_outages_and_fill_are_those_without(  # noqa: C901  a story in its order
    seed: int,
    case: tuple[tuple[str, ...], int, int],
    anchor: str,
    outages: list[tuple[float, float]],
    disorder: bool,
    filled: bool,
    count: int,
) -> None:
    labels, start, span = case
    rng = random.Random(seed)
    ticks = trades_of(seed, start, span, count)
    holes = [(start + int(at * span), start + int(min(1.0, at + part) * span)) for at, part in outages]
    options = {"fill": "previous" if filled and anchor == "session" else None}
    whole, live = (
        BarSet(
            MNQ, labels, anchor=ANCHORS[anchor], grid=GRID, lateness_ns=0, partial_first=first, **options
        )
        for first in (False, True)
    )  # fmt: skip
    reader, truth = Reader(), Reader()
    wanted: list[tuple[Timeframe, int, int]] = []

    def want(low_ts: int, high_ts: int) -> None:
        wanted.extend((frame, *live.mender.touched(frame, low_ts, high_ts)) for frame in live.timeframes)

    last: int | None = None
    is_broken = False
    for number, tick in enumerate(ticks):
        batch = TradeBatch(MNQ, [tick.ts], [tick.ticks], [tick.volume], [0], tick.ts)
        truth.closed(whole.update(batch))
        if any(low <= tick.ts < high for low, high in holes):
            is_broken = last is not None
            continue
        if is_broken:
            live.rejoin()
        before, is_broken_now = last, is_broken
        reader.closed(live.update(batch))
        if before is None:
            want(tick.ts, tick.ts)
        elif is_broken_now:
            want(before, tick.ts)
        last, is_broken = tick.ts, False
        for each in list(wanted):
            # Some time after it is over, and while trades go on; bars may open and close in between.
            if each[2] <= tick.ts and rng.random() < 0.5:
                wanted.remove(each)
                closed, revised = fill(
                    live, *each[:1], ticks[: number + 1], *each[1:], rng, disorder=disorder
                )
                reader.closed(closed)
                reader.revised(revised)
    if last is None:
        return
    # The stream goes on until everything that was received is closed; an outage may not be over then.
    end = ticks[-1].ts
    final = max(live.mender.touched(frame, end, end)[1] for frame in live.timeframes)
    reader.closed(live.settle(final))
    truth.closed(whole.settle(final))
    if is_broken:
        want(last, end)
    for frame, low, high in wanted:
        _, revised = fill(live, frame, ticks, low, high, rng, disorder=disorder)
        reader.revised(revised)
    first_ts = next(tick.ts for tick in ticks if not any(low <= tick.ts < high for low, high in holes))
    for frame in live.timeframes:
        begin = live.mender.touched(frame, first_ts, first_ts)[0]
        expected = {key: said(bar) for key, bar in truth.known.items() if key[0] == frame and key[1] >= begin}
        assert {key: said(bar) for key, bar in reader.known.items() if key[0] == frame} == expected
        table = live.table(frame).to_pylist()
        assert [row["partial"] for row in table] == [False] * len(expected)
        assert [row["volume"] for row in table] == [row[6] for _, row in sorted(expected.items())]
        sources = [reader.known[key].source for key in sorted(expected)]
        assert [row["source"] for row in table] == sources
        for row in table:
            assert (row["trades"] is None) is (row["source"] != "live")


def bars_of(*volumes: int) -> BarSet:
    """A set that was joined in the first of some minutes, each with one trade (none: 0), all closed."""
    bars = BarSet(
        MNQ, ["1m"], anchor=Anchor.utc(), grid=GRID, lateness_ns=0, partial_first=True, late="revise"
    )
    for number, volume in enumerate(volumes):
        if volume:
            at = T0 + number * MINUTE + SECOND
            bars.update(TradeBatch(MNQ, [at], [80_000], [volume], [0], at))
    bars.settle(T0 + len(volumes) * MINUTE)
    return bars


def known(number: int, volume: int, high: int = 80_000, low: int = 80_000) -> Known:
    start = T0 + number * MINUTE
    return Known(start, start + MINUTE, 80_000, high, low, 80_000, volume)


M = Timeframe("1m")
#: What the service knows of the first minute, in which 5 were seen; then volume, source, partial, revised, conflicts.
ONE = [
    ([known(0, 9)], (9, "mixed", False, 1, 0)),
    ([known(0, 5)], (5, "live", False, 1, 0)),
    ([known(0, 7), known(0, 9), known(0, 8)], (9, "mixed", False, 1, 0)),
    ([known(0, 4)], (5, "live", True, 0, 1)),
    ([], (5, "live", True, 0, 1)),
    ([known(0, 9, high=79_999, low=79_990)], (5, "live", True, 0, 1)),
    ([known(0, 9, low=80_001, high=80_002)], (5, "live", True, 0, 1)),
    ([known(0, 5, high=80_004)], (5, "mixed", False, 1, 0)),
]


@pytest.mark.parametrize(("service", "expected"), ONE)
def test_which_bar_counts(service: list[Known], expected: tuple[object, ...]) -> None:
    bars = bars_of(5, 3)
    mended = bars.mender.mend(M, service, T0, T0 + MINUTE)
    (row, second) = bars.table(M).to_pylist()
    found = (row["volume"], row["source"], row["partial"], len(mended.revised), len(mended.conflicts))
    assert found == expected
    assert (second["volume"], second["source"]) == (3, "live")


def test_a_trade_that_comes_for_a_mended_bar_is_late_whatever_the_policy() -> None:
    bars = bars_of(5, 0, 3)
    bars.mender.mend(M, [known(0, 9), known(1, 2)], T0, T0 + 2 * MINUTE)
    for at in (T0 + 2 * SECOND, T0 + MINUTE):
        bars.update(TradeBatch(MNQ, [at], [80_100], [50], [0], at))
    assert [row["volume"] for row in bars.table(M).to_pylist()] == [9, 2, 3]
    assert bars.take_revised() == []
    assert bars.counts(M).late == 2
    counts = bars.counts(M)
    assert counts.received == counts.in_bars + counts.forming + counts.late


def test_what_leads_is_before_the_first_bar_and_never_double() -> None:
    bars = bars_of(5, 3)
    before = bars.table(M)
    service = [known(n, 10 + n, 80_010) for n in range(-10, 2)]
    lead = bars.mender.lead(M, service, 4)
    assert [bar.volume for bar in lead] == [6, 7, 8, 9]
    assert {bar.source for bar in lead} == {"history"}
    table = bars.table(M)
    assert [row["volume"] for row in table.to_pylist()] == [6, 7, 8, 9, 5, 3]
    assert table.slice(4).equals(before)
    empty = BarSet(MNQ, ["1m"], anchor=Anchor.utc(), grid=GRID, lateness_ns=0, partial_first=True)
    assert empty.mender.first_start(M) == AFTER_ALL
    assert [bar.volume for bar in empty.mender.lead(M, service, 2)] == [10, 11]
    empty.settle(T0 + 2 * MINUTE)
    at = T0 + MINUTE + 30 * SECOND
    assert empty.update(TradeBatch(MNQ, [at], [80_000], [1], [0], at)) == []
    assert empty.counts(M).late == 1


def test_a_trade_of_closed_hours_that_is_dropped_is_not_brought_back_by_history() -> None:
    bars = BarSet(
        MNQ, ["1h"], anchor=ANCHORS["session"], grid=GRID, lateness_ns=0, partial_first=True, outside="drop"
    )
    closed = Known(T0, T0 + HOUR, 80_000, 80_000, 80_000, 80_000, 5, None, scheduled=False)
    assert bars.mender.mend(Timeframe("1h"), [closed], T0, T0 + HOUR).revised == ()


def test_kinds_of_bars_cannot_be_mended() -> None:
    kind = BarKind("tick:100")
    bars = BarSet(MNQ, [kind, "1m"], anchor=Anchor.utc(), grid=GRID, lateness_ns=0)
    with pytest.raises(TimeframeError, match="mended"):
        bars.mender.edges(kind)


def test_a_step_that_fails_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = bars_of(5, 3)
    before = bars.table(M)
    rung = bars.mender._rungs[M]

    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    assert rung.builder.past is not None
    monkeypatch.setattr(type(rung.builder.past), "finish", broken)
    with pytest.raises(KeyboardInterrupt):
        bars.mender.mend(M, [known(0, 9)], T0, T0 + MINUTE)
    monkeypatch.undo()
    assert bars.table(M).equals(before)
    assert len(bars.mender.mend(M, [known(0, 9)], T0, T0 + MINUTE).revised) == 1
