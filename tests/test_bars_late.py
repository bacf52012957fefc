"""Late trades, empty intervals, the event clock between trades, and bars that were not seen whole."""

from __future__ import annotations

import datetime
import logging
import threading
import zoneinfo
from itertools import pairwise

import attrs
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_reference import GRID, S, Tick, arrivals, batch, cut, cuts, latenesses

from trio_projectx import Bar, BarRevised, ConfigError
from trio_projectx.bars import Anchor, BarSet, Sessions
from trio_projectx.bars.columns import BarColumns, Row
from trio_projectx.bars.policies import Fill, Late

UTC = Anchor.utc()
FRAMES = ["1s", "5s", "1m"]
EQ = Anchor.session(Sessions.cme("EQ"))
CHICAGO = zoneinfo.ZoneInfo("America/Chicago")


def ns(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * S


def make(
    frames: list[str],
    *,
    anchor: Anchor = UTC,
    lateness: int = 0,
    late: Late = "count",
    fill: Fill = None,
    partial_first: bool = False,
    bars_kept: int = 100_000,
    revisable: int = 1000,
) -> BarSet:
    return BarSet(
        "C",
        frames,
        anchor=anchor,
        grid=GRID,
        lateness_ns=lateness,
        late=late,
        fill=fill,
        partial_first=partial_first,
        bars_kept=bars_kept,
        revisable=revisable,
    )


# --- late trades


@settings(max_examples=100)
@given(trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_revised_bars_are_the_bars_of_sorted_trades(
    trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    """Whatever the disorder and the lateness, in the end nothing is missing and nothing is wrong."""
    bars, right = make(FRAMES, lateness=lateness, late="revise"), make(FRAMES, lateness=10**6 * S)
    given_out: dict[tuple[str, int], Bar] = {}
    for piece in cut(trades, sizes):
        for bar in bars.update(batch(piece)):
            assert (bar.timeframe, bar.start) not in given_out
            given_out[bar.timeframe, bar.start] = bar
        for event in bars.take_revised():
            old = given_out.get((event.bar.timeframe, event.bar.start))
            assert event.is_new == (old is None)
            assert old is None or event.bar.trades > old.trades
            given_out[event.bar.timeframe, event.bar.start] = event.bar
        for frame in FRAMES:
            counts = bars.counts(frame)
            assert (counts.late, counts.received) == (0, counts.in_bars + counts.forming)
            rows = bars.table(frame)["trades"].to_pylist()
            assert sum(rows) == counts.in_bars
    right.update(batch(trades))
    for bar in bars.flush():
        given_out[bar.timeframe, bar.start] = bar
    wanted = right.flush()
    assert given_out == {(bar.timeframe, bar.start): bar for bar in wanted}
    for frame in FRAMES:
        assert bars.table(frame).equals(right.table(frame))
        bars.table(frame).validate(full=True)


@settings(max_examples=60)
@given(trades=arrivals(), lateness=latenesses, sizes=cuts)
def test_where_late_trades_are_only_counted_nothing_is_revised(
    trades: list[Tick], lateness: int, sizes: list[int]
) -> None:
    count, revise = make(FRAMES, lateness=lateness), make(FRAMES, lateness=lateness, late="revise")
    for piece in cut(trades, sizes):
        count.update(batch(piece))
        revise.update(batch(piece))
        assert count.take_revised() == []
        for frame in FRAMES:
            assert count.counts(frame).late == revise.counts(frame).revised
            assert count.counts(frame).revised == revise.counts(frame).late == 0


def test_a_revision_says_what_the_bar_is_now() -> None:
    bars = make(["1s", "5s"], late="revise")
    (closed,) = bars.update(batch([Tick(0, 10), Tick(5, 12), Tick(S, 11)]))
    assert bars.update(batch([Tick(3, 20), Tick(2, 4, 7)])) == []
    before = bars.table("1s")
    (event,) = bars.take_revised()
    assert event == BarRevised(
        attrs.evolve(
            closed, high=5.0, low=1.0, volume=10, trades=4, buy_volume=10, vwap=(10 + 12 + 20 + 28) / 10 / 4
        ),
        late_trades=2,
    )
    assert bars.take_revised() == []
    bars.update(batch([Tick(7, 30), Tick(S - 1, 2)]))
    assert before["high"].to_pylist() == [5.0]  # a snapshot stays what it was
    assert bars.table("1s")["high"].to_pylist() == [7.5]
    assert bars.table("1s")["close"].to_pylist() == [0.5]
    assert [e.late_trades for e in bars.take_revised()] == [4]


def test_an_interval_without_a_bar_gets_one_in_its_place() -> None:
    bars = make(["1s"], late="revise")
    bars.update(batch([Tick(0), Tick(9 * S), Tick(20 * S)]))
    bars.update(batch([Tick(4 * S)]))
    assert [(e.bar.start, e.is_new, e.late_trades) for e in bars.take_revised()] == [(4 * S, True, 1)]
    bars.update(batch([Tick(4 * S + 1)]))
    assert [(e.bar.start, e.is_new, e.late_trades) for e in bars.take_revised()] == [(4 * S, False, 2)]
    assert bars.table("1s")["start"].cast(pa.int64()).to_pylist() == [0, 4 * S, 9 * S]


def test_what_is_late_within_one_batch_is_in_the_bar_that_it_closes() -> None:
    bars = make(["1s"], late="revise")
    closed = bars.update(batch([Tick(0), Tick(3 * S), Tick(1), Tick(S), Tick(9 * S)]))
    assert [(bar.start, bar.trades) for bar in closed] == [(0, 2), (S, 1), (3 * S, 1)]
    assert bars.take_revised() == []
    assert bars.counts("1s").revised == 2


def test_bars_too_old_to_be_revised_are_counted_as_late() -> None:
    bars = make(["1s"], late="revise", bars_kept=3000)
    bars.update(batch([Tick(k * S) for k in range(1500)]))
    bars.update(batch([Tick(5), Tick(498 * S + 1), Tick(499 * S + 1), Tick(900 * S + 2)]))
    assert [e.bar.start // S for e in bars.take_revised()] == [499, 900]
    counts = bars.counts("1s")
    assert (counts.late, counts.revised) == (2, 2)
    assert counts.received == counts.in_bars + counts.forming + counts.late


@pytest.mark.parametrize("kept", [1, 3])
def test_how_many_bars_can_be_revised_is_an_option(kept: int) -> None:
    bars = make(["1s"], late="revise", revisable=kept)
    for second in range(10):  # the bar of second 9 stays open
        bars.update(batch([Tick(second * S)]))
    for second in range(10):
        bars.update(batch([Tick(second * S + 1)]))
    revised = [event.bar.start // S for event in bars.take_revised()]
    assert revised == list(range(9 - kept, 9))
    assert bars.counts("1s").late == 9 - kept
    with pytest.raises(ConfigError, match="revisable must be a whole number, 1 or more"):
        make(["1s"], revisable=0)


def test_volumes_of_revised_bars_do_not_leave_int64() -> None:
    bars = make(["1s"], late="revise")
    bars.update(batch([Tick(0, volume=(1 << 62) - 1), Tick(S)]))
    bars.update(batch([Tick(1, volume=1 << 62)]))
    bars.update(batch([Tick(2, volume=1 << 61)]))
    assert bars.table("1s")["volume"].to_pylist() == [(1 << 63) - 1]
    assert (bars.counts("1s").late, bars.counts("1s").revised) == (1, 1)


def test_revisions_in_old_chunks_copy_only_those_and_snapshots_stay() -> None:
    columns = BarColumns(1000)  # chunks of 1,024
    make_bars = make(["1s"])
    closed = [b for k in range(0, 4000, 2) for b in make_bars.update(batch([Tick(k * S)]))]
    snapshots: list[tuple[pa.Table, list[int]]] = []
    for bar in closed:
        columns.append(Row(bar, (1, 2, 3, 4)))
    columns.keep()
    kept = columns.table()["start"].cast(pa.int64()).to_pylist()
    for start in (kept[3], kept[3] + S, kept[500] + S, kept[-1] + S, kept[0] - S):
        bar = attrs.evolve(closed[0], start=start, end=start + S, volume=77)
        table = columns.table()
        snapshots.append((table, table["volume"].to_pylist()))
        columns.revise([Row(bar, (5, 6, 7, 8))])
        columns.keep()
        found = columns.table()
        rows = found["start"].cast(pa.int64()).to_pylist()
        assert rows == sorted(set(rows))
        if start in rows:  # one older than all that is kept may go at once with its chunk
            assert found["volume"].to_pylist()[rows.index(start)] == 77
        assert len(columns) == found.num_rows
        found.validate(full=True)
    for table, volumes in snapshots:
        assert table["volume"].to_pylist() == volumes


# --- the event clock between trades


def test_advancing_closes_a_quiet_bar_as_a_trade_would() -> None:
    bars = make(["1s", "1m"], lateness=S // 2)
    assert (bars.due_ns, bars.advance(10**18)) == (None, [])
    bars.update(batch([Tick(5)]))
    assert bars.due_ns == S + S // 2
    assert bars.advance(S + S // 2 - 1) == []
    assert [(bar.timeframe, bar.closed) for bar in bars.advance(S + S // 2)] == [("1s", True)]
    assert bars.due_ns == 60 * S + S // 2
    assert bars.advance(7) == []
    bars.update(batch([Tick(6), Tick(S)]))
    assert (bars.counts("1s").late, bars.counts("1m").late) == (1, 0)


@settings(max_examples=60)
@given(trades=arrivals(), lateness=latenesses)
def test_advancing_to_each_stamp_changes_no_bar(trades: list[Tick], lateness: int) -> None:
    """The clock that runs between trades never runs ahead of them here: then nothing differs but when."""
    plain, clocked = make(FRAMES, lateness=lateness), make(FRAMES, lateness=lateness)
    for tick in trades:
        got = clocked.update(batch([tick]))
        assert got == plain.update(batch([tick]))
        assert clocked.advance(max(t.ts for t in trades[: trades.index(tick) + 1])) == []
    assert clocked.flush() == plain.flush()


# --- empty intervals


def test_gaps_are_filled_in_scheduled_hours_only() -> None:
    bars = make(["30m"], anchor=EQ, fill="previous")
    at = "2025-11-26T14:{}:00"
    ticks = [
        Tick(ns(at.format("05")), 40),
        Tick(ns("2025-11-26T18:10"), 44),
        Tick(ns("2025-11-26T18:40"), 48),
    ]
    closed = bars.update(batch(ticks))
    got = [(str(bar.start_time.in_timezone(CHICAGO.key))[11:16], bar.close, bar.synthetic) for bar in closed]
    assert got == [
        ("14:00", 10.0, False),
        ("14:30", 10.0, True),
        ("15:00", 10.0, True),
        ("15:30", 10.0, True),
        ("17:00", 10.0, True),
        ("17:30", 10.0, True),
        ("18:00", 11.0, False),
    ]
    empty = closed[3]
    assert (empty.open, empty.high, empty.low, empty.vwap, empty.volume, empty.trades) == (*[10.0] * 4, 0, 0)
    assert (empty.first_ts, empty.last_ts, str(empty.trade_date)) == (empty.start, empty.start, "2025-11-26")
    assert str(closed[4].trade_date) == "2025-11-28"
    assert bars.table("30m")["synthetic"].to_pylist() == [each[2] for each in got]
    assert bars.counts("30m").in_bars == 2


def test_the_clock_fills_too_and_days_weeks_and_months_are_filled() -> None:
    bars = make(["1m", "1d"], anchor=EQ, fill="previous")
    bars.update(batch([Tick(ns("2025-11-24T15:58:10"), 40)]))
    closed = bars.advance(ns("2025-11-24T17:02"))
    assert [(bar.timeframe, bar.synthetic) for bar in closed] == [
        ("1m", False), ("1m", True), ("1d", False), ("1m", True), ("1m", True)
    ]  # fmt: skip
    bars.update(batch([Tick(ns("2025-12-01T10:00"), 44)]))
    days = bars.table("1d")
    assert [str(d) for d in days["trade_date"].to_pylist()] == [
        "2025-11-24", "2025-11-25", "2025-11-26", "2025-11-28"
    ]  # fmt: skip
    assert days["synthetic"].to_pylist() == [False, True, True, True]


@settings(max_examples=60)
@given(trades=arrivals(), sizes=cuts, lateness=st.sampled_from([0, S, 5 * S]))
def test_with_the_synthetic_bars_taken_away_filling_changes_nothing(
    trades: list[Tick], sizes: list[int], lateness: int
) -> None:
    at = ns("2025-11-24T15:59:00")
    moved = [attrs.evolve(t, ts=at + t.ts % (100 * S)) for t in trades]
    sets = [make(FRAMES, anchor=EQ, lateness=lateness, late="revise", fill=f) for f in (None, "previous")]  # type: ignore[arg-type]
    first: dict[
        str, int
    ] = {}  # late trades may make bars before the first one, and from there nothing is filled
    for piece in cut(moved, sizes):
        plain, filled = (each.update(batch(piece)) for each in sets)
        assert plain == [bar for bar in filled if not bar.synthetic] or sets[1].counts("1s").revised
        for bar in filled:
            first.setdefault(bar.timeframe, bar.start)
    for each in sets:
        each.flush()
    for frame in FRAMES:
        one, other = (each.table(frame) for each in sets)
        other.validate(full=True)
        real = other.filter(pa.compute.invert(other["synthetic"]))
        assert real.equals(one)
        starts = other["start"].cast(pa.int64()).to_pylist()
        assert starts == sorted(set(starts))
        ends = other["end"].cast(pa.int64()).to_pylist()
        segments = EQ.sessions.segments("2025-11-24", "2025-11-25") if EQ.sessions else []
        for k in range(1, len(starts)):  # no gap is left inside a segment
            is_inside = any(o <= ends[k - 1] < c for _, o, c in segments)
            if is_inside and other["scheduled"][k].as_py() and starts[k - 1] >= first.get(frame, starts[-1]):
                assert starts[k] == ends[k - 1] or not other["scheduled"][k - 1].as_py()


def test_a_gap_too_long_is_left_and_told(caplog: pytest.LogCaptureFixture) -> None:
    bars = make(["1s"], anchor=EQ, fill="previous")
    with caplog.at_level(logging.WARNING, "trio_projectx"):
        closed = bars.update(batch([Tick(ns("2025-11-24T10:00")), Tick(ns("2025-12-24T10:00"))]))
    assert len(closed) == 100_001
    assert [r.getMessage()[:44] for r in caplog.records] == ["a gap of more than 100000 empty bars before "]
    assert [b.synthetic for b in bars.update(batch([Tick(ns("2025-12-24T10:00:03"))]))] == [False, True, True]


# --- not seen whole


def test_what_was_open_or_began_during_an_interruption_is_partial() -> None:
    bars = make(["1s", "5s"], lateness=S, partial_first=True)
    bars.update(batch([Tick(0), Tick(6 * S), Tick(11 * S)]))
    bars.rejoin()
    forming = bars.forming("5s")
    assert forming is not None
    assert forming.partial
    closed = bars.update(batch([Tick(17 * S), Tick(18 * S), Tick(22 * S), Tick(30 * S)]))
    assert [(b.timeframe, b.start // S, b.partial) for b in closed] == [
        ("1s", 11, True),
        ("5s", 10, True),
        ("1s", 17, True),
        ("1s", 18, True),  # what is missing may be a second younger than what came
        ("5s", 15, True),
        ("1s", 22, False),
        ("5s", 20, False),
    ]


def test_what_begins_after_an_interruption_that_has_ended_is_whole_though_no_trade_ended_it() -> None:
    bars = make(["1s", "5s"], lateness=S, partial_first=True)
    bars.update(batch([Tick(0), Tick(6 * S), Tick(11 * S)]))
    bars.rejoin()
    bars.covered(16 * S)
    bars.covered(99 * S)  # it is over
    closed = bars.update(batch([Tick(17 * S), Tick(18 * S), Tick(22 * S), Tick(30 * S)]))
    assert [(b.timeframe, b.start // S, b.partial) for b in closed] == [
        ("1s", 11, True),
        ("5s", 10, True),
        ("1s", 17, True),  # what is missing may be a second younger than the end of the interruption
        ("1s", 18, False),
        ("5s", 15, True),
        ("1s", 22, False),
        ("5s", 20, False),
    ]
    bars.rejoin()
    bars.update(batch([Tick(31 * S)]))
    bars.covered(16 * S)  # a trade was there before
    assert [b.partial for b in bars.flush()] == [True, True, True]


def test_the_clock_closes_bars_also_while_nothing_came_since_an_interruption() -> None:
    bars = make(["1s"], partial_first=True)
    bars.update(batch([Tick(0), Tick(S)]))
    bars.rejoin()
    assert bars.due_ns == 2 * S
    assert [(bar.start, bar.partial) for bar in bars.advance(2 * S)] == [(S, True)]
    assert bars.due_ns is None


def test_a_revision_does_not_change_whether_a_bar_was_seen_whole() -> None:
    bars = make(["1s"], late="revise", partial_first=True)
    bars.update(batch([Tick(0), Tick(S), Tick(2 * S)]))
    bars.rejoin()
    bars.update(batch([Tick(9 * S), Tick(S + 1)]))
    assert [(e.bar.start, e.bar.partial) for e in bars.take_revised()] == [(S, False)]


# --- tables


def test_a_table_is_cut_by_time() -> None:
    bars = make(["1s"])
    bars.update(batch([Tick(k * S) for k in range(10_000)]))
    whole = bars.table("1s")
    for start, end in (
        (None, None),
        (0, 9 * S),
        (5, 5),
        (8_190 * S, 8_200 * S),
        (9_998 * S, None),
        (None, S),
    ):
        cut_out = bars.table("1s", start, end)
        ends = whole["end"].cast(pa.int64()).to_pylist()
        inside = [(start is None or e > start) and (end is None or e <= end) for e in ends]
        assert cut_out.equals(whole.filter(pa.array(inside)))


def test_readers_in_other_threads_see_whole_rows_during_a_flood() -> None:
    bars = make(["1s", "5s"], late="revise", bars_kept=2000)
    wrong: list[str] = []
    seen = [0, 0]
    stop = threading.Event()

    def read(reader: int) -> None:
        while not stop.is_set():
            table = bars.table("1s")
            rows = table.num_rows
            starts = table["start"].cast(pa.int64()).to_pylist()
            ends = table["end"].cast(pa.int64()).to_pylist()
            if not all(end - start == S for start, end in zip(starts, ends, strict=True)):
                wrong.append("edges")
            if not all(one < other for one, other in pairwise(starts)):
                wrong.append("order")
            if table["volume"].to_pylist() != table["trades"].to_pylist() or len(starts) != rows:
                wrong.append("volumes")
            seen[reader] += 1

    threads = [threading.Thread(target=read, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for k in range(5_000):
        bars.update(batch([Tick(k * S), Tick(k * S - 5 * S)] if k % 7 == 0 else [Tick(k * S)]))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(seen) > 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"late": "drop"}, 'late must be "count" or "revise"'),
        ({"fill": "zero"}, 'fill must be None or "previous"'),
        ({"fill": "previous"}, "this anchor has none"),
        ({"fill": "previous", "anchor": Anchor.wall("America/Chicago")}, "this anchor has none"),
    ],
)
def test_policies_that_are_none_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make(["1s"], **options)  # type: ignore[arg-type]


# --- bars without trades, and what is found out about them later


@settings(max_examples=60)
@given(trades=arrivals(), sizes=cuts, lateness=st.sampled_from([0, S, 5 * S]))
def test_synthetic_bars_always_have_the_close_before_them_also_when_it_is_revised(
    trades: list[Tick], sizes: list[int], lateness: int
) -> None:
    at = ns("2025-11-24T10:00:00")
    moved = [attrs.evolve(t, ts=at + t.ts % (100 * S)) for t in trades]
    bars = make(FRAMES, anchor=EQ, lateness=lateness, late="revise", fill="previous")
    told: dict[tuple[str, int], Bar] = {}
    for piece in [*cut(moved, sizes), None]:
        for bar in bars.flush() if piece is None else bars.update(batch(piece)):
            told[bar.timeframe, bar.start] = bar
        for event in bars.take_revised():
            told[event.bar.timeframe, event.bar.start] = event.bar
        for frame in FRAMES:
            rows = bars.table(frame).to_pylist()
            for one, other in pairwise(rows):
                assert not other["synthetic"] or other["close"] == one["close"] == other["open"]
            mine = [told[key] for key in sorted(told) if key[0] == frame]
            assert [bar.close for bar in mine] == [row["close"] for row in rows]


def test_a_late_trade_changes_the_synthetic_bars_behind_it_up_to_the_next_real_one() -> None:
    bars = make(["1s"], anchor=EQ, late="revise", fill="previous")
    at = ns("2025-11-24T10:00:00")
    bars.update(batch([Tick(at, 40), Tick(at + 5 * S, 44), Tick(at + 9 * S, 48)]))
    bars.update(batch([Tick(at + 2 * S, 60)]))
    revised = bars.take_revised()
    assert [(e.bar.start - at) // S for e in revised] == [2, 3, 4]
    assert [(e.bar.close, e.bar.synthetic, e.late_trades, e.is_new) for e in revised] == [
        (15.0, False, 1, True),
        (15.0, True, 0, False),
        (15.0, True, 0, False),
    ]
    assert bars.table("1s")["close"].to_pylist() == [10, 10, 15, 15, 15, 11, 11, 11, 11]
    bars.update(batch([Tick(at + 8 * S, 20)]))
    bars.take_revised()
    bars.advance(at + 12 * S)
    assert bars.table("1s")["close"].to_pylist()[-4:] == [5, 12, 12, 12]
    bars.update(batch([Tick(at + 11 * S, 16)]))
    bars.advance(at + 15 * S)
    assert bars.table("1s")["close"].to_pylist()[-5:] == [12, 4, 4, 4, 4]


@pytest.mark.parametrize("silence", [999, 1001, 7000])
def test_all_synthetic_bars_behind_a_revised_one_have_its_close_however_many_there_are(silence: int) -> None:
    bars = make(["1s"], anchor=EQ, late="revise", fill="previous")
    at = ns("2025-11-24T10:00:00")
    bars.update(batch([Tick(at, 40), Tick(at + silence * S, 44)]))
    bars.update(batch([Tick(at + 1, 60)]))
    assert len(bars.take_revised()) == silence
    assert set(bars.table("1s")["close"].to_pylist()) == {15}


def test_where_nobody_listened_a_synthetic_bar_is_partial() -> None:
    """After an interruption nobody knows that nobody traded: the bar says so."""
    bars = make(["1s"], anchor=EQ, fill="previous", partial_first=True)
    at = ns("2025-11-24T10:00:00")
    bars.update(batch([Tick(at), Tick(at + 3 * S)]))
    bars.rejoin()
    bars.update(batch([Tick(at + 7 * S), Tick(at + 10 * S)]))
    table = bars.table("1s")
    assert table["synthetic"].to_pylist() == [False, True, True, False, True, True, True, False, True, True]
    assert table["partial"].to_pylist() == [True, False, False, True, True, True, True, True, False, False]


@pytest.mark.parametrize("options", [{"late": "revise"}, {"fill": "previous", "anchor": EQ}])
def test_what_no_bar_that_ends_by_time_can_use_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="is for bars that end by time, and none of tick:5, range:8 does"):
        make(["tick:5", "range:8"], **options)  # type: ignore[arg-type]
    assert make(["tick:5", "1s"], **options).timeframes == ("tick:5", "1s")  # type: ignore[arg-type]


def test_bars_that_end_together_come_from_the_finest_on_also_those_of_days() -> None:
    bars = make(["2w", "2d", "1w", "1d", "1h"])
    sunday_night = 1_765_150_200 * S  # 2025-12-07T23:30Z, half an hour before four of them end
    closed = bars.update(batch([Tick(sunday_night), Tick(sunday_night + 40 * 86_400 * S)]))
    assert [bar.timeframe for bar in closed] == ["1h", "1d", "2d", "1w", "2w"]
    assert len({bar.end for bar in closed[:4]}) == 1
