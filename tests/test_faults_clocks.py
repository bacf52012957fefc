"""Clocks that are wrong, that jump and that stand still; markets that are closed or thin (FAULTS.md rows 44, 87 to 91).

The simulator's clock is the exchange's; our client's own is off by what each test says.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
import trio
from fault_tools import (
    CONTRACT,
    START_NS,
    Seen,
    account_for,
    ask,
    assert_steady,
    check,
    check_user,
    config_for,
    meet,
    open_sim,
    oracle,
    row,
    truth_rows,
    virtual_wall,
    watch,
)
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.connection import watch as market_watch
from trio_projectx.simulator import Fault, Simulator

AT = 5.01
HOUR_S = 3600.0
OFFSETS = [-HOUR_S, HOUR_S, 90.0, -90.0]


def off_by(seconds: float) -> Callable[[], int]:
    return lambda: virtual_wall() + round(seconds * 1e9)


async def rate(sim: Simulator, trades_per_s: float) -> None:
    await ask(sim, "POST", f"/control/hz?v={trades_per_s}")


def skews(seen: Seen) -> list[tuple[bool, float]]:
    return [(each.is_skewed, round(each.skew_ms / 1000, 1)) for each in seen.told(px.ClockSkewed)]


# -- a clock that is wrong


@pytest.mark.parametrize("seconds", OFFSETS)
async def test_nothing_is_rejected_and_bars_go_on(autojump_clock: MockClock, seconds: float) -> None:
    """Rows 87, 88 and 89: told once, and over an outage too; no bar is in the future, and none is missing."""
    async with open_sim() as sim:
        fault = Fault("tcp_reset", hub="market")
        seen, _ = await meet(sim, fault, at=15.01, until=30, user=True, wall_clock=off_by(seconds))
        assert skews(seen) == [(True, pytest.approx(seconds, abs=0.1))]
        assert seen.rejected == 0
        assert len(seen.outages()) == 1
        account = check(seen, sim, is_live=True)
        assert account.missed == 0
        assert all(bar.end <= START_NS + 31 * 10**9 for bar in seen.bars)
        assert all(START_NS <= gap.start <= gap.end <= START_NS + 16 * 10**9 for gap in seen.gaps)
        side = "ahead of" if seconds > 0 else "behind"
        assert (
            f"our clock is {'60 minutes' if abs(seconds) == HOUR_S else '90 s'} {side} the exchange's"
            in seen.health
        )
        assert "status='degraded'" in seen.health


@pytest.mark.parametrize("seconds", [HOUR_S, 90.0])
async def test_a_bar_that_is_forming_is_not_over_because_our_clock_is_ahead(
    autojump_clock: MockClock, seconds: float
) -> None:
    """Row 88, with a service that gives bars that are not over; too few trades have come to show how late it is."""
    last: dict[int, px.Bar] = {}
    async with open_sim() as sim, px.open_gateway(config_for(sim, wall_clock=off_by(seconds))) as gateway:
        await rate(sim, 0.4)
        async with gateway.open_trades(CONTRACT):
            await trio.sleep(1)  # its market has begun, a minute before
        sim.inject(Fault("history_bars", kind="forming", hub="rest", count=0))
        await trio.sleep(118)
        await rate(sim, 0)
        await trio.sleep(9)  # nobody trades between the minute's beginning and ours
        async with gateway.open_bars(CONTRACT, "1m", history=2, events=True) as bars:
            await rate(sim, 0.4)
            with trio.move_on_after(150):
                async for item in bars:
                    bar = item.bar if isinstance(item, px.BarRevised) else item
                    if isinstance(bar, px.Bar):
                        last[bar.start] = bar
            assert bars.counts().late == 0
        truth = truth_rows(sim.truth(CONTRACT))
    whole = [bar for bar in last.values() if not bar.partial and bar.start > truth[0][0]]
    assert {bar.source for bar in whole} >= {"live"}
    assert len(whole) > 2
    for bar in whole:
        assert bar.volume == sum(row[2] for row in truth if bar.start <= row[0] < bar.end), bar


async def test_a_clock_that_jumps_is_told_each_time(autojump_clock: MockClock) -> None:
    """Right, then 90 s ahead, then an hour behind, then right again."""
    jumps = [(0.0, 0.0), (10.0, 90.0), (20.0, -HOUR_S), (30.0, 0.0)]

    def wall() -> int:
        now = trio.current_time()
        return virtual_wall() + round(max(each for each in jumps if each[0] <= now)[1] * 1e9)

    async with open_sim() as sim:
        seen = await watch(sim, 42, user=True, wall_clock=wall)
        found = skews(seen)
        assert [skewed for skewed, _ in found][-1] is False
        assert any(value == pytest.approx(90, abs=0.5) for _, value in found)
        assert found[-1][1] == pytest.approx(0, abs=0.2)
        assert seen.outages() == []
        assert (seen.rejected, seen.gaps) == (0, [])
        check(seen, sim, is_live=True)
        check_user(seen)


@pytest.mark.parametrize("seconds", OFFSETS)
async def test_a_stall_is_found_whatever_our_clock_says(autojump_clock: MockClock, seconds: float) -> None:
    """An hour ahead of this test's market, it would be closed: of that the exchange's clock decides."""
    async with open_sim() as sim:
        await rate(sim, 5)
        fault = Fault("mute_data", hub="market")
        seen, _ = await meet(sim, fault, at=AT, until=40, wall_clock=off_by(seconds))
        (stalled,) = seen.told(px.MarketStalled)
        ((start, end),) = seen.outages()
        assert start - AT <= 31.2
        assert end is not None
        assert stalled.silent_s == pytest.approx(30, abs=1)
        check(seen, sim, is_live=True)


@pytest.mark.parametrize("seconds", OFFSETS)
@pytest.mark.parametrize("ttl_s", [30.0, 400.0])
async def test_tokens_are_used_for_as_long_as_they_live(
    autojump_clock: MockClock, seconds: float, ttl_s: float
) -> None:
    """Our clock says that each has ended, or lives for an hour more; the service decides. No storm either way."""
    async with open_sim(token_ttl_s=ttl_s) as sim:
        await rate(sim, 5)
        seen = await watch(sim, 100, user=True, wall_clock=off_by(seconds))
        assert seen.error is None
        assert seen.statistics is not None
        renewals = len(seen.told(px.TokenRefreshed))
        assert renewals <= 2 + 100 / min(ttl_s, 60) * 1.5
        assert renewals >= (100 // ttl_s)
        assert seen.down_s() <= 5
        check(seen, sim, is_live=True)
        check_user(seen)


@pytest.mark.parametrize("seconds", [0.0, *OFFSETS])
async def test_the_last_bar_before_a_silence_is_closed(autojump_clock: MockClock, seconds: float) -> None:
    """By the time that has passed, when nothing can be on its way any more; not by what our clock shows."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: watch(sim, 14, seen, wall_clock=off_by(seconds)))
            await trio.sleep(AT)
            await rate(sim, 0)
        made = [row(bar) for bar in seen.bars]
        assert made == oracle(truth_rows(sim.truth()))
        assert not any(bar.partial for bar in seen.bars[1:])
        check(seen, sim)


