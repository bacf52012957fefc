"""CME's sessions as data: weekly rules on Chicago's clock, and the exceptions of 2024 to 2026.

Source: CME's trading-hours-by-product service as of 2026-11-21 (by way of SharurTrading/exchange-hours-evidence,
fc625e69) and its press release of 2024-12-30 for 2025-01-09. Soft spots: the windows of eight holidays of 2025
rest on one capture; unscheduled halts (2025-11-28) are not in it, nor is any holiday of grains, livestock, crypto.
"""

from __future__ import annotations

import datetime
import functools
from typing import Final

import attrs

from trio_projectx.bars.edges import FIRST_DAY
from trio_projectx.bars.templates import Era, Hours, Weekly, day_number, parse_hours, parse_week
from trio_projectx.bars.zones import Zone
from trio_projectx.market.products import find_product, products

_ZONE: Final = "America/Chicago"
_KNOWN: Final = (datetime.date(2024, 1, 1), datetime.date(2026, 12, 31))
_USUAL: Final = "Mon-Fri -1d 17:00 > 16:00"
#: What trades by the rules of a family, by the product segment of the Gateway's contract ids.
_PRODUCTS: Final = {
    "EQ": "EP ENQ RTY YM MES MNQ M2K MYM NKD EMD",
    "RT": "TYA USA FVA TUA ULA TNA",
    "FX": "EU6 BP6 JY6 DA6 CA6 SF6 NE6 MX6 EEU M6A M6B M6E",
    "EM": "CLE MCLE NQM NGE MNG NQG RBE HOE GCE MGC SIE SIL CPE MHG PLE",
    "GRAINS": "ZCE ZWA ZSE ZME ZLE",
    "LIVESTOCK": "GLE HE",
    "CRYPTO": "MBT GMET",
}
_WEEKS: Final = {
    "GRAINS": "Mon-Fri -1d 19:00 > 07:45, 08:30 > 13:20",
    "LIVESTOCK": "Mon-Fri 08:30 > 13:05",
}
#: Crypto trades around the clock since the evening of 2026-05-29, but for two minutes a day and Saturday's two hours.
_CRYPTO_SINCE: Final = "2026-06-01"
_CRYPTO_WEEK: Final = "Mon -3d 16:02 > -2d 02:00, -2d 04:00 > 16:00; Tue-Fri -1d 16:02 > 16:00"
#: The hours of the old floor, which users call regular; those of EM differ by product.
_REGULAR: Final = {
    "EQ": ("08:30", "15:00"),
    "RT": ("07:20", "14:00"),
    "FX": ("07:20", "14:00"),
    "GRAINS": ("08:30", "13:20"),
    "LIVESTOCK": ("08:30", "13:05"),
}
_REGULAR_EM: Final = {
    ("08:00", "13:30"): "CLE MCLE NQM NGE MNG NQG RBE HOE",
    ("07:20", "12:30"): "GCE MGC",
    ("07:25", "12:25"): "SIE SIL",
    ("07:10", "12:00"): "CPE MHG",
    ("07:20", "12:05"): "PLE",
}
#: Hours, and the trade dates that have them instead of the usual ones.
_EXCEPTIONS: Final = {
    "EQ": """
        closed: 2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02
            2024-11-28 2024-12-25 2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19
            2025-09-01 2025-11-27 2025-12-25 2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19
            2026-07-03 2026-09-07 2026-11-26 2026-12-25
        -2d 17:00 > -1d 12:00, -1d 17:00 > 16:00: 2024-01-16 2024-02-20 2024-05-28 2024-06-20 2024-07-05
            2024-09-03 2025-01-21 2025-02-18 2025-05-27 2025-06-20 2025-09-02 2026-01-20 2026-02-17
            2026-05-26 2026-09-08
        -1d 17:00 > 12:15: 2024-07-03 2024-12-24 2025-07-03 2025-12-24 2026-12-24
        -2d 17:00 > -1d 12:00, -1d 17:00 > 12:15: 2024-11-29 2025-11-28 2026-11-27
        -1d 17:00 > 08:30: 2025-01-09
        -1d 17:00 > 12:00: 2025-07-04
        -1d 17:00 > 08:15: 2026-04-03
        -4d 17:00 > -3d 12:00, -2d 05:00 > -2d 17:00, -1d 17:00 > 16:00: 2026-06-22 2026-07-06
    """,
    "RT": """
        closed: 2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02
            2024-11-28 2024-12-25 2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19
            2025-09-01 2025-11-27 2025-12-25 2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19
            2026-07-03 2026-09-07 2026-11-26 2026-12-25
        -2d 17:00 > -1d 12:00, -1d 17:00 > 16:00: 2024-01-16 2024-02-20 2024-05-28 2024-06-20 2024-07-05
            2024-09-03 2025-01-21 2025-02-18 2025-05-27 2025-06-20 2025-09-02 2026-01-20 2026-02-17
            2026-05-26 2026-09-08
        -2d 17:00 > -1d 12:00, -1d 17:00 > 12:15: 2024-11-29 2025-11-28 2026-11-27
        -1d 17:00 > 12:15: 2024-12-24 2025-01-09 2025-12-24 2026-12-24
        -1d 17:00 > 12:00: 2025-07-04
        -1d 17:00 > 10:15: 2026-04-03
        -4d 17:00 > -3d 12:00, -2d 05:00 > -2d 17:00, -1d 17:00 > 16:00: 2026-06-22 2026-07-06
    """,
    "FX": """
        closed: 2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02
            2024-11-28 2024-12-25 2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19
            2025-09-01 2025-11-27 2025-12-25 2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19
            2026-07-03 2026-09-07 2026-11-26 2026-12-25
        -2d 17:00 > -1d 16:00, -1d 17:00 > 16:00: 2024-01-16 2024-02-20 2024-05-28 2024-06-20 2024-07-05
            2024-09-03 2025-01-21 2025-02-18 2025-05-27 2025-06-20 2025-09-02 2026-01-20 2026-02-17
            2026-05-26 2026-09-08
        -2d 17:00 > -1d 16:00, -1d 17:00 > 12:15: 2024-11-29
        -1d 17:00 > 12:45: 2024-12-24 2025-12-24 2026-12-24
        -1d 17:00 > 12:00: 2025-07-04
        -2d 17:00 > -1d 16:00, -1d 17:00 > 13:45: 2025-11-28 2026-11-27
        -1d 17:00 > 10:15: 2026-04-03
        -4d 17:00 > -3d 12:00, -2d 05:00 > -2d 17:00, -1d 17:00 > 16:00: 2026-06-22 2026-07-06
    """,
    "EM": """
        closed: 2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02
            2024-11-28 2024-12-25 2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19
            2025-09-01 2025-11-27 2025-12-25 2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25
            2026-06-19 2026-07-03 2026-09-07 2026-11-26 2026-12-25
        -2d 17:00 > -1d 13:30, -1d 17:00 > 16:00: 2024-01-16 2024-02-20 2024-05-28 2024-06-20 2024-07-05
            2024-09-03 2025-01-21 2025-02-18 2025-05-27 2025-06-20 2025-09-02 2026-01-20 2026-02-17
            2026-05-26 2026-09-08
        -2d 17:00 > -1d 13:30, -1d 17:00 > 13:45: 2024-11-29 2025-11-28 2026-11-27
        -1d 17:00 > 12:45: 2024-12-24 2025-12-24 2026-12-24
        -1d 17:00 > 12:00: 2025-07-04
        -4d 17:00 > -3d 12:00, -2d 05:00 > -2d 17:00, -1d 17:00 > 16:00: 2026-06-22 2026-07-06
    """,
}


