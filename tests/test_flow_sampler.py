"""Rates out of totals that are looked at now and then."""

from __future__ import annotations

import pytest

from trio_projectx.flow.sampler import EVERY_S, Sampler, Totals


def run(until: float, rate: int, start: float = 100.0, step: float = EVERY_S) -> Sampler:
    sampler = Sampler(start, Totals())
    now = start + step
    while now <= start + until:
        sampler.sample(now, Totals(trades=round((now - start) * rate)))
        now += step
    return sampler


def test_at_the_beginning_there_are_none() -> None:
    found = Sampler(5.0, Totals(3, 4)).statistics(5.0, Totals(3, 4))
    assert found.totals.trades == 4
    assert (found.minute.seconds, found.minute.trades) == (0.0, 0.0)


def test_an_even_flow_has_its_rate_in_every_window() -> None:
    found = run(3000, 7).statistics(3102.0, Totals(trades=3002 * 7))
    for window, least in ((found.ten_seconds, 10), (found.minute, 60), (found.ten_minutes, 600)):
        assert least <= window.seconds <= least + EVERY_S
        assert window.trades == pytest.approx(7)
        assert window.quotes == 0


def test_a_window_is_no_longer_than_the_life() -> None:
    found = run(40, 2).statistics(142.0, Totals(trades=84))
    assert found.ten_minutes.seconds == found.minute.seconds == 42
    assert found.ten_minutes.trades == 2


def test_what_has_stopped_is_gone_from_the_short_window_first() -> None:
    sampler = run(600, 10)
    for step in range(1, 13):
        sampler.sample(700 + step * EVERY_S, Totals(trades=6000))
    found = sampler.statistics(761.0, Totals(trades=6000))
    assert found.ten_seconds.trades == 0
    assert found.minute.trades == 0
    assert found.ten_minutes.trades == pytest.approx(9, abs=0.2)


def test_a_task_that_was_late_makes_a_window_longer_and_no_rate_wrong() -> None:
    sampler = run(600, 10, step=45.0)
    found = sampler.statistics(100 + 603, Totals(trades=6030))
    assert 10 <= found.ten_seconds.seconds <= 55
    assert found.ten_seconds.trades == pytest.approx(10)


def test_it_holds_ten_minutes_and_no_more() -> None:
    sampler = run(20_000, 1)
    assert len(sampler._samples) <= 600 / EVERY_S + 2
    assert sampler.due_at == pytest.approx(20_100 + EVERY_S)
