"""The two nearer levels of history, memory and disk, as one: what of a time is known, and what it says.

A disk that fails or hangs is told, and the service asked instead; nobody waits for it longer than `DISK_S`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import trio

from trio_projectx._events import CacheQuarantined, GatewayEvent
from trio_projectx._logs import fields
from trio_projectx.history.candles import Candle
from trio_projectx.history.files import chunks
from trio_projectx.history.intervals import Intervals
from trio_projectx.history.ledger import Ledger
from trio_projectx.history.ring import Ring
from trio_projectx.history.store import BarStore
from trio_projectx.history.units import Source

T = TypeVar("T")
TellEvent: TypeAlias = Callable[[GatewayEvent], None]
_log: Final = logging.getLogger("trio_projectx")
#: How long a call of the disk's is waited for.
DISK_S: Final = 30.0
#: So many steps are read at once, and what stands before them in the same file: some 0.1 s of work.
_STEPS_READ: Final = 40_000


class Levels:
    """Memory and, if there is a ``store``, disk. ``tell`` gets what users are told of beside the log."""

    def __init__(
        self,
        store: BarStore | None,
        ring: Ring,
        wall_clock: Callable[[], int],
        tell: TellEvent | None = None,
    ) -> None:
        self._store = store
        self._ring = ring
        self._wall_clock = wall_clock
        self._tell = tell
        # One call at a time, as the store wants it; a disk that hangs takes no thread of others.
        self._threads = trio.CapacityLimiter(1)
        self._is_stuck = False
        self._is_failing = False
        self._is_closed = False

    def limit(self, bars_kept: int, most: int) -> int:
        """Keep so many bars in memory from now on (`Ring.limit`); what the disk has stays there."""
        return self._ring.limit(bars_kept, most)

    def close(self) -> None:
        """Write nothing more. A call that is under way ends by itself."""
        self._is_closed = True
        if self._store is not None:
            self._store.close()

    async def known(
        self, contract_id: str, source: Source, live: bool | None
    ) -> tuple[Intervals, bool | None]:
        """Return the time that is known, and its tier: ``live``'s, or for None that of any, and None if none is."""
        store = self._store
        ledger: Ledger | None = None
        if store is not None:
            ledger = await self._in_thread(lambda: store.ledger(contract_id, source, live))
        known = Intervals() if ledger is None else ledger.covered
        tiers = [live] if live is not None else [False, True] if ledger is None else [ledger.live]
        for tier in tiers:
            known.add(*self._ring.span((contract_id, source.label, tier)))
            if known:
                return known, tier
        return known, live

    async def before(
        self, contract_id: str, source: Source, low: int, high: int, live: bool
    ) -> tuple[int, list[Candle]] | None:
        """Return from when on (at or after ``low``) all before ``high`` is here, and that; None if nothing is."""
        key, store = (contract_id, source.label, live), self._store
        in_memory = self._ring.before(key, low, high)
        if in_memory is not None or store is None:
            await trio.lowlevel.checkpoint()
            return in_memory
        first = high - _STEPS_READ * source.step_ns
        low = max(low, next(chunks(source, first, high))[0])  # whole files: none is read twice
        stored = await self._in_thread(lambda: store.load(contract_id, source, low, high, live))
        spans = [] if stored is None else list(stored.covered)
        if stored is None or not spans or spans[-1][1] != high:
            return None
        start = spans[-1][0]
        bars = [bar for bar in stored.candles if start <= bar.start]
        self._ring.put(key, start, high, bars)
        return start, bars

    async def keep(
        self, contract_id: str, source: Source, covered: Intervals, bars: list[Candle], live: bool
    ) -> None:
        """Keep bars that are final, and all that there were in ``covered``."""
        spans = list(covered)
        if not spans:
            return
        start, end = spans[-1]
        of_last = [bar for bar in bars if start <= bar.start]
        self._ring.put((contract_id, source.label, live), start, end, of_last)
        store = self._store
        if store is not None and not self._is_closed:
            await self._in_thread(lambda: store.save(contract_id, source, covered, bars, live))

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        if self._is_stuck:
            return None
        try:
            with trio.fail_after(DISK_S):
                # Left behind when it hangs; it keeps the limiter's place, so no other call meets it in the same files.
                result = await trio.to_thread.run_sync(
                    self._worked, work, abandon_on_cancel=True, limiter=self._threads
                )
            self._is_failing = False
            return result
        except trio.TooSlowError:
            self._is_stuck = self._threads.borrowed_tokens > 0
            _log.warning(
                "the cache of bars has not answered in %g s; the service is asked",
                DISK_S,
                extra=fields("cache_slow"),
            )
        except OSError as exc:
            if not self._is_failing:
                _log.warning(
                    "the cache of bars cannot be used (%s); the service is asked",
                    exc.strerror,
                    extra=fields("cache_failed"),
                )
            self._is_failing = True
        finally:
            self._tell_damages()
        return None

    def _worked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._is_stuck = False

    def _tell_damages(self) -> None:
        damages = [] if self._store is None else self._store.take_damages()
        for damage in damages:
            if self._tell is not None:
                self._tell(CacheQuarantined(damage.name, damage.reason, self._wall_clock()))
