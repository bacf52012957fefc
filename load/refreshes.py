"""Token refreshes under load: nothing lost, nothing doubled, no gap.

Each refresh opens a second connection, which takes over from the first while trades go on. Tokens are renewed on
request, or because they end.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Final, Literal, TypeAlias

import attrs
import trio
from ground import CONTRACT, Told, config_for, open_ground, run_virtually, seed_scheduler
from judge import Received, Sound, judge
from storms import OPTIONS, crowding

import trio_projectx as px

#: The bucket lets one connection through in a second; the random rest moves the seams through the simulator's steps.
_EVERY_S: Final = (1.05, 1.25)
_IN_A_RUSH_S: Final = (0.02, 0.08)

How: TypeAlias = Literal["on request", "before they end", "in a rush"]
HOWS: Final[tuple[How, ...]] = ("on request", "before they end", "in a rush")
"""A refresh is asked for in each second; or tokens last for seconds; or refreshes are asked for all the time."""


@attrs.frozen
class Refreshes:
    """What came of it."""

    how: How
    refreshes: int
    replaced: int
    overlapped: int
    connects: int
    duplicates: int
    """Trades that came on two connections, and were passed on once."""
    sound: Sound
    crowding: float
    """See `storms.crowding`."""
    counts: Counter[str]
    virtual_s: float

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if self.sound.gaps or self.sound.missing:
            wrong.append(f"{self.sound.gaps} gaps, {self.sound.missing} trades missing in them")
        is_complete = self.replaced == self.refreshes or self.how == "in a rush"
        if not (is_complete and self.replaced == self.overlapped == self.connects - 1):
            wrong.append(
                f"{self.refreshes} refreshes, but {self.replaced} replacements, {self.overlapped} of them with an "
                f"overlap, and {self.connects} connections"
            )
        if not self.duplicates:
            wrong.append("no trade came twice: the connections did not overlap")
        if self.crowding > OPTIONS.connect_burst + 1e-6:
            wrong.append(f"a window with {self.crowding:.2f} connections more than its seconds allow")
        return wrong


def refresh(how: How, refreshes: int, seed: int = 0, trades_per_s: float = 1000.0) -> Refreshes:
    """Renew the token so many times, under so many trades in a second."""
    seed_scheduler(seed)
    return run_virtually(lambda: _refresh(how, refreshes, random.Random(seed), trades_per_s))


async def _refresh(how: How, refreshes: int, rng: random.Random, trades_per_s: float) -> Refreshes:
    ttl_s = 4.0 if how == "before they end" else 86_400.0
    received, told = Received(), Told(keep=False)
    async with open_ground(rng.randrange(1000), trades_per_s, token_ttl_s=ttl_s, rate_limits=False) as (
        sim,
        door,
    ):
        config = config_for(door, refresh=px.Refresh(share=0.4, jitter=0.2, retry_s=0.2))
        async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
            await nursery.start(told.listen, gateway)
            async with gateway.open_trades(CONTRACT, events=True) as trades:
                nursery.start_soon(_collect, trades, received)
                await _renew(how, refreshes, gateway, told, rng)
                statistics = gateway.statistics()
                nursery.cancel_scope.cancel()
        took = trio.current_time()
        sound = judge(received, sim.truth())
    assert statistics.market.ledger.balanced
    return Refreshes(
        how=how,
        refreshes=told.counts["TokenRefreshed"],
        replaced=told.counts["ConnectionReplaced"],
        overlapped=told.overlapped,
        connects=statistics.connects,
        duplicates=statistics.market.contracts[0].duplicates,
        sound=sound,
        crowding=crowding(door.hub_attempts),
        counts=told.counts,
        virtual_s=took,
    )


async def _renew(how: How, refreshes: int, gateway: px.Gateway, told: Told, rng: random.Random) -> None:
    while told.counts["TokenRefreshed"] < refreshes:
        await trio.sleep(rng.uniform(*(_IN_A_RUSH_S if how == "in a rush" else _EVERY_S)))
        if how != "before they end":
            await gateway.refresh_token()
        await trio.sleep(0.01)  # who counts what was told hears of it a step later
    # What is going on comes to its end; the token of the last connection must not end meanwhile.
    with trio.move_on_after(2):
        while told.counts["ConnectionReplaced"] < told.counts["TokenRefreshed"]:
            await trio.sleep(0.01)


async def _collect(trades: px.Stream[px.Trade | px.Gap], received: Received) -> None:
    async for item in trades:
        received.take(item)
