"""Hostile values: a copy of a real record of trades with one thing wrong (FAULTS.md rows 67 to 85).

Everything is JSON text that is put together by hand: much of it no encoder would write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs
import msgspec

from trio_projectx._errors import ProtocolError


class _Entry(msgspec.Struct, rename="camel"):
    price: msgspec.Raw
    timestamp: str
    volume: int
    symbol_id: str | None = None
    """Null or missing in some of the forms that the service is known to use: its route says whose it is."""
    contract_id: str | None = None


@attrs.frozen(slots=True)
class _Trade:
    """A trade as fields of JSON text, and where it was sent for."""

    route: str
    fields: Mapping[str, str]

    def entry(self, **changes: str) -> str:
        """Return the trade object with fields changed; "" leaves one out."""
        fields = {**self.fields, **changes}
        return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items() if value) + "}"


Kind: TypeAlias = Callable[[_Trade], str]


def _record(arguments: str, *, kind: str = "1", target: str = '"GatewayTrade"') -> str:
    pairs = (("type", kind), ("target", target), ("arguments", arguments))
    return "{" + ",".join(f'"{name}":{value}' for name, value in pairs if value) + "}"


def _data(trade: _Trade, data: str) -> str:
    return f"[{trade.route},{data}]"


def _field(name: str, value: str) -> Kind:
    return lambda trade: _record(_data(trade, f"[{trade.entry(**{name: value})}]"))


def _price(change: Callable[[float], float]) -> Kind:
    def make(trade: _Trade) -> str:
        price = change(float(trade.fields["price"]))
        return _record(_data(trade, f"[{trade.entry(price=repr(price).removesuffix('.0'))}]"))

    return make


def _beside(price: float) -> float:
    """Return the price a thousandth of a per cent away, which is on nobody's grid."""
    return price * (1 + 1e-5 / math.pi)


def _is(data: str) -> Kind:
    return lambda trade: _record(_data(trade, data))


def _whole(record: str) -> Kind:
    return lambda _: record


def _quote(**changes: str) -> Kind:
    def make(trade: _Trade) -> str:
        stamp = trade.fields["timestamp"]
        fields = {
            "symbol": trade.fields["symbolId"],
            "lastPrice": trade.fields["price"],
            "lastUpdated": stamp,
        }
        fields |= {"timestamp": stamp, **changes}
        data = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
        return _record(_data(trade, data), target='"GatewayQuote"')

    return make


def _with_record(**changes: str) -> Kind:
    return lambda trade: _record(_data(trade, f"[{trade.entry()}]"), **changes)


def _foreign_route(trade: _Trade) -> str:
    return _record(f'["CON.F.US.ZZZ.Z99",[{trade.entry()}]]')


