"""Which connection carries which contract: subscriptions in groups, each group on a line (two in redundant mode)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Generic

import attrs

from trio_projectx._config import Reconnect
from trio_projectx.connection.line import Line
from trio_projectx.flow.subscriptions import D, Subscription

#: How many times the best round trip a line's may be, and how many seconds above it, before it gives contracts away.
_SLOWER: Final = 4.0
_SLOWER_S: Final = 0.5
#: How long a line may be without a connection before it gives contracts away.
_DOWN_S: Final = 10.0


@attrs.define(slots=True, eq=False)
class Shard(Generic[D]):
    """Some subscriptions, and the lines that carry all of them."""

    wishes: set[Subscription] = attrs.Factory(set[Subscription])
    lines: list[Line[D]] = attrs.Factory(list[Line[D]])
    down_since: float | None = None
    no_second_before: float = 0.0
    """In redundant mode: when the second line may be tried again (trio's clock)."""

    @property
    def subjects(self) -> set[str | int | None]:
        """The contracts, or accounts."""
        return {each.subject for each in self.wishes}

    @property
    def is_live(self) -> bool:
        """Whether one of its lines is."""
        return any(line.is_live for line in self.lines)

    @property
    def round_trip_s(self) -> float | None:
        """The best round trip of its lines."""
        trips = [
            line.epoch.liveness.round_trip_s for line in self.lines if line.is_live and line.epoch is not None
        ]
        return min((each for each in trips if each is not None), default=None)


def place(shards: Sequence[Shard[D]], wanted: Subscription, options: Reconnect) -> Shard[D] | None:
    """Return the shard that is to carry ``wanted``; None for a new one.

    What belongs to one contract stays together; a new contract goes where there are the fewest, on a live line.
    """
    for shard in shards:
        if wanted.subject in shard.subjects:
            return shard
    if not shards:
        return None
    best = min(shards, key=lambda shard: (not shard.is_live, len(shard.subjects)))
    if len(best.subjects) < options.contracts_per_connection or len(shards) >= options.connections_max:
        return best
    return None


def unhealthy(shards: Sequence[Shard[D]], now: float) -> tuple[Shard[D], Shard[D]] | None:
    """Return a shard that should give a contract away, and the one to take it; None where all are well."""
    for shard in shards:
        since = now if shard.down_since is None else shard.down_since
        shard.down_since = None if shard.is_live else since
    well = [shard for shard in shards if shard.is_live]
    if not well or len(shards) < 2:
        return None
    best = min(well, key=_merits)
    for shard in shards:
        if shard is not best and shard.wishes and _is_worse(shard, best, now):
            return shard, best
    return None


def _merits(shard: Shard[D]) -> tuple[float, int]:
    # One whose pings are not answered may be slower than any.
    round_trip_s = math.inf if shard.round_trip_s is None else shard.round_trip_s
    return round_trip_s, len(shard.subjects)


def _is_worse(shard: Shard[D], best: Shard[D], now: float) -> bool:
    if shard.down_since is not None:
        return now - shard.down_since >= _DOWN_S
    mine, theirs = shard.round_trip_s, best.round_trip_s
    return mine is not None and theirs is not None and mine > max(theirs * _SLOWER, theirs + _SLOWER_S)
