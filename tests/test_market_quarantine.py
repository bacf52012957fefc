"""Stamps from the future, volumes that no trade has, and how both go with the price band."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx import ConfigError, RejectionBurst
from trio_projectx.market import PriceGrid, TradeBatch, Validator, WireTrade, format_stamp
from trio_projectx.market.ahead import StampWindow
from trio_projectx.market.band import Row
from trio_projectx.market.sizes import VolumeBand

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size("0.25")
S = 10**9
T0 = 1_787_172_690 * S
HOUR = 3600


class Feed:
    """A validator, our two clocks, and an exchange whose clock is right."""

    def __init__(self, wall_off_s: float = 0.0, band: float = 0.0, **options: float) -> None:
        self.it = Validator(
            MNQ,
            GRID,
            stamp_min_ns=315_532_800 * S,
            stamp_max_ns=4_102_444_800 * S,
            trade_size_max=10**6,
            price_band=band,
            stamp_ahead_s=10.0,
            **options,  # type: ignore[arg-type]
        )
        self.wall_off_s = wall_off_s
        self.at_s = 0.0
        self.mono_s = 77.0

    def wait(self, seconds: float, asleep: bool = False) -> None:
        self.at_s = round(self.at_s + seconds, 3)
        self.mono_s += 0 if asleep else seconds

    def get(self, *trades: WireTrade) -> list[float]:
        """Receive trades in one read; the stamps (in s after T0) that went on."""
        self.it.now_ns = round(self.mono_s * S)
        batch = self.it.validate(list(trades), T0 + round((self.at_s + self.wall_off_s) * S))
        return seconds(batch)

    def trade(self, *, ahead_s: float = 0.0, price: float = 20_000.0, volume: int = 1) -> WireTrade:
        return WireTrade(price, format_stamp(T0 + round((self.at_s + ahead_s) * S), 9), volume, 0, None, None)

    def now(self, **how: float) -> list[float]:
        return self.get(self.trade(**how))  # type: ignore[arg-type]


def seconds(batch: TradeBatch | None) -> list[float]:
    return [] if batch is None else [round((ts - T0) / S, 3) for ts in batch.ts_event]


@pytest.mark.parametrize("wall_off_s", [0.0, -HOUR, HOUR, -12 * HOUR, 0.3])
def test_a_stamp_in_the_future_is_held_and_then_rejected_and_delays_nobody(wall_off_s: float) -> None:
    feed = Feed(wall_off_s)
    ahead = 3 * HOUR if wall_off_s > 0 else 11
    assert feed.now() == [0]
    feed.wait(1)
    assert feed.now(ahead_s=ahead) == []
    assert (feed.it.held, feed.it.rejected.total) == (1, 0)
    (held,) = feed.it.quarantined
    assert held.reason.value == "stamp_ahead"
    for _ in range(3):
        feed.wait(0.1)
        assert feed.now() == [feed.at_s]
    assert (feed.it.held, feed.it.rejected.stamp_ahead, feed.it.accepted) == (0, 1, 4)
    assert [each.reason.value for each in feed.it.rejections] == ["stamp_ahead"]


@pytest.mark.parametrize("jump_s", [-HOUR, HOUR, -24 * HOUR, 90.0])
@pytest.mark.parametrize("quiet_s", [0.1, 9.0, 700.0, 60.0 * HOUR])
def test_no_jump_of_our_clock_holds_anything(jump_s: float, quiet_s: float) -> None:
    feed = Feed()
    for number in range(50):
        if number == 20:
            feed.wall_off_s += jump_s
        assert feed.now() == [feed.at_s]
        feed.wait(quiet_s)
    assert (feed.it.held, feed.it.accepted) == (0, 50)


def test_neither_a_wrong_clock_from_the_beginning_nor_a_machine_that_slept_holds_anything() -> None:
    for off in (-HOUR, -23 * HOUR, HOUR, 24 * 400.0 * HOUR):
        feed = Feed(off)
        for _ in range(5):
            assert feed.now() == [feed.at_s]
            feed.wait(0.2)
    slept = Feed()
    assert slept.now() == [0]
    slept.wait(8 * HOUR, asleep=True)
    assert slept.now() == [slept.at_s]


def test_a_clock_that_was_never_set_holds_nothing() -> None:
    feed = Feed()
    feed.it.now_ns = 0
    stamps = [feed.trade(ahead_s=each) for each in (0, 60, 86_400 * 30, 86_400 * 400)]
    assert len(seconds(feed.it.validate(stamps, 0))) == 4


def test_the_first_stamp_of_all_is_held_only_if_it_is_days_ahead() -> None:
    feed = Feed()
    assert feed.now(ahead_s=86_400 * 365) == []
    assert [feed.now() for _ in range(3)] == [[0], [0], [0]]
    assert feed.it.rejected.stamp_ahead == 1


def test_an_exchange_whose_clock_moves_is_believed_when_three_trades_say_so_and_then_at_once() -> None:
    """Also a clock of ours that is behind: what is held comes whole and in order, and nothing is held twice."""
    feed = Feed(wall_off_s=-HOUR)
    assert feed.now() == [0]
    feed.wait(1)
    got = [feed.now(ahead_s=HOUR), feed.now(ahead_s=HOUR + 0.5), feed.now(ahead_s=HOUR + 0.25)]
    assert got == [[], [], [HOUR + 1, HOUR + 1.5, HOUR + 1.25]]
    assert feed.now(ahead_s=HOUR + 2) == [HOUR + 3]
    assert feed.now(ahead_s=2 * HOUR) == [2 * HOUR + 1]  # as far as it moved before, and as far again
    assert (feed.it.held, feed.it.rejected.total) == (0, 0)


def test_a_quote_confirms_a_stamp() -> None:
    feed = Feed()
    feed.now()
    assert feed.now(ahead_s=HOUR) == []
    assert feed.it.confirm(None, None, 1, T0 + 60 * S) is None
    assert seconds(feed.it.confirm(None, None, 1, T0 + (HOUR - 9) * S)) == [HOUR]
    assert feed.it.held == 0


def test_a_stamp_far_behind_one_that_is_held_takes_its_place() -> None:
    feed = Feed()
    feed.now()
    assert feed.now(ahead_s=10**7) == []
    assert feed.now(ahead_s=HOUR) == []
    assert (feed.it.held, feed.it.rejected.stamp_ahead) == (1, 1)
    assert feed.now(ahead_s=HOUR + 1) == []
    assert feed.now(ahead_s=HOUR + 2) == [HOUR, HOUR + 1, HOUR + 2]


def test_within_one_read_the_bad_one_is_left_out_and_the_others_keep_their_order() -> None:
    feed = Feed()
    feed.now()
    rows = [feed.trade(ahead_s=each) for each in (0.1, 0.2, 5000, 0.3, 0.2, 0.4)]
    assert feed.get(*rows) == [0.1, 0.2, 0.3, 0.2, 0.4]
    assert (feed.it.held, feed.it.rejected.stamp_ahead) == (0, 1)


def test_after_a_jump_that_was_believed_twice_as_much_is_not_far_at_once() -> None:
    second, wire = 10**9, WireTrade(1.0, "", 1, 0, None, None)
    begin = 1_787_172_690 * second
    window = StampWindow(10 * second, 2, 0)
    window.bound(begin, 0)
    window.note(begin)
    assert window.bound(begin, 0) == begin + 10 * second

    def offered(after_s: int) -> list[int]:
        taken = window.offer(Row(begin + after_s * second, 1, 1, 0, wire)).accepted
        return [(row.ts_event - begin) // second for row in taken]

    assert [offered(1000), offered(1001)] == [[], [1000, 1001]]
    assert offered(1001 + 2002) == [1001 + 2002]  # in the same read, before the bound is asked again
    assert offered(1001 + 2003) == []
    assert window.bound(begin, 0) == begin + (1001 + 2002) * second


def test_a_replay_that_runs_faster_than_time_is_held_at_its_beginning_only() -> None:
    """60 times as fast, from our now on: a minute passes between trades that come in the same second."""
    feed = Feed()
    got: list[float] = []
    for number in range(200):
        got += feed.now(ahead_s=60.0 * number - feed.at_s)
        feed.wait(1.0)
    assert got == [60.0 * number for number in range(200)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["trade", "trade", "trade", "bad", "jump", "quiet", "sleep"]),
        st.floats(0.0, 5000.0),
    ),
    max_size=80,
)


@settings(max_examples=120)
@given(steps, st.floats(-86_000, 86_000))
def test_good_trades_go_on_at_once_in_order_whatever_clocks_do_and_bad_ones_never(
    script: list[tuple[str, float]], wall_off_s: float
) -> None:
    """Bad ones are years ahead and come one at a time; our wall clock jumps, the machine sleeps, markets are quiet."""
    feed = Feed(wall_off_s)
    feed.now()
    sent, got, since_bad = 1, 0, 9
    for what, amount in script:
        feed.wait(0.01)
        if what == "jump":
            feed.wall_off_s += amount - 2500
            feed.wall_off_s = max(-86_000.0, min(86_000.0, feed.wall_off_s))
        elif what == "quiet":
            feed.wait(amount * 20)
        elif what == "sleep":
            feed.wall_off_s = max(feed.wall_off_s, 0.0)  # set again on waking, as machines do
            feed.wait(amount, asleep=True)
            assert feed.now() == [feed.at_s]
            sent, got, since_bad = sent + 1, got + 1, since_bad + 1
        elif what == "bad" and since_bad >= 3:
            assert feed.now(ahead_s=4e7 + amount) == []
            sent, since_bad = sent + 1, 0
        elif what == "trade":
            assert feed.now() == [feed.at_s]
            sent, got, since_bad = sent + 1, got + 1, since_bad + 1
        it = feed.it
        assert it.accepted == got + 1
        assert sent == it.accepted + it.rejected.total + it.held


# --- volumes


def test_a_volume_far_above_the_biggest_is_rejected_at_once() -> None:
    feed = Feed(volume_times=100.0, volume_floor=1000)
    assert feed.now(volume=1000) == [0]
    assert len(feed.now(volume=100_000)) == 1
    assert feed.now(volume=100_001 * 100) == []
    small = Feed(volume_times=100.0, volume_floor=1000)
    assert [len(small.now(volume=each)) for each in (3, 1001, 1000, 100_000, 100_001)] == [1, 0, 1, 1, 1]
    assert (small.it.rejected.volume_band, small.it.held) == (1, 0)
    assert "volume=1001" in small.it.rejections[0].text


@given(st.lists(st.lists(st.integers(1, 10**6), min_size=1, max_size=300), max_size=40))
def test_what_is_plausible_is_reckoned_from_the_last_thousand_trades_at_least(
    batches: list[list[int]],
) -> None:
    band, seen = VolumeBand(3.0, 5000), [0]
    assert band.high == 5000
    for volumes in batches:
        band.note(volumes)
        seen += volumes
        assert max(5000, 3 * max(seen[-1000:])) <= band.high <= max(5000, 3 * max(seen[-2600:]))
    off = VolumeBand(0.0, 5)
    off.note([10**9])
    assert off.high == (1 << 63) - 1


# --- all together


def test_a_price_is_compared_with_believable_trades_only() -> None:
    feed = Feed(band=0.1)
    feed.now()
    assert feed.now(ahead_s=HOUR, price=40_000.0) == []
    assert feed.now(price=40_000.0) == []
    assert sorted(each.reason.value for each in feed.it.quarantined) == ["price_band", "stamp_ahead"]
    assert feed.it.held == 2
    assert len(feed.now()) == len(feed.now()) == len(feed.now()) == 1
    counts = feed.it.rejected
    assert (counts.stamp_ahead, counts.price_band, feed.it.held) == (1, 1, 0)


def test_what_a_stamp_released_may_still_wait_for_its_price() -> None:
    feed = Feed(band=0.1)
    feed.now()
    got = [feed.now(ahead_s=HOUR, price=15_000.0) for _ in range(3)]
    assert got == [[], [], [HOUR] * 3]
    both = Feed(band=0.1)
    both.now()
    assert both.now(ahead_s=HOUR, price=15_000.0) == []
    assert both.it.confirm(20_000.0, 20_000.25, 1, T0 + HOUR * S) is None
    assert [each.reason.value for each in both.it.quarantined] == ["price_band"]
    assert seconds(both.it.confirm(14_999.75, 15_000.0, 1, T0 + HOUR * S)) == [HOUR]


def test_a_burst_of_rejections_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    told: list[RejectionBurst] = []
    it = Validator(
        MNQ, GRID, stamp_min_ns=0, stamp_max_ns=1 << 62, trade_size_max=9, tell=told.append
    )  # fmt: skip
    good, bad = (WireTrade(price, format_stamp(T0, 3), 1, 0, None, None) for price in (1.25, 1.3))
    with caplog.at_level(logging.WARNING, "trio_projectx"):
        for number in range(2000):
            it.validate([good if number % 20 else bad], 5)
    assert told == []
    for _ in range(300):
        it.validate([bad, bad, good], 6)
    assert [(each.contract_id, each.what, each.rejected, each.reason, each.at) for each in told] == [
        (MNQ, "trades", 100, "off_grid", 6)
    ]
    assert 100 <= told[0].judged <= 300
    assert told[0].total == 200


@pytest.mark.parametrize(
    "options", [{"stamp_ahead_s": -1.0}, {"volume_times": -1.0}, {"stamp_confirm": 0}, {"volume_floor": 0}]
)
def test_rules_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Rules: "):
        Validator(MNQ, GRID, stamp_min_ns=0, stamp_max_ns=1, trade_size_max=1, **options)  # type: ignore[arg-type]