HOSTILE: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "price_negative": _price(lambda price: -price),
        "price_zero": _field("price", "0"),
        "price_null": _field("price", "null"),
        "price_string": lambda trade: _field("price", f'"{trade.fields["price"]}"')(trade),
        "price_true": _field("price", "true"),
        "price_list": lambda trade: _field("price", f"[{trade.fields['price']}]")(trade),
        "price_object": _field("price", '{"value":1}'),
        "price_missing": _field("price", ""),
        "price_nan": _field("price", "NaN"),
        "price_infinity": _field("price", "Infinity"),
        "price_minus_infinity": _field("price", "-Infinity"),
        "price_1e400": _field("price", "1e400"),
        "price_1e308": _field("price", "1e308"),
        "price_1E500": _field("price", "1E+500"),
        "off_grid": _price(_beside),
        "jump_10x": _price(lambda price: price * 10),
        "volume_negative": _field("volume", "-1"),
        "volume_zero": _field("volume", "0"),
        "volume_fraction": _field("volume", "1.5"),
        "volume_string": _field("volume", '"7"'),
        "volume_null": _field("volume", "null"),
        "volume_2_63": _field("volume", str(1 << 63)),
        "volume_1e30": _field("volume", "1e30"),
        "volume_missing": _field("volume", ""),
        "stamp_1601": _field("timestamp", '"1601-01-01T00:00:00+00:00"'),
        "stamp_0001": _field("timestamp", '"0001-01-01T00:00:00+00:00"'),
        "stamp_2999": _field("timestamp", '"2999-01-01T00:00:00+00:00"'),
        "stamp_30_february": _field("timestamp", '"2026-02-30T00:00:00+00:00"'),
        "stamp_empty": _field("timestamp", '""'),
        "stamp_null": _field("timestamp", "null"),
        "stamp_epoch_int": _field("timestamp", "1787172660"),
        "stamp_1e18": _field("timestamp", "1e18"),
        "stamp_no_zone": lambda trade: _field("timestamp", trade.fields["timestamp"][:20] + '"')(trade),
        "stamp_missing": _field("timestamp", ""),
        "foreign_contract": _field("contractId", '"CON.F.US.ZZZ.Z99"'),
        "foreign_symbol": _field("symbolId", '"F.US.ZZZ"'),
        "foreign_route": _foreign_route,
        "contract_number": _field("contractId", "7"),
        "side_string": _field("type", '"1"'),
        "side_unknown": _field("type", "7"),
        "lone_surrogate": _field("symbolId", r'"F.US.\ud800"'),
        "nul_character": _field("contractId", r'"CON.F.US.\u0000"'),
        "control_characters": _field("contractId", r'"CON\r\nX-Log: forged\u001b[31m\u0007"'),
        "long_string": _field("contractId", '"' + "A" * 1_000_000 + '"'),
        "entry_null": _is("[null]"),
        "entry_number": _is("[7]"),
        "entry_string": _is('["trade"]'),
        "entry_list": _is("[[]]"),
        "data_null": _is("null"),
        "data_number": _is("7"),
        "data_string": _is('"trade"'),
        "arguments_null": _whole(_record("null")),
        "arguments_object": _whole(_record('{"a":1}')),
        "arguments_four": lambda trade: _record(f"[{trade.route},[{trade.entry()}],3,4]"),
        "arguments_missing": _whole(_record("")),
        "type_string": _with_record(kind='"1"'),
        "type_true": _with_record(kind="true"),
        "type_missing": _with_record(kind=""),
        "target_null": _with_record(target="null"),
        "target_missing": _with_record(target=""),
        "record_null": _whole("null"),
        "record_number": _whole("7"),
        "record_list": _whole("[1,2]"),
        "record_string": _whole('"record"'),
        "record_empty": _whole(""),
        "record_invalid_json": _whole('{"type":1,"target":'),
        "quote_null": lambda trade: _record(_data(trade, "null"), target='"GatewayQuote"'),
        "quote_list": lambda trade: _record(_data(trade, "[[1]]"), target='"GatewayQuote"'),
        "quote_price_string": _quote(lastPrice='"1"'),
        "quote_price_negative": _quote(lastPrice="-1"),
        "quote_price_true": _quote(bestBid="true"),
        "quote_stamp_bad": _quote(timestamp='"yesterday"', lastUpdated='"today"'),
    }
)
"""What each kind makes of a real trade: the text of one record, without its separator."""


class _Event(msgspec.Struct):
    arguments: tuple[str, list[_Entry | None] | _Entry]


def make_hostile(kind: str, record: str) -> str:
    """Return the record that ``kind`` makes of the first trade of ``record`` (a GatewayTrade event)."""
    route, data = msgspec.json.decode(record, type=_Event).arguments
    entries = data if isinstance(data, list) else [data]
    entry = next((entry for entry in entries if entry is not None), None)
    if entry is None:
        raise ProtocolError("the record holds no trade")
    fields = {
        "symbolId": _text(entry.symbol_id or route.removeprefix("CON.").rpartition(".")[0]),
        "price": bytes(entry.price).decode(),
        "timestamp": _text(entry.timestamp),
        "type": "0",
        "volume": str(entry.volume),
        "contractId": _text(entry.contract_id or route),
    }
    return HOSTILE[kind](_Trade(_text(route), fields))


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()
