"""Bars as they come: each judged by itself, each refusal with its reason."""

from __future__ import annotations

import math

import attrs
import msgspec
import pytest
from history_tools import GRID, MINUTE, T0, candle, wire

from trio_projectx.connection.answers import CandlesAnswer, WireCandle
from trio_projectx.history.candles import CROOKED, UNALIGNED, UNTRADED, Fault, read_page
from trio_projectx.market import Reason

GOOD = wire(candle(T0))


def changed(**fields: object) -> WireCandle:
    return msgspec.structs.replace(GOOD, **fields)


BAD: list[tuple[WireCandle, Fault]] = [
    (changed(t="yesterday"), Reason.STAMP_FORM),
    (changed(t="2026-08-18T00:00:00"), Reason.STAMP_FORM),  # no zone
    (changed(t="1500-08-18T00:00:00Z"), Reason.STAMP_RANGE),
    (changed(t="2026-08-18T00:00:01Z"), UNALIGNED),
    (changed(o=None), Reason.SCHEMA),
    (changed(v=None), Reason.SCHEMA),
    (changed(c=math.nan), Reason.PRICE_NOT_FINITE),
    (changed(h=1e9), Reason.PRICE_RANGE),
    (changed(l=-5), Reason.PRICE_NOT_POSITIVE),
    (changed(l=0), Reason.PRICE_NOT_POSITIVE),
    (changed(o=20_000.1), Reason.OFF_GRID),
    (changed(h=GOOD.l), CROOKED),
    (changed(l=GOOD.h), CROOKED),
    (changed(v=-1), Reason.SIZE),
    (changed(v=1.5), Reason.SIZE),
    (changed(v=1 << 63), Reason.SIZE),
    (changed(v=(1 << 40) + 1), Reason.SIZE),  # bars of it would add up to more than an int64 holds
    (changed(v=0), UNTRADED),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(BAD)])
def test_a_bad_bar_has_its_reason_and_takes_no_neighbour_with_it(bad: WireCandle, reason: Fault) -> None:
    neighbour = candle(T0 + MINUTE)
    page = read_page([bad, wire(neighbour)], GRID, MINUTE)
    assert dict(page.faults) == {reason: 1}
    assert page.candles == [neighbour]
    assert page.size == 2


def test_a_good_bar_is_what_it_was() -> None:
    bars = [candle(T0 + n * MINUTE) for n in range(50)]
    page = read_page([wire(bar) for bar in bars], GRID, MINUTE)
    assert page.candles == bars
    assert page.starts == [bar.start for bar in bars]
    assert not page.faults
    whole = attrs.evolve(bars[0], open=20001.0, close=20001.0, high=20002.0, low=20000.0)
    (read,) = read_page(
        [WireCandle("2026-08-18T00:00:00Z", 20001, 20002, 20000, 20001, 5.0)], GRID, MINUTE
    ).candles
    assert read == attrs.evolve(whole, volume=5)
    assert isinstance(read.open, float)
    assert isinstance(read.volume, int)


def test_the_services_own_answer_is_read() -> None:
    """The example of GATEWAY.md section 1.3, and fields of newer versions beside it."""
    text = (
        b'{"bars":[{"t":"2026-08-19T20:51:00+00:00","o":29546,"h":29548.75,"l":29546,"c":29547.25,"v":148,"k":3},'
        b'{"t":"2026-08-19T20:50:00+00:00","o":29541,"h":29547,"l":29540,"c":29545.75,"v":350,"d":null}],'
        b'"success":true,"errorCode":0,"errorMessage":null}'
    )
    answer = msgspec.json.decode(text, type=CandlesAnswer)
    page = read_page(answer.bars or [], GRID, MINUTE)
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in page.candles] == [
        (29546.0, 29548.75, 29546.0, 29547.25, 148),
        (29541.0, 29547.0, 29540.0, 29545.75, 350),
    ]
    assert msgspec.json.decode(b'{"bars":null,"success":true,"errorCode":0}', type=CandlesAnswer).bars is None
