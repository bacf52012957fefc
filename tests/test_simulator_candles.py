from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator import candles
from trio_projectx.simulator.candles import SECOND_NS, Candle, Record, fold
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.truth import TradeColumns

stamps = st.integers(0, 200 * SECOND_NS) | st.sampled_from([0, 7, 60 * SECOND_NS])
rows = st.lists(st.tuples(stamps, st.integers(1, 9).map(float), st.integers(1, 5)))


def columns(trades: list[tuple[int, float, int]]) -> TradeColumns:
    return TradeColumns(*([row[at] for row in trades] for at in range(3)), [0] * len(trades))


def naive(trades: list[tuple[int, float, int]], span_ns: int) -> dict[int, tuple]:
    """The same by sorting: stable, so of equal stamps the first came first."""
    found: dict[int, list] = {}
    for row in sorted(trades, key=lambda row: row[0]):
        found.setdefault(row[0] // span_ns, []).append(row)
    return {
        span: (
            of[0][1], max(row[1] for row in of), min(row[1] for row in of), of[-1][1], sum(row[2] for row in of),
        )
        for span, of in found.items()
    }  # fmt: skip


def ohlcv(candle: Candle) -> tuple:
    return candle.open, candle.high, candle.low, candle.close, candle.volume


@given(rows)
def test_candles_are_those_of_the_trades_however_late_they_come(trades: list) -> None:
    record = Record(0)
    record.add(columns(trades[: len(trades) // 2]))
    record.add(columns(trades[len(trades) // 2 :]))
    for kept, span_ns in ((record.seconds, SECOND_NS), (record.minutes, MINUTE_NS)):
        expected = naive(trades, span_ns)
        assert {span: ohlcv(candle) for span, candle in kept.items()} == expected
        assert {span: ohlcv(candle) for span, candle in fold(trades, span_ns).items()} == expected


@given(rows.filter(bool), st.integers(0, 100))
def test_a_candle_can_be_put_together(trades: list, at: int) -> None:
    whole = fold(trades, 10**12)[0]
    first, second = (fold(part, 10**12).get(0) for part in (trades[:at], trades[at:]))
    if first is not None and second is not None:
        assert first.merged(second) == whole


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9).map(float), st.just(1)), min_size=2),
    st.integers(1, 9),
)
def test_of_equal_stamps_the_first_comes_first_also_over_a_seam(trades: list, at: int) -> None:
    first, second = (fold(part, 10**12).get(0) for part in (trades[:at], trades[at:]))
    if first is not None and second is not None:
        assert first.merged(second) == fold(trades, 10**12)[0]


def test_a_record_is_bounded_and_says_from_when_on_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "SECONDS_KEPT", 10)
    monkeypatch.setattr(candles, "MINUTES_KEPT", 2)
    record = Record(5)
    for second in range(200):
        record.add(columns([(second * SECOND_NS, 1.0, 1)]))
    assert list(record.seconds) == list(range(190, 200))
    assert record.seconds_from_ns == 190 * SECOND_NS
    assert list(record.minutes) == [2, 3]
