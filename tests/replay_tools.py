"""A gateway's record, made in virtual time, and a look at what a stream gives."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pyarrow as pa
from trio.testing import MockClock

import trio_projectx as px

OPTIONS = px.JournalOptions(linger_s=0.05, sync_s=None, slow_s=3600.0)


@asynccontextmanager
async def recording(
    gateway: px.Gateway,
    path: Path,
    clock: MockClock,
    what: Sequence[str] = ("frames", "trades", "quotes"),
    options: px.JournalOptions = OPTIONS,
) -> AsyncGenerator[px.Recorder]:
    """Record. While threads work at its beginning and end virtual time stands still: it would jump over both."""
    threshold, clock.autojump_threshold = clock.autojump_threshold, math.inf
    async with gateway.open_recorder(path, what=what, options=options) as recorder:  # type: ignore[arg-type]
        clock.autojump_threshold = threshold
        yield recorder
        clock.autojump_threshold = math.inf
    clock.autojump_threshold = threshold
    counts = recorder.statistics()
    assert (counts.lost, counts.written) == (0, counts.offered)


@attrs.define
class Got:
    """What a stream of bars gave, and what was in its tables when the record ended."""

    items: list[object] = attrs.Factory(list)
    tables: dict[str, pa.Table] = attrs.Factory(dict)
    forming: dict[str, object] = attrs.Factory(dict)

    async def read(self, stream: px.Stream[object]) -> None:
        async for item in stream:
            self.items.append(item)

    def look(self, bars: px.BarStream[object]) -> None:
        for frame in bars.timeframes:
            self.tables[frame] = bars.table(frame, prices="ticks")
            self.forming[frame] = bars.forming(frame)

    @property
    def bytes(self) -> dict[str, bytes]:
        """The tables as Arrow IPC."""
        return {frame: ipc(table) for frame, table in self.tables.items()}


def ipc(table: pa.Table) -> bytes:
    """The values, byte by byte. They are copied first: behind a bitmap's last bit a snapshot may hold anything."""
    table = table.take(pa.array(range(table.num_rows), pa.int64()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


async def replayed(path: Path, contract: str, frames: Sequence[str], *, speed: float | None = None,
                   source: str | None = None, **options: object) -> tuple[Got, px.GatewayStatistics]:  # fmt: skip
    """Play a record into one stream of bars, read to its end."""
    got = Got()
    async with px.open_replay(path, speed, source=source) as replay:  # type: ignore[arg-type]
        async with replay.open_bars(contract, *frames, **options) as bars:  # type: ignore[call-overload]
            await got.read(bars)
            got.look(bars)
            assert replay.has_ended
        return got, replay.statistics()
