"""What a gateway has counted, and how it stands."""

from __future__ import annotations

import attrs

from trio_projectx._events import HubName, HubState
from trio_projectx.composition import Parts
from trio_projectx.connection.checkup import hub_facts, token_facts
from trio_projectx.connection.health import Health, assess
from trio_projectx.connection.hub import Hub
from trio_projectx.connection.ntp import clock_health
from trio_projectx.flow.background import TaskStatistics
from trio_projectx.flow.books import LoopStatistics
from trio_projectx.flow.ledger import Ledger
from trio_projectx.flow.pipeline import PipelineStatistics
from trio_projectx.flow.sampler import RateStatistics
from trio_projectx.flow.stream import StreamStatistics
from trio_projectx.flow.subscriptions import D
from trio_projectx.flow.timings import LatencyStatistics
from trio_projectx.flow.user_pipeline import UserStatistics


@attrs.frozen(slots=True, kw_only=True)
class HubStatistics:
    """A snapshot of what one hub's connections have counted, one after the other."""

    hub: HubName
    state: HubState
    connects: int = 0
    """Connections that it has tried to make."""
    outages: int = 0
    """Times that a live hub was lost."""
    texts: int = 0
    """Texts received; one may hold many records."""
    bulk_texts: int = 0
    """Those of them that were decoded in one pass."""
    received_bytes: int = 0
    """Characters of these texts (of JSON: bytes)."""
    malformed: int = 0
    """Records that could not be read and were left out."""
    ignored: int = 0
    """Records of which nothing is made: of an unknown type, or an answer nobody waits for."""
    subscriptions: int = 0
    """Subscriptions that streams need now."""
    round_trip_s: float | None = None
    """The last round trip by WebSocket ping, in seconds."""


@attrs.frozen(slots=True)
class Hubs:
    """Both hubs."""

    market: HubStatistics
    user: HubStatistics


@attrs.frozen(slots=True, kw_only=True)
class GatewayStatistics:
    """A snapshot of what a gateway has counted since it was opened; taking it costs the same whatever came."""

    market: PipelineStatistics
    user: UserStatistics
    hubs: Hubs
    ledger: Ledger
    """Where every trade and every item is."""
    streams: tuple[StreamStatistics, ...]
    """Of each open stream, in the order in which they were opened."""
    latency: LatencyStatistics
    rates: RateStatistics
    tasks: TaskStatistics
    """The gateway's own tasks: of its hubs, their lines and connections, contracts, and what stands beside them.

    Those of recorders, and of `run_handlers`, are of the blocks that own them, and not counted here.
    """
    loop: LoopStatistics | None = None
    """None in a replay."""
    logins: int = 0
    is_live: bool = False
    """Whether the market hub is live; of a replay, whether it goes on."""

    @property
    def texts(self) -> int:
        """Texts received from the market hub."""
        return self.hubs.market.texts

    @property
    def bulk_texts(self) -> int:
        """Those of them that were decoded in one pass."""
        return self.hubs.market.bulk_texts

    @property
    def malformed(self) -> int:
        """Records of the market hub that could not be read and were left out."""
        return self.hubs.market.malformed

    @property
    def ignored(self) -> int:
        """Records of the market hub of which nothing is made."""
        return self.hubs.market.ignored

    @property
    def connects(self) -> int:
        """Connections that the market hub has tried to make."""
        return self.hubs.market.connects

    @property
    def user_connects(self) -> int:
        """Connections that the user hub has tried to make."""
        return self.hubs.user.connects

    @property
    def round_trip_s(self) -> float | None:
        """The market hub's last round trip by WebSocket ping, in seconds."""
        return self.hubs.market.round_trip_s


def statistics_of(parts: Parts) -> GatewayStatistics:
    """Return a snapshot of all counters of a gateway."""
    streams, books = parts.streams, parts.books
    return GatewayStatistics(
        market=streams.market.statistics(),
        user=streams.user.statistics(),
        hubs=Hubs(_hub(parts.market_hub), _hub(parts.user_hub)),
        ledger=streams.ledger(),
        streams=streams.opened.statistics(),
        latency=books.latency(),
        rates=books.rates(),
        tasks=books.tasks.statistics(),
        loop=books.loop(),
        logins=sum(site.tokens.logins for site in parts.sites),
        is_live=parts.market_hub.is_live,
    )


def _hub(hub: Hub[D]) -> HubStatistics:
    counts = hub.tools.counts
    return HubStatistics(
        hub=hub.name,
        state=hub.machine.state,
        connects=counts.connects,
        outages=hub.machine.outages,
        texts=counts.texts,
        bulk_texts=counts.bulk_texts,
        received_bytes=counts.text_rate.total,
        malformed=counts.malformed,
        ignored=counts.ignored,
        subscriptions=len(hub.wants),
        round_trip_s=hub_facts(hub).round_trip_s,
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
