"""What a gateway can cost in memory at worst, by its limits: plain sums of measured sizes.

The sizes are those of CPython 3.11 on x86-64 with their values (tests/test_pressure_costs.py measures them again); the
counts are limits that hold (docs/design.md, "What is bounded by what").
"""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx._config import GatewayConfig

TRADE_BYTES: Final = 170
QUOTE_BYTES: Final = 420
BAR_BYTES: Final = 640
#: A row of the columns behind `table()`, and how many rows more than ``bars_kept`` there may be.
ROW_BYTES: Final = 142
CHUNK_ROWS: Final = 8192
#: A closed bar that late trades may revise.
REVISABLE_BYTES: Final = 720
#: A bar in the history ring; of all contracts together so many times as many are kept as of one.
CANDLE_BYTES: Final = 270
CANDLES_TIMES: Final = 10
REJECTION_BYTES: Final = 300
#: A recent trade that came alone; of those that come in batches each takes less.
RECENT_BYTES: Final = 690
#: A trade that waits for others to confirm it, with what the wire said.
HELD_BYTES: Final = 510
#: What one read joins at most, and what the shortest record of a trade takes of it.
READ_BYTES: Final = 256 << 10
RECORD_CHARS: Final = 150
READ_TRADES: Final = READ_BYTES // RECORD_CHARS
#: Trades that lines may differ by, and that one that joins may hold back, per contract.
LINE_TRADES: Final = 300_000
#: A page of 20,000 bars as the service writes it.
PAGE_BYTES: Final = 20_000 * 130
#: History takes 6 of the connections at once, and an answer stands there as text and as what was read of it.
REST_AT_ONCE: Final = 6
REST_TIMES: Final = 3


@attrs.frozen(slots=True)
class Costs:
    """Bytes at worst, by what they are for."""

    lines: int
    """Texts on their way in, one of the greatest allowed for each connection, with what is made of it."""
    in_flight: int
    """Reads and batches between the reader and the streams."""
    overlap: int
    """Trades that two connections differ by, while there are two."""
    streams: int
    """Items that wait in streams of the default capacity."""
    tables: int
    """Closed bars kept, and those that late trades may revise."""
    rejected: int
    recent: int
    """Trades that `Gateway.recent_trades` knows."""
    held: int
    """Trades that wait in quarantine."""
    history: int
    """Bars kept in memory, and answers of the service on their way."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(attrs.astuple(self))


def worst_costs(
    config: GatewayConfig, *, contracts: int = 1, timeframes: int = 1, bar_streams: int = 1, others: int = 0
) -> Costs:
    """Return what ``contracts`` can cost at worst, each with so many streams of bars in ``timeframes`` and ``others``.

    What the program itself, Python and its libraries take (some 90 MiB) is not in it.
    """
    limits, again = config.limits, config.reconnect
    connections = 1 + again.connections_max * (2 if again.redundant else 1)
    read = READ_BYTES + READ_TRADES * TRADE_BYTES
    per_timeframe = (limits.bars_kept + CHUNK_ROWS) * ROW_BYTES + limits.revisable_bars * REVISABLE_BYTES
    return Costs(
        lines=2 * 2 * limits.record_bytes * connections,
        in_flight=limits.batches_in_flight * (read + contracts * READ_TRADES * TRADE_BYTES),
        overlap=contracts * LINE_TRADES * TRADE_BYTES,
        streams=contracts * limits.stream_items * (bar_streams * BAR_BYTES + others * QUOTE_BYTES),
        tables=contracts * bar_streams * timeframes * per_timeframe,
        rejected=contracts * 3 * limits.rejections_kept * REJECTION_BYTES,
        recent=contracts * (limits.recent_trades + READ_TRADES) * RECENT_BYTES,
        held=contracts * (limits.price_band_confirm + limits.stamp_ahead_confirm) * HELD_BYTES,
        history=CANDLES_TIMES * config.history.bars_kept * CANDLE_BYTES
        + REST_AT_ONCE * REST_TIMES * limits.rest_body_bytes,
    )


def least_cost(config: GatewayConfig) -> int:
    """Return what one stream of bars of one timeframe takes when it and its table are full, and nothing goes wrong."""
    limits = config.limits
    table = min(limits.bars_kept, CHUNK_ROWS) + limits.bars_kept
    return table * ROW_BYTES + limits.stream_items * BAR_BYTES + READ_BYTES + READ_TRADES * TRADE_BYTES
