"""What the wire says of the order book, judged row by row; the book itself is made in `book`.

The shapes are GATEWAY.md section 2.3: a list of rows (or one), each with a type, a price and two sizes, of which the
one that is above 0 counts. Rows of the best prices are pointers to the book's top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from trio_projectx._events import RejectionBurst
from trio_projectx._items import BookTop, DepthKind
from trio_projectx._redact import escape
from trio_projectx.market.exact import Fault, Fields, json_type
from trio_projectx.market.grid import PriceGrid
from trio_projectx.market.reasons import (
    Reason,
    RejectedCounts,
    Rejection,
    Rejections,
    price_reason,
    stamp_or_reason,
)
from trio_projectx.market.stamps import StampParser

if TYPE_CHECKING:
    from trio_projectx.signalr import JsonValue

_SIZE_MOST: Final = (1 << 63) - 1


_KINDS: Final = {int(kind): kind for kind in DepthKind}
_BIDS: Final = (DepthKind.BEST_BID, DepthKind.NEW_BEST_BID)
_ASKS: Final = (DepthKind.BEST_ASK, DepthKind.NEW_BEST_ASK)


@attrs.frozen(slots=True)
class DepthRow:
    """One valid row: ``ticks`` is the price in ticks (None for RESET, which has none), ``size`` 0 deletes a level."""

    kind: DepthKind
    ts_event: int
    ticks: int | None
    size: int


@attrs.frozen(slots=True)
class DepthUpdate:
    """The valid rows of one record, in their order; ``top`` is how the best prices stand behind them."""

    rows: tuple[DepthRow, ...]
    ts_recv: int
    top: BookTop
    refused: int = 0
    """Rows that were rejected, but for those before its last RESET."""

    @property
    def is_anew(self) -> bool:
        """Whether it begins a book."""
        return any(row.kind is DepthKind.RESET for row in self.rows)


@attrs.frozen(slots=True)
class DepthCounts:
    """What became of rows: ``received == accepted + rejected.total + nulls``."""

    received: int
    accepted: int
    nulls: int
    rejected: RejectedCounts
    locked: int
    """Records behind which the best bid was the best ask. Legal for a moment: flagged and counted, not rejected."""
    crossed: int
    """Records behind which the best bid was above the best ask; the same."""


class DepthJudge:
    """Judges the depth of one contract. Nothing is repaired; what is rejected is counted by reason and kept a while.

    A row needs a type, a stamp between the bounds, a price on ``grid`` (but for RESET) and sizes from 0 up.
    """

    def __init__(
        self,
        contract_id: str,
        grid: PriceGrid,
        *,
        stamp_min_ns: int,
        stamp_max_ns: int,
        rejections_kept: int = 64,
        tell: Callable[[RejectionBurst], None] | None = None,
    ) -> None:
        self.contract_id = contract_id
        self.grid = grid
        self._bounds = (stamp_min_ns, stamp_max_ns)
        self._stamps = StampParser()
        self._rejections = Rejections(rejections_kept, "depth", tell)
        self._best: dict[int, tuple[int | None, int | None]] = {}  # bid and ask, as each line says
        self._received = self._accepted = self._nulls = self._locked = self._crossed = 0

    @property
    def counts(self) -> DepthCounts:
        """A snapshot of the counts."""
        return DepthCounts(
            self._received,
            self._accepted,
            self._nulls,
            self._rejections.counts,
            self._locked,
            self._crossed,
        )

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The last rejected rows, oldest first."""
        return self._rejections.last

    def forget(self, line: int = 0) -> None:
        """Forget the best prices of ``line``: after a reconnect nothing is known to be unchanged. Counts stay."""
        self._best.pop(line, None)

    def judge(self, data: JsonValue, ts_recv: int, line: int = 0) -> DepthUpdate:
        """Return what is valid of the second argument of a ``GatewayDepth``; each line has best prices of its own."""
        entries: Sequence[JsonValue] = data if isinstance(data, list) else [data]
        rows: list[DepthRow] = []
        refused = 0
        for place, entry in enumerate(entries):
            row = None if entry is None else self._row(entry)
            if row is None:
                self._nulls += 1
            elif isinstance(row, Fault):
                where = f"arguments[1][{place}]" if isinstance(data, list) else "arguments[1]"
                self._rejections.add(row.reason, row.path(where), ts_recv)
                refused += 1
            else:
                refused = 0 if row.kind is DepthKind.RESET else refused
                rows.append(row)
                self._follow(row, line)
        self._received += len(entries)
        self._accepted += len(rows)
        self._rejections.judged(len(entries), self.contract_id)
        return DepthUpdate(tuple(rows), ts_recv, self._top(line, has_changed=bool(rows)), refused)

    def _row(self, entry: JsonValue) -> DepthRow | Fault:
        if not isinstance(entry, dict):
            return Fault(Reason.SCHEMA, f"{json_type(entry)} instead of a depth row", is_of_field=False)
        fields = Fields(entry)
        code, timestamp, price = fields.whole("type"), fields.text("timestamp"), fields.number("price")
        sizes = [fields.whole("currentVolume"), fields.whole("volume")]
        if fields.faults:
            return fields.faults[0]
        if code is None or timestamp is None:
            return Fault(Reason.SCHEMA, f"{'type' if code is None else 'timestamp'}: missing")
        stamp = stamp_or_reason(self._stamps, timestamp, *self._bounds)
        if isinstance(stamp, Reason):
            return Fault(stamp, f"timestamp={escape(timestamp[:40])}")
        kind = _KINDS.get(code, DepthKind.UNKNOWN)
        if kind is DepthKind.RESET:
            return DepthRow(kind, stamp, None, 0)
        return self._level(kind, stamp, price, sizes)

    def _level(
        self, kind: DepthKind, stamp: int, price: float | None, sizes: Sequence[int | None]
    ) -> DepthRow | Fault:
        if price is None:
            return Fault(Reason.SCHEMA, "price: missing")
        reason = price_reason(price)
        ticks = None if reason is not None else self.grid.ticks(price)
        if ticks is None:
            return Fault(reason or Reason.OFF_GRID, f"price={price!r}")
        known = [size for size in sizes if size is not None]
        if not known:
            return Fault(Reason.SCHEMA, "volume: missing")
        if min(known) < 0 or max(known) > _SIZE_MOST:
            return Fault(
                Reason.SIZE, f"volume={escape(hex(min(known) if min(known) < 0 else max(known)), 40)}"
            )
        return DepthRow(kind, stamp, ticks, next((size for size in known if size), 0))

    def _follow(self, row: DepthRow, line: int) -> None:
        bid, ask = self._best.get(line, (None, None))
        if row.kind is DepthKind.RESET:
            self.forget(line)
        elif row.kind in _BIDS:
            self._best[line] = row.ticks, ask
        elif row.kind in _ASKS:
            self._best[line] = bid, row.ticks

    def _top(self, line: int, *, has_changed: bool) -> BookTop:
        bid, ask = self._best.get(line, (None, None))
        if bid is None or ask is None:
            return "unknown"
        if bid < ask:
            return "open"
        self._locked += has_changed and bid == ask
        self._crossed += has_changed and bid > ask
        return "locked" if bid == ask else "crossed"
