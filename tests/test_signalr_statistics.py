from __future__ import annotations

import attrs
import pytest

from trio_projectx.signalr import (
    Completion,
    ConnectionState,
    ConnectionStatistics,
    HubConnection,
    HubSession,
    Invocation,
    SessionState,
    SessionStatistics,
    write_message,
)


def test_a_snapshot_is_frozen_and_stays_what_it_was() -> None:
    connection = HubConnection()
    before = connection.statistics()
    connection.start()
    assert before.state is ConnectionState.IDLE
    assert before.records_sent == 0
    assert connection.statistics().records_sent == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.records_sent = 5  # type: ignore[misc]


def test_the_numbers_of_a_short_life() -> None:
    connection = HubConnection("count")
    connection.start()
    call = '{"type":3,"invocationId":"1"}\x1e'
    asks = write_message(Invocation(target="R", arguments=[], invocation_id="s1"))
    connection.receive_text("{}\x1e")
    connection.next_event()
    connection.invoke("A")
    connection.stream("B")
    connection.receive_text(
        call + asks + '{"type":6}\x1e[]\x1e{"type":99}\x1e{"type":5,"invocationId":"1"}\x1e' + call
    )
    connection.receive_text(
        write_message(Completion(invocation_id="2", error="e")) + '{"type":7}\x1e{"type":6}\x1e'
    )
    while connection.state is not ConnectionState.CLOSED:
        connection.next_event()
    assert connection.statistics() == ConnectionStatistics(
        state=ConnectionState.CLOSED,
        records_read=10,
        records_sent=3,
        handshakes=1,
        bulk=0,
        invocations=1,
        stream_items=0,
        calls_completed=1,
        calls_failed=1,
        streams_ended=0,
        pings=1,
        closes=1,
        sequencing=0,
        malformed=1,
        ignored=3,
        ignored_unknown_type=1,
        ignored_unknown_call=1,
        ignored_unexpected=1,
        records_dropped=1,
        open_calls=0,
        owed_answers=1,
    )


def test_a_session_counts_its_transports() -> None:
    session = HubSession()
    session.start()
    session.transport_lost(1, "refused", 0.0)
    session.transport_lost(1, "refused", 0.0)
    assert session.statistics() == SessionStatistics(
        state=SessionState.DISCONNECTED, transports=1, reconnects=0, unhandled=0, stale=1, connection=None
    )