# -- a machine that sleeps


@pytest.mark.parametrize("at", [AT, 40.3])
async def test_a_machine_that_slept_has_lost_its_connections(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, at: float
) -> None:
    """Row 91: ten minutes in which no timer ran. The connections look alive, and are not trusted."""
    slept = 0.0
    monkeypatch.setattr(market_watch, "suspended_s", lambda: slept)
    async with open_sim() as sim:
        await rate(sim, 5)
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: watch(sim, at + 40, seen, wall_clock=lambda: virtual_wall() + round(slept * 1e9))
            )
            await trio.sleep(at)
            slept = 600.0
        ((start, end),) = seen.outages()
        assert start - at <= 30.1
        assert end is not None
        assert end - start <= 0.5
        (gap,) = seen.gaps
        assert "slept for 600 s" in gap.cause
        check(seen, sim, is_live=True)
        assert_steady(seen, at)


# -- a market that is closed, or thin

CLOSES = 1_787_173_200  # 2026-08-19T21:00:00Z: 16:00 in Chicago
OPENS = CLOSES + 3600


def tape(*seconds: float) -> pa.Table:
    return pa.table(
        {
            "ts_event": pa.array([round(each * 1e9) for each in seconds], pa.int64()),
            "price": [20_000.25 + number % 7 for number in range(len(seconds))],
            "volume": [1] * len(seconds),
        }
    )


@pytest.mark.parametrize("first_s", [10.0, 100.0])
async def test_an_hour_in_which_the_market_is_closed_is_no_stall(
    autojump_clock: MockClock, first_s: float
) -> None:
    """Row 90: the daily break. Tokens are renewed meanwhile, too.

    Weekends, holidays and half days are other hours of the same kind, and take too long to be lived through here:
    see test_bars_sessions.py and test_connection_stalls.py.
    """
    begin = CLOSES - 60

    def wall() -> int:
        return begin * 10**9 + round(trio.current_time() * 1e9)

    before = [begin + 0.5 * each for each in range(119)]
    after = [OPENS + first_s + 0.5 * each for each in range(40)]
    async with open_sim(
        replay=tape(*before, *after), contract=CONTRACT, wall_clock=wall, token_ttl_s=1800
    ) as sim:
        seen = await watch(sim, 3660 + first_s + 30, look_s=10, wall_clock=wall)
    assert (seen.error, seen.outages(), seen.gaps) == (None, [], [])
    stalls = seen.told(px.MarketStalled)
    assert len(stalls) == 2 * (first_s > 30)  # in the open market: told, asked for, and found to be quiet
    assert all(OPENS + 30 <= each.at / 1e9 <= OPENS + first_s for each in stalls)
    assert seen.statistics is not None
    assert [each.accepted for each in seen.statistics.market.contracts] == [159]
    assert len(seen.told(px.TokenRefreshed)) == 2


async def test_a_thin_market_does_not_cost_a_connection_every_half_minute(autojump_clock: MockClock) -> None:
    """What was traded while the hub was away is newer than what we had, and no fault of the new connection."""
    async with open_sim() as sim:
        seen = Seen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, sim, 200, seen)
            await trio.sleep(0.12)
            await rate(sim, 0)
            await trio.sleep(10)
            sim.inject(Fault("refuse", count=2))
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(0.001)
            sim._exchange.set_trades_per_s(200)
            await trio.sleep(0.1)
            sim._exchange.set_trades_per_s(0)
        assert account_for(seen.items, truth_rows(sim.truth())).tail  # that is what was traded then
        assert len(seen.told(px.MarketStalled)) >= 2
        assert len(seen.outages()) <= 2  # the reset, and at most one that the missed trades have cost
        check(seen, sim, bound_s=130)  # quiet by what the service says, for longer each time
