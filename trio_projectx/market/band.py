"""Prices far from those before: held until others confirm or contradict them, so that no feed ever freezes."""

from __future__ import annotations

from typing import Final, NamedTuple

from trio_projectx.market.wire import WireTrade

#: The band is a share of the price, in whole millionths.
_MILLION: Final = 1_000_000


class Row(NamedTuple):
    """A trade that is valid by itself, and what the wire said."""

    ts_event: int
    ticks: int
    volume: int
    side: int
    trade: WireTrade
    ts_recv: int = 0


class Verdict(NamedTuple):
    """What one trade decided: rows that are accepted now, in order, and rows that are rejected now."""

    accepted: list[Row]
    rejected: list[Row]


class PriceBand:
    """Compares each price with the one that the band is about; one thing at a time is in quarantine.

    A price in the band is accepted, and moves the band's centre to itself where it lies in its outer half.
    One outside is held. When ``confirm`` prices in a row, not counting those in the band, lie in a band about
    each other, or a quote lies there, they are a move of the market: all are accepted, in their order. They
    are rejected when ``confirm`` prices in the band have come meanwhile, or one that is far from both.

    ``near_low <= ticks <= near_high`` needs no call: such a price is accepted and changes nothing.
    """

    __slots__ = ("_center", "_confirm", "_contradicted", "_millionths", "held", "near_high", "near_low")

    def __init__(self, share: float, confirm: int) -> None:
        self._millionths = round(share * _MILLION)
        self._confirm = confirm
        self._center: int | None = None
        self._contradicted = 0
        self.held: list[Row] = []
        self.near_low, self.near_high = 1, 0

    def offer(self, row: Row) -> Verdict:
        """Judge one trade."""
        if self._center is None or self._is_near(row.ticks, self._center):
            return self._take(row)
        rejected: list[Row] = []
        if self.held and not self._is_near(row.ticks, self.held[-1].ticks):
            rejected, self.held = self.held, []
        self.held.append(row)
        self._contradicted = 0
        if len(self.held) >= self._confirm:
            return Verdict(self._release(), rejected)
        self.near_low, self.near_high = 1, 0
        return Verdict([], rejected)

    def confirm(self, bid_ticks: int, ask_ticks: int) -> list[Row]:
        """Return what a quote releases: all that is held, if both its sides lie about it."""
        if not self.held or bid_ticks > ask_ticks:
            return []
        held = self.held[-1].ticks
        if self._is_near(bid_ticks, held) and self._is_near(ask_ticks, held):
            return self._release()
        return []

    def _take(self, row: Row) -> Verdict:
        rejected: list[Row] = []
        if self.held:
            self._contradicted += 1
            if self._contradicted >= self._confirm:
                rejected, self.held = self.held, []
        if (
            self._center is None
            or abs(row.ticks - self._center) * 2 * _MILLION > self._center * self._millionths
        ):
            self._center = row.ticks
        if not self.held:
            self._open_near(self._center)
        return Verdict([row], rejected)

    def _release(self) -> list[Row]:
        released, self.held = self.held, []
        self._center = released[-1].ticks
        self._open_near(self._center)
        return released

    def _open_near(self, center: int) -> None:
        half = center * self._millionths // (2 * _MILLION)
        self.near_low, self.near_high = center - half, center + half

    def _is_near(self, ticks: int, center: int) -> bool:
        return abs(ticks - center) * _MILLION <= center * self._millionths
