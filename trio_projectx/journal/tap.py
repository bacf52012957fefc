"""What a gateway receives, on its way into a journal."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import attrs
import trio

from trio_projectx._config import Limits
from trio_projectx._errors import ConfigError
from trio_projectx._events import JournalEvent, Quote
from trio_projectx.flow.marks import Mark, StateMark, limits_in_force, write_mark
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.taps import Taps
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.recorder import Recorder, open_recorder
from trio_projectx.market import DepthUpdate, PriceGrid, TradeBatch

_DAY_NS: Final = 86_400_000_000_000

What: TypeAlias = Literal["frames", "trades", "quotes", "depth"]
"""What a gateway can record."""


@attrs.define(slots=True, eq=False)
class JournalTap:
    """Hands to a recorder what it is to record; a `Tap`.

    Where frames are recorded, a date begins with how everything stands (`StateMark`), and so does what comes behind
    rows that were lost: so a replay can begin there.
    """

    recorder: Recorder
    what: Collection[What]
    market: MarketPipeline
    limits: Limits
    wall_clock: Callable[[], int]
    _run: str = attrs.field(factory=lambda: secrets.token_hex(8))
    _day: int = -1

    def begin(self) -> None:
        """Record how everything stands."""
        self._turn(self.wall_clock(), trio.current_time())

    def instrument(self, contract_id: str, grid: PriceGrid) -> None:
        """Record the grid of a contract."""
        self.recorder.instrument(contract_id, grid, self.wall_clock())

    def text(self, hub: Literal["market", "user"], epoch: int, text: str, ts_recv: int, now: float) -> None:
        """Record a frame."""
        if "frames" in self.what and text:
            self._turn(ts_recv, now)
            self.recorder.frame(hub, epoch, text, ts_recv, now)

    def mark(self, mark: Mark, now: float) -> None:
        """Record a mark."""
        if "frames" in self.what:
            at = self.wall_clock()
            self._turn(at, now)
            self.recorder.mark(write_mark(mark), at, now)

    def valid(self, batch: TradeBatch, grid: PriceGrid) -> None:
        """Record trades."""
        if "trades" in self.what:
            self._turn(batch.ts_recv, 0.0)
            self.recorder.trades(batch, grid)

    def missing(self, contract_id: str) -> None:
        """Note that trades may be missing."""
        self.recorder.missing(contract_id)

    def depth(self, contract_id: str, update: DepthUpdate, grid: PriceGrid) -> None:
        """Record rows of depth."""
        if "depth" in self.what:
            self.recorder.depth(contract_id, update, grid)

    def merged(self, quote: Quote) -> None:
        """Record a quote."""
        if "quotes" in self.what:
            self.recorder.quote(quote)

    def _turn(self, at: int, now: float) -> None:
        """Record how everything stands, where a date begins, or what came before was lost."""
        is_new = at // _DAY_NS > self._day
        if is_new:
            self._day = at // _DAY_NS
            for contract in self.market.contracts:
                self.recorder.instrument(contract.contract_id, contract.grid, at)
        lost = self.recorder.lost_frames
        if "frames" in self.what and (is_new or lost):
            state = StateMark(self._run, lost, limits_in_force(self.limits), self.market.declared)
            if self.recorder.mark(write_mark(state), at, now):
                self.recorder.told_lost(lost)


@asynccontextmanager
async def open_tapped(
    root: Path | str,
    what: Collection[What],
    options: JournalOptions,
    taps: Taps,
    market: MarketPipeline,
    limits: Limits,
    wall_clock: Callable[[], int],
    tell: Callable[[JournalEvent], None],
) -> AsyncGenerator[Recorder]:
    """Record what a gateway receives: see `Gateway.open_recorder`."""
    if isinstance(what, str) or not what or not set(what) <= set(get_args(What)):
        raise ConfigError(f"what is recorded is some of {', '.join(get_args(What))}, not {what!r:.60}")
    if not isinstance(options, JournalOptions):
        raise ConfigError(f"options must be JournalOptions, not a {type(options).__name__}")
    async with open_recorder(root, options=options, wall_clock=wall_clock, tell=tell) as recorder:
        tap = JournalTap(recorder, frozenset(what), market, limits, wall_clock)
        tap.begin()
        taps.attach(tap, recorder.root)
        try:
            yield recorder
        finally:
            taps.detach(tap)
