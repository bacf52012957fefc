"""Taps: where a recorder looks on at what comes, without being in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

from trio_projectx._events import Quote
from trio_projectx._logs import fields
from trio_projectx.flow.marks import Mark
from trio_projectx.market import DepthUpdate, PriceGrid, TradeBatch

_log: Final = logging.getLogger("trio_projectx")


class Tap(Protocol):
    """Takes what it is shown and returns at once; what it has no use for it leaves."""

    def instrument(self, contract_id: str, grid: PriceGrid) -> None:
        """A contract was asked for, whose prices lie on ``grid``."""
        ...

    def text(self, hub: Literal["market", "user"], epoch: int, text: str, ts_recv: int, now: float) -> None:
        """An epoch has read whole a text; ``now`` is trio's clock. It comes before what is made of it."""
        ...

    def mark(self, mark: Mark, now: float) -> None:
        """The pipeline of market data was told something beside the data, or acted by the clock."""
        ...

    def valid(self, batch: TradeBatch, grid: PriceGrid) -> None:
        """Trades were found valid, and go to the builders."""
        ...

    def missing(self, contract_id: str) -> None:
        """Before the next trades of a contract some may be missing."""
        ...

    def depth(self, contract_id: str, update: DepthUpdate, grid: PriceGrid) -> None:
        """Rows of depth were found valid, and go to the streams."""
        ...

    def merged(self, quote: Quote) -> None:
        """A quote was merged, and goes to the streams."""
        ...


class Taps:
    """The taps of one gateway. Nobody waits for one, and none that fails is asked again.

    Where none is open a call costs a look at an empty tuple.
    """

    __slots__ = ("_folders", "_open")

    def __init__(self) -> None:
        self._open: tuple[Tap, ...] = ()
        self._folders: tuple[tuple[Tap, Path], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether anybody looks on."""
        return bool(self._open)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where those that look on write."""
        return tuple(folder for _, folder in self._folders)

    def attach(self, tap: Tap, folder: Path | None = None) -> None:
        """Show everything to ``tap`` from now on, which writes into ``folder``."""
        self._open = (*self._open, tap)
        if folder is not None:
            self._folders = (*self._folders, (tap, folder))

    def detach(self, tap: Tap) -> None:
        """Show it nothing more."""
        self._open = tuple(each for each in self._open if each is not tap)
        self._folders = tuple(each for each in self._folders if each[0] is not tap)

    def show(self, look: Callable[[Tap], None]) -> None:
        """Let each tap look; one that raises is not asked again."""
        for tap in self._open:
            try:
                look(tap)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001  a recorder's bug must not cost a bar, and is logged in full
                _log.exception(
                    "a recorder has failed, and records nothing more", extra=fields("recorder_failed")
                )
                self.detach(tap)
