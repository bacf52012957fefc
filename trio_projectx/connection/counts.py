"""What the connections of one hub have counted."""

from __future__ import annotations

import attrs
import trio

from trio_projectx.connection.rates import Rate
from trio_projectx.flow.background import TaskCounts


@attrs.define(slots=True)
class EpochCounts:
    """Plain counters of a hub's connections, one after the other."""

    connects: int = 0
    """Connections that were tried."""
    texts: int = 0
    """Texts received after the handshake; one may hold many records."""
    bulk_texts: int = 0
    """Those of them that were decoded in one pass."""
    malformed: int = 0
    """Records that could not be read."""
    ignored: int = 0
    """Records of which nothing is made: of an unknown type, or an answer nobody waits for."""
    records: int = 0
    """Records of data."""
    text_rate: Rate = attrs.Factory(lambda: Rate(trio.current_time()))
    """Characters (of JSON: bytes) that came."""
    record_rate: Rate = attrs.Factory(lambda: Rate(trio.current_time()))
    tasks: TaskCounts = attrs.Factory(TaskCounts)
    """The tasks of the hub's lines and epochs; those of a gateway are counted together."""
