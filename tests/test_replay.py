"""A record played again gives the very bars of then: byte for byte, at any speed, over outages and two lines.

What is compared is every item of every stream, in order (bars, revisions, gaps, trades, quotes), every value of the
tables of all timeframes, and the bars that were still forming.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from replay_tools import Got, recording
from test_gateway import config_for, control, running, virtual_wall
from test_gateway_data import send, trade
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.flow.notices import What
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.subscriptions import Kind, Subscription
from trio_projectx.journal.scan import dataset
from trio_projectx.market import format_stamp
from trio_projectx.replaying.frames import FramePlayer
from trio_projectx.simulator import Fault, Simulator, open_simulator

FRAMES = ("1s", "5s", "1m", "5m")
#: Beside any instant at which the simulator does something.
ODD = 0.0123
Act = Callable[[Simulator, px.Gateway], Awaitable[None]]


@attrs.define
class All:
    """What three streams gave."""

    bars: Got = attrs.Factory(Got)
    trades: list[object] = attrs.Factory(list)
    quotes: list[object] = attrs.Factory(list)
    counts: px.GatewayStatistics | None = None


async def collect(stream: px.Stream[object], into: list[object]) -> None:
    async for item in stream:
        into.append(item)


async def watch(gateway: px.Gateway, contract: str, seen: All, act: Callable[[], Awaitable[None]]) -> None:
    """Read three streams until ``act`` is done, or the streams end."""
    async with (
        gateway.open_bars(contract, *FRAMES, events=True, late="revise", capacity=100_000) as bars,
        gateway.open_trades(contract, events=True, capacity=100_000) as trades,
        gateway.open_quotes(contract, events=True, overflow=px.Overflow.ERROR, capacity=100_000) as quotes,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(seen.bars.read, bars)
        nursery.start_soon(collect, trades, seen.trades)
        nursery.start_soon(collect, quotes, seen.quotes)
        await act()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        seen.bars.look(bars)
        seen.counts = gateway.statistics()


async def again(path: Path, contract: str, speed: float | None = None, source: str | None = None) -> All:
    seen = All()
    async with px.open_replay(path, speed, source=source) as replay:  # type: ignore[arg-type]
        await watch(replay, contract, seen, replay.wait_ended)
    return seen


def assert_same(one: All, other: All) -> None:
    for mine, then in (
        (one.trades, other.trades),
        (one.quotes, other.quotes),
        (one.bars.items, other.bars.items),
    ):
        for place, (item, was) in enumerate(zip(mine, then, strict=False)):
            assert item == was, place
        assert len(mine) == len(then)
    assert one.bars.bytes == other.bars.bytes
    assert one.bars.forming == other.bars.forming
    assert one.counts is not None and other.counts is not None  # noqa: PT018
    assert one.counts.market.ledger.balanced
    assert one.counts.market.ledger == other.counts.market.ledger
    assert one.counts.market.contracts == other.counts.market.contracts


def cuts(*times: float, fault: Fault | None = None) -> Act:
    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        start = trio.current_time()
        for at in times:
            await trio.sleep_until(start + at)
            sim.inject(fault or Fault("tcp_reset", hub="market", phase="stream"))
        await trio.sleep_until(start + times[-1] + 8 + ODD)

    return act


async def refreshes(sim: Simulator, gateway: px.Gateway) -> None:
    for _ in range(3):
        await trio.sleep(6)
        await gateway.refresh_token()
    await trio.sleep(10 + ODD)


async def stragglers(sim: Simulator, gateway: px.Gateway) -> None:
    for late_s in (0.02, 0.5, 3.0, 21.0, 0.1):
        await trio.sleep(6)
        await send(sim, trade(sim, -late_s), trade(sim, -late_s / 2), trade(sim))
        await send(sim, trade(sim, 3600.0), trade(sim, price=-1.0), trade(sim, volume=10**7))
    await trio.sleep(6 + ODD)


TWO = px.Reconnect(redundant=True, connect_burst=20)
CASES: dict[str, tuple[Act, dict[str, object]]] = {
    "cuts": (cuts(5, 13.3, 21), {}),
    "two lines": (cuts(5, 13.3, 21, 29), {"reconnect": TWO}),
    "refresh": (refreshes, {}),
    "age": (cuts(20), {"reconnect": px.Reconnect(max_connection_age_s=7)}),
    "late": (stragglers, {}),
    "muted": (cuts(8, fault=Fault("mute_data", hub="market", duration_s=9.0)), {}),
    "split": (cuts(4, 9, fault=Fault("split_records", hub="market")), {}),
    "rechunk": (cuts(4, fault=Fault("rechunk", hub="market", chunk_bytes=11)), {}),
    "twice": (cuts(4, 9, fault=Fault("trades_duplicated", hub="market")), {}),
    "swapped": (cuts(4, 9, fault=Fault("trades_swapped", hub="market")), {}),
    "repeated": (cuts(4, 9, fault=Fault("trades_replayed", hub="market")), {}),
    "late ones": (cuts(4, 9, fault=Fault("trades_late", hub="market")), {}),
    "nonsense": (cuts(4, 9, fault=Fault("hostile", hub="market", kind="price_negative")), {}),
    "unknown": (cuts(4, 9, fault=Fault("unknown_type", hub="market")), {}),
    "closed": (cuts(4, 14, fault=Fault("close_record", hub="market", allow_reconnect=True)), {}),
}


@pytest.mark.parametrize("case", CASES)
async def test_whatever_happened_a_replay_is_what_was(
    tmp_path: Path, autojump_clock: MockClock, case: str
) -> None:
    act, changes = CASES[case]
    then = All()
    async with running(**changes) as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        await watch(gateway, "MNQ", then, lambda: act(sim, gateway))
        contract = sim.contract_id
    assert len(then.trades) > 150
    if "cut" in case or case == "closed":
        assert [type(each) for each in then.bars.items].count(px.Gap) >= 2
    assert_same(await again(tmp_path, contract), then)


@pytest.mark.parametrize("speed", [0, 1, 50])
async def test_at_any_speed(tmp_path: Path, autojump_clock: MockClock, speed: float) -> None:
    then = All()
    async with running() as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        await watch(gateway, "MNQ", then, lambda: cuts(5, 13.3)(sim, gateway))
    began = trio.current_time()
    assert_same(await again(tmp_path, "MNQ", speed), then)
    lasted = trio.current_time() - began
    if speed:
        assert abs(lasted * speed - 21.3) < 2


async def test_what_the_clock_closed_is_closed_where_it_was(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A thin market: bars closed by the clock, gaps ended by it, and trades that came too late after both."""
    start, contract = virtual_wall(), "CON.F.US.GCE.Z26"
    stamps = [0.1, 0.4, 0.9, 5.2, 12.0, 12.01, 31.0, 31.5, 31.6, 55.0, 70.5]
    tape = pa.table(
        {
            "ts_event": pa.array([start + round(at * 10**9) for at in stamps], pa.int64()),
            "price": [2000.0 + n / 10 for n in range(len(stamps))],
            "volume": [1 + n for n in range(len(stamps))],
        }
    )
    then = All()

    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        for at in (9.0, 20.0, 44.0):
            await trio.sleep_until(at)
            entry = {
                "price": 2001.0,
                "volume": 2,
                "timestamp": format_stamp(virtual_wall() - 4 * 10**9, 3),
                "type": 1,
            }
            await control(sim, "send?target=GatewayTrade", json.dumps([contract, [entry]]).encode())
            if at == 20.0:
                sim.inject(Fault("tcp_reset", hub="market", phase="stream"))
        await trio.sleep_until(80 + ODD)

    async with open_simulator(port=None, replay=tape, contract=contract, wall_clock=virtual_wall) as sim:
        async with px.open_gateway(config_for(sim)) as gateway, recording(gateway, tmp_path, autojump_clock):
            await watch(gateway, contract, then, lambda: act(sim, gateway))
    marks = marks_of(tmp_path)
    assert {"wake", "gap", "line", "state"} <= set(marks)
    assert marks["wake"] >= 8
    assert sum(isinstance(each, px.BarRevised) for each in then.bars.items) >= 1
    assert sum(isinstance(each, px.Gap) for each in then.bars.items) == 1
    assert_same(await again(tmp_path, contract), then)
    assert_same(await again(tmp_path, contract, 200), then)


