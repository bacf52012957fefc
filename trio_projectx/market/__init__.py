"""From records of the market hub to valid trades and quotes. Pure: no I/O, no clock, no task.

In the order in which data flows: `Decoder` turns a text of the hub into wire trades and quotes by contract,
`Validator` the trades of a contract into a `TradeBatch`, `QuoteMerger` its sparse quotes into whole ones, `DepthJudge`
its depth into valid rows, and `OrderBook` these into the levels of its book. Each contract has its own of each, on the
`PriceGrid` of its product.
"""

from __future__ import annotations

from trio_projectx._items import DepthKind
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.book import OrderBook
from trio_projectx.market.contracts import ContractId, Product, find_product, front_month, products
from trio_projectx.market.decode import Decoded, Decoder, Refusal, join_decoded
from trio_projectx.market.depth import DepthCounts, DepthJudge, DepthRow, DepthUpdate
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.quotes import QuoteCounts, QuoteMerger
from trio_projectx.market.reasons import Reason, RejectedCounts, Rejection
from trio_projectx.market.stamps import (
    StampError,
    StampParser,
    StampRangeError,
    format_stamp,
    parse_stamp,
)
from trio_projectx.market.validate import Validator
from trio_projectx.market.wire import WireQuote, WireTrade

__all__ = [
    "ContractId",
    "Decoded",
    "Decoder",
    "DepthCounts",
    "DepthJudge",
    "DepthKind",
    "DepthRow",
    "DepthUpdate",
    "OrderBook",
    "PriceGrid",
    "Product",
    "QuoteCounts",
    "QuoteMerger",
    "Reason",
    "Refusal",
    "RejectedCounts",
    "Rejection",
    "StampError",
    "StampParser",
    "StampRangeError",
    "TradeBatch",
    "Validator",
    "WireQuote",
    "WireTrade",
    "find_product",
    "format_stamp",
    "front_month",
    "join_decoded",
    "parse_stamp",
    "products",
]
