"""The counters of one hub connection."""

from __future__ import annotations

import attrs

from trio_projectx.signalr.events import (
    AckReceived,
    CallCompleted,
    CallFailed,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    Handshaken,
    Ignored,
    InvocationReceived,
    Malformed,
    Pinged,
    SequenceReceived,
    StreamEnded,
    StreamItemReceived,
    Why,
)
from trio_projectx.signalr.states import ConnectionState


@attrs.frozen(slots=True)
class ConnectionStatistics:
    """A snapshot of one connection; all numbers count records since its start.

    ``records_read == handshakes + bulk + invocations + stream_items + calls_completed + calls_failed +
    streams_ended + pings + closes + sequencing + malformed + ignored`` at every instant.
    """

    state: ConnectionState
    records_read: int
    """All records that became an event or were taken over in bulk."""
    records_sent: int
    """All records that were given out to be sent, the handshake request included."""
    handshakes: int
    bulk: int
    """Records that the caller decoded itself."""
    invocations: int
    stream_items: int
    calls_completed: int
    calls_failed: int
    """Calls and streams that a record of the server failed; not those that failed with the connection."""
    streams_ended: int
    pings: int
    closes: int
    sequencing: int
    """Ack and Sequence records of a stateful connection."""
    malformed: int
    ignored: int
    """The sum of the three below and of those that came after our Close or without stateful reconnect."""
    ignored_unknown_type: int
    ignored_unknown_call: int
    ignored_unexpected: int
    records_dropped: int
    """Whole records that came after the connection was closed, and were not looked at."""
    open_calls: int
    """Our calls and streams that wait for the server now."""
    owed_answers: int
    """Calls of the server that wait for our answer now."""


class Counters:
    """Plain integers, one per kind of event; `count` is the only way up."""

    def __init__(self) -> None:
        self.sent = 0
        self.bulk = 0
        self.dropped = 0
        self._events: dict[type[Event], int] = {}
        self._ignored: dict[Why, int] = {}

    def count(self, event: Event) -> None:
        """Count the one record that became ``event``."""
        kind = type(event)
        self._events[kind] = self._events.get(kind, 0) + 1
        if isinstance(event, Ignored):
            self._ignored[event.why] = self._ignored.get(event.why, 0) + 1

    def snapshot(self, state: ConnectionState, open_calls: int, owed_answers: int) -> ConnectionStatistics:
        """Return all counters as they are now."""
        return ConnectionStatistics(
            state=state,
            records_read=self.bulk + sum(self._events.values()),
            records_sent=self.sent,
            handshakes=self._of(Handshaken, HandshakeFailed),
            bulk=self.bulk,
            invocations=self._of(InvocationReceived),
            stream_items=self._of(StreamItemReceived),
            calls_completed=self._of(CallCompleted),
            calls_failed=self._of(CallFailed),
            streams_ended=self._of(StreamEnded),
            pings=self._of(Pinged),
            closes=self._of(CloseReceived),
            sequencing=self._of(AckReceived, SequenceReceived),
            malformed=self._of(Malformed, ConnectionFailed),
            ignored=self._of(Ignored),
            ignored_unknown_type=self._ignored.get(Why.UNKNOWN_TYPE, 0),
            ignored_unknown_call=self._ignored.get(Why.UNKNOWN_CALL, 0),
            ignored_unexpected=self._ignored.get(Why.UNEXPECTED, 0),
            records_dropped=self.dropped,
            open_calls=open_calls,
            owed_answers=owed_answers,
        )

    def _of(self, *kinds: type[Event]) -> int:
        return sum(self._events.get(kind, 0) for kind in kinds)
