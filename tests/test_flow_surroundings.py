from __future__ import annotations

import math
import time

import trio

from trio_projectx import ClockSkewed
from trio_projectx.flow.surroundings import Alone, Surroundings


async def test_alone_everything_is_proved_and_our_clock_is_right() -> None:
    alone: Surroundings = Alone(lambda: 77)
    assert alone.proved_until("CON.F.US.MNQ.Z26") == math.inf
    assert alone.exchange_ns() == 77
    for call in (
        lambda: alone.prove(5.0),
        lambda: alone.heard("x", 5.0),
        lambda: alone.stamped("x", 1, 2, 3.0),
        lambda: alone.tell(ClockSkewed(1.0, True, 1)),  # type: ignore[arg-type]  nobody listens to anything
    ):
        assert call() is None
    assert 4.9 < alone.silent_s("x", trio.current_time() - 5.0) < 6.0
    before = time.time_ns()
    assert before <= Alone().exchange_ns() <= time.time_ns()
