"""The breaker of a builder, against a model that is a list of what was tried."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.bars.breaker import Breaker

S = 10**9


def test_three_failures_in_a_row_open_it_and_one_success_closes_it() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0)
    assert (breaker.state, breaker.allows(0)) == ("closed", True)
    breaker.failed(5)
    assert (breaker.state, breaker.allows(S + 4), breaker.state) == ("open", False, "open")
    assert (breaker.allows(S + 5), breaker.state) == (True, "half_open")
    breaker.failed(S + 5)
    assert [breaker.allows(at) for at in (3 * S + 4, 3 * S + 5)] == [False, True]
    breaker.succeeded()
    assert (breaker.state, breaker.allows(3 * S + 5)) == ("closed", True)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 90 * S), st.booleans()), max_size=80))
def test_it_asks_less_and_less_but_never_stops_asking(script: list[tuple[int, bool]]) -> None:
    breaker, now = Breaker(), 0
    in_a_row, pause, opened = 0, S, None
    for apart, works in script:
        now += apart
        asked = breaker.allows(now)
        assert asked == (opened is None or now >= opened + pause)
        if not asked:
            continue
        if works:
            breaker.succeeded()
            in_a_row, pause, opened = 0, S, None
            continue
        breaker.failed(now)
        in_a_row += 1
        if opened is not None:
            pause = min(2 * pause, 60 * S)
        if in_a_row >= 3:
            opened = now
    assert breaker.allows(now + 60 * S)