def marks_of(path: Path) -> Counter[str]:
    table = dataset(path, "frames").to_table()
    rows = zip(table["what"].to_pylist(), table["text"].to_pylist(), strict=True)
    return Counter(json.loads(text)["type"] for what, text in rows if what == "mark")


async def test_streams_that_ended_with_their_hub_and_were_opened_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A hub that was lost for good, and a stream that was left for a while: one stream of a replay is behind gaps."""
    then: list[list[object]] = [[], [], []]
    async with running() as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        async with gateway.open_trades("MNQ", events=True) as trades, trio.open_nursery() as nursery:
            nursery.start_soon(cuts(5, fault=final()), sim, gateway)
            with pytest.raises(px.ConnectionLost):
                await collect(trades, then[0])
            nursery.cancel_scope.cancel()
        for place in (1, 2):
            await trio.sleep(5)
            async with gateway.open_trades("MNQ", events=True) as trades:
                with trio.move_on_after(5 + ODD):
                    await collect(trades, then[place])
    assert marks_of(tmp_path)["loss"] == 1
    again = (await again_trades(tmp_path)).trades
    gaps = [item for item in again if isinstance(item, px.Gap)]
    assert [gap.cause for gap in gaps][1:] == ["nobody needs it"]
    assert len(gaps) == 2
    assert [item for item in again if isinstance(item, px.Trade)] == [
        item for part in then for item in part if isinstance(item, px.Trade)
    ]
    assert min(map(len, then)) > 50


def final() -> Fault:
    return Fault("close_record", hub="market", error="go away", allow_reconnect=False)


async def again_trades(path: Path) -> All:
    seen = All()
    async with px.open_replay(path) as replay, replay.open_trades("MNQ", events=True) as trades:
        await collect(trades, seen.trades)
    return seen


async def test_a_stream_that_is_opened_in_the_middle_gets_the_rest(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    then = All()
    async with running() as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        await watch(gateway, "MNQ", then, lambda: cuts(8)(sim, gateway))
    trades = [item for item in then.trades if isinstance(item, px.Trade)]
    async with px.open_replay(tmp_path, 1.0) as replay:
        async with replay.open_quotes("MNQ") as quotes, trio.open_nursery() as nursery:
            nursery.start_soon(collect, quotes, [])
            while (replay.at or 0) < trades[100].ts_recv:
                await trio.sleep(0.1)
            async with replay.open_trades("MNQ") as stream:
                late: list[object] = []
                await collect(stream, late)
    assert 100 < len(late) < len(trades)
    assert late == trades[-len(late) :]


async def test_what_the_record_does_not_tell_of_a_line_is_assumed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Marks that are missing (they lay in a damaged file): a line that brings data was subscribed."""
    async with running() as (_, gateway), recording(gateway, tmp_path, autojump_clock, ("frames",)):
        async with gateway.open_trades("MNQ") as trades:
            await trio.sleep(5 + ODD)
            count = trades.statistics().queued
    (part,) = (tmp_path / "frames").rglob("*.parquet")
    table = pq.read_table(part)
    marks = [json.loads(text)["type"] if what == "mark" else "" for what, text in pairs(table)]
    assert marks.count("line") >= 2  # join, acknowledged
    pq.write_table(table.filter(pa.array([mark != "line" for mark in marks])), part)
    seen = await again_trades(tmp_path)
    assert len(seen.trades) == count


