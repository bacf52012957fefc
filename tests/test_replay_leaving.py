"""A replay that is left before its end ends its streams, and with them whoever reads them, as a gateway does.

Virtual time jumps over the threads that read ahead: what is measured begins when something was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from trio.testing import MockClock

import trio_projectx as px

MNQ = "CON.F.US.MNQ.U26"
T0 = 1_787_172_660_000_000_000


@asynccontextmanager
async def playing(folder: Path, rows: int = 1000, speed: float | None = 1) -> AsyncGenerator[px.Replay]:
    path = folder / "trades.parquet"
    stamps = pa.array([T0 + n * 10**8 for n in range(rows)], pa.int64())
    pq.write_table(pa.table({"ts_event": stamps, "price": [100.0] * rows, "volume": [1] * rows}), path)
    async with px.open_replay(path, contract=MNQ, speed=speed) as replay:
        yield replay


class Readers:
    """What readers outside of a replay's block got, and how they ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def run_handlers(self, replay: px.Replay) -> None:
        await replay.run_handlers()
        self.ended.append("handlers")

    async def read(self, stream: px.Stream[object], name: str) -> None:
        async for _ in stream:
            pass
        self.ended.append(name)

    async def wait_ended(self, replay: px.Replay) -> None:
        with pytest.raises(trio.ClosedResourceError, match="was left before its end"):
            await replay.wait_ended()
        self.ended.append("waiting")


async def hangs(_: object) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("error", [None, KeyError])
async def test_all_who_read_are_told_however_it_is_left(
    tmp_path: Path, autojump_clock: MockClock, error: type[Exception] | None
) -> None:
    readers, got = Readers(), list[px.Trade]()
    try:
        async with trio.open_nursery() as outer:
            try:
                async with playing(tmp_path) as replay:
                    replay.on_trade(got.append, MNQ)
                    opened = replay.open_trades(MNQ), replay.open_events()
                    trades, events = [await each.__aenter__() for each in opened]
                    for start in (
                        (readers.run_handlers, replay),
                        (readers.read, trades, "trades"),
                        (readers.read, events, "events"),
                        (readers.wait_ended, replay),
                    ):
                        outer.start_soon(*start)
                    while len(got) < 6:
                        await trio.sleep(0.1)
                    if error is not None:
                        raise error
            finally:
                left = trio.current_time()
                with trio.move_on_after(5):
                    while len(readers.ended) < 4:
                        await trio.sleep(0.1)
                outer.cancel_scope.cancel()
                for each in reversed(opened):
                    await each.__aexit__(None, None, None)
    except* KeyError:
        assert error is not None
    assert sorted(readers.ended) == ["events", "handlers", "trades", "waiting"]
    assert trio.current_time() - left < 0.3
    assert 5 < len(got) < 1000
    assert not replay.has_ended
    assert [(each.state, each.balanced) for each in replay.handlers()] == [("idle", True)]


async def test_a_stream_that_is_asked_for_afterwards_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with playing(tmp_path) as replay:
        pass
    with trio.fail_after(1), pytest.raises(trio.ClosedResourceError):
        async with replay.open_trades(MNQ):
            pass
    with trio.fail_after(1):
        await replay.run_handlers()


async def test_a_handler_that_hangs_holds_the_leaving_for_the_grace_only(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    readers = Readers()
    async with trio.open_nursery() as outer:
        async with playing(tmp_path) as replay:
            one = replay.on_trade(hangs, MNQ, options=px.HandlerOptions(deadline_s=None))
            outer.start_soon(readers.run_handlers, replay)
            while not one.statistics().running:
                await trio.sleep(0.1)
            left = trio.current_time()
    assert readers.ended == ["handlers"]
    assert trio.current_time() - left == pytest.approx(0.5)
    assert one.statistics().skipped.left > 1


async def test_at_its_end_handlers_take_their_time_until_it_is_left(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    readers, got, is_played = Readers(), list[px.Trade](), trio.Event()

    async def slow(trade: px.Trade) -> None:
        await is_played.wait()
        await trio.sleep(1)
        got.append(trade)

    async with trio.open_nursery() as outer:
        async with playing(tmp_path, rows=10, speed=None) as replay:
            one = replay.on_trade(slow, MNQ, options=px.HandlerOptions(deadline_s=None))
            outer.start_soon(readers.run_handlers, replay)
            await replay.wait_ended()
            is_played.set()
            while len(got) < 6:
                await trio.sleep(0.1)
            await trio.sleep(0.6)
            left = trio.current_time()
    assert (readers.ended, len(got), one.statistics().skipped.left) == (["handlers"], 7, 3)
    assert trio.current_time() - left == pytest.approx(0.5)
    async with playing(tmp_path, rows=10, speed=None) as replay:
        replay.on_trade(slow, MNQ)
        await replay.run_handlers()
    assert len(got) == 17


async def test_a_stream_that_breaks_leaves_the_others_the_grace_in_a_replay_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with playing(tmp_path) as replay:
        replay.on_trade(hangs, MNQ, options=px.HandlerOptions(deadline_s=None))
        replay.on_trade(hangs, "NOPE")
        with pytest.raises(px.ContractError):
            await replay.run_handlers()
