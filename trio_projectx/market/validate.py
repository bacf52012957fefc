"""From what the wire said to what may enter a bar: every trade is accepted whole, or rejected and counted.

Nothing here looks at a clock: a stamp is judged by its form, by fixed bounds, and by the stamps before it, so a local
clock that is an hour off rejects nothing. Nothing is repaired either; a price is never rounded to the grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from trio_projectx._errors import ConfigError
from trio_projectx._events import RejectionBurst, Side
from trio_projectx._redact import escape
from trio_projectx.market.band import Row
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.lines import LineMerger
from trio_projectx.market.quarantine import EVERY, Judged, Quarantine, Rules
from trio_projectx.market.reasons import (
    Reason,
    RejectedCounts,
    Rejection,
    Rejections,
    price_reason,
    stamp_or_reason,
)
from trio_projectx.market.replay import ReplayFilter, TradeKey
from trio_projectx.market.stamps import HEAD, StampParser
from trio_projectx.market.wire import WireTrade

# A contract has some hundred prices a day; a hostile feed has any number.
_PRICES_KEPT: Final = 4096
_UNKNOWN: Final = int(Side.UNKNOWN)

__all__ = ["Reason", "RejectedCounts", "Rejection", "Validator"]


class Validator:
    """Judges the trades of one contract.

    ``stamp_min_ns <= ts_event <= stamp_max_ns`` and ``1 <= volume <= trade_size_max`` hold for every trade it
    lets through, and the price is exactly a whole number of ticks of ``grid``. At every instant each trade
    handed in is in `accepted`, in `rejected`, in `held`, in `duplicates` or in `waiting`. Its memory is bounded.

    Where more than one line (connection) carries the contract, each has to `join` before it is subscribed there
    and to `leave` at its end, and `validate` is told whose trades they are; each trade is let through once
    (`LineMerger`). A caller with one line at a time needs none of that.

    ``price_band`` is the share of the price (0.1 is a tenth) by which a trade may differ from those before it;
    beyond, it is held until ``band_confirm`` trades, or a quote, say that the market has moved (see `PriceBand`).
    0 holds none. ``stamp_ahead_s`` is by how much a stamp may be ahead of the exchange's clock; beyond, it is held
    until ``stamp_confirm`` trades, or a quote, say that it is not (see `StampWindow`); 0 holds none. A volume above
    ``volume_floor`` and ``volume_times`` the biggest before it is rejected; 0 rejects none.

    ``now_ns`` is to be set to a monotonic clock (int64 ns) before `validate`; while it is None, time goes as
    ``ts_recv`` does. ``tell`` is called when a burst of rejections begins.

    :raises ContractError: if ``contract_id`` is not a contract id.
    :raises ConfigError: if the bounds leave nothing over.
    """

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        *,
        stamp_min_ns: int,
        stamp_max_ns: int,
        trade_size_max: int,
        rejections_kept: int = 64,
        price_band: float = 0.0,
        band_confirm: int = 3,
        stamp_ahead_s: float = 0.0,
        stamp_confirm: int = 3,
        volume_times: float = 0.0,
        volume_floor: int = 1,
        tell: Callable[[RejectionBurst], None] | None = None,
    ) -> None:
        rules = Rules(
            price_band, band_confirm, stamp_ahead_s, stamp_confirm, stamp_min_ns, volume_times, volume_floor
        )
        if stamp_min_ns > stamp_max_ns or trade_size_max < 1:
            raise ConfigError("Validator: stamp_min_ns <= stamp_max_ns and trade_size_max >= 1 must hold")
        self.contract_id = contract_id
        self.grid = grid
        self._symbol_id = ContractId.parse(contract_id).symbol_id
        self._stamp_min = stamp_min_ns
        self._stamp_max = stamp_max_ns
        self._size_max = trade_size_max
        self._stamps = StampParser()
        self._ticks: dict[float, int] = {}
        self._accepted = 0
        self._rejections = Rejections(rejections_kept, "trades", tell)
        self._quarantine = Quarantine(rules)
        self.now_ns: int | None = None
        self._replay = ReplayFilter()
        self._lines = LineMerger[TradeKey](itemgetter(0))

    @property
    def accepted(self) -> int:
        """How many trades were let through."""
        return self._accepted

    @property
    def held(self) -> int:
        """How many are in quarantine: valid by themselves, but far from the prices or the stamps before."""
        return self._quarantine.held

    @property
    def waiting(self) -> int:
        """How many came on a line that joins others and is not level with them yet."""
        return self._lines.held

    @property
    def duplicates(self) -> int:
        """How many another line had brought, and how many came on a line that had left."""
        return self._lines.duplicates + self._lines.strays

    @property
    def rejected(self) -> RejectedCounts:
        """How many were not, by reason: a snapshot."""
        return self._rejections.counts

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected ones, oldest first."""
        return self._rejections.last

    @property
    def quarantined(self) -> tuple[Rejection, ...]:
        """Those in quarantine now, as they would be rejected."""
        return tuple(
            Rejection(row.ts_recv, reason, escape(_show(row.trade)))
            for row, reason in self._quarantine.rows()
        )

    @property
    def rejection_bursts(self) -> int:
        """How many bursts of rejections there were: 100 of at most 1,000 in a row (each is logged as it begins)."""
        return self._rejections.bursts

    def refuse(self, reason: Reason, detail: str, ts_recv: int, count: int = 1) -> None:
        """Count trades of this contract that the decoder already refused (`decode.Refusal`)."""
        self._rejections.add(reason, detail, ts_recv, count)
        self._rejections.judged(count, self.contract_id)

    def expect_replay(self) -> None:
        """The only line was lost: trades that were accepted already may come again, and are then rejected.

        While several lines carry the contract nothing is lost with one of them, and this does nothing.
        """
        if len(self._lines.lines) < 2:
            self._replay.expect(self._in_band())

    def join(self, line: int, until_ns: float = 0) -> None:
        """Take ``line`` for one that carries the contract; to be called before it is subscribed there.

        Trades that the service repeats to it are duplicates if another line is there, and rejected as replayed if
        there was none for a while (`expect_replay`), and not younger than ``until_ns``; `begin` tells that later.
        Joining again changes nothing.
        """
        others = self._lines.lines
        if line in others:
            return
        if self._replay.is_on and others:
            # From now on each line has its own end of the replay.
            self._lines.had_again(self._replay.hand_over())
        self._replay.until = until_ns
        self._lines.join(line, self._in_band() + self._replay.rows(), until_ns)

    def begin(self, line: int, until_ns: int) -> None:
        """``line`` brings what is traded from ``until_ns`` on: what is sent to it again is not younger."""
        self._replay.until = until_ns
        self._lines.begin(line, until_ns)

    def lead(self, line: int, ts_recv: int) -> TradeBatch | None:
        """``line`` is the first to bring the contract, the others join it; return what of it has waited."""
        return self._take(self._lines.lead(line), ts_recv)

    def differing(self) -> tuple[int, int] | None:
        """Return how many trades a line has brought more often than another, and the oldest stamp; None: none more.

        What the other has not brought at all it has lost: that takes nothing from what went on. Of trades that are
        older than all that is remembered nobody knows.
        """
        if not self._lines.missed:
            return None
        missed, self._lines.missed = self._lines.missed, {}
        came = Counter(self._replay.rows())
        known_from = min((row[0] for row in came), default=0)
        found = {row: n for row, n in missed.items() if came[row] > n or row[0] <= known_from}
        return (sum(found.values()), min(row[0] for row in found)) if found else None

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has shown that it brings what the others bring: nothing is missing if they leave now."""
        return self._lines.is_level(line)

    def is_holding(self, line: int) -> bool:
        """Whether trades of ``line`` wait for it to be level."""
        return self._lines.is_holding(line)

    def settle(self, line: int, ts_recv: int) -> TradeBatch | None:
        """Take ``line`` for level, as in a quiet market no trade shows it; return what of it has waited."""
        return self._take(self._lines.settle(line), ts_recv)

    def leave(self, line: int, ts_recv: int) -> TradeBatch | None:
        """``line`` has ended; return what has waited and goes on for that, if another takes its place unready."""
        return self._take(self._lines.leave(line), ts_recv)

    def confirm(
        self, bid: float | None, ask: float | None, ts_recv: int, ts_event: int | None = None
    ) -> TradeBatch | None:
        """Return the trades in quarantine as a batch, if a quote (of ``ts_event``) says that the market is there."""
        if not self._quarantine.held:
            return None
        bid_ticks = None if bid is None else self.grid.ticks(bid)
        ask_ticks = None if ask is None else self.grid.ticks(ask)
        batch = TradeBatch(self.contract_id, [], [], [], [], ts_recv)
        self._take_over(self._quarantine.confirm(bid_ticks, ask_ticks, ts_event), batch)
        return self._accepted_batch(batch)

    def validate(self, trades: Sequence[WireTrade], ts_recv: int, line: int = 0) -> TradeBatch | None:
        """Return the valid ones of ``trades`` in their order as columns, or None if there are none.

        With several lines: those that no line has brought before, and what has waited for them on another.
        """
        # The loop knows only what usually holds, from memory; `_judge` decides whatever is left, and alone
        # says no. One frame for the whole batch: a call per trade would cost as much as all of this.
        contract_id, symbol_id = self.contract_id, self._symbol_id
        self._quarantine.look(ts_recv, ts_recv if self.now_ns is None else self.now_ns)
        ticks_of, heads, tails = self._ticks, self._stamps.heads, self._stamps.tails
        batch = TradeBatch(contract_id, [], [], [], [], ts_recv)
        add_stamp, add_ticks = batch.ts_event.append, batch.ticks.append
        add_volume, add_side = batch.volume.append, batch.side.append
        is_counted = line != self._lines.lone and not self._lines.adopt(line)
        stamp_min, stamp_max, size_max, near_low, near_high = self._bounds(is_counted)
        before: str | None = None  # a burst's trades share their stamp (in real gold trades a third do)
        ts_event = ticks = 0
        for trade in trades:
            stamp, volume = trade.timestamp, trade.volume
            try:
                if stamp != before:
                    ts_event = heads[stamp[:HEAD]] + tails[stamp[HEAD:]]
                    before = stamp
                ticks = ticks_of[trade.price]
                is_usual = (
                    near_low <= ticks <= near_high
                    and stamp_min <= ts_event <= stamp_max
                    and 0 < volume <= size_max
                    and (trade.contract_id == contract_id or trade.contract_id is None)
                    and (trade.symbol_id == symbol_id or trade.symbol_id is None)
                )
            except KeyError:
                is_usual = False
            if not is_usual:
                verdict = self._judge(trade)
                if isinstance(verdict, Reason):
                    self._rejections.add(verdict, _show(trade), ts_recv)
                    continue
                (ts_event, ticks), before = verdict, stamp
                if not (near_low <= ticks <= near_high and ts_event <= stamp_max and volume <= size_max):
                    side = trade.type if trade.type in (0, 1) else _UNKNOWN
                    self._weigh(Row(ts_event, ticks, volume, side, trade, ts_recv), batch)
                    stamp_min, stamp_max, size_max, near_low, near_high = self._bounds()
                    continue
            add_stamp(ts_event)
            add_ticks(ticks)
            add_volume(volume)
            add_side(trade.type if trade.type in (0, 1) else _UNKNOWN)
        self._rejections.judged(len(trades), contract_id)
        return self._merged(batch, line) if is_counted else self._accepted_batch(batch)

    def _merged(self, batch: TradeBatch, line: int) -> TradeBatch | None:
        """Return what goes on now that ``line`` has brought ``batch``; before that no trade confirms a price."""
        rows = list(zip(batch.ts_event, batch.ticks, batch.volume, batch.side, strict=True))
        return self._take(self._lines.add(line, rows), batch.ts_recv)

    def _take(self, rows: Sequence[TradeKey], ts_recv: int) -> TradeBatch | None:
        """Accept rows that are valid by themselves and came for the first time, as far as the quarantine lets them."""
        if not rows:
            return None
        batch = TradeBatch(self.contract_id, [], [], [], [], ts_recv)
        _, stamp_max, size_max, near_low, near_high = self._bounds()
        for row in rows:
            if near_low <= row[1] <= near_high and row[0] <= stamp_max and row[2] <= size_max:
                _append(batch, row)
            else:
                self._weigh(Row(*row, self._said(row), ts_recv), batch)
                _, stamp_max, size_max, near_low, near_high = self._bounds()
        return self._accepted_batch(batch)

    def _said(self, row: TradeKey) -> WireTrade:
        """Return a trade for showing it; of what the wire said only the row is kept."""
        ts_event, ticks, volume, side = row
        return WireTrade(self.grid.price(ticks), f"{ts_event} ns", volume, side)

    def _accepted_batch(self, batch: TradeBatch) -> TradeBatch | None:
        if not batch.ts_event:
            return None
        self._accepted += len(batch)
        self._replay.remember(batch)
        self._quarantine.accepted(batch)
        return batch

    def _bounds(self, is_counted: bool = False) -> tuple[int, int, int, int, int]:
        """Return the stamps, the volume and the ticks that need not be weighed.

        While a replay is possible, all must be; those of several lines only when they have been merged.
        """
        if is_counted:
            low, high = EVERY
            return self._stamp_min, self._stamp_max, self._size_max, low, high
        quarantine = self._quarantine
        low, high = (1, 0) if self._replay.is_on else (quarantine.near_low, quarantine.near_high)
        stamp_max = min(self._stamp_max, quarantine.stamp_high)
        return self._stamp_min, stamp_max, min(self._size_max, quarantine.volume_high), low, high

    def _weigh(self, row: Row, batch: TradeBatch) -> None:
        """Add to ``batch`` what ``row`` decides, and reject what it decides against."""
        if self._replay.is_replayed(*row[:4]):
            self._rejections.add(Reason.REPLAYED, _show(row.trade), batch.ts_recv)
            return
        self._take_over(self._quarantine.offer(row), batch)

    def _take_over(self, judged: Judged, batch: TradeBatch) -> None:
        for each in judged.accepted:
            _append(batch, each[:4])
        for each, reason in judged.rejected:
            self._rejections.add(reason, _show(each.trade), batch.ts_recv)
        if judged.rejected:  # sent again they must not confirm each other
            rows = [each for each, _ in judged.rejected]
            self._replay.remember(_batch_of(self.contract_id, rows, batch.ts_recv))

    def _in_band(self) -> list[TradeKey]:
        return [row[:4] for row, _ in self._quarantine.rows()]

    def _judge(self, trade: WireTrade) -> tuple[int, int] | Reason:
        """Return (ts_event, ticks) of a valid trade, or the first reason against it."""
        if not (trade.contract_id in (None, self.contract_id) and trade.symbol_id in (None, self._symbol_id)):
            return Reason.FOREIGN_CONTRACT
        ticks = self._ticks_of(trade.price)
        if isinstance(ticks, Reason):
            return ticks
        if not 0 < trade.volume <= self._size_max:
            return Reason.SIZE
        ts_event = stamp_or_reason(self._stamps, trade.timestamp, self._stamp_min, self._stamp_max)
        return ts_event if isinstance(ts_event, Reason) else (ts_event, ticks)

    def _ticks_of(self, price: float) -> int | Reason:
        reason = price_reason(price)
        if reason is not None:
            return reason
        ticks = self.grid.ticks(price)
        if ticks is None:
            return Reason.OFF_GRID
        if len(self._ticks) >= _PRICES_KEPT:
            self._ticks.clear()
        self._ticks[price] = ticks
        return ticks


def _append(batch: TradeBatch, row: TradeKey) -> None:
    ts_event, ticks, volume, side = row
    batch.ts_event.append(ts_event)
    batch.ticks.append(ticks)
    batch.volume.append(volume)
    batch.side.append(side)


def _batch_of(contract_id: str, rows: Sequence[Row], ts_recv: int) -> TradeBatch:
    batch = TradeBatch(contract_id, [], [], [], [], ts_recv)
    for row in rows:
        _append(batch, row[:4])
    return batch


def _show(trade: WireTrade) -> str:
    """Say what the trade said, short even where a field is a megabyte long."""
    # A volume of thousands of digits is in hand as an int; printing it takes quadratic time.
    volume = trade.volume if abs(trade.volume) < 1 << 64 else "(beyond 64 bits)"
    text = f"price={trade.price!r} volume={volume} timestamp={trade.timestamp[:40]}"
    for name, value in (("contractId", trade.contract_id), ("symbolId", trade.symbol_id)):
        if value is not None:
            text += f" {name}={value[:40]}"
    return text
