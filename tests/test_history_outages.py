"""bars(outages + fill) == bars(uninterrupted), with the parts that are used live: gap watch, bar set, coverage, merge.

Outages of any number and length, also of whole bars, at the ends, and touching; at the edges of sessions, where clocks
change, on holidays; with trades at equal stamps, in closed hours, and late.

And at every moment on the way, with some holes filled and others not: what says that it is whole, is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import attrs
from history_tools import GRID, HOUR, MINUTE, MNQ, SECOND
from hypothesis import event, given, settings
from hypothesis import strategies as st

from trio_projectx import Bar, Timeframe
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.flow.gaps import Broken, GapWatch
from trio_projectx.history.candles import Candle
from trio_projectx.history.coverage import Coverage
from trio_projectx.history.fold import fold
from trio_projectx.history.merge import Merge, merged
from trio_projectx.history.table import PastBar
from trio_projectx.history.units import Source, source_of
from trio_projectx.market import TradeBatch

SESSIONS = Sessions.cme("EQ")
ANCHOR = Anchor.session(SESSIONS)
DAY = 24 * HOUR
#: Timeframe, and how long the trades go on.
SPANS = {
    "1s": 40 * SECOND, "5s": 150 * SECOND, "1m": 30 * MINUTE, "15m": 6 * HOUR, "1h": 26 * HOUR, "4h": 60 * HOUR,
    "1d": 5 * DAY,
}  # fmt: skip
#: Trade dates about which something is unusual, and one about which nothing is.
DATES = {
    "the clocks go forward": ("2026-03-06", "2026-03-10"),
    "the clocks go back": ("2026-10-30", "2026-11-03"),
    "Good Friday": ("2026-04-02", "2026-04-06"),
    "Labor Day": ("2026-09-04", "2026-09-08"),
    "Thanksgiving": ("2026-11-25", "2026-11-30"),
    "the end of the year": ("2026-12-23", "2026-12-28"),
    "any week": ("2026-08-17", "2026-08-19"),
}
#: Instants at which sessions open or close.
TURNS = {name: [ts for _, *both in SESSIONS.segments(*dates) for ts in both] for name, dates in DATES.items()}


@attrs.frozen
class Tick:
    ts: int
    ticks: int
    volume: int
    late: int = 0
    """How much later than it should it comes."""


@attrs.frozen
class Story:
    """Trades in the order in which they would come, and which of them an outage takes."""

    label: str
    start: int
    end: int
    ticks: tuple[Tick, ...]
    outages: tuple[tuple[int, int], ...]
    """Runs of numbers of trades, in order; they may touch."""
    late_ns: int
    lateness_ns: int
    """How late the bars allow; what is later revises them."""
    sizes: tuple[int, ...]
    """How many trades come at a time."""

    @property
    def lost(self) -> set[int]:
        return {n for low, high in self.outages for n in range(low, high)}


def ticks_of(rng: random.Random, start: int, end: int, count: int, late_ns: int, closed: float) -> list[Tick]:
    """Trades, mostly in open hours, often at edges of all kinds and at equal stamps, by their arrival."""
    found: list[Tick] = []
    turns = [ts for each in TURNS.values() for ts in each if start <= ts < end]
    while len(found) < count:
        ts = rng.randrange(start, end)
        kind = rng.random()
        if kind < 0.3:
            ts = ts // SECOND * SECOND
        elif kind < 0.5:
            ts = ts // HOUR * HOUR + rng.choice((-1, 0, 1)) if end - start > HOUR else ts // MINUTE * MINUTE
        elif kind < 0.6 and turns:
            ts = rng.choice(turns) + rng.choice((-1_000_000, -1, 0, 1))
        elif kind < 0.7 and found:
            ts = rng.choice(found).ts
        if not start <= ts < end or (SESSIONS.trade_date(ts) is None and rng.random() > closed):
            closed += 0.02  # where a market is closed all the time something has to be traded all the same
            continue
        late = rng.randrange(late_ns + 1) if late_ns and rng.random() < 0.3 else 0
        found.append(Tick(ts, 80_000 + rng.randrange(-40, 40), rng.randrange(1, 9), late))
    return sorted(found, key=lambda tick: tick.ts + tick.late)


@st.composite
def stories(
    draw: st.DrawFn,
    *,
    late: bool = True,
    labels: Sequence[str] | None = None,
    dates: Sequence[str] | None = None,
) -> Story:
    label = draw(st.sampled_from(labels or list(SPANS)))
    turns = TURNS[draw(st.sampled_from(dates or list(TURNS)))]
    span = SPANS[label]
    turn = draw(st.sampled_from(turns))
    start = turn - int(span * draw(st.floats(0, 1)))
    late_ns = draw(st.sampled_from([0, 0, SECOND, 90 * SECOND])) if late else 0
    rng = random.Random(draw(st.integers(0, 1 << 30)))
    count = draw(st.integers(1, 90))
    ticks = ticks_of(rng, start, start + span, count, late_ns, draw(st.sampled_from([0.0, 0.0, 0.1])))
    cuts = draw(
        st.lists(st.tuples(st.integers(0, count), st.sampled_from([0, 1, 1, 2, 5, 20, 90])), max_size=5)
    )
    outages = tuple(sorted((low, min(count, low + size)) for low, size in cuts))
    sizes = tuple(rng.choice((1, 1, 1, 2, 5)) for _ in range(count))
    allowed = late_ns // draw(st.sampled_from([1, 1, 3]))
    return Story(label, start, start + span, tuple(ticks), outages, late_ns, allowed, sizes)


def batches(story: Story, *, whole: bool) -> Iterator[tuple[bool, list[Tick]]]:
    """Yield whether trades were lost before, and what comes together; nothing at all at the end."""
    lost = set() if whole else story.lost
    breaks = set() if whole else {low for low, _ in story.outages}
    gap, run, sizes = False, list[Tick](), iter(story.sizes)
    size = next(sizes)
    for n, tick in enumerate(story.ticks):
        if n in breaks or len(run) == size:
            if run:
                yield gap, run
                gap, run, size = False, [], next(sizes, 1)
            gap |= n in breaks
        if n not in lost:
            run.append(tick)
        else:
            gap = True
    if run:
        yield gap, run
        gap = False
    yield gap, []


def batch_of(ticks: list[Tick]) -> TradeBatch:
    columns = ([tick.ts for tick in ticks], [tick.ticks for tick in ticks], [tick.volume for tick in ticks])
    return TradeBatch(MNQ, *columns, [0] * len(ticks), ticks[-1].ts)


@attrs.define
class Lived:
    """What a stream has given, and where trades may be missing."""

    bars: dict[int, Bar] = attrs.Factory(dict)
    gaps: list[tuple[int, int]] = attrs.Factory(list)

    def take(self, closed: list[Bar]) -> None:
        for bar in closed:
            assert bar.start not in self.bars
            self.bars[bar.start] = bar


def lived(story: Story, *, whole: bool) -> Lived:
    """Live through a story as a contract's task does: gaps by `GapWatch`, bars that they touch by `rejoin`."""
    found, watch = Lived(), GapWatch(MNQ)
    bars = BarSet(
        MNQ,
        [Timeframe(story.label)],
        anchor=ANCHOR,
        grid=GRID,
        lateness_ns=story.lateness_ns,
        partial_first=True,
        late="revise",
    )
    if whole:
        bars.update(
            batch_of([Tick(story.start - 30 * DAY, 80_000, 1)])
        )  # nothing is missing before the first
    else:
        watch.begin(Broken("the subscription began", 0, story.start - 10 * DAY))
    for was_broken, ticks in batches(story, whole=whole):
        if was_broken:
            watch.begin(Broken("an outage", 0, story.start))
            bars.rejoin()
        gap = watch.end(ticks[0].ts if ticks else story.end)
        if gap is not None:
            found.gaps.append((gap.start, gap.end))
        if ticks:
            found.take(bars.update(batch_of(ticks)))
            found.bars.update((each.bar.start, each.bar) for each in bars.take_revised())
            watch.last_ts = ticks[-1].ts
    found.take(bars.flush())
    if whole:
        found.bars = {start: bar for start, bar in found.bars.items() if start > story.start - 20 * DAY}
        assert not any(bar.partial for bar in found.bars.values())
    return found


