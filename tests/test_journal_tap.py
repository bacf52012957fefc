"""A gateway that records: what goes into the journal, and that nothing of it is in the way of what is live."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import trio
from replay_tools import OPTIONS, recording, replayed
from replays import prove
from test_gateway import running
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_projectx as px
from trio_projectx.flow.marks import (
    GapMark,
    LineMark,
    LossMark,
    StateMark,
    WakeMark,
    limits_in_force,
    read_mark,
    recorded_limits,
    write_mark,
)
from trio_projectx.flow.taps import Tap, Taps
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import QUARANTINE, files, places
from trio_projectx.journal.recorder import open_recorder
from trio_projectx.journal.scan import dataset
from trio_projectx.market import DepthKind, DepthRow, DepthUpdate, PriceGrid
from trio_projectx.simulator import Fault

MNQ = "CON.F.US.MNQ.U26"
T0 = 1_787_172_660_000_000_000


def rows(path: Path, kind: str) -> list[dict[str, object]]:
    return dataset(path, kind).to_table().to_pylist()  # type: ignore[arg-type]


async def test_what_is_received_is_recorded_and_only_what_was_asked_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Two recorders of one gateway, into folders of their own."""
    trades: list[px.Trade] = []
    quotes: list[px.Quote] = []
    async with running() as (_, gateway):
        async with (
            recording(gateway, tmp_path / "all", autojump_clock),
            recording(gateway, tmp_path / "quotes", autojump_clock, ("quotes",)),
        ):
            async with (
                gateway.open_trades("MNQ") as trade_stream,
                gateway.open_quotes("MNQ", overflow=px.Overflow.ERROR) as quote_stream,
            ):
                await trio.sleep(5.0123)
                await wait_all_tasks_blocked()
                trades += [trade_stream.receive_nowait() for _ in range(trade_stream.statistics().queued)]
                quotes += [quote_stream.receive_nowait() for _ in range(quote_stream.statistics().queued)]
        texts = gateway.statistics().texts
    recorded = rows(tmp_path / "all", "trades")
    assert [(row["ts_event"], row["price"], row["volume"], row["side"]) for row in recorded] == [
        (trade.ts_event, trade.price, trade.volume, trade.side) for trade in trades
    ]
    assert sorted({row["batch"] for row in recorded}) == list(range(len({row["batch"] for row in recorded})))  # type: ignore[type-var]
    for folder in ("all", "quotes"):
        assert [(row["ts_event"], row["bid"]) for row in rows(tmp_path / folder, "quotes")] == [
            (quote.ts_event, quote.bid) for quote in quotes
        ]
    frames = [row for row in rows(tmp_path / "all", "frames") if row["what"] == "frame"]
    assert 0 <= texts - len(frames) <= 3  # what came when the recorders had gone
    assert {place.kind for place in places(tmp_path / "quotes")} == {"quotes", "instruments"}
    (grid,) = {(row["num"], row["den"]) for row in rows(tmp_path / "quotes", "instruments")}
    assert grid == (1, 4)


