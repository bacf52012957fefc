"""The price grid: a price is a whole number of ticks, and the float on the wire is exactly that number.

A tick size is a ratio of two integers. The float64 nearest to ``ticks * num / den`` is what a JSON parser
makes of the decimal on the wire, and what Python's integer division makes of the ratio (both are correctly
rounded), so equality of the two floats decides "on the grid" without a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final

import attrs

from trio_projectx._errors import ConfigError

# So far from 0 a float product finds the nearest tick for sure (three roundings of 2**-53 each make less than
# 0.4 ticks there); farther out exact integers do, which are slower.
_TICKS_MOST: Final = 1 << 50
# Places of a decimal that a price may plausibly have; the yen's tick has seven.
_DECIMAL_MOST: Final = 10**9
# Powers of ten a tick size may have (real ones: -7 to 1); nobody waits for 10**999999999.
_EXPONENTS: Final = range(-30, 31)


@attrs.frozen(slots=True)
class PriceGrid:
    """Prices that are whole multiples of ``num / den``; ``per_unit`` is the float ``den / num``."""

    num: int
    den: int
    per_unit: float = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.num < 1 or self.den < 1:
            raise ConfigError(f"a tick size must be above 0, not {self.num}/{self.den}")
        try:
            per_unit = self.den / self.num
        except OverflowError:
            per_unit = math.inf
        object.__setattr__(self, "per_unit", per_unit)

    @classmethod
    def from_tick_size(cls, tick_size: float | str | Decimal | Fraction) -> PriceGrid:
        """Make the grid of ``tick_size``; a float is taken as the decimal that it prints as.

        :raises ConfigError: if it is not a finite number above 0.
        """
        if isinstance(tick_size, Fraction):
            return cls(tick_size.numerator, tick_size.denominator)
        try:
            decimal = Decimal(str(tick_size))
        except ArithmeticError:
            decimal = Decimal("NaN")
        if not decimal.is_finite() or decimal.adjusted() not in _EXPONENTS:
            raise ConfigError(f"{tick_size!r:.40} is not a tick size")
        return cls(*decimal.as_integer_ratio())

    @classmethod
    def holding(cls, prices: Iterable[float]) -> PriceGrid:
        """Make the coarsest grid of the form ``1 / 10**k``, k up to 9, that holds each of ``prices``.

        Each float is taken as the decimal that it is nearest to, as on the wire. Where some price needs more than
        nine places, the grid is ``1 / 2**k`` instead, on which every float lies for what it is.
        """
        prices = list(prices)
        binary = cls(1, max((p.as_integer_ratio()[1] for p in prices), default=1))
        grid = cls(1, 1)
        for price in prices:
            while (
                grid.ticks(price) is None
            ):  # grids of powers of ten nest: what lay on the last lies on the next
                if grid.den >= _DECIMAL_MOST:
                    return binary
                grid = cls(1, grid.den * 10)
        # Where floats lie farther apart than ticks, one float stands for several numbers of them.
        return binary if any(math.ulp(price) * grid.den >= 1 for price in prices) else grid

    def ticks(self, price: float) -> int | None:
        """Return the number of ticks of ``price``, or None if it lies off the grid or is not finite.

        Never raises, whatever the float.
        """
        if not math.isfinite(price):
            return None
        scaled = price * self.per_unit
        if not -_TICKS_MOST < scaled < _TICKS_MOST:
            num, den = price.as_integer_ratio()
            ticks = (2 * num * self.den + den * self.num) // (2 * den * self.num)
        else:
            ticks = round(scaled)
        try:
            return ticks if ticks * self.num / self.den == price else None
        except OverflowError:  # the nearest grid point is beyond the floats
            return None

    def price(self, ticks: int) -> float:
        """Return the float64 nearest to ``ticks`` ticks."""
        return ticks * self.num / self.den
