"""Costs at worst: the sizes are measured, the sums follow the limits, and each inconsistency has its sentence."""

from __future__ import annotations

import datetime
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path

import attrs
import pyarrow as pa
import pytest

import trio_projectx as px
from trio_projectx._memory import MemoryReading
from trio_projectx.bars.accumulator import OpenBar
from trio_projectx.bars.chunk import Chunk
from trio_projectx.history.candles import Candle
from trio_projectx.history.ring import TIMES
from trio_projectx.market import Reason, TradeBatch
from trio_projectx.market.band import Row
from trio_projectx.market.reasons import Rejections
from trio_projectx.market.wire import WireTrade
from trio_projectx.pressure import costs
from trio_projectx.pressure.checks import check_limits
from trio_projectx.pressure.costs import least_cost, worst_costs

AT = 1_763_000_000_000_000_000
CONFIG = px.GatewayConfig.simulated("http://127.0.0.1:1")
MNQ = "CON.F.US.MNQ.Z25"
MINUTE, DAY = px.Timeframe("1m"), datetime.date(2025, 11, 2)
ROOM = MemoryReading(100 << 20, 64 << 30, "the machine's memory")


def price(i: int, k: int = 0) -> float:
    return 20000.25 + i * 0.25 + k


def trade(i: int) -> object:
    return px.Trade(MNQ, AT + i * 1000, AT, price(i), 1 + i % 3, px.Side.BUY)


def quote(i: int) -> object:
    return px.Quote(MNQ, AT + i * 1000, AT, *(price(i, k) for k in range(8)), volume=1000 + i)


def bar(i: int) -> object:
    prices = (price(i, k) for k in range(4))
    return px.Bar(
        MNQ, MINUTE, AT + i * 60, AT + i * 60 + 60, *prices, 1000 + i, 300 + i, DAY, 500 + i, 501 + i,
        price(i, 9), AT + i * 60 + 1, AT + i * 60 + 2, False, True, False,
    )  # fmt: skip


def open_bar(i: int) -> object:
    made = OpenBar(AT + i * 60, AT + i * 60 + 60, 80_000 + i)
    made.low, made.open, made.close = (79_000 + i + k for k in range(3))
    made.volume, made.trades, made.buy_volume, made.sell_volume = (1000 + i + k for k in range(4))
    made.notional, made.first_ts, made.last_ts = AT * 2, AT + i * 60 + 1, AT + i * 60 + 2
    return made


def candle(i: int) -> object:
    return Candle(AT + i * 60, *(price(i, k) for k in range(4)), 1000 + i)


def recent_trade(i: int) -> object:
    return TradeBatch(MNQ, [AT + i * 1000], [80_000 + i], [301 + i % 300], [i % 2], AT + i), AT + i * 1000 + 1


def held_trade(i: int) -> object:
    stamp = f"2025-11-03T14:30:00.{i:07d}+00:00"
    wire = WireTrade(price(i), stamp, 301 + i % 300, i % 2, f"F.US.MNQ{i % 1}", None)
    return Row(AT + i, 80_000 + i, 301 + i % 300, i % 2, wire, AT + i * 7)


def measured(make: Callable[[int], object], count: int = 4000) -> float:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = deque(make(i) for i in range(count))
        return (tracemalloc.get_traced_memory()[0] - before) / len(held)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("stated", "make"),
    [
        (costs.TRADE_BYTES, trade),
        (costs.QUOTE_BYTES, quote),
        (costs.BAR_BYTES, bar),
        (costs.CANDLE_BYTES, candle),
        (costs.REVISABLE_BYTES, open_bar),
        (costs.RECENT_BYTES, recent_trade),
        (costs.HELD_BYTES, held_trade),
    ],
)
def test_sizes_are_what_was_measured(stated: int, make: Callable[[int], object]) -> None:
    assert 0.7 * stated <= measured(make) <= stated * 1.05


def test_sizes_of_rows_and_rejections() -> None:
    before = pa.total_allocated_bytes()
    chunk = Chunk(costs.CHUNK_ROWS)
    assert (pa.total_allocated_bytes() - before) / chunk.rows <= costs.ROW_BYTES
    rejections = Rejections(1000)

    def reject(i: int) -> object:
        rejections.add(Reason.OFF_GRID, f"price={i:060d}", AT + i)
        return None

    assert measured(reject, 1000) <= costs.REJECTION_BYTES
    assert costs.CANDLES_TIMES == TIMES


