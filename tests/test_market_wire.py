from __future__ import annotations

import gc

import msgspec
import pytest

from trio_projectx.market.wire import (
    DepthRecord,
    LooseRecord,
    LooseTradeRecord,
    QuoteRecord,
    Record,
    TradeRecord,
    WireQuote,
    WireTrade,
)


def test_the_names_in_json_are_the_services() -> None:
    assert [f.encode_name for f in msgspec.structs.fields(WireTrade)] == [
        "price",
        "timestamp",
        "volume",
        "type",
        "symbolId",
        "contractId",
    ]
    assert [f.encode_name for f in msgspec.structs.fields(WireQuote)] == [
        "symbol",
        "contract",
        "lastPrice",
        "bestBid",
        "bestAsk",
        "change",
        "changePercent",
        "open",
        "high",
        "low",
        "volume",
        "lastUpdated",
        "timestamp",
    ]


@pytest.mark.parametrize("kind", [WireTrade, WireQuote, TradeRecord, QuoteRecord, DepthRecord])
def test_a_flood_of_them_does_not_keep_the_collector_busy(kind: type[msgspec.Struct]) -> None:
    assert not kind.__struct_config__.gc
    if kind is WireQuote:
        assert not gc.is_tracked(WireQuote())


@pytest.mark.parametrize("kind", [WireTrade, WireQuote])
def test_what_the_wire_said_is_frozen(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize(
    ("target", "kind"),
    [("GatewayTrade", TradeRecord), ("GatewayQuote", QuoteRecord), ("GatewayDepth", DepthRecord)],
)
def test_a_record_is_known_by_its_target(target: str, kind: type) -> None:
    data = "{}" if target == "GatewayQuote" else "[]"
    text = f'{{"type":1,"target":"{target}","arguments":["C",{data}]}}'
    assert type(msgspec.json.decode(text, type=Record)) is kind


def test_the_documented_full_quote_is_read() -> None:
    text = (
        '{"type":1,"target":"GatewayQuote","arguments":["CON.F.US.EP.U25",{"symbol":"F.US.EP","symbolName":"/ES",'
        '"lastPrice":2100.25,"bestBid":2100.0,"bestAsk":2100.25,"change":25.5,"changePercent":0.14,"open":2090.0,'
        '"high":2110.0,"low":2080.0,"volume":12000,"lastUpdated":"u","timestamp":"t"}]}'
    )
    record = msgspec.json.decode(text, type=Record)
    assert isinstance(record, QuoteRecord)
    assert record.arguments == (
        "CON.F.US.EP.U25",
        WireQuote(
            "F.US.EP", None, 2100.25, 2100.0, 2100.25, 25.5, 0.14, 2090.0, 2110.0, 2080.0, 12000, "u", "t"
        ),
    )


def test_the_documented_single_trade_is_read_by_the_loose_form_only() -> None:
    text = '{"type":1,"target":"GatewayTrade","arguments":["C",{"price":1,"timestamp":"t","volume":1}]}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Record)
    record = msgspec.json.decode(text, type=LooseRecord)
    assert isinstance(record, LooseTradeRecord)
    assert record.arguments == ("C", WireTrade(1.0, "t", 1))


@pytest.mark.parametrize("more", ['"invocationId":"1"', '"headers":{}', '"streamIds":[]', '"x":1'])
def test_an_invocation_with_anything_else_is_not_for_the_fast_way(more: str) -> None:
    text = f'{{"type":1,"target":"GatewayTrade",{more},"arguments":["C",[]]}}'
    for form in (Record, LooseRecord):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=form)
