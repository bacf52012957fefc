"""From when on a line surely brings all trades."""

from __future__ import annotations

from trio_projectx.flow.bringers import Bringers

S = 10**9


def test_a_line_brings_from_its_acknowledgement_on() -> None:
    lines = Bringers()
    assert (lines.is_empty, lines.bringing, lines.gap_end(5)) == (True, (), 5)
    lines.join(7, 100 * S, 5.0)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.gap_end(0)) == (False, True, False, None)
    lines.begin(7, 101 * S)
    assert (lines.brings(7), lines.bringing, lines.gap_end(0)) == (True, (7,), 101 * S)
    lines.begin(7, 200 * S)
    assert lines.gap_end(0) == 101 * S
    lines.leave(7)
    lines.leave(7)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.gap_end(0)) == (True, False, False, None)


def test_what_was_traded_after_the_asking_is_not_sent_again_and_ends_the_gap_itself() -> None:
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.begin(7, 101 * S)
    assert [lines.gap_end(ts) for ts in (99 * S, 100 * S - 1, 100 * S, 105 * S)] == [
        101 * S,
        101 * S,
        100 * S,
        105 * S,
    ]


def test_what_comes_before_the_acknowledgement_shows_that_it_brings() -> None:
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.heard(7, 5.25)
    assert lines.gap_end(0) == 100 * S + S // 4
    lines.begin(7, 101 * S)
    assert lines.gap_end(0) == 100 * S + S // 4


def test_of_several_lines_the_last_one_counts_and_of_their_joins_the_first() -> None:
    lines = Bringers()
    lines.join(1, 100 * S, 5.0)
    lines.begin(1, 101 * S)
    lines.join(2, 110 * S, 15.0)
    assert (lines.gap_end(0), lines.joined_ns) == (101 * S, 100 * S)
    lines.begin(2, 111 * S)
    assert (lines.gap_end(0), lines.gap_end(109 * S), lines.gap_end(110 * S)) == (111 * S, 111 * S, 110 * S)
    lines.leave(1)
    lines.leave(2)
    lines.join(3, 120 * S, 25.0)
    assert (lines.gap_end(0), lines.joined_ns) == (None, 120 * S)
