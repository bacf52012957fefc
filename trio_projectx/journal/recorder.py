"""The recorder: what is handed to it is written by a thread, and whoever hands it over never waits."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar

import trio

from trio_projectx._events import (
    JournalEvent,
    JournalFailed,
    JournalOverflowed,
    JournalQuarantined,
    JournalRecovered,
    JournalSlow,
    Quote,
)
from trio_projectx._redact import escape
from trio_projectx.connection.bell import Bell
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place, date_of, places
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.queue import (
    JournalStatistics,
    Queue,
    depth_columns,
    quote_columns,
    trade_columns,
)
from trio_projectx.journal.retention import remove, survey, to_remove
from trio_projectx.journal.seal import Damage, Sealer, SealReport
from trio_projectx.journal.writer import Claim, JournalWriter, Rows
from trio_projectx.market import DepthUpdate, PriceGrid, TradeBatch

T = TypeVar("T")
_FOREVER: Final = float("inf")
_DEFAULT: Final = JournalOptions()
_DISK: Final = Disk()


class Recorder:
    """Takes trades, quotes and frames; made by `open_recorder`, which owns its task.

    The three that take return at once, True if there was room. They are for the thread that runs trio.
    """

    def __init__(
        self,
        root: Path,
        options: JournalOptions,
        disk: Disk,
        wall_clock: Callable[[], int],
        tell: Callable[[JournalEvent], None],
    ) -> None:
        self.root = self._root = root
        self._name = str(root)
        self._options = options
        self._disk = disk
        self._wall_clock = wall_clock
        self._tell = tell
        self._queue = Queue(options)
        self._numbers: dict[str, int] = {}
        self._bell = Bell()
        self._now_ns = wall_clock()  # a clock that is handed in may not be asked in a thread
        self._writer = JournalWriter(root, options, disk, time.monotonic, lambda: self._now_ns)
        self._sealer = Sealer(root, disk)
        # One thread, ours alone: a disk that hangs takes none from anybody, and no two calls overlap.
        self._threads = trio.CapacityLimiter(1)
        self._written = self._in_hand = 0
        self._failed_until = self._seal_after = -_FOREVER
        self._is_failed = self._is_closing = False
        self._lost_at_failure = 0
        self._scope = trio.CancelScope(shield=True)
        self._closed = trio.Event()

    def trades(self, batch: TradeBatch, grid: PriceGrid) -> bool:
        """Record valid trades, with the grid of their contract."""
        contract = batch.contract_id
        number = self._numbers[contract] = self._numbers.get(contract, -1) + 1
        columns = trade_columns(batch, grid, number)
        return self._took(self._queue.put("trades", contract, batch.ts_recv, columns, len(batch)))

    def missing(self, contract_id: str) -> None:
        """Leave a number out: trades may be missing before the next ones of a contract."""
        if contract_id in self._numbers:
            self._numbers[contract_id] += 1

    def quote(self, quote: Quote) -> bool:
        """Record the state of a quote."""
        columns = quote_columns(quote)
        return self._took(self._queue.put("quotes", quote.contract_id, quote.ts_recv, columns, 1))

    def depth(self, contract_id: str, update: DepthUpdate, grid: PriceGrid) -> bool:
        """Record the valid rows of one record of depth, with the grid of their contract."""
        columns = depth_columns(update, grid)
        return self._took(self._queue.put("depth", contract_id, update.ts_recv, columns, len(update.rows)))

    def instrument(self, contract_id: str, grid: PriceGrid, ts_recv: int) -> bool:
        """Record on which grid the prices of a contract lie."""
        columns = (ts_recv,), (grid.num,), (grid.den,)
        return self._took(self._queue.put("instruments", contract_id, ts_recv, columns, 1))

    def frame(
        self, hub: Literal["market", "user"], epoch: int, text: str, ts_recv: int, now: float = 0.0
    ) -> bool:
        """Record a text as a hub sent it. It holds no token: those are only sent, and never in a record."""
        return self._took(self._queue.put_text(f"hub.{hub}", ts_recv, epoch, now, "frame", text))

    def mark(self, text: str, ts_recv: int, now: float) -> bool:
        """Record a mark (`flow.marks`) among the frames of the market hub."""
        return self._took(self._queue.put_text("hub.market", ts_recv, 0, now, "mark", text))

    @property
    def lost_frames(self) -> int:
        """Frames and marks of the market hub that were lost, and of which the record does not say so yet."""
        return self._queue.lost_frames

    def told_lost(self, rows: int) -> None:
        """The record says that so many were lost."""
        self._queue.lost_frames -= rows

    def _took(self, taken: bool) -> bool:
        self._bell.ring()
        return taken

    def statistics(self) -> JournalStatistics:
        """Return a snapshot of all counts."""
        queue = self._queue
        return JournalStatistics(
            queue.offered, self._written, queue.lost, queue.waiting, self._in_hand, self._is_failed
        )

    # -- the task

    async def run(self) -> None:
        """Write what comes until `close`; cancellation does not end it, because what is recorded is to be written."""
        with self._scope:
            try:
                await self._write_until_closed()
            finally:
                self._lose_the_rest()
                self._closed.set()

    async def closed(self) -> None:
        """Return when `run` has; bounded, because every wait after `close` is."""
        with trio.CancelScope(shield=True):
            await self._closed.wait()

    async def _write_until_closed(self) -> None:
        await self._wait_and_tell(self._recover)
        while not self._is_closing:
            due_s = self._writer.sync_due_in()
            wait_s = _FOREVER if due_s is None else due_s
            await self._bell.wait(trio.current_time() + wait_s)
            with trio.move_on_after(self._options.linger_s):
                while not self._is_closing:
                    await self._bell.wait(_FOREVER)
            await self._write()
        await self._last_write()

    def close(self) -> None:
        """Let `run` write what is there, and return; a write that hangs is left behind at the end of ``close_s``."""
        self._is_closing = True
        self._scope.deadline = trio.current_time() + self._options.close_s
        self._bell.ring()

    async def _last_write(self) -> None:
        await self._write()
        await self._wait_and_tell(self._finish)

    def _lose_the_rest(self) -> None:
        left = self._queue.waiting + self._in_hand
        if left:
            self._queue.take()
            self._in_hand = 0
            self._fail(TimeoutError("closing took too long"), left)

    async def _write(self) -> None:
        overflowed = self._queue.take_overflowed()
        if overflowed:
            self._tell(JournalOverflowed(overflowed, self._wall_clock(), self._name))
        records = self._queue.take()
        rows = sum(map(len, records))
        if trio.current_time() < self._failed_until and not self._is_closing:
            self._queue.lose(rows, records)
            return
        self._in_hand = rows
        try:
            await self._in_thread(lambda: self._writer.write(records))
        except OSError as exc:
            self._in_hand = 0
            self._fail(exc, rows, records)
            return
        self._in_hand = 0
        self._written += rows
        if self._is_failed and rows:
            self._recovered()
        if self._writer.finished and trio.current_time() >= self._seal_after:
            await self._wait_and_tell(self._seal_finished)

    def _fail(self, exc: OSError, rows: int, records: Sequence[Rows] = ()) -> None:
        if not self._is_failed:
            self._lost_at_failure = self._queue.lost
        self._is_failed = True
        self._queue.lose(rows, records)
        self._failed_until = trio.current_time() + self._options.retry_s
        at = self._wall_clock()
        self._tell(JournalFailed(_reason(exc), rows, self._options.retry_s, at, self._name))

    def _recovered(self) -> None:
        self._is_failed = False
        lost = self._queue.lost - self._lost_at_failure
        self._tell(JournalRecovered(lost, self._wall_clock(), self._name))

    # -- in the thread

    async def _wait_and_tell(self, work: Callable[[list[Damage]], None]) -> None:
        """Do some work of which only damage is news, and failure: of that nothing is lost, the segments stay."""
        damaged: list[Damage] = []
        try:
            await self._in_thread(lambda: work(damaged))
        except OSError as exc:
            self._seal_after = trio.current_time() + self._options.retry_s
            at = self._wall_clock()
            self._tell(JournalFailed(_reason(exc), 0, self._options.retry_s, at, self._name))
        for each in damaged:
            at = self._wall_clock()
            self._tell(JournalQuarantined(each.name, each.reason, each.rows_saved, at, self._name))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the recorder's thread, and tell while it is slow. Cancelled, it is left behind."""
        self._now_ns = self._wall_clock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_slow)
            result = await _unwrapped(work, self._threads)
            nursery.cancel_scope.cancel()
        if isinstance(result, OSError):
            raise result
        return result

    async def _tell_slow(self) -> None:
        start = trio.current_time()
        while True:
            await trio.sleep(self._options.slow_s)
            taken_s = trio.current_time() - start
            self._tell(JournalSlow(taken_s, self._queue.waiting, self._wall_clock(), self._name))

    def _recover(self, damaged: list[Damage]) -> None:
        """Seal what a process before us has left, and let go what is too old."""
        self._seal(list(places(self._root)), damaged)

    def _seal_finished(self, damaged: list[Damage]) -> None:
        self._seal(sorted(self._writer.take_finished()), damaged)

    def _seal(self, todo: list[Place], damaged: list[Damage]) -> None:
        """Seal the places; one that fails takes none of the others with it, and is tried again."""
        failure: OSError | None = None
        for place in todo:
            report = SealReport()
            try:
                self._sealer.seal(place, self._writer.active, report=report)
            except OSError as exc:
                self._writer.finished.add(place)
                failure = failure or exc
            damaged += report.damaged
        self._retain()
        if failure is not None:
            raise failure

    def _finish(self, damaged: list[Damage]) -> None:
        try:
            self._writer.close()
        finally:
            self._seal_finished(damaged)

    def _retain(self) -> None:
        days, size = self._options.keep_days, self._options.keep_bytes
        if days is None and size is None:
            return
        busy = {path.parent for path in self._writer.active}
        for place in to_remove(survey(self._root), date_of(self._now_ns), days, size):
            if place.folder(self._root) not in busy:
                remove(self._root, place, self._disk)

    def compact(self, place: Place) -> list[Damage]:
        """Make one file of all sealed files of a place; for a thread, while nothing of that place is recorded."""
        return self._sealer.seal(place, self._writer.active, compact=True).damaged


