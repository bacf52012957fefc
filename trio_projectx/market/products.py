"""What is known of the products without asking the service: ticks, their worth, delivery months, rolls.

The tick table is the service's own list of 2026-08-19 (51 products, GATEWAY.md section 3) and EMD from the
documentation's list of 2025. Where the service has been asked, its answer counts, not this table. Delivery
months and rolls are the exchanges' rules made simple, for `contracts.front_month` only.
"""

from __future__ import annotations

import datetime
import difflib
import functools
from decimal import Decimal
from typing import Final, NoReturn

import attrs

from trio_projectx._errors import ContractError
from trio_projectx._redact import escape
from trio_projectx.market.grid import PriceGrid

#: The letters of the delivery months, January to December.
MONTHS: Final = "FGHJKMNQUVXZ"
# The longest text that is worth a look: a hostile one is not to keep difflib busy.
_LONGEST: Final = 40


@attrs.frozen(slots=True)
class Delivery:
    """The delivery months of a family of products, and when it rolls.

    It rolls on the ``day`` of the month before delivery; or, where that is 0, ``lead`` days before the
    ``nth`` ``weekday`` of the delivery month (Monday is 0; ``nth`` -1 is the last), about which it expires.
    """

    months: str
    day: int = 0
    nth: int = 0
    weekday: int = 0
    lead: int = 0

    def rolls(self, year: int, month: int) -> datetime.date:
        """Return the day on which the contract of that delivery month gives way to the next."""
        if self.day:
            return (datetime.date(year, month, 1) - datetime.timedelta(days=1)).replace(day=self.day)
        return _nth_weekday(year, month, self.nth, self.weekday) - datetime.timedelta(days=self.lead)


def _nth_weekday(year: int, month: int, nth: int, weekday: int) -> datetime.date:
    if nth > 0:
        first = datetime.date(year, month, 1)
        return first + datetime.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)
    return last - datetime.timedelta(days=(last.weekday() - weekday) % 7)


@attrs.frozen(slots=True)
class Product:
    """A product of the tick table; prices are in its quotation, ``tick_value`` in US dollars per tick.

    ``code`` is the segment of the contract id (``EP``), ``ticker`` the exchange's symbol where it differs
    (``ES``). ``grid`` is that of ``tick_size``.
    """

    code: str
    ticker: str | None
    tick_size: Decimal
    tick_value: Decimal
    delivery: Delivery = attrs.field(repr=False)
    grid: PriceGrid = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "grid", PriceGrid.from_tick_size(self.tick_size))

    @property
    def months(self) -> str:
        """The letters of the delivery months that are traded in earnest."""
        return self.delivery.months

    def rolls(self, year: int, month: str) -> datetime.date:
        """The day from which `front_month` names the next expiry instead of this one."""
        return self.delivery.rolls(year, MONTHS.index(month) + 1)


