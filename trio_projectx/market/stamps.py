"""The stamps of the wire: ISO 8601 with 0 to 9 fraction digits and a zone, to exact int64 nanoseconds.

A stamp is the sum of two halves that can be judged apart: the head ``2026-08-19T20:51:30`` and the tail
``.052+00:00``. Live stamps repeat both halves all the time (a second holds many trades, and there are only a
thousand millisecond tails), so a stamp costs two slices and two look-ups once its halves are known.

pyarrow's cast was measured as a second way for large batches and left out: it beats the memory only
above 250 stamps that differ, and it takes other forms too (a space for T, no seconds, +00).
"""

from __future__ import annotations

import datetime
import re
from typing import Final

from trio_projectx._redact import escape

NS_PER_SECOND: Final = 1_000_000_000
#: Characters of the head, ``YYYY-MM-DDTHH:MM:SS``.
HEAD: Final = 19
#: The years as written. int64 nanoseconds reach from 1677-09-21 to 2262-04-11: whole years inside, so that no
#: offset can carry a stamp over the edge.
FIRST_YEAR: Final = 1678
LAST_YEAR: Final = 2261

# [0-9] and not \d: the wire is ASCII, and \d takes the digits of every script.
_HEAD_FORM: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})")
_TAIL_FORM: Final = re.compile(r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))")
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_EPOCH_DAY: Final = _EPOCH.toordinal()
# A second has few heads in flight and a millisecond stamp a thousand tails; the caps bound a hostile feed.
_HEADS_KEPT: Final = 256
_TAILS_KEPT: Final = 4096
_LONGEST_TAIL_KEPT: Final = len(".052+00:00")


class StampError(ValueError):
    """A text that is no stamp: wrong form, no zone, or a date or time that does not exist."""


class StampRangeError(StampError):
    """A stamp of good form outside the years 1678 to 2261, which int64 nanoseconds hold."""


def parse_stamp(text: str) -> int:
    """Return the int64 nanoseconds since 1970-01-01T00:00Z of ``YYYY-MM-DDTHH:MM:SS[.f](Z|+HH:MM|-HH:MM)``.

    ``f`` is 1 to 9 digits, each of them exact; the zone is mandatory (a naive stamp is never taken for UTC);
    ``T`` and ``Z`` are upper case. There is no leap second: ``:60`` is refused, as .NET never writes it.

    :raises StampError: if the text is not of this form or the date or time does not exist.
    :raises StampRangeError: if the year lies outside 1678 to 2261.
    """
    tail = parse_tail(text, HEAD)
    return parse_head(text[:HEAD]) + tail


def parse_head(text: str) -> int:
    """Return the nanoseconds of ``YYYY-MM-DDTHH:MM:SS`` as if it were UTC; raises as `parse_stamp`."""
    match = _HEAD_FORM.fullmatch(text)
    if match is None:
        raise _not_a_stamp(text)
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        days = datetime.date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise StampError(f"{escape(text, 60)} names a day that does not exist") from None
    if hour > 23 or minute > 59 or second > 59:
        raise StampError(f"{escape(text, 60)} names a time that does not exist")
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise StampRangeError(f"{escape(text, 60)} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return ((days * 24 + hour) * 60 + minute) * 60 * NS_PER_SECOND + second * NS_PER_SECOND


def parse_tail(text: str, start: int = 0) -> int:
    """Return the nanoseconds to add for ``text[start:]``, a fraction and a zone; raises `StampError`."""
    match = _TAIL_FORM.fullmatch(text, start)
    if match is None:
        raise _not_a_stamp(text)
    fraction, sign, hours, minutes = match.groups()
    ns = int(fraction.ljust(9, "0")) if fraction else 0
    if sign is None:
        return ns
    if int(hours) > 23 or int(minutes) > 59:
        raise StampError(f"{escape(text, 60)} names a zone that does not exist")
    offset = (int(hours) * 60 + int(minutes)) * 60 * NS_PER_SECOND
    return ns - offset if sign == "+" else ns + offset


def _utc_tail(tail: str) -> int | None:
    """Return `parse_tail` of the live wire's form ``.4347534+00:00`` at a fifth of its cost, else None."""
    digits = tail[1:-6]
    if tail[-6:] != "+00:00" or tail[0] != "." or len(digits) > 9:
        return None
    # isdigit() alone takes superscripts and the digits of every script.
    return int(digits) * 10 ** (9 - len(digits)) if digits.isascii() and digits.isdigit() else None


def _not_a_stamp(text: str) -> StampError:
    return StampError(f"{escape(text, 60)!r} is not YYYY-MM-DDTHH:MM:SS[.f]Z or ...+HH:MM")


class StampParser:
    """`parse_stamp` with a memory of halves: the same answers and errors, faster where stamps are alike.

    ``heads`` and ``tails`` are that memory. A hot loop may read them itself
    (``heads[text[:HEAD]] + tails[text[HEAD:]]``) and call `parse` on a `KeyError`; only valid halves are in
    them, so a sum of two of them is the answer. Both are bounded and emptied when full. Not for use from
    several threads at once.
    """

    __slots__ = ("heads", "tails")

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.tails: dict[str, int] = {}

    def parse(self, text: str) -> int:
        """Return the stamp as int64 nanoseconds; raises as `parse_stamp`."""
        head = self.heads.get(text[:HEAD])
        tail = self.tails.get(text[HEAD:])
        if head is None or tail is None:
            return self._learn(text)
        return head + tail

    def _learn(self, text: str) -> int:
        tail = _utc_tail(text[HEAD:])
        if tail is None:
            tail = parse_tail(text, HEAD)
        head = self.heads.get(text[:HEAD])
        if head is None:
            head = parse_head(text[:HEAD])
            if len(self.heads) >= _HEADS_KEPT:
                self.heads.clear()
            self.heads[text[:HEAD]] = head
        # Longer fractions hardly repeat: keeping them would only push the useful ones out.
        if len(text) - HEAD <= _LONGEST_TAIL_KEPT:
            if len(self.tails) >= _TAILS_KEPT:
                self.tails.clear()
            self.tails[text[HEAD:]] = tail
        return head + tail


def format_stamp(ns: int, digits: int = 3, zone: str = "+00:00", *, trim: bool = False) -> str:
    """Return ``ns`` (int64 nanoseconds since 1970-01-01T00:00Z) as `parse_stamp` reads it.

    ``digits`` (0 to 9) fraction digits are written; finer ones are cut off, never rounded, as .NET does. With
    ``trim`` trailing zeros go too, and the point with the last of them (.NET's ``.FFFFFFF``). ``zone`` is
    ``"Z"`` or ``"+HH:MM"``, and the time is written as that zone's. With 9 digits
    ``parse_stamp(format_stamp(ns, 9)) == ns``.

    :raises ValueError: for digits outside 0 to 9 (a `StampError` for a zone of another form).
    :raises StampRangeError: if the year to be written lies outside 1678 to 2261.
    """
    if not 0 <= digits <= 9:
        raise ValueError(f"digits must be 0 to 9, not {digits}")
    if zone.startswith("."):
        raise _not_a_stamp(zone)
    seconds, fraction = divmod(ns - parse_tail(zone), NS_PER_SECOND)
    try:
        moment = _EPOCH + datetime.timedelta(seconds=seconds)
    except OverflowError:
        moment = datetime.datetime.min  # out of range either way
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise StampRangeError(f"{ns} ns is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    shown = f"{fraction:09d}"[:digits]
    if trim:
        shown = shown.rstrip("0")
    return f"{moment.isoformat()}.{shown}{zone}" if shown else f"{moment.isoformat()}{zone}"
