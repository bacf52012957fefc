"""Contract ids: what they are made of, and which one to assume when nobody can be asked."""

from __future__ import annotations

import datetime
import re
from typing import Final

import attrs

from trio_projectx._errors import ContractError
from trio_projectx._redact import escape
from trio_projectx.market.products import MONTHS, Product, find_product, normal, products

__all__ = ["MONTHS", "ContractId", "Product", "find_product", "front_month", "products"]

# ASCII by listing: \w and \d take letters and digits of every script.
_ID_FORM: Final = re.compile(r"CON\.F\.US\.([A-Z0-9]{1,8})\.([FGHJKMNQUVXZ])([0-9]{2})")
_NAME_FORM: Final = re.compile(r"([A-Z0-9]{1,8}?)([FGHJKMNQUVXZ])([0-9]{1,2})")


@attrs.frozen(slots=True)
class ContractId:
    """One expiry of a product, ``CON.F.US.<product>.<month><year>``; `str` gives the id back.

    ``month`` is the letter of the delivery month (see `MONTHS`), ``year`` the full year, 2000 to 2099.
    """

    product: str
    month: str
    year: int

    def __attrs_post_init__(self) -> None:
        if not (2000 <= self.year <= 2099 and _ID_FORM.fullmatch(str(self))):
            raise ContractError(f"{escape(repr((self.product, self.month, self.year)), 60)} is no contract")

    @classmethod
    def parse(cls, text: str) -> ContractId:
        """Take an id apart; what is not exactly of the form is refused.

        :raises ContractError: with the text escaped and cut, whatever it was.
        """
        match = _ID_FORM.fullmatch(text)
        if match is None:
            raise ContractError(f"{escape(text, 60)!r} is not a contract id such as CON.F.US.MNQ.U26")
        return cls(match[1], match[2], 2000 + int(match[3]))

    @classmethod
    def from_name(cls, name: str, date: datetime.date) -> ContractId:
        """Read a contract's name, ``MNQU6`` or ``MNQU26``, as of ``date``.

        A one-digit year is the year of that digit nearest to ``date``'s that is at most one year past.

        :raises ContractError: if it is not a name, or of no known product.
        """
        match = _NAME_FORM.fullmatch(normal(name))
        if match is None:
            raise ContractError(f"{escape(name, 60)!r} is not a contract's name such as MNQU6")
        year = int(match[3])
        first = date.year - 1
        full = 2000 + year if len(match[3]) == 2 else first + (year - first) % 10
        return cls(find_product(match[1]).code, match[2], full)

    @property
    def symbol_id(self) -> str:
        """What the wire's ``symbolId`` and a quote's ``symbol`` say: the product only, ``F.US.MNQ``."""
        return f"F.US.{self.product}"

    def __str__(self) -> str:
        return f"CON.F.US.{self.product}.{self.month}{self.year % 100:02d}"


def front_month(product: str, date: datetime.date) -> ContractId:
    """Return the expiry of ``product`` to assume on ``date`` when the service cannot be asked: a last resort.

    The service lists one active expiry per product and knows best; use this only when a contract search gave
    no answer, and tell the user which contract was assumed. The rule is the first of `Product.months` whose
    `Product.rolls` day is still to come, and is simple on purpose (no holidays):

    =========================== ============================================================
    equity indices              from 8 days before the third Friday on, the next quarter
    NKD                         ... before the second Friday
    currencies                  from 6 days before the third Wednesday on, the next quarter
    crude oil (CL, MCL, QM)     from the 16th of the month before delivery on, the next month
    crypto                      from the Monday before the month's last Friday on, the next
    all else                    from the 20th of the month before delivery on, the next
    =========================== ============================================================

    :raises ContractError: if the product is not known.
    """
    found = find_product(product)
    for year in (date.year, date.year + 1):
        for month in found.months:
            if date < found.rolls(year, month):
                return ContractId(found.code, month, year)
    raise AssertionError("a contract of next year rolls after today")  # pragma: no cover
