from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx._errors import ProtocolError
from trio_projectx.market.decode import Decoded, Decoder, Refusal, join_decoded
from trio_projectx.market.reasons import Reason
from trio_projectx.market.wire import WireQuote, WireTrade
from trio_projectx.signalr import Invocation, Ping, parse_messages

MNQ = "CON.F.US.MNQ.U26"
MES = "CON.F.US.MES.U26"
STAMP = "2026-08-19T20:51:30.052+00:00"
# As captured from the live service (GATEWAY.md section 2.3).
LIVE_TRADE = (
    '{"type":1,"target":"GatewayTrade","arguments":["CON.F.US.MES.U26",[{"symbolId":"F.US.MES","price":7730.5,'
    '"timestamp":"2026-08-19T20:51:30.052+00:00","type":1,"volume":1,"contractId":"CON.F.US.MES.U26"}]]}\x1e'
)
LIVE_QUOTE = (
    '{"type":1,"target":"GatewayQuote","arguments":["CON.F.US.MNQ.U26",{"symbol":"F.US.MNQ","bestBid":29547,'
    '"bestAsk":29547.5,"lastUpdated":"2026-08-19T20:51:31.4347534+00:00",'
    '"timestamp":"2026-08-19T20:51:31.348+00:00","contract":"CON.F.US.MNQ.U26"}]}\x1e'
)
LIVE_DEPTH = (
    '{"type":1,"target":"GatewayDepth","arguments":["CON.F.US.MNQ.U26",[{"timestamp":'
    '"2026-08-19T20:51:31.4173693+00:00","type":4,"price":29547,"volume":2,"currentVolume":0}]]}\x1e'
)
PING = '{"type":6}\x1e'


def trade(**changes: Any) -> dict[str, Any]:
    return {"price": 29547.25, "timestamp": STAMP, "volume": 3, **changes}


def record(target: str, *arguments: Any, **more: Any) -> str:
    return json.dumps({"type": 1, "target": target, "arguments": list(arguments), **more}) + "\x1e"


def exactly(text: str, loads: Callable[[str], Any] = json.loads) -> Decoded:
    """Decode the records of ``text`` one by one through the exact way."""
    decoder = Decoder()
    parts: list[Decoded] = []
    for line in text.split("\x1e")[:-1]:
        message = loads(line)
        is_ping = message["type"] == 6
        parts.append(
            Decoded(records=1) if is_ping else decoder.invocation(message["target"], message["arguments"])
        )
    return join_decoded(parts)


def through_signalr(text: str) -> Decoded:
    decoder = Decoder()
    parts: list[Decoded] = []
    for message in parse_messages(text):
        assert isinstance(message, (Invocation, Ping))
        if isinstance(message, Ping):
            parts.append(Decoded(records=1))
        else:
            assert message.invocation_id is None
            parts.append(decoder.invocation(message.target, message.arguments))
    return join_decoded(parts)


def agrees(decoded: Decoded | None, text: str) -> None:
    """What the fast way takes the protocol takes too, and both see the same in it."""
    if decoded is None:
        return
    if re.search(r"[0-9]{300}|[eE][+-]?[0-9]{3}", text):
        # The one difference: a number like 1e400, good JSON, in a field that the fast way reads over.
        with contextlib.suppress(ProtocolError):
            assert decoded == through_signalr(text)
    else:
        assert decoded == through_signalr(text)


def only(decoded: Decoded) -> Refusal:
    assert not decoded.trades
    (refusal,) = decoded.refusals
    return refusal


def bulk(text: str) -> Decoded:
    decoded = Decoder().bulk(text)
    assert decoded is not None
    return decoded


# --- the fast way


def test_the_live_texts_take_the_fast_way() -> None:
    decoded = bulk(LIVE_TRADE + LIVE_QUOTE + LIVE_DEPTH + LIVE_TRADE)
    one = WireTrade(7730.5, STAMP, 1, 1, "F.US.MES", MES)
    quote = WireQuote(
        symbol="F.US.MNQ",
        contract=MNQ,
        best_bid=29547.0,
        best_ask=29547.5,
        last_updated="2026-08-19T20:51:31.4347534+00:00",
        timestamp="2026-08-19T20:51:31.348+00:00",
    )
    row = {
        "timestamp": "2026-08-19T20:51:31.4173693+00:00",
        "type": 4,
        "price": 29547,
        "volume": 2,
        "currentVolume": 0,
    }
    assert decoded == Decoded({MES: [one, one]}, [(MNQ, quote)], records=4, depth=[(MNQ, [row])])
    assert isinstance(decoded.quotes[0][1].best_bid, float)


