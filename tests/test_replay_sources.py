"""What can be played: journals of trades, Parquet files, journals that are being written, cut off, or damaged."""

from __future__ import annotations

import datetime
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from replay_tools import Got, recording, replayed
from test_gateway import running
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.flow.marks import StateMark, limits_in_force, write_mark
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place
from trio_projectx.journal.queue import trade_columns
from trio_projectx.journal.recorder import open_recorder
from trio_projectx.journal.seal import Sealer
from trio_projectx.journal.writer import JournalWriter, Rows
from trio_projectx.market import PriceGrid, TradeBatch
from trio_projectx.replaying.files import Record
from trio_projectx.simulator import open_simulator

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size("0.25")
T0 = 1_787_172_660_000_000_000
S = 10**9
DAY = 86_400 * S
#: What `aggregate` has of the columns of a stream's table.
SHARED = [
    "start", "end", "open", "high", "low", "close", "volume", "trades", "trade_date", "buy_volume", "sell_volume",
    "vwap", "first_ts", "last_ts",
]  # fmt: skip


def batch(first: int, count: int, *, step_ns: int = S // 10, ts_recv: int | None = None) -> TradeBatch:
    numbers = range(first, first + count)
    stamps = [T0 + n * step_ns for n in numbers]
    return TradeBatch(
        MNQ,
        stamps,
        [80_000 + n * 7 % 97 for n in numbers],
        [1 + n % 5 for n in numbers],
        [n % 2 for n in numbers],
        stamps[-1] if ts_recv is None else ts_recv,
    )


async def journal(path: Path, batches: int = 100, rows: int = 20) -> None:
    """Two seconds of trades in each batch."""
    async with open_recorder(path, options=px.JournalOptions(linger_s=0.01), tell=pytest.fail) as recorder:
        recorder.instrument(MNQ, GRID, T0)
        for number in range(batches):
            recorder.trades(batch(number * rows, rows), GRID)


async def test_a_journal_of_trades_gives_the_bars_of_then(tmp_path: Path, autojump_clock: MockClock) -> None:
    frames, then = ("1s", "5s", "1m"), Got()
    async with running() as (sim, gateway), recording(gateway, tmp_path, autojump_clock, ("trades",)):
        async with gateway.open_bars("MNQ", *frames, events=True) as bars:
            with trio.move_on_after(90.0123):
                await then.read(bars)
            then.look(bars)
    again, counts = await replayed(tmp_path, "MNQ", frames, events=True)
    assert again.items == then.items
    assert again.bytes == then.bytes
    assert again.forming == then.forming
    assert counts.market.ledger.balanced
    with pytest.raises(px.ConfigError, match="no frames to play"):
        await replayed(tmp_path, "MNQ", frames, source="frames")
    assert sim.contract_id == MNQ


async def test_quotes_of_a_journal_come_between_the_trades(tmp_path: Path, autojump_clock: MockClock) -> None:
    then: list[px.Quote] = []
    what = ("trades", "quotes")
    async with running() as (_, gateway), recording(gateway, tmp_path, autojump_clock, what):
        async with (
            gateway.open_trades("MNQ"),
            gateway.open_quotes("MNQ", overflow=px.Overflow.ERROR) as quotes,
        ):
            with trio.move_on_after(10.0123):
                async for quote in quotes:
                    then.append(quote)
    again: list[px.Quote] = []
    async with px.open_replay(tmp_path) as replay, replay.open_quotes("MNQ") as quotes:
        async for quote in quotes:
            assert isinstance(quote, px.Quote)
            again.append(quote)
    assert again == then
    assert len(then) > 50


@pytest.mark.parametrize("speed", [None, 100_000])
async def test_a_parquet_file_gives_what_aggregate_gives(
    tmp_path: Path, autojump_clock: MockClock, speed: float | None
) -> None:
    path = tmp_path / "trades.parquet"
    n = 50_000
    table = pa.table(
        {
            "ts_event": pa.array([T0 + i * S // 7 + i % 3 for i in range(n)], pa.int64()),
            "price": [(80_000 + i * 7 % 97) / 4 for i in range(n)],
            "volume": [1 + i % 5 for i in range(n)],
            "side": pa.array([i % 2 for i in range(n)], pa.int8()),
        }
    )
    pq.write_table(table, path, row_group_size=10_000)
    frames = ("1s", "1m", "1h")
    anchor = px.Anchor.utc()
    got = Got()
    async with px.open_replay(path, speed, contract=MNQ) as replay:
        async with replay.open_bars("MNQ", *frames, anchor=anchor) as bars:
            await got.read(bars)
            for frame in frames:
                mine = bars.table(frame).select(SHARED)
                whole = px.bars.aggregate(table, frame, anchor=anchor, tick_size=0.25).select(SHARED)
                assert mine.equals(whole.slice(0, mine.num_rows).cast(mine.schema))
                last = bars.forming(frame)
                assert last is not None
                assert last.start == whole["start"].cast(pa.int64())[-1].as_py()
                assert mine.num_rows == whole.num_rows - 1
    assert len(got.items) > 7000


async def test_what_no_trade_can_be_is_rejected_in_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    rows = [(0, 100.0, 1), (1, 100.1, 1), (2, -5.0, 1), (3, 100.25, 0), (4, float("nan"), 2), (5, 101.0, 2)]
    table = {
        "ts_event": pa.array([T0 + at * S for at, _, _ in rows], pa.int64()),
        "price": [price for _, price, _ in rows],
        "volume": [volume for _, _, volume in rows],
    }
    pq.write_table(pa.table(table), path)
    async with px.open_replay(path, contract=MNQ) as replay, replay.open_trades("MNQ") as trades:
        got = [trade async for trade in trades]
        (counts,) = replay.statistics().market.contracts
        assert [trade.price for trade in got] == [100.0, 101.0]
        rejected = counts.rejected
        assert (rejected.off_grid, rejected.price_not_positive, rejected.size, rejected.total) == (2, 1, 1, 4)
        assert len(replay.rejections("MNQ")) == 3
    for column, message in (("price", "no column price"), ("volume", "no column volume")):
        pq.write_table(pa.table({k: v for k, v in table.items() if k != column}), path)
        with pytest.raises(px.ConfigError, match=message):
            async with px.open_replay(path, contract=MNQ):
                pass
    pq.write_table(pa.table({**table, "price": [None, *table["price"][1:]]}), path)
    with pytest.raises(px.ConfigError, match="missing"):
        async with px.open_replay(path, contract=MNQ) as replay, replay.open_trades("MNQ") as trades:
            await trades.receive()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": -1}, "speed must be"),
        ({"speed": float("nan")}, "speed must be"),
        ({"source": "all"}, "source must be"),
        ({"contract": MNQ}, "for a Parquet file"),
        ({}, "no trades to play"),
    ],
)
async def test_what_cannot_be_played_is_said(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(px.ConfigError, match=message):
        async with px.open_replay(tmp_path, **options):  # type: ignore[arg-type]
            pass


async def test_contracts_are_those_of_the_record(tmp_path: Path) -> None:
    await journal(tmp_path, 3)
    async with px.open_replay(tmp_path) as replay:
        for name in ("ES", "CON.F.US.MNQ.Z26", "CON.F.US.EP.U26"):
            with pytest.raises(px.ContractError, match=f"it has {MNQ}"):
                async with replay.open_trades(name):
                    pass
        with pytest.raises(px.ContractError):
            async with replay.open_trades("no such thing"):
                pass
        async with replay.open_trades(MNQ) as trades:
            assert (await trades.receive()).ts_event == T0


async def test_a_journal_that_is_being_written_is_played_to_its_last_acknowledged_batch(
    tmp_path: Path,
) -> None:
    options = px.JournalOptions(linger_s=0.0)
    async with open_recorder(tmp_path, options=options, tell=pytest.fail) as recorder:
        for number in range(10):
            recorder.trades(batch(number * 20, 20), GRID)
        with trio.fail_after(5):
            while recorder.statistics().written < 200:
                await trio.sleep(0.01)
        (segment,) = (tmp_path / "trades").rglob("*.arrows")
        got, _ = await replayed(tmp_path, "MNQ", ("1s",))
        with segment.open("ab") as file:
            file.write(b"half a batch, whose writer was killed")
        again, _ = await replayed(tmp_path, "MNQ", ("1s",))
    assert len(got.items) == len(again.items) == 19


async def test_a_file_that_is_sealed_while_it_is_waited_for_is_found_again(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, px.JournalOptions(segment_bytes=1), Disk(), lambda: 0.0, lambda: T0)
    place = Place("trades", MNQ, datetime.date(2026, 8, 19))
    for number in range(4):
        columns = [list(column) for column in trade_columns(batch(number * 5, 5), GRID, number)]
        writer.write([Rows(place, columns)])  # type: ignore[arg-type]
    writer.close()
    for taken in range(5):
        folder = tmp_path.parent / f"copy{taken}"
        shutil.copytree(tmp_path, folder)
        record = Record(folder, "trades", MNQ, 100)
        pieces = record.pieces()
        got = [next(pieces) for _ in range(taken)]
        Sealer(folder, Disk()).seal(place)
        got += pieces
        stamps = [ts for each in got for ts in each["ts_event"].to_pylist()]  # type: ignore[index, union-attr]
        assert stamps == batch(0, 20).ts_event, taken
        shutil.rmtree(folder)


def spoil(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 32] = bytes(each ^ 0x55 for each in data[at : at + 32])
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", ["*.parquet", "*.arrows"])
async def test_a_damaged_file_is_told_and_is_a_gap(tmp_path: Path, suffix: str) -> None:
    options = px.JournalOptions(linger_s=0.0, segment_bytes=5_000)
    if suffix == "*.parquet":
        for day in range(3):
            async with open_recorder(tmp_path, options=px.JournalOptions(), tell=pytest.fail) as recorder:
                if day:
                    recorder._numbers[MNQ] = day * 50 - 1
                for n in range(50):
                    recorder.trades(batch(day * 1000 + n * 20, 20, ts_recv=T0 + day * DAY), GRID)
    else:
        writer = JournalWriter(tmp_path, options, Disk(), lambda: 0.0, lambda: T0)
        place = Place("trades", MNQ, datetime.date(2026, 8, 19))
        for number in range(150):
            columns = [list(column) for column in trade_columns(batch(number * 20, 20), GRID, number)]
            writer.write([Rows(place, columns)])  # type: ignore[arg-type]
        writer.close()
    found = sorted((tmp_path / "trades").rglob(suffix))
    spoil(found[1], 0.4)
    async with px.open_replay(tmp_path) as replay, replay.open_events() as events:
        async with replay.open_bars("MNQ", "1s", events=True) as bars:
            items = [item async for item in bars]
        told = [event async for event in events]
        (damaged,) = [each for each in told if isinstance(each, px.JournalDamaged)]
    assert damaged.name == str(found[1].relative_to(tmp_path))
    (gap,) = [item for item in items if isinstance(item, px.Gap)]
    assert gap.cause == "trades are missing in the record"
    partial = [item for item in items if isinstance(item, px.Bar) and item.partial]
    assert len(partial) in (2, 3)
    whole = [item for item in items if isinstance(item, px.Bar) and not item.partial]
    assert all(bar.trades == 10 for bar in whole)
    assert len(whole) > 150


async def test_two_recordings_are_played_one_after_the_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    then: list[object] = []
    for _ in range(2):
        async with running() as (_, gateway), recording(gateway, tmp_path, autojump_clock):
            async with gateway.open_trades("MNQ", events=True) as trades:
                with trio.move_on_after(10.0123):
                    async for item in trades:
                        then.append(item)
        await trio.sleep(100)
    for source in ("frames", "trades"):
        again: list[object] = []
        async with px.open_replay(tmp_path, source=source) as replay:  # type: ignore[arg-type]
            async with replay.open_trades("MNQ", events=True) as trades:
                async for item in trades:
                    again.append(item)
        (gap,) = [item for item in again if isinstance(item, px.Gap)]
        assert gap.end - gap.start > 90 * S
        assert "another recording begins" in gap.cause
        again.remove(gap)
        assert again == then


async def test_frames_that_were_lost_are_a_gap(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A queue that is full for a moment; what comes behind it is played on."""
    options = px.JournalOptions(linger_s=0.05, sync_s=None, slow_s=3600.0)
    async with running() as (_, gateway):
        async with recording(gateway, tmp_path, autojump_clock, ("frames",), options) as recorder:
            async with gateway.open_trades("MNQ", events=True) as trades:
                await trio.sleep(5.0123)
                queue = recorder._queue
                offered, kept = queue.offered, queue._options
                queue._options = attrs.evolve(options, queue_rows=1, queue_chars=1)
                await trio.sleep(5)
                queue._options = kept
                lost, queue.lost = (
                    queue.lost,
                    0,
                )  # told, and counted: as the helper checks that nothing else is
                queue.offered -= lost
                assert lost > 50 < queue.offered - offered + lost
                await trio.sleep(5)
                assert trades.statistics().queued > 100
    async with px.open_replay(tmp_path) as replay, replay.open_trades("MNQ", events=True) as trades:
        items = [item async for item in trades]
    (gap,) = [item for item in items if isinstance(item, px.Gap)]
    assert gap.cause == f"{lost} frames are missing in the record"
    assert 4 * S < gap.end - gap.start < 6.5 * S


def let_go(root: Path, date: str) -> int:
    gone = list(root.rglob(f"date={date}"))
    for folder in gone:
        shutil.rmtree(folder)
    return len(gone)


async def test_a_record_whose_first_dates_were_let_go_begins_with_the_next(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    origin, midnight = trio.current_time(), 1_787_184_000_000_000_000

    def wall() -> int:
        return midnight - 10 * S + round((trio.current_time() - origin) * S)

    async with open_simulator(port=None, seed=5, wall_clock=wall) as sim:
        config = attrs.evolve(px.GatewayConfig.simulated(sim.url), connect=sim.connect, wall_clock=wall)
        async with px.open_gateway(config) as gateway, recording(gateway, tmp_path, autojump_clock):
            async with gateway.open_bars("MNQ", "1s") as bars:
                await trio.sleep(20.0123)
                then = bars.table("1s")
    for source in ("frames", "trades"):
        whole, _ = await replayed(tmp_path, "MNQ", ("1s",), source=source)
        assert whole.tables["1s"].num_rows == then.num_rows
    assert let_go(tmp_path, "2026-08-19") == 3
    for source in ("frames", "trades"):
        rest, _ = await replayed(tmp_path, "MNQ", ("1s",), source=source)
        n = rest.tables["1s"].num_rows
        assert 8 <= n <= 10
        mine, theirs = rest.tables["1s"].slice(1), then.slice(then.num_rows - n + 1)
        assert mine["start"].equals(theirs["start"])
        assert mine["volume"].equals(theirs["volume"])


async def test_a_replay_has_every_method_of_a_gateway_or_refuses_it(tmp_path: Path) -> None:
    """A method that a gateway gets is to be thought about here, too."""
    await journal(tmp_path, 3)
    same = {
        "open_bars",
        "open_trades",
        "open_quotes",
        "open_depth",
        "open_book",
        "open_events",
        "rejections",
        "quarantine",
        "recent_trades",
        "watch_loop",
    }
    same |= {"on_bar", "on_trade", "on_quote", "on_depth", "on_book", "on_event", "run_handlers", "handlers"}
    other = {"wait_connected", "statistics"}
    refused: dict[str, Callable[[px.Replay], object]] = {
        "open_user_events": lambda replay: replay.open_user_events(),
        "on_user_event": lambda replay: replay.on_user_event(print),
        "open_recorder": lambda replay: replay.open_recorder(tmp_path),
        "history": lambda replay: replay.history("MNQ", "1m", count=1),
        "refresh_token": lambda replay: replay.refresh_token(),
        "health": lambda replay: replay.health(),
        "coverage": lambda replay: replay.coverage("MNQ"),
        "rest": lambda replay: replay.rest,
    }
    public = {name for name in dir(px.Gateway) if not name.startswith("_")}
    assert public == same | other | set(refused)
    async with px.open_replay(tmp_path) as replay:
        await replay.wait_connected()
        assert not any(name in vars(px.Replay) for name in same)
        for call in refused.values():
            with pytest.raises(px.ConfigError, match="a replay has no"):
                result = call(replay)
                if inspect.isawaitable(result):
                    await result


async def test_it_begins_with_the_first_reader_or_when_it_is_told_to(tmp_path: Path) -> None:
    await journal(tmp_path, 10)
    for autostart in (True, False):
        async with px.open_replay(tmp_path, autostart=autostart) as replay:
            async with replay.open_trades("MNQ") as one, replay.open_trades("MNQ") as two:
                assert replay.at is None
                if not autostart:
                    with trio.move_on_after(0.05) as scope:
                        await one.receive()
                    assert scope.cancelled_caught
                    replay.start()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(replay.wait_ended)
                    assert len([trade async for trade in one]) == 200
                assert len([trade async for trade in two]) == 200
                assert replay.has_ended
            assert replay.at == batch(180, 20).ts_recv
            with pytest.raises(trio.ClosedResourceError, match="the replay has ended"):
                async with replay.open_trades("MNQ"):
                    pass


async def test_a_reader_that_is_slow_is_waited_for(tmp_path: Path) -> None:
    await journal(tmp_path, 200)
    async with px.open_replay(tmp_path) as replay, replay.open_trades("MNQ", capacity=3) as trades:
        seen = 0
        async for _ in trades:
            seen += 1
            if seen % 500 == 0:
                await trio.sleep(0.01)
        assert seen == 4000
        counts = trades.statistics()
        assert (counts.dropped, counts.policy) == (0, px.Overflow.BLOCK)
        assert counts.blocked


async def test_what_the_block_raises_comes_out_and_leaving_early_is_prompt(tmp_path: Path) -> None:
    await journal(tmp_path, 200)
    with pytest.raises(ValueError, match="mine"):
        async with px.open_replay(tmp_path, 1.0) as replay, replay.open_trades("MNQ") as trades:
            await trades.receive()
            raise ValueError("mine")


async def test_a_record_of_other_limits_is_played_with_its_own(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with running(limits=px.Limits(lateness_ms=777.0)) as (_, gateway):
        async with recording(gateway, tmp_path, autojump_clock), gateway.open_trades("MNQ"):
            await trio.sleep(2.0123)
    async with px.open_replay(tmp_path) as replay:
        assert replay._script.limits.lateness_ms == 777.0
    state = StateMark("x", 0, limits_in_force(px.Limits()), ())
    assert "lateness_ms" in write_mark(state)
