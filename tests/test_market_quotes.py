from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._config import Limits
from trio_projectx._errors import ContractError
from trio_projectx._events import Quote
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.quotes import QuoteMerger
from trio_projectx.market.reasons import Reason
from trio_projectx.market.wire import WireQuote

MNQ = "CON.F.US.MNQ.U26"
STAMP = "2026-08-19T20:51:31.348+00:00"
NS = 1_787_172_691_348_000_000
FINE = "2026-08-19T20:51:31.4347534+00:00"
FINE_NS = 1_787_172_691_434_753_400
LIMITS = Limits()


def merger(grid: PriceGrid | None = None, contract: str = MNQ) -> QuoteMerger:
    return QuoteMerger(contract, grid, stamp_min_ns=LIMITS.stamp_min_ns, stamp_max_ns=LIMITS.stamp_max_ns)


def merged(it: QuoteMerger, ts_recv: int = 0, **fields: Any) -> Quote:
    quote = it.merge(WireQuote(**{"timestamp": STAMP, **fields}), ts_recv)
    assert quote is not None
    return quote


def test_what_is_absent_stays_what_it_was() -> None:
    it = merger()
    assert merged(it, 1, best_bid=10.0, best_ask=10.5) == Quote(MNQ, NS, 1, bid=10.0, ask=10.5)
    assert merged(it, 2, best_ask=10.25, last_price=10.25) == Quote(
        MNQ, NS, 2, bid=10.0, ask=10.25, last=10.25
    )
    assert merged(it, 3) == Quote(MNQ, NS, 3, bid=10.0, ask=10.25, last=10.25)


def test_every_field_arrives_in_its_place() -> None:
    wire = WireQuote("F.US.MNQ", MNQ, 1.0, 2.0, 3.0, -4.0, -5.0, 6.0, 7.0, 8.0, 9, FINE, STAMP)
    assert merger().merge(wire, 10) == Quote(
        contract_id=MNQ,
        ts_event=FINE_NS,
        ts_recv=10,
        bid=2.0,
        ask=3.0,
        last=1.0,
        open=6.0,
        high=7.0,
        low=8.0,
        change=-4.0,
        change_percent=-5.0,
        volume=9,
    )


def test_the_newer_stamp_is_preferred_and_the_last_one_stays() -> None:
    it = merger()
    assert merged(it, last_updated=FINE).ts_event == FINE_NS
    assert merged(it).ts_event == NS
    assert merged(it, timestamp=None, last_updated=FINE).ts_event == FINE_NS
    assert merged(it, timestamp=None).ts_event == FINE_NS


def test_a_bad_stamp_gives_way_to_the_other() -> None:
    it = merger()
    assert merged(it, last_updated="2026-02-30T00:00:00Z").ts_event == NS
    assert merged(it, last_updated="2999-01-01T00:00:00Z", timestamp="x").ts_event == NS
    counts = it.counts.rejected
    assert (counts.stamp_form, counts.stamp_range, counts.total) == (2, 1, 3)


def test_before_any_stamp_fields_are_taken_but_nothing_is_told() -> None:
    it = merger()
    assert it.merge(WireQuote(best_bid=10.0), 0) is None
    assert it.merge(WireQuote(best_ask=11.0, timestamp="nonsense"), 0) is None
    assert merged(it) == Quote(MNQ, NS, 0, bid=10.0, ask=11.0)
    counts = it.counts
    assert (counts.received, counts.merged, counts.unstamped, counts.foreign) == (3, 1, 2, 0)


PRICE_FIELDS = {
    "best_bid": "bid",
    "best_ask": "ask",
    "last_price": "last",
    "open": "open",
    "high": "high",
    "low": "low",
}


@pytest.mark.parametrize(("wire", "field"), PRICE_FIELDS.items())
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (math.nan, Reason.PRICE_NOT_FINITE),
        (math.inf, Reason.PRICE_NOT_FINITE),
        (0.0, Reason.PRICE_NOT_POSITIVE),
        (-1.0, Reason.PRICE_NOT_POSITIVE),
        (1e308, Reason.PRICE_RANGE),
        (10.1, Reason.OFF_GRID),
    ],
)
def test_a_bad_price_leaves_the_old_one_and_the_other_fields_go_on(
    wire: str, field: str, bad: float, reason: Reason
) -> None:
    it = merger(PriceGrid(1, 4))
    merged(it, **{wire: 10.25})
    quote = merged(it, 1, volume=7, **{wire: bad})
    assert getattr(quote, field) == 10.25
    assert quote.volume == 7
    assert getattr(it.counts.rejected, reason.value) == 1 == it.counts.rejected.total
    (rejection,) = it.rejections
    assert rejection.reason is reason
    assert rejection.ts_recv == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"change": math.nan}, Reason.PRICE_NOT_FINITE),
        ({"change_percent": -math.inf}, Reason.PRICE_NOT_FINITE),
        ({"volume": -1}, Reason.SIZE),
        ({"volume": 2**63}, Reason.SIZE),
        ({"volume": 10**4000}, Reason.SIZE),
    ],
)
def test_other_bad_values(fields: dict[str, Any], reason: Reason) -> None:
    it = merger()
    first = merged(it, change=1.5, change_percent=0.1, volume=5)
    assert merged(it, **fields) == first
    assert getattr(it.counts.rejected, reason.value) == 1
    assert it.rejections[0].text.isprintable()
    assert len(it.rejections[0].text) <= 200


