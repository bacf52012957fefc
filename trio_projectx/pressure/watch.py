"""The task that looks at memory and processor, has things given up or taken back, and ends the gateway last."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from trio_projectx._errors import MemoryExhausted
from trio_projectx._logs import fields
from trio_projectx._memory import MemoryEvent, MemoryLevel, MemoryPressureChanged, MemoryReading
from trio_projectx._options import MemoryOptions
from trio_projectx.pressure.asking import ask
from trio_projectx.pressure.facts import (
    CpuHealth,
    cpu_health,
    memory_health,
)
from trio_projectx.pressure.levels import Levels

_log: Final = logging.getLogger("trio_projectx")


class Shed(Protocol):
    """Something that takes less memory at some levels."""

    def at(self, level: MemoryLevel) -> Sequence[str]:
        """Be as ``level`` wants it; called at each look. Return a sentence for what that changed, without waiting."""
        ...


class PressureWatch:
    """Looks every ``options.look_s`` (or sooner, see `Levels`), in one task of the gateway's nursery.

    ``drain`` is awaited at the last level, for ``options.drain_s`` at most: nothing more is to be read, and what was
    read is to reach its streams, and behind it the error. ``cpu_s`` gives the process's time on processors;
    ``at_looks`` is called at each look, for what else is to be done now and then.
    """

    def __init__(
        self,
        options: MemoryOptions,
        read: Callable[[], MemoryReading | None],
        sheds: Sequence[Shed],
        drain: Callable[[MemoryExhausted], Awaitable[None]],
        *,
        wall_clock: Callable[[], int],
        tell: Callable[[MemoryEvent], None],
        cpu_s: Callable[[], float] = time.process_time,
        at_looks: Callable[[], None] = lambda: None,
    ) -> None:
        self._at_looks = at_looks
        self._options = options
        self._read = read
        self._sheds = tuple(sheds)
        self._drain = drain
        self._wall_clock = wall_clock
        self._tell = tell
        self._cpu_s = cpu_s
        self._levels = Levels(options)
        self._is_unknown_told = False
        self._last = (trio.current_time(), cpu_s())
        # Read once now, so that it can be asked for; what follows from it waits for the first look.
        found, why = ask(read)
        if why is not None:
            self._tell_unknown(why)
        self.memory = memory_health(self.level, found, why)
        self.cpu = CpuHealth(processors=processors())
        self.reading: MemoryReading | None = None
        """What was read last, where anything could be."""

    @property
    def level(self) -> MemoryLevel:
        """The level at the last look."""
        return self._levels.level

    async def run(self) -> None:
        """Look until cancelled.

        :raises MemoryExhausted: at the last level, when what was read has reached its streams, or did not in time.
        """
        while True:
            share = None if self.reading is None else self.reading.share
            await trio.sleep(self._levels.next_look_s(share))
            self.look()
            if self.level is MemoryLevel.LAST:
                await self._leave()

    def look(self) -> None:
        """Look now, and do and tell what follows from it. It does not wait."""
        now, before = trio.current_time(), self.level
        self._at_looks()
        self._note_cpu(now)
        found, why = ask(self._read)
        self.reading = found or self.reading
        if found is None:
            self._tell_unknown(why)
        if self.reading is not None:
            # What could be read and cannot be any more (too many open files) is not taken for scarce, nor at once for
            # plenty: it comes back step by step, as it does where memory is free again.
            self._levels.look(0.0 if found is None else found.share, now)
        did = [sentence for shed in self._sheds for sentence in shed.at(self.level)]
        if self.level is not before and self.level is MemoryLevel.SEVERE:
            did.append(f"{gc.collect():,} objects that nothing reaches were collected")
        self.memory = memory_health(
            self.level, found or (None if self.level is MemoryLevel.NORMAL else self.reading), why
        )
        if self.reading is not None and (did or self.level is not before):
            self._changed(before, self.reading, did)

    def _changed(self, before: MemoryLevel, reading: MemoryReading, did: Sequence[str]) -> None:
        severity = logging.WARNING if self.level.rank >= before.rank else logging.INFO
        said = "; ".join(did) or "nothing more can be given up"
        _log.log(
            severity,
            "%s (it was %s); %s",
            self.memory.sentence,
            before.value,
            said,
            extra=fields(
                "memory_pressure",
                memory_level=self.level.value,
                used=reading.used,
                available=reading.available,
            ),
        )
        self._tell(
            MemoryPressureChanged(
                self.level,
                before,
                reading.used,
                reading.available,
                reading.bound,
                tuple(did),
                self._wall_clock(),
            )
        )

    def _tell_unknown(self, why: str | None) -> None:
        if self._is_unknown_told:
            return
        self._is_unknown_told = True
        if why is None:
            _log.warning(
                "memory cannot be read on this system (no /proc, no psutil): nothing is given up when it is scarce",
                extra=fields("memory_unknown"),
            )
        else:
            _log.warning(
                "memory cannot be read by MemoryOptions.read: %s: nothing is given up when it is scarce",
                why,
                extra=fields("memory_unknown"),
            )

    async def _leave(self) -> None:
        """Let what was read reach its streams, then end the gateway; also where its block has ended by that."""
        error = MemoryExhausted(f"the gateway ends to be started again: {self.memory.sentence}")
        try:
            with trio.move_on_after(self._options.drain_s):
                await self._drain(error)
        finally:  # its block has ended, or a bug: the reason is this; two errors are nobody's to hide
            if not isinstance(sys.exception(), (KeyboardInterrupt, MemoryError)):
                raise error

    # -- the rest of what health() tells

    def _note_cpu(self, now: float) -> None:
        spent = self._cpu_s()
        (since, had), self._last = self._last, (now, spent)
        if now > since:
            self.cpu = cpu_health((spent - had) / (now - since), self.cpu.processors)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