async def test_a_mark_that_nobody_can_read_is_told_and_is_a_gap(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with running() as (_, gateway), recording(gateway, tmp_path, autojump_clock, ("frames",)):
        async with gateway.open_trades("MNQ"):
            await trio.sleep(5 + ODD)
    (part,) = (tmp_path / "frames").rglob("*.parquet")
    table = pq.read_table(part)
    middle = table.slice(table.num_rows // 2, 1)
    for name, value in (("what", "mark"), ("text", '{"type":"of a later version"}')):
        middle = middle.set_column(table.column_names.index(name), name, pa.array([value]))
    half = table.num_rows // 2
    parts = [table.slice(0, half), middle.cast(table.schema), table.slice(half)]
    pq.write_table(pa.concat_tables(parts), part)
    async with px.open_replay(tmp_path) as replay, replay.open_events() as events:
        async with replay.open_trades("MNQ", events=True) as trades:
            items = [item async for item in trades]
        told = [event async for event in events]
    assert [type(event) for event in told] == [px.JournalDamaged]
    (gap,) = [item for item in items if isinstance(item, px.Gap)]
    assert "damaged" in gap.cause


def pairs(table: pa.Table) -> zip[tuple[str, str]]:
    return zip(table["what"].to_pylist(), table["text"].to_pylist(), strict=True)


async def test_another_contract_is_opened_in_the_middle_with_limits_of_ones_own(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    then: dict[str, list[object]] = {"MNQ": [], "ES": []}
    async with running() as (_, gateway), recording(gateway, tmp_path, autojump_clock):
        async with gateway.open_trades("MNQ") as one, gateway.open_trades("ES") as two:
            with trio.move_on_after(20 + ODD):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(collect, one, then["MNQ"])
                    nursery.start_soon(collect, two, then["ES"])
    stamps = [item.ts_recv for item in then["ES"] if isinstance(item, px.Trade)]
    again: dict[str, list[object]] = {"MNQ": [], "ES": []}
    async with px.open_replay(tmp_path, 1.0, limits=px.Limits(price_band=0.2)) as replay:
        async with replay.open_trades("MNQ") as one, trio.open_nursery() as nursery:
            nursery.start_soon(collect, one, again["MNQ"])
            while (replay.at or 0) < stamps[len(stamps) // 2]:
                await trio.sleep(0.1)
            async with replay.open_trades("ES") as two:
                await collect(two, again["ES"])
    assert again["MNQ"] == then["MNQ"]
    assert 10 < len(again["ES"]) < len(then["ES"])
    assert again["ES"] == then["ES"][-len(again["ES"]) :]
    assert "made with other limits" in caplog.text


async def test_a_damaged_file_of_frames_is_told_and_the_next_one_is_played(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    origin, midnight = trio.current_time(), 1_787_184_000_000_000_000

    def wall() -> int:
        return midnight - 10 * 10**9 + round((trio.current_time() - origin) * 1e9)

    async with open_simulator(port=None, seed=5, wall_clock=wall) as sim:
        config = attrs.evolve(px.GatewayConfig.simulated(sim.url), connect=sim.connect, wall_clock=wall)
        async with px.open_gateway(config) as gateway, recording(gateway, tmp_path, autojump_clock):
            async with gateway.open_trades("MNQ") as trades:
                await trio.sleep(20 + ODD)
                count = trades.statistics().queued
    first, _ = sorted((tmp_path / "frames").rglob("*.parquet"))
    data = bytearray(first.read_bytes())
    for at in range(len(data) // 4, len(data) // 2, 64):
        data[at] ^= 0xFF
    first.write_bytes(data)
    async with px.open_replay(tmp_path) as replay, replay.open_events() as events:
        async with replay.open_trades("MNQ", events=True) as stream:
            items = [item async for item in stream]
        told = [event async for event in events]
    (damaged,) = told
    assert isinstance(damaged, px.JournalDamaged)
    assert damaged.name == str(first.relative_to(tmp_path))
    got = [item for item in items if isinstance(item, px.Trade)]
    assert count // 3 < len(got) < count
    assert got[-1].ts_event > midnight + 9 * 10**9


#: What may go wrong, with options that make it short.
WRONG: list[tuple[str, dict[str, object]]] = [
    ("tcp_reset", {}), ("tcp_fin", {}), ("mute_data", {"duration_s": 3.0}), ("split_records", {}),
    ("rechunk", {"chunk_bytes": 7}), ("trades_duplicated", {}), ("trades_swapped", {}), ("trades_late", {}),
    ("trades_replayed", {}), ("hostile", {"kind": "price_negative"}), ("unknown_type", {}), ("ws_close", {}),
    ("close_record", {"allow_reconnect": True}), ("fragmented_frames", {}), ("bit_flip", {}), ("garbage", {}),
    ("token_expiry", {}), ("subscriptions_lost", {}), ("throttle", {"duration_s": 3.0}), ("delay", {}),
]  # fmt: skip


@pytest.mark.parametrize("seed", [29, 103])
async def test_whatever_goes_wrong_at_random(tmp_path: Path, autojump_clock: MockClock, seed: int) -> None:
    """A hundred other seeds were tried when this was written."""
    rng, then = random.Random(seed), All()

    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        for _ in range(rng.randrange(2, 6)):
            await trio.sleep(rng.uniform(0.5, 5))
            name, options = rng.choice(WRONG)
            sim.inject(Fault(name, hub="market", **options))  # type: ignore[arg-type]
            late_s = rng.choice([0.01, 0.3, 2.0, 20.0])
            await send(
                sim, trade(sim, -late_s), trade(sim, rng.choice([0, 12.0, 3600.0])), trade(sim, -late_s / 3)
            )
        await trio.sleep(rng.uniform(3, 8) + ODD)

    lines = TWO if rng.random() < 0.5 else px.Reconnect(max_connection_age_s=6)
    async with running(reconnect=lines) as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        await watch(gateway, "MNQ", then, lambda: act(sim, gateway))
    assert_same(await again(tmp_path, "MNQ", rng.choice([None, 30.0])), then)


async def test_connections_that_have_gone_are_forgotten_in_the_end() -> None:
    stays, comes_and_goes = (Subscription(Kind.TRADES, contract_id) for contract_id in ("C.A", "C.B"))
    async with open_background_tasks() as tasks:
        player = FramePlayer(MarketPipeline(px.Limits(), tasks), px.Limits(), None, None, lambda _: None)  # type: ignore[arg-type]
        player._line(What.JOIN, 1, stays, "", 0, 0)
        for line in range(2, 3000):
            player._line(What.JOIN, line, comes_and_goes, "", 0, 0)
            await player._frame(line, '{"type":6}\x1e', 0, 0.0)
            player._line(What.LEAVE, line, comes_and_goes, "it was lost", 0, 0)
            assert len(player._known) <= 1100
            assert len(player._readers) <= 64
        assert {1, 2000, 2999} <= player._known
