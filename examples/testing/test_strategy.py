"""How to test a strategy: trades of your own, a made market, and a connection that is lost."""

import pytest
import trio

import trio_projectx as px
from trio_projectx.simulator import Fault


async def breakouts(gateway: px.Gateway, contract: str, found: list[float]) -> None:
    """The strategy under test: note each close above the high of the bar before, if nothing is missing between."""
    high = float("inf")
    async with gateway.open_bars(contract, "1s", events=True) as bars:
        async for bar in bars:
            match bar:
                case px.Bar(partial=False):
                    if bar.close > high:
                        found.append(bar.close)
                    high = bar.high
                case _:  # a gap, or a bar that it has touched: begin anew
                    high = float("inf")


TRADES = [
    ("2026-08-19T18:30:00.250Z", 23750.00, 2),
    ("2026-08-19T18:30:01.250Z", 23749.50, 1),
    ("2026-08-19T18:30:02.250Z", 23751.75, 3, px.Side.BUY),
    ("2026-08-19T18:30:04.000Z", 23751.00, 1),
]


async def test_a_breakout_is_found(autojump_clock, gateway, scripted_market):
    found = []
    contract = scripted_market(TRADES)
    with trio.move_on_after(10):
        await breakouts(gateway, contract, found)
    assert found == [23751.75]


@pytest.mark.simulator(seed=3, speed=60)
async def test_an_hour_of_a_made_market(autojump_clock, gateway):
    found = []
    with trio.move_on_after(60):
        await breakouts(gateway, "MNQ", found)
    assert found


async def test_a_lost_connection_makes_the_strategy_begin_anew(autojump_clock, gateway, simulator):
    fault = simulator.inject(Fault("half_open", hub="market", phase="stream", after_records=200))
    found = []
    async with gateway.open_events() as events, gateway.open_bars("MNQ", "1s", events=True) as bars:
        with trio.move_on_after(60):
            await breakouts(gateway, "MNQ", found)
        items = [bars.receive_nowait() for _ in range(bars.statistics().queued)]
        told = [events.receive_nowait() for _ in range(events.statistics().queued)]
    assert fault.struck == 1
    (gap,) = [item for item in items if isinstance(item, px.Gap)]
    # Nobody has told us that the other side is gone: that is found when 30 s are over.
    assert 30e9 < gap.end - gap.start < 32e9
    states = [event.state for event in told if isinstance(event, px.HubStateChanged)]
    assert states[-2:] == [px.HubState.RECONNECTING, px.HubState.LIVE]
    assert found
