"""The calls to the operating system that a journal makes; the one place where a test puts a disk that fails."""

from __future__ import annotations

import os
from pathlib import Path

from trio_projectx.journal.layout import DIR_MODE, FILE_MODE


class Disk:
    """Everything blocks, and raises `OSError`: to be called in a thread."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it, for the owner alone."""
        missing: list[Path] = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(mode=DIR_MODE, exist_ok=True)
            self.sync_folder(each.parent)

    def create(self, path: Path) -> int:
        """Return a descriptor of a new file; one that is there already, or a link, is an error."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, FILE_MODE)

    def write(self, fd: int, data: bytes) -> int:
        """Write some of ``data`` and return how much."""
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file, and go on writing there."""
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)

    def sync(self, fd: int) -> None:
        """Return when the data of a file are on the disk."""
        os.fdatasync(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, path: Path, new: Path) -> None:
        """Put a file in the place of another, at once."""
        path.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""
        path.unlink(missing_ok=True)