async def test_no_secret_is_in_a_record(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with running() as (sim, gateway), recording(gateway, tmp_path, autojump_clock):
        async with gateway.open_trades("MNQ"), gateway.open_user_events():
            await trio.sleep(2)
            await gateway.refresh_token()
            await trio.sleep(2)
            sim.inject(Fault("tcp_reset"))
            await trio.sleep(3.0123)
        token = sim.mint_token()
    text = "".join(str(row["text"]) for row in rows(tmp_path, "frames"))
    assert len(text) > 5000
    for secret in (token.split(".")[0], "simulator-key", "access_token", "Bearer"):
        assert secret not in text


@pytest.mark.parametrize("what", [(), ("all",), "frames", ("frames", "deep")])
async def test_what_cannot_be_recorded_is_said(
    tmp_path: Path, autojump_clock: MockClock, what: object
) -> None:
    async with running() as (_, gateway):
        with pytest.raises(px.ConfigError, match="what is recorded is some of frames, trades, quotes, depth"):
            async with gateway.open_recorder(tmp_path, what=what):  # type: ignore[arg-type]
                pass
        with pytest.raises(px.ConfigError, match="options must be JournalOptions"):
            async with gateway.open_recorder(tmp_path, options={}):  # type: ignore[arg-type]
                pass


class Full:
    """Every disk of ours, full from one instant to another."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        write = Disk.write

        def full(disk: Disk, fd: int, data: bytes) -> int:
            if self.is_full:
                write(disk, fd, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(disk, fd, data)

        patch.setattr(Disk, "write", full)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.01)


async def test_a_full_disk_is_told_and_costs_no_trade_and_what_was_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS.md row 106, in real time: the gateway is live, the disk is full, and has room again."""
    disk = Full(monkeypatch)
    options = px.JournalOptions(linger_s=0.01, retry_s=0.05, sync_s=None)
    async with px.simulator.open_simulator(seed=5, speed=20) as sim:
        async with (
            px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
            gateway.open_events() as events,
        ):
            async with gateway.open_recorder(tmp_path, options=options) as recorder:
                async with gateway.open_trades("MNQ", events=True, capacity=1_000_000) as trades:
                    await until(lambda: recorder.statistics().written > 100)
                    disk.is_full = True
                    await until(lambda: recorder.statistics().is_failed)
                    kept, before = recorder.statistics().written, trades.statistics().queued
                    await until(lambda: trades.statistics().queued > before + 100)
                    assert recorder.statistics().written == kept
                    disk.is_full = False
                    await until(lambda: recorder.statistics().written > kept + 200)
                    items = [trades.receive_nowait() for _ in range(trades.statistics().queued)]
            told = [events.receive_nowait() for _ in range(events.statistics().queued)]
            counts = recorder.statistics()
    assert not [item for item in items if isinstance(item, px.Gap)]  # the feed has not noticed
    failed = [event for event in told if isinstance(event, px.JournalFailed)]
    assert (failed[0].reason, failed[0].journal) == (os.strerror(errno.ENOSPC), str(tmp_path))
    assert any(isinstance(event, px.JournalRecovered) for event in told)
    assert counts.offered == counts.written + counts.lost
    assert counts.lost > 0
    written = sum(
        dataset(tmp_path, kind).count_rows() for kind in ("frames", "trades", "quotes", "instruments")
    )  # type: ignore[arg-type]
    assert counts.written <= written <= counts.offered
    again: list[px.Trade | px.Gap] = []
    async with px.open_replay(tmp_path) as replay, replay.open_trades("MNQ", events=True) as stream:
        async for item in stream:
            again.append(item)
    gaps = [item for item in again if isinstance(item, px.Gap)]
    assert gaps
    assert all("frames are missing in the record" in gap.cause for gap in gaps)
    mine = {item for item in items if isinstance(item, px.Trade)}
    both = [item for item in again if isinstance(item, px.Trade) and item in mine]
    assert len(both) > 100
    assert [item.ts_event for item in both] == sorted(item.ts_event for item in both)


async def test_a_disk_that_hangs_costs_no_trade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS.md row 108, in real time: a flood of 20,000 trades comes through while a write does not return."""
    hold, write, count = threading.Event(), Disk.write, 20_000

    def hung(disk: Disk, fd: int, data: bytes) -> int:
        hold.wait(30)
        return write(disk, fd, data)

    monkeypatch.setattr(Disk, "write", hung)
    contract = "CON.F.US.GCE.Z26"
    tape = pa.table(
        {
            "ts_event": pa.array([T0 + n * 10_000_000 for n in range(count)], pa.int64()),
            "price": [2000.0 + n % 7 / 10 for n in range(count)],
            "volume": [1 + n % 3 for n in range(count)],
        }
    )
    options = px.JournalOptions(linger_s=0.01, slow_s=0.05)
    async with px.simulator.open_simulator(replay=tape, contract=contract, speed=0) as sim:
        async with (
            px.open_gateway(px.GatewayConfig.simulated(sim.url)) as gateway,
            gateway.open_events() as events,
        ):
            async with gateway.open_recorder(tmp_path, options=options) as recorder:
                async with gateway.open_trades(contract, capacity=count) as trades:
                    seen = 0
                    with trio.fail_after(20):
                        while seen < count:
                            await trio.sleep(0.01)
                            seen = trades.statistics().queued
                    assert recorder.statistics().written == 0
                    hold.set()
                    await until(lambda: recorder.statistics().written >= count)
            told = [events.receive_nowait() for _ in range(events.statistics().queued)]
    assert any(isinstance(event, px.JournalSlow) for event in told)
    assert not any(isinstance(event, px.JournalOverflowed | px.JournalFailed) for event in told)
    assert dataset(tmp_path, "trades").count_rows() == count


async def test_a_file_that_was_damaged_is_quarantined_when_the_gateway_records_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """FAULTS.md row 108: told, moved away, and the rows before the damage are played."""
    options = px.JournalOptions(linger_s=0.05, sync_s=None, slow_s=3600.0)
    async with (
        running() as (_, gateway),
        recording(gateway, tmp_path, autojump_clock, options=options) as recorder,
    ):
        async with gateway.open_trades("MNQ"):
            data, mark = b"", b"trio_projectx.mark"
            while recorder.statistics().written < 200 or data.count(mark) < 3:  # the disk works in real time
                await trio.sleep(1.0123)
                for segment in (tmp_path / "frames").rglob("*.arrows"):
                    data = segment.read_bytes()
    for part in (tmp_path / "frames").rglob("*.parquet"):
        part.unlink()
    broken = bytearray(data)
    # In the second batch: behind what was acknowledged last a batch may just be written, and is only cut.
    middle = (data.index(mark) + data.index(mark, data.index(mark) + 1)) // 2
    broken[middle : middle + 16] = b"\xff" * 16
    segment.write_bytes(broken)
    async with running() as (_, gateway), gateway.open_events() as events:
        async with recording(gateway, tmp_path, autojump_clock, options=options):
            told = await events.receive()
            while not isinstance(told, px.JournalQuarantined):  # virtual time goes on while the disk works
                told = await events.receive()
            assert told.name.startswith("frames/")
    assert dataset(tmp_path, "frames").count_rows() > told.rows_saved
    assert len(files(tmp_path / QUARANTINE)) == 1
    got, _ = await replayed(tmp_path, "MNQ", ("1s",))
    assert len(got.items) <= 4


class Clumsy:
    """A tap that fails."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            self.calls += 1
            raise ArithmeticError("a bug")

        return fail


async def test_a_tap_that_fails_is_told_once_and_costs_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as (_, gateway):
        tap = Clumsy()
        gateway._parts.taps.attach(tap)  # type: ignore[arg-type]
        async with gateway.open_bars("MNQ", "1s") as bars:
            for _ in range(5):
                await bars.receive()
            assert gateway.statistics().market.ledger.balanced
    assert tap.calls == 1
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "records nothing more" in record.getMessage()


def test_where_nobody_records_nothing_is_called() -> None:
    taps, looks = Taps(), list[Tap]()
    taps.show(looks.append)
    assert (taps.is_open, looks) == (False, [])


@pytest.mark.parametrize(
    "mark",
    [
        LineMark("join", 3, "ContractTrades", MNQ, "a \x00\x1f\u2028cause", T0, 1),
        WakeMark(MNQ, T0, 0.1 + 0.2, 1e9 + 1 / 3),
        GapMark(MNQ, T0),
        LossMark("why"),
        StateMark("run", 3, limits_in_force(px.Limits(lateness_ms=0.1)), ()),
    ],
)
def test_marks_come_back_as_they_were(mark: LineMark | WakeMark | GapMark | LossMark | StateMark) -> None:
    assert read_mark(write_mark(mark)) == mark


@pytest.mark.parametrize("text", ["", "{}", '{"type":"later"}', '{"type":"gap"}', "[" * 9999, "\ud800"])
def test_what_is_no_mark_is_refused(text: str) -> None:
    with pytest.raises(px.ProtocolError):
        read_mark(text)


def test_limits_come_back_also_from_another_version() -> None:
    limits = px.Limits(lateness_ms=0.1, volume_band=None, crossed_quotes="drop")
    mark = StateMark("run", 0, {**limits_in_force(limits), "of_a_later_version": 3}, ())
    assert recorded_limits(mark) == limits
    with pytest.raises(px.ProtocolError):
        recorded_limits(StateMark("run", 0, {"batches_in_flight": 0}, ()))


async def test_depth_is_a_kind_of_rows(tmp_path: Path) -> None:
    """Nothing subscribes to it yet; who has it can record it."""
    update = DepthUpdate(
        (DepthRow(DepthKind.BID, T0, 80_001, 7), DepthRow(DepthKind.RESET, T0 + 1, None, 0)), T0 + 5, "open"
    )
    async with open_recorder(tmp_path, options=OPTIONS, tell=pytest.fail) as recorder:
        assert recorder.depth(MNQ, update, PriceGrid.from_tick_size("0.25"))
    found = [(row["what"], row["price"], row["size"], row["ts_recv"]) for row in rows(tmp_path, "depth")]
    assert found == [(2, 20000.25, 7, T0 + 5), (6, None, 0, T0 + 5)]


def test_many_trades_are_played_in_the_memory_of_a_tenth() -> None:
    found = prove("table", 300_000)
    assert found.faults() == []
