"""Recording: nothing waits for the disk, nothing acknowledged is lost, and what is lost is counted and told."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from trio_projectx import ConfigError, Quote
from trio_projectx._events import (
    JournalEvent,
    JournalFailed,
    JournalOverflowed,
    JournalQuarantined,
    JournalRecovered,
    JournalSlow,
)
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import files, is_part, is_segment, places
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import Recorder, open_recorder
from trio_projectx.journal.scan import dataset
from trio_projectx.market import PriceGrid, TradeBatch

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size(0.25)
T0 = 1_787_172_660_000_000_000
DAY = 86_400_000_000_000
QUICK = JournalOptions(linger_s=0.01, retry_s=0.05, close_s=2.0, slow_s=0.15)


def trades(first: int, count: int, ts_recv: int = T0) -> TradeBatch:
    """Trades whose stamps are ``first``, ``first + 1`` and so on, so that each is known again."""
    numbers = range(first, first + count)
    return TradeBatch(
        MNQ,
        ts_event=[T0 + n for n in numbers],
        ticks=[80_000 + n % 40 for n in numbers],
        volume=[1 + n % 5 for n in numbers],
        side=[n % 2 for n in numbers],
        ts_recv=ts_recv,
    )


def stamps(root: Path) -> list[int]:
    return [ts - T0 for ts in dataset(root, "trades").to_table(columns=["ts_event"])["ts_event"].to_pylist()]


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.005)


def conserved(recorder: Recorder) -> bool:
    s = recorder.statistics()
    return s.offered == s.written + s.lost + s.waiting + s.in_hand


async def test_everything_that_was_recorded_is_read(tmp_path: Path) -> None:
    told: list[JournalEvent] = []
    quote = Quote(MNQ, ts_event=T0, ts_recv=T0 + 5, bid=20_000.25, volume=3)
    async with open_recorder(tmp_path, options=QUICK, tell=told.append) as recorder:
        for n in range(50):
            assert recorder.trades(trades(n * 7, 7), GRID)
            if n % 10 == 0:
                await trio.sleep(0.02)
        recorder.quote(quote)
        recorder.frame("market", 3, '{"type":6}\x1e', T0)
        recorder.trades(trades(350, 1, T0 + DAY), GRID)
        assert conserved(recorder)
    assert recorder.statistics().written == recorder.statistics().offered == 353
    assert told == []
    table = dataset(tmp_path, "trades").to_table()
    assert stamps(tmp_path) == list(range(351))
    assert table["price"].to_pylist() == [(80_000 + n % 40) / 4 for n in range(351)]
    assert set(table["contract"].to_pylist()) == {MNQ}
    assert [str(date) for date in sorted(set(table["date"].to_pylist()))] == ["2026-08-19", "2026-08-20"]
    (row,) = dataset(tmp_path, "quotes").to_table().to_pylist()
    assert (row["bid"], row["ask"], row["volume"], row["ts_recv"]) == (20_000.25, None, 3, T0 + 5)
    (row,) = dataset(tmp_path, "frames").to_table().to_pylist()
    assert (row["text"], row["epoch"], row["contract"]) == ('{"type":6}\x1e', 3, "hub.market")
    names = [name for place in places(tmp_path) for name in files(place.folder(tmp_path))]
    assert len(names) == 4
    assert all(is_part(name) for name in names)


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        async with open_recorder(tmp_path / "journal", options=QUICK, tell=print) as recorder:
            recorder.trades(trades(0, 5), GRID)
            await until(lambda: recorder.statistics().written == 5)
            found = list((tmp_path / "journal").rglob("*"))
            modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in found}
            assert modes == {True: 0o700, False: 0o600}
            assert any(is_segment(path.name) for path in found)
        for path in (tmp_path / "journal").rglob("*.parquet"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


async def test_who_cancels_or_raises_loses_nothing_and_gets_what_they_raised(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_recorder(tmp_path, options=QUICK, tell=print) as recorder:
            recorder.trades(trades(0, 3), GRID)
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(ValueError, match="mine"):
        async with open_recorder(tmp_path, options=QUICK, tell=print) as recorder:
            recorder.trades(trades(3, 3), GRID)
            raise ValueError("mine")
    assert stamps(tmp_path) == list(range(6))


async def test_a_folder_has_one_journal(tmp_path: Path) -> None:
    async with open_recorder(tmp_path, options=QUICK, tell=print):
        with pytest.raises(ConfigError, match="another"):
            async with open_recorder(tmp_path, options=QUICK, tell=print):
                raise AssertionError
    async with open_recorder(tmp_path, options=QUICK, tell=print):
        pass


async def test_a_full_queue_loses_what_is_new_counts_and_tells_it(tmp_path: Path) -> None:
    told: list[JournalEvent] = []
    options = JournalOptions(linger_s=0.05, queue_rows=100, queue_chars=50)
    async with open_recorder(tmp_path, options=options, tell=told.append) as recorder:
        taken = [recorder.trades(trades(n * 30, 30), GRID) for n in range(5)]
        assert taken == [True, True, True, False, False]
        assert recorder.frame("market", 1, "x" * 50, T0)
        assert not recorder.frame("market", 1, "x", T0)
        assert conserved(recorder)
        await until(lambda: recorder.statistics().written == 91)
        assert recorder.trades(trades(150, 30), GRID)
    assert recorder.statistics().lost == 61
    assert [each.lost for each in told if isinstance(each, JournalOverflowed)] == [61]
    assert stamps(tmp_path) == [*range(90), *range(150, 180)]


class Faulty(Disk):
    """A real disk that fails, or waits, as it is told to."""

    def __init__(self) -> None:
        self.write_error: OSError | None = None
        self.sync_error: OSError | None = None
        self.create_error: OSError | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def create(self, path: Path) -> int:
        if self.create_error is not None:
            raise self.create_error
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        if self.write_error is not None:
            super().write(fd, data[: len(data) // 2])
            raise self.write_error
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.go_on.wait()
        if self.sync_error is not None:
            raise self.sync_error
        super().sync(fd)


FAULTS = {
    "write": OSError(28, "No space left on device"),
    "sync": OSError(5, "Input/output error"),
    "create": OSError(30, "Read-only file system"),
}


@pytest.mark.parametrize("where", FAULTS)
async def test_a_disk_that_fails_is_told_and_the_rest_goes_on(tmp_path: Path, where: str) -> None:
    """FAULTS.md rows 106 and 108."""
    told: list[JournalEvent] = []
    disk = Faulty()
    options = JournalOptions(linger_s=0.01, retry_s=0.1, close_s=2.0, sync_s=0.0)
    async with open_recorder(tmp_path, options=options, tell=told.append, disk=disk) as recorder:
        recorder.trades(trades(0, 10), GRID)
        await until(lambda: recorder.statistics().written == 10)
        setattr(disk, f"{where}_error", FAULTS[where])
        # Where the file is open already, only what comes with a new one can fail.
        recorder.trades(trades(10, 10, T0 + DAY), GRID)
        await until(lambda: told)
        assert recorder.statistics().is_failed
        recorder.trades(trades(20, 10, T0 + DAY), GRID)  # while it has failed
        await until(lambda: recorder.statistics().lost == 20)
        setattr(disk, f"{where}_error", None)
        await trio.sleep(0.15)
        recorder.trades(trades(30, 10, T0 + DAY), GRID)
        await until(lambda: recorder.statistics().written == 20)
        assert conserved(recorder)
    failed, recovered = told
    assert isinstance(failed, JournalFailed)
    assert (failed.reason, failed.lost) == (FAULTS[where].strerror, 10)
    assert isinstance(recovered, JournalRecovered)
    assert recovered.lost == 20
    found = stamps(tmp_path)
    # What was acknowledged is there. Of a write whose sync failed the rows may be: they were not promised.
    assert [n for n in found if not 10 <= n < 30] == [*range(10), *range(30, 40)]
    assert not [n for n in found if 20 <= n < 30]
    assert where == "sync" or not [n for n in found if 10 <= n < 20]


async def test_a_slow_disk_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    """10,000 trades a second, and a sync that takes longer than a second: the market's task is never late."""
    told: list[JournalEvent] = []
    disk = Faulty()
    options = JournalOptions(linger_s=0.01, slow_s=0.2, sync_s=0.0)
    async with open_recorder(tmp_path, options=options, tell=told.append, disk=disk) as recorder:
        recorder.trades(trades(0, 1), GRID)
        await until(lambda: recorder.statistics().written == 1)
        disk.go_on.clear()
        latest = longest = 0.0
        for n in range(120):
            due = trio.current_time() + 0.01
            start = time.perf_counter()
            recorder.trades(trades(1 + n * 100, 100), GRID)
            longest = max(longest, time.perf_counter() - start)
            await trio.sleep_until(due)
            latest = max(latest, trio.current_time() - due)
        statistics = recorder.statistics()
        assert statistics.in_hand
        assert statistics.waiting > 8_000
        assert conserved(recorder)
        disk.go_on.set()
    assert (longest < 0.25, latest < 0.25) == (True, True), (longest, latest)  # of a busy machine
    slow = [each for each in told if isinstance(each, JournalSlow)]
    assert len(slow) >= 3
    assert slow[-1].taken_s > slow[0].taken_s
    assert stamps(tmp_path) == list(range(12_001))


