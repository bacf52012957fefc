"""Appending records to segments: one owner, one thread at a time, everything blocks."""

# pyarrow's stubs leave the type parameters of arrays open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import attrs
import pyarrow as pa

from trio_projectx._errors import ConfigError
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import DIR_MODE, FILE_MODE, LOCK, Place, segment_name
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.schemas import SCHEMAS
from trio_projectx.journal.seal import names_taken
from trio_projectx.journal.segment import SegmentWriter

Value = int | float | str | None


@attrs.define(slots=True)
class Rows:
    """Records of one place, as columns in the order of its schema, all of the same length."""

    place: Place
    columns: list[list[Value]]

    def __len__(self) -> int:
        return len(self.columns[0])

    def batch(self) -> pa.RecordBatch:
        """Return them as Arrow."""
        schema = SCHEMAS[self.place.kind]
        arrays = [pa.array(c, field.type) for c, field in zip(self.columns, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


@attrs.define(slots=True, eq=False)
class _Open:
    """A segment that is written, and when it was last known to be on the disk."""

    segment: SegmentWriter
    synced_at: float
    is_dirty: bool = False


class Claim:
    """The right to write below a folder, held by one process at a time; the system takes it from one that dies.

    :raises ConfigError: if another one has it.
    :raises OSError: if there can be no file.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        disk.make_folder(root)
        root.chmod(DIR_MODE)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: IO[bytes] = open(os.open(root / LOCK, flags, FILE_MODE), "r+b", buffering=0)  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                "another process, or another journal of this one, writes into this folder"
            ) from None

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


class JournalWriter:
    """The open segments of one journal.

    ``clock`` gives monotonic seconds, ``wall_clock`` int64 ns. ``finished`` collects places whose segment was closed
    and can be sealed, until the owner takes them.
    """

    def __init__(
        self,
        root: Path,
        options: JournalOptions,
        disk: Disk,
        clock: Callable[[], float],
        wall_clock: Callable[[], int],
    ) -> None:
        self._root = root
        self._options = options
        self._disk = disk
        self._clock = clock
        self._wall_clock = wall_clock
        self._open: dict[Place, _Open] = {}
        self._number = self._last_ns = 0
        self.finished: set[Place] = set()

    @property
    def active(self) -> frozenset[Path]:
        """The segments that are written at this time."""
        return frozenset(each.segment.path for each in self._open.values())

    def write(self, records: Iterable[Rows]) -> None:
        """Append and, as the options say, sync; when this returns all of it is acknowledged.

        :raises OSError: if some of it could not be; what of it is in the files then is read, but not promised. All
            segments are closed, the next call begins others.
        """
        try:
            for rows in records:
                self._append(rows)
            self._sync_due()
        except OSError:
            # After a failed sync nobody knows what the system has thrown away: no file is gone on with.
            self._abandon()
            raise

    def _append(self, rows: Rows) -> None:
        place = rows.place
        opened = self._open.get(place)
        if opened is not None and opened.segment.size >= self._options.segment_bytes:
            self._finish(place)
            opened = None
        if opened is None:
            self._finish_before(place)
            opened = self._open[place] = self._begin(place)
        opened.segment.append(rows.batch())
        opened.is_dirty = True

    def _begin(self, place: Place) -> _Open:
        folder = place.folder(self._root)
        self._disk.make_folder(folder)
        segment = SegmentWriter(self._free_path(folder), place.kind, self._disk)
        try:
            self._disk.sync_folder(folder)
        except OSError:
            segment.close()
            raise
        return _Open(segment, self._clock())

    def _free_path(self, folder: Path) -> Path:
        """Return a name that no file has, and none that a sealed one holds: what has such a name does not count."""
        # A clock that is set back does not turn the order of segments round.
        self._last_ns = max(self._last_ns, self._wall_clock())
        taken = names_taken(folder)
        while True:
            self._number += 1
            name = segment_name(self._last_ns, self._number)
            if name not in taken:
                return folder / name

    def _finish_before(self, place: Place) -> None:
        """Finish the segments of the same kind and contract of another date: a day has ended."""
        for other in list(self._open):
            if (other.kind, other.contract) == (place.kind, place.contract) and other.date < place.date:
                self._finish(other)

    def sync_due_in(self) -> float | None:
        """Return in how many seconds something has to be synced; None if nothing has."""
        if self._options.sync_s is None:
            return None
        waits = [each.synced_at + self._options.sync_s for each in self._open.values() if each.is_dirty]
        return max(0.0, min(waits) - self._clock()) if waits else None

    def _sync_due(self) -> None:
        if self._options.sync_s is None:
            return
        for each in self._open.values():
            if not each.is_dirty:
                each.synced_at = self._clock()
            elif self._clock() >= each.synced_at + self._options.sync_s:
                each.segment.sync()
                each.synced_at, each.is_dirty = self._clock(), False

    def _finish(self, place: Place) -> None:
        each = self._open[place]
        if self._options.sync_s is not None:
            each.segment.sync()
        del self._open[place]  # first: whatever close says, the descriptor is somebody else's then
        self.finished.add(place)
        each.segment.close()

    def close(self) -> None:
        """Sync and close all segments; raises as `write`."""
        try:
            for place in list(self._open):
                self._finish(place)
        except OSError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        for place, each in self._open.items():
            try:
                each.segment.close()
            except OSError:
                pass  # the error that led here says what is wrong; the descriptor is closed all the same
            self.finished.add(place)
        self._open.clear()

    def take_finished(self) -> set[Place]:
        """Return the places that have a finished segment, and begin anew."""
        finished, self.finished = self.finished, set()
        return finished
