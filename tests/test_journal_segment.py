"""Segments: what was acknowledged is read, wherever the file ends; what was damaged is told, and never taken."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.journal.disk import Disk
from trio_projectx.journal.schemas import FORMAT, SCHEMAS, UnknownFormat, check_schema
from trio_projectx.journal.segment import Segment, SegmentWriter, parse_segment, read_segment

SCHEMA = SCHEMAS["trades"]


def batch(number: int, rows: int) -> pa.RecordBatch:
    rng = random.Random(number)
    columns = {
        "ts_event": [number * 1000 + n for n in range(rows)],
        "ts_recv": [number] * rows,
        "price": [20_000 + rng.randrange(400) / 4 for _ in range(rows)],
        "volume": [rng.randrange(1, 9) for _ in range(rows)],
        "side": [rng.randrange(-1, 2) for _ in range(rows)],
        "batch": [number] * rows,
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


BATCHES = [batch(n, rows) for n, rows in enumerate((3, 1, 40, 7))]


def written(folder: Path, batches: list[pa.RecordBatch]) -> tuple[bytes, list[int]]:
    """The bytes of a segment, and where each batch's acknowledgement ends."""
    path = folder / "segment"
    writer = SegmentWriter(path, "trades", Disk())
    ends = []
    for each in batches:
        writer.append(each)
        ends.append(writer.size)
    writer.sync()
    writer.close()
    data = path.read_bytes()
    path.unlink()
    return data, ends


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    return written(tmp_path_factory.mktemp("segment"), BATCHES)


def same(segment: Segment, batches: list[pa.RecordBatch]) -> bool:
    return len(segment.batches) == len(batches) and all(
        one.equals(other) for one, other in zip(segment.batches, batches, strict=True)
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    writer = SegmentWriter(path, "trades", Disk())
    for each in BATCHES:
        writer.append(each)
    writer.close()
    assert path.stat().st_mode & 0o777 == 0o600
    segment = read_segment(path)
    assert same(segment, BATCHES)
    assert (segment.kind, segment.rows, segment.good_bytes) == ("trades", 51, writer.size)
    assert (segment.size, segment.fault, segment.is_corrupt) == (writer.size, None, False)


def test_any_reader_of_arrow_reads_it(whole: tuple[bytes, list[int]]) -> None:
    table = pa.ipc.open_stream(whole[0]).read_all()
    assert table.equals(pa.Table.from_batches(BATCHES))
    assert table.schema.metadata[b"trio_projectx.format"] == str(FORMAT).encode()


def test_cut_anywhere_it_ends_with_the_last_acknowledged_batch(whole: tuple[bytes, list[int]]) -> None:
    data, ends = whole
    for size in range(len(data) + 1):
        segment = parse_segment(data[:size])
        assert same(segment, BATCHES[: sum(end <= size for end in ends)]), size
        assert segment.fault is None, size


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damage_never_gives_a_wrong_row_and_is_told(
    whole: tuple[bytes, list[int]], data: st.DataObject
) -> None:
    good, ends = whole
    at = data.draw(st.integers(0, len(good) - 1))
    broken = bytearray(good)
    for offset in range(data.draw(st.sampled_from([1, 1, 1, 8, 64]))):
        if at + offset < len(good):
            broken[at + offset] ^= data.draw(st.integers(1, 255))
    try:
        segment = parse_segment(bytes(broken))
    except UnknownFormat:
        assert at < ends[0]
        return
    count = len(segment.batches)
    assert same(segment, BATCHES[:count])
    # Everything before the damage is there. A mark may be damaged where it says nothing: then all of it is.
    assert count >= sum(end <= at for end in ends)
    if count < len(BATCHES) - 1:
        assert segment.is_corrupt
    elif count < len(BATCHES):
        # Of the last batch alone a broken length cannot be told from a cut; that it is not whole is, by the sizes.
        assert segment.good_bytes < segment.size


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3))
def test_garbage_is_no_batch(whole: tuple[bytes, list[int]], garbage: bytes, behind: int) -> None:
    data, ends = whole
    head = data[: ends[behind]] if behind else b""
    segment = parse_segment(head + garbage)
    assert same(segment, BATCHES[: behind + 1] if behind else [])


def test_an_empty_file_is_a_segment_without_rows() -> None:
    segment = parse_segment(b"")
    assert (segment.kind, segment.rows, segment.fault) == (None, 0, None)


def test_zeros_behind_the_end_are_no_rows(whole: tuple[bytes, list[int]]) -> None:
    """What a power cut leaves where the length was written and the data were not."""
    segment = parse_segment(whole[0] + b"\0" * 4096)
    assert same(segment, BATCHES)


def test_formats_of_others_are_refused() -> None:
    assert check_schema(SCHEMA) == "trades"
    newer = SCHEMA.with_metadata({**SCHEMA.metadata, b"trio_projectx.format": b"2"})
    for schema, why in (
        (newer, "format 2, and this version reads up to 1"),
        (SCHEMA.remove_metadata(), "does not say"),
        (SCHEMA.remove(0), "columns"),
    ):
        with pytest.raises(UnknownFormat, match=why):
            check_schema(schema)


class Stubborn(Disk):
    """Writes a few bytes at a time, and fails after so many."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        count = super().write(fd, data[: min(100, self.room)])
        self.room -= count
        return count


def test_a_disk_that_is_full_leaves_a_file_that_ends_with_a_batch(tmp_path: Path) -> None:
    for room in range(1, 2600, 97):
        path = tmp_path / str(room)
        writer = SegmentWriter(path, "trades", Stubborn(room))
        done = 0
        with pytest.raises(OSError, match="No space"):
            for each in BATCHES * 3:
                writer.append(each)
                done += 1
        writer.close()
        segment = read_segment(path)
        assert len(segment.batches) == done
        assert segment.size == segment.good_bytes == writer.size


def test_damage_that_takes_a_whole_mark_is_told(whole: tuple[bytes, list[int]]) -> None:
    good, ends = whole
    for at in range(ends[1] - 300, ends[1] - 64, 8):
        broken = bytearray(good)
        broken[at : at + 64] = bytes(each ^ 1 for each in good[at : at + 64])
        segment = parse_segment(bytes(broken))
        assert len(segment.batches) == 4 or segment.is_corrupt, at
    for at in range(ends[2] - 400, ends[2], 4):
        broken = bytearray(good)
        broken[at : at + 64] = bytes(each ^ 1 for each in good[at : at + 64])
        segment = parse_segment(bytes(broken))
        assert len(segment.batches) >= 3 or segment.is_corrupt, at
