from __future__ import annotations

import sys
import time

import pytest

from trio_projectx.connection.ntp import (
    SystemClock,
    Timex,
    clock_health,
    judge,
    read_timex,
    suspended_s,
    system_clock,
)


@pytest.mark.parametrize(
    ("answer", "status", "is_synchronised"),
    [
        (0, 0x0001, True),
        (0, 0x2001, True),  # STA_NANO | STA_PLL
        (1, 0x0011, True),  # a leap second is to be inserted
        (5, 0x0040, False),
        (5, 0x0000, False),  # TIME_ERROR for another reason
        (0, 0x0041, False),
    ],
)
def test_what_the_kernel_answered(answer: int, status: int, is_synchronised: bool) -> None:
    assert judge(answer, Timex(status=status, maxerror=16_500)) == SystemClock(is_synchronised, 16.5)


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex(2) is Linux's")
def test_the_kernel_is_read_in_the_layout_that_it_writes() -> None:
    found = read_timex()
    if found is None:
        pytest.skip("adjtimex is not allowed here")
    answer, timex = found
    assert abs(timex.seconds - time.time()) < 5  # the ninth field: what is before it has its place
    assert 9000 <= timex.tick <= 11_000
    assert 0 <= answer <= 5
    assert timex.modes == 0
    assert system_clock() is not None
    assert 0 <= judge(answer, timex).max_error_ms < 1e9


def test_elsewhere_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert read_timex() is None
    found = clock_health(12.5, True)
    assert (found.is_synchronised, found.max_error_ms) == (None, None)
    assert (found.skew_ms, found.is_skewed) == (12.5, True)


def test_the_two_sources_stand_side_by_side() -> None:
    system, found = system_clock(), clock_health(None, False)
    assert found.is_synchronised is (None if system is None else system.is_synchronised)
    assert (found.skew_ms, found.is_skewed) == (None, False)


def test_a_machine_that_is_awake_is_not_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    first = suspended_s()
    time.sleep(0.02)
    second = suspended_s()
    if sys.platform == "linux":
        assert first is not None
        assert second is not None
        assert first >= 0
        assert second - first < 0.015  # 20 ms passed, but awake
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert suspended_s() is None
