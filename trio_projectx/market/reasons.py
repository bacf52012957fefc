"""Why a record is rejected, and how that is counted and kept for looking at."""

from __future__ import annotations

import enum
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import attrs

from trio_projectx._events import RejectionBurst
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx.market.stamps import StampError, StampParser, StampRangeError

#: Prices from here on are refused: no listed future comes within four orders of magnitude, and below it the
#: ticks of the finest grid (the yen's) are still told apart by a float.
PRICE_LIMIT: Final = 1e9
#: A burst: so many rejected of so many judged.
_BURST: Final = 100
_WINDOW: Final = 1000
_log: Final = logging.getLogger("trio_projectx")
What = Literal["trades", "quotes", "depth"]


class Reason(enum.StrEnum):
    """Why a trade, or a field of a quote, was rejected; the values are stable (for logs, metrics)."""

    SCHEMA = "schema"
    """It has not the shape of a record: no object, or a field missing or of the wrong JSON type."""
    FOREIGN_CONTRACT = "foreign_contract"
    """It names another contract or product than the one it was sent for."""
    PRICE_NOT_FINITE = "price_not_finite"
    """The price is NaN or infinite."""
    PRICE_NOT_POSITIVE = "price_not_positive"
    """The price is 0 or negative."""
    PRICE_RANGE = "price_range"
    """The price is a thousand million or more."""
    OFF_GRID = "off_grid"
    """The price is not a whole number of ticks."""
    SIZE = "size"
    """The volume is a number, but no whole one from 1 (for a quote: 0) to the limit."""
    STAMP_FORM = "stamp_form"
    """The stamp is no ISO 8601 date and time with a zone, or one that does not exist."""
    STAMP_RANGE = "stamp_range"
    """The stamp is outside the bounds of the configuration, or of int64 nanoseconds."""
    PRICE_BAND = "price_band"
    """The price was far from those before it, and the ones after it did not confirm it."""
    REPLAYED = "replayed"
    """It was had before a reconnect, and was sent again after it."""
    STAMP_AHEAD = "stamp_ahead"
    """The stamp was far ahead of the exchange's clock, and the trades after it did not confirm it."""
    VOLUME_BAND = "volume_band"
    """The volume was many times that of the biggest trades before it."""


@attrs.frozen(slots=True)
class Rejection:
    """One rejected record, for looking at: ``text`` is what it said, escaped and cut."""

    ts_recv: int
    reason: Reason
    text: str


@attrs.frozen(slots=True)
class RejectedCounts:
    """How many were rejected, by `Reason`; ``total`` is their sum."""

    schema: int = 0
    foreign_contract: int = 0
    price_not_finite: int = 0
    price_not_positive: int = 0
    price_range: int = 0
    off_grid: int = 0
    size: int = 0
    stamp_form: int = 0
    stamp_range: int = 0
    price_band: int = 0
    replayed: int = 0
    stamp_ahead: int = 0
    volume_band: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(attrs.astuple(self))


class Rejections:
    """Counts by reason, and the last ``kept`` rejected records themselves."""

    __slots__ = (
        "_counts",
        "_in_burst",
        "_judged",
        "_last",
        "_rejected",
        "_tell",
        "_ts_recv",
        "_what",
        "bursts",
    )

    def __init__(
        self, kept: int = 64, what: What = "trades", tell: Callable[[RejectionBurst], None] | None = None
    ) -> None:
        self.bursts = 0
        self._what: What = what
        self._tell = tell
        self._ts_recv = 0
        self._in_burst = False
        self._judged = 0
        self._rejected = 0
        self._counts = dict.fromkeys(Reason, 0)
        self._last: deque[tuple[int, Reason, str]] = deque(maxlen=kept)

    def add(self, reason: Reason, text: str, ts_recv: int, count: int = 1) -> None:
        """Count ``count`` rejections and remember ``text`` (cut by the caller)."""
        self._counts[reason] += count
        self._rejected += count
        self._ts_recv = ts_recv
        # Escaping costs more than judging: it waits until someone looks, so that a flood of rejected records
        # is not slower than one of good ones by much.
        self._last.append((ts_recv, reason, text))

    def judged(self, count: int, of: str) -> None:
        """Note that ``count`` records were judged, and tell (once) when a burst of rejections begins.

        It begins with a tenth of a thousand records in a row, or of fewer, rejected, and ends when hardly any is.
        """
        self._judged += count
        if self._rejected >= _BURST and not self._in_burst:
            self._in_burst = True
            self.bursts += 1
            self._begin(of)
        if self._judged >= _WINDOW:
            self._in_burst = self._in_burst and self._rejected >= _BURST // 10
            self._judged = self._rejected = 0

    def _begin(self, of: str) -> None:
        reasons = ", ".join(f"{reason} {n}" for reason, n in self._counts.items() if n)
        _log.warning(
            "%s: a burst of rejected records (so far: %s); see the statistics",
            of,
            reasons,
            extra=fields("rejection_burst", contract=of),
        )
        if self._tell is not None:
            usual = max(self._counts, key=self._counts.__getitem__)
            total = sum(self._counts.values())
            judged = max(self._judged, self._rejected)
            self._tell(
                RejectionBurst(of, self._what, self._rejected, judged, usual.value, total, self._ts_recv)
            )

    @property
    def counts(self) -> RejectedCounts:
        """A snapshot of the counts."""
        return RejectedCounts(*self._counts.values())

    @property
    def last(self) -> tuple[Rejection, ...]:
        """The last rejections, oldest first."""
        return tuple(Rejection(ts_recv, reason, escape(text)) for ts_recv, reason, text in self._last)


def price_reason(price: float) -> Reason | None:
    """Return what is wrong with a price whatever its grid, or None."""
    if 0 < price < PRICE_LIMIT:
        return None
    if not math.isfinite(price):
        return Reason.PRICE_NOT_FINITE
    return Reason.PRICE_RANGE if price > 0 else Reason.PRICE_NOT_POSITIVE


def stamp_or_reason(parser: StampParser, text: str, min_ns: int, max_ns: int) -> int | Reason:
    """Return the stamp as int64 ns, or what is wrong with it."""
    try:
        ts_event = parser.parse(text)
    except StampRangeError:
        return Reason.STAMP_RANGE
    except StampError:
        return Reason.STAMP_FORM
    return ts_event if min_ns <= ts_event <= max_ns else Reason.STAMP_RANGE
