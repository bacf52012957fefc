from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS

from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator.market import Market
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.path import MINUTE_NS, level, times
from trio_projectx.simulator.payloads import RecordWriter, StampWriter, number
from trio_projectx.simulator.products import available, front, listed

ALL = Kind.QUOTES | Kind.TRADES | Kind.DEPTH
MNQ = "CON.F.US.MNQ.U26"
SECOND = 1_000_000_000


def market(
    seed: int = 1, contract: str = MNQ, start: int = START_NS, wanted: Kind = ALL, rate: float = 1.0
) -> Market:
    listing = listed(contract)
    writer = RecordWriter(listing.contract_id, listing.symbol_id, listing.grid)
    return Market(seed, writer, listing.base_ticks, start, rate, wanted)


def columns(happened) -> list[tuple]:  # type: ignore[no-untyped-def]
    trades = happened.trades
    return list(zip(trades.ts_event, trades.price, trades.volume, trades.side, strict=True))


def test_the_same_seed_makes_the_same_market_to_the_byte() -> None:
    first, again = (market().advance(START_NS + 90 * SECOND) for _ in range(2))
    assert first == again
    assert first.records != market(seed=2).advance(START_NS + 90 * SECOND).records
    assert len(first.trades) > 1000


@given(st.lists(st.integers(0, 6 * SECOND), min_size=1, max_size=10))
@settings(max_examples=6, deadline=None)
def test_how_often_one_looks_changes_nothing(steps: list[int]) -> None:
    looked, at, records = market(), START_NS + 50 * SECOND, []
    looked.jump(at)
    for step in steps:
        at += step
        records += looked.advance(at).records
    whole = market()
    whole.jump(START_NS + 50 * SECOND)
    assert records == whole.advance(at).records


def test_who_comes_late_sees_the_same_market() -> None:
    early, late = market(wanted=Kind.QUOTES), market(wanted=Kind.QUOTES)
    early.advance(START_NS + 200 * SECOND)
    late.jump(START_NS + 200 * SECOND)
    end = START_NS + 260 * SECOND
    assert columns(early.advance(end)) == columns(late.advance(end))


@pytest.mark.parametrize("wanted", [Kind(0), Kind.QUOTES, Kind.DEPTH])
def test_trades_do_not_depend_on_who_wants_what(wanted: Kind) -> None:
    end = START_NS + 70 * SECOND
    assert columns(market(wanted=wanted).advance(end)) == columns(market(wanted=ALL).advance(end))


def test_a_change_of_what_is_wanted_loses_and_doubles_no_trade() -> None:
    steady, changing = market(wanted=Kind(0)), market(wanted=Kind(0))
    seen = []
    for second in range(1, 100):
        if second % 7 == 0:
            changing.wanted ^= Kind.DEPTH
            changing.jump(changing.now_ns)
        seen += columns(changing.advance(START_NS + second * SECOND))
    assert seen == columns(steady.advance(START_NS + 99 * SECOND))


def test_the_rates_are_those_of_the_live_market() -> None:
    seconds = 600
    happened = market(seed=5).advance(START_NS + seconds * SECOND)
    quotes = sum(kind is Kind.QUOTES for kind, _ in happened.records)
    depth = sum(
        len(json.loads(text[:-1])["arguments"][1]) for kind, text in happened.records if kind is Kind.DEPTH
    )
    assert quotes / seconds == pytest.approx(42, rel=0.07)
    assert len(happened.trades) / seconds == pytest.approx(20, rel=0.07)
    assert depth / seconds == pytest.approx(62, rel=0.07)


