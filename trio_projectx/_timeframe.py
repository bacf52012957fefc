"""The timeframe of a bar: how long its interval is, as a value."""

from __future__ import annotations

import re
from typing import Final, Literal

from trio_projectx._errors import TimeframeError

Unit = Literal["s", "m", "h", "d", "w", "M"]

NS_PER_SECOND: Final = 1_000_000_000
_FORM: Final = re.compile(r"([1-9][0-9]{0,4})([smhdwM])", re.ASCII)
_STEP: Final[dict[str, int]] = {"s": NS_PER_SECOND, "m": 60 * NS_PER_SECOND, "h": 3600 * NS_PER_SECOND}


class Timeframe(str):
    """A bar length such as ``"5s"``, ``"1m"``, ``"4h"``, ``"1d"``, ``"1w"`` or ``"1M"`` (a month, not a minute).

    It is a string (equal to its label, hashable like it), that has been checked and taken apart.

    :raises TimeframeError: if the label is not ``<whole number><s|m|h|d|w|M>``.
    """

    __slots__ = ("n", "unit")

    n: int
    unit: Unit

    def __new__(cls, label: str) -> Timeframe:  # noqa: PYI034  a Timeframe comes back as it is
        """Check ``label``; a `Timeframe` is returned as it is."""
        if isinstance(label, Timeframe):
            return label
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
