"""The levels of memory pressure: one step at a look, back with hysteresis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_projectx as px
from trio_projectx._memory import MemoryLevel
from trio_projectx.pressure.levels import Levels

N, T, H, S, L = MemoryLevel


def test_it_goes_up_by_one_step_at_a_look() -> None:
    levels = Levels(px.MemoryOptions())
    assert [levels.look(0.99, at) for at in range(6)] == [T, H, S, L, L, L]


def test_the_last_level_is_not_left_and_not_gone_to_where_it_is_not_wanted() -> None:
    levels = Levels(px.MemoryOptions())
    for at in range(4):
        levels.look(0.99, at)
    assert levels.look(0.0, 1e6) is L
    stays = Levels(px.MemoryOptions(exits=False))
    assert [stays.look(1.0, at) for at in range(6)] == [T, H, S, S, S, S]


def test_it_goes_back_only_after_a_calm_time_below_the_threshold_less_the_way_back() -> None:
    levels = Levels(px.MemoryOptions(calm_s=30))
    assert levels.look(0.71, 0) is T
    assert levels.look(0.66, 10) is T  # below the threshold, but not by enough
    assert levels.look(0.60, 20) is T
    assert levels.look(0.66, 40) is T  # it was not calm
    assert levels.look(0.60, 45) is T
    assert levels.look(0.60, 74.9) is T
    assert levels.look(0.60, 75) is N


def test_each_step_back_takes_its_own_calm_time() -> None:
    levels = Levels(px.MemoryOptions(calm_s=10))
    for at in range(3):
        levels.look(0.95, at)
    assert levels.level is S
    assert [levels.look(0.1, at) for at in (10, 20, 29, 30, 40, 50)] == [S, H, H, T, N, N]


def test_it_looks_more_often_where_memory_may_become_scarce() -> None:
    levels = Levels(px.MemoryOptions(look_s=5))
    assert (levels.next_look_s(None), levels.next_look_s(0.34)) == (5, 5)
    assert levels.next_look_s(0.35) == 1
    levels.look(0.8, 0)
    assert levels.next_look_s(0.1) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 100)), max_size=60))
def test_whatever_comes_it_moves_by_single_steps_and_never_back_at_once(
    looks: list[tuple[float, float]],
) -> None:
    levels, now, went_up_at = Levels(px.MemoryOptions(calm_s=30)), 0.0, -1.0
    for share, wait in looks:
        now += wait
        before = levels.level
        step = levels.look(share, now).rank - before.rank
        assert abs(step) <= 1
        if step > 0:
            went_up_at = now
        if step < 0:
            assert now - went_up_at >= 30
            assert before is not L


@pytest.mark.parametrize(
    "wrong", [{"tight_share": 0.9}, {"last_share": 0.9}, {"back_share": 0.7}, {"severe_share": 0.5}]
)
def test_shares_ascend(wrong: dict[str, float]) -> None:
    with pytest.raises(px.ConfigError, match="must ascend"):
        px.MemoryOptions(**wrong)  # type: ignore[arg-type]
