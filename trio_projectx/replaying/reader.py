"""One epoch of a record: its texts decoded as the live reader has decoded them."""

from __future__ import annotations

import attrs

from trio_projectx.flow.pipeline import MarketPipeline
from trio_projectx.market import Decoded
from trio_projectx.signalr import (
    NEED_DATA,
    CloseReceived,
    ConnectionFailed,
    HubConnection,
    InvocationReceived,
    Malformed,
)

#: The answer to a handshake; the record begins behind it.
_ANSWER = "{}\x1e"


@attrs.define(slots=True)
class ReadCounts:
    """Of all epochs of a replay."""

    texts: int = 0
    bulk_texts: int = 0
    malformed: int = 0


class EpochReader:
    """Takes the texts of one connection, in their order; it may have been cut where the record begins."""

    def __init__(self, market: MarketPipeline, record_limit: int, counts: ReadCounts) -> None:
        self._market = market
        self._counts = counts
        self._hub = HubConnection(malformed="count", record_limit=record_limit)
        self._hub.start()
        self._hub.receive_text(_ANSWER)
        self._hub.next_event()

    def read(self, text: str) -> Decoded | None:
        """Return what a text held, or completed; None if that was nothing."""
        self._counts.texts += 1
        if self._hub.is_bulk(text):
            found = self._market.bulk(text)
            if found is not None:
                self._counts.bulk_texts += 1
                self._hub.bulk_received(found.records)
                return found
        self._hub.receive_text(text)
        parts = self._drain()
        return self._market.combined(parts) if parts else None

    def _drain(self) -> list[Decoded]:
        parts: list[Decoded] = []
        while (event := self._hub.next_event()) is not NEED_DATA:
            match event:
                case InvocationReceived(invocation=invocation):
                    parts.append(self._market.invocation(invocation.target, invocation.arguments))
                case CloseReceived() | ConnectionFailed():
                    break  # the live reader has stopped here
                case Malformed():
                    self._counts.malformed += 1
                case _:
                    pass
        return parts
