"""A record played again gives the very bars of then: byte for byte, at any speed, over outages and two lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from replay_tools import Got, recording, replayed
from test_gateway import running

import trio_projectx as px

FRAMES = ("1s", "5s", "1m", "5m")


async def live(
    path: Path, clock: trio.testing.MockClock, seconds: float, **options: object
) -> tuple[Got, px.GatewayStatistics, str]:
    """Record a simulated market, and read its bars meanwhile."""
    got = Got()
    async with running() as (sim, gateway), recording(gateway, path, clock):
        async with gateway.open_bars("MNQ", *FRAMES, **options) as bars:  # type: ignore[call-overload]
            with trio.move_on_after(seconds):
                await got.read(bars)
            got.look(bars)
            return got, gateway.statistics(), sim.contract_id
    raise AssertionError


@pytest.mark.parametrize("speed", [None, 0, 1, 50])
async def test_a_replay_gives_the_bars_of_then(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, speed: float | None
) -> None:
    then, counts, contract = await live(tmp_path, autojump_clock, 150.0123)
    again, recounts = await replayed(tmp_path, contract, FRAMES, speed=speed)
    assert len(then.items) > 150
    assert again.items[: len(then.items)] == then.items
    assert again.bytes == then.bytes
    assert again.forming == then.forming
    assert recounts.market.ledger.balanced
    assert [each.received for each in recounts.market.contracts] == [each.received for each in counts.market.contracts]
