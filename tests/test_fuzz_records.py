"""From text to event: whatever a hub says, in whatever pieces, only errors of ours come out, and only what is sound."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ContractError, ProtocolError
from trio_projectx._config import Limits
from trio_projectx.connection.answers import WireCandle
from trio_projectx.connection.claims import read_claims
from trio_projectx.history.candles import read_page
from trio_projectx.market import Decoder
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.quotes import QuoteMerger
from trio_projectx.market.stamps import StampError, parse_stamp
from trio_projectx.market.user import UserDecoder
from trio_projectx.market.validate import Validator
from trio_projectx.signalr import NEED_DATA, HubConnection, InvocationReceived, parse_messages
from trio_projectx.signalr.handshake import parse_handshake_request, parse_handshake_response

MNQ = "CON.F.US.MNQ.U26"
STAMPS = st.sampled_from(
    [
        "2026-08-19T20:51:30.052+00:00",
        "2026-08-19T20:51:30Z",
        "1601-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-08-19T20:51:60Z",
        "2026-08-19 20:51:30Z",
        "2026-08-19T20:51:30",
        "9999-12-31T23:59:59.999999999+14:00",
    ]
) | st.text("0123456789-:.TZ+ é", max_size=36)
NUMBERS = st.sampled_from(
    [20000.25, 20000.1, 0, -1, 2**63, 2**64, 10**30, 1e308, 5e-324, math.nan, math.inf, True]
)
SCALARS = NUMBERS | st.integers() | st.floats() | st.text(max_size=8) | st.none() | STAMPS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, of any values."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, SCALARS | VALUES))


TRADES = fields("symbolId", "contractId", "price", "timestamp", "volume", "type") | st.fixed_dictionaries(
    {"price": NUMBERS, "timestamp": STAMPS, "volume": st.integers(-1, 9) | NUMBERS},
    optional={"type": SCALARS},
)
QUOTES = fields("symbol", "lastPrice", "bestBid", "bestAsk", "open", "volume", "lastUpdated", "timestamp")
USER = fields(
    "id", "accountId", "contractId", "status", "type", "side", "size", "price", "creationTimestamp", "name"
)
PAYLOADS = st.one_of(
    TRADES,
    st.lists(TRADES, max_size=3),
    QUOTES,
    USER,
    st.fixed_dictionaries({"action": SCALARS, "data": USER}),
    VALUES,
)
TARGETS = st.sampled_from(
    [
        "GatewayTrade",
        "gatewaytrade",
        "GatewayQuote",
        "GatewayDepth",
        "GatewayLogout",
        "GatewayUserOrder",
        "GatewayUserAccount",
        "GatewayUserTrade",
        "GatewayUserPosition",
        "Nobody",
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from([1, 1, 1, 1, 2, 3, 6, 7, 8, 9]) | SCALARS},
    optional={
        "target": TARGETS | SCALARS,
        "arguments": st.tuples(st.just(MNQ) | SCALARS, PAYLOADS) | st.lists(PAYLOADS, max_size=3) | VALUES,
        "invocationId": SCALARS,
        "result": VALUES,
        "error": SCALARS,
        "sequenceId": SCALARS,
        "headers": VALUES,
    },
)


@st.composite
def texts(draw: st.DrawFn) -> list[str]:
    """Records, some of them damaged, in pieces."""
    text = "".join(json.dumps(each) + "\x1e" for each in draw(st.lists(MESSAGES, max_size=4)))
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 4))
        text = text[:at] + draw(st.text(max_size=3) | st.sampled_from('\x1e{}[]",:')) + text[at + cut :]
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(texts())
@settings(max_examples=150)
def test_from_text_to_event_nothing_unsound_comes_out(pieces: list[str]) -> None:
    limits = Limits()
    grid = PriceGrid.from_tick_size("0.25")
    bounds = {"stamp_min_ns": limits.stamp_min_ns, "stamp_max_ns": limits.stamp_max_ns}
    validator = Validator(MNQ, grid, trade_size_max=10**6, **bounds)
    merger, decoder, user = QuoteMerger(MNQ, grid, **bounds), Decoder(), UserDecoder()
    hub = HubConnection(malformed="count", record_limit=100_000)
    hub.start()
    hub.receive_text("{}\x1e")
    hub.next_event()
    for piece in pieces:
        user.bulk(piece)
        hub.receive_text(piece)
        while (event := hub.next_event()) is not NEED_DATA:
            if not isinstance(event, InvocationReceived):
                continue
            call = event.invocation
            user.invocation(call.target, call.arguments)
            decoded = decoder.invocation(call.target, call.arguments)
            for _, quote in decoded.quotes:
                merger.merge(quote, 0)
            batch = validator.validate(decoded.trades.get(MNQ, []), 0)
            if batch is not None:
                for ts, ticks, volume in zip(batch.ts_event, batch.ticks, batch.volume, strict=True):
                    assert limits.stamp_min_ns <= ts <= limits.stamp_max_ns
                    assert 0 < ticks < 2**53
                    assert 1 <= volume <= 10**6


@given(STAMPS)
@settings(max_examples=150)
def test_a_stamp_is_int64_or_a_stamp_error(text: str) -> None:
    try:
        assert -(2**63) <= parse_stamp(text) < 2**63
    except StampError:
        pass


@given(st.text(max_size=40) | VALUES.map(json.dumps))
@settings(max_examples=80)
def test_handshakes_and_texts_of_any_kind(text: str) -> None:
    for read in (parse_handshake_request, parse_handshake_response, parse_messages):
        try:
            read(text)
        except ProtocolError:
            pass


@given(fields("exp", "iat", "nbf") | VALUES, st.text(max_size=5))
@settings(max_examples=150)
def test_claims_never_raise(claims: object, noise: str) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    found = read_claims(f"a.{payload}{noise}.b")
    assert found.expires_at_ns is None or 0 <= found.expires_at_ns < 2**63


@pytest.mark.parametrize("exp", ["1e308", "1e300", "-1e308", "9" * 400, "NaN", "true", "9223372036854775807"])
def test_an_expiry_that_is_none(exp: str) -> None:
    payload = base64.urlsafe_b64encode(f'{{"exp":{exp},"iat":1}}'.encode()).rstrip(b"=").decode()
    read_claims(f"a.{payload}.b")


NUMBER = st.none() | st.integers() | st.floats() | NUMBERS


@given(
    st.lists(st.builds(WireCandle, t=STAMPS, o=NUMBER, h=NUMBER, l=NUMBER, c=NUMBER, v=NUMBER), max_size=4)
)
@settings(max_examples=100)
def test_every_bar_of_an_answer_is_good_or_counted(bars: list[WireCandle]) -> None:
    page = read_page(bars, PriceGrid.from_tick_size("0.25"), 60 * 10**9)
    assert len(page.candles) + sum(page.faults.values()) == page.size == len(bars)


@given(st.text(max_size=30) | st.text("CONFUS.MQ26/\\\r\n\x00 é", max_size=320))
@settings(max_examples=100)
def test_a_contract_id_is_one_or_a_contract_error(text: str) -> None:
    try:
        assert str(ContractId.parse(text)) == text
    except ContractError:
        pass
