"""From when on a line surely brings all trades."""

from __future__ import annotations

from trio_projectx.flow.bringers import Bringers

S = 10**9


def test_a_line_brings_from_its_acknowledgement_on() -> None:
    lines = Bringers()
    assert (lines.is_empty, lines.bringing, lines.since_ns) == (True, (), None)
    lines.join(7, 100 * S, 5.0)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.since_ns) == (False, True, False, None)
    lines.begin(7, 101 * S)
    assert (lines.brings(7), lines.bringing, lines.since_ns) == (True, (7,), 101 * S)
    lines.begin(7, 200 * S)
    assert lines.since_ns == 101 * S
    lines.leave(7)
    lines.leave(7)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.since_ns) == (True, False, False, None)


def test_what_comes_before_the_acknowledgement_shows_that_it_brings() -> None:
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.heard(7, 5.25)
    assert lines.since_ns == 100 * S + S // 4
    lines.begin(7, 101 * S)
    assert lines.since_ns == 100 * S + S // 4


def test_of_several_lines_the_last_one_counts_and_of_their_joins_the_first() -> None:
    lines = Bringers()
    lines.join(1, 100 * S, 5.0)
    lines.begin(1, 101 * S)
    lines.join(2, 110 * S, 15.0)
    assert (lines.since_ns, lines.joined_ns) == (101 * S, 100 * S)
    lines.begin(2, 111 * S)
    assert lines.since_ns == 111 * S
    lines.leave(1)
    lines.leave(2)
    lines.join(3, 120 * S, 25.0)
    assert (lines.since_ns, lines.joined_ns) == (None, 120 * S)
