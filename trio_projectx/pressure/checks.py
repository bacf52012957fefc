"""Whether limits fit each other, and the machine: a sentence for each thing that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from trio_projectx._config import GatewayConfig
from trio_projectx._memory import MemoryReading
from trio_projectx.pressure.costs import PAGE_BYTES, READ_TRADES, Costs, least_cost, worst_costs

#: ASP.NET gives up a client that is silent for this long (SIGNALR.md section 8).
_SERVER_PATIENCE_S: Final = 30.0
#: At which interval a hub that has nothing to say pings (the same).
_SERVER_PING_S: Final = 15.0
#: A quiet market has no more trades in minutes: whoever waits for more to confirm one waits long.
_CONFIRM_MOST: Final = 1000
#: Within this a program that grows by some MiB a second, or a neighbour, may use all that is left.
_LOOK_MOST_S: Final = 60.0
#: What takes most at worst, by the options that say how much.
_NAMES: Final = {
    "lines": "Limits.record_bytes",
    "in_flight": "Limits.batches_in_flight",
    "streams": "Limits.stream_items",
    "tables": "Limits.bars_kept and revisable_bars",
    "rejected": "Limits.rejections_kept",
    "recent": "Limits.recent_trades",
    "held": "Limits.price_band_confirm and stamp_ahead_confirm",
    "history": "HistoryOptions.bars_kept and Limits.rest_body_bytes",
}
#: No record that the service is known to send is longer, bursts apart.
_USUAL_RECORD: Final = 64 << 10
_MIB: Final = 1 << 20


@attrs.frozen(slots=True)
class Findings:
    """What is wrong with a set of limits: ``errors`` cannot be honoured, ``warnings`` are worth a thought."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check_limits(config: GatewayConfig, reading: MemoryReading | None, now_ns: int) -> Findings:
    """Check all limits against each other and against the memory there is; ``now_ns`` is the wall clock."""
    return Findings(
        errors=tuple(_memory_errors(config, reading)),
        warnings=(
            *_begin_warnings(config, reading),
            *_memory_warnings(config, reading),
            *_size_warnings(config),
            *_time_warnings(config),
            *_retry_warnings(config),
            *_judging_warnings(config, now_ns),
        ),
    )


def _memory_errors(config: GatewayConfig, reading: MemoryReading | None) -> Iterator[str]:
    if reading is None:
        return
    budget = config.memory.budget_bytes
    if budget is not None and reading.bound.endswith("budget_bytes") and reading.used >= budget:
        yield (
            f"MemoryOptions.budget_bytes ({_mib(budget)}) is less than what the process uses before it has begun "
            f"({_mib(reading.used)})"
        )
    least = least_cost(config)
    if least > reading.available:
        yield (
            f"one stream of bars needs {_mib(least)} by Limits.bars_kept ({config.limits.bars_kept:,}) and "
            f"Limits.stream_items ({config.limits.stream_items:,}), and {reading.bound} leaves "
            f"{_mib(reading.available)}"
        )


def _begin_warnings(config: GatewayConfig, reading: MemoryReading | None) -> Iterator[str]:
    """Say that memory is scarce before anything has begun, where it is, and what helps."""
    options = config.memory
    if reading is None or reading.share < options.tight_share:
        return
    shares = {
        "tight_share": options.tight_share,
        "high_share": options.high_share,
        "severe_share": options.severe_share,
        **({"last_share": options.last_share} if options.exits else {}),
    }
    name, share = [(name, share) for name, share in shares.items() if reading.share >= share][-1]
    helps = "more memory, or less of it in use"
    if reading.bound == "RLIMIT_AS":
        helps = (
            "a greater limit (ulimit -v), or less address space that is only reserved: Arrow's own allocator takes "
            "1 GiB of it, and none with ARROW_DEFAULT_MEMORY_POOL=system in the environment"
        )
    elif reading.bound.endswith("budget_bytes"):
        helps = "a greater budget"
    end = ", and the gateway ends within seconds" if name == "last_share" else ""
    yield (
        f"{_mib(reading.used)} of {_mib(reading.limit)} are used before anything has begun, by {reading.bound}: that "
        f"is above MemoryOptions.{name} ({share:g}){end}; what helps is {helps}"
    )


def _memory_warnings(config: GatewayConfig, reading: MemoryReading | None) -> Iterator[str]:
    if config.memory.look_s > _LOOK_MOST_S:
        yield (
            f"MemoryOptions.look_s ({config.memory.look_s:g}) is above {_LOOK_MOST_S:g}: memory may run out between "
            "two looks, with nothing given up and no journal sealed"
        )
    if reading is None:
        return
    costs = worst_costs(config)
    if costs.total > reading.available >= least_cost(config):
        yield (
            f"one contract with one stream of bars may take {_mib(costs.total)} at worst ({_greatest(costs)}), and "
            f"{reading.bound} leaves {_mib(reading.available)}: when memory becomes scarce something is given up, and "
            "told"
        )
    budget = config.memory.budget_bytes
    if budget is not None and budget > reading.limit:
        yield (
            f"MemoryOptions.budget_bytes ({_mib(budget)}) is more than {reading.bound} allows "
            f"({_mib(reading.limit)})"
        )