_WEDNESDAY: Final = 2
_FRIDAY: Final = 4
_QUARTERS: Final = "HMUZ"
# Each row: how the family delivers and rolls, and its products as "CODE[=TICKER] tick_size tick_value".
_FAMILIES: Final = (
    # Equity indices expire on the third Friday; the exchange's roll date was the Thursday 8 days before.
    (
        Delivery(_QUARTERS, nth=3, weekday=_FRIDAY, lead=8),
        "EP=ES .25 12.5, ENQ=NQ .25 5, RTY .1 5, YM 1 5, EMD .1 10, "
        "MES .25 1.25, MNQ .25 .5, M2K .1 .5, MYM 1 .5",
    ),
    # The Nikkei expires on the second Friday.
    (Delivery(_QUARTERS, nth=2, weekday=_FRIDAY, lead=8), "NKD 5 25"),
    # Currencies expire two business days before the third Wednesday; the Thursday before that week.
    (
        Delivery(_QUARTERS, nth=3, weekday=_WEDNESDAY, lead=6),
        "DA6=6A .00005 5, BP6=6B .0001 6.25, CA6=6C .00005 5, EU6=6E .00005 6.25, JY6=6J .0000005 6.25, "
        "MX6=6M .00001 5, NE6=6N .00005 5, SF6=6S .00005 6.25, EEU=E7 .0001 6.25, "
        "M6A .0001 1, M6B .0001 .625, M6E .0001 1.25",
    ),
    # Treasuries can be delivered from the first of the month; positions move in the last week before it.
    (
        Delivery(_QUARTERS, day=20),
        "TUA=ZT .00390625 7.8125, FVA=ZF .0078125 7.8125, TYA=ZN .015625 15.625, TNA=TN .015625 15.625, "
        "USA=ZB .03125 31.25, ULA=UB .03125 31.25",
    ),
    # Crude expires about the 20th of the month before delivery, a few days earlier in effect.
    (Delivery(MONTHS, day=16), "CLE=CL .01 10, MCLE=MCL .01 1, NQM=QM .025 12.5"),
    # Gas and products expire in the last days of the month before delivery.
    (
        Delivery(MONTHS, day=20),
        "NGE=NG .001 10, MNG .001 1, NQG=QG .005 12.5, RBE=RB .0001 4.2, HOE=HO .0001 4.2",
    ),
    # First notice of metals, grains and cattle lies about the end of the month before delivery.
    (Delivery("GJMQVZ", day=20), "GCE=GC .1 10, MGC .1 1"),
    (Delivery("HKNUZ", day=20), "SIE=SI .005 25, SIL .005 5, CPE=HG .0005 12.5, MHG .0005 1.25"),
    (Delivery("FJNV", day=20), "PLE=PL .1 5"),
    (Delivery("HKNUZ", day=20), "ZCE=ZC .25 12.5, ZWA=ZW .25 12.5"),
    (Delivery("FHKNQUX", day=20), "ZSE=ZS .25 12.5"),
    (Delivery("FHKNQUVZ", day=20), "ZME=ZM .1 10, ZLE=ZL .01 6"),
    (Delivery("GJMQVZ", day=20), "GLE=LE .025 10"),
    (Delivery("GJKMNQVZ", day=20), "HE .025 10"),
    # Crypto expires on the last Friday of the month; the Monday of that week.
    (Delivery(MONTHS, nth=-1, weekday=_FRIDAY, lead=4), "MBT 5 .5, GMET=MET .5 .05"),
)


@functools.cache
def products() -> tuple[Product, ...]:
    """Every product of the table."""
    return tuple(_product(row, delivery) for delivery, rows in _FAMILIES for row in rows.split(", "))


def _product(row: str, delivery: Delivery) -> Product:
    name, tick_size, tick_value = row.split()
    code, _, ticker = name.partition("=")
    return Product(code, ticker or None, Decimal(tick_size), Decimal(tick_value), delivery)


@functools.cache
def _by_name() -> dict[str, Product]:
    names = {product.code: product for product in products()}
    names.update((product.ticker, product) for product in products() if product.ticker is not None)
    return names


def find_product(text: str) -> Product:
    """Return the product of a ticker (``ES``) or a product code (``EP``); case and spaces around it are free.

    A text that names an expiry is refused: the expiry would be lost on the way. Use `ContractId.parse` for
    ``CON.F.US.MNQ.U26`` and `ContractId.from_name` for ``MNQU6``.

    :raises ContractError: if it is none, with the nearest names there are.
    """
    name = normal(text)
    product = _by_name().get(name)
    if product is None:
        _unknown(text, name)
    return product


def _unknown(text: str, name: str) -> NoReturn:
    shown = repr(escape(text, 60))
    if name.startswith("CON.") or _is_name(name):
        raise ContractError(f"{shown} names one expiry, not a product: use it as a contract")
    close = difflib.get_close_matches(name, _by_name(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "a ticker such as MNQ or ES is meant"
    raise ContractError(f"{shown} is no product that is known here; {hint}")


def normal(text: str) -> str:
    """Return ``text`` as names are written, or "" if it cannot be one."""
    return text.strip().upper() if len(text) <= _LONGEST and text.isascii() else ""


def _is_name(name: str) -> bool:
    """Whether it is a product's name with an expiry behind it, such as MNQU6."""
    stem = name.rstrip("0123456789")
    return 1 <= len(name) - len(stem) <= 2 and stem[-1:] in MONTHS and stem[:-1] in _by_name()