@attrs.frozen(slots=True)
class Family:
    """Products with the same sessions; ``regular`` is the old floor's part of the day."""

    name: str
    source: Weekly
    known_from: datetime.date | None
    known_through: datetime.date | None
    regular: tuple[str, str] | None


@functools.cache
def families() -> dict[str, Family]:
    """Return the families by name."""
    return {name: _family(name) for name in _PRODUCTS}


def _family(name: str) -> Family:
    rule = parse_week(_WEEKS.get(name, _USUAL))
    eras = [Era(FIRST_DAY, rule)]
    if name == "CRYPTO":
        eras.append(Era(day_number(_CRYPTO_SINCE), parse_week(_CRYPTO_WEEK)))
    exceptions = _exceptions(_EXCEPTIONS.get(name, ""))
    first, last = _KNOWN if exceptions else (None, None)
    source = Weekly(Zone(_ZONE), tuple(eras), exceptions)
    return Family(f"CME {name}", source, first, last, _REGULAR.get(name))


def _exceptions(text: str) -> tuple[tuple[int, Hours], ...]:
    """Read "hours: date date ..." where a line without a colon that ends hours goes on with the dates."""
    found: dict[int, Hours] = {}
    hours: Hours = ()
    for line in text.splitlines():
        head, parted, dates = line.rpartition(": ")
        if parted:
            hours = () if head.strip() == "closed" else parse_hours(head)
        found.update((day_number(date), hours) for date in dates.split())
    return tuple(sorted(found.items()))


@functools.cache
def _family_by_product() -> dict[str, str]:
    by_code = {code: family for family, codes in _PRODUCTS.items() for code in codes.split()}
    tickers = {each.ticker: by_code[each.code] for each in products() if each.ticker and each.code in by_code}
    return tickers | by_code


def family_of(product: str) -> str | None:
    """Return the family of a product by code or ticker, or None if it has none here."""
    return _family_by_product().get(product)


def regular_hours(product: str) -> tuple[str, str] | None:
    """Return the old floor's hours of a product."""
    family = family_of(product)
    if family != "EM":
        return _REGULAR.get(family or "")
    code = find_product(product).code
    return next((hours for hours, codes in _REGULAR_EM.items() if code in codes.split()), None)