def test_the_sum_grows_with_what_is_asked_for() -> None:
    one = worst_costs(CONFIG)
    assert one.total == sum(attrs.astuple(one))
    assert worst_costs(CONFIG, contracts=10).streams == 10 * one.streams
    assert worst_costs(CONFIG, timeframes=8).tables == 8 * one.tables
    assert worst_costs(CONFIG, others=2).streams > one.streams
    redundant = attrs.evolve(CONFIG, reconnect=px.Reconnect(redundant=True, connections_max=3))
    assert worst_costs(redundant).lines == one.lines // 2 * 7
    small = attrs.evolve(CONFIG, limits=px.Limits(bars_kept=1000, stream_items=2000))
    assert worst_costs(small).total < one.total
    assert least_cost(small) < 3 << 20 < least_cost(CONFIG) < one.total


def findings(reading: MemoryReading | None = ROOM, **changes: object) -> tuple[str, ...]:
    found = check_limits(attrs.evolve(CONFIG, **changes), reading, AT)  # type: ignore[arg-type]
    assert found.errors == ()
    return found.warnings


def test_the_defaults_fit_each_other() -> None:
    assert findings() == ()
    assert findings(None) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"limits": px.Limits(stream_items=100)}, "Limits.stream_items (100) is less than one read may bring (1,747"),
        ({"limits": px.Limits(record_bytes=1000)}, "Limits.record_bytes (1,000) is less than a record may have"),
        ({"limits": px.Limits(rest_body_bytes=1 << 20)}, "Limits.rest_body_bytes (1,048,576) is less than a full page"),
        ({"limits": px.Limits(stamp_max_ns=AT - 1)}, "the present, by the wall clock, is not between"),
        ({"limits": px.Limits(trade_size_max=50_000)}, "Limits.volume_band_floor (100,000) is above trade_size_max"),
        ({"limits": px.Limits(revisable_bars=100_001)}, "Limits.revisable_bars (100,001) is above bars_kept (100,000)"),
        ({"limits": px.Limits(price_band_confirm=10**4)}, "Limits.price_band_confirm (10,000) is above 1,000"),
        ({"limits": px.Limits(stamp_ahead_confirm=1001)}, "Limits.stamp_ahead_confirm (1,001) is above 1,000"),
        ({"timeouts": px.Timeouts(server_s=29)}, "Timeouts.server_s (29) is below 30, twice the interval at which"),
        ({"timeouts": px.Timeouts(rest_s=9)}, "Timeouts.rest_s (9) is below connect_s (10)"),
        ({"timeouts": px.Timeouts(refresh_s=9)}, "Timeouts.refresh_s (9) is below connect_s (10)"),
        ({"memory": px.MemoryOptions(look_s=3600)}, "MemoryOptions.look_s (3600) is above 60: memory may run out"),
        ({"timeouts": px.Timeouts(keep_alive_s=30)}, "Timeouts.keep_alive_s (30) is not below the 30 s"),
        ({"timeouts": px.Timeouts(pong_s=31)}, "Timeouts.pong_s (31) is above server_s (30)"),
        ({"timeouts": px.Timeouts(record_s=29)}, "Timeouts.record_s (29) is below server_s (30)"),
        ({"reconnect": px.Reconnect(max_connection_age_s=1)}, "Reconnect.max_connection_age_s (1) is not above"),
        ({"reconnect": px.Reconnect(base_s=31)}, "Reconnect.base_s (31) is above its cap_s (30)"),
        ({"reconnect": px.Reconnect(breaker_s=301)}, "Reconnect.breaker_s (301) is above its breaker_cap_s (300)"),
        ({"reconnect": px.Reconnect(young_s=31)}, "Reconnect.young_s (31) is above refill_s (30)"),
        ({"reconnect": px.Reconnect(connections_max=3, redundant=True)}, "Reconnect.connect_burst (5) is below the 6"),
        ({"refresh": px.Refresh(retry_s=61)}, "Refresh.retry_s (61) is above its retry_cap_s (60)"),
        ({"history": px.HistoryOptions(retry_s=61)}, "HistoryOptions.retry_s (61) is above its retry_cap_s (60)"),
        ({"memory": px.MemoryOptions(budget_bytes=1 << 40)}, "MemoryOptions.budget_bytes (1,048,576.0 MiB) is more"),
    ],
)  # fmt: skip
def test_each_inconsistency_has_its_sentence(changes: dict[str, object], says: str) -> None:
    (sentence,) = findings(**changes)
    assert sentence.startswith(says)


