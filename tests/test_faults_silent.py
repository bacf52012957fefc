"""Trades that did not come and left no trace: each lies in a `Gap`, and no bar without them says that it is whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio
from fault_tools import CONTRACT, Row, config_for, open_sim, row_of, truth_rows
from replay_tools import recording, replayed
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx.simulator import Fault, Simulator
from trio_projectx.testing import play

S = 10**9
FRAMES = ("5s", "1m")
Act = Callable[[Simulator, px.Gateway], Awaitable[None]]


@attrs.define
class Life:
    """What two streams gave of a market of which everything is known."""

    trades: list[px.Trade | px.Gap] = attrs.Factory(list)
    items: list[px.Bar | px.BarRevised | px.Gap] = attrs.Factory(list)
    truth: list[Row] = attrs.Factory(list)
    missing: int = 0

    @property
    def gaps(self) -> list[px.Gap]:
        return [item for item in self.trades if isinstance(item, px.Gap)]

    @property
    def bars(self) -> list[px.Bar]:
        """The bars as they were in the end."""
        last: dict[tuple[object, int], px.Bar] = {}
        for item in self.items:
            if not isinstance(item, px.Gap):
                bar = item.bar if isinstance(item, px.BarRevised) else item
                last[bar.timeframe, bar.start] = bar
        return list(last.values())

    def check(self) -> None:
        came = {row_of(item) for item in self.trades if isinstance(item, px.Trade)}
        first = min(row[0] for row in came)
        for row in self.truth:
            told = any(gap.start <= row[0] <= gap.end for gap in self.gaps)
            assert row[0] < first or row in came or told, row
        whole = [bar for bar in self.bars if bar.start >= first and not bar.partial]
        assert len(whole) > 10
        for bar in whole:
            assert bar.volume == sum(row[2] for row in self.truth if bar.start <= row[0] < bar.end), bar


async def collect(stream: trio.abc.ReceiveChannel[object], into: list) -> None:
    async for item in stream:
        into.append(item)


async def lived(sim: Simulator, act: Act, **options: object) -> Life:
    found = Life()
    async with px.open_gateway(config_for(sim)) as gateway:
        await stream(sim, gateway, act, found, **options)
    return found


async def stream(sim: Simulator, gateway: px.Gateway, act: Act, found: Life, **options: object) -> None:
    async with (
        gateway.open_bars(CONTRACT, *FRAMES, events=True, **options) as bars,
        gateway.open_trades(CONTRACT, events=True) as trades,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(collect, bars, found.items)
        nursery.start_soon(collect, trades, found.trades)
        await act(sim, gateway)
        found.truth = truth_rows(sim.truth())
        found.missing = len(gateway.coverage(CONTRACT).missing)
        nursery.cancel_scope.cancel()


# -- the service sends its last trades again


def away(quietly: Fault) -> Act:
    """The last trades before the loss do not come, and what comes first a minute later is those."""

    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        sim.set_trades_per_s(2)
        sim.inject(Fault("trades_replayed", hub="market", n=20))
        await trio.sleep(20)
        sim.inject(quietly)
        await trio.sleep(2)
        sim.inject(Fault("refuse", phase="connect", count=0, duration_s=60))
        sim.inject(Fault("tcp_reset", hub="market"))
        await trio.sleep(200)

    return act


QUIETLY = [
    Fault("mute_data", hub="market", duration_s=5),
    Fault("delay", hub="market", latency_s=1.5, jitter_s=0.0),
]


@pytest.mark.parametrize("quietly", QUIETLY, ids=["muted", "delayed"])
@pytest.mark.parametrize("fill", [None, "previous"])
async def test_trades_that_are_sent_again_do_not_end_a_gap_before_the_new_subscription(
    autojump_clock: MockClock, quietly: Fault, fill: str | None
) -> None:
    async with open_sim(seed=1) as sim:
        found = await lived(sim, away(quietly), history=1, fill=fill)
    found.check()
    (gap,) = found.gaps
    assert gap.end - gap.start > 60 * S
    # They did come, and are in bars.
    again = found.trades[found.trades.index(gap) + 1]
    assert isinstance(again, px.Trade)
    assert again.ts_event < gap.start + 5 * S
    assert found.missing == 0
    assert not any(bar.partial for bar in found.bars)  # history has filled it


async def test_a_replay_of_the_record_ends_the_gap_where_it_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    found = Life()
    async with open_sim(seed=1) as sim, px.open_gateway(config_for(sim)) as gateway:
        async with recording(gateway, tmp_path, autojump_clock):
            await stream(sim, gateway, away(QUIETLY[0]), found)
    found.check()
    got, _ = await replayed(tmp_path, CONTRACT, FRAMES, events=True)
    # Bars that are still forming when the record ends are given then.
    assert got.items[: len(found.items)] == found.items


# -- a connection that brings nothing, and is replaced before anybody suspects it


@pytest.mark.parametrize("history", [0, 3])
async def test_a_first_subscription_that_is_sent_old_trades_first_has_no_whole_bar_of_before_it(
    tmp_path: Path, autojump_clock: MockClock, history: int
) -> None:
    """Nothing was there before, so there is no gap: but between those trades and the subscription there is a hole."""
    found = Life()
    async with open_sim(seed=1) as sim:
        sim.set_trades_per_s(2)
        sim.inject(Fault("trades_replayed", hub="market", n=5))
        async with px.open_gateway(config_for(sim)) as before, before.open_trades(CONTRACT):
            await trio.sleep(20)
        sim.set_trades_per_s(0)
        await trio.sleep(76)
        sim.set_trades_per_s(2)  # a minute, or two, later
        async with px.open_gateway(config_for(sim)) as gateway:
            await trio.sleep(27.3)
            async with recording(gateway, tmp_path, autojump_clock):
                await stream(sim, gateway, waits(150), found, history=history)
    bars = [bar for bar in found.bars if bar.source != "history"]
    assert min(bar.start for bar in bars) < bars[-1].start - 200 * S
    assert not found.gaps
    whole = [bar for bar in bars if not bar.partial]
    assert {str(bar.timeframe) for bar in whole} == set(FRAMES)
    for bar in whole:
        assert bar.volume == sum(row[2] for row in found.truth if bar.start <= row[0] < bar.end), bar
    assert (len(whole) == len(bars)) is (history > 0)  # they are read again
    if not history:
        got, _ = await replayed(tmp_path, CONTRACT, FRAMES, events=True)
        assert got.items[: len(found.items)] == found.items


def waits(seconds: float) -> Act:
    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        await trio.sleep(seconds)

    return act


@pytest.mark.parametrize("seed", [1, 4, 6, 7])
async def test_a_refresh_does_not_hide_that_the_connection_before_it_had_brought_nothing(
    autojump_clock: MockClock, seed: int
) -> None:
    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        sim.set_trades_per_s(1)
        await trio.sleep(10)
        sim.inject(Fault("subscriptions_lost", hub="market", phase="subscribe"))
        sim.inject(Fault("tcp_reset", hub="market"))
        await trio.sleep(22)  # a stall is seen after 30
        await gateway.refresh_token()
        await trio.sleep(130)

    async with open_sim(seed=seed) as sim:
        found = await lived(sim, act, history=1)
    found.check()
    assert len(found.gaps) == 2
    assert found.missing == 0
    assert not any(bar.partial for bar in found.bars)


@pytest.mark.parametrize("seed", [2, 4, 9])
async def test_a_refresh_does_not_hide_that_the_connection_before_it_had_fallen_silent(
    autojump_clock: MockClock, seed: int
) -> None:
    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        sim.set_trades_per_s(1)
        await trio.sleep(60)
        sim.inject(Fault("mute_data", hub="market", connection="#1"))
        await trio.sleep(10)
        await gateway.refresh_token()
        await trio.sleep(120)

    async with open_sim(seed=seed) as sim:
        found = await lived(sim, act, history=1)
    found.check()
    assert len(found.gaps) == 1


async def test_a_quiet_market_is_not_doubted_at_each_refresh(autojump_clock: MockClock) -> None:
    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        sim.set_trades_per_s(0.05)
        for _ in range(8):
            await trio.sleep(100)
            await gateway.refresh_token()
        await trio.sleep(100)

    async with open_sim(seed=2) as sim:
        found = await lived(sim, act)
    assert len([item for item in found.trades if isinstance(item, px.Trade)]) > 20
    assert found.gaps == []
    found.check()


async def test_a_market_that_has_closed_is_not_doubted(autojump_clock: MockClock) -> None:
    start = 1_787_172_900 * S  # five minutes before 16:00 in Chicago

    async def act(sim: Simulator, gateway: px.Gateway) -> None:
        await trio.sleep(300)
        sim.set_trades_per_s(0)
        for _ in range(5):
            sim.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(100)
            await gateway.refresh_token()
        await trio.sleep(100)

    def wall() -> int:
        return start + round(trio.current_time() * S)

    async with open_sim(seed=2, wall_clock=wall) as sim:
        found = Life()
        async with px.open_gateway(config_for(sim, wall_clock=wall)) as gateway:
            await stream(sim, gateway, act, found)
    assert len(found.gaps) == 5  # one for each loss, none for a refresh


# -- closed hours whose trades are attached to the session that follows


@pytest.mark.parametrize("is_filled", [True, False])
async def test_a_gap_in_closed_hours_touches_the_bar_that_their_trades_are_attached_to(
    autojump_clock: MockClock, is_filled: bool
) -> None:
    day = "2026-08-19T"  # CME is closed from 21:00 to 22:00
    rows = [
        (day + "20:58:10Z", 23750.25, 2),
        (day + "21:04:00Z", 23750.25, 1),
        (day + "21:20:00Z", 23752.0, 7),
    ]
    rows += [(f"{day}22:0{minute}:00.500Z", 23751.0, 1) for minute in range(4)]
    items: list[px.Bar | px.BarRevised | px.Gap] = []
    async with play(rows, start=day + "20:58:00Z") as stage, trio.open_nursery() as nursery:
        async with stage.gateway.open_bars(stage.contract_id, "1m", outside="attach", events=True) as bars:
            nursery.start_soon(collect, bars, items)
            await trio.sleep(9 * 60)
            stage.simulator.inject(Fault("refuse", phase="connect", count=0, duration_s=300))
            stage.simulator.inject(Fault("tcp_reset", hub="market"))
            await trio.sleep(40 * 60)
            if not is_filled:
                stage.simulator.inject(
                    Fault("http_status", hub="rest", phase="rest", path="*/History/*", count=0)
                )
            found = stage.gateway.coverage(stage.contract_id)
            assert len(found.missing) == 1  # the bar is not over
            await trio.sleep(20 * 60)
            found = stage.gateway.coverage(stage.contract_id)
            closed = [hole for hole in found.missing if hole.start < 1_787_176_800 * S]  # before 22:00
            assert len(closed) == (0 if is_filled else 1)
            nursery.cancel_scope.cancel()
    given = [item for item in items if isinstance(item, px.Bar) and item.start_time.hour == 22]
    assert (given[0].volume, given[0].partial, given[1].partial) == (9, True, not is_filled)
    revised = [
        item.bar for item in items if isinstance(item, px.BarRevised) and item.bar.start_time.hour == 22
    ]
    assert [(bar.volume, bar.partial) for bar in revised] == ([(9, False)] if is_filled else [])
