"""What is valid by itself but hard to believe: too big, from the future, or at a price far from the market.

Volumes are judged at once; stamps and prices wait in quarantine until others confirm or contradict them. A trade
passes the three in this order, so that a price is only ever compared with those of believable trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx.market.ahead import StampWindow
from trio_projectx.market.band import PriceBand, Row
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.reasons import Reason
from trio_projectx.market.sizes import VolumeBand

#: The least and the most that anything may be: nothing waits.
EVERY: Final[tuple[int, int]] = (-(1 << 63), (1 << 63) - 1)


@attrs.frozen(slots=True)
class Rules:
    """What is believed of trades, and what waits (see the fields of the same names in `Limits`).

    :raises ConfigError: if one cannot be.
    """

    price_band: float = 0.0
    band_confirm: int = 3
    stamp_ahead_s: float = 0.0
    stamp_confirm: int = 3
    clock_min_ns: int = 0
    """A wall clock that shows an earlier time than this was never set."""
    volume_times: float = 0.0
    volume_floor: int = 1

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.price_band < 1 or min(self.band_confirm, self.stamp_confirm, self.volume_floor) < 1:
            raise ConfigError("Rules: 0 <= price_band < 1 and band_confirm, stamp_confirm, volume_floor >= 1")
        if self.stamp_ahead_s < 0 or self.volume_times < 0:
            raise ConfigError("Rules: stamp_ahead_s and volume_times must not be negative")


class Judged(NamedTuple):
    """What one trade decided: rows that are accepted now, in order, and rows that are rejected now."""

    accepted: list[Row]
    rejected: list[tuple[Row, Reason]]


class Quarantine:
    """One contract's. ``held`` of its trades wait; its memory is bounded by the rules.

    Trades with ``near_low <= ticks <= near_high``, a stamp up to ``stamp_high`` and a volume up to ``volume_high``
    need not be offered: they are accepted and change nothing. `look` sets these for what is read at one time.
    """

    __slots__ = ("_band", "_sizes", "_window", "near_high", "near_low", "stamp_high", "volume_high")

    def __init__(self, rules: Rules) -> None:
        self._band = PriceBand(rules.price_band, rules.band_confirm) if rules.price_band else None
        ahead_ns = round(rules.stamp_ahead_s * 1e9)
        self._window = StampWindow(ahead_ns, rules.stamp_confirm, rules.clock_min_ns) if ahead_ns else None
        self._sizes = VolumeBand(rules.volume_times, rules.volume_floor)
        self.near_low, self.near_high = EVERY
        self.stamp_high = EVERY[1]
        self.volume_high = self._sizes.high

    @property
    def held(self) -> int:
        """How many trades wait."""
        ahead = 0 if self._window is None else len(self._window.held)
        return ahead if self._band is None else ahead + len(self._band.held)

    def rows(self) -> list[tuple[Row, Reason]]:
        """Return the trades that wait, and what they wait for."""
        ahead = [] if self._window is None else self._window.held
        far = [] if self._band is None else self._band.held
        return [*((row, Reason.STAMP_AHEAD) for row in ahead), *((row, Reason.PRICE_BAND) for row in far)]

    def look(self, wall_ns: int, now_ns: int) -> None:
        """Note the times of our two clocks (int64 ns), and set the bounds."""
        if self._window is not None:
            self.stamp_high = self._window.bound(wall_ns, now_ns)
        self._set_bounds()

    def _set_bounds(self) -> None:
        if self._band is not None:
            self.near_low, self.near_high = self._band.near_low, self._band.near_high
        if self._window is not None and self._window.held:
            self.near_low, self.near_high = 1, 0  # each trade confirms or contradicts: all must be offered
        self.volume_high = self._sizes.high

    def offer(self, row: Row) -> Judged:
        """Judge one trade."""
        if row.volume > self.volume_high:
            return Judged([], [(row, Reason.VOLUME_BAND)])
        if self._window is None:
            judged = self._by_price((row,))
        else:
            verdict = self._window.offer(row)
            judged = self._by_price(verdict.accepted)
            judged.rejected[:0] = [(each, Reason.STAMP_AHEAD) for each in verdict.rejected]
        self._set_bounds()
        return judged

    def _by_price(self, rows: Sequence[Row]) -> Judged:
        if self._band is None:
            return Judged(list(rows), [])
        accepted: list[Row] = []
        rejected: list[tuple[Row, Reason]] = []
        for row in rows:
            verdict = self._band.offer(row)
            accepted += verdict.accepted
            rejected += [(each, Reason.PRICE_BAND) for each in verdict.rejected]
        return Judged(accepted, rejected)

    def confirm(self, bid_ticks: int | None, ask_ticks: int | None, ts_event: int | None) -> Judged:
        """Return what a quote releases."""
        released = [] if self._window is None or ts_event is None else self._window.confirm(ts_event)
        judged = self._by_price(released)
        if self._band is not None and bid_ticks is not None and ask_ticks is not None:
            judged.accepted.extend(self._band.confirm(bid_ticks, ask_ticks))
        self._set_bounds()
        return judged

    def accepted(self, batch: TradeBatch) -> None:
        """Note a batch that goes on."""
        if self._window is not None:
            self._window.note(max(batch.ts_event))
        self._sizes.note(batch.volume)