async def test_closing_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    told: list[JournalEvent] = []
    disk = Faulty()
    options = JournalOptions(linger_s=0.01, sync_s=0.0, close_s=0.2, slow_s=9.0)
    start = trio.current_time()
    try:
        async with open_recorder(tmp_path, options=options, tell=told.append, disk=disk) as recorder:
            disk.go_on.clear()
            recorder.trades(trades(0, 5), GRID)
            await until(lambda: recorder.statistics().in_hand)
            recorder.trades(trades(5, 5), GRID)
        assert trio.current_time() - start < 3
        assert (recorder.statistics().lost, conserved(recorder)) == (10, True)
        (failed,) = told
        assert isinstance(failed, JournalFailed)
        assert (failed.reason, failed.lost) == ("closing took too long", 10)
    finally:
        disk.go_on.set()


async def test_closing_waits_for_close_s_in_all(tmp_path: Path) -> None:
    disk = Faulty()
    options = JournalOptions(linger_s=0.01, sync_s=0.0, close_s=0.3, slow_s=9.0)
    try:
        async with open_recorder(tmp_path, options=options, tell=lambda _: None, disk=disk) as recorder:
            disk.go_on.clear()
            recorder.trades(trades(0, 5), GRID)
            await until(lambda: recorder.statistics().in_hand)
            recorder.close()
            assert recorder._scope.deadline <= trio.current_time() + 0.3
        assert (recorder.statistics().lost, conserved(recorder)) == (5, True)
    finally:
        disk.go_on.set()


