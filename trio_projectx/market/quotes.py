"""Sparse quotes to whole ones: the state of a contract's quote, field by field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, Literal, TypeAlias

import attrs

from trio_projectx._events import Quote, RejectionBurst
from trio_projectx._redact import escape
from trio_projectx.market.contracts import ContractId
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.lines import LineMerger
from trio_projectx.market.reasons import (
    Reason,
    RejectedCounts,
    Rejection,
    Rejections,
    price_reason,
    stamp_or_reason,
)
from trio_projectx.market.stamps import NS_PER_SECOND, StampParser
from trio_projectx.market.wire import WireQuote

# int64, in which the session's volume is kept by whoever stores quotes.
_VOLUME_MOST: Final = (1 << 63) - 1
#: What is older than this by more shows that the newer stamp was wrong: no line is that far behind and lives.
_BEHIND_MOST_NS: Final = 600 * NS_PER_SECOND
#: An update with its stamp in ns (0: none), and which stamp that is: 0 ``lastUpdated``, 1 ``timestamp``, 2 none.
_Update: TypeAlias = tuple[int, int, WireQuote]


@attrs.frozen(slots=True)
class QuoteCounts:
    """What became of the quotes of a contract.

    ``received == merged + foreign + unstamped + duplicates + waiting``.
    """

    received: int
    merged: int
    """Gave a `Quote`, or would have but for being `crossed`."""
    foreign: int
    """Named another contract or product; nothing of them was taken."""
    unstamped: int
    """Came before any valid stamp: their fields were taken, but no `Quote` was given."""
    rejected: RejectedCounts
    """Fields (not quotes) that were not taken, by reason, and the foreign quotes."""
    locked: int
    """Merged with bid == ask. Legal for a moment, and no fault of the other fields: only counted."""
    crossed: int
    """Merged with bid > ask; the same."""
    duplicates: int = 0
    """Another line had brought them, or something newer before they came, or their line had left."""
    waiting: int = 0
    """Came on a line that joins others and is not level with them yet."""


class QuoteMerger:
    """Merges the sparse quotes of one contract (GATEWAY.md section 2.3).

    A field that is absent or null stays what it was, and so does one whose new value is bad: a price that is
    not finite, not positive or off ``grid`` (None: any price), a negative volume. ``ts_event`` is the
    ``lastUpdated`` of the quote, the newer of its stamps and 100 ns fine; else its ``timestamp``; else what
    it was.

    Where more than one line (connection) carries the quotes, each has to `join` before it is subscribed there and
    to `leave` at its end, and `merge` is told whose update it is. Each is merged once (`LineMerger`), but not after
    a younger one that another line was first to bring. A caller with one line at a time needs none of that.

    A quote whose bid is above its ask is given like any other, or not given (``crossed``); either way it is counted.
    ``tell`` is called when a burst of rejections begins.

    :raises ContractError: if ``contract_id`` is not a contract id.
    """

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid | None = None,
        *,
        stamp_min_ns: int,
        stamp_max_ns: int,
        rejections_kept: int = 64,
        crossed: Literal["count", "drop"] = "count",
        tell: Callable[[RejectionBurst], None] | None = None,
    ) -> None:
        self.contract_id = contract_id
        self._drops_crossed = crossed == "drop"
        self.grid = grid
        self._symbol_id = ContractId.parse(contract_id).symbol_id
        self._stamp_bounds = (stamp_min_ns, stamp_max_ns)
        self._stamps = StampParser()
        self._quote = Quote(contract_id, ts_event=0, ts_recv=0)
        self._is_stamped = False
        self._rejections = Rejections(rejections_kept, "quotes", tell)
        self._lines = LineMerger[_Update](itemgetter(0))
        self._received = self._merged = self._foreign = self._unstamped = self._locked = self._crossed = 0
        self._outdated = 0
        self._newest = [0, 0, 0]  # one may be a while behind the other: each is compared with its like

    @property
    def counts(self) -> QuoteCounts:
        """A snapshot of the counts."""
        return QuoteCounts(
            self._received,
            self._merged,
            self._foreign,
            self._unstamped,
            self._rejections.counts,
            self._locked,
            self._crossed,
            self._lines.duplicates + self._lines.strays + self._outdated,
            self._lines.held,
        )

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected fields, oldest first."""
        return self._rejections.last

    def refuse(self, reason: Reason, detail: str, ts_recv: int, count: int = 1) -> None:
        """Count fields of this contract's quotes that the decoder already refused (`decode.Refusal`)."""
        self._rejections.add(reason, detail, ts_recv, count)
        self._rejections.judged(count, self.contract_id)

    def forget(self) -> None:
        """Forget all fields: after a reconnect nothing is known to be unchanged. Counts stay."""
        self._quote = Quote(self.contract_id, ts_event=0, ts_recv=0)
        self._is_stamped = False
        self._newest = [0, 0, 0]
        self._lines.forget()  # a line that is behind another may bring again what was known

    def join(self, line: int) -> None:
        """Take ``line`` for one that carries the quotes; to be called before it is subscribed there."""
        self._lines.join(line)

    def is_level(self, line: int) -> bool:
        """Whether ``line`` has shown that it brings what the others bring."""
        return self._lines.is_level(line)

    def lead(self, line: int, ts_recv: int) -> Quote | None:
        """``line`` is the first to bring the quotes, the others join it; return the quote after what of it waited."""
        return self._merge_all(self._lines.lead(line), ts_recv)

    def settle(self, line: int, ts_recv: int) -> Quote | None:
        """Take ``line`` for level; return the quote after its updates that have waited, None if there is no new one."""
        return self._merge_all(self._lines.settle(line), ts_recv)

    def leave(self, line: int, ts_recv: int) -> Quote | None:
        """``line`` has ended; return the quote after updates that go on for that, None if there is no new one."""
        return self._merge_all(self._lines.leave(line), ts_recv)

    def merge(self, wire: WireQuote, ts_recv: int, line: int = 0) -> Quote | None:
        """Return the quote after this update, or None if it is foreign or no stamp is known yet.

        With several lines: None too if it is a duplicate or has to wait, and the quote after all updates that
        have waited for this one.
        """
        self._received += 1
        self._rejections.judged(1, self.contract_id)
        if wire.contract not in (None, self.contract_id) or wire.symbol not in (None, self._symbol_id):
            self._foreign += 1
            said = f"contract={str(wire.contract)[:40]} symbol={str(wire.symbol)[:40]}"
            self._rejections.add(Reason.FOREIGN_CONTRACT, said, ts_recv)
            return None
        if line == self._lines.lone or self._lines.adopt(line):
            return self._merge(wire, ts_recv)
        return self._merge_all(self._lines.add(line, [self._update(wire)]), ts_recv)

    def _merge_all(self, updates: Sequence[_Update], ts_recv: int) -> Quote | None:
        quote: Quote | None = None
        for stamp, which, wire in updates:
            # A line that was far behind the others: its fields would take the place of newer ones.
            if 0 < self._newest[which] - stamp <= _BEHIND_MOST_NS:
                self._outdated += 1
            else:
                self._newest[which] = stamp
                quote = self._merge(wire, ts_recv)
        return quote

    def _update(self, wire: WireQuote) -> _Update:
        for which, text in enumerate((wire.last_updated, wire.timestamp)):
            if text is not None:
                stamp = stamp_or_reason(self._stamps, text, *self._stamp_bounds)
                if not isinstance(stamp, Reason):
                    return stamp, which, wire
        return 0, 2, wire

    def _merge(self, wire: WireQuote, ts_recv: int) -> Quote | None:
        quote = self._quote = self._merged_with(wire, ts_recv)
        if not self._is_stamped:
            self._unstamped += 1
            return None
        self._merged += 1
        if quote.bid is not None and quote.ask is not None and quote.bid >= quote.ask:
            self._locked += quote.bid == quote.ask
            self._crossed += quote.bid > quote.ask
            if self._drops_crossed and quote.is_crossed:
                return None
        return quote

    def _merged_with(self, wire: WireQuote, ts_recv: int) -> Quote:
        old = self._quote
        return Quote(
            contract_id=self.contract_id,
            ts_event=self._stamp(wire, ts_recv),
            ts_recv=ts_recv,
            bid=self._price("bestBid", wire.best_bid, old.bid, ts_recv),
            ask=self._price("bestAsk", wire.best_ask, old.ask, ts_recv),
            last=self._price("lastPrice", wire.last_price, old.last, ts_recv),
            open=self._price("open", wire.open, old.open, ts_recv),
            high=self._price("high", wire.high, old.high, ts_recv),
            low=self._price("low", wire.low, old.low, ts_recv),
            change=self._number("change", wire.change, old.change, ts_recv),
            change_percent=self._number("changePercent", wire.change_percent, old.change_percent, ts_recv),
            volume=self._volume(wire.volume, old.volume, ts_recv),
        )

    def _stamp(self, wire: WireQuote, ts_recv: int) -> int:
        for name, text in (("lastUpdated", wire.last_updated), ("timestamp", wire.timestamp)):
            if text is None:
                continue
            stamp = stamp_or_reason(self._stamps, text, *self._stamp_bounds)
            if not isinstance(stamp, Reason):
                self._is_stamped = True
                return stamp
            self._rejections.add(stamp, f"{name}={text[:40]}", ts_recv)
        return self._quote.ts_event

    def _price(self, name: str, new: float | None, old: float | None, ts_recv: int) -> float | None:
        if new is None:
            return old
        reason = price_reason(new)
        if reason is None and self.grid is not None and self.grid.ticks(new) is None:
            reason = Reason.OFF_GRID
        if reason is None:
            return new
        self._rejections.add(reason, f"{name}={new!r}", ts_recv)
        return old

    def _number(self, name: str, new: float | None, old: float | None, ts_recv: int) -> float | None:
        if new is None or math.isfinite(new):
            return old if new is None else new
        self._rejections.add(Reason.PRICE_NOT_FINITE, f"{name}={new!r}", ts_recv)
        return old

    def _volume(self, new: int | None, old: int | None, ts_recv: int) -> int | None:
        if new is None or 0 <= new <= _VOLUME_MOST:
            return old if new is None else new
        self._rejections.add(Reason.SIZE, f"volume={escape(hex(new), 40)}", ts_recv)
        return old
