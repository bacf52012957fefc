"""What a gateway has counted, and how it stands."""

from __future__ import annotations

import attrs

from trio_projectx.composition import Parts
from trio_projectx.connection.checkup import hub_facts, token_facts
from trio_projectx.connection.health import Health, assess
from trio_projectx.connection.ntp import clock_health
from trio_projectx.flow.pipeline import PipelineStatistics
from trio_projectx.flow.user_pipeline import UserStatistics


@attrs.frozen(slots=True)
class GatewayStatistics:
    """A snapshot of what a gateway has counted since it was opened."""

    market: PipelineStatistics
    user: UserStatistics
    texts: int
    """Texts received from the market hub; one may hold many records."""
    bulk_texts: int
    """Those of them that were decoded in one pass."""
    malformed: int
    """Records of the market hub that could not be read and were left out."""
    ignored: int
    """Records of which nothing is made: of an unknown type, or an answer nobody waits for."""
    connects: int
    """Connections that the market hub has tried to make."""
    user_connects: int
    logins: int
    is_live: bool
    round_trip_s: float | None
    """The market hub's last round trip by WebSocket ping, in seconds."""


def statistics_of(parts: Parts) -> GatewayStatistics:
    """Return a snapshot of all counters of a gateway."""
    counts = parts.market_hub.tools.counts
    return GatewayStatistics(
        market=parts.streams.market.statistics(),
        user=parts.streams.user.statistics(),
        texts=counts.texts,
        bulk_texts=counts.bulk_texts,
        malformed=counts.malformed,
        ignored=counts.ignored,
        connects=counts.connects,
        user_connects=parts.user_hub.tools.counts.connects,
        logins=sum(site.tokens.logins for site in parts.sites),
        is_live=parts.market_hub.is_live,
        round_trip_s=hub_facts(parts.market_hub).round_trip_s,
    )


def health_of(parts: Parts) -> Health:
    """Return how a gateway stands at this moment."""
    watch = parts.watch
    return assess(
        hub_facts(
            parts.market_hub, lag_ms=watch.skew.lag_ms, data_age_s=watch.stalls.data_age_s(watch.now())
        ),
        hub_facts(parts.user_hub),
        token_facts(parts.refreshers[parts.sites.current]),
        clock_health(watch.skew.skew_ms, watch.skew.is_skewed),
        watch.stalls.worst(watch.now()),
        parts.machine.health(),
    )