def test_all_that_is_wrong_is_said_at_once() -> None:
    limits = px.Limits(stream_items=1, record_bytes=1, rest_body_bytes=1)
    assert len(findings(limits=limits, refresh=px.Refresh(retry_s=100))) == 4


def test_what_memory_cannot_hold_is_an_error_and_what_it_may_not_hold_a_warning() -> None:
    tight = MemoryReading(100 << 20, 200 << 20, "the limit of the cgroup /app")
    (sentence,) = findings(tight)
    assert sentence.startswith("one contract with one stream of bars may take ")
    assert "the limit of the cgroup /app leaves 200.0 MiB" in sentence
    none = MemoryReading(100 << 20, 10 << 20, "MemoryOptions.budget_bytes")
    config = attrs.evolve(CONFIG, memory=px.MemoryOptions(budget_bytes=90 << 20))
    found = check_limits(config, none, AT)
    assert [each.split(" (")[0] for each in found.errors] == [
        "MemoryOptions.budget_bytes",
        "one stream of bars needs 21.3 MiB by Limits.bars_kept",
    ]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (px.Limits(recent_trades=10**10), "6,580,35"),
        (px.Limits(price_band_confirm=10**9), "486,"),
        (px.Limits(bars_kept=10**10, stream_items=10_000), "needs 1,354,2"),
    ],
)
def test_what_takes_most_is_named(limits: px.Limits, says: str) -> None:
    found = check_limits(attrs.evolve(CONFIG, limits=limits), ROOM, AT)
    assert any(says in each and "Limits." in each for each in (*found.errors, *found.warnings))


@pytest.mark.parametrize(
    ("left", "bound", "share", "helps"),
    [
        (250, "the machine's memory", "tight_share (0.7);", "more memory, or less of it in use"),
        (200, "MemoryOptions.budget_bytes", "high_share (0.8);", "a greater budget"),
        (60, "RLIMIT_AS", "severe_share (0.9);", "ARROW_DEFAULT_MEMORY_POOL=system"),
        (25, "RLIMIT_AS", "last_share (0.97), and the gateway ends", "ulimit -v"),
    ],
)
def test_memory_that_is_scarce_before_anything_has_begun(
    left: int, bound: str, share: str, helps: str
) -> None:
    reading = MemoryReading((1000 - left) << 20, left << 20, bound)
    sentence = findings(reading)[0]
    assert sentence.startswith(
        f"{1000 - left:,}.0 MiB of 1,000.0 MiB are used before anything has begun, by {bound}"
    )
    assert share in sentence
    assert helps in sentence
    calm = px.MemoryOptions(tight_share=0.98, high_share=0.985, severe_share=0.99, last_share=0.995)
    assert "before anything" not in "".join(findings(reading, memory=calm))
    stays = "".join(findings(reading, memory=px.MemoryOptions(exits=False)))
    assert "last_share" not in stays


async def test_a_gateway_that_cannot_fit_says_all_of_it_before_it_asks_for_anything() -> None:
    reading = MemoryReading(100 << 20, 1 << 20, "the limit of the cgroup /app")
    config = attrs.evolve(CONFIG, memory=px.MemoryOptions(read=lambda: reading))
    with pytest.raises(px.ConfigError, match=r"needs .* and the limit of the cgroup /app leaves 1.0 MiB"):
        async with px.open_gateway(config):
            pass


def test_what_the_docs_say_of_the_defaults_is_so() -> None:
    page = Path(__file__).parents[1] / "docs" / "memory.md"
    if not page.is_file():
        pytest.skip("docs are not beside the tests")
    assert f"it is {worst_costs(CONFIG).total / (1 << 20):.0f} MiB, of which" in page.read_text()