def test_contracts_are_kept_apart_and_each_in_order_of_arrival() -> None:
    text = "".join(
        record("GatewayTrade", contract, [trade(volume=v), trade(volume=v + 1)])
        for contract, v in [(MNQ, 1), (MES, 10), (MNQ, 3), (MES, 12), (MNQ, 5)]
    )
    decoded = bulk(text)
    assert {c: [t.volume for t in trades] for c, trades in decoded.trades.items()} == {
        MNQ: [1, 2, 3, 4, 5, 6],
        MES: [10, 11, 12, 13],
    }
    assert decoded.records == 5


@pytest.mark.parametrize(
    ("text", "trades", "quotes", "nulls"),
    [
        (PING + LIVE_TRADE + PING, 1, 0, 0),
        (LIVE_QUOTE + PING, 0, 1, 0),
        (PING, 0, 0, 0),
        ("", 0, 0, 0),
        (record("GatewayTrade", MNQ, []), 0, 0, 0),
        (record("GatewayTrade", MNQ, [None, trade(), None, trade()]), 2, 0, 2),
        (record("GatewayTrade", MNQ, [None]), 0, 0, 1),
        (record("GatewayTrade", MNQ, None), 0, 0, 1),
        (record("GatewayTrade", MNQ, trade()), 1, 0, 0),
        (record("GatewayQuote", MNQ, None), 0, 0, 1),
        (record("GatewayQuote", MNQ, {}), 0, 1, 0),
        (record("GatewayQuote", MNQ, {"bestBid": None, "lastPrice": 1}), 0, 1, 0),
        (LIVE_DEPTH + record("GatewayTrade", MNQ, [trade(), None]) + LIVE_QUOTE + PING, 1, 1, 1),
    ],
)
def test_known_variants_take_the_fast_way_too(text: str, trades: int, quotes: int, nulls: int) -> None:
    decoded = bulk(text)
    assert sum(map(len, decoded.trades.values())) == trades
    assert all(decoded.trades.values())
    assert len(decoded.quotes) == quotes
    assert decoded.null_entries == nulls
    assert decoded.records == text.count("\x1e")
    assert not decoded.refusals
    assert decoded == exactly(text)


GOOD = record("GatewayTrade", MNQ, [trade()])
BODY = GOOD[:-1]


@pytest.mark.parametrize(
    "text",
    [
        BODY,  # no end
        GOOD + BODY[:40],
        "\x1e",
        GOOD + "\x1e",  # an empty record
        BODY + BODY + "\x1e",  # two in one
        BODY + BODY + "\x1e\x1e",  # ... made up for by an empty one
        BODY + " " + BODY + "\x1e \x1e",
        BODY + "\n" + BODY + "\x1e",
        "\ufeff" + GOOD,
        GOOD + "{}\x1e",
        GOOD + "null\x1e",
        GOOD + "[]\x1e",
        GOOD + "x\x1e",
        GOOD + '{"type":3,"invocationId":"1","result":null}\x1e',
        GOOD + '{"type":7}\x1e',
        GOOD + '{"type":"6"}\x1e',
        GOOD + record("GatewayLogout"),
        GOOD + record("gatewaytrade", MNQ, [trade()]),
        GOOD + record("GatewayUserTrade", {}),
        GOOD + record("GatewayTrade", MNQ, [trade()], invocationId="7"),
        GOOD + record("GatewayTrade", MNQ, [trade()], invocationId=None),
        GOOD + record("GatewayTrade", MNQ, [trade()], headers={}),
        GOOD + record("GatewayTrade", MNQ, [trade()], streamIds=[]),
        GOOD + record("GatewayTrade", MNQ),
        GOOD + record("GatewayTrade", MNQ, [trade()], 1),
        GOOD + record("GatewayTrade", None, [trade()]),
        GOOD + record("GatewayTrade", 5, [trade()]),
        GOOD + record("GatewayTrade", MNQ, [1]),
        GOOD + record("GatewayTrade", MNQ, [[trade()]]),
        GOOD + record("GatewayTrade", MNQ, [trade(price="20000.25")]),
        GOOD + record("GatewayTrade", MNQ, [trade(price=True)]),
        GOOD + record("GatewayTrade", MNQ, [trade(price=None)]),
        GOOD + record("GatewayTrade", MNQ, [trade(volume=1.5)]),
        GOOD + record("GatewayTrade", MNQ, [trade(volume=True)]),
        GOOD + record("GatewayTrade", MNQ, [trade(timestamp=5)]),
        GOOD + record("GatewayTrade", MNQ, [trade(type="1")]),
        GOOD + record("GatewayTrade", MNQ, [trade(contractId=5)]),
        GOOD + record("GatewayTrade", MNQ, [trade(price=math.nan)]),
        GOOD + record("GatewayTrade", MNQ, [trade(price=math.inf)]),
        GOOD.replace("29547.25", "1e400"),
        GOOD.replace("29547.25", "029547.25"),
        GOOD.replace("29547.25", "9" * 5000),
        GOOD.replace('"volume": 3', '"volume": 3, "x": "\ud800"'),
        GOOD.replace('"volume": 3', '"volume": 3, "x": "\\ud800"'),
        GOOD.replace('"volume": 3', '"volume": 3, "x": "a\x1eb"'),
        GOOD.replace('"volume": 3', '"volume": 3, "x": ' + "[" * 100_000 + "]" * 100_000),
        GOOD.replace('"type": 1', '"type": 1.0'),
        GOOD.replace('"type": 1', '"type": true'),
        "[" * 100_000 + "\x1e",
        "\x00\x1e",
    ],
)
def test_anything_else_takes_the_exact_way(text: str) -> None:
    assert Decoder().bulk(text) is None