def _size_warnings(config: GatewayConfig) -> Iterator[str]:
    limits = config.limits
    if limits.stream_items < READ_TRADES:
        yield (
            f"Limits.stream_items ({limits.stream_items:,}) is less than one read may bring ({READ_TRADES:,} "
            "trades): a reader that is busy while a burst comes breaks its stream"
        )
    if limits.record_bytes < _USUAL_RECORD:
        yield (
            f"Limits.record_bytes ({limits.record_bytes:,}) is less than a record may have ({_USUAL_RECORD:,}): "
            "the connection is given up at the first that is longer"
        )
    if limits.revisable_bars > limits.bars_kept:
        yield (
            f"Limits.revisable_bars ({limits.revisable_bars:,}) is above bars_kept ({limits.bars_kept:,}): late trades "
            "revise bars that no table has any more"
        )
    if limits.rest_body_bytes < PAGE_BYTES:
        yield (
            f"Limits.rest_body_bytes ({limits.rest_body_bytes:,}) is less than a full page of history has "
            f"({PAGE_BYTES:,}): such a request fails"
        )


def _time_warnings(config: GatewayConfig) -> Iterator[str]:
    times, reconnect = config.timeouts, config.reconnect
    if times.server_s < 2 * _SERVER_PING_S:
        yield (
            f"Timeouts.server_s ({times.server_s:g}) is below {2 * _SERVER_PING_S:g}, twice the interval at which the "
            "service pings: a hub that has nothing to say may be taken for dead, again and again"
        )
    for name, seconds in (("rest_s", times.rest_s), ("refresh_s", times.refresh_s)):
        if seconds < times.connect_s:
            yield (
                f"Timeouts.{name} ({seconds:g}) is below connect_s ({times.connect_s:g}): it has to make a connection "
                "too, and may end before it has one"
            )
    if times.keep_alive_s >= _SERVER_PATIENCE_S:
        yield (
            f"Timeouts.keep_alive_s ({times.keep_alive_s:g}) is not below the {_SERVER_PATIENCE_S:g} s after which "
            "a server gives up a client that is silent"
        )
    if times.pong_s is not None and times.pong_s > times.server_s:
        yield (
            f"Timeouts.pong_s ({times.pong_s:g}) is above server_s ({times.server_s:g}), which finds a dead "
            "connection before it"
        )
    if times.record_s < times.server_s:
        yield (
            f"Timeouts.record_s ({times.record_s:g}) is below server_s ({times.server_s:g}): a record that comes "
            "slowly is given up sooner than a hub that is silent"
        )
    age_s = reconnect.max_connection_age_s
    if age_s is not None and age_s <= times.overlap_s:
        yield (
            f"Reconnect.max_connection_age_s ({age_s:g}) is not above Timeouts.overlap_s ({times.overlap_s:g}): "
            "connections are replaced before they have replaced another"
        )


def _retry_warnings(config: GatewayConfig) -> Iterator[str]:
    reconnect, refresh, history = config.reconnect, config.refresh, config.history
    pairs = (
        ("Reconnect.base_s", reconnect.base_s, "cap_s", reconnect.cap_s),
        ("Reconnect.breaker_s", reconnect.breaker_s, "breaker_cap_s", reconnect.breaker_cap_s),
        ("Refresh.retry_s", refresh.retry_s, "retry_cap_s", refresh.retry_cap_s),
        ("HistoryOptions.retry_s", history.retry_s, "retry_cap_s", history.retry_cap_s),
    )
    for name, value, cap_name, cap in pairs:
        if value > cap:
            yield f"{name} ({value:g}) is above its {cap_name} ({cap:g}), which is what holds"
    if reconnect.young_s > reconnect.refill_s:
        yield (
            f"Reconnect.young_s ({reconnect.young_s:g}) is above refill_s ({reconnect.refill_s:g}): a connection "
            "that ends an outage may still have died young"
        )
    needed = reconnect.connections_max * (2 if reconnect.redundant else 1)
    if needed > reconnect.connect_burst:
        yield (
            f"Reconnect.connect_burst ({reconnect.connect_burst}) is below the {needed} connections that the market "
            "hub may need at once: the rest comes at connects_per_s"
        )


def _judging_warnings(config: GatewayConfig, now_ns: int) -> Iterator[str]:
    limits = config.limits
    for name, confirm in (
        ("price_band_confirm", limits.price_band_confirm),
        ("stamp_ahead_confirm", limits.stamp_ahead_confirm),
    ):
        if confirm > _CONFIRM_MOST:
            yield (
                f"Limits.{name} ({confirm:,}) is above {_CONFIRM_MOST:,}: after a jump that no quote confirms so many "
                "trades wait, and are in no bar until then"
            )
    if not limits.stamp_min_ns <= now_ns <= limits.stamp_max_ns:
        yield (
            "the present, by the wall clock, is not between Limits.stamp_min_ns and stamp_max_ns: if that clock is "
            "right, every trade is rejected"
        )
    if limits.volume_times and limits.volume_band_floor > limits.trade_size_max:
        yield (
            f"Limits.volume_band_floor ({limits.volume_band_floor:,}) is above trade_size_max "
            f"({limits.trade_size_max:,}): the volume band never rejects"
        )


def _greatest(costs: Costs) -> str:
    parts = {name: getattr(costs, name) for name in _NAMES}
    name = max(parts, key=lambda each: parts[each])
    return f"{_mib(parts[name])} of that by {_NAMES[name]}"


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f} MiB"
