"""What a gateway has counted."""

from __future__ import annotations

import attrs

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
