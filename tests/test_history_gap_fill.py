"""No hole in the record: our client on a simulator in virtual time, with outages; its bars become the truth's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import pyarrow as pa
import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim, truth_rows
from simulator_tools import START_NS
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator

FRAMES = ("1s", "5s", "1m", "5m")
NS = 10**9


@attrs.define
class Got:
    """What a reader of one stream got, and what the gateway said in the end."""

    items: list[px.Bar | px.BarRevised | px.Gap] = attrs.Factory(list)
    events: list[px.GatewayEvent] = attrs.Factory(list)
    tables: dict[str, pa.Table] = attrs.Factory(dict)
    coverage: px.CoverageReport | None = None

    def last(self, frame: str) -> dict[int, px.Bar]:
        """The bars as the reader knows them: the last word on each counts."""
        known: dict[int, px.Bar] = {}
        for item in self.items:
            if isinstance(item, px.Bar) and item.timeframe == frame:
                assert item.start not in known, "a bar came twice"
                known[item.start] = item
            elif isinstance(item, px.BarRevised) and item.bar.timeframe == frame:
                assert item.is_new is (item.bar.start not in known)
                known[item.bar.start] = item.bar
        return known

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def gaps(self) -> list[px.Gap]:
        return [item for item in self.items if isinstance(item, px.Gap)]


async def stream(
    sim: Simulator,
    seconds: float,
    got: Got,
    frames: Sequence[str] = FRAMES,
    *,
    history: int = 0,
    anchor: px.bars.Anchor | None = None,
    **changes: object,
) -> None:
    async with px.open_gateway(config_for(sim, **changes)) as gateway:
        async with (
            gateway.open_events(capacity=100_000) as events,
            gateway.open_bars(CONTRACT, *frames, history=history, events=True, anchor=anchor) as bars,
            trio.open_nursery() as nursery,
        ):

            async def collect(stream: trio.abc.ReceiveChannel[object], into: list) -> None:
                async for item in stream:
                    into.append(item)

            nursery.start_soon(collect, bars, got.items)
            nursery.start_soon(collect, events, got.events)
            await trio.sleep(seconds)
            got.tables = {frame: bars.table(frame) for frame in frames}
            got.coverage = gateway.coverage("MNQ")
            assert gateway.statistics().market.ledger.balanced
            nursery.cancel_scope.cancel()


def numbers(bar: px.Bar) -> tuple[object, ...]:
    return bar.start, bar.end, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_date


def truth(sim: Simulator, frame: str, anchor: px.bars.Anchor) -> dict[int, tuple[object, ...]]:
    """Bars of everything that was traded, as `px.bars.aggregate` makes them."""
    rows = truth_rows(sim.truth())
    names = ("ts_event", "price", "volume")
    table = pa.table(dict(zip(names, list(zip(*(row[:3] for row in rows), strict=True)), strict=True)))
    made = px.bars.aggregate(table, frame, anchor=anchor, tick_size=0.25)
    stamped = made.set_column(0, "start", made["start"].cast("int64"))
    stamped = stamped.set_column(1, "end", stamped["end"].cast("int64"))
    columns = ("start", "end", "open", "high", "low", "close", "volume", "trade_date")
    return {row["start"]: tuple(row[name] for name in columns) for row in stamped.to_pylist()}


def assert_true(sim: Simulator, got: Got, frames: Sequence[str], anchor: px.bars.Anchor) -> None:
    """Every bar that the reader has is whole and the truth's, none is missing between the first and the last."""
    for frame in frames:
        known = got.last(frame)
        wanted = truth(sim, frame, anchor)
        # What was traded before the simulator began is in its history, and not in its truth.
        whole = {s: bar for s, bar in known.items() if not bar.partial and s >= START_NS}
        assert {start: numbers(bar) for start, bar in whole.items()} == {
            start: row for start, row in wanted.items() if start in whole
        }
        closed = [start for start in wanted if min(known) <= start <= max(known)]
        assert sorted(known) == closed, frame
        rows = got.tables[frame].to_pylist()
        assert [row["partial"] for row in rows] == [known[s].partial for s in sorted(known)][: len(rows)]
        assert [row["source"] for row in rows] == [known[s].source for s in sorted(known)][: len(rows)]


def cut(sim: Simulator, seconds: float, kind: str = "tcp_reset") -> None:
    """Take the service away."""
    if seconds:
        sim.inject(Fault("refuse", count=0, duration_s=seconds))
    sim.inject(Fault(kind, hub="market", phase="stream"))


SESSION = px.bars.Anchor.session(px.bars.Sessions.for_product("MNQ"))


@pytest.mark.parametrize("seed", range(4))
async def test_bars_with_outages_and_fill_are_those_without(autojump_clock: MockClock, seed: int) -> None:
    """Random outages, some of them while the one before is being filled."""
    rng, got = random.Random(seed), Got()
    print("seed", seed)
    async with open_sim(seed) as sim, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sim, 700.0, got)
        for _ in range(rng.randrange(2, 6)):
            await trio.sleep(rng.choice([1.0, 7.0, 40.0, 100.0]) * rng.random() + 1)
            cut(sim, rng.choice([0.0, 2.0, 30.0, 100.0]) * rng.random())
    assert_true(sim, got, FRAMES, SESSION)
    assert got.coverage is not None
    assert not got.coverage.missing
    first = [bar for bar in got.last("1s").values() if bar.partial]
    assert len(first) == 1, "only the bar that was forming at the beginning is not known whole"
    assert got.gaps
    assert {bar.source for bar in got.last("1s").values()} >= {"live", "history"}
    assert got.coverage.revised == len([i for i in got.items if isinstance(i, px.BarRevised)])
