"""The free space of the folders that are written into, asked in a thread: a disk may hang."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from trio_projectx.pressure.facts import DiskHealth, disk_health


class DiskWatch:
    """Looks every ``every_s`` at the folders that ``folders`` names then; where there are none, it asks nothing.

    One thread at a time, of its own: a disk that hangs is left alone until it answers, and holds up nobody.
    """

    def __init__(self, folders: Callable[[], Iterable[Path]], every_s: float) -> None:
        self._folders = folders
        self._every_s = every_s
        self._threads = trio.CapacityLimiter(1)
        self.disks: tuple[DiskHealth, ...] = ()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await trio.sleep(self._every_s)

    async def look(self) -> None:
        """Look once; what has not answered by the next look is not known."""
        folders = tuple(dict.fromkeys(self._folders()))
        found: list[DiskHealth] = []
        for folder in folders:
            with trio.move_on_after(self._every_s):
                found.append(
                    await trio.to_thread.run_sync(
                        _asked, folder, abandon_on_cancel=True, limiter=self._threads
                    )
                )
                continue
            found.append(disk_health(str(folder), None, None))
        if not folders:
            await trio.lowlevel.checkpoint()
        self.disks = tuple(found)


def _asked(folder: Path) -> DiskHealth:
    try:
        usage = shutil.disk_usage(_existing(folder))
    except OSError:
        return disk_health(str(folder), None, None)
    return disk_health(str(folder), usage.free, usage.total)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there: it is made when something is written."""
    for each in (folder, *folder.absolute().parents):
        if each.exists():
            return each
    return folder
