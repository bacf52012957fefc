from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.buckets import KEYS_MAX, Buckets, Limit


def test_the_window_slides() -> None:
    buckets = Buckets(Limit(3, 10.0))
    assert [buckets.take("a", now) for now in (0.0, 1.0, 2.0)] == [0, 0, 0]
    assert buckets.take("a", 2.5) == 8
    assert buckets.take("a", 9.999) == 1
    assert buckets.take("a", 10.0) == 0
    assert buckets.take("a", 10.5) == 1
    assert buckets.take("b", 10.5) == 0  # each token has its own


@given(st.lists(st.integers(0, 24).map(lambda eighths: eighths / 8), max_size=60))
def test_never_more_than_so_many_in_any_window(steps: list[float]) -> None:
    buckets, now, passed = Buckets(Limit(4, 5.0)), 0.0, []
    for step in steps:
        now += step
        wait = buckets.take("k", now)
        recent = [at for at in passed if at > now - 5.0]
        assert (wait == 0) == (len(recent) < 4)
        if wait == 0:
            passed.append(now)
        else:
            assert now + wait - 1 < recent[0] + 5.0 <= now + wait


def test_the_keys_are_bounded() -> None:
    buckets = Buckets(Limit(1, 1e9))
    for number in range(KEYS_MAX + 10):
        assert buckets.take(str(number), 0.0) == 0
    assert buckets.take("0", 0.0) == 0  # forgotten
    assert buckets.take(str(KEYS_MAX), 0.0) > 0


def test_keys_that_ask_no_more_are_forgotten() -> None:
    buckets = Buckets(Limit(2, 10.0))
    for number in range(1000):  # a token each minute, which asks twice
        assert [buckets.take(f"token {number}", 60.0 * number + more) for more in (0, 1)] == [0, 0]
        assert len(buckets._times) <= 2
    assert buckets.take("token 999", 60.0 * 999 + 2) == 8
