from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.market.exact import Fault, exact_quote, exact_trade, json_type
from trio_projectx.market.reasons import Reason
from trio_projectx.market.wire import WireQuote, WireTrade

GOOD: dict[str, Any] = {"price": 1.5, "timestamp": "t", "volume": 1}


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (5, Fault(Reason.SCHEMA, "a number instead of a trade")),
        ("x", Fault(Reason.SCHEMA, "a string instead of a trade")),
        ([GOOD], Fault(Reason.SCHEMA, "a list instead of a trade")),
        (True, Fault(Reason.SCHEMA, "a boolean instead of a trade")),
        ({}, Fault(Reason.SCHEMA, "price: missing")),
        ({"price": None, "timestamp": "t", "volume": 1}, Fault(Reason.SCHEMA, "price: missing")),
        ({"price": 1, "timestamp": "t"}, Fault(Reason.SCHEMA, "volume: missing")),
        ({"price": 1, "volume": 1}, Fault(Reason.SCHEMA, "timestamp: missing")),
        ({**GOOD, "price": "1.5"}, Fault(Reason.SCHEMA, "price: a string instead of a number")),
        ({**GOOD, "price": True}, Fault(Reason.SCHEMA, "price: a boolean instead of a number")),
        ({**GOOD, "price": [1]}, Fault(Reason.SCHEMA, "price: a list instead of a number")),
        ({**GOOD, "price": {}}, Fault(Reason.SCHEMA, "price: an object instead of a number")),
        (
            {**GOOD, "price": 10**400},
            Fault(Reason.PRICE_RANGE, "price: a whole number of hundreds of digits"),
        ),
        ({**GOOD, "volume": 1.5}, Fault(Reason.SIZE, "volume: no whole number")),
        ({**GOOD, "volume": 1.0}, Fault(Reason.SIZE, "volume: no whole number")),
        ({**GOOD, "volume": "7"}, Fault(Reason.SCHEMA, "volume: a string instead of a whole number")),
        ({**GOOD, "volume": True}, Fault(Reason.SCHEMA, "volume: a boolean instead of a whole number")),
        (
            {**GOOD, "timestamp": 1787172690052},
            Fault(Reason.SCHEMA, "timestamp: a number instead of a string"),
        ),
        ({**GOOD, "contractId": 5}, Fault(Reason.SCHEMA, "contractId: a number instead of a string")),
        ({**GOOD, "symbolId": []}, Fault(Reason.SCHEMA, "symbolId: a list instead of a string")),
    ],
)
def test_a_bad_trade_names_what_is_wrong(entry: Any, fault: Fault) -> None:
    assert exact_trade(entry) == fault


@pytest.mark.parametrize("kind", [None, "1", True, 1.0, [], {}])
def test_a_side_of_the_wrong_type_was_not_said(kind: Any) -> None:
    assert exact_trade({**GOOD, "type": kind}) == WireTrade(1.5, "t", 1)


@pytest.mark.parametrize("data", [None, 5, "x", [], True])
def test_a_quote_must_be_an_object(data: Any) -> None:
    quote, (fault,) = exact_quote(data)
    assert quote is None
    assert fault.reason is Reason.SCHEMA


@pytest.mark.parametrize("field", ["symbol", "contract"])
def test_a_quote_that_does_not_say_whose_it_is_in_a_string_is_nobodys(field: str) -> None:
    quote, faults = exact_quote({"bestBid": 1, field: 5})
    assert quote is None
    assert faults == [Fault(Reason.SCHEMA, f"{field}: a number instead of a string")]


def test_every_bad_field_of_a_quote_is_named_and_every_good_one_kept() -> None:
    quote, faults = exact_quote(
        {"bestBid": "x", "bestAsk": 5, "open": True, "volume": 1.5, "timestamp": 5, "low": None}
    )
    assert quote == WireQuote(best_ask=5.0)
    assert [f.detail.partition(":")[0] for f in faults] == ["bestBid", "open", "volume", "timestamp"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("", "a string"),
        ([], "a list"),
        ({}, "an object"),
    ],
)
def test_types_have_their_json_names(value: Any, name: str) -> None:
    assert json_type(value) == name


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from([[], {}, 10**30, 2**64, 5e-324]),
)
TRADE_FIELDS = ["price", "timestamp", "volume", "symbolId", "contractId"]
QUOTE_FIELDS = msgspec.structs.fields(WireQuote)


@given(
    st.dictionaries(st.sampled_from(TRADE_FIELDS), VALUES).flatmap(
        lambda odd: st.sampled_from([odd, {**GOOD, **odd}])
    ),
    st.sampled_from([0, 1, 7, None]),
)
@settings(max_examples=100)
def test_a_trade_is_accepted_exactly_when_msgspec_accepts_it(
    fields: dict[str, Any], kind: int | None
) -> None:
    entry = {**fields, "type": kind}
    try:
        expected = msgspec.json.decode(msgspec.json.encode(entry), type=WireTrade)
    except msgspec.ValidationError:
        assert isinstance(exact_trade(entry), Fault)
    else:
        assert exact_trade(entry) == expected


@given(st.dictionaries(st.sampled_from([f.encode_name for f in QUOTE_FIELDS]), VALUES))
@settings(max_examples=100)
def test_a_quote_is_faultless_exactly_when_msgspec_accepts_it(fields: dict[str, Any]) -> None:
    quote, faults = exact_quote(fields)
    try:
        expected = msgspec.json.decode(msgspec.json.encode(fields), type=WireQuote)
    except msgspec.ValidationError:
        assert faults
    else:
        assert not faults
        assert quote == expected
