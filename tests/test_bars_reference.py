"""The brute force that the builders are compared with, and a few bars worked out by hand that it must give.

It keeps every trade, judges each by those before it, and makes a bar by sorting: nothing is shared with the
builders but the names of the fields.
"""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import attrs
from hypothesis import strategies as st

from trio_projectx._events import Bar
from trio_projectx._timeframe import Timeframe
from trio_projectx.bars import BarCounts
from trio_projectx.market.batch import TradeBatch
from trio_projectx.market.grid import PriceGrid

S = 1_000_000_000
GRID = PriceGrid(1, 4)


@attrs.frozen(slots=True)
class Tick:
    """One trade as the builders see it."""

    ts: int
    ticks: int = 100
    volume: int = 1
    side: int = 0


def batch(ticks: list[Tick], contract_id: str = "C") -> TradeBatch:
    return TradeBatch(
        contract_id,
        [t.ts for t in ticks],
        [t.ticks for t in ticks],
        [t.volume for t in ticks],
        [t.side for t in ticks],
        0,
    )


def cut(ticks: list[Tick], sizes: list[int]) -> list[list[Tick]]:
    """Cut into pieces of these sizes, over and over, until nothing is left."""
    edges = [0]
    while edges[-1] < len(ticks):
        edges.append(edges[-1] + sizes[(len(edges) - 1) % len(sizes)])
    return [ticks[a:b] for a, b in pairwise(edges)]


class Reference:
    """Bars of one timeframe, by brute force."""

    def __init__(self, timeframe: str, lateness: int, grid: PriceGrid = GRID) -> None:
        self.timeframe = Timeframe(timeframe)
        step = self.timeframe.step_ns
        assert step is not None
        self.step = step
        self.lateness = lateness
        self.grid = grid
        self.seen: list[Tick] = []
        self.late = 0
        self.members: dict[int, list[tuple[int, int, Tick]]] = {}
        self.given: set[int] = set()

    def watermark(self) -> int | None:
        return max(t.ts for t in self.seen) - self.lateness if self.seen else None

    def add(self, tick: Tick) -> None:
        start = tick.ts // self.step * self.step
        watermark = self.watermark()
        if watermark is not None and start + self.step <= watermark:
            self.late += 1
        else:
            self.members.setdefault(start, []).append((tick.ts, len(self.seen), tick))
        self.seen.append(tick)

    def update(self, ticks: list[Tick]) -> list[Bar]:
        for tick in ticks:
            self.add(tick)
        watermark = self.watermark()
        return [] if watermark is None else self._give(watermark)

    def flush(self) -> list[Bar]:
        return self._give(None)

    def _give(self, watermark: int | None) -> list[Bar]:
        due = [s for s in self.members if watermark is None or s + self.step <= watermark]
        new = sorted(set(due) - self.given)
        self.given.update(new)
        return [self.bar(start) for start in new]

    def bar(self, start: int) -> Bar:
        rows = [tick for _, _, tick in sorted(self.members[start], key=lambda row: row[:2])]
        prices = [row.ticks for row in rows]
        volume = sum(row.volume for row in rows)
        notional = Fraction(sum(row.ticks * row.volume for row in rows) * self.grid.num, self.grid.den)
        return Bar(
            contract_id="C",
            timeframe=self.timeframe,
            start=start,
            end=start + self.step,
            open=self.price(prices[0]),
            high=self.price(max(prices)),
            low=self.price(min(prices)),
            close=self.price(prices[-1]),
            volume=volume,
            trades=len(rows),
            trade_date=None,
            buy_volume=sum(row.volume for row in rows if row.side == 0),
            sell_volume=sum(row.volume for row in rows if row.side == 1),
            vwap=float(notional / volume),
            first_ts=rows[0].ts,
            last_ts=rows[-1].ts,
        )

    def price(self, ticks: int) -> float:
        return float(Fraction(ticks * self.grid.num, self.grid.den))

    def forming(self) -> Bar | None:
        left = set(self.members) - self.given
        return attrs.evolve(self.bar(max(left)), closed=False) if left else None

    def counts(self) -> BarCounts:
        in_bars = sum(len(self.members[start]) for start in self.given)
        forming = sum(len(rows) for start, rows in self.members.items() if start not in self.given)
        return BarCounts(len(self.seen), in_bars, forming, self.late)


def crowded(seconds: int) -> st.SearchStrategy[int]:
    """Stamps that crowd the edges of seconds, so that ties and edges are common."""
    offsets = st.one_of(st.sampled_from([0, 1, 2, S - 2, S - 1, S // 2]), st.integers(0, S - 1))
    return st.builds(lambda second, ns: second * S + ns, st.integers(0, seconds), offsets)


stamps = crowded(45)
ticks = st.builds(
    Tick,
    ts=stamps,
    ticks=st.integers(-40, 40),
    volume=st.integers(1, 9),
    side=st.sampled_from([0, 1, 0, 1, 0, 1, -1]),
)
bases = st.sampled_from([-60 * S, -20 * S, 0, 1_787_172_660 * S])
latenesses = st.sampled_from([0, 0, 1, S // 2, S - 1, S, 3 * S + 7, 20 * S])
cuts = st.lists(st.one_of(st.integers(1, 4), st.integers(1, 40)), min_size=1, max_size=6)


@st.composite
def arrivals(draw: st.DrawFn, max_size: int = 60) -> list[Tick]:
    """Trades in order of arrival: in any order, nearly in order, or in order of their stamps."""
    base = draw(bases)
    seconds = draw(st.sampled_from([2, 8, 45]))
    found = [
        attrs.evolve(t, ts=base + ts)
        for t, ts in draw(st.lists(st.tuples(ticks, crowded(seconds)), min_size=1, max_size=max_size))
    ]
    disorder = draw(st.sampled_from([None, 0, S // 2, 4 * S]))
    if disorder is None:
        return found
    rng = random.Random(draw(st.integers(0, 99)))
    return sorted(found, key=lambda t: t.ts + rng.randrange(disorder + 1))


def test_a_bar_worked_out_by_hand() -> None:
    reference = Reference("1s", lateness=0)
    rows = [Tick(5, 8, 2, 0), Tick(3, 10, 1, 1), Tick(5, 6, 1, -1), Tick(3, 12, 4, 0), Tick(S, 7)]
    assert reference.update(rows) == [
        Bar(
            contract_id="C",
            timeframe=Timeframe("1s"),
            start=0,
            end=S,
            open=2.5,
            high=3.0,
            low=1.5,
            close=1.5,
            volume=8,
            trades=4,
            trade_date=None,
            buy_volume=6,
            sell_volume=1,
            vwap=(16 + 10 + 6 + 48) / 4 / 8,
            first_ts=3,
            last_ts=5,
        )
    ]
    assert reference.forming() == attrs.evolve(reference.bar(S), closed=False)
    assert reference.counts() == BarCounts(received=5, in_bars=4, forming=1, late=0)


def test_what_is_late_is_decided_by_what_came_before() -> None:
    reference = Reference("1s", lateness=S)
    rows = [Tick(2 * S - 1), Tick(0), Tick(2 * S), Tick(S - 1), Tick(S), Tick(-1)]
    assert [bar.start for bar in reference.update(rows)] == [0]
    assert reference.counts() == BarCounts(received=6, in_bars=1, forming=3, late=2)
