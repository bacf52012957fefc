"""What happens in one minute of one market, in order: a generator of events, pure and lazy."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from random import Random
from typing import Final

import attrs

from trio_projectx._events import Side
from trio_projectx.simulator.path import MINUTE_NS, UNIT_NS, UNITS, level, times
from trio_projectx.simulator.payloads import DepthRow, QuoteFields, RecordWriter

TRADES_PER_S: Final = 20.0
#: One trade record holds 1 / (1 - this) trades in the mean: a sweep reports its fills in one list.
_SWEEP: Final = 0.26
_SWEEP_MAX: Final = 12
_TRADE_RECORDS: Final = 60 * TRADES_PER_S * (1 - _SWEEP)
_QUOTES: Final = 60 * 42.0
#: Depth entries come in lists of two in the mean.
_DEPTH_LISTS: Final = 60 * 62.0 / 2
#: A price this many ticks below the base of a contract would be none; the path stays far above it.
_LOWEST: Final = 1


class Kind(enum.IntFlag):
    """What can be subscribed to."""

    QUOTES = 1
    TRADES = 2
    DEPTH = 4


@attrs.frozen(slots=True)
class Event:
    """One record of the market: when (int64 ns), what, its text; its trades' price, volume and side."""

    ts_ns: int
    kind: Kind
    text: str
    trades: tuple[tuple[float, int, int], ...] = ()


@attrs.define(slots=True, eq=False)
class Session:
    """What a market remembers: the book's top, and the session's figures for its quotes. Prices in ticks."""

    bid: int
    spread: int = 1
    last: int | None = None
    figures: tuple[int, int, int, int] | None = None
    """Open, high and low of the session, and its volume."""

    @property
    def ask(self) -> int:
        """The best ask."""
        return self.bid + self.spread

    def traded(self, ticks: int, volume: int) -> None:
        """Count a trade."""
        opened, high, low, total = self.figures or (ticks, ticks, ticks, 0)
        self.last = ticks
        self.figures = (opened, max(high, ticks), min(low, ticks), total + volume)


class Minute:
    """One minute; iterate it once."""

    def __init__(
        self, seed: int, writer: RecordWriter, base_ticks: int, session: Session, rate: float
    ) -> None:
        self._seed = seed
        self._writer = writer
        self._base = base_ticks
        self._session = session
        self._rate = rate

    def events(self, minute: int, wanted: Kind) -> Iterator[Event]:
        """Yield what happens in ``minute`` (since 1970), in order: trades, and what else is ``wanted``."""
        name = f"{self._seed}/{self._writer.contract_id}/{minute}"
        trades, quotes, depth = (Random(f"{name}/{kind}") for kind in ("trades", "quotes", "depth"))
        happening = [(time, Kind.TRADES) for time in times(trades, _TRADE_RECORDS * self._rate)]
        if Kind.QUOTES in wanted:
            happening += [(time, Kind.QUOTES) for time in times(quotes, _QUOTES * self._rate)]
        if Kind.DEPTH in wanted:
            happening += [(time, Kind.DEPTH) for time in times(depth, _DEPTH_LISTS * self._rate)]
        happening.sort()
        start, end = (
            self._base + level(self._seed, self._writer.contract_id, at) for at in (minute, minute + 1)
        )
        self._session.bid = max(_LOWEST, round(start))
        for time, kind in happening:
            ts_ns = minute * MINUTE_NS + time * UNIT_NS
            if kind is Kind.TRADES:
                self._move(trades, start + (end - start) * time / UNITS)
                yield self._trade(trades, ts_ns)
            elif kind is Kind.QUOTES:
                yield Event(ts_ns, kind, self._quote(quotes, ts_ns))
            else:
                yield Event(ts_ns, kind, self._depth(depth, ts_ns))

    def _move(self, rng: Random, target: float) -> None:
        """Walk a tick up or down or not at all, drawn toward the path."""
        session = self._session
        pull = min(0.2, max(-0.2, (target - session.bid) * 0.01))
        where = rng.random()
        if where < 0.2 - pull:
            session.bid = max(_LOWEST, session.bid - 1)
        elif where > 0.8 - pull:
            session.bid += 1
        session.spread = 2 if where > 0.78 else 1

    def _trade(self, rng: Random, ts_ns: int) -> Event:
        session, writer = self._session, self._writer
        ts_ns = writer.traded_at(ts_ns)
        stamp = writer.trade_stamp(ts_ns)
        side = Side.BUY if rng.random() < 0.5 else Side.SELL
        ticks = session.ask if side is Side.BUY else session.bid
        rows: list[tuple[float, int, int]] = []
        texts: list[str] = []
        while not rows or (rng.random() < _SWEEP and len(rows) < _SWEEP_MAX):
            volume = 1 + int(rng.expovariate(0.8))
            if rng.random() < 0.02:
                volume *= 10
            session.traded(ticks, volume)
            rows.append((writer.grid.price(ticks), volume, side.value))
            texts.append(writer.trade(stamp, writer.price(ticks), volume, side.value))
        return Event(ts_ns, Kind.TRADES, writer.trades(texts), tuple(rows))

    def _quote(self, rng: Random, ts_ns: int) -> str:
        """Return a sparse quote: most carry one or both sides only, some the session's figures too."""
        session, where = self._session, rng.random()
        last = session.last if where < 0.3 else None
        figures = session.figures if last is not None and where < 0.15 else None
        bid = None if where > 0.9 else session.bid
        ask = None if 0.8 < where <= 0.9 else session.ask
        return self._writer.quote(QuoteFields(ts_ns, bid, ask, last, figures))

    def _depth(self, rng: Random, ts_ns: int) -> str:
        rows = [self._depth_row(rng, ts_ns) for _ in range(rng.choice((1, 2, 2, 3)))]
        return self._writer.depth(rows)

    def _depth_row(self, rng: Random, ts_ns: int) -> DepthRow:
        """Return a level of the book (volume 0 = it is gone) or a pointer to the best of a side."""
        session, where, volume = self._session, rng.random(), 1 + int(rng.expovariate(0.2))
        if where < 0.2:
            return DepthRow(ts_ns, 4, session.bid, volume, 0)
        if where < 0.4:
            return DepthRow(ts_ns, 3, session.ask, volume, 0)
        away = rng.randrange(10)
        held = 0 if away and rng.random() < 0.05 else volume
        if where < 0.7:
            return DepthRow(ts_ns, 2, max(_LOWEST, session.bid - away), held, held)
        return DepthRow(ts_ns, 1, session.ask + away, held, held)
