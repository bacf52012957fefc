"""Where files are, and what they may be called: nothing that others say becomes a path unless it is on a list."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._redact import escape

Kind: TypeAlias = Literal["trades", "quotes", "depth", "frames", "instruments"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
QUARANTINE: Final = "quarantine"
LOCK: Final = "lock"
# ASCII by listing, each with a length: what does not match is no file or folder of ours, whoever sent it.
_CONTRACT: Final = re.compile(r"CON\.F\.US\.[A-Z0-9]{1,8}\.[FGHJKMNQUVXZ][0-9]{2}|hub\.(?:market|user)")
_SEGMENT: Final = re.compile(r"([0-9]{19})-([0-9]{6})\.arrows")
_PART: Final = re.compile(r"([0-9]{19})-([0-9]{6})\.parquet")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_NS: Final = 86_400_000_000_000
_EPOCH: Final = datetime.date(1970, 1, 1)
#: Of the owner alone.
DIR_MODE: Final = 0o700
FILE_MODE: Final = 0o600


@attrs.frozen(slots=True, order=True)
class Place:
    """One folder: a kind of records, of one contract (frames: of one hub), that came on one date (UTC).

    :raises ConfigError: if any of them is not on its list; the text is escaped and cut.
    """

    kind: Kind
    contract: str
    date: datetime.date

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"{escape(str(self.kind), 40)} is no kind of record; there are {', '.join(KINDS)}"
            )
        if not isinstance(self.contract, str) or not _CONTRACT.fullmatch(self.contract):
            raise ConfigError(f"{escape(str(self.contract), 60)!r} is no contract id that can name a folder")

    def folder(self, root: Path) -> Path:
        """Return the folder below ``root``."""
        return root / self.kind / f"contract={self.contract}" / f"date={self.date.isoformat()}"


def date_of(ts_ns: int) -> datetime.date:
    """Return the date (UTC) of int64 ns; the years 1678 to 2261 hold them all."""
    return _EPOCH + datetime.timedelta(days=ts_ns // _DAY_NS)


def segment_name(ts_ns: int, number: int) -> str:
    """Return the name of a segment that was begun at ``ts_ns`` (our clock): names sort by it."""
    return f"{max(0, ts_ns):019d}-{number % 1_000_000:06d}.arrows"


def part_name(first_segment: str) -> str:
    """Return the name of the Parquet file that begins with a segment or another part."""
    return first_segment.partition(".")[0] + ".parquet"


def is_segment(name: str) -> bool:
    """Whether a file of this name is a segment."""
    return _SEGMENT.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Whether a file of this name is sealed Parquet."""
    return _PART.fullmatch(name) is not None


def places(root: Path, kind: Kind | None = None) -> Iterator[Place]:
    """Yield the folders that are there, in order; what has another name, or is a link, is not looked into."""
    for one in KINDS if kind is None else (kind,):
        for contract in _folders(root / one, "contract="):
            for date in _folders(root / one / f"contract={contract}", "date="):
                if _CONTRACT.fullmatch(contract) and _DATE.fullmatch(date):
                    try:
                        yield Place(one, contract, datetime.date.fromisoformat(date))
                    except ValueError:  # 2026-02-31
                        continue


def _folders(parent: Path, prefix: str) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            found = [e.name for e in entries if e.name.startswith(prefix) and e.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name.removeprefix(prefix) for name in found)


def files(folder: Path) -> list[str]:
    """Return the names of the plain files of a folder, in order; none if it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_file(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
