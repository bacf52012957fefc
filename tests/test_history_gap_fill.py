"""No hole in the record: our client on a simulator in virtual time, with outages; its bars become the truth's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import pyarrow as pa
import pytest
import trio
from fault_tools import CONTRACT, ask, config_for, open_sim, truth_rows
from sweeps import every
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.history.gap_fill import GapFiller
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
    history_options: px.HistoryOptions | None = None,
    seen: list[px.Gateway] | None = None,
) -> None:
    seen = [] if seen is None else seen
    options = history_options or px.HistoryOptions()
    async with px.open_gateway(config_for(sim, history=options)) as gateway:
        seen.append(gateway)
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
            seen.clear()
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
    since = truth_rows(sim.truth())[0][0]
    for frame in frames:
        known = got.last(frame)
        wanted = truth(sim, frame, anchor)
        # What was traded before anybody listened is in the simulator's history, and not in its truth.
        whole = {s: bar for s, bar in known.items() if not bar.partial and s >= since}
        assert {start: numbers(bar) for start, bar in whole.items()} == {
            start: row for start, row in wanted.items() if start in whole
        }
        closed = [start for start in wanted if max(min(known), since) <= start <= max(known)]
        assert sorted(start for start in known if start >= since) == closed, frame
        rows = got.tables[frame].to_pylist()
        assert [row["partial"] for row in rows] == [known[s].partial for s in sorted(known)][: len(rows)]
        assert [row["source"] for row in rows] == [known[s].source for s in sorted(known)][: len(rows)]


def cut(sim: Simulator, seconds: float, kind: str = "tcp_reset") -> None:
    """Take the service away."""
    if seconds:
        sim.inject(Fault("refuse", count=0, duration_s=seconds))
    sim.inject(Fault(kind, hub="market", phase="stream"))


SESSION = px.bars.Anchor.session(px.bars.Sessions.for_product("MNQ"))


@pytest.mark.parametrize("seed", range(0, 3, every(2)))
async def test_bars_with_outages_and_fill_are_those_without(autojump_clock: MockClock, seed: int) -> None:
    """Random outages, some of them while the one before is being filled."""
    rng, got = random.Random(seed), Got()
    print("seed", seed)
    async with open_sim(seed) as sim, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sim, 460.0, got)
        for _ in range(rng.randrange(2, 6)):
            await trio.sleep(rng.choice([1.0, 7.0, 40.0, 60.0]) * rng.random() + 1)
            cut(sim, rng.choice([0.0, 2.0, 30.0, 60.0]) * rng.random())
    assert_true(sim, got, FRAMES, SESSION)
    assert got.coverage is not None
    assert not got.coverage.missing
    first = [bar for bar in got.last("1s").values() if bar.partial]
    assert len(first) <= 1, "only the bar that was forming at the beginning may not be known whole"
    assert got.gaps
    assert {bar.source for bar in got.last("1s").values()} >= {"live", "history"}
    assert got.coverage.revised == len([i for i in got.items if isinstance(i, px.BarRevised)])


@pytest.mark.parametrize("after", [0.2, 29.9, 59.99, 57.0][:: every(2)])
async def test_the_seam_has_no_hole_and_no_double(autojump_clock: MockClock, after: float) -> None:
    """At any place in a second and a minute; what was forming at connect is read again when it has closed."""
    got = Got()
    async with open_sim(11) as sim, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sim, 200.0, Got(), ("1m",))  # so that the truth begins before
        await trio.sleep(after)
        await stream(sim, 130.0, got, ("1s", "1m"), history=20)
        nursery.cancel_scope.cancel()
    for frame, step in (("1s", NS), ("1m", 60 * NS)):
        bars = [item for item in got.items if isinstance(item, px.Bar) and item.timeframe == frame]
        assert [bar.source for bar in bars[:20]] == ["history"] * 20
        assert {bar.source for bar in bars[20:]} == {"live"}
        starts = [bar.start for bar in bars]
        assert starts == sorted(set(starts))
        # A market of twenty trades a second has a bar for each interval.
        assert starts == list(range(starts[0], starts[-1] + 1, step))
        assert [bar.partial for bar in bars[20:]] == [True] + [False] * (len(bars) - 21)
        assert not any(bar.partial for bar in got.last(frame).values())
        table = got.tables[frame]
        assert table["start"].cast("int64").to_pylist() == starts[: table.num_rows]
        assert not any(table["partial"].to_pylist())
    ends = [item.end for item in got.items[:40] if isinstance(item, px.Bar)]
    assert ends == sorted(ends)
    assert got.coverage is not None
    assert got.coverage.is_complete
    assert got.coverage.history[0][0] == min(item.start for item in got.items if isinstance(item, px.Bar))
    # What was live is the truth, also of the bar whose beginning nobody of us had seen.
    assert_true(sim, got, ("1s", "1m"), SESSION)


async def test_without_history_live_bars_come_and_it_is_told(autojump_clock: MockClock) -> None:
    """Row 105: a service without bars, one that fails, and one that hangs."""
    for fault, options in (
        ("http_status", {"status": 500}),
        ("http_body", {"kind": "garbage"}),
        ("hang", {"phase": "rest"}),
    ):
        got = Got()
        async with open_sim(4) as sim:
            sim.inject(Fault(fault, hub="rest", path="/api/history/*", count=0, **options))
            before = trio.current_time()
            await stream(sim, 30.0, got, ("1s",), history=50, history_options=px.HistoryOptions(wait_s=12.0))
            assert trio.current_time() - before < 45
        (missing,) = got.told(px.HistoryMissing)
        assert (missing.contract_id, missing.timeframe) == (CONTRACT, "1s")
        assert missing.reason
        assert len([item for item in got.items if isinstance(item, px.Bar)]) >= 28
        assert {item.source for item in got.items if isinstance(item, px.Bar)} == {"live"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("http_status", {"status": 500}),
        ("http_status", {"status": 429, "retry_after_s": 3}),
        ("hang", {"phase": "rest"}),
    ],
)
async def test_a_fill_that_fails_is_tried_again_and_shows_until_then(
    autojump_clock: MockClock, name: str, options: dict[str, object]
) -> None:
    """Row 103: live bars go on, the gap stays visible and says why; then it is filled."""
    got, looks = Got(), []
    async with open_sim(6) as sim, trio.open_nursery() as nursery:

        async def look(gateway_of: list[px.Gateway]) -> None:
            while True:
                await trio.sleep(1)
                looks.extend(gateway.coverage("MNQ") for gateway in gateway_of)

        seen: list[px.Gateway] = []
        nursery.start_soon(lambda: stream(sim, 190.0, got, seen=seen))
        nursery.start_soon(look, seen)
        await trio.sleep(10)
        sim.inject(Fault(name, hub="rest", path="/api/history/*", count=0, duration_s=70.0, **options))
        cut(sim, 5.0)
        await trio.sleep(80)
        sim.clear_faults()
        await trio.sleep(105)
        nursery.cancel_scope.cancel()
    assert_true(sim, got, FRAMES[:3], SESSION)
    (gap,) = got.gaps
    while_open = [report for report in looks if report.missing]
    assert while_open
    for report in while_open:
        (hole,) = report.missing
        assert hole.start == gap.start
        assert hole.end <= gap.end or hole.attempts == 0  # while it was open, it went to the present
    failed = [report.missing[0] for report in while_open if report.missing[0].attempts]
    assert failed
    assert failed[-1].last_failure
    assert failed[-1].cause == gap.cause
    assert not looks[-1].missing
    told = got.told(px.GapFillFailed)
    assert told
    assert all(event.retry_in_s is not None and event.retry_in_s <= 60 for event in told)
    assert got.told(px.GapFilled)
    during = [i for i in got.items if isinstance(i, px.Bar) and gap.end <= i.start < gap.end + 60 * NS]
    assert len([bar for bar in during if bar.timeframe == "1s"]) >= 58, "live bars went on"


async def test_a_market_that_stays_quiet_behind_a_gap_is_told_ever_more_rarely(
    autojump_clock: MockClock,
) -> None:
    """Nothing is traded around a gap, as in closed hours: it is asked for ever again, and told 8, 16, 32 times."""
    got = Got()
    async with open_sim(6) as sim, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: stream(sim, 2500.0, got, ("1m",)))
        await trio.sleep(10)
        await ask(sim, "POST", "/control/hz?v=0")
        for _ in range(2):  # the first gap begins with the last trade
            await trio.sleep(200)
            cut(sim, 5.0)
    assert [event.attempts for event in got.told(px.GapFillFailed)] == [8, 16, 32]


async def test_it_can_be_switched_off(autojump_clock: MockClock) -> None:
    got = Got()
    async with open_sim(6) as sim, trio.open_nursery() as nursery:
        options = px.HistoryOptions(fill_gaps=False)
        nursery.start_soon(lambda: stream(sim, 60.0, got, ("1s",), history_options=options))
        await trio.sleep(10)
        cut(sim, 5.0)
    assert got.gaps
    assert not any(isinstance(item, px.BarRevised) for item in got.items)
    assert got.coverage is not None
    assert [(hole.start, hole.end) for hole in got.coverage.missing] == [(got.gaps[0].start, got.gaps[0].end)]
    assert not got.coverage.is_complete


async def test_a_reader_without_events_gets_the_bars_that_were_missing_in_their_places(
    autojump_clock: MockClock,
) -> None:
    """Where nothing later was given yet; the table has them all."""
    got: list[px.Bar] = []
    async with open_sim(6) as sim, trio.open_nursery() as nursery:

        async def read() -> None:
            async with (
                px.open_gateway(config_for(sim)) as gateway,
                gateway.open_bars(CONTRACT, "1m") as bars,
            ):
                with trio.move_on_after(600):
                    async for bar in bars:
                        got.append(bar)
                table = bars.table("1m")
                assert not any(table["partial"].to_pylist()[1:])
                assert table["start"].cast("int64").to_pylist() == [bar.start for bar in got]

        nursery.start_soon(read)
        await trio.sleep(100)
        cut(sim, 200.0)
    starts = [bar.start for bar in got]
    assert starts == list(range(starts[0], starts[-1] + 1, 60 * NS))
    assert {bar.source for bar in got} == {"live", "history"}


async def test_a_history_that_comes_after_more_live_bars_than_there_is_room_for_is_told(
    autojump_clock: MockClock,
) -> None:
    """They wait for it as long as they can; the stream goes on without it, and says so."""
    async with open_sim(4) as sim:
        sim.inject(Fault("hang", phase="rest", hub="rest", path="/api/history/*", count=0, duration_s=12.0))
        async with px.open_gateway(config_for(sim)) as gateway, gateway.open_events() as events:
            overflow = px.Overflow.DROP_OLDEST
            async with gateway.open_bars(CONTRACT, "1s", history=5, capacity=3, overflow=overflow) as bars:
                first = await bars.receive()
                assert isinstance(first, px.Bar)
                assert first.source == "live"
            told = []
            while True:
                try:
                    told.append(events.receive_nowait())
                except trio.WouldBlock:
                    break
    (missing,) = [event for event in told if isinstance(event, px.HistoryMissing)]
    assert missing.reason
    assert missing.timeframe == "1s"


def test_who_asks_for_contracts_that_nobody_streams_leaves_nothing_behind() -> None:
    filler = GapFiller(None, None, None, px.HistoryOptions(), lambda: 9, lambda: 9, lambda _: None)  # type: ignore[arg-type]
    filler.covered("mine", 5)
    for number in range(100):
        assert filler.report(f"CON.F.US.MNQ.Z{number}", 2, None).unknown == ((2, 9),)
    assert filler.report("mine", 2, None).live == ((5, 9),)
    assert list(filler._coverages) == ["mine"]
