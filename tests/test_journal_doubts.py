"""What a journal must not be talked into: to count rows twice, to let them go, to stop recording for want of a seal."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_journal_files import DATE, MNQ, PLACE, T0, segment, stamps
from test_journal_recorder import GRID, QUICK, conserved, trades, until

from trio_projectx import JournalEvent, JournalFailed, JournalQuarantined
from trio_projectx.journal import scan, seal
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place, files, is_part, is_segment, segment_name
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import open_recorder
from trio_projectx.journal.scan import dataset
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import Damage, Sealer, SealReport
from trio_projectx.journal.segment import parse_segment
from trio_projectx.journal.writer import JournalWriter, Rows


async def test_a_clock_that_stands_still_or_goes_back_loses_nothing(tmp_path: Path) -> None:
    """As in virtual time: names of segments that a sealed file holds are not given again."""
    clocks = [T0, T0, T0 - 5, T0]
    for n, now in enumerate(clocks):
        async with open_recorder(
            tmp_path, options=QUICK, tell=print, wall_clock=lambda now=now: now
        ) as recorder:
            recorder.trades(trades(n * 10, 10), GRID)
        assert recorder.statistics().written == 10
        assert sorted(stamps(tmp_path)) == list(range(n * 10 + 10))
    Sealer(tmp_path, Disk()).seal(Place("trades", MNQ, DATE), compact=True)
    assert sorted(stamps(tmp_path)) == list(range(40))
    async with open_recorder(tmp_path, options=QUICK, tell=print, wall_clock=lambda: T0) as recorder:
        recorder.trades(trades(40, 10), GRID)
    assert sorted(stamps(tmp_path)) == list(range(50))


def test_a_clock_that_goes_back_does_not_turn_the_order_round(tmp_path: Path) -> None:
    now = T0
    options = JournalOptions(segment_bytes=1)
    writer = JournalWriter(tmp_path, options, Disk(), lambda: 0.0, lambda: now)
    for n in range(5):
        writer.write([row(n)])
        now -= 10**9
    writer.close()
    assert stamps(tmp_path) == list(range(5))


def row(number: int) -> Rows:
    """One trade, in the columns that there are."""
    values = {"ts_event": T0 + number, "ts_recv": T0, "price": 1.0, "volume": 1}
    return Rows(PLACE, [[values.get(field.name, 0)] for field in SCHEMAS["trades"]])


def damage(path: Path, row: int) -> int:
    """Damage a row of a segment; return how many rows are before its batch."""
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<q", T0 + row))] ^= 0xFF
    path.write_bytes(data)
    found = parse_segment(bytes(data))
    assert found.is_corrupt
    return found.rows


def broken_off(root: Path, *, damaged: bool) -> Path:
    """A folder as a process leaves it that dies between the renaming of a sealed file and the end of its segments."""

    class Dies(Disk):
        def rename(self, path: Path, new: Path) -> None:
            super().rename(path, new)
            raise KeyboardInterrupt

    for n in range(2):
        path = segment(root, n * 20, 20, n)
    if damaged:
        assert damage(path, 27) == 5
    with pytest.raises(KeyboardInterrupt):
        Sealer(root, Dies()).seal(PLACE)
    return path


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO])
def test_a_sealed_file_that_cannot_be_opened_for_now_is_not_sealed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    broken_off(tmp_path, damaged=False)
    before = files(PLACE.folder(tmp_path))

    def fails(path: object) -> object:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "read_schema", fails)
        for act in (lambda: Sealer(tmp_path, Disk()).seal(PLACE), lambda: dataset(tmp_path, "trades")):
            with pytest.raises(OSError, match=os.strerror(error)):
                act()
    assert files(PLACE.folder(tmp_path)) == before
    Sealer(tmp_path, Disk()).seal(PLACE)
    assert stamps(tmp_path) == list(range(40))


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.ENOMEM])
def test_a_good_file_that_cannot_be_read_for_now_is_not_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    for n in range(2):
        segment(tmp_path, n * 10, 10, n)
        Sealer(tmp_path, Disk()).seal(PLACE)

    def fails(*_: object, **__: object) -> object:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", fails)
        with pytest.raises(OSError, match=os.strerror(error)):
            Sealer(tmp_path, Disk()).seal(PLACE, compact=True)
    assert not (tmp_path / "quarantine").exists()
    assert stamps(tmp_path) == list(range(20))


def test_damage_is_told_also_by_the_next_process(tmp_path: Path) -> None:
    path = broken_off(tmp_path, damaged=True)
    assert stamps(tmp_path) == list(range(25))
    report = Sealer(tmp_path, Disk()).seal(PLACE)
    (told,) = report.damaged
    assert (Path(told.name).name, told.rows_saved) == (path.name, 5)
    assert not path.exists()
    assert [each.name.endswith(path.name) for each in (tmp_path / "quarantine").iterdir()] == [True]
    assert stamps(tmp_path) == list(range(25))


def test_damage_is_told_also_where_sealing_then_fails(tmp_path: Path) -> None:
    class Fails(Disk):
        def create(self, path: Path) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    broken_off(tmp_path, damaged=True)
    segment(tmp_path, 40, 5, 7)
    report = SealReport()
    with pytest.raises(OSError, match="No space"):
        Sealer(tmp_path, Fails()).seal(PLACE, report=report)
    assert [type(each) for each in report.damaged] == [Damage]


class NoSeal(Disk):
    """A disk on which segments can be written, and nothing else can be made."""

    def __init__(self) -> None:
        self.is_bad = True

    def create(self, path: Path) -> int:
        if self.is_bad and not is_segment(path.name):
            raise OSError(errno.EIO, "Input/output error")
        return super().create(path)


async def test_recording_goes_on_where_sealing_fails(tmp_path: Path) -> None:
    """Also of what a process before has left: one file that cannot be sealed costs no row."""
    segment(tmp_path, 0, 10, 1)
    told: list[JournalEvent] = []
    disk = NoSeal()
    options = JournalOptions(linger_s=0.0, segment_bytes=1, retry_s=0.3)
    async with open_recorder(tmp_path, options=options, tell=told.append, disk=disk) as recorder:
        for n in range(1, 8):
            recorder.trades(trades(n * 10, 10), GRID)
            await until(lambda n=n: recorder.statistics().written == n * 10)
        assert recorder.statistics().lost == 0
        assert not recorder.statistics().is_failed
        assert conserved(recorder)
        assert stamps(tmp_path) == list(range(80))
        assert {(type(each), each.lost) for each in told if isinstance(each, JournalFailed)} == {
            (JournalFailed, 0)
        }
        assert len(told) <= 4  # and not one for each write
        disk.is_bad = False
        await until(lambda: recorder._writer.finished)
    assert [name for name in files(PLACE.folder(tmp_path)) if not is_part(name)] == []
    assert stamps(tmp_path) == list(range(80))


async def test_one_folder_that_cannot_be_sealed_takes_no_other_with_it(tmp_path: Path) -> None:
    other = Place("trades", "CON.F.US.MES.U26", DATE)
    for place in (PLACE, other):
        path = segment(tmp_path, 0, 20, 1, place)
        if place == other:
            damage(path, 7)

    class Fails(Disk):
        def create(self, path: Path) -> int:
            if MNQ in str(path) and not is_segment(path.name):
                raise OSError(errno.EIO, "Input/output error")
            return super().create(path)

    told: list[JournalEvent] = []
    async with open_recorder(tmp_path, options=QUICK, tell=told.append, disk=Fails()):
        await until(lambda: len(told) >= 2)
    assert {type(each) for each in told} == {JournalFailed, JournalQuarantined}
    assert is_part(files(other.folder(tmp_path))[0])
    assert is_segment(files(PLACE.folder(tmp_path))[0])


async def test_a_folder_whose_names_cannot_be_synced_costs_no_descriptor(tmp_path: Path) -> None:
    class NoSync(Disk):
        def sync_folder(self, folder: Path) -> None:
            if folder.name.startswith("date="):
                raise OSError(errno.EIO, "Input/output error")

    before = len(os.listdir("/proc/self/fd"))
    writer = JournalWriter(tmp_path, JournalOptions(), NoSync(), lambda: 0.0, lambda: T0)
    for n in range(20):
        with pytest.raises(OSError, match="Input/output"):
            writer.write([row(n)])
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_descriptor_is_closed_once_whatever_close_says(tmp_path: Path) -> None:
    closed: list[int] = []

    class Bad(Disk):
        def close(self, fd: int) -> None:
            closed.append(fd)
            super().close(fd)
            raise OSError(errno.EIO, "Input/output error")

    writer = JournalWriter(tmp_path, JournalOptions(), Bad(), lambda: 0.0, lambda: T0)
    writer.write([row(0)])
    with pytest.raises(OSError, match="Input/output"):
        writer.close()
    assert len(closed) == len(set(closed)) == 1
    assert stamps(tmp_path) == [0]


def test_a_listing_that_misses_what_is_renamed_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader beside a recorder that seals: the first listing sees neither the segments nor what they became."""
    for n in range(2):
        segment(tmp_path, n * 10, 10, n)
    calls = 0

    def torn(folder: Path) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            names = files(folder)[1:]
            Sealer(tmp_path, Disk()).seal(PLACE)
            return names
        return files(folder)

    monkeypatch.setattr(scan, "files", torn)
    assert stamps(tmp_path) == list(range(20))
    assert calls >= 3


def test_a_reader_beside_a_process_that_seals_sees_each_row_once(tmp_path: Path) -> None:
    """For real, with threads: always a beginning of what was written, never less than the time before."""
    done, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        try:
            options = JournalOptions(segment_bytes=1, sync_s=None)
            writer, sealer = (
                JournalWriter(tmp_path, options, Disk(), lambda: 0.0, lambda: T0),
                Sealer(tmp_path, Disk()),
            )
            for n in range(60):
                writer.write([row(n)])
                written = n + 1
                for place in writer.take_finished():
                    sealer.seal(place, writer.active)
            writer.close()
        finally:
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = 0
        while not done.is_set():
            found = stamps(tmp_path)
            assert found == list(range(len(found)))
            assert len(found) >= seen
            seen = len(found)
    finally:
        thread.join(30)
    assert written == 60
    assert stamps(tmp_path) == list(range(60))


def test_a_folder_that_never_rests_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment(tmp_path, 0, 10, 1)
    names = iter(range(1000))
    monkeypatch.setattr(scan, "files", lambda folder: [segment_name(T0, next(names))])
    monkeypatch.setattr(seal, "files", files)
    with pytest.raises(OSError, match="changes all the time"):
        dataset(tmp_path, "trades")
