"""Where the limits of a process's cgroups are: the folders of its memory cgroup and of all above it, v2 and v1.

All of it is text of /proc (cgroups(7), and the kernel's admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst). A container
may show a part of the hierarchy only: then the mount's root is a part of the path, and what is above cannot be seen.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

import attrs

#: v1 says "no limit" by the greatest multiple of a page in int64.
_NO_LIMIT: Final = 1 << 60
_MOST: Final = 1 << 20


@attrs.frozen(slots=True)
class Flavour:
    """The names of the files of one version of cgroups."""

    limits: tuple[str, ...]
    usage: str
    inactive: str
    """The line of ``memory.stat`` that says how much of the usage the kernel gives back when it is asked to."""


V2: Final = Flavour(("memory.max", "memory.high"), "memory.current", "inactive_file")
V1: Final = Flavour(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


@attrs.frozen(slots=True)
class Group:
    """One cgroup's folder."""

    folder: Path
    flavour: Flavour
    name: str

    def limit(self) -> int | None:
        """Return the least of its limits in bytes; None if it has none. Raises `OSError`, `ValueError`."""
        found = [read_limit(f"{self.folder}/{name}") for name in self.flavour.limits]
        return min((each for each in found if each is not None), default=None)

    def usage(self) -> int:
        """Return what all its processes use, caches that could go at once included."""
        return int(read_small(f"{self.folder}/{self.flavour.usage}"))

    def idle_cache(self) -> int:
        """Return how much of that is cache of files that could go at once. The kernel may take long to sum this up."""
        for line in read_small(f"{self.folder}/memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == self.flavour.inactive:
                return int(value)
        return 0


def read_small(path: str) -> str:
    """Return the text of a file of the kernel's, which gives all of it at one read. Raises `OSError`, `ValueError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a quarter of the time that pathlib takes, at each look
    try:
        return os.read(fd, _MOST).decode()
    finally:
        os.close(fd)


def read_limit(path: str) -> int | None:
    """Return a limit in bytes; None for none, or where the file is not there (v2's root has none)."""
    try:
        text = read_small(path).strip()
    except FileNotFoundError:
        return None
    value = None if text == "max" else int(text)
    return None if value is None or value >= _NO_LIMIT else value


def find_groups(cgroup: str, mountinfo: str) -> list[Group]:
    """Return the memory cgroups of a process, the nearest first, from the texts of its /proc files."""
    found: list[Group] = []
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            found += _groups(V1, path, _mount(mountinfo, "cgroup"))
        elif number == "0" and not controllers:
            found += _groups(V2, path, _mount(mountinfo, "cgroup2"))
    return found


def _groups(flavour: Flavour, path: str, mount: tuple[str, str] | None) -> list[Group]:
    if mount is None:
        return []
    root, point = mount
    try:
        below = PurePosixPath(path).relative_to(root)
    except ValueError:  # a namespace that does not contain it
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    places = [below, *below.parents] if below.parts else [below]
    return [Group(Path(point) / place, flavour, str(PurePosixPath("/") / place)) for place in places]


def _mount(mountinfo: str, kind: str) -> tuple[str, str] | None:
    """Return root and mount point of the file system that shows the memory controller."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] != kind:
            continue
        if kind == "cgroup2" or "memory" in kinds[2].split(","):
            return _unescaped(fields[3]), _unescaped(fields[4])
    return None


def _unescaped(text: str) -> str:
    """Undo how the kernel writes spaces and their like in mountinfo."""
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, char)
    return text