def test_it_is_bursty() -> None:
    counts = [0] * 600
    for ts in market(wanted=Kind(0)).advance(START_NS + 600 * SECOND).trades.ts_event:
        counts[min(599, (ts - START_NS) // SECOND)] += 1
    at_open = sum(counts[0::60]) / 10
    assert at_open > 2 * sum(counts) / 600
    assert max(counts) > 3 * sum(counts) / 600


def test_prices_are_on_the_grid_and_stamps_in_order() -> None:
    trades = market(wanted=Kind(0)).advance(START_NS + 600 * SECOND).trades
    grid = listed(MNQ).grid
    assert all(grid.ticks(price) is not None for price in trades.price)
    assert len(set(trades.price)) > 20
    assert list(trades.ts_event) == sorted(trades.ts_event)
    assert all(ts % 1_000_000 == 0 for ts in trades.ts_event)
    assert min(trades.volume) == 1
    assert set(trades.side) == {0, 1}
    assert sum(trades.side) / len(trades) == pytest.approx(0.5, abs=0.05)


def test_trades_happen_at_the_best_prices_of_their_side() -> None:
    book: dict[str, float] = {}
    seen = inside = 0
    for _, text in market(wanted=Kind.QUOTES).advance(START_NS + 120 * SECOND).records:
        record = json.loads(text[:-1])
        data = record["arguments"][1]
        if record["target"] == "GatewayQuote":
            book |= {name: data[name] for name in ("bestBid", "bestAsk") if name in data}
        elif len(book) == 2:
            for trade in data:
                seen += 1
                inside += book["bestBid"] - 1 <= trade["price"] <= book["bestAsk"] + 1
    assert seen > 1000
    assert inside / seen > 0.99


def test_records_have_the_form_of_the_live_wire() -> None:
    kinds: dict[Kind, list] = {kind: [] for kind in Kind}
    for kind, text in market().advance(START_NS + 60 * SECOND).records:
        assert text.endswith("\x1e")
        assert "\x1e" not in text[:-1]
        record = json.loads(text[:-1])
        assert record["type"] == 1
        assert record["arguments"][0] == MNQ
        kinds[kind].append(record)
    for record in kinds[Kind.TRADES]:
        for trade in record["arguments"][1]:
            assert list(trade) == ["symbolId", "price", "timestamp", "type", "volume", "contractId"]
            assert trade["symbolId"] == "F.US.MNQ"
            assert len(trade["timestamp"]) == len("2026-08-19T20:51:30.052+00:00")
    assert {len(record["arguments"][1]) for record in kinds[Kind.TRADES]} > {1, 2}
    quotes = [record["arguments"][1] for record in kinds[Kind.QUOTES]]
    assert all({"symbol", "lastUpdated", "timestamp", "contract"} <= set(quote) for quote in quotes)
    assert any("lastPrice" not in quote for quote in quotes)
    assert any("bestBid" not in quote for quote in quotes)
    assert any(
        {"change", "changePercent", "open", "high", "low", "volume", "lastPrice"} <= set(quote)
        for quote in quotes
    )
    assert all(len(quote["lastUpdated"]) == len("2026-08-19T20:51:31.4347534+00:00") for quote in quotes)
    for record in kinds[Kind.DEPTH]:
        for entry in record["arguments"][1]:
            assert list(entry) == ["timestamp", "type", "price", "volume", "currentVolume"]
            assert entry["type"] in (1, 2, 3, 4)


def test_whole_prices_are_written_without_a_point() -> None:
    texts = [text for kind, text in market().advance(START_NS + 60 * SECOND).records if kind is Kind.TRADES]
    assert any('"price":29' in text and '.0,"' not in text for text in texts)
    assert not any('.0,"' in text or '.50,"' in text for text in texts)


def test_the_book_is_over_10_kb_and_does_not_cross() -> None:
    made = market()
    made.advance(START_NS + 30 * SECOND)
    text = made.book()
    rows = json.loads(text[:-1])["arguments"][1]
    assert len(text) > 10_000
    assert rows[0]["type"] == 6
    asks = [row["price"] for row in rows if row["type"] == 1]
    bids = [row["price"] for row in rows if row["type"] == 2]
    assert max(bids) < min(asks)
    assert len(set(asks)) == len(asks) == len(set(bids)) == len(bids) == 64


def test_a_rate_changes_how_much_happens_from_now_on() -> None:
    made = market(wanted=Kind(0))
    slow = len(made.advance(START_NS + 120 * SECOND).trades)
    made.rate = 10.0
    made.jump(made.now_ns)
    assert len(made.advance(START_NS + 240 * SECOND).trades) == pytest.approx(10 * slow, rel=0.15)


def test_a_rate_of_zero_is_silence_and_ends() -> None:
    assert market(rate=0.0).advance(START_NS + 300 * SECOND).records == []


@pytest.mark.parametrize("listing", available(START_NS), ids=lambda listing: listing.contract_id)
def test_every_product_has_a_market_on_its_grid(listing) -> None:  # type: ignore[no-untyped-def]
    happened = market(contract=listing.contract_id).advance(START_NS + 5 * SECOND)
    assert len(happened.trades) > 20
    for price in happened.trades.price:
        assert listing.grid.ticks(price) is not None
        assert price > 0
    for _, text in happened.records:
        json.loads(text[:-1])
    shown = [
        trade["price"]
        for kind, text in happened.records
        if kind is Kind.TRADES
        for trade in json.loads(text[:-1])["arguments"][1]
    ]
    assert shown == happened.trades.price


@given(st.integers(0, 2**31), st.integers(10**6, 10**9))
@settings(max_examples=50)
def test_the_path_is_bounded_and_goes_on_without_a_jump(seed: int, minute: int) -> None:
    here, there = level(seed, MNQ, minute), level(seed, MNQ, minute + 1)
    assert abs(here) < 2_000
    assert abs(here - there) < 150


def test_the_path_moves() -> None:
    levels = [level(1, MNQ, 10**7 + minute) for minute in range(500)]
    assert max(levels) - min(levels) > 100


@given(st.integers(0, 10**6), st.sampled_from([0.0, 3.0, 900.0]))
@settings(max_examples=50)
def test_times_are_sorted_and_inside_the_minute(seed: int, mean: float) -> None:
    import random

    drawn = times(random.Random(seed), mean)
    assert drawn == sorted(drawn)
    assert all(0 <= time < MINUTE_NS // 100 for time in drawn)


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_stamps_read_back_exactly_as_far_as_they_go(ns: int) -> None:
    writer = StampWriter()
    assert parse_stamp(writer.exact(ns)) == ns
    assert parse_stamp(writer.ticks(ns)) == ns - ns % 100
    assert parse_stamp(writer.millis(ns)) == ns - ns % 1_000_000
    assert len(writer.exact(ns - ns % 1_000_000)) == len("2026-08-19T20:51:30.052+00:00")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_exactly(value: float) -> None:
    text = number(value)
    assert json.loads(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert not text.endswith(".0")


def test_the_front_contract_follows_the_date() -> None:
    assert front("MNQ", START_NS).contract_id == MNQ
    assert front("MNQ", START_NS + 90 * 86_400 * SECOND).contract_id == "CON.F.US.MNQ.Z26"
