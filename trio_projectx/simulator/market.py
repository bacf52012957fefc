"""One contract's market: trades, quotes and depth at live rates, made minute by minute from a seed.

Pure: no clock, no I/O. `Market.advance` makes everything that happens up to an instant. What happens in a
minute depends on the seed, the contract and the minute alone (`path`); each kind of event draws from a
generator of its own, so trades are the same whether or not anybody wants quotes or depth. Only the session's
figures in quotes (open, high, low, volume) count from when this market was opened.

Rates at ``rate`` 1 are those measured for MNQ in regular hours (GATEWAY.md 2.6): about 42 quotes, 20 trades
and 62 depth entries a second. The market never closes: sessions come with the full simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

import attrs

from trio_projectx.simulator.minute import Event, Kind, Minute, Session
from trio_projectx.simulator.path import MINUTE_NS
from trio_projectx.simulator.payloads import DepthRow, RecordWriter
from trio_projectx.simulator.truth import TradeColumns

#: Levels of each side in the book that a depth subscription starts with: over 10 kB, as seen live.
_LEVELS: Final = 64
_RESET: Final = 6


@attrs.frozen(slots=True)
class Happenings:
    """What a market did in a span of time: its records in order, and its trades as columns."""

    records: list[tuple[Kind, str]]
    trades: TradeColumns


@attrs.define(slots=True, eq=False)
class Market:
    """The market of one contract; ``base_ticks`` is the price its path swings around."""

    seed: int
    writer: RecordWriter
    base_ticks: int
    now_ns: int
    """Everything up to here has happened."""
    rate: float = 1.0
    wanted: Kind = Kind.QUOTES | Kind.TRADES
    """What is made, besides trades; a change takes effect with `jump`."""
    _session: Session = attrs.field(init=False)
    _events: Iterator[Event] = attrs.field(init=False)
    _ahead: Event | None = attrs.field(init=False, default=None)
    _minute: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._session = Session(self.base_ticks)
        self._events = iter(())
        self.jump(self.now_ns)

    def jump(self, to_ns: int) -> None:
        """Be at ``to_ns`` as if the market had always run; nothing returns what happened since then."""
        figures = self._session.figures
        self._open(to_ns // MINUTE_NS)
        self.advance(to_ns)
        self._session.figures = figures

    def advance(self, to_ns: int) -> Happenings:
        """Return everything that happens after `now_ns` up to and at ``to_ns``."""
        events: list[Event] = []
        while True:
            event = self._ahead or next(self._events, None)
            self._ahead = None
            if event is None:
                # A minute may be empty: it is the calendar that ends this, not the events.
                if (self._minute + 1) * MINUTE_NS > to_ns:
                    break
                self._open(self._minute + 1)
            elif event.ts_ns > to_ns:
                self._ahead = event
                break
            else:
                events.append(event)
        self.now_ns = max(self.now_ns, to_ns)
        return _happenings(events)

    def book(self) -> str:
        """Return the depth record a subscription starts with: a reset, then the whole book."""
        session, ts_ns = self._session, self.now_ns
        rng = Random(f"{self.seed}/{self.writer.contract_id}/book/{ts_ns}")
        rows = [DepthRow(ts_ns, _RESET, session.last or session.bid, 0, 0)]
        for away in range(_LEVELS):
            volume = 1 + int(rng.expovariate(0.1))
            rows.append(DepthRow(ts_ns, 1, session.ask + away, volume, volume))
            if session.bid > away:
                rows.append(DepthRow(ts_ns, 2, session.bid - away, volume, volume))
        return self.writer.depth(rows)

    def _open(self, minute: int) -> None:
        made = Minute(self.seed, self.writer, self.base_ticks, self._session, self.rate)
        self._minute, self._ahead = minute, None
        self._events = made.events(minute, self.wanted)


def _happenings(events: list[Event]) -> Happenings:
    rows = [row for event in events for row in event.trades]
    trades = TradeColumns(
        [event.ts_ns for event in events for _ in event.trades],
        [price for price, _, _ in rows],
        [volume for _, volume, _ in rows],
        [side for _, _, side in rows],
    )
    return Happenings([(event.kind, event.text) for event in events], trades)