async def test_what_a_killed_process_left_is_sealed_by_the_next(tmp_path: Path) -> None:
    for number in range(2):
        code = (
            "import sys; sys.path[:0] = sys.argv[2:]\n"
            "import os, trio, test_journal_recorder as t\n"
            "async def main():\n"
            "    async with t.open_recorder(sys.argv[1], options=t.QUICK, tell=print) as r:\n"
            f"        r.trades(t.trades({number * 5}, 5), t.GRID)\n"
            "        await t.until(lambda: r.statistics().written == 5)\n"
            "        os.kill(os.getpid(), 9)\n"
            "trio.run(main)\n"
        )
        done = await trio.run_process([sys.executable, "-c", code, str(tmp_path), *sys.path], check=False)
        assert done.returncode == -9
    assert stamps(tmp_path) == list(range(10))
    async with open_recorder(tmp_path, options=QUICK, tell=print) as recorder:
        recorder.trades(trades(10, 5), GRID)
    assert stamps(tmp_path) == list(range(15))
    names = [name for place in places(tmp_path) for name in files(place.folder(tmp_path))]
    assert all(is_part(name) for name in names)


async def test_a_damaged_segment_is_quarantined_told_and_its_good_rows_stay(tmp_path: Path) -> None:
    told: list[JournalEvent] = []
    async with open_recorder(tmp_path, options=QUICK, tell=print) as recorder:
        for n in range(4):
            recorder.trades(trades(n * 5, 5), GRID)
            await until(lambda n=n: recorder.statistics().written == n * 5 + 5)
        (place,) = places(tmp_path)
        (name,) = files(place.folder(tmp_path))
        data = bytearray((place.folder(tmp_path) / name).read_bytes())
    (part,) = place.folder(tmp_path).iterdir()
    part.unlink()
    data[len(data) * 5 // 8] ^= 0xFF
    (place.folder(tmp_path) / name).write_bytes(data)
    async with open_recorder(tmp_path, options=QUICK, tell=told.append) as recorder:
        await until(lambda: told)
    (event,) = told
    assert isinstance(event, JournalQuarantined)
    assert event.name == f"trades/contract={MNQ}/date=2026-08-19/{name}"
    saved = stamps(tmp_path)
    assert saved == list(range(event.rows_saved))
    assert event.rows_saved in (5, 10)
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_bytes() == data


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    for days_ago in range(5):
        async with open_recorder(tmp_path, options=QUICK, tell=print) as recorder:
            recorder.trades(trades(days_ago * 10, 10, T0 - days_ago * DAY), GRID)
    assert len(stamps(tmp_path)) == 50
    options = JournalOptions(keep_days=3, linger_s=0.01)
    async with open_recorder(tmp_path, options=options, tell=print, wall_clock=lambda: T0) as recorder:
        recorder.trades(trades(90, 10, T0), GRID)
    assert sorted(stamps(tmp_path)) == [*range(30), *range(90, 100)]
    assert len(list(places(tmp_path))) == 3


# Real disks that are full, and files that may not grow

_CHILD = """
import sys; sys.path[:0] = sys.argv[2:]
import trio, test_journal_recorder as t
async def main():
    told = []
    options = t.JournalOptions(linger_s=0.0, retry_s=60)
    async with t.open_recorder(sys.argv[1], options=options, tell=told.append) as r:
        n = 0
        while not told:
            r.trades(t.trades(n, 2000), t.GRID)
            n += 2000
            await t.until(lambda: r.statistics().in_hand + r.statistics().waiting == 0)
        print(r.statistics().written, type(told[0]).__name__, told[0].reason, sep="|", flush=True)
        import os
        os._exit(0)
trio.run(main)
"""


def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    """FAULTS.md row 106, on a file system of 1 MB, where that can be mounted."""
    script = f'mount -t tmpfs -o size=1m tmpfs "$0" && "$@"; cp -r "$0" "{tmp_path}/copy"'
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        script,
        str(disk),
        sys.executable,
        "-c",
        _CHILD,
        str(disk),
        *sys.path,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "|" not in done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr[-200:]}")
    written, kind, reason = done.stdout.strip().split("|")
    assert (kind, reason) == ("JournalFailed", "No space left on device")
    found = stamps(tmp_path / "copy")
    assert found[: int(written)] == list(range(int(written)))
    assert int(written) > 4_000


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """FAULTS.md row 108, by RLIMIT_FSIZE."""

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    command = [sys.executable, "-c", _CHILD, str(tmp_path), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=False)  # noqa: S603
    written, kind, reason = done.stdout.strip().split("|")
    assert (kind, reason) == ("JournalFailed", "File too large")
    assert stamps(tmp_path)[: int(written)] == list(range(int(written)))


async def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        async with open_recorder(tmp_path / "file" / "journal", tell=print):
            raise AssertionError
