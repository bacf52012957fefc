from __future__ import annotations

import errno
import logging

import pyarrow as pa
import pytest
import trio
from simulator_tools import until

from trio_projectx.simulator.truth import SCHEMA, TradeColumns, TruthLog


def some(first: int, count: int) -> TradeColumns:
    span = range(first, first + count)
    return TradeColumns(list(span), [n / 4 for n in span], [n % 3 for n in span], [n % 2 for n in span])


def test_an_empty_truth_is_a_table_of_the_schema() -> None:
    table = TruthLog().table()
    assert table.schema == SCHEMA
    assert table.num_rows == 0


def test_trades_stand_in_the_order_in_which_they_were_sent_and_are_numbered() -> None:
    log = TruthLog()
    log.append("A", some(0, 3))
    log.append("B", some(10, 2))
    log.append("A", some(3, 1))
    table = log.table()
    assert table["ts_event"].to_pylist() == [0, 1, 2, 10, 11, 3]
    assert table["contract_id"].to_pylist() == ["A", "A", "A", "B", "B", "A"]
    assert table["price"].to_pylist() == [0, 0.25, 0.5, 2.5, 2.75, 0.75]
    assert table["seq"].to_pylist() == list(range(6))
    assert table["volume"].type == pa.int64()
    assert table["side"].to_pylist() == [0, 1, 0, 0, 1, 1]


def test_a_table_is_a_copy() -> None:
    log = TruthLog()
    log.append("A", some(0, 3))
    table = log.table()
    log.append("A", some(3, 3))
    assert table.num_rows == 3


def test_it_is_bounded_and_the_numbers_show_what_was_forgotten() -> None:
    log = TruthLog(limit=100)
    for first in range(0, 1000, 10):
        log.append("A", some(first, 10))
        assert len(log) <= 100
    table = log.table()
    assert table["seq"].to_pylist() == table["ts_event"].to_pylist()
    assert table["seq"][-1].as_py() == 999
    assert log.dropped == 1000 - table.num_rows


def test_one_contract_and_from_a_number_on() -> None:
    log = TruthLog()
    for first in range(0, 100, 10):
        log.append("AB"[first // 10 % 2], some(first, 10))
    assert log.table("B")["seq"].to_pylist() == [n for n in range(100) if n // 10 % 2]
    assert log.table("A", 55)["seq"].to_pylist() == [*range(60, 70), *range(80, 90)]
    assert log.table(from_seq=97)["seq"].to_pylist() == [97, 98, 99]
    assert log.table("C").num_rows == log.table(from_seq=100).num_rows == 0


async def test_what_is_long_ago_goes_to_disk_and_nothing_is_lost() -> None:
    log = TruthLog(spool_rows=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        for first in range(0, 2_005, 5):
            log.append("AB"[first % 2], some(first, 5))
            await trio.lowlevel.checkpoint()
        await until(lambda: len(log._ts) < 100, 5)
        nursery.cancel_scope.cancel()
    assert log.spool.rows == 2_000
    assert len(log._ts) == 5
    table = log.table()
    assert table["seq"].to_pylist() == table["ts_event"].to_pylist() == list(range(2_005))
    assert table["price"].to_pylist() == [n / 4 for n in range(2_005)]
    assert table["contract_id"].to_pylist()[995:1005] == ["B"] * 5 + ["A"] * 5
    assert log.table("B", 1_998)["seq"].to_pylist() == [2_000 - 5 + at for at in range(3, 5)]
    pieces = list(log.batches(piece_rows=7, from_seq=13))
    assert max(piece.num_rows for piece in pieces) == 7
    assert pa.Table.from_batches(pieces)["seq"].to_pylist() == list(range(13, 2_005))


async def test_a_log_may_grow_and_be_spooled_while_it_is_read() -> None:
    log = TruthLog(spool_rows=50)
    log.append("A", some(0, 90))
    async with trio.open_nursery() as nursery:
        reading = log.batches(piece_rows=20)
        seen = next(reading)["seq"].to_pylist()
        nursery.start_soon(log.run)
        log.append("B", some(90, 60))
        await until(lambda: len(log._ts) < 50, 5)
        for piece in reading:
            seen += piece["seq"].to_pylist()
        nursery.cancel_scope.cancel()
    assert seen == list(range(90))


async def test_a_full_disk_is_told_once_and_the_truth_stays_in_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TruthLog(limit=1_000, spool_rows=100)

    def full(first: int, batch: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(log.spool), "write", lambda self, first, batch: full(first, batch))
    with caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.run)
            for first in range(0, 900, 100):
                log.append("A", some(first, 100))
                await trio.sleep(0.005)
    assert caplog.text.count("No space left on device") == 1
    assert log.table()["seq"].to_pylist() == list(range(900))
    log.append("A", some(900, 200))
    assert log.table()["seq"].to_pylist() == list(range(550, 1100))
    assert (log.dropped, len(log)) == (550, 550)
