"""What is read and told of memory: a bound and what is used of it, levels, and capacities that follow both."""

from __future__ import annotations

import enum

import attrs


@attrs.frozen(slots=True)
class MemoryReading:
    """One bound of the process's memory: what is used of it, and what can still be had, in bytes."""

    used: int
    available: int
    bound: str
    """Which bound it is, in words."""

    @property
    def limit(self) -> int:
        """What the process could use in all, others going on as they are."""
        return self.used + self.available

    @property
    def share(self) -> float:
        """The used share, 0 to 1."""
        return self.used / self.limit if self.limit > 0 else 1.0


class MemoryLevel(enum.Enum):
    """How much of the memory that can be had is used; each level gives up something, and what it gave up comes back.

    From the first to the last (docs/memory.md says what each gives up):
    """

    NORMAL = "normal"
    """Nothing is given up."""
    TIGHT = "tight"
    """Streams of quotes and of books that may drop keep the newest state alone."""
    HIGH = "high"
    """Closed bars, history in memory and recent trades are kept in smaller numbers."""
    SEVERE = "severe"
    """History is kept on disk alone (with a cache folder), and bulk requests for it wait."""
    LAST = "last"
    """Nothing more is read, what was read reaches its streams, and `MemoryExhausted` ends the gateway."""

    @property
    def rank(self) -> int:
        """0 for NORMAL to 4 for LAST."""
        return _ORDER.index(self)

    def step(self, by: int) -> MemoryLevel:
        """Return the level ``by`` steps on (back, where it is negative), the ends being the ends."""
        return _ORDER[min(max(0, self.rank + by), len(_ORDER) - 1)]


_ORDER = tuple(MemoryLevel)


@attrs.frozen(slots=True)
class MemoryPressureChanged:
    """Memory has become scarcer, or less so; or more was given up while it stayed as scarce (``before == level``).

    ``used`` bytes are used of ``used + available``, by the bound that is nearest; ``bound`` names it. ``did`` says what
    was given up, or taken back.
    """

    level: MemoryLevel
    before: MemoryLevel
    used: int
    available: int
    bound: str
    did: tuple[str, ...]
    at: int


@attrs.frozen(slots=True)
class CapacityChanged:
    """A stream that was opened without ``capacity=`` holds more items now, or fewer; ``reason`` is a sentence."""

    stream: str
    before: int
    capacity: int
    reason: str
    at: int


MemoryEvent = MemoryPressureChanged | CapacityChanged
"""What is told of memory."""
