"""Bars of the service's on disk, with the ledger of what time they cover: what is there is not asked again.

One Parquet file for each contract, unit and month (seconds: day), rewritten whole beside itself and renamed; then the
ledger, in the same way. So the ledger never promises what is not there, and whoever reads the ledger first and the bars
afterwards finds what it promises. A damaged file is moved to the quarantine and its time taken out of the ledger: it is
asked for again. Everything blocks.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from trio_projectx._errors import ConfigError, ContractError
from trio_projectx._logs import fields
from trio_projectx.history.candles import Candle, opening
from trio_projectx.history.files import DamagedBars, chunks, encoded, file_name, read_bars
from trio_projectx.history.intervals import Interval, Intervals
from trio_projectx.history.ledger import LEDGER, DamagedLedger, Ledger, NewerFormat, read_ledger
from trio_projectx.history.units import Source
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.writer import Claim
from trio_projectx.market import ContractId

_log: Final = logging.getLogger("trio_projectx")
BARS: Final = "bars"
#: How often, and after what time each, it is tried to get the right to write.
_TURNS: Final = 100
_TURN_S: Final = 0.05
_LABEL: Final = re.compile("[0-9]{1,5}[smh]")


@attrs.frozen(slots=True)
class Damage:
    """A file that was found damaged; ``name`` is its path in the cache."""

    name: str
    reason: str
    is_moved: bool
    """Whether it is in the quarantine; not while another process writes."""


@attrs.frozen(slots=True)
class Stored:
    """Bars, oldest first, and the time of which they are all that there were."""

    candles: list[Candle] = attrs.field(factory=list[Candle])
    covered: Intervals = attrs.field(factory=Intervals)


@attrs.frozen(slots=True)
class Shelf:
    """One folder: the bars of a contract in a unit, and what time they cover."""

    contract_id: str
    unit: str
    folder: Path
    ledger: Ledger


class BarStore:
    """All bars below ``root``. For one call at a time.

    Several processes may have one each: they write in turns. One that finds others writing for longer than five seconds
    leaves it at reading, that once, and says so in the log. With ``is_reader`` it never writes.
    """

    def __init__(self, root: Path, disk: Disk | None = None, *, is_reader: bool = False) -> None:
        self.root = root
        self._disk = Disk() if disk is None else disk
        self._is_reader = is_reader
        self._claim: Claim | None = None
        self._is_closed = False
        self._told: set[str] = set()
        self._damages: list[Damage] = []

    def close(self) -> None:
        """Write nothing more."""
        self._is_closed = True

    def take_damages(self) -> list[Damage]:
        """Return what was found damaged since the last call."""
        found, self._damages = self._damages, []
        return found

    def ledger(self, contract_id: str, source: Source, live: bool | None = None) -> Ledger | None:
        """Return what time is known, and its tier; None where nothing is, it is damaged, or not ``live``'s."""
        ledger = self._ledger(self._folder(contract_id, source))
        return None if ledger is None or live not in (None, ledger.live) else ledger

    def load(
        self, contract_id: str, source: Source, start: int, end: int, live: bool | None = None
    ) -> Stored:
        """Return what is known of ``[start, end)``."""
        ledger = self.ledger(contract_id, source, live)  # first: a writer promises bars when they are there
        if ledger is None:
            return Stored()
        folder = self._folder(contract_id, source)
        bars: list[Candle] = []
        for span in chunks(source, start, end):
            try:
                known = bool(ledger.covered.within(*span))
                bars += (self._checked(folder, source, span, ledger) or ()) if known else ()
            except NewerFormat:
                self._tell_newer(folder)
                ledger.covered.cut(*span)
        covered = Intervals(ledger.covered.within(start, end))
        return Stored(list(_inside(bars, covered)), covered)

    def save(
        self,
        contract_id: str,
        source: Source,
        covered: Intervals,
        bars: Iterable[Candle],
        live: bool = False,
    ) -> bool:
        """Put in all bars that open in ``covered``; they take the place of what was known from its start to its end.

        False if that is not ours to do: another process is writing, or a later version has written.
        """
        if not covered or self._is_closed:
            return False
        folder = self._folder(contract_id, source)
        with self._writing() as may_write:
            try:
                if may_write:
                    self._save(folder, source, covered, sorted(bars, key=opening), live)
            except NewerFormat:
                self._tell_newer(folder)
                return False
        return may_write

    def _save(self, folder: Path, source: Source, covered: Intervals, bars: list[Candle], live: bool) -> None:
        spans = list(covered)
        start, end = spans[0][0], spans[-1][1]
        ledger = self._prepared(folder, live)
        for span in chunks(source, start, end):
            old = self._checked(folder, source, span, ledger) or []
            kept = [bar for bar in old if not start <= bar.start < end]
            new = [bar for bar in bars if max(span[0], start) <= bar.start < min(span[1], end)]
            data = encoded(sorted([*kept, *new], key=opening), live=live)
            self._replace(folder / file_name(source, span[0]), data)
        ledger.covered.cut(start, end)
        for each in spans:
            ledger.covered.add(*each)
        self._replace(folder / LEDGER, ledger.encoded())

    def shelves(self) -> Iterator[Shelf]:
        """Yield every folder that has a ledger, by contract and unit."""
        for path in sorted(self.root.glob(f"{BARS}/contract=*/unit=*/{LEDGER}")):
            contract = path.parent.parent.name.removeprefix("contract=")
            unit = path.parent.name.removeprefix("unit=")
            with contextlib.suppress(ContractError):
                ContractId.parse(contract)
                ledger = self._ledger(path.parent) if _LABEL.fullmatch(unit) else None
                if ledger is not None:
                    yield Shelf(contract, unit, path.parent, ledger)

    def _folder(self, contract_id: str, source: Source) -> Path:
        # Both are checked here, where they become a path: nothing else of a caller's does.
        contract = str(ContractId.parse(contract_id))
        assert _LABEL.fullmatch(source.label)
        return self.root / BARS / f"contract={contract}" / f"unit={source.label}"

    def _ledger(self, folder: Path) -> Ledger | None:
        try:
            return read_ledger(folder)
        except NewerFormat:
            self._tell_newer(folder)
        except DamagedLedger as exc:
            self._set_aside(folder / LEDGER, str(exc))
        return None

    def _prepared(self, folder: Path, live: bool) -> Ledger:
        """Return the ledger to write; bars of another tier go, for one table is not to hold both."""
        try:
            ledger = read_ledger(folder)
        except DamagedLedger as exc:
            self._set_aside(folder / LEDGER, str(exc))
            ledger = None
        if ledger is not None and ledger.live is not live:
            _log.warning(
                "the cached bars of %s were of live=%s; they go",
                folder.parent.name,
                ledger.live,
                extra=fields("cache_tier", contract=folder.parent.name),
            )
            ledger = Ledger(live)
            self._replace(folder / LEDGER, ledger.encoded())
            for path in sorted(folder.glob("*.parquet")):
                self._disk.remove(path)
        return Ledger(live) if ledger is None else ledger

    def _checked(self, folder: Path, source: Source, span: Interval, ledger: Ledger) -> list[Candle] | None:
        """Return the bars of one file; None if there are none to be had, which both ledgers know then."""
        path = folder / file_name(source, span[0])
        try:
            bars = read_bars(path, span, live=ledger.live)
            is_damaged = False
        except DamagedBars:
            bars, is_damaged = None, True
        if bars is None and (is_damaged or ledger.covered.within(*span)):
            return self._mended(path, span, ledger)
        return bars

    def _mended(self, path: Path, span: Interval, ledger: Ledger) -> list[Candle] | None:
        """Look once more, with the right to write: another process may have been at it. What is damaged goes."""
        bars: list[Candle] | None = None
        with self._writing():
            fresh = self._ledger(path.parent)
            try:
                bars = read_bars(path, span, live=ledger.live)
            except DamagedBars as exc:
                self._set_aside(path, str(exc))
            is_ours = fresh is not None and fresh.live is ledger.live
            now = fresh.covered.within(*span) if fresh is not None and is_ours and bars is not None else []
            ledger.covered.cut(*span)
            for each in now:
                ledger.covered.add(*each)
            if fresh is not None and is_ours and bars is None and self._claim is not None:
                fresh.covered.cut(*span)
                self._replace(path.parent / LEDGER, fresh.encoded())
        return bars if now else None

    @contextlib.contextmanager
    def _writing(self) -> Generator[bool]:
        """For the length of a block have the right to write, and say whether that is so; it may be in another one."""
        if self._claim is not None:
            yield True
            return
        self._claim = self._claimed()
        try:
            yield self._claim is not None
        finally:
            if self._claim is not None:
                self._claim.release()
            self._claim = None

    def _claimed(self) -> Claim | None:
        """Wait for another process to have written, for five seconds."""
        for _ in range(0 if self._is_reader else _TURNS):
            try:
                return Claim(self.root / BARS, self._disk)
            except ConfigError:
                time.sleep(_TURN_S)  # in a thread
        if not self._is_reader:
            self._tell_once("another gateway writes into the cache of bars; this one only reads meanwhile")
        return None

    def _set_aside(self, path: Path, reason: str) -> None:
        name = "/".join(path.relative_to(self.root).parts)
        _log.warning(
            "the cached bars of %s are damaged (%s); they are asked for again",
            name,
            reason,
            extra=fields("cache_damaged", file=name),
        )
        with self._writing() as is_moved:
            if is_moved:
                self._quarantine(path)
        self._damages.append(Damage(name, reason, is_moved))

    def _quarantine(self, path: Path) -> None:
        folder = self.root / "quarantine"
        self._disk.make_folder(folder)
        name = "__".join(path.relative_to(self.root).parts)
        number = sum(each.name.startswith(name) for each in folder.iterdir())
        self._disk.rename(path, folder / (f"{name}.{number}" if number else name))

    def _tell_newer(self, folder: Path) -> None:
        self._tell_once(f"a later version has written {folder.parent.name}; it is left alone")

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning("the cache of bars: %s", text, extra=fields("cache"))

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        self._disk.make_folder(path.parent)
        self._disk.remove(temporary)
        fd = self._disk.create(temporary)
        try:
            self._write(fd, data)
        except OSError:
            with contextlib.suppress(OSError):  # the first one is what there is to tell
                self._disk.remove(temporary)
            raise
        self._disk.rename(temporary, path)
        self._disk.sync_folder(path.parent)

    def _write(self, fd: int, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += self._disk.write(fd, data[written:])
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)


def _inside(bars: list[Candle], covered: Intervals) -> Iterator[Candle]:
    """Yield those bars that open in covered time; both are in order."""
    spans = iter(covered)
    span = next(spans, None)
    for bar in bars:
        while span is not None and span[1] <= bar.start:
            span = next(spans, None)
        if span is not None and span[0] <= bar.start:
            yield bar
