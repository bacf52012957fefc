"""Lines against a model: one true stream, of which each line brings a part, in order and as late as it likes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from trio_projectx.market.lines import LineMerger

Row = tuple[int, int, int, int]
Step = tuple[str, int, int]
ALL = 1_000_000


def stamp_of(row: Row) -> int:
    return row[0]


def merger(limit: int = 200_000, held_limit: int = 100_000) -> LineMerger[Row]:
    return LineMerger(stamp_of, limit=limit, held_limit=held_limit)


def row(ts: int, ticks: int = 1) -> Row:
    return ts, ticks, 1, 0


def rows(*stamps: int) -> list[Row]:
    return [row(ts) for ts in stamps]


@st.composite
def truths(draw: st.DrawFn) -> list[Row]:
    """A true stream: stamps do not fall, and there are two prices, so that many rows are equal."""
    part = st.tuples(st.sampled_from([0, 0, 0, 1, 5]), st.integers(1, 2))
    parts = draw(st.lists(part, max_size=5) | st.lists(part, min_size=15, max_size=50))
    ts, made = 1000, []
    for later, ticks in parts:
        ts += later
        made.append(row(ts, ticks))
    return made


class Run:
    """The service and its lines. A line begins behind what is published at its join, or earlier by repetition."""

    def __init__(self, truth: list[Row], remembered: int = ALL, shuffled: int | None = None) -> None:
        self.truth = truth
        self.remembered = remembered
        self.shuffled = shuffled
        self.it = merger()
        self.out: list[Row] = []
        self.handed = self.published = self.joined = 0
        self.parts: dict[int, list[Row]] = {}
        """What each line has still to bring, of the truth to its end."""
        self.first_read: dict[int, int] = {}
        self.starts: dict[int, int] = {}

    def join(self, later: int = 0, repeated: int = 0, hole: int = 0) -> int:
        """``hole`` rows behind the repeated ones are brought by the other lines alone.

        The repeated rows come in one read with the first new one then.
        """
        line = self.joined = self.joined + 1
        live = min(len(self.truth), self.published + later + hole)
        if live == len(self.truth):
            hole = 0
        known = max(0, live - hole)
        truth = self.seen_by(line)
        repeats = truth[max(0, known - repeated) : known]
        self.it.join(line, self.out[-self.remembered :])
        self.parts[line] = [*repeats, *truth[live:]]
        self.first_read[line] = len(repeats) + 1 if hole else 0
        self.starts[line] = max(0, known - repeated)
        self.check()
        return line

    def seen_by(self, line: int) -> list[Row]:
        """The truth; where ``shuffled``, each line has its own order within a stamp."""
        if self.shuffled is None:
            return self.truth
        seen = list(self.truth)
        random.Random(line * self.shuffled).shuffle(seen)
        return sorted(seen, key=stamp_of)

    def bring(self, line: int, n: int) -> None:
        n = max(n, self.first_read.pop(line, 0))
        part = self.parts[line]
        new, self.parts[line] = part[:n], part[n:]
        self.published = max(self.published, len(self.truth) - len(self.parts[line]))
        self.handed += len(new)
        self.out += self.it.add(line, new)
        self.check()

    def leave(self, line: int) -> None:
        del self.parts[line]
        self.out += self.it.leave(line)
        self.check()

    def settle(self, line: int) -> None:
        self.out += self.it.settle(line)
        assert self.it.is_level(line)
        self.check()

    def others_are_level(self, line: int) -> bool:
        return any(self.it.is_level(other) for other in self.parts if other != line)

    def may_join(self) -> bool:
        """Not if all that is remembered has one stamp: nothing says how far back it reaches then."""
        known = self.out[-self.remembered :]
        return len(self.parts) < 4 and (len(known) == len(self.out) or known[0][0] < known[-1][0])

    def finish(self) -> None:
        while any(self.parts.values()):
            for line in list(self.parts):
                self.bring(line, 3)

    def check(self) -> None:
        it = self.it
        assert self.handed == len(self.out) + it.duplicates + it.held
        assert it.lines == tuple(self.parts)
        assert not it.lines or any(map(it.is_level, it.lines))
        assert it.is_single == (it.lone is not None) == (len(it.lines) == 1 and it.entries == 0)
        assert it.strays == it.forgotten == 0

    def play(self, steps: Sequence[Step], *, hole: int = 0, stays: int = 0, may_settle: bool = False) -> None:
        """Begin with one line. A line leaves only while another is level; ``stays`` never does."""
        self.join()
        for what, which, n in steps:
            line = list(self.parts)[which % len(self.parts)]
            if what == "publish":
                self.published = min(len(self.truth), self.published + n)
            elif what == "join" and self.may_join():
                self.join(later=which % 3, repeated=2 * n if n > 4 else 0, hole=hole)
            elif what == "leave" and line != stays and self.others_are_level(line):
                event(f"one leaves {len(self.parts)} lines")
                self.leave(line)
            elif what == "settle" and may_settle:
                self.settle(line)
            else:
                self.bring(line, n)
        self.finish()


WHAT = ["bring", "bring", "bring", "publish", "join", "leave", "leave", "settle"]
step = st.tuples(st.sampled_from(WHAT), st.integers(0, 7), st.integers(0, 12))
scripts = st.lists(step, max_size=5) | st.lists(step, min_size=12, max_size=40)


@settings(max_examples=200)
@given(truths(), scripts)
def test_chains_and_pairs_give_the_stream_once_and_in_order(truth: list[Row], script: list[Step]) -> None:
    run = Run(truth)
    run.play(script)
    assert run.out == truth


@settings(max_examples=120)
@given(truths(), scripts, st.integers(2, 9))
def test_so_they_do_where_more_is_repeated_than_remembered(
    truth: list[Row], script: list[Step], remembered: int
) -> None:
    run = Run(truth, remembered)
    run.play(script)
    assert run.out == truth


@settings(max_examples=120)
@given(truths(), scripts, st.integers(1, 3))
def test_so_they_do_where_rows_are_missing_between_the_repeated_and_the_new(
    truth: list[Row], script: list[Step], hole: int
) -> None:
    run = Run(truth)
    run.play(script, hole=hole)
    assert run.out == truth


@settings(max_examples=120)
@given(truths(), scripts)
def test_settled_too_early_nothing_is_lost_or_doubled_while_one_line_stays(
    truth: list[Row], script: list[Step]
) -> None:
    run = Run(truth)
    run.play(script, stays=1, may_settle=True)
    assert Counter(run.out) == Counter(truth)


@settings(max_examples=120)
@given(st.lists(st.sampled_from([0, 1, 1, 5, -1, -7]), min_size=10, max_size=50), scripts)
def test_trades_that_come_out_of_order_stay_as_they_are(later: list[int], script: list[Step]) -> None:
    run = Run([row(ts, ticks) for ticks, ts in enumerate(accumulate(later, initial=1000))])
    run.play(script)
    assert Counter(run.out) == Counter(run.truth)


@settings(max_examples=120)
@given(truths(), scripts, st.integers(1, 9))
def test_lines_that_order_a_stamp_differently_lose_and_double_nothing(
    truth: list[Row], script: list[Step], seed: int
) -> None:
    run = Run(truth, shuffled=seed)
    run.play(script)
    assert Counter(run.out) == Counter(truth)
    assert sorted(run.out, key=stamp_of) == run.out


@settings(max_examples=100)
@given(truths(), st.sets(st.integers(0, 49)), st.booleans(), scripts)
def test_what_one_line_loses_the_other_brings(
    truth: list[Row], lost: set[int], is_first: bool, script: list[Step]
) -> None:
    it = merger()
    it.join(1)
    it.join(2)
    out = it.settle(2)
    worse = [each for at, each in enumerate(truth) if at not in lost]
    parts = {1: worse if is_first else truth, 2: truth if is_first else worse}
    for _, which, n in [*script, ("", 0, ALL), ("", 1, ALL)]:
        line = 1 + which % 2
        out += it.add(line, parts[line][:n])
        parts[line] = parts[line][n:]
    assert Counter(out) == Counter(truth)
    assert it.entries <= len(lost)


@settings(max_examples=120)
@given(
    truths(),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 3),
    st.integers(0, 12),
    st.integers(0, 40),
)
def test_a_line_that_takes_over_unready_loses_only_what_equals_a_row_from_before_it(
    truth: list[Row], before: int, beside: int, later: int, repeated: int, held: int
) -> None:
    run = Run(truth)
    first = run.join()
    run.bring(first, before)
    second = run.join(later, repeated)
    run.bring(first, beside)
    run.bring(second, held)
    had = Counter(truth[: max(0, run.starts[second])])
    end = len(run.out)
    run.leave(first)
    run.finish()
    missing = Counter(truth) - Counter(run.out)
    hole = Counter(truth[end : max(end, run.starts[second])])
    assert not Counter(run.out) - Counter(truth), "nothing twice"
    for lost in missing - hole:
        assert had[lost], "it is equal, stamp included, to one from before the line began"
    if not missing:
        assert run.out == truth


def test_five_hundred_handovers_over_real_trades_change_nothing(shared: Path) -> None:
    """Three in ten have the stamp of the one before, a sixth equals another. Lines lag by up to 80 trades."""
    table = pq.read_table(shared / "data" / "gc_trades_2013.parquet").slice(0, 60_000)
    found = (table.column(name).to_pylist() for name in ("ts_ns", "price", "size"))
    truth = [(ts, round(price * 10), size, 0) for ts, price, size in zip(*found, strict=True)]
    assert len(truth) - len(set(truth)) > len(truth) // 10
    rng = random.Random(5)
    run = Run(truth, remembered=2000)
    old = run.join()
    handovers = 0
    while run.parts[old]:
        run.bring(old, rng.randint(1, 80))
        new = run.join(later=rng.randint(0, 9), repeated=rng.choice([0, 0, 50]))
        while not run.it.is_level(new) and run.parts[old]:
            run.bring(rng.choice([old, new]), rng.randint(1, 40))
        if run.it.is_level(new):
            run.leave(old)
            old = new
            handovers += 1
        else:
            run.leave(new)
    assert handovers > 500
    assert run.out == truth


# --- one at a time


def level_pair(*before: int) -> LineMerger[Row]:
    """Two full members that have brought the same."""
    it = merger()
    it.join(1)
    it.join(2)
    assert it.settle(2) == []
    for line in (1, 2):
        it.add(line, rows(*before))
    assert it.entries == it.held == 0
    return it


def test_one_line_is_not_counted() -> None:
    it = merger()
    assert (it.lone, it.is_single, it.lines, it.is_level(5)) == (None, False, (), False)
    it.join(5)
    assert (it.lone, it.is_single, it.lines, it.is_level(5)) == (5, True, (5,), True)
    assert it.add(5, rows(1, 1, 2, 1)) == rows(1, 1, 2, 1)
    assert (it.entries, it.duplicates) == (0, 0)
    assert it.leave(5) == []
    assert (it.lone, it.lines) == (None, ())


def test_rows_of_a_line_that_is_not_there_are_strays() -> None:
    it = level_pair()
    assert it.leave(1) == it.leave(1) == it.leave(7) == it.settle(7) == []
    assert it.add(1, rows(1, 2)) == it.add(7, rows(1)) == []
    assert (it.strays, it.duplicates, it.entries) == (3, 0, 0)


def test_a_line_is_adopted_only_where_none_ever_joined() -> None:
    it = merger()
    assert it.adopt(0)
    assert (it.lone, it.adopt(0), it.adopt(1)) == (0, False, False)
    it.leave(0)
    assert not it.adopt(0)
    assert it.lines == ()


def test_joining_again_changes_nothing() -> None:
    it = merger()
    it.join(1)
    it.join(2, rows(1))
    it.add(2, rows(1, 5))
    it.join(2)
    it.join(1)
    assert (it.lines, it.held, it.is_level(1), it.is_level(2)) == ((1, 2), 1, True, False)


def test_a_pair_brings_each_row_once_whoever_is_first() -> None:
    it = level_pair()
    assert it.add(1, rows(1, 1)) == rows(1, 1)
    assert it.add(2, rows(1, 1, 1, 2)) == rows(1, 2)
    assert it.add(1, rows(1, 2, 3)) == rows(3)
    assert (it.duplicates, it.entries) == (4, 1)
    assert it.leave(1) == []
    assert it.add(2, rows(3, 4)) == rows(4)


def test_a_joining_line_waits_until_the_other_has_passed_its_first_rows() -> None:
    it = merger()
    it.join(1)
    it.join(2)
    assert it.add(2, rows(3, 3, 4)) == []
    assert it.add(1, rows(1, 2, 3, 3)) == rows(1, 2, 3, 3)
    assert (it.held, it.is_level(2)) == (3, False)
    assert it.add(1, rows(4)) == rows(4)
    assert not it.is_level(2), "a second 4 of the first line may be on its way"
    assert it.add(2, rows(5, 6)) == []
    assert it.add(1, rows(4, 5)) == rows(4, 5, 6)
    assert (it.held, it.is_level(2)) == (0, True)


def test_a_row_that_the_others_never_bring_does_not_stop_a_line_for_ever() -> None:
    it = merger()
    it.join(1)
    it.join(2)
    assert it.add(2, rows(3)) == []
    assert it.add(1, rows(4, 5)) == rows(4, 5)
    assert it.add(2, rows(4)) == rows(3)
    assert it.is_level(2)


def test_rows_of_before_the_join_show_nothing_and_do_not_wait() -> None:
    it = merger()
    it.join(1)
    it.add(1, rows(1, 2, 2, 3))
    it.join(2, rows(1, 2, 2, 3))
    assert it.add(2, rows(1, 2, 2)) == it.add(2, rows(3)) == []
    assert (it.held, it.duplicates, it.is_level(2)) == (0, 4, False)
    assert it.add(2, rows(3, 4)) == []
    assert it.held == 2, "a second 3 is another"
    assert it.add(1, rows(3, 4, 5)) == rows(3, 4, 5)
    assert it.is_level(2)


def test_what_is_older_than_what_is_remembered_was_had() -> None:
    it = merger()
    it.join(1)
    it.join(2, [row(5, 3), row(6)])  # of stamp 5 there were more
    assert it.add(2, [row(4), row(5, 1), row(5, 2), row(5, 3), row(6), row(6, 2)]) == []
    assert (it.held, it.duplicates) == (1, 5)
    it.leave(1)
    assert it.add(2, rows(7)) == rows(7)


def test_behind_what_was_repeated_an_older_row_has_only_come_late() -> None:
    for first in (row(6), row(6, 2)):
        it = merger()
        it.join(1)
        it.join(2, rows(5, 6, 7))
        assert it.add(2, [row(4), first, row(4), row(5, 2)]) == []
        assert it.leave(1) == [*([] if first == row(6) else [first]), row(4), row(5, 2)]


def test_where_all_that_is_remembered_has_one_stamp_a_row_of_it_is_rather_kept() -> None:
    it = merger()
    it.join(1)
    it.join(2, rows(5))
    assert it.add(2, [row(5), row(5, 2)]) == []
    assert it.leave(1) == [row(5, 2)]


def test_the_oldest_line_that_joins_takes_over_and_lets_the_next_one_in() -> None:
    it = merger()
    for line in (1, 2, 3):
        it.join(line)
    it.add(3, rows(4, 5))
    it.add(2, rows(3, 4, 5, 6))
    assert it.leave(1) == rows(3, 4, 5, 6)
    assert (it.is_level(2), it.is_level(3), it.held, it.duplicates) == (True, True, 0, 2)
    assert it.add(3, rows(6, 7)) == rows(7)


def test_one_line_that_is_let_in_may_be_what_the_next_has_waited_for() -> None:
    it = merger()
    for line in (1, 2, 3):
        it.join(line)
    it.add(3, rows(5))
    it.add(2, rows(3, 4, 5, 6))
    assert it.add(1, rows(3, 4)) == rows(3, 4)
    assert (it.is_level(2), it.held) == (False, 5)
    assert it.settle(2) == rows(5, 6)
    assert (it.is_level(2), it.is_level(3), it.held) == (True, True, 0)
    assert it.settle(2) == it.settle(1) == []


def test_all_that_wait_for_each_other_are_let_in_at_once() -> None:
    it = merger()
    for line in (1, 2, 3, 4):
        it.join(line)
    it.add(4, rows(7))
    it.add(3, rows(5, 6, 7, 8))
    it.add(2, rows(3, 4, 5, 6))
    it.settle(2)
    it.add(1, rows(1, 2, 3, 4, 5, 6))
    assert (it.is_level(3), it.is_level(4), it.held) == (False, False, 5)
    it.leave(2)
    assert it.add(1, rows(7)) == rows(7)
    assert (it.is_level(3), it.is_level(4)) == (False, False)
    assert it.add(1, rows(8, 9)) == rows(8, 9)
    assert (it.is_level(3), it.is_level(4), it.held) == (True, True, 0)


def test_a_repeated_row_may_stand_behind_a_new_one_of_its_stamp() -> None:
    it = merger()
    it.join(1)
    it.join(2, [row(5), row(6, 1), row(6, 2)])
    assert it.add(2, [row(6, 1), row(6, 3), row(6, 2), row(7)]) == []
    assert it.held == 2
    assert it.add(1, [row(6, 3), row(7), row(8)]) == [row(6, 3), row(7), row(8)]
    assert it.is_level(2)


def test_held_rows_of_a_line_that_leaves_are_left_to_the_others() -> None:
    it = merger()
    it.join(1)
    it.join(2)
    it.add(2, rows(3, 4))
    assert it.leave(2) == []
    assert (it.duplicates, it.held, it.lone) == (2, 0, 1)
    assert it.add(1, rows(3, 4)) == rows(3, 4)


def test_the_last_line_is_not_counted_any_more_when_it_is_past_what_others_brought() -> None:
    it = level_pair(1)
    it.add(1, rows(2, 6))  # the first line never brought a 5
    it.leave(1)
    assert it.lone is None
    assert it.add(2, rows(2)) == []
    assert it.add(2, rows(5)) == rows(5)
    assert it.add(2, [row(6, 2)]) == [row(6, 2)]
    assert it.add(2, [row(6)]) == []
    assert it.lone == 2

    it = level_pair(1)
    it.add(1, rows(2, 6))
    it.leave(1)
    assert it.add(2, rows(2, 7)) == rows(7)  # the second line never brought the 6
    assert (it.lone, it.entries) == (2, 0)


def test_it_is_not_counted_any_more_either_when_nothing_can_be_repeated() -> None:
    it = merger()
    it.join(1)
    it.join(2, rows(1, 5))
    it.settle(2)
    it.leave(1)
    assert it.add(2, rows(5)) == []
    assert it.lone is None
    assert it.add(2, rows(6)) == rows(6)
    assert (it.lone, it.entries) == (2, 0)


def test_rows_that_may_come_again_are_known_on_every_line_that_is_there() -> None:
    it = merger()
    it.join(1)
    it.had_again(Counter(rows(1, 2, 2)))
    assert it.lone is None
    it.join(2, rows(1, 2, 2))
    assert it.add(2, rows(2, 2, 3)) == []
    assert it.add(1, rows(1, 2, 2, 3, 4)) == rows(3, 4)
    assert (it.duplicates, it.is_level(2)) == (6, True)
    it.had_again({})
    assert it.add(1, rows(4)) == rows(4)


def test_what_is_forgotten_may_come_again_and_what_waits_stays() -> None:
    it = level_pair(1)
    it.add(1, rows(2, 3))
    it.join(3, rows(1, 2, 3))
    it.add(3, rows(4))
    it.forget()
    assert (it.entries, it.held, it.lone) == (0, 1, None)
    assert it.add(2, rows(2, 3)) == rows(2, 3)
    it.leave(3)
    it.add(1, rows(5))
    it.leave(1)
    assert it.lone is None
    it.forget()
    assert it.lone == 2


def test_memory_is_what_the_lines_differ_by() -> None:
    it = level_pair()
    for k in range(0, 50_000, 100):
        new = rows(*range(k, k + 100))
        assert it.add(1, new) == new
        assert it.entries == 100
        assert it.add(2, new) == []
        assert it.entries == 0


def test_what_a_line_never_brings_is_forgotten_oldest_first() -> None:
    it = merger(limit=50)
    it.join(1)
    it.join(2)
    it.settle(2)
    for k in range(200):
        it.add(1, rows(k))
        assert it.entries <= 50
    assert it.forgotten == 200 - it.entries
    assert it.add(2, rows(199, 198, 190)) == []
    assert it.add(2, rows(100)) == rows(100)


def test_more_than_may_wait_is_let_in() -> None:
    it = merger(held_limit=3)
    it.join(1)
    it.join(2)
    assert it.add(2, rows(3, 4, 5)) == []
    assert it.add(2, rows(6)) == rows(3, 4, 5, 6)
    assert (it.held, it.is_level(2)) == (0, True)
    assert it.add(1, rows(1, 2, 3)) == rows(1, 2)


@pytest.mark.parametrize("brought", ["a", "b"])
def test_without_stamps_a_row_that_another_line_brought_shows_that_a_line_is_level(brought: str) -> None:
    it: LineMerger[str] = LineMerger()
    it.join(1)
    it.join(2)
    assert it.add(2, ["b"]) == []
    assert it.add(1, [brought]) == [brought]
    assert it.is_level(2) == (brought == "b")
    assert it.add(2, ["c"]) == (["c"] if brought == "b" else [])
    assert it.add(1, ["b"]) == (["b"] if brought == "b" else ["b", "c"])
    it.leave(1)
    assert it.add(2, ["d", "d"]) == ["d", "d"]
    assert it.lone == 2


def test_without_stamps_the_first_new_row_ends_what_may_be_repeated() -> None:
    it: LineMerger[str] = LineMerger()
    it.join(1)
    it.join(2, ["a", "b", "b"])
    it.settle(2)
    assert it.add(2, ["b", "b", "c", "b"]) == ["c", "b"]