def candles_of(story: Story, source: Source) -> list[Candle]:
    """The service's bars of all trades, made without the builders: of equal stamps the one that came first is first."""
    by_start: dict[int, list[Tick]] = {}
    for tick in sorted(story.ticks, key=lambda tick: tick.ts):
        by_start.setdefault(tick.ts // source.step_ns * source.step_ns, []).append(tick)
    return [
        Candle(
            start,
            parts[0].ticks / 4,
            max(part.ticks for part in parts) / 4,
            min(part.ticks for part in parts) / 4,
            parts[-1].ticks / 4,
            sum(part.volume for part in parts),
        )
        for start, parts in sorted(by_start.items())
    ]


Said = tuple[object, ...]


def said(bar: Bar | PastBar) -> Said:
    return (
        bar.start,
        bar.end,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.trade_date,
        bar.scheduled,
    )


def touches(bar: Bar | PastBar, hole: tuple[int, int]) -> bool:
    return hole[0] < bar.end and bar.start < hole[1]


def holes_of(life: Lived, story: Story) -> list[tuple[int, int]]:
    """Where trades may be missing: a trade that may come so late may be missing so far outside of a gap."""
    return [(low - story.late_ns, high + story.late_ns + 1) for low, high in life.gaps]


def history_of(story: Story) -> list[PastBar]:
    source = source_of(Timeframe(story.label), ANCHOR, story.start, story.end)
    folded = fold(
        MNQ,
        candles_of(story, source),
        source.step_ns,
        ANCHOR.edges(story.label),
        now_ns=story.end + 40 * DAY,
        known_from=story.start - 40 * DAY,
    )
    assert not any(bar.partial for bar in folded.bars)
    return folded.bars


def check_honest(result: Merge, truth: dict[int, Said]) -> None:
    """What says that it is whole is the truth; nothing is there twice, or was never traded."""
    starts = [each.bar.start for each in result.bars]
    assert starts == sorted(set(starts))
    assert set(starts) <= truth.keys()
    for each in result.bars:
        if each.is_complete:
            assert said(each.bar) == truth[each.bar.start], each
        else:
            assert each.source == "live", each


OUTAGES = st.randoms(use_true_random=False)


@settings(max_examples=600, deadline=None)
@given(story=stories(), rng=OUTAGES)
def test_any_outages_and_their_fill_give_the_bars_without(story: Story, rng: random.Random) -> None:
    truth = {start: said(bar) for start, bar in lived(story, whole=True).bars.items()}
    life = lived(story, whole=False)
    live = sorted(life.bars.values(), key=lambda bar: bar.start)
    history = history_of(story)
    assert {bar.start: said(bar) for bar in history} == truth
    coverage = Coverage(MNQ)
    coverage.saw(story.start - 40 * DAY, story.end + 40 * DAY)
    holes = holes_of(life, story)
    for number, hole in enumerate(holes):
        coverage.lost(*hole, f"outage {number}")
    check_honest(merged(live, [], coverage), truth)
    if not story.late_ns:
        for bar in live:
            assert bar.partial is any(low < bar.end and bar.start <= high for low, high in life.gaps)
    # Fills come in any order; one fails first, and one brings its bars twice and in disorder.
    filled: list[PastBar] = []
    rng.shuffle(holes)
    for hole in holes:
        coverage.failed(*hole, "it hung")
        check_honest(merged(live, filled, coverage), truth)
        part = [bar for bar in history if touches(bar, hole)]
        filled += rng.sample(part * 2, 2 * len(part))
        coverage.filled(*hole)
        check_honest(merged(live, filled, coverage), truth)
    result = merged(live, filled, coverage)
    assert [said(each.bar) for each in result.bars] == [truth[start] for start in sorted(truth)]
    assert all(each.is_complete for each in result.bars)
    assert result.mismatches == 0
    assert coverage.holes == ()
    assert merged(live, filled * 2, coverage) == result
    event(f"{len(holes)} gaps")
    event("bars that no trade was seen of" if truth.keys() - life.bars.keys() else "all bars were begun")
    event("revised" if story.lateness_ns < story.late_ns else "late" if story.late_ns else "in order")


def test_stories_are_what_they_should_be() -> None:
    """Edges of sessions on both sides of a change of the clocks, early closes, days without any trading."""
    opens = {name: {(ts // MINUTE) % (24 * 60) for ts in turns} for name, turns in TURNS.items()}
    assert {22 * 60, 23 * 60} <= opens["the clocks go forward"]
    assert {22 * 60, 23 * 60} <= opens["the clocks go back"]
    assert 17 * 60 in opens["Labor Day"]  # 12:00 in Chicago
    assert 18 * 60 in opens["Thanksgiving"]
    assert len(TURNS["Good Friday"]) < 2 * 4
