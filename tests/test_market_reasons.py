from __future__ import annotations

import math

import attrs
import pytest

from trio_projectx.market.reasons import (
    PRICE_LIMIT,
    Reason,
    RejectedCounts,
    Rejection,
    Rejections,
    price_reason,
    stamp_or_reason,
)
from trio_projectx.market.stamps import StampParser


def test_the_values_are_the_stable_names() -> None:
    assert [reason.value for reason in Reason] == [
        "schema",
        "foreign_contract",
        "price_not_finite",
        "price_not_positive",
        "price_range",
        "off_grid",
        "size",
        "stamp_form",
        "stamp_range",
        "price_band",
        "replayed",
        "stamp_ahead",
        "volume_band",
    ]


def test_every_reason_is_counted_under_its_own_name() -> None:
    assert [field.name for field in attrs.fields(RejectedCounts)] == [reason.value for reason in Reason]
    for number, reason in enumerate(Reason, 1):
        rejections = Rejections()
        rejections.add(reason, "x", 0, number)
        assert getattr(rejections.counts, reason.value) == number == rejections.counts.total


def test_a_snapshot_does_not_move() -> None:
    rejections = Rejections()
    before, last = rejections.counts, rejections.last
    rejections.add(Reason.SIZE, "x", 0)
    assert (before.total, last) == (0, ())
    assert rejections.counts.total == 1


def test_only_the_last_are_kept_and_shown_escaped_and_cut() -> None:
    rejections = Rejections(kept=2)
    for text in ("first", "a\r\nb\x00", "y" * 5_000):
        rejections.add(Reason.SCHEMA, text, 7)
    first, second = rejections.last
    assert first == Rejection(7, Reason.SCHEMA, r"a\r\nb\x00")
    assert len(second.text) == 200
    assert rejections.counts.schema == 3


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (0.25, None),
        (5e-324, None),
        (math.nextafter(PRICE_LIMIT, 0), None),
        (PRICE_LIMIT, Reason.PRICE_RANGE),
        (1e308, Reason.PRICE_RANGE),
        (0.0, Reason.PRICE_NOT_POSITIVE),
        (-0.0, Reason.PRICE_NOT_POSITIVE),
        (-1e308, Reason.PRICE_NOT_POSITIVE),
        (math.nan, Reason.PRICE_NOT_FINITE),
        (math.inf, Reason.PRICE_NOT_FINITE),
        (-math.inf, Reason.PRICE_NOT_FINITE),
    ],
)
def test_prices(price: float, reason: Reason | None) -> None:
    assert price_reason(price) is reason


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("1970-01-01T00:00:00.000000005Z", 5),
        ("1970-01-01T00:00:00.000000009Z", 9),
        ("1970-01-01T00:00:00.000000004Z", Reason.STAMP_RANGE),
        ("1970-01-01T00:00:00.000000010Z", Reason.STAMP_RANGE),
        ("1601-01-01T00:00:00Z", Reason.STAMP_RANGE),
        ("1970-01-01T00:00:00", Reason.STAMP_FORM),
    ],
)
def test_stamps(text: str, outcome: int | Reason) -> None:
    assert stamp_or_reason(StampParser(), text, 5, 9) == outcome


def test_nothing_is_rejected_at_first() -> None:
    assert set(attrs.astuple(RejectedCounts())) == {0}
