from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.simulator.candles import fold
from trio_projectx.simulator.coarse import Coarse
from trio_projectx.simulator.path import MINUTE_NS, level
from trio_projectx.simulator.products import listed

MNQ = listed("CON.F.US.MNQ.U26")


def coarse(seed: int = 1, minutes: int = 1) -> Coarse:
    return Coarse(seed, MNQ.contract_id, MNQ.base_ticks, MNQ.grid, minutes)


@given(st.integers(0, 2**40), st.integers(10**6, 10**8), st.sampled_from([1, 60]), st.integers(1, 70))
@settings(max_examples=60)
def test_candles_are_those_of_the_trades(seed: int, span: int, minutes: int, count: int) -> None:
    made = coarse(seed, minutes)
    rows = [row for at in range(span, span + count) for row in made.trades(at)]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    assert made.candle(span, count) == fold(rows, 1 << 80)[0]
    singly = [fold(made.trades(at), minutes * MINUTE_NS) for at in range(span, span + count)]
    assert [list(candles) for candles in singly] == [[at] for at in range(span, span + count)]


@given(st.integers(10**6, 10**8))
@settings(max_examples=30)
def test_it_lies_on_the_path_and_the_grid(minute: int) -> None:
    rows = coarse().trades(minute)
    for stamp, price, volume in rows:
        assert stamp % 10**6 == 0
        assert volume > 0
        assert MNQ.grid.ticks(price) is not None
        near = MNQ.base_ticks + level(1, MNQ.contract_id, minute)
        assert abs(MNQ.grid.ticks(price) - near) < 300


def test_it_is_a_function_of_seed_and_minute() -> None:
    assert coarse().candle(29_786_211) == coarse().candle(29_786_211)
    assert coarse().candle(29_786_211) != coarse(2).candle(29_786_211)


@pytest.mark.parametrize("minutes", [1, 60])
def test_the_volume_is_that_of_a_dense_market(minutes: int) -> None:
    made = coarse(minutes=minutes)
    volumes = [made.candle(at).volume for at in range(500_000, 500_500)]
    assert sum(volumes) / 500 == pytest.approx(2_200 * minutes, rel=0.15)
    assert len(set(volumes)) > 300
