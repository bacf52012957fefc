from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.signalr import KeepAlive


def started(now: float = 100.0) -> KeepAlive:
    clocks = KeepAlive(server_timeout_s=30.0, keep_alive_s=15.0)
    clocks.start(now)
    return clocks


def test_nothing_is_due_before_the_start() -> None:
    clocks = KeepAlive(30.0, 15.0)
    clocks.received(5.0)
    clocks.sent(5.0)
    assert clocks.next_deadline == math.inf
    assert not clocks.ping_due(1e9)
    assert not clocks.is_dead(1e9)


def test_the_first_ping_is_due_at_once() -> None:
    clocks = started(100.0)
    assert clocks.next_deadline == 100.0
    assert clocks.ping_due(100.0)
    clocks.sent(100.0)
    assert not clocks.ping_due(114.999)
    assert clocks.ping_due(115.0)


def test_sending_puts_the_ping_off_and_receiving_does_not() -> None:
    clocks = started(100.0)
    clocks.sent(110.0)
    clocks.received(120.0)
    assert clocks.next_deadline == 125.0
    assert clocks.ping_due(125.0)


def test_silence_is_death_and_sending_does_not_help() -> None:
    clocks = started(100.0)
    clocks.sent(129.0)
    assert not clocks.is_dead(129.999)
    assert clocks.is_dead(130.0)
    clocks.received(129.0)
    assert not clocks.is_dead(130.0)
    assert clocks.is_dead(159.0)


def test_after_a_stop_nothing_is_due_and_a_new_start_is_a_new_life() -> None:
    clocks = started(100.0)
    clocks.stop()
    clocks.received(101.0)
    clocks.sent(101.0)
    assert clocks.next_deadline == math.inf
    clocks.start(500.0)
    assert clocks.ping_due(500.0)
    assert not clocks.is_dead(529.0)


@given(
    st.lists(st.tuples(st.sampled_from(["received", "sent"]), st.floats(0, 40)), max_size=20),
    st.floats(0, 1e9),
)
def test_the_deadline_is_exactly_when_something_is_due(steps: list[tuple[str, float]], begin: float) -> None:
    clocks = KeepAlive(30.0, 15.0)
    clocks.start(begin)
    now = begin
    for name, wait in steps:
        now += wait
        {"received": clocks.received, "sent": clocks.sent}[name](now)
        deadline = clocks.next_deadline
        assert clocks.ping_due(deadline) or clocks.is_dead(deadline)
        just_before = math.nextafter(deadline, -math.inf)
        assert not clocks.ping_due(just_before)
        assert not clocks.is_dead(just_before)
