"""Token refreshes under load: nothing lost, nothing doubled, no gap.

Each refresh opens a second connection, which takes over from the first while trades go on. Tokens are renewed on
request, or because they end.
"""

from __future__ import annotations

import random
from collections import Counter

import attrs
import trio
from ground import CONTRACT, Told, config_for, open_ground, run_virtually, seed_scheduler
from judge import Received, Sound, judge

import trio_projectx as px

#: The bucket lets one connection through in a second; the random rest moves the seams through the simulator's steps.
_EVERY_S = (1.05, 1.25)


@attrs.frozen
class Refreshes:
    """What came of it."""

    refreshes: int
    replaced: int
    overlapped: int
    connects: int
    duplicates: int
    """Trades that came on two connections, and were passed on once."""
    sound: Sound
    counts: Counter[str]
    virtual_s: float

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        wrong = []
        if self.sound.gaps or self.sound.missing:
            wrong.append(f"{self.sound.gaps} gaps, {self.sound.missing} trades missing in them")
        if not self.refreshes <= self.replaced == self.overlapped == self.connects - 1:
            wrong.append(
                f"{self.refreshes} refreshes, but {self.replaced} replacements, {self.overlapped} of them with an "
                f"overlap, and {self.connects} connections"
            )
        if not self.duplicates:
            wrong.append("no trade came twice: the connections did not overlap")
        return wrong


def refresh_on_request(refreshes: int, seed: int = 0, trades_per_s: float = 1000.0) -> Refreshes:
    """Ask for a new token again and again."""
    return _run(refreshes, seed, trades_per_s, ends=False)


def refresh_before_the_end(refreshes: int, seed: int = 0, trades_per_s: float = 1000.0) -> Refreshes:
    """Let tokens end after seconds, and our client renew them in time."""
    return _run(refreshes, seed, trades_per_s, ends=True)


def _run(refreshes: int, seed: int, trades_per_s: float, *, ends: bool) -> Refreshes:
    seed_scheduler(seed)
    return run_virtually(lambda: _refresh(refreshes, random.Random(seed), seed, trades_per_s, ends=ends))


async def _refresh(
    refreshes: int, rng: random.Random, seed: int, trades_per_s: float, *, ends: bool
) -> Refreshes:
    ttl_s = 4.0 if ends else 86_400.0
    received, told = Received(), Told(keep=False)
    async with open_ground(seed, trades_per_s, token_ttl_s=ttl_s, rate_limits=False) as (sim, door):
        config = config_for(door, refresh=px.Refresh(share=0.4, jitter=0.2, retry_s=0.2))
        async with px.open_gateway(config) as gateway, trio.open_nursery() as nursery:
            await nursery.start(told.listen, gateway)
            async with gateway.open_trades(CONTRACT, events=True) as trades:
                nursery.start_soon(_collect, trades, received)
                while told.counts["TokenRefreshed"] < refreshes:
                    await trio.sleep(rng.uniform(*_EVERY_S))
                    if not ends:
                        await gateway.refresh_token()
                with trio.move_on_after(20):  # what is still going on comes to its end
                    while told.counts["ConnectionReplaced"] < told.counts["TokenRefreshed"]:
                        await trio.sleep(0.01)
                await trio.sleep(0.2)
                statistics = gateway.statistics()
                nursery.cancel_scope.cancel()
        took = trio.current_time()
        sound = judge(received, sim.truth())
    assert statistics.market.ledger.balanced
    return Refreshes(
        refreshes=told.counts["TokenRefreshed"],
        replaced=told.counts["ConnectionReplaced"],
        overlapped=told.overlapped,
        connects=statistics.connects,
        duplicates=statistics.market.contracts[0].duplicates,
        sound=sound,
        counts=told.counts,
        virtual_s=took,
    )


async def _collect(trades: px.Stream[px.Trade | px.Gap], received: Received) -> None:
    async for item in trades:
        received.take(item)
