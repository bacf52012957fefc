"""Gathers the facts of ``gateway.health()``."""

from __future__ import annotations

import math

import trio

from trio_projectx._events import HubState
from trio_projectx.connection.health import HubHealth, TokenHealth
from trio_projectx.connection.hub import Hub
from trio_projectx.connection.refresher import TokenRefresher
from trio_projectx.flow.subscriptions import D


def hub_facts(hub: Hub[D], *, lag_ms: float | None = None, data_age_s: float | None = None) -> HubHealth:
    """Return what is known of a hub now, without a score."""
    now, machine, counts = trio.current_time(), hub.machine, hub.tools.counts
    live = [line.epoch.liveness for line in hub.lines if line.is_live and line.epoch is not None]
    trips = [each.round_trip_s for each in live if each.round_trip_s is not None]
    # One whose time has come is under way, or waits for what an unread stream holds back: none is waited for then.
    waits = [
        line.next_attempt_at - now
        for line in hub.lines
        if not line.is_live and not line.is_over and line.next_attempt_at > now
    ]
    is_down = machine.state in (HubState.CONNECTING, HubState.RECONNECTING)
    return HubHealth(
        hub=hub.name,
        state=machine.state,
        reason=machine.reason,
        since_s=now - machine.since,
        connections=len(live),
        round_trip_s=min(trips, default=None),
        lag_ms=lag_ms,
        bytes_per_s=counts.text_rate.per_s(now),
        records_per_s=counts.record_rate.per_s(now),
        data_age_s=data_age_s,
        record_age_s=now - max(each.record_at for each in live) if live else None,
        byte_age_s=now - max(each.read_at for each in live) if live else None,
        attempts=max((line.outage_attempts for line in hub.lines), default=0) if is_down else 0,
        outages=machine.outages,
        subscriptions=len(hub.wants),
        next_attempt_s=_soonest(waits) if is_down else None,
    )


def _soonest(waits: list[float]) -> float | None:
    nearest = min(waits, default=math.inf)
    return None if math.isinf(nearest) else max(0.0, nearest)


def token_facts(refresher: TokenRefresher) -> TokenHealth:
    """Return what is known of a token."""
    return TokenHealth(
        expires_in_s=refresher.expires_in_s(),
        refreshed_ago_s=refresher.refreshed_ago_s(),
        last_error=refresher.last_error,
    )