def test_a_field_that_nobody_knows_is_read_over() -> None:
    text = record("GatewayTrade", MNQ, [trade(venue={"a": [1, None]}, x="\u00e9")])
    assert bulk(text).trades == {MNQ: [WireTrade(29547.25, STAMP, 3)]}
    assert bulk(text) == exactly(text)


# --- both ways give the same

PRICES = st.one_of(
    st.integers(-5, 40_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(0, 50_000, places=4, allow_nan=False).map(float),
    st.sampled_from([5e-7, 6335.25, 1e308, -0.0, 2**53 + 1, 2**64, 10**30]),
)
HOSTILE = st.sampled_from(
    [None, True, "20000.25", [], {}, 1.5, -1, 0, 2**63, 1e30, "", "x", 10**400, "2026-02-30"]
)
KEYS = st.sampled_from(["price", "timestamp", "volume", "type", "symbolId", "contractId", "extra"])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, good, HOSTILE)


TRADES = st.fixed_dictionaries(
    {"price": PRICES, "timestamp": st.just(STAMP) | st.text(max_size=5), "volume": st.integers(-1, 10**6)},
    optional={
        "type": st.sampled_from([0, 1, 2, None]),
        "symbolId": st.sampled_from(["F.US.MNQ", "F.US.MES", None]),
        "contractId": st.sampled_from([MNQ, MES, None]),
        "extra": HOSTILE,
    },
)
ODD_TRADES = st.builds(lambda good, key, value: {**good, key: value}, TRADES, KEYS, HOSTILE)
NUMBERS = ["lastPrice", "bestBid", "bestAsk", "change", "changePercent", "open", "high", "low"]
QUOTES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NUMBERS, PRICES | st.none()),
        "volume": st.integers(-1, 2**63) | st.none(),
        "lastUpdated": st.just("2026-08-19T20:51:31.4347534+00:00") | st.none(),
        "timestamp": st.just(STAMP) | st.none(),
        "symbol": st.just("F.US.MNQ") | st.none(),
        "symbolName": st.just("/MNQ"),
        "contract": st.just(MNQ) | st.none(),
    },
)
ODD_QUOTES = st.builds(
    lambda good, key, value: {**good, key: value},
    QUOTES,
    st.sampled_from([*NUMBERS, "volume", "symbol"]),
    HOSTILE,
)
CONTRACTS = st.sampled_from([MNQ, MES])
A_RESET = st.just([{"type": 6}])


def invocations(
    trades: st.SearchStrategy[Any],
    quotes: st.SearchStrategy[Any],
    depth: st.SearchStrategy[Any] = A_RESET,
) -> st.SearchStrategy[dict[str, Any]]:
    entries = st.lists(trades | st.none(), max_size=4) | trades | st.none()
    call = st.one_of(
        st.tuples(st.just("GatewayTrade"), st.tuples(CONTRACTS, entries).map(list)),
        st.tuples(st.just("GatewayQuote"), st.tuples(CONTRACTS, quotes | st.none()).map(list)),
        st.tuples(st.just("GatewayDepth"), st.tuples(CONTRACTS, depth).map(list)),
    )
    return call.map(lambda c: {"type": 1, "target": c[0], "arguments": c[1]})


