"""The market records as they travel: typed JSON structs, decoded by msgspec.

The shapes are GATEWAY.md section 2.3. Only what is used is named; fields that are not named are read over.
``null`` and absence are the same thing here. Nothing is judged yet but the JSON types: a price may still be
negative, a stamp nonsense. The names in JSON are the service's (camelCase), the names here are ours.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

TRADE: Final = "GatewayTrade"
QUOTE: Final = "GatewayQuote"
DEPTH: Final = "GatewayDepth"
LOGOUT: Final = "GatewayLogout"
#: The events of the user hub.
USER: Final = ("GatewayUserAccount", "GatewayUserOrder", "GatewayUserPosition", "GatewayUserTrade")


# gc=False: these hold no cycles, and a flood of them would otherwise keep the collector busy.
class WireTrade(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """One element of a ``GatewayTrade`` list; ``type`` is 0 for a buy, 1 for a sell (the aggressor)."""

    price: float
    timestamp: str
    volume: int
    type: int | None = None
    symbol_id: str | None = None
    contract_id: str | None = None


class WireQuote(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """The object of a ``GatewayQuote``: sparse, None where the field is absent (that is: unchanged)."""

    symbol: str | None = None
    contract: str | None = None
    last_price: float | None = None
    best_bid: float | None = None
    best_ask: float | None = None
    change: float | None = None
    change_percent: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: int | None = None
    last_updated: str | None = None
    timestamp: str | None = None


# The whole record. An invocation with any other field (an id, which wants an answer; headers; stream ids) is
# not for the fast lane: unknown fields are forbidden, so that it takes the exact way.
class TradeRecord(msgspec.Struct, gc=False, tag_field="target", tag=TRADE, forbid_unknown_fields=True):
    """An invocation of ``GatewayTrade`` in its usual shape."""

    type: Literal[1]
    arguments: tuple[str, list[WireTrade]]


class QuoteRecord(msgspec.Struct, gc=False, tag_field="target", tag=QUOTE, forbid_unknown_fields=True):
    """An invocation of ``GatewayQuote``."""

    type: Literal[1]
    arguments: tuple[str, WireQuote]


class DepthRecord(msgspec.Struct, gc=False, tag_field="target", tag=DEPTH, forbid_unknown_fields=True):
    """An invocation of ``GatewayDepth``; its rows are left as they are."""

    type: Literal[1]
    # The rows are judged one by one as plain JSON: 60 of them come a second, and any shape may be among them.
    arguments: tuple[str, list[Any] | dict[str, Any] | None]


class LooseTradeRecord(msgspec.Struct, gc=False, tag_field="target", tag=TRADE, forbid_unknown_fields=True):
    """An invocation of ``GatewayTrade`` in any shape the service is known to use (GATEWAY.md 2.3)."""

    type: Literal[1]
    arguments: tuple[str, list[WireTrade | None] | WireTrade | None]


class LooseQuoteRecord(msgspec.Struct, gc=False, tag_field="target", tag=QUOTE, forbid_unknown_fields=True):
    """An invocation of ``GatewayQuote``, perhaps of nothing."""

    type: Literal[1]
    arguments: tuple[str, WireQuote | None]


Record: TypeAlias = TradeRecord | QuoteRecord | DepthRecord
LooseRecord: TypeAlias = LooseTradeRecord | LooseQuoteRecord | DepthRecord
