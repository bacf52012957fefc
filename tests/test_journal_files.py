"""Names, places, sealing, retention, formats: what a journal's folder may hold, and what becomes of it."""

from __future__ import annotations

import base64
import datetime
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConfigError
from trio_projectx.journal.disk import Disk
from trio_projectx.journal.layout import (
    Place,
    date_of,
    files,
    is_part,
    is_segment,
    part_name,
    places,
    segment_name,
)
from trio_projectx.journal.options import JournalOptions
from trio_projectx.journal.retention import Held, remove, survey, to_remove
from trio_projectx.journal.scan import dataset
from trio_projectx.journal.schemas import SCHEMAS, UnknownFormat
from trio_projectx.journal.seal import Sealer, read_part
from trio_projectx.journal.segment import SegmentWriter, parse_segment

MNQ = "CON.F.US.MNQ.U26"
DATE = datetime.date(2026, 8, 19)
PLACE = Place("trades", MNQ, DATE)
T0 = 1_787_172_660_000_000_000


def batch(first: int, rows: int) -> pa.RecordBatch:
    numbers = list(range(first, first + rows))
    columns = {
        "ts_event": [T0 + n for n in numbers],
        "ts_recv": [T0] * rows,
        "price": [20_000 + n % 40 / 4 for n in numbers],
        "volume": [1] * rows,
        "side": [0] * rows,
        "batch": [0] * rows,
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMAS["trades"])


def segment(root: Path, first: int, rows: int, number: int, place: Place = PLACE) -> Path:
    folder = place.folder(root)
    Disk().make_folder(folder)
    path = folder / segment_name(T0, number)
    writer = SegmentWriter(path, "trades", Disk())
    for at in range(first, first + rows, 5):
        writer.append(batch(at, min(5, first + rows - at)))
    writer.close()
    return path


def stamps(root: Path) -> list[int]:
    return [ts - T0 for ts in dataset(str(root), "trades").to_table()["ts_event"].to_pylist()]


# Names (FAULTS.md row 111)

