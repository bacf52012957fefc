"""What is kept, by age and by size: whole dates go, the oldest first, and never the present one."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import attrs

from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import Place, files, is_part, is_segment, places


@attrs.frozen(slots=True)
class Held:
    """A folder and the bytes of its files."""

    place: Place
    size: int


def survey(root: Path) -> list[Held]:
    """Return all folders of a journal and what they take."""
    found: list[Held] = []
    for place in places(root):
        folder, size = place.folder(root), 0
        for name in files(folder):
            try:
                size += (folder / name).stat().st_size
            except FileNotFoundError:
                continue  # it was sealed meanwhile
        found.append(Held(place, size))
    return found


def to_remove(
    held: Iterable[Held], today: datetime.date, keep_days: int | None, keep_bytes: int | None
) -> list[Place]:
    """Return the places that go: older than so many dates; then the oldest, until the rest fits."""
    by_age = sorted(held, key=lambda each: (each.place.date, each.place))
    first = datetime.date.min if keep_days is None else today - datetime.timedelta(days=keep_days - 1)
    gone = [each for each in by_age if each.place.date < first]
    stay = [each for each in by_age if each.place.date >= first]
    size = sum(each.size for each in stay)
    for each in stay:
        if keep_bytes is None or size <= keep_bytes:
            break
        if each.place.date < today:
            gone.append(each)
            size -= each.size
    return [each.place for each in gone]


def remove(root: Path, place: Place, disk: Disk) -> None:
    """Remove the files of a place, and its folder; what is not ours stays, and the folder with it."""
    folder = place.folder(root)
    for name in files(folder):
        if is_segment(name) or is_part(name):
            disk.remove(folder / name)
    try:
        folder.rmdir()
    except OSError:
        return  # something of somebody else's is in it
    disk.sync_folder(folder.parent)
