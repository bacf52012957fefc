"""The past is one: whatever is asked, when and in which order, a minute has the trades that were streamed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS

from trio_projectx.simulator.candles import Candle, fold
from trio_projectx.simulator.market import Market
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.past import DENSE_BEFORE, HOUR, HOURS_BEYOND, Past, Rates
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.payloads import RecordWriter
from trio_projectx.simulator.products import listed
from trio_projectx.simulator.truth import TradeColumns

MNQ = listed("CON.F.US.MNQ.U26")
NOW = START_NS + 17 * 10**9
MINUTE = NOW // MINUTE_NS


def past(rates: Rates | None = None) -> Past:
    made = Past(3, MNQ, rates or Rates(), NOW)
    made.look(NOW)
    return made


def market(start_ns: int, rate: float = 1.0) -> Market:
    writer = RecordWriter(MNQ.contract_id, MNQ.symbol_id, MNQ.grid)
    return Market(3, writer, MNQ.base_ticks, start_ns, rate, Kind(0))


def of(trades: TradeColumns, span_ns: int = MINUTE_NS) -> dict[int, Candle]:
    return fold(zip(trades.ts_event, trades.price, trades.volume, strict=True), span_ns)


def test_minutes_made_again_are_those_that_were_streamed() -> None:
    streamed = of(market(START_NS - 3 * MINUTE_NS - 1).advance(START_NS - 1).trades)
    again = past()
    for minute, candle in streamed.items():
        assert again.minute(minute, NOW) == candle
    assert len(streamed) == 3


def test_seconds_too_and_together_they_are_the_minute() -> None:
    again = past()
    seconds = again.seconds(MINUTE - 1, NOW)
    assert len(seconds) > 50
    assert seconds == of(market(START_NS - MINUTE_NS - 1).advance(START_NS - 1).trades, 10**9)
    assert sum(candle.volume for candle in seconds.values()) == again.minute(MINUTE - 1, NOW).volume


def test_of_the_present_minute_only_what_has_happened_is_told() -> None:
    expected = of(market(START_NS - 1).advance(NOW).trades)[MINUTE]
    assert past().minute(MINUTE, NOW) == expected
    assert max(past().seconds(MINUTE, NOW)) <= NOW // 10**9
    assert past().minute(MINUTE + 1, NOW) is None
    assert past().seconds(MINUTE + 1, NOW) == {}


def test_a_record_that_begins_within_a_minute_continues_what_was() -> None:
    """Subscribed 17 s into the minute; every candle is as if all had been recorded."""
    recorded, later = past(), NOW + 200 * 10**9
    recorded.begin_record(NOW)
    live = market(NOW)
    recorded.add(live.advance(later).trades)
    expected = of(market(START_NS - 1).advance(later).trades)
    for minute in range(MINUTE, later // MINUTE_NS + 1):
        assert recorded.minute(minute, later) == expected[minute]
    made = recorded.made
    assert recorded.minute(MINUTE + 1, later) == expected[MINUTE + 1]
    assert recorded.made == made  # nothing was made again for it
    seconds = of(market(START_NS - 1).advance(later).trades, 10**9)
    for minute in range(MINUTE, MINUTE + 3):
        wanted = {at: candle for at, candle in seconds.items() if at // 60 == minute}
        assert recorded.seconds(minute, later) == wanted


@given(st.lists(st.tuples(st.integers(1, 90), st.sampled_from([0.0, 0.1, 3.0])), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_changes_of_the_rate_are_remembered(changes: list[tuple[int, float]]) -> None:
    rates, live, at, rows = Rates(), market(START_NS - 1), START_NS - 1, []
    for seconds, rate in changes:
        at += seconds * 10**9
        rows += [live.advance(at).trades]
        live.rate = rate
        live.jump(at)
        rates.change(at, rate)
    at += 30 * 10**9
    rows += [live.advance(at).trades]
    again = past(rates)
    again.look(at)
    expected: dict[int, Candle] = {}
    for part in rows:
        for minute, candle in of(part).items():
            expected[minute] = expected[minute].merged(candle) if minute in expected else candle
    for minute in range(START_NS // MINUTE_NS, at // MINUTE_NS + 1):
        assert again.minute(minute, at) == expected.get(minute)


def test_a_change_at_the_instant_of_a_trade_comes_after_it() -> None:
    at = market(START_NS - 1).advance(NOW).trades.ts_event[50]
    rates, live = Rates(), market(START_NS - 1)
    before = live.advance(at).trades
    live.rate = 0.0
    live.jump(at)
    rates.change(at, 0.0)
    assert before.ts_event[-1] == at
    assert len(live.advance(NOW).trades) == 0
    assert past(rates).minute(MINUTE, NOW) == of(before)[MINUTE]
    # And the other way about: after it nothing of it is made again.
    rates = Rates()
    rates.change(START_NS - 10**9, 0.0)
    rates.change(at, 1.0)
    assert past(rates).minute(MINUTE, NOW).first_ns > at


def test_what_lies_back_is_coarse_and_costs_nothing() -> None:
    again = past()
    for back in range(DENSE_BEFORE + 1, DENSE_BEFORE + 3000):
        assert again.minute(MINUTE - back, NOW) is not None
    assert again.made == 0
    assert 1 <= len(again.seconds(MINUTE - DENSE_BEFORE - 10, NOW)) <= 4
    again.minute(MINUTE - DENSE_BEFORE, NOW)
    assert again.made == 1


@pytest.mark.parametrize("hours_ago", [0, 1, 2, 3, 500, HOURS_BEYOND // HOUR - 2, HOURS_BEYOND // HOUR + 5])
def test_an_hour_is_its_minutes_whichever_is_asked_first(hours_ago: int) -> None:
    hour = MINUTE // HOUR - hours_ago
    first, second = past(), past()
    whole = first.hour(hour, NOW)
    if hours_ago > HOURS_BEYOND // HOUR:
        assert whole is not None  # minutes that far back cannot be asked for
        return
    minutes = [second.minute(minute, NOW) for minute in range(hour * HOUR, hour * HOUR + HOUR)]
    found = [candle for candle in minutes if candle is not None]
    for candle in found[1:]:
        found[0] = found[0].merged(candle)
    assert whole == found[0] == second.hour(hour, NOW)


def test_a_minute_never_changes_once_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody looked for longer than what is made dense afterwards, and when it is streamed later."""
    monkeypatch.setattr("trio_projectx.simulator.past.DENSE_BEFORE", 6)
    monkeypatch.setattr("trio_projectx.simulator.past.DENSE_AFTER", 20)
    again, told = past(), {}
    now = NOW
    for step_minutes in (3, 18, 60, 5, 45):
        for minute in range(now // MINUTE_NS - 30, now // MINUTE_NS):
            assert told.setdefault(minute, candle := again.minute(minute, now)) == candle
        now += step_minutes * MINUTE_NS
        again.look(now)
    again.begin_record(now)
    again.add(market(now).advance(now + 3 * MINUTE_NS).trades)
    now += 3 * MINUTE_NS
    again._minutes.clear()
    assert {minute: again.minute(minute, now) for minute in told} == told
    dense = [
        candle
        for candle in told.values()
        if candle is not None and candle.last_ns - candle.first_ns > 58 * 10**9
    ]
    assert 20 < len(dense) < len(told)


def test_a_minute_in_which_nothing_was_streamed_is_empty() -> None:
    rates = Rates()
    rates.change(NOW, 0.0)
    recorded = past(rates)
    recorded.begin_record(NOW)
    for later in range(1, 500, 20):
        assert recorded.minute(MINUTE + later, NOW + later * MINUTE_NS) is None
        assert recorded.seconds(MINUTE + later, NOW + later * MINUTE_NS) == {}
        recorded.look(NOW + later * MINUTE_NS)


def test_a_tapes_past_is_what_it_played() -> None:
    played = Past.of_tape()
    assert played.minute(5, NOW) is None
    assert played.hour(5, NOW) is None
    trades = TradeColumns(
        [5 * MINUTE_NS, 5 * MINUTE_NS + 1, 7 * MINUTE_NS], [1.0, 3.0, 2.0], [1, 0, 4], [0, 0, 0]
    )
    played.add(trades)
    assert played.minute(5, NOW) == Candle(5 * MINUTE_NS, 5 * MINUTE_NS + 1, 1.0, 3.0, 1.0, 3.0, 1)
    assert played.minute(6, NOW) is None
    assert played.hour(0, NOW).volume == 5
    assert list(played.seconds(5, NOW)) == [300]
    assert played.made == 0


SPAN = st.tuples(st.integers(0, 40), st.integers(1, 40))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 9)), max_size=12), SPAN)
def test_a_span_knows_every_rate_in_it(steps: list[tuple[int, float]], span: tuple[int, int]) -> None:
    rates, model, at = Rates(), dict.fromkeys(range(100), 1.0), 0
    for step, rate in steps:
        at += step
        rates.change(at, rate)
        model |= dict.fromkeys(range(at + 1, 100), rate)
    start, end = span[0], sum(span)
    for each in (rates, rates.copy()):
        found = {n: rate for after, upto, rate in each.of(start, end) for n in range(after + 1, upto + 1)}
        assert {n: found.get(n) for n in range(start, end + 1)} == {
            n: model[n] for n in range(start, end + 1)
        }


def test_changes_of_the_rate_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_projectx.simulator.past.CHANGES_KEPT", 64)
    rates = Rates()
    for at in range(1, 1000):
        rates.change(10 * at, float(at))
        assert len(rates._since) == len(rates._rates) <= 64
    assert list(rates.of(9_981, 9_995)) == [(9_980, 9_990, 998.0), (9_990, 9_995, 999.0)]
    ((_, _, oldest),) = rates.of(0, 5)
    assert oldest == rates._rates[0] > 900