HOSTILE = [
    "../../x",
    "CON.F.US.MNQ.U26/../x",
    "CON.F.US.MNQ.U26\n",
    "CON.F.US.MNQ.U26\r\nx",
    "CON.F.US.MNQ.U26\0",
    "A" * 300,
    "",
    ".",
    "con.f.us.mnq.u26",
    "CON.F.US.МNQ.U26",  # a Cyrillic letter
    "CON.F.US.MNQ.U٢٦",  # Arabic digits
    "hub.other",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_contract_is_refused_before_any_path(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Place("trades", text, DATE)
    assert "\n" not in str(raised.value)
    assert "\0" not in str(raised.value)
    assert len(str(raised.value)) < 200


@given(st.text())
def test_whatever_the_text_a_place_stays_below_the_root(text: str) -> None:
    root = Path("/journal")
    try:
        folder = Place("trades", text, DATE).folder(root)
    except ConfigError:
        return
    assert folder.parts[:3] == ("/", "journal", "trades")
    assert len(folder.parts) == 5


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no kind"):
        Place("../x", MNQ, DATE)  # type: ignore[arg-type]


def test_names_sort_by_time_and_are_told_apart() -> None:
    names = [segment_name(ts, n) for ts, n in ((5, 1), (T0, 2), (T0, 3), (T0 + 1, 1))]
    assert names == sorted(names)
    assert all(is_segment(name) and not is_part(name) for name in names)
    assert all(is_part(part_name(name)) for name in names)
    assert not any(
        is_segment(name) or is_part(name) for name in ("x.arrows", "lock", names[0] + ".tmp", "..parquet")
    )


def test_only_folders_of_ours_are_looked_into(tmp_path: Path) -> None:
    segment(tmp_path, 0, 3, 1)
    (tmp_path / "trades" / "contract=../x").mkdir(parents=True, exist_ok=True)
    (tmp_path / "trades" / f"contract={MNQ}" / "date=2026-02-31").mkdir()
    (tmp_path / "trades" / f"contract={MNQ}" / "date=yesterday").mkdir()
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    (elsewhere / "date=2026-08-19").mkdir(parents=True)
    (tmp_path / "trades" / "contract=CON.F.US.MES.U26").symlink_to(elsewhere)
    assert list(places(tmp_path)) == [PLACE]
    assert list(places(tmp_path / "nothing")) == []


def test_dates_are_utc_and_floored() -> None:
    assert date_of(T0) == DATE
    assert date_of(-1) == datetime.date(1969, 12, 31)


def test_a_file_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    path = segment(tmp_path, 0, 3, 1)
    with pytest.raises(FileExistsError):
        SegmentWriter(path, "trades", Disk())
    link = path.with_name("link")
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="File exists"):
        SegmentWriter(link, "trades", Disk())
    assert not (tmp_path / "target").exists()


# Sealing


def test_segments_become_one_file_with_the_same_rows(tmp_path: Path) -> None:
    for n in range(3):
        segment(tmp_path, n * 10, 10, n)
    before = stamps(tmp_path)
    report = Sealer(tmp_path, Disk()).seal(PLACE)
    assert before == stamps(tmp_path) == list(range(30))
    assert (report.rows, report.damaged, report.cut_bytes) == (30, [], 0)
    (name,) = files(PLACE.folder(tmp_path))
    assert report.part is not None
    assert name == report.part.name
    column = pq.ParquetFile(report.part).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert read_part(report.part).schema.metadata[b"trio_projectx.format"] == b"1"
    assert Sealer(tmp_path, Disk()).seal(PLACE).part is None


def test_compacting_makes_one_of_many_and_keeps_the_order(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, Disk())
    for n in range(4):
        segment(tmp_path, n * 10, 10, n)
        sealer.seal(PLACE)
    assert len(files(PLACE.folder(tmp_path))) == 4
    segment(tmp_path, 40, 5, 9)
    report = sealer.seal(PLACE, compact=True)
    assert (report.rows, len(files(PLACE.folder(tmp_path)))) == (45, 1)
    assert stamps(tmp_path) == list(range(45))
    assert sealer.seal(PLACE, compact=True).part is None  # nothing is left to compact


def test_a_segment_that_is_written_is_left_alone(tmp_path: Path) -> None:
    busy, done = segment(tmp_path, 10, 10, 2), segment(tmp_path, 0, 10, 1)
    Sealer(tmp_path, Disk()).seal(PLACE, [busy])
    assert busy.exists()
    assert not done.exists()
    assert sorted(stamps(tmp_path)) == list(range(20))


class Dies(Disk):
    """Raises at the n-th call that changes a name: where a process may die."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _step(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def create(self, path: Path) -> int:
        self._step()
        return super().create(path)

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def rename(self, path: Path, new: Path) -> None:
        self._step()
        super().rename(path, new)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)


@pytest.mark.parametrize("damaged", [False, True])
def test_whatever_instant_it_dies_at_each_row_counts_once(tmp_path: Path, *, damaged: bool) -> None:
    died = 0
    for at in range(40):
        root = tmp_path / str(at)
        for n in range(3):
            segment(root, n * 10, 10, n)
        if damaged:
            path = PLACE.folder(root) / segment_name(T0, 1)
            data = bytearray(path.read_bytes())
            data[-400] ^= 0xFF  # in its last batch
            path.write_bytes(data)
        expected = [n for n in range(30) if not (damaged and 15 <= n < 20)]
        try:
            Sealer(root, Dies(at)).seal(PLACE)
        except KeyboardInterrupt:
            died += 1
        assert stamps(root) == expected, at
        Sealer(root, Disk()).seal(PLACE)
        assert stamps(root) == expected, at
        assert len(files(PLACE.folder(root))) == 1
    assert 5 < died < 40


def test_a_damaged_part_is_quarantined(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, Disk())
    for n in range(2):
        segment(tmp_path, n * 1000, 1000, n)
        part = sealer.seal(PLACE).part
    assert part is not None
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 0xFF
    part.write_bytes(data)
    with pytest.raises(OSError, match=r"CRC|crc|checksum"):
        stamps(tmp_path)
    report = sealer.seal(PLACE, compact=True)
    (damage,) = report.damaged
    assert damage.name.endswith(part.name)
    assert stamps(tmp_path) == list(range(1000))
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_a_file_of_a_newer_format_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = SCHEMAS["trades"]
    with monkeypatch.context() as patch:
        later = schema.with_metadata({**schema.metadata, b"trio_projectx.format": b"2"})
        patch.setitem(SCHEMAS, "trades", later)  # type: ignore[arg-type]
        newer = segment(tmp_path, 0, 5, 1)
    old = segment(tmp_path, 5, 5, 2)
    report = Sealer(tmp_path, Disk()).seal(PLACE, compact=True)
    assert (report.rows, report.damaged) == (5, [])
    assert newer.exists()
    with pytest.raises(UnknownFormat, match="format 2, and this version reads up to 1"):
        dataset(tmp_path, "trades")
    assert not old.exists()


# A file of format 1, as it was written when that was new: later versions have to read it.
_V1 = (
    "eNrtVb1OG0EQnjvb5xNaWUeEIhcprkiRIoruDiuGziWlyxRI4NgXxQFj63xYLvIAeQNalzwCBRJPgGQpKfMoEZeZ3TE4w10whSkQ"
    "nzT+dnd+dm53Zp1lWQY2gAeEDaiBAxVwcYSwyrfrCn/LvP5dj4HcoMXjOcbZ4rGDkiadXjwGeKXH/eHBKBl+i7vp9MNR/6QHGEnp"
    "eC6YvcnPQglRtu75fBkmg04KHLuOhr+QZyjHKDvs79G3gGVTvDqvESoonztp9yvynxuyAYvybhXYE4/7vZjG7zNjT3mOCuwpp8nw"
    "+HSAHvvZXfyZsS+R/RuRzyjpd2P0dFEcvWrrM8yLX6XzGB8kcXcCl0vxPTwp8q/q2/H4roz/2yV/1/jHk/gkNXOFUtXri1gYNpta"
    "5uwJCl5zJSgdHUplndMcFtjAubqtid98jxW4g4JivBNctN4W+rbQT4V+KvQzoZ8t3QHhXOjPc/JyxHfBGubgnl157eu6xWwzl5jL"
    "zLAqE378pKsFj9lnDphbyBZv/xA/FlRPF5apY4Ma1oepKKqMGtfU4VLvK/j3XfBZt0k5+2EYRn7U3A52PwaNIIK8t2XQSY7uv1dz"
    "jqPgecB5gj1WfQ8+PfAe2Cu+B57gonVf6H2hD4Q+EPqW0C/mizz3hH4vJy9HfBesYV7hPnb+099t7uPDnD5+ir6kMwn9RjPyw6gR"
    "NJoI+it+6cs14i/eW7kt"
)


def test_later_versions_read_format_1() -> None:
    found = parse_segment(zlib.decompress(base64.b64decode(_V1)))
    assert (found.kind, found.fault) == ("trades", None)
    assert pa.Table.from_batches(found.batches).equals(pa.Table.from_batches([batch(0, 5), batch(5, 2)]))


# Reading


def test_filters_and_columns_reach_the_files(tmp_path: Path) -> None:
    other = Place("trades", "CON.F.US.MES.U26", DATE)
    segment(tmp_path, 0, 10, 1)
    segment(tmp_path, 100, 10, 1, other)
    Sealer(tmp_path, Disk()).seal(PLACE)
    found = dataset(tmp_path, "trades")
    table = found.to_table(filter=pc.field("contract") == MNQ, columns=["ts_event", "date"])
    assert table.column_names == ["ts_event", "date"]
    assert table.num_rows == 10
    assert dataset(tmp_path, "trades", contract=other.contract).count_rows() == 10
    assert dataset(tmp_path, "trades", first=datetime.date(2026, 8, 20)).count_rows() == 0
    assert dataset(tmp_path, "quotes").count_rows() == 0


# Retention


def held(days_ago: int, size: int) -> Held:
    return Held(Place("trades", MNQ, DATE - datetime.timedelta(days=days_ago)), size)


RETAINED = [
    (None, None, []),
    (3, None, [5, 4, 3]),
    (1, None, [5, 4, 3, 2, 1]),
    (None, 600, []),
    (None, 599, [5]),
    (None, 250, [5, 4, 3, 2]),
    (None, 1, [5, 4, 3, 2, 1]),  # the present date stays, however large it is
    (3, 250, [5, 4, 3, 2]),
]


@pytest.mark.parametrize(("days", "size", "gone"), RETAINED)
def test_what_goes_by_age_and_by_size(days: int | None, size: int | None, gone: list[int]) -> None:
    found = to_remove([held(n, 100) for n in range(6)], DATE, days, size)
    assert [(DATE - place.date).days for place in found] == gone


def test_removing_takes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    segment(tmp_path, 0, 10, 1)
    other = Place("trades", MNQ, DATE + datetime.timedelta(days=1))
    segment(tmp_path, 0, 10, 1, other)
    (other.folder(tmp_path) / "notes.txt").write_text("mine")
    sizes = {each.place: each.size for each in survey(tmp_path)}
    assert min(sizes.values()) > 500
    for place in sizes:
        remove(tmp_path, place, Disk())
    assert not PLACE.folder(tmp_path).exists()
    assert [path.name for path in other.folder(tmp_path).iterdir()] == ["notes.txt"]


BAD_OPTIONS = [
    {"sync_s": -1},
    {"linger_s": -0.1},
    {"queue_rows": 0},
    {"queue_chars": 1.5},
    {"segment_bytes": True},
    {"slow_s": 0},
    {"retry_s": float("inf")},
    {"close_s": float("nan")},
    {"keep_days": 0},
    {"keep_bytes": "1G"},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_options_are_checked(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"JournalOptions.{name}"):
        JournalOptions(**options)  # type: ignore[arg-type]
