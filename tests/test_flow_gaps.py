from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import Gap
from trio_projectx.flow.gaps import QUIET_S, Broken, Covered, GapWatch

ID = "CON.F.US.MNQ.Z26"


def watch(last_ts: int | None = 1000) -> GapWatch:
    gaps = GapWatch(ID)
    gaps.last_ts = last_ts
    return gaps


def test_a_gap_is_from_the_last_item_to_the_next_one() -> None:
    gaps = watch()
    assert (gaps.is_open, gaps.due_at, gaps.end(5)) == (False, math.inf, None)
    gaps.begin(Broken("gone", 7, 900))
    assert gaps.is_open
    assert gaps.end(1500) == Gap(ID, 1000, 1500, "gone")
    assert (gaps.is_open, gaps.end(1600)) == (False, None)


def test_before_any_item_it_is_from_where_the_subscription_began() -> None:
    gaps = watch(None)
    gaps.begin(Broken("gone", 0, 900))
    assert gaps.end(1500) == Gap(ID, 900, 1500, "gone")


def test_it_ends_by_itself_where_nothing_comes_to_the_new_connection() -> None:
    gaps = watch()
    gaps.begin(Broken("gone", 7, 900))
    assert gaps.due_at == math.inf  # nobody brings it yet
    gaps.covered(Covered(50.0))
    assert gaps.due_at == 50.0 + QUIET_S
    gaps.covered(Covered(51.0))  # a second connection beside the first one
    assert gaps.due_at == 50.0 + QUIET_S
    assert gaps.end(1200) == Gap(ID, 1000, 1200, "gone")
    assert gaps.due_at == math.inf


def test_a_second_loss_before_its_end_goes_on_with_it() -> None:
    gaps = watch()
    gaps.begin(Broken("first", 7, 900))
    gaps.covered(Covered(50.0))
    gaps.begin(Broken("second", 9, 1700))
    assert gaps.due_at == math.inf
    assert gaps.end(2000) == Gap(ID, 1000, 2000, "first")


def test_without_a_gap_nothing_is_covered() -> None:
    gaps = watch()
    gaps.covered(Covered(50.0))
    assert gaps.due_at == math.inf
    gaps.begin(Broken("gone", 7, 900))
    assert gaps.due_at == math.inf


@given(st.lists(st.one_of(st.integers(0, 50), st.sampled_from(["begin", "cover"]))))
def test_gaps_are_in_order_and_never_backwards(steps: list[int | str]) -> None:
    """Also where an item after it has an older stamp than the one before it."""
    gaps, found = GapWatch(ID), list[Gap]()
    for number, step in enumerate(steps):
        if step == "begin":
            gaps.begin(Broken(f"no. {number}", number, 25))
        elif step == "cover":
            gaps.covered(Covered(float(number)))
        else:
            was_open = gaps.is_open
            gap = gaps.end(int(step))
            assert (gap is not None) is was_open
            gaps.last_ts = int(step)
            found += [] if gap is None else [gap]
        assert (gaps.due_at < math.inf) <= gaps.is_open
    assert all(gap.start <= gap.end for gap in found)
