from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_book import new_order

from trio_projectx._events import Side
from trio_projectx.market.stamps import parse_stamp
from trio_projectx.simulator.orders import AccountState, OrderType
from trio_projectx.simulator.shown import entity, money, number, stamp


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"), (10**8, "1970-01-01T00:00:00.1+00:00"),
        (1_787_172_660_393_833_300, "2026-08-19T20:51:00.3938333+00:00"),
        (1_787_172_660_611_387_000, "2026-08-19T20:51:00.611387+00:00"), (99, "1970-01-01T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_stamps_are_written_as_dot_net_writes_them(ns: int, text: str) -> None:
    assert stamp(ns) == text


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_stamps_read_back_to_a_hundred_nanoseconds(ns: int) -> None:
    assert parse_stamp(stamp(ns)) == ns - ns % 100


def test_whole_numbers_have_no_point() -> None:
    assert json.dumps([number(29_547.0), number(0.5), money(1_500_000_000), money(3_600), money(-4_900)]) == (
        "[29547, 0.5, 150000, 0.36, -0.49]"
    )


def test_the_stream_has_what_rest_has_not() -> None:
    order = new_order(OrderType.STOP, Side.SELL, distance=-99, stop=100, parent_id=5)
    shown = entity(order)
    assert (shown["trailDistance"], shown["trailPrice"], shown["parentOrderId"]) == (-99, -24.75, 5)
    assert (shown["stopPrice"], shown["limitPrice"], shown["linkedOrderId"]) == (25, None, None)
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown
    assert entity(AccountState(1, "PRAC", 12_345, can_trade=False))["canTrade"] is False
