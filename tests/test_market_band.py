"""The price band with its quarantine, and trades sent again after a reconnect."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_projectx import ConfigError, ConnectionLost, Limits, Overflow, Trade
from trio_projectx.flow.contract import ContractPipeline
from trio_projectx.flow.loss import Loss
from trio_projectx.flow.stream import Feed, Pipe, make_pipe
from trio_projectx.flow.trades_outlet import TradesOutlet
from trio_projectx.market import PriceGrid, TradeBatch, Validator, WireQuote, WireTrade, format_stamp
from trio_projectx.market.band import PriceBand, Row

MNQ = "CON.F.US.MNQ.U26"
GRID = PriceGrid.from_tick_size("0.25")
NS = 1_787_172_690_000_000_000


def validator(price_band: float = 0.1, band_confirm: int = 3) -> Validator:
    return Validator(
        MNQ,
        GRID,
        stamp_min_ns=0,
        stamp_max_ns=1 << 62,
        trade_size_max=10**6,
        price_band=price_band,
        band_confirm=band_confirm,
    )


def trade(price: float, at_ms: int = 0, volume: int = 1, kind: int = 0) -> WireTrade:
    return WireTrade(price, format_stamp(NS + at_ms * 1_000_000, 3), volume, kind, None, None)


def prices(batch: TradeBatch | None) -> list[float]:
    return [] if batch is None else [ticks / 4 for ticks in batch.ticks]


def feed(it: Validator, *values: float) -> list[float]:
    return prices(it.validate([trade(value) for value in values], 7))


def test_a_bad_price_is_held_and_then_rejected_and_delays_nobody() -> None:
    it = validator()
    assert feed(it, 20_000, 200_000, 20_001) == [20_000, 20_001]
    assert (it.held, it.rejected.total, it.accepted) == (1, 0, 2)
    assert feed(it, 20_002, 20_003) == [20_002, 20_003]
    assert (it.held, it.rejected.price_band, it.accepted) == (0, 1, 4)
    assert [r.reason.value for r in it.rejections] == ["price_band"]
    assert "200000" in it.rejections[0].text


def test_a_real_move_is_let_through_whole_and_in_order_when_it_is_confirmed() -> None:
    it = validator()
    assert feed(it, 20_000, 17_000, 17_001) == [20_000]
    assert it.held == 2
    assert feed(it, 17_002, 17_003, 20_000) == [17_000, 17_001, 17_002, 17_003]
    assert (it.held, it.accepted, it.rejected.total) == (1, 5, 0)


def test_stragglers_of_the_old_price_do_not_stop_a_move() -> None:
    it = validator()
    assert feed(it, 20_000, 17_000, 20_000, 17_001, 20_000, 17_002) == [
        20_000, 20_000, 20_000, 17_000, 17_001, 17_002
    ]  # fmt: skip


def test_a_first_price_that_is_wrong_gives_way_to_the_real_ones() -> None:
    it = validator()
    assert feed(it, 1.0, 20_000, 20_001, 20_002, 20_003) == [1.0, 20_000, 20_001, 20_002, 20_003]


def test_prices_far_from_the_band_and_from_each_other_are_rejected() -> None:
    it = validator()
    assert feed(it, 20_000, 200_000, 5, 90_000, 20_000) == [20_000, 20_000]
    assert (it.held, it.rejected.price_band) == (1, 2)


@pytest.mark.parametrize(
    ("bid", "ask", "releases"),
    [
        (16_999.75, 17_000.25, True),
        (17_000.0, 17_000.0, True),
        (19_999.75, 20_000.0, False),
        (16_999.75, 20_000.0, False),
        (17_000.25, 17_000.0, False),
        (None, 17_000.0, False),
        (16_999.75, None, False),
        (16_999.8, 17_000.0, False),
    ],
)
def test_a_quote_confirms(bid: float | None, ask: float | None, releases: bool) -> None:
    it = validator()
    assert it.confirm(bid, ask, 1) is None
    feed(it, 20_000, 17_000)
    assert prices(it.confirm(bid, ask, 1)) == ([17_000] if releases else [])
    assert (it.held, it.accepted) == ((0, 2) if releases else (1, 1))
    if releases:
        assert feed(it, 17_001) == [17_001]


def test_a_market_that_trends_is_never_held() -> None:
    it = validator(price_band=0.01)
    path = [20_000 + 25.0 * k for k in range(400)]
    assert feed(it, *path) == path
    assert feed(it, *path[::-1]) == path[::-1]


moves = st.lists(
    st.one_of(
        st.integers(79_000, 81_000), st.integers(60_000, 62_000), st.integers(1, 400_000)
    ).map(lambda ticks: ticks / 4),
    max_size=60,
)  # fmt: skip


@settings(max_examples=120)
@given(moves, st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.integers(1, 4), st.integers(1, 7))
def test_every_trade_is_in_one_place_and_batches_change_nothing(
    path: list[float], band: float, confirm: int, size: int
) -> None:
    whole, cut = validator(band, confirm), validator(band, confirm)
    got = feed(whole, *path) if path else []
    pieces: list[float] = []
    for at in range(0, len(path), size):
        pieces += feed(cut, *path[at : at + size])
        assert cut.accepted + cut.rejected.total + cut.held == min(at + size, len(path))
        assert cut.held < confirm
    assert pieces == got
    assert (whole.rejected, whole.held) == (cut.rejected, cut.held)
    if band == 0.0 or confirm == 1:
        assert got == path


@settings(max_examples=60)
@given(moves, st.integers(79_000, 80_000), st.integers(1, 4))
def test_no_feed_is_ever_frozen(path: list[float], level: int, confirm: int) -> None:
    """Whatever came before: of a market that stays where it is, at most ``confirm - 1`` trades wait."""
    it = validator(0.1, confirm)
    if path:
        feed(it, *path)
    steady = [(level + k % 3) / 4 for k in range(confirm + 20)]
    assert feed(it, *steady)[-20:] == steady[-20:]
    assert it.held == 0 or not feed(it, *steady[:confirm])[confirm:]


@pytest.mark.parametrize("options", [{"price_band": -0.1}, {"price_band": 1.0}, {"band_confirm": 0}])
def test_a_band_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        validator(**options)  # type: ignore[arg-type]


# --- replays


def replayed(it: Validator, trades: list[WireTrade]) -> list[float]:
    return prices(it.validate(trades, 1))


def test_what_is_sent_again_after_a_reconnect_is_counted_once() -> None:
    it = validator(price_band=0)
    had = [trade(20_000 + k / 4, at_ms=k // 3) for k in range(100)]
    assert len(replayed(it, had)) == 100
    it.expect_replay()
    new = [trade(20_100, at_ms=40), trade(20_100, at_ms=40)]
    assert replayed(it, had[-50:] + new) == [20_100, 20_100]
    assert (it.rejected.replayed, it.accepted) == (50, 102)
    assert replayed(it, had[-1:]) == [had[-1].price]  # the replay is over: now it is a trade that came late


def test_equal_trades_are_legal_while_a_connection_lives_and_beyond_what_was_had() -> None:
    it = validator(price_band=0)
    assert len(replayed(it, [trade(20_000)] * 3)) == 3
    it.expect_replay()
    assert replayed(it, [trade(20_000)] * 5) == [20_000] * 2
    assert it.rejected.replayed == 3


def test_a_trade_of_the_gap_that_was_never_had_is_taken() -> None:
    it = validator(price_band=0)
    replayed(it, [trade(20_000, 1), trade(20_001, 9)])
    it.expect_replay()
    assert replayed(it, [trade(20_000, 1), trade(20_000.5, 5), trade(20_000, 1, volume=2)]) == [
        20_000.5,
        20_000,
    ]


def test_before_any_trade_there_is_nothing_to_replay() -> None:
    it = validator()
    it.expect_replay()
    assert feed(it, 20_000) == [20_000]


def test_what_is_remembered_is_bounded() -> None:
    it = validator(price_band=0)
    for k in range(300):
        replayed(it, [trade(20_000 + k, at_ms=k * 50 + j) for j in range(50)])
    assert sum(len(batch) for batch in it._replay._batches) <= 2050
    it.expect_replay()
    old, new = trade(20_000, at_ms=0), trade(20_300, at_ms=300 * 50)
    assert replayed(it, [old]) == []  # it had come, whatever it was
    assert it.rejected.replayed == 1
    assert replayed(it, [new]) == [20_300]


# --- bursts of rejections


def test_a_burst_of_rejections_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    it = validator(price_band=0)
    for _ in range(99):
        feed(it, -1.0)
    assert it.rejection_bursts == 0
    for _ in range(500):
        feed(it, -1.0)
    assert it.rejection_bursts == 1
    it.validate([trade(1.0)] * 401, 1)
    for _ in range(300):
        feed(it, -1.0, 20_000.0)
    assert it.rejection_bursts == 1  # it goes on
    for _ in range(2):
        it.validate([trade(1.0)] * 1000, 1)
    feed(it, *[-1.0] * 100)
    assert it.rejection_bursts == 2
    assert [r.getMessage() for r in caplog.records] == [
        f"{MNQ}: a burst of rejected records (so far: price_not_positive 100); see the statistics",
        f"{MNQ}: a burst of rejected records (so far: price_not_positive {it.rejected.total}); see the statistics",
    ]


# --- through the pipeline of a contract


async def test_the_quarantine_is_in_the_ledger_and_a_quote_or_a_reconnect_empties_it(
    autojump_clock: MockClock,
) -> None:
    pipeline = ContractPipeline(MNQ, GRID, Limits())
    pipe: Pipe[Trade] = make_pipe("t", 99, Overflow.ERROR, stamp=lambda t: t.ts_event, key=lambda t: 0)
    pipeline.attach(TradesOutlet(GRID, Feed(pipe)))

    async def receive(*trades: WireTrade) -> list[float]:
        pipeline.counts.received += len(trades)
        pipeline.counts.waiting_raw += len(trades)
        await pipeline.judge(list(trades), ts_recv=0, serial=0)
        await wait_all_tasks_blocked()
        return taken()

    def taken() -> list[float]:
        found: list[float] = []
        while not pipe.buffer.is_empty:
            item = pipe.take()
            assert isinstance(item, Trade)
            found.append(item.price)
        return found

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        assert await receive(trade(20_000), trade(17_000, 1)) == [20_000]
        stats = pipeline.statistics()
        assert (stats.received, stats.accepted, stats.rejected.total, stats.in_flight) == (2, 1, 0, 1)
        stamp = format_stamp(NS, 3)
        await pipeline.merge(WireQuote(best_bid=16_999.75, best_ask=17_000.0, timestamp=stamp), 1)
        await wait_all_tasks_blocked()
        assert taken() == [17_000]
        assert pipeline.statistics().in_flight == 0
        await pipeline.lose(Loss(ConnectionLost("gone"), pipeline, pipeline.outlets, pipeline.quotes.outlets))
        await wait_all_tasks_blocked()
        again: Pipe[Trade] = make_pipe("t", 99, Overflow.ERROR, stamp=lambda t: t.ts_event, key=lambda t: 0)
        pipe = again
        pipeline.attach(TradesOutlet(GRID, Feed(again)))
        assert await receive(trade(20_000), trade(17_000, 1), trade(17_001, 2)) == [17_001]
        assert pipeline.statistics().rejected.replayed == 2
        nursery.cancel_scope.cancel()


def test_a_move_in_steps_is_one_move_though_its_ends_are_far_apart() -> None:
    it = validator()
    assert feed(it, 20_000, 17_000, 16_000, 15_000) == [20_000, 17_000, 16_000, 15_000]
    assert (it.held, it.rejected.total) == (0, 0)


def test_what_needs_no_call_is_the_inner_half_of_the_band() -> None:
    band = PriceBand(0.1, 3)
    wire = trade(1.0)
    for ticks, near in ((20_000, (19_000, 21_000)), (19_000, (19_000, 21_000)), (18_999, (18_050, 19_948))):
        band.offer(Row(NS, ticks, 1, 0, wire))
        assert (band.near_low, band.near_high) == near
    band.offer(Row(NS, 40_000, 1, 0, wire))
    assert band.near_low > band.near_high  # while one is held, each price counts