def test_without_a_grid_any_price_is_one() -> None:
    assert merged(merger(), best_bid=10.1).bid == 10.1


def test_a_session_volume_of_zero_and_a_change_of_zero_are_values() -> None:
    quote = merged(merger(), volume=0, change=0.0, change_percent=0.0)
    assert (quote.volume, quote.change, quote.change_percent) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    "whose",
    [
        {"contract": "CON.F.US.MNQ.Z26"},
        {"contract": ""},
        {"symbol": "F.US.MES"},
        {"symbol": "x" * 10_000 + "\r\n", "contract": MNQ},
    ],
)
def test_a_foreign_quote_is_not_merged_at_all(whose: dict[str, str]) -> None:
    it = merger()
    merged(it, best_bid=10.0)
    assert it.merge(WireQuote(best_bid=99.0, timestamp=STAMP, **whose), 0) is None
    assert merged(it).bid == 10.0
    assert (it.counts.foreign, it.counts.rejected.foreign_contract) == (1, 1)
    assert it.rejections[0].text.isprintable()
    assert len(it.rejections[0].text) <= 200


def test_locked_and_crossed_quotes_are_passed_on_and_counted() -> None:
    it = merger()
    merged(it, best_bid=10.0, best_ask=10.0)
    assert merged(it, best_bid=10.25).bid == 10.25
    merged(it, best_ask=10.5)
    assert (it.counts.locked, it.counts.crossed, it.counts.merged) == (1, 1, 3)


def test_forgetting_forgets_fields_and_stamp_but_no_counts() -> None:
    it = merger()
    merged(it, best_bid=10.0)
    it.forget()
    assert it.merge(WireQuote(best_ask=11.0), 0) is None
    assert merged(it) == Quote(MNQ, NS, 0, ask=11.0)
    assert it.counts.received == 3


def test_what_the_decoder_refused_is_counted_with_the_rest() -> None:
    it = merger()
    it.refuse(Reason.SCHEMA, "bestBid: a string instead of a number", 1, 4)
    assert it.counts.rejected.schema == 4
    assert it.counts.received == 0


def test_it_is_for_a_contract_only() -> None:
    with pytest.raises(ContractError):
        merger(contract="MNQ")


NUMBERS = st.none() | st.floats() | st.integers(1, 400).map(lambda ticks: ticks / 4)
WIRES = st.builds(
    WireQuote,
    symbol=st.sampled_from([None, None, "F.US.MNQ", "F.US.MES"]),
    contract=st.sampled_from([None, MNQ]),
    last_price=NUMBERS,
    best_bid=NUMBERS,
    best_ask=NUMBERS,
    change=NUMBERS,
    change_percent=NUMBERS,
    open=NUMBERS,
    high=NUMBERS,
    low=NUMBERS,
    volume=st.none() | st.integers(),
    last_updated=st.sampled_from([None, FINE, "x"]),
    timestamp=st.sampled_from([None, STAMP, "2999-01-01T00:00:00Z"]),
)


@given(st.lists(WIRES, max_size=15))
@settings(max_examples=40)
def test_every_told_price_is_on_the_grid_and_was_sent_and_the_counts_add_up(wires: list[WireQuote]) -> None:
    grid = PriceGrid(1, 4)
    it = merger(grid)
    sent: dict[str, set[float | None]] = {name: {None} for name in PRICE_FIELDS}
    for wire in wires:
        quote = it.merge(wire, 0)
        for name, field in PRICE_FIELDS.items():
            sent[name].add(getattr(wire, name))
            if quote is not None:
                told = getattr(quote, field)
                assert told is None or (told > 0 and grid.ticks(told) is not None)
                assert told in sent[name]
        if quote is not None:
            assert quote.ts_event in (NS, FINE_NS)
    counts = it.counts
    assert counts.received == len(wires) == counts.merged + counts.foreign + counts.unstamped
