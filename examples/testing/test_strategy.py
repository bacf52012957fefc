"""How to test a strategy: trades of your own, a made market, and a connection that is lost."""

import pytest
import trio

import trio_projectx as px
from trio_projectx.simulator import Fault


async def breakouts(gateway: px.Gateway, contract: str, found: list[float]) -> None:
    """The strategy under test: note each close above the high of the bar before."""
    high = float("inf")
    async with gateway.open_bars(contract, "1s") as bars:
        async for bar in bars:
            if bar.close > high:
                found.append(bar.close)
            high = bar.high


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


async def test_a_lost_connection_reaches_the_strategy(autojump_clock, gateway, simulator):
    simulator.inject(Fault("half_open", hub="market", phase="stream", after_records=20))
    with pytest.raises(px.ConnectionLost):
        await breakouts(gateway, "MNQ", [])
    assert trio.current_time() < 35
