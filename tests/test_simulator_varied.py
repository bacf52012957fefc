"""The varied payloads: every form occurs, and the same truth comes out of each, through our own decoder."""

from __future__ import annotations

import json
import re

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_tools import START_NS, open_hub, virtual_wall

from trio_projectx.market.decode import Decoder
from trio_projectx.market.quotes import QuoteMerger
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.market.validate import Validator
from trio_projectx.signalr import Invocation, parse_messages
from trio_projectx.simulator import open_simulator
from trio_projectx.simulator.market import Market
from trio_projectx.simulator.minute import Kind
from trio_projectx.simulator.payloads import DepthRow, RecordWriter
from trio_projectx.simulator.products import available, listed
from trio_projectx.simulator.varied import VariedWriter, padded, scientific, stamp

MNQ = "CON.F.US.MNQ.U26"
SECOND = 1_000_000_000
ALL = Kind.QUOTES | Kind.TRADES | Kind.DEPTH


def market(contract: str = MNQ, seed: int = 1, *, varied: bool = True) -> Market:
    listing = listed(contract)
    ids = (listing.contract_id, listing.symbol_id, listing.grid)
    writer = VariedWriter(*ids, seed=seed) if varied else RecordWriter(*ids)
    return Market(seed, writer, listing.base_ticks, START_NS, 1.0, ALL)


def validator(contract: str) -> Validator:
    year = 365 * 86_400 * SECOND
    bounds = {"stamp_min_ns": START_NS - year, "stamp_max_ns": START_NS + year}
    return Validator(contract, listed(contract).grid, **bounds, trade_size_max=10_000)


def read(texts: list[str], contract: str) -> list[tuple]:
    """Return the trades of texts as the library reads them; each by the fast way and by the exact one."""
    decoder, judge, exact = Decoder(), validator(contract), validator(contract)
    found, again = [], []
    for text in texts:
        decoded = decoder.bulk(text)
        assert decoded is not None, text
        assert not decoded.refusals
        found += rows(judge, decoded.trades.get(contract, []))
        for message in parse_messages(text):
            if isinstance(message, Invocation):
                one = decoder.invocation(message.target, message.arguments)
                again += rows(exact, one.trades.get(contract, []))
    assert judge.rejected.total == exact.rejected.total == 0, judge.rejections
    assert found == again
    return found


def rows(judge: Validator, trades: list) -> list[tuple]:
    batch = judge.validate(trades, 0) if trades else None
    if batch is None:
        return []
    prices = [judge.grid.price(ticks) for ticks in batch.ticks]
    return list(zip(batch.ts_event, prices, batch.volume, batch.side, strict=True))


def truth(happened) -> list[tuple]:  # type: ignore[no-untyped-def]
    trades = happened.trades
    return list(zip(trades.ts_event, trades.price, trades.volume, trades.side, strict=True))


@given(st.integers(0, 2**31), st.sampled_from([listing.contract_id for listing in available(START_NS)]))
@settings(max_examples=15)
def test_the_same_truth_comes_out_of_every_form(seed: int, contract: str) -> None:
    happened = market(contract, seed).advance(START_NS + 20 * SECOND)
    assert read([text for _, text in happened.records], contract) == truth(happened)
    assert len(happened.trades) > 100


