"""The order book, row by row, against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._items import DepthKind
from trio_projectx.market import DepthRow, OrderBook

K = DepthKind
NOTHING = (K.TRADE, K.LOW, K.HIGH, K.FILL, K.UNKNOWN)
BIDS, ASKS = (K.BEST_BID, K.NEW_BEST_BID), (K.BEST_ASK, K.NEW_BEST_ASK)


def book_of(*rows: tuple[DepthKind, int | None, int], most: int = 2_000) -> OrderBook:
    book = OrderBook(most)
    for kind, ticks, size in rows:
        book.apply(DepthRow(kind, 0, ticks, size))
    return book


def levels(book: OrderBook) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return list(book.bids()), list(book.asks())


BASE = [(K.BID, 10, 1), (K.BID, 9, 2), (K.ASK, 12, 3), (K.ASK, 13, 4)]


@pytest.mark.parametrize(
    ("row", "bids", "asks"),
    [
        ((K.BID, 10, 7), [(10, 7), (9, 2)], [(12, 3), (13, 4)]),
        ((K.BID, 10, 0), [(9, 2)], [(12, 3), (13, 4)]),
        ((K.BID, 8, 0), [(10, 1), (9, 2)], [(12, 3), (13, 4)]),
        ((K.ASK, 11, 5), [(10, 1), (9, 2)], [(11, 5), (12, 3), (13, 4)]),
        # a pointer: what is better on its side is old, and so is what it crosses
        ((K.BEST_BID, 9, 6), [(9, 6)], [(12, 3), (13, 4)]),
        ((K.NEW_BEST_BID, 12, 6), [(12, 6), (10, 1), (9, 2)], [(13, 4)]),
        ((K.NEW_BEST_ASK, 13, 6), [(10, 1), (9, 2)], [(13, 6)]),
        ((K.BEST_ASK, 10, 6), [(9, 2)], [(10, 6), (12, 3), (13, 4)]),
        ((K.BEST_ASK, 12, 0), [(10, 1), (9, 2)], [(13, 4)]),
        ((K.RESET, None, 0), [], []),
        # nothing of the book
        *(((kind, 10, 99), [(10, 1), (9, 2)], [(12, 3), (13, 4)]) for kind in NOTHING),
    ],
)  # fmt: skip
def test_what_each_row_does(row: tuple[DepthKind, int | None, int], bids: list, asks: list) -> None:
    assert levels(book_of(*BASE, row)) == (bids, asks)


def test_a_side_is_bounded_and_forgets_what_is_farthest() -> None:
    book = book_of(*((K.BID, ticks, 1) for ticks in range(100, 110)), most=3)
    assert levels(book)[0] == [(109, 1), (108, 1), (107, 1)]
    assert (len(book), book.cut) == (3, 7)


ROWS = st.lists(
    st.tuples(st.sampled_from([*K]), st.integers(1, 12), st.integers(0, 3)).map(
        lambda row: (row[0], None if row[0] is K.RESET else row[1], row[2])
    ),
    max_size=60,
)


@given(ROWS)
def test_it_is_what_a_dict_would_be(rows: list[tuple[DepthKind, int | None, int]]) -> None:
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for kind, ticks, size in rows:
        if kind is K.RESET:
            bids, asks = {}, {}
        elif ticks is not None and kind in (K.BID, K.ASK, *BIDS, *ASKS):
            mine, others = (bids, asks) if kind in (K.BID, *BIDS) else (asks, bids)
            if kind in (*BIDS, *ASKS) and size:
                sign = 1 if mine is bids else -1
                for key in [key for key in mine if (key - ticks) * sign > 0]:
                    del mine[key]
                for key in [key for key in others if (ticks - key) * sign >= 0]:
                    del others[key]
            mine.pop(ticks, None)
            if size:
                mine[ticks] = size
    book = book_of(*rows)
    assert levels(book) == (sorted(bids.items(), reverse=True), sorted(asks.items()))
    assert list(book.bids(2)) == levels(book)[0][:2]
    assert len(book) == len(bids) + len(asks)
