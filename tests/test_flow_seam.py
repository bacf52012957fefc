"""Live items wait for their history, and what leads takes no room."""

from __future__ import annotations

import pytest
from history_tools import GRID, MINUTE, MNQ, T0

from trio_projectx import Bar, Overflow, SlowConsumer, Timeframe
from trio_projectx.bars import Anchor, BarSet
from trio_projectx.bars.mending import Known
from trio_projectx.flow.keys import bar_key, bar_stamp
from trio_projectx.flow.seam import Seam
from trio_projectx.flow.stream import Feed, Stream, make_pipe
from trio_projectx.market import TradeBatch

M1, M5 = Timeframe("1m"), Timeframe("5m")


def bars_of(*labels: str) -> BarSet:
    return BarSet(MNQ, labels, anchor=Anchor.utc(), grid=GRID, lateness_ns=0, partial_first=True)


def known(start: int, minutes: int = 1) -> Known:
    low = T0 + start * MINUTE
    return Known(low, low + minutes * MINUTE, 80_000, 80_000, 80_000, 80_000, 3)


def closed(bars: BarSet, *at: int) -> list[Bar]:
    found: list[Bar] = []
    for minute in at:
        ts = T0 + minute * MINUTE + 1
        found += bars.update(TradeBatch(MNQ, [ts], [80_000], [1], [0], ts))
    return found


def test_items_wait_as_long_as_there_is_room() -> None:
    seam, bars = Seam(5, room=2), bars_of("1m")
    items = closed(bars, 0, 1, 2, 3)
    assert seam.hold(items[:1])
    assert seam.hold(items[1:2])
    assert not seam.is_full
    assert not seam.hold(items[2:])
    assert seam.is_full
    assert seam.take_held() == items[:2]
    assert not seam.hold(items[2:])


def test_what_leads_comes_in_the_order_of_its_ends() -> None:
    seam, bars = Seam(2, room=9), bars_of("5m", "1m")
    closed(bars, 1)
    found = {M1: [known(n) for n in range(-9, 2)], M5: [known(n * 5, 5) for n in (-3, -2, -1, 0)]}
    lead = seam.lead(bars, found)
    shown = [(bar.timeframe, (bar.start - T0) // MINUTE) for bar in lead]
    assert shown == [("5m", -10), ("1m", -1), ("5m", -5), ("1m", 0)] or shown == [
        ("5m", -10),
        ("5m", -5),
        ("1m", -1),
        ("1m", 0),
    ]
    assert [bar.end for bar in lead] == sorted(bar.end for bar in lead)
    assert seam.last_end == T0 + MINUTE


def test_what_lies_between_is_asked_for_once_both_sides_are_known() -> None:
    seam, bars = Seam(1, room=9), bars_of("1m", "5m", "tick:5")
    asked: list[tuple[str, int, int]] = []

    def want(frame: Timeframe, low: int, high: int) -> None:
        asked.append((frame, (low - T0) // MINUTE, (high - T0) // MINUTE))

    seam.lead(bars, {M1: [known(-3)]})
    seam.ask(bars, want)
    assert asked == []  # no trade yet
    seam.first_ts = T0 + 2 * MINUTE + 7
    seam.ask(bars, want)
    assert asked == []  # items wait for the history still
    seam.take_held()
    seam.ask(bars, want)
    assert asked == [("1m", -2, 3), ("5m", 0, 5)]


@pytest.mark.parametrize("policy", list(Overflow))
def test_what_leads_takes_no_room_and_is_accounted_for(policy: Overflow) -> None:
    bars = bars_of("1m")
    items = closed(bars, *range(8))
    pipe = make_pipe("bars", 2, policy, stamp=bar_stamp, key=bar_key)
    feed, stream = Feed(pipe), Stream(pipe)
    feed.lead(items[:5])
    feed.offer(items[5])
    if policy is not Overflow.CONFLATE:
        feed.offer(items[6])
    assert pipe.buffer.is_full is (policy is not Overflow.CONFLATE)
    assert stream.statistics().balanced
    assert [stream.receive_nowait() for _ in range(6)] == items[:6]
    assert stream.statistics().dropped == 0
    assert stream.statistics().balanced
    feed.lead(items[:3])
    stream.close()
    assert stream.statistics().balanced
    assert stream.statistics().dropped >= 3


def test_one_item_too_many_breaks_a_stream_with_what_leads_as_any_other() -> None:
    bars = bars_of("1m")
    items = closed(bars, *range(6))
    pipe = make_pipe("bars", 1, Overflow.ERROR, stamp=bar_stamp, key=bar_key)
    feed, stream = Feed(pipe), Stream(pipe)
    feed.lead(items[:3])
    feed.offer(items[3])
    feed.offer(items[4])
    with pytest.raises(SlowConsumer) as caught:
        stream.receive_nowait()
    assert caught.value.args[1] == 5
    assert stream.statistics().balanced
