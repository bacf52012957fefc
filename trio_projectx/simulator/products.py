"""What can be traded here: the products of the tick table, each with a description and a price to begin at.

The descriptions are what makes the contract search as fuzzy as the real one ("ES" finds currencies and notes
by theirs). The prices are round figures of the right order: generated markets are not market data.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

import attrs

from trio_projectx._errors import ContractError
from trio_projectx.market.contracts import MONTHS, ContractId, Product, find_product, front_month, products
from trio_projectx.market.grid import PriceGrid

#: Product, price to begin at, description.
_FACTS: Final = """
BP6 1.31 British Pound
CA6 0.72 Canadian Dollar
CLE 78 Crude Oil
CPE 4.6 Copper
DA6 0.66 Australian Dollar
EEU 1.14 E-mini Euro FX
EMD 3100 E-mini S&P MidCap 400
ENQ 29500 E-mini NASDAQ-100
EP 7700 E-mini S&P 500
EU6 1.14 Euro FX
FVA 108 5-Year Treasury Notes
GCE 3900 Gold
GLE 220 Live Cattle
GMET 4200 Micro Ether
HE 95 Lean Hogs
HOE 2.4 NY Harbor ULSD
JY6 0.0067 Japanese Yen
M2K 2500 Micro E-mini Russell 2000
M6A 0.66 Micro Australian Dollar
M6B 1.31 Micro British Pound
M6E 1.14 Micro Euro FX
MBT 105000 Micro Bitcoin
MCLE 78 Micro Crude Oil
MES 7700 Micro E-mini S&P 500
MGC 3900 Micro Gold
MHG 4.6 Micro Copper
MNG 3.2 Micro Henry Hub Natural Gas
MNQ 29500 Micro E-mini NASDAQ-100
MX6 0.053 Mexican Peso
MYM 46000 Micro E-mini Dow
NE6 0.6 New Zealand Dollar
NGE 3.2 Natural Gas
NKD 42000 Nikkei 225
NQG 3.2 E-mini Natural Gas
NQM 78 E-mini Crude Oil
PLE 1350 Platinum
RBE 2.2 RBOB Gasoline
RTY 2500 E-mini Russell 2000
SF6 1.24 Swiss Franc
SIE 48 Silver
SIL 48 Micro Silver
TNA 113 Ultra 10-Year Treasury Notes
TUA 103 2-Year Treasury Notes
TYA 111 10-Year Treasury Notes
ULA 118 Ultra Treasury Bond
USA 116 Treasury Bond
YM 46000 E-mini Dow
ZCE 430 Corn
ZLE 52 Soybean Oil
ZME 300 Soybean Meal
ZSE 1050 Soybeans
ZWA 560 Wheat
"""
_MONTH_NAMES: Final = "January February March April May June July August September October November December"
#: Where no price is known: a thousand ticks above nothing would be too near for the path.
_UNKNOWN_TICKS: Final = 20_000


@attrs.frozen(slots=True)
class Listing:
    """One contract that can be subscribed to; prices of its market are ticks of ``grid``."""

    contract_id: str
    symbol_id: str
    name: str
    description: str
    tick_size: float
    tick_value: float
    grid: PriceGrid
    base_ticks: int


def listed(contract_id: str) -> Listing:
    """Return the listing of a contract of any expiry of a product in the tick table.

    :raises ContractError: if the id is malformed or the product is not in the table.
    """
    parsed = ContractId.parse(contract_id)
    product = find_product(parsed.product)
    if product.code != parsed.product:
        raise ContractError(f"{contract_id} names a ticker where the id has a product: {product.code}")
    return _listing(parsed, product)


def front(product: str, ns: int) -> Listing:
    """Return the listing of the expiry of ``product`` that is active at the market's time ``ns``."""
    return listed(str(front_month(product, _date(ns))))


def available(ns: int) -> list[Listing]:
    """Return one active contract of each product, as ``Contract/available`` lists them."""
    return [front(product.code, ns) for product in products()]


def search(text: str, ns: int) -> Iterator[Listing]:
    """Yield the active contracts whose id, name or description holds ``text``, whatever its case."""
    wanted = text.casefold()
    for listing in available(ns):
        shown = f"{listing.contract_id} {listing.name} {listing.description}"
        if wanted in shown.casefold():
            yield listing


def _date(ns: int) -> datetime.date:
    return (
        datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=ns // 10**9)
    ).date()


def _listing(contract: ContractId, product: Product) -> Listing:
    price, description = _fact(product.code)
    month = _MONTH_NAMES.split()[MONTHS.index(contract.month)]
    return Listing(
        contract_id=str(contract),
        symbol_id=contract.symbol_id,
        name=f"{product.ticker or product.code}{contract.month}{contract.year % 10}",
        description=f"{description}: {month} {contract.year}",
        tick_size=float(product.tick_size),
        tick_value=float(product.tick_value),
        grid=product.grid,
        base_ticks=round(price * product.grid.per_unit) if price else _UNKNOWN_TICKS,
    )


def _fact(code: str) -> tuple[float, str]:
    for line in _FACTS.strip().splitlines():
        found, price, description = line.split(" ", 2)
        if found == code:
            return float(price), description
    return 0.0, code
