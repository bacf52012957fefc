"""For how long a contract may have no trade."""

from __future__ import annotations

from trio_projectx.flow.pace import Pace


def test_twice_the_longest_of_the_recent_intervals() -> None:
    pace = Pace()
    assert (pace.last, pace.patience_s) == (None, None)
    pace.heard(10.0)
    for at in (11.0, 14.0, 14.5):
        pace.heard(at)
    assert (pace.last, pace.patience_s) == (14.5, None)
    pace.heard(15.0)
    assert pace.patience_s == 6.0


def test_a_burst_does_not_make_it_forget_and_time_does() -> None:
    pace = Pace()
    pace.heard(0.0)
    pace.heard(5.0)
    for at in range(100):
        pace.heard(5.0 + at / 100)
    assert pace.patience_s == 10.0
    for at in range(1, 140):
        pace.heard(6.0 + at)
    assert pace.patience_s == 2.0


def test_what_was_missed_is_no_interval() -> None:
    pace = Pace()
    pace.heard(0.0)
    pace.heard(1.0)
    pace.broken()
    pace.heard(50.0)
    for at in (51.5, 52.0, 52.5):
        pace.heard(at)
    assert (pace.last, pace.patience_s) == (52.5, 3.0)
