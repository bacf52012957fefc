from __future__ import annotations

import os

import pyarrow as pa
import pytest

from trio_projectx.simulator.spool import Spool


def batch(first: int, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"n": pa.array(range(first, first + rows)), "x": pa.array([0.5] * rows)}
    )


def test_what_is_written_reads_back_also_after_the_end() -> None:
    spool = Spool()
    for first, rows in ((0, 10), (10, 1), (11, 3000)):
        spool.write(first, batch(first, rows))
    assert spool.rows == 3011
    held = spool.read(spool.chunks[0])
    spool.close()
    assert held.equals(batch(0, 10))
    assert [spool.read(chunk).num_rows for chunk in spool.chunks] == [10, 1, 3000]
    assert spool.read(spool.chunks[2]).equals(batch(11, 3000))


def test_the_file_is_in_no_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool()
    spool.write(0, batch(0, 1000))
    assert os.listdir(str(tmp_path)) == []
    spool.close()


def test_a_disk_that_refuses_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()
    spool.write(0, batch(0, 5))
    assert spool._file is not None
    os.ftruncate(spool._file.fileno(), 0)  # what follows cannot be mapped back: as good as refused
    spool._file.close()
    with pytest.raises(ValueError, match="closed file"):
        spool.write(5, batch(5, 5))
    assert [chunk.stop for chunk in spool.chunks] == [5]
    spool._file = None


def test_closing_twice_or_unused_is_fine() -> None:
    spool = Spool()
    spool.close()
    spool.close()
    assert spool.rows == 0
