"""Parsed JSON values to wire structs, one field at a time: what is wrong is named, what is right is kept.

The types that are accepted are exactly msgspec's for the structs of `wire`, but for a trade's ``type``, where
anything that is no whole number counts as "did not say": it decides no bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_projectx.market.reasons import Reason
from trio_projectx.market.wire import WireQuote, WireTrade

if TYPE_CHECKING:
    from trio_projectx.signalr import JsonValue


@attrs.frozen(slots=True)
class Fault:
    """What is wrong with a value; ``detail`` holds our names and JSON types, nothing that the wire said."""

    reason: Reason
    detail: str
    is_of_field: bool = attrs.field(default=True, eq=False)
    """Whether ``detail`` begins with the name of a field; otherwise it is about the whole value."""

    def path(self, where: str) -> str:
        """Return the detail with the path of what is wrong: ``arguments[1][0].price: missing``."""
        return f"{where}.{self.detail}" if self.is_of_field else f"{where}: {self.detail}"


def exact_trade(entry: JsonValue) -> WireTrade | Fault:
    """Return the trade of one entry of a trade list, or the first fault of it."""
    if not isinstance(entry, dict):
        return Fault(Reason.SCHEMA, f"{json_type(entry)} instead of a trade", is_of_field=False)
    fields = Fields(entry)
    price, volume = fields.number("price"), fields.whole("volume")
    timestamp, symbol_id, contract_id = (
        fields.text("timestamp"),
        fields.text("symbolId"),
        fields.text("contractId"),
    )
    if price is None or volume is None or timestamp is None or fields.faults:
        return fields.faults[0] if fields.faults else _missing(price=price, volume=volume)
    side = entry.get("type")
    kind = side if isinstance(side, int) and not isinstance(side, bool) else None
    return WireTrade(price, timestamp, volume, kind, symbol_id, contract_id)


def exact_quote(data: JsonValue) -> tuple[WireQuote | None, list[Fault]]:
    """Return the quote without its bad fields, and their faults.

    There is no quote at all if it is no object, or where it says in a wrong type whose it is.
    """
    if not isinstance(data, dict):
        return None, [Fault(Reason.SCHEMA, f"{json_type(data)} instead of a quote", is_of_field=False)]
    fields = Fields(data)
    symbol, contract = fields.text("symbol"), fields.text("contract")
    if fields.faults:
        return None, fields.faults
    quote = WireQuote(
        symbol=symbol,
        contract=contract,
        last_price=fields.number("lastPrice"),
        best_bid=fields.number("bestBid"),
        best_ask=fields.number("bestAsk"),
        change=fields.number("change"),
        change_percent=fields.number("changePercent"),
        open=fields.number("open"),
        high=fields.number("high"),
        low=fields.number("low"),
        volume=fields.whole("volume"),
        last_updated=fields.text("lastUpdated"),
        timestamp=fields.text("timestamp"),
    )
    return quote, fields.faults


class Fields:
    """The fields of one JSON object by type: None for what is absent, null or wrong (and noted in ``faults``)."""

    def __init__(self, data: dict[str, JsonValue]) -> None:
        self._data = data
        self.faults: list[Fault] = []

    def number(self, name: str) -> float | None:
        """Return a number."""
        value = self._data.get(name)
        if isinstance(value, float) or value is None:
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong(name, value, "a number")
            return None
        try:
            return float(value)
        except OverflowError:
            self.faults.append(Fault(Reason.PRICE_RANGE, f"{name}: a whole number of hundreds of digits"))
            return None

    def whole(self, name: str) -> int | None:
        """Return a whole number."""
        value = self._data.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, float):
            self.faults.append(Fault(Reason.SIZE, f"{name}: no whole number"))
        else:
            self._wrong(name, value, "a whole number")
        return None

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self._data.get(name)
        if value is None or isinstance(value, str):
            return value
        self._wrong(name, value, "a string")
        return None

    def _wrong(self, name: str, value: JsonValue, meant: str) -> None:
        self.faults.append(Fault(Reason.SCHEMA, f"{name}: {json_type(value)} instead of {meant}"))


def _missing(*, price: float | None, volume: int | None) -> Fault:
    name = "price" if price is None else "volume" if volume is None else "timestamp"
    return Fault(Reason.SCHEMA, f"{name}: missing")


def json_type(value: JsonValue) -> str:
    """Return the JSON name of a value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
