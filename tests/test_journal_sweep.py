"""Dying, and failing, at every call to the disk, through a life of writing, sealing, compacting, keeping less.

Whatever the instant: each row that was acknowledged is read once afterwards, in order, and again after the next process
has tidied up; rows that were not acknowledged are read at most once, and nothing is read that was not written.
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
from sweeps import IS_WHOLE, every
from test_journal_recorder import GRID, stamps, trades, until

from trio_projectx import JournalEvent
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place, date_of, places
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import open_recorder
from trio_projectx.journal.retention import remove, survey, to_remove
from trio_projectx.journal.scan import dataset
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import Damage, Sealer
from trio_projectx.journal.writer import JournalWriter, Rows, Value

T0 = 1_787_172_660_000_000_000
DAY = 86_400_000_000_000
CONTRACTS = ("CON.F.US.MNQ.U26", "CON.F.US.MES.U26")
#: Segments of a write or two, so that they are finished, sealed and begun again all the time.
OPTIONS = JournalOptions(segment_bytes=2_000, sync_s=0.0)


class Killed(BaseException):
    """The process is gone: nothing that it had in hand is done any more."""


class Sweeping(Disk):
    """A real disk; at call number ``at`` it does half of what it should, or all of it, or nothing, and raises."""

    def __init__(self, at: int, error: Callable[[], BaseException], *, done: bool) -> None:
        self.at, self.error, self.done = at, error, done
        self.calls = 0
        self.names: list[str] = []
        self.fds: set[int] = set()
        self.is_gone = False

    def _step(self, name: str) -> bool:
        """Whether this is the call that fails; after a death none does anything."""
        if self.is_gone:
            raise Killed
        self.calls += 1
        self.names.append(name)
        return self.calls == self.at

    def _fail(self) -> None:
        error = self.error()
        self.is_gone = isinstance(error, Killed)
        raise error

    def make_folder(self, folder: Path) -> None:
        self._either("make_folder", lambda: super(Sweeping, self).make_folder(folder))

    def create(self, path: Path) -> int:
        is_it = self._step("create")
        if is_it and not self.done:
            self._fail()
        fd = super().create(path)
        if is_it:
            os.close(fd)
            self._fail()
        self.fds.add(fd)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        if self._step("write"):
            super().write(fd, data if self.done else data[: len(data) // 2])
            self._fail()
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._either("truncate", lambda: super(Sweeping, self).truncate(fd, size))

    def sync(self, fd: int) -> None:
        self._either("sync", lambda: None)  # the system lives on: it has what was written

    def close(self, fd: int) -> None:
        # A descriptor is closed whatever close says, and its number is somebody else's from then on.
        assert fd in self.fds or self.is_gone, "closed twice"
        self.fds.discard(fd)
        is_it = self._step("close")
        super().close(fd)
        if is_it:
            self._fail()

    def sync_folder(self, folder: Path) -> None:
        self._either("sync_folder", lambda: None)

    def rename(self, path: Path, new: Path) -> None:
        self._either("rename", lambda: super(Sweeping, self).rename(path, new))

    def remove(self, path: Path) -> None:
        self._either("remove", lambda: super(Sweeping, self).remove(path))

    def _either(self, name: str, act: Callable[[], None]) -> None:
        is_it = self._step(name)
        if not is_it or self.done:
            act()
        if is_it:
            self._fail()

    def release(self) -> None:
        """Close what a dead process leaves to the system."""
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                pass  # sealing closes its own
        self.fds.clear()


def rows(place: Place, first: int, count: int) -> Rows:
    """Trades, in the columns that there are."""
    numbers = list(range(first, first + count))
    columns: dict[str, list[Value]] = {
        "ts_event": [T0 + n for n in numbers],
        "ts_recv": [T0] * count,
        "price": [0.25 * n for n in numbers],
        "volume": [1] * count,
    }
    return Rows(place, [columns.get(field.name, [0] * count) for field in SCHEMAS["trades"]])


@attrs.define
class Life:
    """What a process has offered and what was acknowledged, by place."""

    root: Path
    disk: Disk
    options: JournalOptions = OPTIONS
    offered: Counter[tuple[Place, int]] = attrs.Factory(Counter)
    acknowledged: Counter[tuple[Place, int]] = attrs.Factory(Counter)
    expired: set[Place] = attrs.Factory(set)
    """Places that retention was told to remove: their rows may be gone."""
    damaged: list[Damage] = attrs.Factory(list)
    number: int = 0
    errors: int = 0
    writer: JournalWriter = attrs.field(init=False)
    sealer: Sealer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.writer = JournalWriter(self.root, self.options, self.disk, lambda: 0.0, self.wall)
        self.sealer = Sealer(self.root, self.disk)

    def wall(self) -> int:
        return T0 + self.number

    def attempt(self, act: Callable[[], object]) -> bool:
        """As the recorder does it: an error of the disk is told, and life goes on."""
        try:
            act()
        except OSError:
            self.errors += 1
            return False
        return True

    def write(self, *parts: tuple[str, int, int]) -> None:
        """Write so many rows of contracts that came so many days after the first date."""
        made = []
        for contract, days, count in parts:
            place = Place("trades", contract, date_of(T0 + days * DAY))
            made.append(rows(place, self.number, count))
            self.number += count
        new = Counter((each.place, ts - T0) for each in made for ts in each.columns[0] if isinstance(ts, int))
        self.offered += new
        if self.attempt(lambda: self.writer.write(made)):
            self.acknowledged += new

    def seal(self, *, compact: bool = False) -> None:
        for place in self.writer.take_finished():
            self.attempt(lambda place=place: self._seal(place, compact=compact))

    def _seal(self, place: Place, *, compact: bool) -> None:
        self.damaged += self.sealer.seal(place, self.writer.active, compact=compact).damaged

    def retain(self, today: int, days: int) -> None:
        gone = to_remove(survey(self.root), date_of(T0 + today * DAY), days, None)
        self.expired.update(gone)
        for place in gone:
            self.attempt(lambda place=place: remove(self.root, place, self.disk))

    def run(self) -> None:
        first, second = CONTRACTS
        for _ in range(2):
            self.write((first, 0, 55), (second, 0, 15))
            self.seal()
        self.write((first, 1, 40))  # another date: the segment of the day before is finished
        self.seal(compact=True)
        for _ in range(2):
            self.write((first, 1, 55), (second, 1, 5))
        self.seal()
        self.retain(today=2, days=2)
        self.attempt(self.writer.close)
        self.seal(compact=True)


def found(root: Path) -> dict[Place, list[int]]:
    table = dataset(root, "trades").to_table(use_threads=False)
    result: dict[Place, list[int]] = {}
    columns = (table[name].to_pylist() for name in ("contract", "date", "ts_event", "price"))
    for contract, date, ts, price in zip(*columns, strict=True):
        assert price == 0.25 * (ts - T0)
        result.setdefault(Place("trades", contract, date), []).append(ts - T0)
    return result


def judge(life: Life, at: object) -> None:
    read = found(life.root)
    count = Counter((place, n) for place, numbers in read.items() for n in numbers)
    wanted = Counter({key: n for key, n in life.acknowledged.items() if key[0] not in life.expired})
    assert not wanted - count, ("acknowledged and not read", at)
    assert not count - life.offered, ("read and not written, or twice", at)
    for numbers in read.values():
        assert numbers == sorted(numbers), ("out of order", at)
    assert life.damaged == [], at


def next_process(life: Life) -> Life:
    """What `open_recorder` does at first, and then some rows more and a compaction of everything."""
    after = Life(
        life.root, Disk(), offered=life.offered, acknowledged=life.acknowledged, expired=life.expired
    )
    after.number = life.number + 1000
    for place in list(places(after.root)):
        after._seal(place, compact=False)
    judge(after, "recovered")
    after.write((CONTRACTS[0], 1, 10))
    after.writer.close()
    for place in list(places(after.root)):
        after._seal(place, compact=True)
    return after


def lives(
    folder: Path, error: Callable[[], BaseException], *, done: bool
) -> Iterator[tuple[int, Life, Sweeping]]:
    """Live once for each call to the disk (every third, where it is done all the same), until a life ends."""
    at = 0
    while True:
        at += 3 if done else every(3)
        disk = Sweeping(at, error, done=done)
        life = Life(folder / str(at), disk)
        try:
            life.run()
        except Killed:
            pass
        yield at, life, disk
        if disk.calls < at:
            return


@pytest.mark.parametrize("done", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dying_at_any_call(tmp_path: Path, *, done: bool) -> None:
    struck = Counter[str]()
    for at, life, disk in lives(tmp_path, Killed, done=done):
        disk.release()
        judge(life, at)
        judge(next_process(life), at)
        if disk.calls == at:
            struck[disk.names[-1]] += 1
    assert (
        not IS_WHOLE
        or done
        or struck.keys()
        == {
            "make_folder",
            "create",
            "write",
            "sync",
            "close",
            "sync_folder",
            "rename",
            "remove",
        }
    )
    assert sum(struck.values()) > (90 if IS_WHOLE and not done else 29)


@pytest.mark.parametrize("done", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_error_of_any_call(tmp_path: Path, *, done: bool) -> None:
    for at, life, disk in lives(tmp_path, lambda: OSError(5, "Input/output error"), done=done):
        assert life.errors == (disk.calls >= at)
        assert not [fd for fd in disk.fds if _is_open(fd, life.root)], at
        judge(life, at)
        judge(next_process(life), at)
        # All that was lost is what one call had in hand.
        assert (life.offered - life.acknowledged).total() <= 70


def _is_open(fd: int, root: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(str(root))
    except OSError:
        return False


def test_a_life_without_a_fault_is_what_it_seems(tmp_path: Path) -> None:
    life = Life(tmp_path, Disk())
    life.run()
    judge(life, None)
    assert life.expired == {Place("trades", each, date_of(T0)) for each in CONTRACTS}
    assert sum(map(len, found(tmp_path).values())) == 160
    assert datetime.date.fromisoformat("2026-08-19") == date_of(T0)


@pytest.mark.slow
async def test_a_recorder_that_meets_an_error_at_any_call(tmp_path: Path) -> None:
    """Whatever fails: rows add up, what was acknowledged is read once, and something was told where rows were lost."""
    options = JournalOptions(linger_s=0.0, retry_s=0.01, segment_bytes=2_000, sync_s=0.0)
    for at in range(1, 60, 2):
        root, disk, told = tmp_path / str(at), Sweeping(at, _eio, done=at % 4 == 1), list[JournalEvent]()
        try:
            async with open_recorder(root, options=options, tell=told.append, disk=disk) as recorder:
                acknowledged: list[int] = []
                for n in range(8):
                    before = recorder.statistics().written
                    recorder.trades(trades(n * 20, 20), GRID)
                    await until(lambda: recorder.statistics().waiting + recorder.statistics().in_hand == 0)
                    if recorder.statistics().written > before:
                        acknowledged += range(n * 20, n * 20 + 20)
                    await trio.sleep(0.005)
        except OSError:
            assert disk.names[at - 1] in ("make_folder", "sync_folder")  # it could not even begin
            continue
        counts = recorder.statistics()
        assert counts.offered == counts.written + counts.lost == 160, at
        assert counts.written == len(acknowledged), at
        assert bool(told) or not counts.lost, at
        numbers = stamps(root)
        assert set(acknowledged) <= set(numbers), at
        assert numbers == sorted(set(numbers)), at


def _eio() -> OSError:
    return OSError(5, "Input/output error")
