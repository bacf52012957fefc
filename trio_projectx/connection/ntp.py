"""What the kernel says of its clocks: whether the system's is kept right, and how long the machine has slept.

Reads only, by adjtimex(2) and clock_gettime(2), which return at once; everywhere but on Linux, and where a sandbox
forbids them, nothing is known. "Not synchronised" is what the kernel was told: chrony without ``rtcsync`` and some
virtual machines keep a good clock and never say so. So it explains a skew, and is no fault by itself.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Final

import attrs

from trio_projectx.connection.health import ClockHealth

_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5


class Timex(ctypes.Structure):
    """``struct timex`` of the C library's adjtimex, in the widths of its own ABI, and room behind it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_long),
        ("tick", ctypes.c_long),  # microseconds between clock ticks: 10,000 for a clock that runs right
        ("rest", ctypes.c_char * 256),
    )


@attrs.frozen(slots=True)
class SystemClock:
    """Whether something keeps the system's clock right, and by how much it is off at most."""

    is_synchronised: bool
    max_error_ms: float


def system_clock() -> SystemClock | None:
    """Return what the kernel says of the system's clock; None where it does not say."""
    found = read_timex()
    return None if found is None else judge(*found)


def clock_health(skew_ms: float | None, is_skewed: bool) -> ClockHealth:
    """Put what the data say of our clock beside what the kernel says of it."""
    found = system_clock()
    return ClockHealth(
        is_synchronised=None if found is None else found.is_synchronised,
        max_error_ms=None if found is None else found.max_error_ms,
        skew_ms=skew_ms,
        is_skewed=is_skewed,
    )


def judge(answer: int, timex: Timex) -> SystemClock:
    """Read what adjtimex answered."""
    is_synchronised = answer != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return SystemClock(is_synchronised, timex.maxerror / 1000)


def read_timex() -> tuple[int, Timex] | None:
    """Call adjtimex without changing anything (``modes`` 0 needs no privilege); None if that cannot be done."""
    if sys.platform != "linux":
        return None
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):  # a C library that cannot be opened like this, or has no such call
        return None
    timex = Timex()
    answer = int(adjtimex(ctypes.byref(timex)))
    return None if answer < 0 else (answer, timex)


def suspended_s() -> float | None:
    """Return for how many seconds the machine has been suspended since it was started; None where unknown.

    trio's clock stands still meanwhile, so that no deadline notices; the difference of two of these does. A process
    that was stopped (SIGSTOP) is another matter: there trio's clock goes on.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return None
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    with_sleep = time.clock_gettime(boot)
    after = time.clock_gettime(time.CLOCK_MONOTONIC)
    return max(with_sleep - (before + after) / 2, 0.0)