def test_it_is_the_live_market_but_for_the_digits_of_its_stamps() -> None:
    end = START_NS + 120 * SECOND
    varied, live = truth(market().advance(end)), truth(market(varied=False).advance(end))
    assert [row[1:] for row in varied] == [row[1:] for row in live]
    assert all(abs(mine[0] - theirs[0]) < SECOND for mine, theirs in zip(varied, live, strict=True))
    assert all(mine[0] // SECOND == theirs[0] // SECOND for mine, theirs in zip(varied, live, strict=True))
    assert [row[0] for row in varied] == sorted(row[0] for row in varied)


def test_the_same_seed_makes_the_same_texts() -> None:
    end = START_NS + 60 * SECOND
    assert market().advance(end) == market().advance(end)
    assert market().advance(end).records != market(seed=2).advance(end).records


def test_every_form_of_a_trade_occurs() -> None:
    texts = [t for k, t in market().advance(START_NS + 300 * SECOND).records if k is Kind.TRADES]
    everything = "".join(texts)
    stamps = re.findall(r'"timestamp":"[0-9T:-]{19}(?:\.([0-9]+))?(Z|\+00:00|-05:00)"', everything)
    assert {(len(digits), zone) for digits, zone in stamps} == {
        (digits, zone) for digits in (0, 3, 5, 6, 7) for zone in ("Z", "+00:00", "-05:00")
    }
    prices = set(re.findall(r'"price":([^,}]*)', everything))
    for form in (r"[0-9]+", r"[0-9]+\.[0-9]{1,2}", r"[0-9]+\.[0-9]{9}", r"[0-9](\.[0-9]+)?e-?[0-9]+"):
        assert any(re.fullmatch(form, price) for price in prices), form
    data = [json.loads(text[:-1])["arguments"][1] for text in texts]
    assert {type(entry) for entry in data} == {list, dict}
    lists = [entry for entry in data if isinstance(entry, list)]
    assert {len(entry) for entry in lists} > {1, 2, 3}
    assert any(None in entry for entry in lists)
    trades = [t for entry in data for t in (entry if isinstance(entry, list) else [entry]) if t is not None]
    for name in ("symbolId", "contractId"):
        assert {trade.get(name, "missing") for trade in trades} > {None, "missing"}


def test_every_form_of_a_quote_and_of_depth_occurs() -> None:
    records = market().advance(START_NS + 200 * SECOND).records
    quotes = [json.loads(t[:-1])["arguments"][1] for k, t in records if k is Kind.QUOTES]
    for name in ("lastPrice", "bestBid", "bestAsk", "timestamp"):
        assert any(name not in quote for quote in quotes)
        assert any(quote.get(name, 0) is None for quote in quotes)
        assert any(quote.get(name) for quote in quotes)
    depth = [json.loads(t[:-1])["arguments"][1] for k, t in records if k is Kind.DEPTH]
    assert {type(entry) for entry in depth} == {list, dict}
    kinds = {row["type"] for entry in depth for row in (entry if isinstance(entry, list) else [entry])}
    assert kinds == {1, 2, 3, 4, 6, 9, 10}


def test_quotes_merge_without_a_rejected_field() -> None:
    decoder, merger = Decoder(), QuoteMerger(MNQ, listed(MNQ).grid, stamp_min_ns=0, stamp_max_ns=2 * START_NS)
    for kind, text in market().advance(START_NS + 60 * SECOND).records:
        if kind is Kind.QUOTES:
            for _, quote in decoder.bulk(text).quotes:  # type: ignore[union-attr]
                merger.merge(quote, 0)
    assert merger.counts.merged == merger.counts.received > 1000
    assert merger.counts.rejected.total == 0


async def test_the_same_truth_arrives_at_a_subscriber(autojump_clock: object) -> None:
    async with (
        open_simulator(port=None, wall_clock=virtual_wall, payloads="varied", seed=3) as sim,
        open_hub(sim, queue=1000) as client,
    ):
        for name in ("Trades", "Quotes", "MarketDepth"):
            await client.call(f"SubscribeContract{name}", sim.contract_id)
        with trio.move_on_after(20):
            while True:
                await client.frame()
        await client.call("UnsubscribeContractTrades", sim.contract_id)
        assert len(next(frame for frame in client.frames if "GatewayDepth" in frame)) > 10_000
        records = [
            record for frame in client.frames for record in frame.split("\x1e") if '"target"' in record
        ]
        table = sim.truth()
    columns = [table[name].to_pylist() for name in ("ts_event", "price", "volume", "side")]
    assert read([f"{record}\x1e" for record in records], sim.contract_id) == list(zip(*columns, strict=True))
    assert table.num_rows > 200


@given(
    st.integers(0, 4_102_444_800_000_000_000),
    st.sampled_from([0, 3, 5, 6, 7, 9]),
    st.sampled_from(["Z", "+00:00", "-05:00"]),
)
def test_stamps_read_back(ns: int, digits: int, zone: str) -> None:
    assert parse_stamp(stamp(ns, digits, zone)) == ns - ns % 10 ** (9 - digits)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value: float) -> None:
    assert json.loads(scientific(value)) == value
    if abs(value) < 1e15:
        assert json.loads(padded(value, 9)) == value


@pytest.mark.parametrize(
    ("value", "shown"), [(5e-7, "5e-7"), (29547.25, "2.954725e4"), (-0.5, "-5e-1"), (100.0, "1e2")]
)
def test_scientific(value: float, shown: str) -> None:
    assert scientific(value) == shown


def test_padded() -> None:
    assert padded(6335.25, 9) == "6335.250000000"
    assert padded(5e-7, 1) == "0.0000005"
    assert padded(29547.0, 1) == "29547.0"


def test_a_single_depth_entry_is_still_json() -> None:
    writer = market().writer
    for volume in range(200):
        data = json.loads(writer.depth([DepthRow(START_NS, 1, 118_000, volume, volume)])[:-1])["arguments"][1]
        row = data[-1] if isinstance(data, list) else data
        assert (row["type"], row["volume"]) == (1, volume)
