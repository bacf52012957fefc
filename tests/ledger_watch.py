"""Looks at the ledger and the handlers of every gateway and replay of a test: at steps of the scheduler, at its end.

It learns of each by the one constructor that both have, and looks on as an instrument of the trio run in which that
is called. Where nothing streams it costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import pytest
import trio

from trio_projectx.market_data import MarketData
from trio_projectx.streams import Streams

#: Every step of the scheduler, and not a sample of them.
WHOLE: Final = bool(os.environ.get("TRIO_PROJECTX_WHOLE"))
#: The first steps are those of opening, which are few and alike; later ones are looked at now and then.
_DENSE: Final = 140
_EVERY: Final = 151
_DENSE_EVERY: Final = 7


@attrs.define(slots=True, eq=False)
class LedgerWatch(trio.abc.Instrument):
    """All gateways and replays of one test. What was seen broken is kept as text, the first of each."""

    whole: bool = WHOLE
    broken: list[str] = attrs.field(factory=list[str])
    looks: int = 0
    steps: int = 0
    _watched: dict[trio.lowlevel.TrioToken, list[tuple[Streams, MarketData]]] = attrs.field(factory=dict)
    """By the run of trio that they live in: of another thread's, nothing is looked at while it runs."""
    _next: int = 0

    def add(self, streams: Streams, owner: MarketData) -> None:
        """Watch one more; called in the run of trio that it lives in."""
        self._next = self.steps
        run = trio.lowlevel.current_trio_token()
        if run not in self._watched:
            self._watched[run] = []
            trio.lowlevel.add_instrument(self)
        self._watched[run].append((streams, owner))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look, if it is time to."""
        self.steps += 1
        if self.steps >= self._next:
            self._next = self.steps + self._stride()
            self.looks += 1
            watched = self._watched.get(trio.lowlevel.current_trio_token(), [])
            self._look(watched, f"after step {self.steps}, of {task.name}")

    def _stride(self) -> int:
        if self.whole:
            return 1
        return _DENSE_EVERY if self.looks < _DENSE // _DENSE_EVERY else _EVERY

    def _look(self, watched: list[tuple[Streams, MarketData]], when: str) -> None:
        for streams, owner in watched:
            broken = [str(row) for row in streams.ledger().broken] + _broken_handlers(owner)
            if broken and len(self.broken) < 5:
                self.broken.append(f"{when}: {'; '.join(broken)}")

    def conclude(self) -> None:
        """Look for the last time, and fail the test if anything was ever not accounted for."""
        for watched in self._watched.values():
            self._look(watched, "at the end")
        self._watched.clear()
        assert not self.broken, "the ledger did not balance:\n" + "\n".join(self.broken)

    def forgive(self) -> None:
        """Forget what was seen: for the tests that break a counter."""
        self.broken.clear()


def _broken_handlers(owner: MarketData) -> list[str]:
    handlers = getattr(owner, "_handlers", None)  # it is made after that by which its owner is known here
    return [] if handlers is None else [str(each) for each in handlers.statistics() if not each.balanced]


@contextmanager
def watched_ledgers(monkeypatch: pytest.MonkeyPatch, *, whole: bool = WHOLE) -> Iterator[LedgerWatch]:
    """Watch every gateway and replay that is made until the block is left, which fails if a ledger was ever broken."""
    watch = LedgerWatch(whole=whole)
    made = MarketData.__init__

    def make(self: MarketData, streams: Streams) -> None:
        made(self, streams)
        watch.add(streams, self)

    monkeypatch.setattr(MarketData, "__init__", make)
    yield watch
    watch.conclude()