USUAL = invocations(TRADES, QUOTES) | st.just({"type": 6})
ANY = st.one_of(
    USUAL,
    invocations(TRADES | ODD_TRADES | HOSTILE, QUOTES | ODD_QUOTES | HOSTILE, HOSTILE | st.lists(HOSTILE)),
    st.builds(
        lambda target, arguments: {"type": 1, "target": target, "arguments": arguments},
        st.sampled_from(
            ["GatewayTrade", "GATEWAYTRADE", "GatewayQuote", "GatewayLogout", "GatewayUserOrder", "X"]
        ),
        st.lists(HOSTILE | CONTRACTS | TRADES | QUOTES, max_size=3),
    ),
)


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(m, separators=(",", ":")) + "\x1e" for m in messages)


@given(st.lists(USUAL, max_size=12))
@settings(max_examples=60)
def test_the_fast_way_takes_every_usual_text_and_agrees(messages: list[dict[str, Any]]) -> None:
    text = text_of(messages)
    decoded = bulk(text)
    assert decoded == exactly(text)
    assert decoded == through_signalr(text)
    assert not decoded.refusals


@given(st.lists(ANY, max_size=8))
@settings(max_examples=120)
def test_where_the_fast_way_answers_it_agrees(messages: list[dict[str, Any]]) -> None:
    text = text_of(messages)
    decoded = Decoder().bulk(text)
    if decoded is not None:
        assert decoded == exactly(text)


@given(st.lists(USUAL, min_size=1, max_size=3), st.data())
@settings(max_examples=120)
def test_where_the_fast_way_answers_a_damaged_text_it_agrees(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = text_of(messages)
    place = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(
        st.sampled_from(
            ["", "\x1e", "}", "{", "}{", ",", " ", "\n", '"', "null", "0", "-", ".", "\\", "\x00", "é"]
        )
    )
    text = text[:place] + put + text[place + cut :]
    agrees(Decoder().bulk(text), text)


@given(st.text(max_size=60) | st.text('{}[]":,\x1e \n16typeargumentsGatewayTrade', max_size=80))
@settings(max_examples=100)
def test_no_text_raises(text: str) -> None:
    agrees(Decoder().bulk(text), text)


# --- the exact way


@given(st.lists(TRADES | ODD_TRADES | HOSTILE, max_size=8))
@settings(max_examples=60)
def test_a_bad_trade_does_not_touch_its_neighbours_and_each_entry_is_somewhere(entries: list[Any]) -> None:
    decoded = Decoder().invocation("GatewayTrade", [MNQ, entries])
    alone = [Decoder().invocation("GatewayTrade", [MNQ, [entry]]) for entry in entries]
    assert decoded.trades.get(MNQ, []) == [t for d in alone for t in d.trades.get(MNQ, [])]
    refused = sum(r.count for r in decoded.refusals)
    assert refused == sum(len(d.refusals) for d in alone)
    assert len(decoded.trades.get(MNQ, [])) + refused + decoded.null_entries == len(entries)


@pytest.mark.parametrize("target", ["GatewayTrade", "gatewaytrade", "GATEWAYTRADE", "gAtEwAyTrAdE"])
def test_the_case_of_a_target_is_free(target: str) -> None:
    assert Decoder().invocation(target, [MNQ, [trade()]]).trades == {MNQ: [WireTrade(29547.25, STAMP, 3)]}


def test_whole_prices_become_floats_and_null_is_absence() -> None:
    entry = trade(price=29547, type=None, symbolId=None, contractId=None)
    (got,) = Decoder().invocation("GatewayTrade", [MNQ, [entry]]).trades[MNQ]
    assert got == WireTrade(29547.0, STAMP, 3)
    assert isinstance(got.price, float)


@pytest.mark.parametrize(
    ("arguments", "contract"),
    [([], None), ([MNQ], None), ([MNQ, [], 1], None), ([None, []], None), ([5, []], None), ([[], MNQ], None)],
)
@pytest.mark.parametrize("target", ["GatewayTrade", "GatewayQuote"])
def test_arguments_that_route_nowhere_are_one_refusal(
    arguments: list[Any], contract: str | None, target: str
) -> None:
    decoded = Decoder().invocation(target, arguments)
    refusal = only(decoded)
    assert (refusal.target, refusal.contract_id, refusal.reason, refusal.count) == (
        target,
        contract,
        Reason.SCHEMA,
        1,
    )
    assert decoded.records == 1


def test_many_refusals_of_a_kind_are_one_with_a_count() -> None:
    decoded = Decoder().invocation("GatewayTrade", [MNQ, [1] * 100_000 + [trade(volume=1.5)] * 7])
    assert decoded.refusals == [
        Refusal("GatewayTrade", MNQ, Reason.SCHEMA, "arguments[1][0]: a number instead of a trade", 100_000),
        Refusal("GatewayTrade", MNQ, Reason.SIZE, "arguments[1][100000].volume: no whole number", 7),
    ]


def test_a_bad_field_of_a_quote_leaves_the_others() -> None:
    decoded = Decoder().invocation("GatewayQuote", [MNQ, {"bestBid": 1.5, "bestAsk": "x", "volume": 1.5}])
    assert decoded.quotes == [(MNQ, WireQuote(best_bid=1.5))]
    assert [(r.reason, r.detail) for r in decoded.refusals] == [
        (Reason.SCHEMA, "arguments[1].bestAsk: a string instead of a number"),
        (Reason.SIZE, "arguments[1].volume: no whole number"),
    ]


@pytest.mark.parametrize("data", [5, "x", [], [{}], True])
def test_a_quote_that_is_no_object_is_refused_for_its_contract(data: Any) -> None:
    refusal = only(Decoder().invocation("GatewayQuote", [MNQ, data]))
    assert (refusal.contract_id, refusal.reason) == (MNQ, Reason.SCHEMA)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("GatewayLogout", "logouts"),
        ("GatewayUserAccount", "user_events"),
        ("GatewayUserOrder", "user_events"),
        ("GatewayUserPosition", "user_events"),
        ("GatewayUserTrade", "user_events"),
        ("GatewayTrades", "unknown_targets"),
        ("", "unknown_targets"),
        ("x" * 1_000_000, "unknown_targets"),
    ],
)
def test_other_targets_are_counted(target: str, field: str) -> None:
    assert Decoder().invocation(target, [MNQ, []]) == Decoded(records=1, **{field: 1})


