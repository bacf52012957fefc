"""How much memory the process uses, and how much it can still have: from /proc, cgroups and RLIMIT_AS, or psutil.

What is asked at each look are files of the kernel's that are no disk's: a read of one waits for nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, cast

from trio_projectx._memory import MemoryReading
from trio_projectx.pressure.cgroups import Group, find_groups, read_small

_PROC: Final = Path("/proc")
#: From this share of a cgroup's limit on it is asked how much of the usage is cache: to sum that up may cost.
_EXACT_FROM: Final = 0.5
#: A cgroup without a limit is asked again at every so many reads: each costs a look at a file.
_ALL_EVERY: Final = 12


class _MemoryInfo(Protocol):
    rss: int


class _Machine(Protocol):
    available: int


class _Process(Protocol):
    def memory_info(self) -> _MemoryInfo: ...


class Psutil(Protocol):
    """What is used of psutil."""

    def Process(self) -> _Process:  # noqa: N802  its name
        """The present process."""
        ...

    def virtual_memory(self) -> _Machine:
        """The machine's memory."""
        ...


def find_psutil() -> Psutil | None:
    """Return psutil if it is installed."""
    try:
        return cast("Psutil", importlib.import_module("psutil"))
    except ImportError:
        return None


def address_space_limit() -> int | None:
    """Return RLIMIT_AS in bytes; None if there is none, or the system knows none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


class MemoryReader:
    """Reads the bounds of this process; ``budget`` is one that the user has set, in bytes.

    ``proc`` is where the kernel shows processes; without it, psutil is asked, if it is installed.
    """

    def __init__(
        self,
        budget: int | None = None,
        *,
        proc: Path = _PROC,
        psutil: Callable[[], Psutil | None] = find_psutil,
        address_space: Callable[[], int | None] = address_space_limit,
    ) -> None:
        self._budget = budget
        self._proc = proc
        self._address_space = address_space
        has_proc = _text(proc / "self/statm") is not None
        self._psutil = None if has_proc else psutil()
        self._page = os.sysconf("SC_PAGE_SIZE") if has_proc else 0
        self._groups = self._find_groups() if has_proc else []
        self._limited: list[Group] = []
        self._reads = 0

    def read(self) -> MemoryReading | None:
        """Return the bound of which the greatest share is used; None if nothing can be read. It raises nothing."""
        return max(self._bounds(), key=lambda each: each.share, default=None)

    def used(self) -> int | None:
        """Return the memory that the process has in RAM, in bytes; None if that cannot be read."""
        sizes = self._sizes()
        return None if sizes is None else sizes[1]

    def _bounds(self) -> Iterator[MemoryReading]:
        sizes = self._sizes()
        if sizes is None:
            return
        size, rss = sizes
        machine = self._machine_available()
        if machine is not None:
            yield MemoryReading(rss, machine, "the machine's memory")
        for group in self._looked_at():
            left = _left(group)
            if left is not None:
                yield MemoryReading(rss, left, f"the limit of the cgroup {group.name}")
        limit = self._address_space() if size else None
        if limit is not None:
            yield MemoryReading(size, max(0, limit - size), "RLIMIT_AS")
        if self._budget is not None:
            yield MemoryReading(rss, max(0, self._budget - rss), "MemoryOptions.budget_bytes")

    def _looked_at(self) -> list[Group]:
        """Return the groups that had a limit of late; now and then all: limits are set while processes run."""
        self._reads += 1
        if self._reads % _ALL_EVERY == 1:
            self._limited = [group for group in self._groups if _left(group) is not None]
        return self._limited

    def _sizes(self) -> tuple[int, int] | None:
        """Return the size of the address space, 0 if unknown, and what of it is in RAM."""
        if self._psutil is not None:
            return 0, self._psutil.Process().memory_info().rss
        try:
            size, rss, *_ = (_text(self._proc / "self/statm") or "").split()
            return int(size) * self._page, int(rss) * self._page
        except ValueError:
            return None

    def _machine_available(self) -> int | None:
        if self._psutil is not None:
            return self._psutil.virtual_memory().available
        for line in (_text(self._proc / "meminfo") or "").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
        return None

    def _find_groups(self) -> list[Group]:
        cgroup, mounts = _text(self._proc / "self/cgroup"), _text(self._proc / "self/mountinfo")
        found = find_groups(cgroup or "", mounts or "")
        return [each for each in found if _left(each) is not None or _text(each.folder / each.flavour.usage)]


def _left(group: Group) -> int | None:
    """Return how much may still be used in a cgroup; None if it has no limit, or says nothing."""
    try:
        limit = group.limit()
        if limit is None:
            return None
        usage = group.usage()
        if usage >= _EXACT_FROM * limit:
            usage -= group.idle_cache()
        return max(0, limit - usage)
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str | None:
    try:
        return read_small(str(path))
    except (OSError, ValueError):
        return None
