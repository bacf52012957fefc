"""The property of `test_history_outages`, as it happens live: bars are mended while trades go on coming.

The parts are those of a contract's task: `GapWatch` says where a gap is, `Mender.touched` what is to be read again,
`Job` when, `BarSet.settle` and `Mender.mend` put it in. After each step, and at the end, what is whole is the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import pytest
from history_tools import GRID, HOUR, MNQ, SECOND
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from test_history_outages import (
    ANCHOR,
    DAY,
    SPANS,
    TURNS,
    Said,
    Story,
    Tick,
    batch_of,
    batches,
    candles_of,
    lived,
    said,
    stories,
)

from trio_projectx import Bar, BarRevised, Timeframe
from trio_projectx.bars import BarSet
from trio_projectx.bars.mending import Known
from trio_projectx.flow.gaps import Broken, GapWatch
from trio_projectx.history.fold import fold
from trio_projectx.history.jobs import Job
from trio_projectx.history.reading import known_of
from trio_projectx.history.units import source_of

LABELS = list(SPANS)
#: Holidays on which trading stops at noon, and goes on in the evening as the next trade date, and dates without any.
HALTED = ["Labor Day", "Thanksgiving"]
ONE_SEGMENT = [name for name in TURNS if name not in HALTED]


def known_bars(story: Story, frame: str) -> tuple[Known, ...]:
    """What the service says of all trades."""
    source = source_of(Timeframe(frame), ANCHOR, story.start, story.end)
    folded = fold(
        MNQ,
        candles_of(story, source),
        source.step_ns,
        ANCHOR.edges(frame),
        now_ns=story.end + 40 * DAY,
        known_from=story.start - 40 * DAY,
    )
    return known_of(folded.bars, GRID)


@attrs.define
class Live:
    """One stream of several timeframes, and what its reader has been given."""

    story: Story
    frames: tuple[str, ...]
    rng: random.Random
    bars: BarSet = attrs.field(init=False)
    jobs: dict[str, Job] = attrs.field(init=False)
    known: dict[str, tuple[Known, ...]] = attrs.field(init=False)
    given: dict[tuple[str, int], Bar] = attrs.Factory(dict)
    fills: int = 0
    now: int = -(1 << 62)
    """The youngest stamp that anybody has seen."""

    def __attrs_post_init__(self) -> None:
        self.bars = BarSet(
            MNQ,
            [Timeframe(frame) for frame in self.frames],
            anchor=ANCHOR,
            grid=GRID,
            lateness_ns=self.story.lateness_ns,
            partial_first=True,
            late="revise",
        )
        self.jobs = {frame: Job(self.bars.mender.edges(Timeframe(frame))) for frame in self.frames}
        self.known = {frame: known_bars(self.story, frame) for frame in self.frames}

    def closed(self, found: list[Bar]) -> None:
        for bar in found:
            assert (bar.timeframe, bar.start) not in self.given, "given twice"
            self.given[bar.timeframe, bar.start] = bar
        self.revised(self.bars.take_revised())

    def revised(self, found: list[BarRevised]) -> None:
        for each in found:
            key = each.bar.timeframe, each.bar.start
            assert each.is_new is (key not in self.given)
            self.given[key] = each.bar

    def want(self, start: int, end: int) -> None:
        """As `BarOutlet.tell_gap` does it: what is missing may be out of order by so much, as what came may."""
        late = self.story.lateness_ns
        for frame in self.frames:
            self.jobs[frame].wanted.add(*self.bars.mender.touched(Timeframe(frame), start - late, end + late))

    def fill(self, *, last: bool = False) -> None:
        """Do what is due, or some of it; perhaps with bars doubled and in any order."""
        for frame, job in self.jobs.items():
            while (last or self.rng.random() < 0.5) and (span := job.take(self.now)) is not None:
                known = [bar for bar in self.known[frame] if span[0] <= bar.start and bar.end <= span[1]]
                known = self.rng.sample(known * 2, 2 * len(known))
                self.closed(self.bars.settle(span[1]))
                mended = self.bars.mender.mend(Timeframe(frame), known, *span)
                assert mended.conflicts == ()
                self.revised(list(mended.revised))
                self.fills += 1

    def run(self, check: Callable[[Live], None]) -> None:
        story, watch = self.story, GapWatch(MNQ)
        watch.begin(Broken("the subscription began", 0, story.start - 10 * DAY))
        for was_broken, ticks in batches(story, whole=False):
            if was_broken:
                watch.begin(Broken("an outage", 0, story.start))
                self.bars.rejoin()
            gap = watch.end(ticks[0].ts if ticks else story.end)
            if gap is not None:
                self.want(gap.start, gap.end)
            if ticks:
                self.closed(self.bars.update(batch_of(ticks)))
                watch.last_ts = ticks[-1].ts
                self.now = max(self.now, *(tick.ts for tick in ticks))
            self.fill()
            check(self)
        self.now = story.end + 30 * DAY
        self.closed(self.bars.advance(self.now))
        self.fill(last=True)
        check(self)


@attrs.frozen
class Check:
    """Holds what was given, and the tables, against the truth."""

    truth: dict[str, dict[int, Said]]

    def __call__(self, live: Live) -> None:
        for (frame, start), bar in live.given.items():
            assert bar.partial or said(bar) == self.truth[frame][start], bar
            assert bar.source != "history" or bar.trades is None

    def at_the_end(self, live: Live) -> None:
        for frame in live.frames:
            mine = {start: bar for (each, start), bar in live.given.items() if each == frame}
            assert not any(bar.partial for bar in mine.values())
            assert {start: said(bar) for start, bar in mine.items()} == self.truth[frame]
            table = live.bars.table(frame)
            starts = table["start"].cast("int64").to_pylist()
            assert starts == [
                bar.start for bar in sorted(mine.values(), key=lambda bar: (bar.end, bar.start))
            ]
            for name in (
                "open",
                "high",
                "low",
                "close",
                "volume",
                "trades",
                "partial",
                "source",
                "trade_date",
            ):
                assert table[name].to_pylist() == [getattr(mine[start], name) for start in starts], name


def lives(
    story: Story, frames: tuple[str, ...], rng: random.Random, *, is_honest_meanwhile: bool = True
) -> Live:
    truth = {
        frame: {
            start: said(bar)
            for start, bar in lived(attrs.evolve(story, label=frame), whole=True).bars.items()
        }
        for frame in frames
    }
    check, live = Check(truth), Live(story, frames, rng)
    live.run(check if is_honest_meanwhile else lambda _: None)
    check.at_the_end(live)
    return live


def frames_of(story: Story, rng: random.Random, most: str) -> tuple[str, ...]:
    """The story's timeframe, and perhaps coarser ones, in any order."""
    coarser = LABELS[LABELS.index(story.label) + 1 : LABELS.index(most) + 1]
    frames = [story.label, *rng.sample(coarser, min(len(coarser), rng.choice((0, 1, 2))))]
    rng.shuffle(frames)
    return tuple(frames)


