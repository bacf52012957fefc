from __future__ import annotations

import pyarrow as pa

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
