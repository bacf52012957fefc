"""All policies at once, over random sessions: the cascade is each timeframe alone, and both are the sorted trades."""

from __future__ import annotations

import datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import GRID, S, Tick, batch
from test_bars_time import CASCADES, EXAMPLES, arrivals

from trio_projectx import Bar
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.bars.policies import Fill, Late
from trio_projectx.bars.session_edges import Outside

Scene = tuple[Sessions, list[tuple[datetime.date, int, int]], list[Tick]]
LONGEST = 100_000  # bars that one gap is filled with at most


def fits(labels: list[str], ticks: list[Tick]) -> bool:
    """Whether filling the gaps between these trades is a matter of hundreds of bars."""
    span = max(t.ts for t in ticks) - min(t.ts for t in ticks)
    return all(span // (Anchor.utc().edges(label).interval(0)[1]) < 2000 for label in labels)


@settings(max_examples=EXAMPLES)
@given(
    arrivals(),
    st.sampled_from([["5m", "1h", "1d", "1w"], ["7h", "1d", "33m"], *CASCADES[:1]]),
    st.sampled_from(["own", "attach", "drop"]),
    st.sampled_from(["count", "revise"]),
    st.sampled_from([None, "previous"]),
    st.sampled_from([0, S, 400 * S]),
    st.integers(1, 20),
    st.lists(st.sampled_from(["go", "go", "clock", "rejoin", "part"]), min_size=1, max_size=6),
)
def test_the_cascade_is_each_alone_under_all_policies(
    scene: Scene,
    labels: list[str],
    outside: Outside,
    late: Late,
    fill: Fill,
    lateness: int,
    size: int,
    events: list[str],
) -> None:
    sessions, _, ticks = scene
    if fill is not None and not fits(labels, ticks):
        fill = None

    def make(frames: list[str]) -> BarSet:
        return BarSet(
            "C",
            frames,
            anchor=Anchor.session(sessions),
            grid=GRID,
            lateness_ns=lateness,
            outside=outside,
            late=late,
            fill=fill,
            partial_first=True,
        )

    together, alone = make(labels), [make([label]) for label in labels]
    pieces = [ticks[at : at + size] for at in range(0, len(ticks), size)]
    for number, piece in enumerate([*pieces, None]):
        event = events[number % len(events)]
        both: list[list[Bar]] = []
        to = max((each.due_ns or 0 for each in (together, *alone)), default=0)
        for each in (together, *alone):
            got: list[Bar] = []
            if event == "rejoin":
                each.rejoin()
            elif event == "clock" and to:
                got += each.advance(to)
            got += each.flush() if piece is None else each.update(batch(piece))
            both.append(got)
        if event == "part":
            together._ladder._part(0, 0)
        key = lambda bar: (bar.timeframe, bar.start)  # noqa: E731
        assert sorted(both[0], key=key) == sorted((bar for got in both[1:] for bar in got), key=key)
        for label, each in zip(labels, alone, strict=True):
            assert together.counts(label) == each.counts(label)
            assert together.forming(label) == each.forming(label)
            assert together.table(label).equals(each.table(label))
        one = sorted(together.take_revised(), key=lambda e: key(e.bar))
        assert one == sorted((e for each in alone for e in each.take_revised()), key=lambda e: key(e.bar))
    for label in labels:
        check_table(together.table(label), sessions, label, fill)
    assert together.take_told() == []


def check_table(table: pa.Table, sessions: Sessions, label: str, fill: Fill) -> None:
    """Bars in order, synthetic ones in scheduled hours only, at the close before them."""
    table.validate(full=True)
    rows = table.to_pylist()
    ends = table["end"].cast(pa.int64()).to_pylist()
    starts = table["start"].cast(pa.int64()).to_pylist()
    assert ends == sorted(ends)
    assert len(set(starts)) == len(starts)
    for at, row in enumerate(rows):
        if row["synthetic"]:
            assert fill == "previous"
            assert row["scheduled"]
            assert at
            assert row["close"] == row["open"] == row["high"] == row["low"] == rows[at - 1]["close"]
            assert Anchor.session(sessions).edges(label).interval(starts[at]) == (starts[at], ends[at])


@settings(max_examples=EXAMPLES)
@given(
    arrivals(),
    st.sampled_from(CASCADES),
    st.sampled_from(["own", "attach", "drop"]),
    st.sampled_from([0, S, 400 * S]),
    st.integers(1, 20),
)
def test_revised_bars_are_in_the_end_those_of_the_sorted_trades(
    scene: Scene, labels: list[str], outside: Outside, lateness: int, size: int
) -> None:
    sessions, _, ticks = scene

    def make(lateness: int, late: Late) -> BarSet:
        return BarSet(
            "C",
            labels,
            anchor=Anchor.session(sessions),
            grid=GRID,
            lateness_ns=lateness,
            outside=outside,
            late=late,
        )

    revised, right = make(lateness, "revise"), make(10**8 * S, "count")
    right.update(batch(ticks))
    right.flush()
    for at in range(0, len(ticks), size):
        revised.update(batch(ticks[at : at + size]))
    revised.flush()
    for label in labels:
        assert revised.table(label).sort_by("start").equals(right.table(label).sort_by("start"))
        assert revised.counts(label).late == 0


def test_a_bar_that_nobody_traded_in_follows_the_one_before_it_also_before_a_bar_outside_of_the_sessions() -> (
    None
):
    """Found by the property above: its price was that of the bar after it, where both closed in one update."""
    first, second = datetime.date(1970, 2, 7), datetime.date(1970, 2, 8)
    sessions = Sessions.from_segments(
        [*((first, at * S, (at + 1) * S) for at in range(4)), (second, 8 * S, 9 * S)]
    )
    bars = BarSet(
        "C",
        ["5m"],
        anchor=Anchor.session(sessions),
        grid=GRID,
        lateness_ns=0,
        fill="previous",
        partial_first=False,
    )
    bars.update(batch([Tick(0, 2, 1, 0)]))
    bars.update(
        batch([Tick(4 * S, 1, 1, 0), Tick(8 * S, 3, 1, 0)])
    )  # the first of them outside of all sessions
    bars.flush()
    shown = bars.table("5m").select(["close", "synthetic"]).to_pylist()
    assert [(row["close"], row["synthetic"]) for row in shown] == [
        (0.5, False),
        *[(0.5, True)] * 3,
        (0.25, False),
        (0.75, False),
    ]