async def _unwrapped(work: Callable[[], T], threads: trio.CapacityLimiter) -> T | OSError:
    """Return what ``work`` returns, or the `OSError` it raises: a nursery would put that into a group."""
    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=threads)
    except OSError as exc:
        return exc


def _reason(exc: OSError) -> str:
    return escape(exc.strerror or str(exc) or type(exc).__name__)


@asynccontextmanager
async def open_recorder(
    root: Path | str,
    *,
    options: JournalOptions = _DEFAULT,
    wall_clock: Callable[[], int] = time.time_ns,
    tell: Callable[[JournalEvent], None],
    disk: Disk = _DISK,
) -> AsyncGenerator[Recorder]:
    """Record below ``root`` until the block is left; ``tell`` is called, from trio's thread, with what goes wrong.

    Entering makes the folder (of the owner alone) and claims it; segments that a killed process left are sealed while
    the block already runs. Leaving it writes what waits, for ``options.close_s`` at most, also where it is cancelled.

    :raises ConfigError: if another process, or journal, writes there.
    :raises OSError: if the folder cannot be made or claimed. A disk that hangs is waited for: set a deadline of
        your own, entering can be cancelled.
    """
    folder = Path(root)
    # Cancelled where the disk hangs, it is left behind: what it gets in the end nobody holds, and so it lets go of it.
    claim = await trio.to_thread.run_sync(Claim, folder, disk, abandon_on_cancel=True)
    recorder = Recorder(folder, options, disk, wall_clock, tell)
    try:
        async with open_background_tasks() as tasks:
            tasks.start_soon(recorder.run, name="recorder")
            try:
                yield recorder
            finally:
                recorder.close()
                await recorder.closed()  # noqa: ASYNC102  shielded and bounded there
    finally:
        claim.release()
