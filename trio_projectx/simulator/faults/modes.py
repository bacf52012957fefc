"""States that a fault can put a connection into, and the pump behind the slow ones."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import trio

from trio_projectx.simulator.faults.armed import Armed
from trio_projectx.simulator.faults.catalogue import RECORDS
from trio_projectx.simulator.faults.frames import TEXT, read_frame, records_in, text_frame
from trio_projectx.simulator.faults.progress import Progress

RecordFilter: TypeAlias = Callable[[list[str]], list[str]]
"""Takes the records of one text and returns those that go out; the same list object if nothing changed."""
FrameFilter: TypeAlias = Callable[[bytes], list[bytes]]

#: What a slow connection holds, as the buffers on a real way do; then its sender waits.
_PUMP_BYTES: Final = 64 * 1024
_STEPS_PER_S: Final = 20


@attrs.define(slots=True, eq=False, kw_only=True)
class Mode:
    """A state of a line; what is not set is as always."""

    armed: Armed
    swallows: bool = False
    """What is sent goes nowhere."""
    is_deaf: bool = False
    """Nothing is read."""
    keeps_open: bool = False
    """The stream is not closed when the server is done with it."""
    bytes_per_s: int = 0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    chunk_bytes: int = 0
    records: RecordFilter | None = None
    frames: FrameFilter | None = None

    @property
    def needs_pump(self) -> bool:
        """Whether what is sent has to wait on its way."""
        return bool(self.bytes_per_s or self.latency_s or self.jitter_s)


def filtered(data: bytes, modes: Sequence[Mode], progress: Progress) -> list[bytes]:
    """Return what goes out instead of the frame ``data`` of a WebSocket; count its records."""
    frame = read_frame(data)
    if frame is None:
        return [data]
    pieces = [data]
    if frame.opcode == TEXT and progress.phase in RECORDS:
        records = kept = records_in(frame.payload)
        progress.records_out += len(records)
        for mode in list(modes):
            kept = mode.records(kept) if mode.records else kept
        if kept is not records:
            pieces = [text_frame(*kept)] if kept else []
    for mode in list(modes):
        if mode.frames:
            pieces = [out for piece in pieces for out in mode.frames(piece)]
    return pieces


def in_chunks(data: bytes, size: int) -> Iterator[bytes]:
    """Yield ``data`` in parts of ``size`` bytes; whole if that is 0."""
    step = size or max(1, len(data))
    for at in range(0, len(data), step):
        yield data[at : at + step]


class Pump:
    """What is on its way over a slow connection: in order, late, at a rate. It ends with the last slow mode."""

    def __init__(self, modes: Sequence[Mode]) -> None:
        self._modes = modes
        self._queue: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._is_over = False
        self._is_finishing = False
        self._moved = trio.lowlevel.ParkingLot()
        self._randoms: dict[str, random.Random] = {}

    async def put(self, data: bytes) -> bool:
        """Take ``data`` in, waiting while `_PUMP_BYTES` are on their way; False if nothing is slow any more.

        Then everything put in before is on its way already, and ``data`` is the caller's to send.
        """
        await trio.lowlevel.checkpoint()
        while self._bytes >= _PUMP_BYTES and not self._is_over:
            await self._moved.park()
        if self._is_over:
            return False
        self._queue.append((trio.current_time() + self._late_s(), data))
        self._bytes += len(data)
        self._moved.unpark_all()
        return True

    def wake(self) -> None:
        """Look again whether any mode is slow."""
        self._moved.unpark_all()

    async def finish(self) -> None:
        """Take nothing more in; return when nothing is on its way."""
        self._is_finishing = True
        self._moved.unpark_all()
        while not self._is_over:
            await self._moved.park()

    def _late_s(self) -> float:
        late = 0.0
        for mode in self._modes:
            seed = mode.armed.seed
            dice = self._randoms.setdefault(seed, random.Random(seed))
            late += max(0.0, mode.latency_s + mode.jitter_s * dice.uniform(-1, 1))
        return late

    async def run(self, push: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what is put in, until no mode is slow and nothing is on its way."""
        try:
            while self._queue or any(mode.needs_pump for mode in self._modes):
                if not self._queue:
                    if self._is_finishing:
                        return
                    await self._moved.park()
                    continue
                due, data = self._queue.popleft()
                await trio.sleep_until(due)
                await self._trickle(data, push)
                self._bytes -= len(data)
                self._moved.unpark_all()
        finally:
            self._is_over = True
            self._moved.unpark_all()

    async def _trickle(self, data: bytes, push: Callable[[bytes], Awaitable[None]]) -> None:
        rest = data
        while rest:
            rate = min((mode.bytes_per_s for mode in self._modes if mode.bytes_per_s), default=0)
            step = max(1, rate // _STEPS_PER_S) if rate else len(rest)
            await push(rest[:step])
            if rate:
                await trio.sleep(len(rest[:step]) / rate)
            rest = rest[step:]
