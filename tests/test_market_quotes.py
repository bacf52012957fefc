from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._config import Limits
from trio_projectx._errors import ContractError
from trio_projectx._events import Quote
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.quotes import QuoteMerger
from trio_projectx.market.reasons import Reason
from trio_projectx.market.stamps import format_stamp
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


# --- several lines


def on(line: int, it: QuoteMerger, ms: int, **fields: Any) -> Quote | None:
    updated = format_stamp(NS + ms * 10**6, 7)
    return it.merge(WireQuote(last_updated=updated, timestamp=STAMP, **fields), ms, line)


def pair() -> QuoteMerger:
    it = merger()
    it.join(1)
    it.join(2)
    assert it.settle(2, 0) is None
    return it


def test_an_update_of_two_lines_is_merged_once_and_equal_ones_as_often_as_one_line_brings_them() -> None:
    it = pair()
    assert on(1, it, 1, best_bid=10.0) == Quote(MNQ, NS + 10**6, 1, bid=10.0)
    assert on(1, it, 1, best_bid=10.0) is not None
    assert on(2, it, 1, best_bid=10.0) is on(2, it, 1, best_bid=10.0) is None
    assert on(2, it, 1, best_bid=10.0) is not None
    assert (it.counts.received, it.counts.merged, it.counts.duplicates) == (5, 3, 2)


def test_a_line_that_joins_waits_until_the_other_has_brought_what_it_began_with() -> None:
    it = merger()
    it.join(1)
    it.join(2)
    assert on(2, it, 3, last_price=3.0) is on(2, it, 4, best_ask=4.0) is None
    assert (it.counts.waiting, it.is_level(2)) == (2, False)
    on(1, it, 1, best_bid=1.0)
    on(1, it, 3, last_price=3.0)
    assert not it.is_level(2)
    assert on(1, it, 4, best_ask=4.0) == Quote(MNQ, NS + 4 * 10**6, 4, bid=1.0, ask=4.0, last=3.0)
    assert (it.counts.waiting, it.counts.duplicates, it.is_level(2)) == (0, 2, True)
    assert it.leave(1, 5) is None
    assert on(1, it, 5, best_ask=5.0) is None
    quote = on(2, it, 6, best_ask=6.0)
    assert quote is not None
    assert (quote.bid, quote.ask, it.counts.duplicates) == (1.0, 6.0, 3)


@pytest.mark.parametrize("how", ["settle", "leave"])
def test_what_waited_is_merged_when_nothing_else_will_show_that_a_line_is_level(how: str) -> None:
    it = merger()
    it.join(1)
    it.join(2)
    on(2, it, 3, best_bid=3.0)
    on(2, it, 4, best_ask=4.0)
    it.merge(WireQuote(best_ask=5.0, timestamp="x"), 4, 2)
    quote = it.settle(2, 9) if how == "settle" else it.leave(1, 9)
    assert quote == Quote(MNQ, NS + 4 * 10**6, 9, bid=3.0, ask=5.0)
    assert (it.counts.merged, it.counts.waiting) == (3, 0)


def test_a_line_that_was_far_behind_does_not_bring_old_fields_back() -> None:
    it = pair()
    on(2, it, 40_000, best_bid=40.0)
    assert on(1, it, 10_000, best_bid=10.0) is None
    quote = it.merge(WireQuote(timestamp=STAMP, best_ask=41.0), 0, 2)
    assert quote is not None
    assert (quote.bid, quote.ask) == (40.0, 41.0)  # this stamp is always behind the other
    assert it.merge(WireQuote(timestamp="2026-08-19T20:51:31.347+00:00", best_ask=1.0), 0, 1) is None
    assert (it.counts.merged, it.counts.duplicates) == (2, 2)


def test_what_is_forgotten_is_taken_again_from_a_line_that_was_behind() -> None:
    it = merger()
    it.join(1)
    it.join(2)
    on(1, it, 5, best_bid=5.0)
    on(1, it, 6, best_ask=6.0)
    on(2, it, 6, best_ask=6.0)
    it.forget()  # before its end, because line 2 is not known to bring the same
    assert it.leave(1, 9) == Quote(MNQ, NS + 6 * 10**6, 9, ask=6.0)

    it = pair()
    on(1, it, 5, best_bid=5.0)
    on(1, it, 6, best_ask=6.0)
    it.forget()
    assert on(2, it, 5, best_bid=5.0) == Quote(MNQ, NS + 5 * 10**6, 5, bid=5.0)


def test_a_stamp_that_was_wrong_does_not_stop_the_quotes() -> None:
    it = pair()
    on(2, it, 30 * 365 * 86_400_000, best_bid=40.0)
    assert on(1, it, 1, best_bid=10.0) is not None
    assert on(1, it, 2, best_bid=11.0) is not None


def test_a_caller_with_one_line_need_not_say_so() -> None:
    it = merger()
    assert on(0, it, 2, best_bid=2.0) is not None
    quote = on(0, it, 1, best_bid=1.0)
    assert quote is not None
    assert (quote.bid, it.is_level(0)) == (1.0, True)
    assert on(3, it, 3, best_bid=3.0) is None
    assert it.counts.duplicates == 1


UPDATES = st.builds(
    WireQuote,
    best_bid=st.none() | st.sampled_from([10.0, 10.25]),
    best_ask=st.none() | st.sampled_from([10.25, 10.5]),
    last_price=st.none() | st.sampled_from([10.0, 10.5]),
    volume=st.none() | st.integers(0, 3),
    timestamp=st.sampled_from([None, STAMP]),
)


@st.composite
def updates(draw: st.DrawFn) -> list[WireQuote]:
    """Stamps do not fall; many are equal, and many updates too."""
    found, ms = [], 0
    for update, later in draw(st.lists(st.tuples(UPDATES, st.sampled_from([0, 0, 1])), max_size=30)):
        ms += later
        found.append(msgspec.structs.replace(update, last_updated=format_stamp(NS + ms * 10**6, 7)))
    return found


@given(updates(), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), max_size=20), st.integers(0, 20))
@settings(max_examples=100)
def test_the_state_after_several_lines_is_that_after_one(
    wires: list[WireQuote], script: list[tuple[int, int]], join_at: int
) -> None:
    """Line 1 brings all, line 2 begins at its join, and takes over where it is level."""
    alone, it = merger(), merger()
    it.join(1)
    at, published, now = {1: 0}, 0, Quote(MNQ, 0, 0)
    for which, n in [(0, join_at), (2, 0), *script, (0, 99), (1, 99)]:
        if which == 2 and 2 not in at:
            it.join(2)
            at[2] = published
        elif which == 2 and it.is_level(2):
            now = it.leave(1, 0) or now
            at.pop(1, None)
        line = 1 + which % 2
        for wire in wires[at[line] : at[line] + n] if line in at else ():
            now = it.merge(wire, 0, line) or now
            at[line] += 1
            published = max(published, at[line])
        c = it.counts
        assert c.received == c.merged + c.foreign + c.unstamped + c.duplicates + c.waiting
    assert [now] == ([alone.merge(wire, 0) for wire in wires] or [Quote(MNQ, 0, 0)])[-1:]
    assert it.counts.merged == len(wires)