@pytest.mark.parametrize("target", ["GatewayDepth", "gatewaydepth"])
@pytest.mark.parametrize("data", [[], [None, {"type": 6}], {"type": 6}, None, 5, "x"])
def test_depth_goes_on_as_it_came(target: str, data: Any) -> None:
    assert Decoder().invocation(target, [MNQ, data]) == Decoded(records=1, depth=[(MNQ, data)])
    assert Decoder().bulk(record("GatewayDepth", MNQ, data)) in (
        None,
        Decoded(records=1, depth=[(MNQ, data)]),
    )


@pytest.mark.parametrize("arguments", [[], [MNQ], [5, []], [MNQ, [], []]])
def test_depth_of_nobody_knows_what_is_refused(arguments: list[Any]) -> None:
    (refusal,) = Decoder().invocation("GatewayDepth", arguments).refusals
    assert (refusal.target, refusal.contract_id, refusal.reason) == ("GatewayDepth", None, Reason.SCHEMA)


def test_joining_nothing_is_nothing() -> None:
    assert join_decoded([]) == join_decoded([Decoded()])
    assert join_decoded([]).records == 0


def test_joining_adds_up_and_leaves_its_parts_alone() -> None:
    decoder = Decoder()
    parts = [decoder.invocation("GatewayTrade", [MNQ, [trade(), 5]]) for _ in range(3)]
    joined = join_decoded(parts)
    assert len(joined.trades[MNQ]) == 3
    assert [r.count for r in joined.refusals] == [3]
    assert joined.records == 3
    assert [len(p.trades[MNQ]) for p in parts] == [1, 1, 1]


def test_what_the_other_side_wrote_is_in_no_refusal() -> None:
    secret = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"
    entries = [
        secret,
        {secret: 1},
        trade(price=secret),
        trade(contractId=[secret]),
        trade(volume={secret: 1}),
    ]
    decoded = Decoder().invocation("GatewayTrade", [MNQ, entries])
    assert sum(r.count for r in decoded.refusals) == 5
    assert "eyJ" not in repr(decoded.refusals)


def test_the_protocol_refuses_what_these_tests_call_broken() -> None:
    # Guards the comparison above: parse_messages is strict, so agreeing with it means something.
    with pytest.raises(ProtocolError):
        parse_messages(BODY + BODY + "\x1e")
