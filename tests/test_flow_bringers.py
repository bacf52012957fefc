"""From when on a line surely brings all trades."""

from __future__ import annotations

import math

import pytest

from trio_projectx.flow.bringers import Bringers

S = 10**9


def test_a_line_brings_from_its_acknowledgement_on() -> None:
    lines = Bringers()
    assert (lines.is_empty, lines.bringing, lines.gap_end(5)) == (True, (), 5)
    lines.join(7, 100 * S, 5.0)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.gap_end(0)) == (False, True, False, None)
    lines.begin(7, 101 * S, 6.0)
    assert (lines.brings(7), lines.bringing, lines.gap_end(0)) == (True, (7,), 101 * S)
    lines.begin(7, 200 * S, 7.0)
    assert lines.gap_end(0) == 101 * S
    lines.leave(7)
    lines.leave(7)
    assert (lines.is_empty, lines.has(7), lines.brings(7), lines.gap_end(0)) == (True, False, False, None)


def test_what_was_traded_after_the_asking_may_be_sent_again_and_ends_no_gap_before_the_acknowledgement() -> (
    None
):
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.begin(7, 101 * S, 6.0)
    assert [lines.gap_end(ts) for ts in (99 * S, 100 * S - 1, 100 * S, 105 * S)] == [
        101 * S,
        101 * S,
        101 * S,
        105 * S,
    ]


def test_what_comes_before_the_acknowledgement_shows_that_it_brings() -> None:
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.heard(7, 5.25)
    assert lines.gap_end(0) == 100 * S + S // 4
    lines.begin(7, 101 * S, 6.0)
    assert lines.gap_end(0) == 100 * S + S // 4


def test_of_several_lines_the_last_one_counts_and_of_their_joins_the_first() -> None:
    lines = Bringers()
    lines.join(1, 100 * S, 5.0)
    lines.begin(1, 101 * S, 6.0)
    lines.join(2, 110 * S, 15.0)
    assert (lines.gap_end(0), lines.joined_ns) == (101 * S, 100 * S)
    lines.begin(2, 111 * S, 16.0)
    assert (lines.gap_end(0), lines.gap_end(110 * S), lines.gap_end(112 * S)) == (111 * S, 111 * S, 112 * S)
    lines.leave(1)
    lines.leave(2)
    lines.join(3, 120 * S, 25.0)
    assert (lines.gap_end(0), lines.joined_ns) == (None, 120 * S)


def market(*, barren: bool, last: float = 20.0) -> Bringers:
    """Trades once in a second, up to ``last``; at 30 another line, beside the first one, or one that was made since."""
    lines = Bringers()
    lines.join(1, 0, 9.0)
    lines.begin(1, 0, 9.5)
    for ago in range(10, -1, -1):
        lines.heard(1, last - ago)
        lines.traded(last - ago)
    if barren:
        lines.missed()
        lines.leave(1)
        lines.join(2, 0, last + 0.5)
        lines.begin(2, 0, last + 0.5)
    lines.join(3, 0, 30.0)
    lines.begin(3, 0, 30.0)
    return lines


@pytest.mark.parametrize(
    ("barren", "last", "at", "silent_from", "found"),
    [
        (False, 20.0, 31.9, 0.0, None),  # it may go without a trade for two seconds
        (False, 20.0, 32.1, 0.0, None),
        (False, 20.0, 35.1, 0.0, True),  # ten seconds without one before there was another line
        (
            False,
            20.0,
            35.1,
            29.0,
            False,
        ),  # of which the market was open for one, or of which the service was asked
        (False, 28.5, 32.1, 0.0, False),
        (False, 26.0, 32.1, 0.0, None),
        (False, 26.0, 35.1, 0.0, False),  # any market may have a pause of five
        (True, 28.5, 32.1, 0.0, None),
        (True, 28.5, 35.1, 0.0, True),  # nothing since it was asked
        (True, 28.5, 35.1, 31.0, False),
    ],
)
def test_who_was_silent_is_in_doubt(
    barren: bool, last: float, at: float, silent_from: float, found: bool | None
) -> None:
    lines = market(barren=barren, last=last)
    waited_s = at - 30.0

    def silent_s(since: float) -> float:
        return max(0.0, at - max(since, silent_from))

    assert lines.doubts(3, waited_s, 30.0, silent_s) is found
    assert lines.doubts(3, waited_s, 1.0, silent_s) is not None


def test_where_nothing_ever_came_nothing_is_in_doubt() -> None:
    lines = Bringers()
    for line in (1, 2):
        lines.join(line, 0, 0.0)
        lines.begin(line, 0, 0.0)
    assert lines.doubts(2, 0.0, 30.0, lambda since: math.inf) is False
    lines.traded(0.0)  # a market without a pace
    assert lines.doubts(2, 0.0, 30.0, lambda since: math.inf) is False


def first_subscription() -> Bringers:
    """It was asked for at 100 s, when trio's clock was at 5, and acknowledged a second later."""
    lines = Bringers()
    lines.join(7, 100 * S, 5.0)
    lines.begin(7, 101 * S, 6.0)
    return lines


@pytest.mark.parametrize(
    ("came", "lacks"),
    [
        # (stamp of the first, of the last, trio's clock) of each batch
        ([(101.5, 101.5, 7.0), (130, 130, 35.0)], None),  # nothing is older than the asking
        ([(40, 50, 6.5), (40, 100.9, 6.6), (102, 102, 7.5), (190, 190, 8.0)], 101.0),  # told once
        ([(40, 102, 7.0)], 101.0),  # in one batch
        ([(99.5, 99.5, 6.5), (101.2, 101.2, 7.7), (103, 103, 8.0)], 100.0),  # how old it was, and not more
        ([(60, 60, 6.5), (90, 90, 36.5), (101, 101, 47.5)], None),  # our clock is 40 s ahead
        ([(60, 60, 6.5), (61, 61, 6.5), (99, 99, 6.6)], None),  # nothing shows it yet, or it is a tape
    ],
)
def test_what_was_sent_first_and_is_older_than_the_asking_shows_that_trades_lack_behind_it(
    came: list[tuple[float, float, float]], lacks: float | None
) -> None:
    lines = first_subscription()
    found = []
    for first, last, now in came:
        lines.heard(7, now)
        stamps = [round(first * S), round(last * S)]
        end, until = lines.ends(stamps)
        assert end == lines.gap_end(stamps[0])
        found += [] if until is None else [until / S]
    assert found == ([] if lacks is None else [lacks])


def test_nobody_sends_a_thousand_trades_again() -> None:
    lines = first_subscription()
    lines.heard(7, 7.0)
    assert lines.ends([40 * S] * 1001) == (101 * S, None)
    assert lines.ends([102 * S]) == (102 * S, None)


def test_a_line_that_comes_to_another_is_sent_nothing_first() -> None:
    lines = first_subscription()
    lines.heard(7, 7.0)
    assert lines.ends([102 * S]) == (102 * S, None)
    lines.join(8, 200 * S, 105.0)
    lines.heard(8, 106.0)
    assert lines.ends([150 * S])[1] is None
    assert lines.ends([210 * S])[1] is None
