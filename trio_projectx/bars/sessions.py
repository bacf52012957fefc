"""Sessions: when a market is open, and to which trade date its hours belong.

They advise, and filter nothing by themselves: what becomes of trades in closed hours is the ``outside`` of
whoever makes the bars, and they are counted.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx.bars import cme
from trio_projectx.bars.edges import EPOCH, FIRST_DAY, INT64_MAX, INT64_MIN
from trio_projectx.bars.templates import (
    Around,
    Era,
    Listed,
    Segment,
    Source,
    Weekly,
    day_number,
    parse_hours,
    parse_week,
)
from trio_projectx.bars.zones import Zone

Date = datetime.date | str


@attrs.frozen(slots=True, repr=False, cache_hash=True)
class Sessions:
    """The sessions of a market: segments of open hours, each of a trade date, in order and disjoint.

    ``known_from`` and ``known_through`` are the first and last trade dates whose holidays are in the table;
    None for both: no holidays are known at all. Beyond, the weekly rule alone answers, and a bar set that
    meets such a trade says so, once, in the log. All are values: equal if they say the same.
    """

    name: str
    source: Source
    known_from: datetime.date | None = None
    known_through: datetime.date | None = None

    @classmethod
    def cme(cls, family: str, hours: Literal["ETH", "RTH"] = "ETH") -> Sessions:
        """Return CME's sessions of a product family, out of the table of this library.

        :param family: EQ (equity indices), RT (Treasuries), FX, EM (energy and metals): with the holidays of
            2024 to 2026. GRAINS, LIVESTOCK, CRYPTO (around the clock since 2026-05-29): the weekly rule only.
        :param hours: ETH is all hours, RTH the old floor's, which EM has by product (see `for_product`).
        :raises ConfigError: for any other family, or one without regular hours.
        """
        found = cme.families().get(family)
        if found is None:
            raise ConfigError(f"{family!r:.40} is no family; there are {', '.join(cme.families())}")
        sessions = cls(found.name, found.source, found.known_from, found.known_through)
        return sessions.with_hours(hours, found.regular, family)

    @classmethod
    def for_product(cls, product: str, hours: Literal["ETH", "RTH"] = "ETH") -> Sessions:
        """Return the sessions of a product, by its Gateway code (``EP``, ``MNQ``) or ticker (``ES``).

        :raises ConfigError: if the table has no family for it, or no regular hours.
        """
        family = cme.family_of(product)
        if family is None:
            raise ConfigError(
                f"no sessions are known for {product!r:.40}: give an anchor, such as Anchor.utc() or "
                "Anchor.session(Sessions.weekly(...))"
            )
        return cls.cme(family).with_hours(hours, cme.regular_hours(product), product)

    @classmethod
    def weekly(
        cls,
        zone: str,
        rule: str,
        *,
        exceptions: Mapping[Date, str] | None = None,
        known_from: Date | None = None,
        known_through: Date | None = None,
        name: str = "weekly",
    ) -> Sessions:
        """Make sessions of your own: a weekly rule on a zone's clock, and exceptions.

        :param rule: hours by weekday of the trade date, such as ``"Mon-Fri -1d 17:00 > 16:00"``; parts are
            separated by ``;``, segments of one date by ``,``, and ``-1d`` is the day before.
        :param exceptions: trade date to its hours, written the same way; ``""`` is a day without any.
        :raises ConfigError: for what cannot be read, and for segments that overlap.
        """
        source = Weekly(Zone(zone), (Era(FIRST_DAY, parse_week(rule)),))
        return cls(name, source, None, None).override(exceptions or {}, known_from, known_through)

    @classmethod
    def from_segments(cls, segments: Iterable[tuple[Date, int, int]], name: str = "listed") -> Sessions:
        """Make sessions of a list of ``(trade_date, open_ns, close_ns)``, in order, int64 ns UTC.

        They are known from the first trade date to the last.

        :raises ConfigError: if one is empty, two overlap, or a trade date runs backwards.
        """
        found: list[Segment] = []
        for date, opens, closes in segments:
            for value in (opens, closes):
                if not isinstance(value, int) or not INT64_MIN <= value <= INT64_MAX:
                    raise ConfigError(f"{value!r:.40} of {date} is not int64 nanoseconds")
            found.append(Segment(opens, closes, day_number(date)))
        if not found:
            raise ConfigError("sessions need at least one segment")
        return cls(name, Listed(tuple(found)), found[0].trade_date, found[-1].trade_date)

    def override(
        self,
        exceptions: Mapping[Date, str],
        known_from: Date | None = None,
        known_through: Date | None = None,
    ) -> Sessions:
        """Return these sessions with other hours on some trade dates, and perhaps known for longer.

        :raises ConfigError: as `weekly`; also for sessions that were listed.
        """
        source = self._weekly("override")
        merged = dict(source.exceptions) | {day_number(d): parse_hours(h) for d, h in exceptions.items()}
        return attrs.evolve(
            self,
            source=attrs.evolve(source, exceptions=tuple(sorted(merged.items()))),
            known_from=self.known_from if known_from is None else _date(known_from),
            known_through=self.known_through if known_through is None else _date(known_through),
        )

    def since(self, date: Date, rule: str) -> Sessions:
        """Return these sessions with another weekly rule from a trade date on.

        :raises ConfigError: as `override`; also if there already is a rule of a later date.
        """
        source, day = self._weekly("since"), day_number(date)
        if day <= source.eras[-1].since:
            raise ConfigError(f"there already is a rule since {date} or later")
        eras = (*source.eras, Era(day, parse_week(rule)))
        return attrs.evolve(self, source=attrs.evolve(source, eras=eras))

    def between(self, opens: str, closes: str) -> Sessions:
        """Return only the hours from ``opens`` to ``closes`` of each trade date itself, such as 08:30 to 15:00.

        :raises ConfigError: as `override`.
        """
        (window,) = parse_hours(f"{opens} > {closes}")
        source = attrs.evolve(self._weekly("between"), window=window)
        return attrs.evolve(self, name=f"{self.name} {opens}-{closes}", source=source)

    def around(self, ts_ns: int) -> Around:
        """Return the segment of an instant, or None, and its neighbours."""
        return self.source.around(ts_ns)

    def trade_date(self, ts_ns: int) -> datetime.date | None:
        """Return the trade date of an instant; None in closed hours."""
        here = self.source.around(ts_ns).here
        return None if here is None else here.trade_date

    def segments(self, first: Date, last: Date) -> list[tuple[datetime.date, int, int]]:
        """Return ``(trade_date, open_ns, close_ns)`` of the trade dates from ``first`` to ``last``, both in."""
        found: list[tuple[datetime.date, int, int]] = []
        stop = day_number(last)
        each = self.source.first_from(day_number(first))
        while each is not None and each.day <= stop:
            found.append((each.trade_date, each.open, each.close))
            each = self.source.around(each.close - 1).after or self.source.first_from(each.day + 1)
        return found

    @property
    def zone(self) -> Zone | None:
        """The zone on whose clock the rules are written; None for sessions that were listed."""
        return self.source.zone if isinstance(self.source, Weekly) else None

    def is_known(self, date: datetime.date) -> bool:
        """Whether the holidays of a trade date are in the table."""
        if self.known_from is None or self.known_through is None:
            return False
        return self.known_from <= date <= self.known_through

    def known_ns(self) -> tuple[int, int]:
        """Return the instants from which and until which holidays are known (empty: the first is the later)."""
        if self.known_from is None or self.known_through is None:
            return INT64_MAX, INT64_MIN
        opens = self.source.first_from(self.known_from.toordinal() - EPOCH)
        closes = self.source.last_before(self.known_through.toordinal() - EPOCH + 1)
        if opens is None or closes is None:  # a template without any segment
            return INT64_MAX, INT64_MIN
        return opens.open, closes.close

    def _weekly(self, what: str) -> Weekly:
        if not isinstance(self.source, Weekly):
            raise ConfigError(
                f"{what}: these sessions were listed segment by segment; list them anew instead"
            )
        return self.source

    def with_hours(self, hours: str, regular: tuple[str, str] | None, what: str) -> Sessions:
        """Return all hours for "ETH", for "RTH" only the ``regular`` ones.

        :raises ConfigError: for anything else, or where ``what`` has no regular hours.
        """
        if hours == "ETH":
            return self
        if hours != "RTH":
            raise ConfigError(f'hours must be "ETH" or "RTH", not {hours!r:.40}')
        if regular is None:
            raise ConfigError(f"{what!r:.40} has no regular hours; say which with between(opens, closes)")
        return self.between(*regular)

    def __repr__(self) -> str:
        return f"Sessions({self.name}, known {self.known_from} to {self.known_through})"


def _date(date: Date) -> datetime.date:
    return datetime.date.fromordinal(day_number(date) + EPOCH)
