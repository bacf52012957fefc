"""Option groups of connections, history and memory, with units in their names, all checked as they come."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._memory import MemoryReading
from trio_projectx._validators import at_least_1, is_bool, is_callable, is_share, positive, seconds


def _path(value: object) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"HistoryOptions.cache must be a path, not a {type(value).__name__}")
    if not value.strip() or "\0" in value:
        raise ConfigError(f"HistoryOptions.cache must be the path of a folder, not {value!r:.40}")
    return Path(value)


@attrs.frozen(slots=True)
class Reconnect:
    """What happens when a hub's connection is lost, and how many connections a hub has (FAULTS.md I6, I7)."""

    base_s: float = attrs.field(default=0.25, validator=seconds)
    """The first attempt of an outage is made at once; before the n-th later one lies a random time from 0 to
    ``base_s * 2**n``, at most ``cap_s``."""
    cap_s: float = attrs.field(default=30.0, validator=seconds)
    refill_s: float = attrs.field(default=30.0, validator=seconds)
    """A connection that lived this long ends the outage: the next one begins with an immediate attempt."""
    max_attempts: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_1))
    """Attempts of one outage, then the hub is lost for good; None: no end."""
    max_s: float | None = attrs.field(default=None, validator=attrs.validators.optional(seconds))
    """Seconds of one outage, then the hub is lost for good; None: no end."""
    at_start: bool = attrs.field(default=False, validator=is_bool)
    """Whether a hub's very first connection is retried too; otherwise its failure is raised at once."""
    young_s: float = attrs.field(default=5.0, validator=seconds)
    """A connection that lives less than this died young."""
    young_deaths: int = attrs.field(default=5, validator=at_least_1)
    """Young deaths in a row that open the breaker: no attempt for ``breaker_s``, then one by way of trial."""
    breaker_s: float = attrs.field(default=30.0, validator=seconds)
    breaker_cap_s: float = attrs.field(default=300.0, validator=seconds)
    """Each trial that dies young doubles the breaker's time, up to this."""
    connect_burst: int = attrs.field(default=5, validator=at_least_1)
    """Connections that one gateway may open at once; all its hubs and endpoints share this."""
    connects_per_s: float = attrs.field(default=1.0, validator=positive)
    """Their mean rate beyond the burst."""
    failover_after: int = attrs.field(default=3, validator=at_least_1)
    """Failed attempts in a row after which the next of several endpoints is tried."""
    return_s: float = attrs.field(default=300.0, validator=seconds)
    """How long a connection stays with another endpoint than the first before the first is tried again."""
    redundant: bool = attrs.field(default=False, validator=is_bool)
    """Whether each subscription has two connections, whose data are merged."""
    contracts_per_connection: int = attrs.field(default=100, validator=at_least_1)
    """Contracts above which another connection is opened."""
    connections_max: int = attrs.field(default=1, validator=at_least_1)
    """Connections over which a hub's contracts may be spread (redundant ones not counted)."""
    max_connection_age_s: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(seconds)
    )
    """Age at which a connection is replaced by a new one, without a gap; None: never for its age."""


@attrs.frozen(slots=True)
class Refresh:
    """When a token is renewed. The connections follow, each new one before its old one goes."""

    share: float = attrs.field(default=0.8, validator=is_share)
    """The share of a token's lifetime after which it is renewed."""
    jitter: float = attrs.field(default=0.1, validator=is_share)
    """The share of that time by which it is done earlier, at random, so that gateways do not come all at once."""
    retry_s: float = attrs.field(default=5.0, validator=seconds)
    """After a failed attempt the next follows in this time, doubled each time, up to ``retry_cap_s``."""
    retry_cap_s: float = attrs.field(default=60.0, validator=seconds)


@attrs.frozen(slots=True)
class HistoryOptions:
    """How the service's history is asked, and what is done with it."""

    cache: Path | None = attrs.field(default=None, converter=_path)
    """A folder in which bars of the past are kept, so that they are not asked again; None: in memory alone."""
    live: bool | None = attrs.field(default=None, validator=attrs.validators.optional(is_bool))
    """The service's tier of data; None has it found out. The wrong one is an empty success (GATEWAY.md 1.3)."""
    fill_gaps: bool = attrs.field(default=True, validator=is_bool)
    """Whether bars that a gap has touched are read again, and revised."""
    settle_s: float = attrs.field(default=5.0, validator=seconds)
    """How long after its end a bar of the service's is taken for whole: our clock may be that much ahead of its."""
    wait_s: float = attrs.field(default=30.0, validator=seconds)
    """How long ``open_bars(history=)`` waits for its history; then live bars come without."""
    retry_s: float = attrs.field(default=1.0, validator=seconds)
    """After a failed attempt to fill a gap the next follows in this time, doubled each time, up to ``retry_cap_s``."""
    retry_cap_s: float = attrs.field(default=60.0, validator=seconds)
    bars_kept: int = attrs.field(default=20_000, validator=at_least_1)
    """The youngest bars of each contract and unit that are kept in memory, with or without a ``cache``; of all together
    ten times as many."""


@attrs.frozen(slots=True)
class MemoryOptions:
    """How memory is watched, and from which shares of it on something is given up (docs/memory.md).

    A share is what the process uses, of that and what it could still have, by the nearest bound: the machine's memory,
    a cgroup's limit, RLIMIT_AS, or ``budget_bytes``.
    """

    budget_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_1))
    """What the process may use; None: what the machine, its cgroups and RLIMIT_AS allow."""
    look_s: float = attrs.field(default=5.0, validator=seconds)
    """Time between two looks; from half of ``tight_share`` on it is looked five times as often."""
    tight_share: float = attrs.field(default=0.70, validator=is_share)
    high_share: float = attrs.field(default=0.80, validator=is_share)
    severe_share: float = attrs.field(default=0.90, validator=is_share)
    last_share: float = attrs.field(default=0.97, validator=is_share)
    """The gateway ends with `MemoryExhausted` (exit code 75) when that is used a look after SEVERE was reached."""
    back_share: float = attrs.field(default=0.05, validator=is_share)
    """By how much the share must be below a level's, for ``calm_s``, before what it gave up comes back."""
    calm_s: float = attrs.field(default=30.0, validator=seconds)
    drain_s: float = attrs.field(default=5.0, validator=seconds)
    """How long, at the last level, builders and streams have for what was read."""
    stream_s: float = attrs.field(default=30.0, validator=seconds)
    """How many seconds of its contract's recent rate a stream without ``capacity=`` has room for, at least."""
    disk_s: float = attrs.field(default=30.0, validator=seconds)
    """Time between two looks at the free space of the folders of cache and journals."""
    read: Callable[[], MemoryReading | None] | None = attrs.field(
        default=None, validator=attrs.validators.optional(is_callable)
    )
    """Says what the nearest bound is; None: what can be read of this process (docs/memory.md). It must not wait."""
    exits: bool = attrs.field(default=True, validator=is_bool)
    """Whether the last level ends the gateway; else SEVERE is the last one, and the system may kill the process."""

    def __attrs_post_init__(self) -> None:
        shares = (self.tight_share, self.high_share, self.severe_share, self.last_share)
        if not all(low < high for low, high in pairwise((self.back_share, *shares))):
            raise ConfigError(
                "MemoryOptions: back_share, tight_share, high_share, severe_share and last_share must ascend"
            )
