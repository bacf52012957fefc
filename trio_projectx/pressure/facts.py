"""What is told of the machine in ``gateway.health()``: facts of the last look, each with its sentence."""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx._memory import MemoryLevel, MemoryReading

_MIB: Final = 1 << 20
#: A loop that is late by more is held up by somebody: streams, pings and deadlines are all that late.
LAG_MOST_S: Final = 0.25
#: A disk with less free than this will be full soon: a day of a busy journal.
DISK_LEAST: Final = 256 * _MIB


@attrs.frozen(slots=True, kw_only=True)
class MemoryHealth:
    """Memory at the last look."""

    level: MemoryLevel | None = None
    """None: memory cannot be read here, or was not yet."""
    used: int | None = None
    available: int | None = None
    """Bytes that can still be had, by the nearest bound."""
    bound: str | None = None
    sentence: str = "memory was not looked at yet"

    @property
    def is_well(self) -> bool:
        """Whether nothing is given up for it."""
        return self.level in (None, MemoryLevel.NORMAL)


@attrs.frozen(slots=True, kw_only=True)
class CpuHealth:
    """The process's use of processors between the last two looks."""

    share: float | None = None
    """Of one processor; above 1 where threads use several. None before the first look."""
    processors: int = 1
    """How many this process may use."""
    sentence: str = "the processor was not looked at yet"


@attrs.frozen(slots=True, kw_only=True)
class LoopHealth:
    """How late trio's loop was at the last look; what holds it up holds up all."""

    lag_s: float | None = None
    worst_s: float = 0.0
    """The worst of all looks."""
    sentence: str = "the loop was not looked at yet"

    @property
    def is_well(self) -> bool:
        """Whether it was in time."""
        return self.lag_s is None or self.lag_s <= LAG_MOST_S


@attrs.frozen(slots=True, kw_only=True)
class DiskHealth:
    """The file system of one folder that is written into (the cache, a journal) at the last look."""

    folder: str
    free: int | None = None
    """Bytes; None: it could not be asked, or has not answered."""
    total: int | None = None
    sentence: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it answers, and there is room."""
        return self.free is not None and self.free >= DISK_LEAST


@attrs.frozen(slots=True, kw_only=True)
class NetworkHealth:
    """When the last byte of each hub came, pongs and parts of records included; None without a live connection."""

    market_byte_age_s: float | None = None
    user_byte_age_s: float | None = None
    sentence: str = "no connection is live"


@attrs.frozen(slots=True, kw_only=True)
class MachineHealth:
    """What is not of the service: memory, processor, loop and disks."""

    memory: MemoryHealth = MemoryHealth()
    cpu: CpuHealth = CpuHealth()
    loop: LoopHealth = LoopHealth()
    disks: tuple[DiskHealth, ...] = ()
    """Of the cache's folder and of those that are recorded into."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """A sentence for each thing that is not well."""
        found = [disk.sentence for disk in self.disks if not disk.is_well]
        found += [] if self.loop.is_well else [self.loop.sentence]
        return (*([] if self.memory.is_well else [self.memory.sentence]), *found)


def memory_health(level: MemoryLevel, reading: MemoryReading | None, why: str | None = None) -> MemoryHealth:
    """Put a reading into words, or ``why`` there is none."""
    if reading is None and why is not None:
        return MemoryHealth(sentence=f"memory cannot be read by MemoryOptions.read: {why}")
    if reading is None:
        return MemoryHealth(sentence="memory cannot be read here: install psutil, or set MemoryOptions.read")
    said = f"{reading.used / _MIB:,.0f} MiB of {reading.limit / _MIB:,.0f} MiB are used, by {reading.bound}"
    return MemoryHealth(
        level=level,
        used=reading.used,
        available=reading.available,
        bound=reading.bound,
        sentence=f"memory is {level.value}: {said}",
    )


def cpu_health(share: float, processors: int) -> CpuHealth:
    """Put a share of one processor into words."""
    said = f"the process uses {share:.0%} of one processor, and may use {processors}"
    return CpuHealth(share=share, processors=processors, sentence=said)


def loop_health(lag_s: float, worst_s: float) -> LoopHealth:
    """Put the loop's lateness into words."""
    said = f"trio's loop was {lag_s * 1000:.0f} ms late at the last look, {worst_s * 1000:.0f} ms at worst"
    return LoopHealth(lag_s=lag_s, worst_s=worst_s, sentence=said)


def disk_health(folder: str, free: int | None, total: int | None) -> DiskHealth:
    """Put the room of a folder's disk into words."""
    if free is None or total is None:
        return DiskHealth(folder=folder, sentence=f"{folder}: its free space is not known")
    said = f"{folder}: {free / _MIB:,.0f} MiB of {total / _MIB:,.0f} MiB are free"
    return DiskHealth(folder=folder, free=free, total=total, sentence=said)


def network_health(market_s: float | None, user_s: float | None) -> NetworkHealth:
    """Put the ages of the last bytes into words."""
    ages = (("market", market_s), ("user", user_s))
    said = [f"the last byte of the {hub} hub is {age:.1f} s old" for hub, age in ages if age is not None]
    if not said:
        return NetworkHealth()
    return NetworkHealth(market_byte_age_s=market_s, user_byte_age_s=user_s, sentence="; ".join(said))
