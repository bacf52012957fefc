"""What time the bars of one folder of the cache cover, as a file: written after the bars, so it promises only them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import msgspec

from trio_projectx.history.intervals import Intervals

FORMAT: Final = 1
LEDGER: Final = "coverage.json"


class NewerFormat(Exception):
    """A file of a later version: it is not ours to read, or to write over."""


class DamagedLedger(Exception):
    """A file that is no ledger."""


class _Version(msgspec.Struct):
    format: int


class _Ledger(msgspec.Struct):
    """What `coverage.json` holds; ``covered`` are pairs of int64 ns."""

    format: int
    live: bool
    covered: list[tuple[int, int]]


@attrs.define(slots=True)
class Ledger:
    """The time that is covered, and the tier of data that the bars are of."""

    live: bool
    covered: Intervals = attrs.field(factory=Intervals)

    def encoded(self) -> bytes:
        """Return the contents of the file."""
        return msgspec.json.encode(_Ledger(FORMAT, self.live, list(self.covered)))


def read_ledger(folder: Path) -> Ledger | None:
    """Return the ledger of a folder; None if it has none.

    :raises NewerFormat: if a later version has written it.
    :raises DamagedLedger: if it is none.
    :raises OSError: if it cannot be read.
    """
    try:
        data = (folder / LEDGER).read_bytes()
    except FileNotFoundError:
        return None
    try:
        if msgspec.json.decode(data, type=_Version).format > FORMAT:
            raise NewerFormat(LEDGER)
        found = msgspec.json.decode(data, type=_Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise DamagedLedger(type(exc).__name__) from exc
    return Ledger(found.live, Intervals(found.covered))