@settings(max_examples=150, deadline=None)
@given(
    case=st.one_of(
        stories(late=False, labels=LABELS[:-1]).map(lambda story: (story, "4h")),
        stories(late=False, dates=ONE_SEGMENT).map(lambda story: (story, "1d")),
    ),
    rng=st.randoms(use_true_random=False),
)
def test_bars_that_are_mended_while_trades_come_are_those_without_an_outage(
    case: tuple[Story, str], rng: random.Random
) -> None:
    story, most = case
    live = lives(story, frames_of(story, rng, most), rng)
    event(f"{min(live.fills, 5)} fills or more")
    event("mended bars" if any(bar.source != "live" for bar in live.given.values()) else "live bars alone")


def test_days_that_are_halted_at_noon() -> None:
    """A trade date of two segments has hours between them that are no part of its bar, and lie in its interval."""

    @settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
    @given(stories(late=False, labels=["1d"], dates=HALTED), st.randoms(use_true_random=False))
    def holds(story: Story, rng: random.Random) -> None:
        lives(story, ("1d",), rng)

    holds()


OPEN = TURNS["any week"][0]


def story_of(
    label: str, *ticks: int, lost: tuple[int, int] = (0, 0), late_ns: int = 0, lateness_ns: int = 0
) -> Story:
    """Trades, as nanoseconds in the order in which they come, one at a time."""
    made = tuple(Tick(ts, 80_000 + number, 1 + number) for number, ts in enumerate(ticks))
    outages = () if lost == (0, 0) else (lost,)
    sizes = (1,) * len(ticks)
    return Story(label, min(ticks), max(ticks) + SECOND, made, outages, late_ns, lateness_ns, sizes)


def at(*seconds: float) -> list[int]:
    return [OPEN + round(each * SECOND) for each in seconds]


#: 12:00 in Chicago on Thanksgiving, when trading stops; a trade in the pause, and two of the evening and the next noon.
NOON = 1_795_716_000 * SECOND
PAUSE = story_of("1d", NOON, NOON + 5 * HOUR + 1, NOON + 47 * HOUR - 1)
#: The bar of 5 is over, and waits for late trades, when what comes behind 6.01 is lost.
WAITING = story_of("1s", *at(1, 5.9, 6.01, 6.5, 9, 12, 20), lost=(3, 4), lateness_ns=3 * SECOND)
#: 10 came, 12.2 was lost, 9 comes late, then 12.7: the gap is from 10 to 10.
LATE = story_of(
    "1s", *at(1, 10, 12.2, 9, 12.7, 13, 20), lost=(2, 3), late_ns=3 * SECOND, lateness_ns=3 * SECOND
)


@pytest.mark.parametrize("story", [PAUSE, WAITING], ids=["a pause at noon", "bars that wait for late trades"])
def test_bars_in_doubt_that_no_gap_touches_are_read_again(story: Story) -> None:
    for number in range(20):
        lives(story, (story.label,), random.Random(number))


@settings(max_examples=100, deadline=None)
@given(stories(late=False, labels=["1s", "5s", "1m"]), st.randoms(use_true_random=False))
def test_bars_that_wait_for_late_trades_when_a_gap_begins(story: Story, rng: random.Random) -> None:
    lives(attrs.evolve(story, lateness_ns=3 * SECOND), (story.label,), rng)


@settings(max_examples=100, deadline=None)
@given(stories(labels=["1s", "1m", "15m"]), st.randoms(use_true_random=False))
def test_trades_that_are_lost_and_would_have_been_late_are_there_in_the_end(
    story: Story, rng: random.Random
) -> None:
    lives(attrs.evolve(story, lateness_ns=story.late_ns), (story.label,), rng, is_honest_meanwhile=False)


def test_a_bar_of_a_trade_that_is_lost_and_would_have_been_late_says_so() -> None:
    """10 came, 12 was lost, 9 comes late: the bar of 12 is `partial` until it is read again."""
    for number in range(20):
        lives(LATE, ("1s",), random.Random(number))
