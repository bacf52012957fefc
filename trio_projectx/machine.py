"""What watches the machine for one gateway: memory, processor, disks; how a gateway ends where memory does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConfigError, MemoryExhausted
from trio_projectx._logs import fields
from trio_projectx._memory import MemoryReading
from trio_projectx.connection.hub import Hub
from trio_projectx.flow.books import Books
from trio_projectx.flow.capacities import Capacities
from trio_projectx.flow.loss import loss_of
from trio_projectx.flow.open_streams import OpenStreams
from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.flow.shedding import RecentShed, StateShed, TableShed
from trio_projectx.flow.user_pipeline import UserPipeline
from trio_projectx.history.shedding import HistoryShed
from trio_projectx.pressure.asking import ask
from trio_projectx.pressure.checks import check_limits
from trio_projectx.pressure.disks import DiskWatch
from trio_projectx.pressure.facts import LoopHealth, MachineHealth, loop_health
from trio_projectx.pressure.reading import MemoryReader
from trio_projectx.pressure.watch import PressureWatch
from trio_projectx.streams import Streams

_log: Final = logging.getLogger("trio_projectx")
#: How often it is looked, at the end, whether what was read has reached its streams and their readers.
_POLL_S: Final = 0.01

ReadMemory = Callable[[], MemoryReading | None]


def reader_of(config: GatewayConfig) -> ReadMemory:
    """Return what reads memory: the user's, or that of this process."""
    options = config.memory
    return MemoryReader(options.budget_bytes).read if options.read is None else options.read


def check(config: GatewayConfig, read: ReadMemory) -> None:
    """Check the whole set of limits; what is doubtful is logged.

    :raises ConfigError: with a sentence for each thing that cannot be honoured.
    """
    found = check_limits(config, ask(read)[0], config.wall_clock())
    if found.errors:
        raise ConfigError("; ".join(found.errors))
    for sentence in found.warnings:
        _log.warning("limits: %s", sentence, extra=fields("limits_doubtful"))


@attrs.frozen(slots=True)
class Machine:
    """The watching tasks of one gateway, and what they saw last."""

    pressure: PressureWatch
    disks: DiskWatch
    books: Books

    def health(self) -> MachineHealth:
        """Return what was seen at the last looks."""
        watch, late = self.pressure, self.books.lag_s
        return MachineHealth(
            memory=watch.memory,
            cpu=watch.cpu,
            loop=LoopHealth() if late is None else loop_health(*late),
            disks=self.disks.disks,
        )


def watch_machine(
    config: GatewayConfig,
    read: ReadMemory,
    streams: Streams,
    hubs: Iterable[Hub[Any]],
    history: HistoryShed,
    books: Books,
    folders: Callable[[], Iterable[Path]],
    at_looks: Callable[[], None],
) -> Machine:
    """Put the watch of a gateway together; its tasks are not started yet."""
    options, tell = config.memory, streams.board.tell

    def available() -> int | None:
        reading = watch.reading
        return None if reading is None else reading.available

    capacities = Capacities(
        streams.market, config.limits.stream_items, options.stream_s, available, config.wall_clock, tell
    )
    watch = PressureWatch(
        options,
        read,
        (
            StateShed(streams.market),
            TableShed(streams.market, config.limits.bars_kept),
            RecentShed(streams.market, config.limits.recent_trades),
            history,
            capacities,
        ),
        Draining(tuple(hubs), streams.market, streams.user, streams.opened, options.drain_s / 2).run,
        wall_clock=config.wall_clock,
        tell=tell,
        at_looks=at_looks,
    )
    return Machine(watch, DiskWatch(folders, options.disk_s), books)


@attrs.frozen(slots=True)
class Draining:
    """The end of a gateway for want of memory: nothing more is read, and what was read reaches its readers."""

    hubs: tuple[Hub[Any], ...]
    market: MarketPipeline
    user: UserPipeline
    opened: OpenStreams
    builders_s: float
    """How long it waits for builders, which may wait for a stream that is not read."""

    async def run(self, error: MemoryExhausted) -> None:
        """Leave the hubs, let builders have what was read, break the streams behind it, and let readers have that."""
        for hub in self.hubs:
            hub.drain("memory has run out", error)
        with trio.move_on_after(self.builders_s):
            await _until(lambda: not self._is_busy())
        for contract in self.market.contracts:
            loss_of(contract, error).tell()
        await self.user.lose(error)
        await _until(lambda: self.opened.are_read_out)

    def _is_busy(self) -> bool:
        if (
            self.market.room.queued
        ):  # of trades or not; the user hub's streams are told behind what waits for them
            return True
        return any(each.counts.waiting_raw or each.counts.waiting_valid for each in self.market.contracts)


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody tells, because it happens once in a gateway's life; the caller has a deadline."""
    while not is_so():  # noqa: ASYNC110
        await trio.sleep(_POLL_S)
