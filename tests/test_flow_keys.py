from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import combinations

import attrs
import pytest

from trio_projectx import (
    Bar,
    BarRevised,
    ClockSkewed,
    Gap,
    HubState,
    HubStateChanged,
    JournalDamaged,
    JournalFailed,
    JournalOverflowed,
    JournalQuarantined,
    JournalRecovered,
    JournalSlow,
    MarketStalled,
    Quote,
    Side,
    Timeframe,
    TokenRefreshed,
    Trade,
)
from trio_projectx.flow.keys import (
    bar_key,
    bar_stamp,
    event_key,
    event_stamp,
    quote_key,
    quote_stamp,
    trade_key,
    trade_stamp,
)

MNQ, MES = "CON.F.US.MNQ.Z26", "CON.F.US.MES.Z26"
GAP = Gap(MNQ, 5, 9, "gone")
BAR = Bar(MNQ, Timeframe("1m"), 60, 120, 1, 1, 1, 1, 1, 1, None, 1, 0, 1.0, 61, 62)
TRADE = Trade(MNQ, 7, 8, 1.0, 1, Side.BUY)
QUOTE = Quote(MNQ, 7, 8)
LIVE = HubStateChanged("market", HubState.CONNECTING, HubState.LIVE, "so", 77)


@pytest.mark.parametrize(
    ("stamp", "item", "wanted"),
    [
        (bar_stamp, BAR, 60),
        (bar_stamp, BarRevised(BAR, 3), 60),
        (bar_stamp, GAP, 5),
        (trade_stamp, TRADE, 7),
        (trade_stamp, GAP, 5),
        (quote_stamp, QUOTE, 7),
        (quote_stamp, GAP, 5),
        (event_stamp, LIVE, 77),
    ],
)
def test_stamps(stamp: Callable[[object], int], item: object, wanted: int) -> None:
    assert stamp(item) == wanted


def all_differ(key: Callable[[object], Hashable], *items: object) -> None:
    for one, other in combinations(items, 2):
        assert key(one) != key(other), (one, other)


def test_what_replaces_what() -> None:
    later = attrs.evolve(BAR, start=120, end=180)
    assert bar_key(BAR) == bar_key(later)
    assert bar_key(BarRevised(BAR, 3)) == bar_key(BarRevised(attrs.evolve(BAR, close=2), 4))
    all_differ(
        bar_key,
        BAR,
        attrs.evolve(BAR, timeframe=Timeframe("5m")),
        BarRevised(BAR, 3),
        BarRevised(later, 3),
        GAP,
        attrs.evolve(GAP, start=6),
    )
    assert trade_key(TRADE) == trade_key(attrs.evolve(TRADE, price=2.0))
    all_differ(trade_key, TRADE, attrs.evolve(TRADE, contract_id=MES), GAP, attrs.evolve(GAP, end=10))
    assert quote_key(QUOTE) == quote_key(attrs.evolve(QUOTE, bid=2.0))
    all_differ(quote_key, QUOTE, attrs.evolve(QUOTE, contract_id=MES), GAP)
    assert event_key(LIVE) == event_key(attrs.evolve(LIVE, state=HubState.STALE))
    all_differ(
        event_key,
        LIVE,
        attrs.evolve(LIVE, hub="user"),
        TokenRefreshed(None, 1),
        ClockSkewed(1.0, True, 1),
        MarketStalled(MNQ, 30.0, 30.0, 1),
    )


def test_what_two_journals_tell_is_told_apart() -> None:
    all_differ(
        event_key,
        JournalFailed("full", 1, 30.0, 5, "one"),
        JournalFailed("full", 1, 30.0, 5, "two"),
        JournalOverflowed(1, 5, "one"),
        JournalRecovered(1, 5, "one"),
        JournalSlow(1.0, 1, 5, "one"),
        JournalQuarantined("a", "x", 1, 5, "one"),
        JournalQuarantined("b", "x", 1, 5, "one"),
        JournalDamaged("a", "x", 1, 5),
        JournalDamaged("b", "x", 1, 5),
    )
    assert event_key(JournalFailed("full", 1, 30.0, 5, "one")) == event_key(
        JournalFailed("io", 2, 3.0, 6, "one")
    )
