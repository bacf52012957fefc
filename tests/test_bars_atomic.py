"""An update is all or nothing over all timeframes, and one that fails costs the others nothing."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from itertools import pairwise

import attrs
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import GRID, S, Tick, arrivals, batch, cut, cuts, latenesses

from trio_projectx import Bar, BuilderFailed, BuilderRecovered
from trio_projectx.bars import Anchor, BarCounts, BarSet, Sessions
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.columns import BarColumns, Row
from trio_projectx.bars.edges import Slot
from trio_projectx.bars.gate import Gate
from trio_projectx.bars.kinds import KindBuilder
from trio_projectx.bars.policies import Fill, Late
from trio_projectx.bars.rungs import TimeRung
from trio_projectx.bars.session_edges import Outside
from trio_projectx.bars.templates import Around
from trio_projectx.market.batch import TradeBatch

FRAMES = ["1s", "5s", "15s", "1m", "7s", "tick:5"]
UTC = Anchor.utc()
ROOTS = ["3s", "7s", "21s", "5s", "tick:5"]  # of 3s, 5s and 7s none is made of another
log = pytest.mark.usefixtures("quiet_log")


@pytest.fixture
def quiet_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "trio_projectx")


def make(
    frames: list[str], lateness: int = 0, late: Late = "count", *, partial_first: bool = False
) -> BarSet:
    return BarSet(
        "C",
        frames,
        anchor=Anchor.utc(),
        grid=GRID,
        lateness_ns=lateness,
        late=late,
        partial_first=partial_first,
    )


class Fault:
    """Makes one timeframe of a bar set fail whenever it is asked for an interval while ``is_on``."""

    def __init__(self, bars: BarSet, frame: str) -> None:
        self.is_on = False
        self.left = -1  # how often it still fails; -1: always
        self.calls = 0
        rung = bars._rung(frame)
        assert isinstance(rung, TimeRung)
        self._locate: Callable[[int], Slot] = rung.builder._locate
        rung.builder._locate = self.locate

    def locate(self, ts: int) -> Slot:
        self.strike()
        return self._locate(ts)

    def strike(self) -> None:
        self.calls += 1
        if self.is_on and self.left:
            self.left -= 1
            raise ArithmeticError("no such bar")


def everything(bars: BarSet, frames: list[str]) -> list[tuple[BarCounts, Bar | None, pa.Table]]:
    return [(bars.counts(each), bars.forming(each), bars.table(each)) for each in frames]


bad_ones = st.sampled_from([(frames, bad) for frames in (FRAMES, ROOTS) for bad in frames if ":" not in bad])


@log
@settings(max_examples=80)
@given(
    trades=arrivals(),
    lateness=latenesses,
    sizes=cuts,
    choice=bad_ones,
    when=st.lists(st.booleans(), min_size=1, max_size=8),
    late=st.sampled_from(["count", "revise"]),
)
def test_who_fails_costs_the_others_nothing_and_gives_no_wrong_bar_for_a_whole_one(
    trades: list[Tick],
    lateness: int,
    sizes: list[int],
    choice: tuple[list[str], str],
    when: list[bool],
    late: Late,
) -> None:
    frames, bad = choice
    bars, right = make(frames, lateness, late), make(frames, lateness, late)
    fault = Fault(bars, bad)
    others = [frame for frame in frames if frame != bad]
    truth: dict[int, Bar] = {}
    given_out: dict[int, Bar] = {}
    failed = 0
    for number, piece in enumerate([*cut(trades, sizes), None]):
        fault.is_on = when[number % len(when)] and piece is not None
        got, wanted = (each.flush() if piece is None else each.update(batch(piece)) for each in (bars, right))
        assert [bar for bar in got if bar.timeframe != bad] == [bar for bar in wanted if bar.timeframe != bad]
        assert everything(bars, others) == everything(right, others)
        for found, into in ((got, given_out), (wanted, truth)):
            into.update({bar.start: bar for bar in found if bar.timeframe == bad})
        for each, into in ((bars, given_out), (right, truth)):
            into.update({e.bar.start: e.bar for e in each.take_revised() if e.bar.timeframe == bad})
        counts = bars.counts(bad)
        assert counts.received == counts.in_bars + counts.forming + counts.late + counts.failed
        failed += sum(told.trades for told in bars.take_told())
        standing = bars._rung(
            bad
        ).standing  # what it goes without while its breaker is open is told at the next try
        assert failed + standing._missed[0] == counts.failed
        assert standing._missed[0] == 0 or standing.breaker.state == "open"
    for start, bar in given_out.items():
        assert bar.partial or bar == truth[start]
    missing = sum(bar.trades for bar in truth.values()) - sum(bar.trades for bar in given_out.values())
    counts = bars.counts(bad)
    assert missing + right.counts(bad).late - counts.late == counts.failed + counts.forming
    bars.table(bad).validate(full=True)


# A whole bar of which a late trade could not be taken is whole no more


def revising(*frames: str, anchor: Anchor = UTC, outside: Outside = "own", fill: Fill = None) -> BarSet:
    return BarSet(
        "C", frames, anchor=anchor, grid=GRID, lateness_ns=0, late="revise", outside=outside, fill=fill
    )


def told_of(bars: BarSet) -> list[tuple[str, int, bool, bool]]:
    return [(e.bar.timeframe, e.bar.start // S, e.bar.partial, e.is_new) for e in bars.take_revised()]


@log
@pytest.mark.parametrize("is_open", [False, True])
def test_a_late_trade_that_could_not_be_taken_takes_its_bar_for_partial(is_open: bool) -> None:
    bars = revising("1s", "2s")
    fault = Fault(bars, "1s")
    bars.update(batch([Tick(0), Tick(S), Tick(2 * S), Tick(3 * S), Tick(4 * S)]))
    assert not any(bars.table("1s")["partial"].to_pylist())
    fault.is_on = True
    if is_open:  # a breaker that is open does not even try
        for _ in range(3):
            bars.update(batch([Tick(4 * S)]))
        assert bars.take_told()[-1].state == "open"  # type: ignore[union-attr]
    bars.update(batch([Tick(S + 1), Tick(3 * S + 1), Tick(3 * S + 2)]))
    assert [each for each in told_of(bars) if each[0] == "1s"] == [
        ("1s", 1, True, False),
        ("1s", 3, True, False),
    ]
    assert bars.table("1s")["partial"].to_pylist() == [False, True, False, True]
    assert bars.table("2s")["trades"].to_pylist() == [3, 4]
    fault.is_on = False
    if not is_open:
        bars.update(batch([Tick(S + 2)]))
        assert told_of(bars) == [("1s", 1, True, False), ("2s", 0, False, False)]
        assert bars.table("1s")["trades"].to_pylist() == [1, 2, 1, 1]


@log
def test_where_late_trades_are_only_counted_a_bar_stays_whole() -> None:
    bars = make(["1s"])
    fault = Fault(bars, "1s")
    bars.update(batch([Tick(0), Tick(S)]))
    fault.is_on = True
    bars.update(batch([Tick(1)]))
    assert bars.counts("1s").failed == 1
    assert bars.take_revised() == []
    assert bars.table("1s")["partial"].to_pylist() == [False]


CME = Sessions.cme("EQ")
OPENS = int(datetime.datetime(2025, 11, 12, 23, tzinfo=datetime.UTC).timestamp()) * S


@log
def test_a_late_trade_of_closed_hours_belongs_to_the_bar_that_it_would_have_been_attached_to() -> None:
    bars = revising("1m", anchor=Anchor.session(CME), outside="attach")
    fault = Fault(bars, "1m")
    bars.update(batch([Tick(OPENS), Tick(OPENS + 60 * S)]))
    fault.is_on = True
    bars.update(batch([Tick(OPENS - 600 * S)]))
    assert told_of(bars) == [("1m", OPENS // S, True, False)]


@log
def test_synthetic_bars_in_its_place_and_behind_it_are_partial_too() -> None:
    bars = revising("1m", anchor=Anchor.session(CME), fill="previous")
    fault = Fault(bars, "1m")
    bars.update(batch([Tick(OPENS), Tick(OPENS + 240 * S), Tick(OPENS + 420 * S), Tick(OPENS + 480 * S)]))
    at = [OPENS // S + 60 * n for n in range(9)]
    assert bars.table("1m")["synthetic"].to_pylist() == [False, True, True, True, False, True, True, False]
    fault.is_on = True
    bars.update(batch([Tick(OPENS + 125 * S)]))  # in the place of the second of three
    assert told_of(bars) == [("1m", at[n], True, False) for n in (2, 3)]
    bars.update(batch([Tick(OPENS + 245 * S)]))  # whose close is that of two
    assert told_of(bars) == [("1m", at[n], True, False) for n in (4, 5, 6)]
    bars.update(batch([Tick(OPENS + 125 * S)]))
    assert told_of(bars) == []
    assert bars.table("1m")["partial"].to_pylist() == [False, False, True, True, True, True, True, False]


@log
def test_trades_that_reach_no_builder_take_bars_for_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = revising("1m", "5m", anchor=Anchor.session(CME))
    bars.update(batch([Tick(OPENS), Tick(OPENS + 60 * S), Tick(OPENS + 300 * S)]))

    def fails(*_: object) -> TradeBatch:
        raise ArithmeticError("no such session")

    monkeypatch.setattr(Gate, "admit", fails)
    bars.update(batch([Tick(OPENS + 1)]))
    assert told_of(bars) == [("1m", OPENS // S, True, False), ("5m", OPENS // S, True, False)]


@log
def test_where_sessions_themselves_fail_the_bar_of_the_stamp_is_partial() -> None:
    bars = revising("1s")
    rung = bars._rung("1s")
    bars.update(batch([Tick(0), Tick(S)]))

    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def locate(self, _: int) -> Slot:
            raise self.error

    assert isinstance(rung, TimeRung)
    broken = attrs.evolve(rung, edges=Broken(ArithmeticError("no such bar")))  # type: ignore[arg-type]
    assert [row.bar.partial for row in broken.spoil([1], bars._freezer, bars._journal)] == [True]
    starved = attrs.evolve(rung, edges=Broken(MemoryError()))  # type: ignore[arg-type]
    with pytest.raises(MemoryError):  # it is nobody's to hide
        starved.spoil([1], bars._freezer, bars._journal)


def test_a_bar_that_cannot_even_be_marked_costs_nobody_anything(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = revising("1s", "5s")
    fault = Fault(bars, "1s")
    bars.update(batch([Tick(0), Tick(S)]))
    fault.is_on = True

    def fails(*_: object) -> None:
        raise ArithmeticError("not even that")

    monkeypatch.setattr(BarColumns, "revise", fails)
    bars.update(batch([Tick(1)]))
    assert "C: bars that are not whole could not be marked" in caplog.text
    assert bars.take_revised() == []
    assert [told.trades for told in bars.take_told()] == [1]
    assert bars.forming("5s").trades == 3  # type: ignore[union-attr]


@log
@settings(max_examples=60)
@given(
    trades=arrivals(),
    lateness=latenesses,
    sizes=cuts,
    choice=bad_ones,
    at=st.integers(0, 200),
    late=st.sampled_from(["count", "revise"]),
)
def test_what_fails_once_changes_nothing_at_all(
    trades: list[Tick], lateness: int, sizes: list[int], choice: tuple[list[str], str], at: int, late: Late
) -> None:
    """Wherever in an update it strikes: the update is taken back and done once more, and no trace is left."""
    frames, bad = choice
    bars, right = make(frames, lateness, late), make(frames, lateness, late)
    fault = Fault(bars, bad)
    fault.is_on, fault.left = True, 0
    for piece in cut(trades, sizes):
        if fault.calls <= at:
            fault.left = 1 if fault.calls + len(piece) > at else 0
        got = bars.update(batch(piece))
        fault.left = 0
        assert got == right.update(batch(piece))
        assert bars.take_revised() == right.take_revised()
        assert everything(bars, frames) == everything(right, frames)
    assert bars.flush() == right.flush()
    assert bars.take_told() == []


@log
def test_a_failure_is_told_and_the_breaker_asks_again_later_and_later() -> None:
    bars = make(["1s", "5s"], partial_first=True)
    fault = Fault(bars, "5s")
    bars.update(batch([Tick(0)]))
    fault.is_on = True
    seen: list[tuple[int, str, int, int, int]] = []
    for second in range(1, 36):
        if second == 20:
            fault.is_on = False
        before = fault.calls
        bars.update(batch([Tick(second * S), Tick(second * S + 1)]))
        for told in bars.take_told():
            state = told.state if isinstance(told, BuilderFailed) else "recovered"
            seen.append((second, state, told.trades, told.first_ts // S, fault.calls - before))
            assert told.timeframe == "5s"
    assert seen == [
        (1, "closed", 1, 0, 4),  # it lay in a bar of 1s that could not be handed on
        (1, "closed", 2, 1, 4),
        (2, "open", 2, 2, 2),
        (3, "open", 2, 3, 2),
        (5, "open", 4, 4, 2),
        (9, "open", 8, 6, 2),
        (17, "open", 16, 10, 2),
        (33, "recovered", 30, 18, 1),
    ]


@log
def test_a_builder_that_recovers_gives_partial_bars_first_and_whole_ones_then() -> None:
    bars = make(["1s", "5s"])
    fault = Fault(bars, "5s")
    bars.update(batch([Tick(S // 2), Tick(S), Tick(2 * S)]))
    fault.is_on = True
    got: list[Bar] = []
    for second in range(5, 30):
        fault.is_on = second < 12
        got += bars.update(batch([Tick(second * S)]))
    five = [(bar.start // S, bar.trades, bar.partial) for bar in got if bar.timeframe == "5s"]
    assert five == [(0, 3, False), (10, 1, True), (15, 5, False), (20, 5, False)]
    assert [bar.start // S for bar in got if bar.timeframe == "1s"] == [2, *range(5, 29)]
    assert not any(bar.partial for bar in got if bar.timeframe == "1s")
    told = bars.take_told()
    assert isinstance(told[-1], BuilderRecovered)
    assert sum(each.trades for each in told) == bars.counts("5s").failed == 9
    assert told[-1].trades > 0
    assert [each.at for each in told] == [0] * len(told)


@log
def test_what_fails_when_the_clock_closes_a_bar_is_told_and_ends() -> None:
    bars = make(["1s", "5s"])
    bars.update(batch([Tick(0), Tick(3)]))

    class Broken(BarColumns):
        __slots__ = ()

        def append(self, row: Row) -> None:
            raise RuntimeError

    bars._rungs["5s"].columns.__class__ = Broken  # type: ignore[index]
    now, closed = 5 * S, []
    for _ in range(10):
        due = bars.due_ns
        if due is None:
            break
        closed += bars.advance(max(due, now))
        now += 1
    assert [bar.timeframe for bar in closed] == ["1s"]
    assert bars.due_ns is None
    told = bars.take_told()
    assert [(each.trades, each.state) for each in told if isinstance(each, BuilderFailed)] == [
        (0, "closed"), (0, "closed"), (0, "open")
    ]  # fmt: skip
    assert bars.counts("5s").forming == 2


@log
def test_readers_never_see_a_step_that_is_taken_back() -> None:
    bars = make(["1s", "1m"])
    bars.update(batch([Tick(0), Tick(S)]))
    rows: list[int] = []

    class Failing(BarColumns):
        __slots__ = ()

        def append(self, row: Row) -> None:
            super().append(row)
            rows.append(bars.table("1s").num_rows)
            if len(rows) in (2, 4):
                raise OSError("no room")

    bars._rungs["1s"].columns.__class__ = Failing  # type: ignore[index]
    closed = bars.update(batch([Tick(k * S) for k in range(2, 6)]))
    assert rows == [1] * len(rows)
    assert (len(closed), bars.table("1s").num_rows) == (4, 5)
    starts = bars.table("1s")["start"].cast(pa.int64()).to_pylist()
    assert all(one < other for one, other in pairwise(starts))


@log
def test_kinds_fail_and_recover_too() -> None:
    bars, right = make(["1s", "tick:3", "volume:2"]), make(["1s", "volume:2"])
    builder = bars._kinds["tick:3"].builder  # type: ignore[index]

    class Failing(KindBuilder):
        __slots__ = ()

        def update(self, batch: TradeBatch) -> list[OpenBar]:
            closed = super().update(batch)
            if is_on:
                raise ArithmeticError
            return closed

    builder.__class__ = Failing
    for number in range(20):
        is_on = 3 <= number < 6
        rows = batch([Tick(number * S, volume=3), Tick(number * S + 1)])
        got = [bar for bar in bars.update(rows) if bar.timeframe != "tick:3"]
        assert got == right.update(rows)
        counts = bars.counts("tick:3")
        assert counts.received == counts.in_bars + counts.forming + counts.failed
    assert bars.counts("tick:3").failed >= 6
    assert bars.table("tick:3")["trades"].to_pylist()[:2] == [3, 3]
    partial = bars.table("tick:3")["partial"].to_pylist()
    assert partial[2]
    assert sum(partial) == 1


@log
def test_sessions_that_fail_cost_a_batch_that_is_counted_and_told() -> None:
    sessions = Sessions.from_segments([("2026-11-17", 0, 100 * S), ("2026-11-18", 200 * S, 300 * S)])
    bars = BarSet("C", ["1s", "1m"], anchor=Anchor.session(sessions), grid=GRID, lateness_ns=0)
    bars.update(batch([Tick(5)]))
    gate = bars._gate
    assert gate is not None

    class Broken:
        def around(self, ts: int) -> Around:
            raise LookupError("no calendar")

    good, gate._sessions = gate._sessions, Broken()  # type: ignore[assignment]
    assert bars.update(batch([Tick(150 * S), Tick(151 * S)])) == []
    gate._sessions = good
    assert [each.timeframe for each in bars.take_told()] == ["1s", "1m"]
    assert [bars.counts(each).failed for each in ("1s", "1m")] == [2, 2]
    assert [bar.start for bar in bars.update(batch([Tick(152 * S)]))] == [0, 0]
    assert all(c.received == c.in_bars + c.forming + c.failed for c in (bars.counts("1s"), bars.counts("1m")))


@log
def test_a_step_that_is_interrupted_leaves_no_trace() -> None:
    bars, right = make(["1s", "5s"]), make(["1s", "5s"])
    for each in (bars, right):
        each.update(batch([Tick(0), Tick(1)]))
    fault = Fault(bars, "5s")

    def interrupt() -> None:
        raise KeyboardInterrupt

    strike, fault.strike = fault.strike, interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bars.update(batch([Tick(7 * S), Tick(8 * S)]))
    fault.strike = strike  # type: ignore[method-assign]
    for frame in ("1s", "5s"):
        assert bars.forming(frame) == right.forming(frame)
        assert bars.table(frame).num_rows == 0
    assert bars.update(batch([Tick(9 * S)])) == right.update(batch([Tick(9 * S)]))


@log
def test_a_batch_inside_the_open_bar_of_one_is_taken_back_when_another_fails() -> None:
    """The way that most batches go: into one bar at once, with only that bar remembered."""
    bars, right = make(["3s", "7s"]), make(["3s", "7s"])
    fault = Fault(bars, "7s")
    for each in (bars, right):
        each.update(batch([Tick(6 * S)]))
    fault.is_on, fault.left = True, 1
    rows = batch([Tick(6 * S + 5, volume=4), Tick(8 * S, 77)])
    assert bars.update(rows) == right.update(rows)
    assert everything(bars, ["3s", "7s"]) == everything(right, ["3s", "7s"])
    assert bars.take_told() == []
