from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import RecordBuffer

PIECES = st.lists(st.text("ab\x1e\n\r\u20ac", max_size=8), max_size=12)


def drain(buffer: RecordBuffer) -> list[str]:
    records: list[str] = []
    while (record := buffer.next_record()) is not None:
        records.append(record)
    return records


def drain_to_the_error(buffer: RecordBuffer) -> tuple[list[str], bool]:
    records: list[str] = []
    try:
        while (record := buffer.next_record()) is not None:
            records.append(record)
    except ProtocolError:
        return records, True
    return records, False


@given(PIECES)
def test_frames_carry_no_meaning(pieces: list[str]) -> None:
    whole = "".join(pieces)
    buffer = RecordBuffer()
    records: list[str] = []
    for piece in pieces:
        buffer.feed(piece)
        records += drain(buffer)
    assert records == whole.split("\x1e")[:-1]
    assert buffer.is_empty == (whole == "" or whole.endswith("\x1e"))


@given(PIECES, st.integers(1, 6))
def test_the_limit_does_not_depend_on_the_frames(pieces: list[str], limit: int) -> None:
    """Records up to the first one that is too long, then the error, however the text was cut."""
    *records, rest = "".join(pieces).split("\x1e")
    good = next((i for i, record in enumerate(records) if len(record) > limit), len(records))
    fails = good < len(records) or len(rest) > limit
    at_once = RecordBuffer(limit)
    at_once.feed("".join(pieces))
    assert drain_to_the_error(at_once) == (records[:good], fails)
    in_pieces = RecordBuffer(limit)
    seen: list[str] = []
    failed = False
    for piece in pieces:
        in_pieces.feed(piece)
        new, failed = drain_to_the_error(in_pieces)
        seen += new
    assert (seen, failed) == (records[:good], fails)


def test_an_overflow_is_final() -> None:
    buffer = RecordBuffer(3)
    buffer.feed("abc\x1eabcd")
    assert buffer.next_record() == "abc"
    for _ in range(2):
        with pytest.raises(ProtocolError, match="limit of 3"):
            buffer.next_record()
        buffer.feed("\x1eab\x1e")
        assert not buffer.is_empty


def test_discard_counts_whole_records() -> None:
    buffer = RecordBuffer()
    buffer.feed("a\x1eb\x1ec")
    assert buffer.discard() == 2
    assert buffer.is_empty
    buffer.feed("d\x1e")
    assert drain(buffer) == ["d"]


def test_what_is_forgotten_is_counted_before_and_after_a_record_that_is_too_long() -> None:
    buffer = RecordBuffer(3)
    buffer.feed("a\x1eb\x1ec\x1elonger")
    buffer.feed("still\x1ed\x1ee\x1e")
    assert buffer.discard() == 3 + 3
    assert buffer.discard() == 0


def test_a_record_that_never_ends_is_held_only_up_to_the_limit() -> None:
    buffer = RecordBuffer(100_000)
    tracemalloc.start()
    try:
        for _ in range(300):
            buffer.feed("x" * 10_000)
            for _ in range(20):
                buffer.feed("")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 100_000 * 4  # four bytes each, and room for growing; 3,000,000 characters were fed
    with pytest.raises(ProtocolError):
        buffer.next_record()


def seconds_by_character(length: int) -> float:
    buffer = RecordBuffer()
    began = time.process_time()
    for _ in range(length):
        buffer.feed("x")
        buffer.next_record()
    buffer.feed("\x1e")
    took = time.process_time() - began
    assert buffer.next_record() == "x" * length
    return took


def test_the_cost_is_linear() -> None:
    """Eight times the characters, one at a time: about 8 times the work, not 64."""
    small = min(seconds_by_character(20_000) for _ in range(3))
    large = min(seconds_by_character(160_000) for _ in range(2))
    assert large < 24 * small
