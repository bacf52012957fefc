"""The timeframe of a bar: how long its interval is, as a value."""

from __future__ import annotations

import re
from typing import Final, Literal

from trio_projectx._errors import TimeframeError

Unit = Literal["s", "m", "h", "d", "w", "M"]
Kind = Literal["tick", "volume", "dollar", "range", "renko"]

NS_PER_SECOND: Final = 1_000_000_000
_FORM: Final = re.compile(r"([1-9][0-9]{0,4})([smhdwM])", re.ASCII)
_KIND_FORM: Final = re.compile(r"(tick|volume|dollar|range|renko):([1-9][0-9]{0,14})", re.ASCII)
_STEP: Final[dict[str, int]] = {"s": NS_PER_SECOND, "m": 60 * NS_PER_SECOND, "h": 3600 * NS_PER_SECOND}


class Timeframe(str):
    """A bar length such as ``"5s"``, ``"1m"``, ``"4h"``, ``"1d"``, ``"1w"`` or ``"1M"`` (a month, not a minute).

    It is a string (equal to its label, hashable like it), that has been checked and taken apart. Labels such as
    ``"tick:500"`` give a `BarKind`.

    :raises TimeframeError: if the label is not ``<whole number><s|m|h|d|w|M>``.
    """

    __slots__ = ("n", "unit")

    n: int
    unit: Unit

    def __new__(cls, label: str) -> Timeframe:  # noqa: PYI034  a Timeframe comes back as it is
        """Check ``label``; a `Timeframe` is returned as it is."""
        if isinstance(label, Timeframe):
            return label
        if isinstance(label, str) and ":" in label:
            return BarKind(label)
        match = _FORM.fullmatch(label) if isinstance(label, str) else None
        if match is None:
            raise TimeframeError(
                f"{label!r:.60} is not a timeframe: write a whole number and one of s, m, h, d, w, M, "
                'for example "5s", "1m", "4h", "1d"'
            )
        self = super().__new__(cls, label)
        self.n = int(match[1])
        self.unit = match[2]  # type: ignore[assignment]
        return self

    @property
    def step_ns(self) -> int | None:
        """The length in nanoseconds; None for d, w and M, whose length the calendar decides."""
        step = _STEP.get(self.unit)
        return None if step is None else step * self.n

    def __reduce__(self) -> tuple[type[Timeframe], tuple[str]]:
        return Timeframe, (str(self),)


class BarKind(Timeframe):
    """What ends a bar that does not end by time, as a label that goes wherever a timeframe's does.

    ================== ===========================================================================
    ``"tick:500"``     500 trades
    ``"volume:1000"``  1,000 contracts; a bigger trade is split over bars
    ``"dollar:50000"`` a turnover (price times contracts) of 50,000 or more
    ``"range:8"``      high and low are 8 ticks apart at most; the trade beyond begins the next bar
    ``"renko:4"``      bricks of 4 ticks; a turn takes two
    ================== ===========================================================================

    :raises TimeframeError: if the label is none of these, with a whole number above 0.
    """

    __slots__ = ("kind", "size")

    kind: Kind
    size: int

    def __new__(cls, label: str) -> BarKind:  # noqa: PYI034  as Timeframe
        """Check ``label``; a `BarKind` is returned as it is."""
        if isinstance(label, BarKind):
            return label
        match = _KIND_FORM.fullmatch(label) if isinstance(label, str) else None
        if match is None:
            raise TimeframeError(
                f"{label!r:.60} is no kind of bar: write tick, volume, dollar, range or renko, a colon and a "
                'whole number above 0, for example "tick:500"'
            )
        self = str.__new__(cls, label)
        self.kind = match[1]  # type: ignore[assignment]
        self.size = self.n = int(match[2])
        return self

    @property
    def step_ns(self) -> int | None:
        """None: such a bar takes as long as it takes."""
        return None

    def __reduce__(self) -> tuple[type[Timeframe], tuple[str]]:
        return BarKind, (str(self),)
