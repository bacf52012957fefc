from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_projectx.signalr import (
    NEED_DATA,
    NO_RESULT,
    UNSET,
    Ack,
    AckReceived,
    CallCompleted,
    CallFailed,
    CancelInvocation,
    Close,
    CloseReceived,
    Completion,
    ConnectionFailed,
    ConnectionState,
    Event,
    HandshakeFailed,
    Handshaken,
    HubConnection,
    Ignored,
    Invocation,
    InvocationReceived,
    LocalProtocolError,
    Malformed,
    Message,
    Ping,
    Pinged,
    Sequence,
    SequenceReceived,
    StreamEnded,
    StreamInvocation,
    StreamItem,
    StreamItemReceived,
    Why,
    parse_messages,
    write_message,
)

PING = '{"type":6}\x1e'
TRADE = '{"type":1,"target":"GatewayTrade","arguments":["CON.F.US.MNQ.U26",[]]}\x1e'
TRADE_EVENT = InvocationReceived(Invocation(target="GatewayTrade", arguments=["CON.F.US.MNQ.U26", []]))


def drain(connection: HubConnection) -> list[Event]:
    events: list[Event] = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
    return events


def feed(connection: HubConnection, text: str) -> list[Event]:
    connection.receive_text(text)
    return drain(connection)


def connected(
    malformed: Literal["close", "count"] = "close", version: int = 1, **options: Any
) -> HubConnection:
    connection = HubConnection(malformed, **options)
    connection.start(version)
    assert feed(connection, "{}\x1e") == [Handshaken()]
    return connection


def snapshot(connection: HubConnection) -> object:
    return connection.statistics(), connection.next_id


def sent(text: str) -> Message:
    (message,) = parse_messages(text)
    return message


# -- the life of a connection


def test_the_handshake() -> None:
    connection = HubConnection()
    assert connection.state is ConnectionState.IDLE
    assert connection.next_event() is NEED_DATA
    assert connection.start() == '{"protocol":"json","version":1}\x1e'
    assert connection.state is ConnectionState.HANDSHAKE
    assert feed(connection, '{"minorVersion":3,"x":1}\x1e' + PING) == [Handshaken(3), Pinged()]
    assert connection.state is ConnectionState.CONNECTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"error":"Error!"}\x1e', "Server returned handshake error: Error!"),
        (PING, "Expected a handshake response"),
        ("null\x1e", "handshake response"),
        ("\x1e", "handshake response"),
        ("x" * 101, "longer than the limit of 100"),
    ],
)
@pytest.mark.parametrize("malformed", ["close", "count"])
def test_a_handshake_that_fails(text: str, reason: str, malformed: Literal["close", "count"]) -> None:
    connection = HubConnection(malformed, 100)
    connection.start()
    (event,) = feed(connection, text + TRADE)
    assert isinstance(event, HandshakeFailed)
    assert reason in event.error
    assert event.text == ("Error!" if "Error!" in text else None)
    assert connection.state is ConnectionState.CLOSED
    assert connection.lost("x") == []


def test_an_empty_handshake_error_is_none() -> None:
    connection = HubConnection()
    connection.start()
    assert feed(connection, '{"error":""}\x1e') == [Handshaken()]


def test_the_servers_texts_are_made_fit_to_print() -> None:
    connection = HubConnection()
    connection.start()
    (event,) = feed(connection, '{"error":"a\\r\\nb access_token=eyJhbGciOi.eyJzdWIiOi.c2ln \\u202e"}\x1e')
    assert isinstance(event, HandshakeFailed)
    assert event.error.isascii()
    assert event.error.isprintable()
    assert "eyJ" not in event.error
    connection = connected()
    (closed,) = feed(connection, '{"type":7,"error":"x\\u0000' + "y" * 10_000 + '"}\x1e')
    assert isinstance(closed, CloseReceived)
    assert closed.error is not None
    assert closed.error.startswith("x\\x00y")
    assert len(closed.error) <= 200


ACTIONS: dict[str, Callable[[HubConnection], object]] = {
    "start": lambda c: c.start(),
    "receive": lambda c: c.receive_text(PING),
    "send": lambda c: c.send(Ping()),
    "invoke": lambda c: c.invoke("T"),
    "stream": lambda c: c.stream("T"),
    "send_only": lambda c: c.send_only("T"),
    "ping": lambda c: c.ping(),
    "close": lambda c: c.close(),
    "bulk": lambda c: c.bulk_received(1),
}
SENDS = {"send", "invoke", "stream", "send_only", "ping", "close"}
LEGAL = {
    ConnectionState.IDLE: {"start"},
    ConnectionState.HANDSHAKE: {"receive"},
    ConnectionState.CONNECTED: SENDS | {"receive", "bulk"},
    ConnectionState.CLOSING: {"receive", "bulk"},
    ConnectionState.CLOSED: {"receive"},  # it is dropped and counted
}


def brought_to(state: ConnectionState) -> HubConnection:
    connection = HubConnection()
    if state is ConnectionState.IDLE:
        return connection
    connection.start()
    if state is ConnectionState.HANDSHAKE:
        return connection
    feed(connection, "{}\x1e")
    connection.invoke("open")
    if state is ConnectionState.CLOSING:
        connection.close()
    if state is ConnectionState.CLOSED:
        feed(connection, '{"type":7}\x1e')
    assert connection.state is state
    return connection


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", ConnectionState)
def test_what_is_not_legal_raises_and_changes_nothing(state: ConnectionState, action: str) -> None:
    connection = brought_to(state)
    before = snapshot(connection)
    if action in LEGAL[state]:
        ACTIONS[action](connection)
        if action != "receive":
            assert snapshot(connection) != before
    else:
        with pytest.raises(LocalProtocolError):
            ACTIONS[action](connection)
        assert snapshot(connection) == before
        assert drain(connection) == []


@pytest.mark.parametrize("state", ConnectionState)
def test_losing_the_transport_is_legal_in_every_state(state: ConnectionState) -> None:
    connection = brought_to(state)
    was_open = connection.statistics().open_calls
    assert len(connection.lost("gone")) == was_open
    assert connection.state is ConnectionState.CLOSED
    assert connection.lost("gone") == []
    assert connection.next_event() is NEED_DATA


def test_version_must_be_known() -> None:
    connection = HubConnection()
    with pytest.raises(LocalProtocolError):
        connection.start(3)
    assert connection.state is ConnectionState.IDLE


# -- calls


def test_calls_end_by_their_own_ids() -> None:
    connection = connected()
    (a, text_a), (b, text_b) = connection.invoke("A", 1, [2]), connection.invoke("B")
    assert sent(text_a) == Invocation(target="A", arguments=[1, [2]], invocation_id=a)
    assert sent(text_b) == Invocation(target="B", arguments=[], invocation_id=b)
    assert a != b
    text = write_message(Completion(invocation_id=b, error="Whoops")) + write_message(
        Completion(invocation_id=a, result=42)
    )
    assert feed(connection, text) == [CallFailed(b, "Whoops"), CallCompleted(a, 42)]
    assert feed(connection, text) == [Ignored(Why.UNKNOWN_CALL)] * 2
    assert connection.statistics().ignored_unknown_call == 2


@pytest.mark.parametrize("result", ["", ',"result":null', ',"error":null'])
def test_a_void_result_is_none(result: str) -> None:
    connection = connected()
    invocation_id, _ = connection.invoke("A")
    text = f'{{"type":3,"invocationId":"{invocation_id}"{result}}}\x1e'
    assert feed(connection, text) == [CallCompleted(invocation_id, None)]


def test_an_empty_error_is_an_error() -> None:
    connection = connected()
    invocation_id, _ = connection.invoke("A")
    assert feed(connection, write_message(Completion(invocation_id=invocation_id, error=""))) == [
        CallFailed(invocation_id, "")
    ]


def test_a_stream() -> None:
    connection = connected()
    stream, text = connection.stream("S", "x")
    assert sent(text) == StreamInvocation(target="S", arguments=["x"], invocation_id=stream)
    items = "".join(write_message(StreamItem(invocation_id=stream, item=item)) for item in (1, None))
    assert feed(connection, items + write_message(Completion(invocation_id=stream))) == [
        StreamItemReceived(stream, 1),
        StreamItemReceived(stream, None),
        StreamEnded(stream),
    ]
    assert feed(connection, items) == [Ignored(Why.UNKNOWN_CALL)] * 2


@pytest.mark.parametrize(
    ("completion", "failure"),
    [({"result": 1}, "ended a stream with a result"), ({"error": "broke"}, "broke")],
)
def test_a_stream_that_ends_badly(completion: dict[str, Any], failure: str) -> None:
    connection = connected()
    stream, _ = connection.stream("S")
    (event,) = feed(connection, write_message(Completion(invocation_id=stream, **completion)))
    assert isinstance(event, CallFailed)
    assert failure in event.error


def test_an_item_fails_a_plain_call_once() -> None:
    connection = connected()
    invocation_id, _ = connection.invoke("A")
    item = write_message(StreamItem(invocation_id=invocation_id, item=42))
    events = feed(connection, item + item + write_message(Completion(invocation_id=invocation_id)))
    assert isinstance(events[0], CallFailed)
    assert events[1:] == [Ignored(Why.UNKNOWN_CALL)] * 2


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_after_a_cancel_nothing_is_delivered(how: str) -> None:
    connection = connected()
    invocation_id, _ = getattr(connection, how)("S")
    assert sent(connection.cancel(invocation_id)) == CancelInvocation(invocation_id=invocation_id)
    late = write_message(StreamItem(invocation_id=invocation_id, item=1)) + write_message(
        Completion(invocation_id=invocation_id)
    )
    assert feed(connection, late) == [Ignored(Why.UNKNOWN_CALL)] * 2
    with pytest.raises(LocalProtocolError):
        connection.cancel(invocation_id)


def test_pending_calls_fail_when_the_connection_is_lost_in_the_order_they_were_made() -> None:
    connection = connected()
    ids = [connection.invoke("A")[0], connection.stream("B")[0], connection.invoke("C")[0]]
    assert connection.lost("gone") == [CallFailed(each, "gone") for each in ids]
    assert connection.lost("again") == []


def test_ids_are_strings_from_1_and_go_on_where_the_last_connection_stopped() -> None:
    connection = connected()
    assert [connection.invoke("A")[0] for _ in range(3)] == ["1", "2", "3"]
    following = connected(first_id=connection.next_id)
    assert following.invoke("A")[0] == "4"
    assert connected(first_id=2**53 + 1).invoke("A")[0] == "9007199254740993"


def test_fresh_ids_step_over_those_a_caller_took() -> None:
    connection = connected()
    connection.send(Invocation(target="A", arguments=[], invocation_id="1", stream_ids=["2"]))
    assert connection.invoke("B")[0] == "3"


def test_an_open_id_is_not_opened_twice() -> None:
    connection = connected()
    connection.send(Invocation(target="A", arguments=[], invocation_id="x", stream_ids=["u"]))
    before = snapshot(connection)
    for message in (
        Invocation(target="A", arguments=[], invocation_id="x"),
        StreamInvocation(target="A", arguments=[], invocation_id="x", stream_ids=["v"]),
        Invocation(target="A", arguments=[], stream_ids=["u"]),
        Invocation(target="A", arguments=[], invocation_id="y", stream_ids=["w", "w"]),
        StreamItem(invocation_id="v", item=1),
        StreamItem(invocation_id="x", item=1),
    ):
        with pytest.raises(LocalProtocolError):
            connection.send(message)
        assert snapshot(connection) == before


def test_a_message_that_cannot_be_sent_leaves_no_open_call() -> None:
    connection = connected()
    before = snapshot(connection)
    with pytest.raises(LocalProtocolError):
        connection.invoke("A", float("nan"))
    assert snapshot(connection) == before
    assert connection.invoke("A")[0] == "1"


def test_an_upload_stream() -> None:
    connection = connected()
    connection.send(Invocation(target="U", arguments=[], invocation_id="c", stream_ids=["u"]))
    assert sent(connection.send(StreamItem(invocation_id="u", item=1))) == StreamItem(
        invocation_id="u", item=1
    )
    assert sent(connection.complete("u")) == Completion(invocation_id="u")
    for illegal in (StreamItem(invocation_id="u", item=1), Completion(invocation_id="u")):
        with pytest.raises(LocalProtocolError):
            connection.send(illegal)


# -- calls of the server


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ((), Completion(invocation_id="s1", error=NO_RESULT)),
        ((None,), Completion(invocation_id="s1", result=None)),
        ((0,), Completion(invocation_id="s1", result=0)),
        ((UNSET, "failed"), Completion(invocation_id="s1", error="failed")),
    ],
)
def test_a_call_of_the_server_is_answered_exactly_once(given: tuple[Any, ...], answer: Completion) -> None:
    connection = connected()
    invocation = Invocation(target="R", arguments=[], invocation_id="s1")
    assert feed(connection, write_message(invocation)) == [InvocationReceived(invocation)]
    assert connection.statistics().owed_answers == 1
    assert sent(connection.complete("s1", *given)) == answer
    assert connection.statistics().owed_answers == 0
    with pytest.raises(LocalProtocolError, match="answered once"):
        connection.complete("s1", *given)


def test_a_call_of_the_server_under_an_open_id_is_ignored() -> None:
    connection = connected()
    text = write_message(Invocation(target="R", arguments=[], invocation_id="s1"))
    assert len(feed(connection, text)) == 1
    assert feed(connection, text) == [Ignored(Why.UNEXPECTED)]
    connection.complete("s1", 1)
    assert isinstance(feed(connection, text)[0], InvocationReceived)


def test_both_sides_ids_are_separate() -> None:
    connection = connected()
    ours, _ = connection.invoke("A")
    feed(connection, write_message(Invocation(target="R", arguments=[], invocation_id=ours)))
    connection.complete(ours, 1)
    assert feed(connection, write_message(Completion(invocation_id=ours, result=2))) == [
        CallCompleted(ours, 2)
    ]


def test_nobody_asked() -> None:
    connection = connected()
    with pytest.raises(LocalProtocolError, match="nobody waits"):
        connection.complete("s1", 1)


# -- what a server does not send, or sends too late


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (write_message(StreamInvocation(invocation_id="1", target="T", arguments=[])), Why.UNEXPECTED),
        (write_message(CancelInvocation(invocation_id="1")), Why.UNEXPECTED),
        (write_message(Ack(3)), Why.NOT_STATEFUL),
        (write_message(Sequence(1)), Why.NOT_STATEFUL),
        ('{"type":42}\x1e', Why.UNKNOWN_TYPE),
        (write_message(StreamItem(invocation_id="77", item=1)), Why.UNKNOWN_CALL),
        (write_message(Completion(invocation_id="77")), Why.UNKNOWN_CALL),
    ],
)
def test_ignored(text: str, why: Why) -> None:
    connection = connected()
    assert feed(connection, text + PING) == [Ignored(why), Pinged()]
    assert connection.statistics().ignored == 1


def test_ack_and_sequence_with_stateful_reconnect() -> None:
    connection = connected(version=2)
    text = write_message(Ack(3)) + write_message(Sequence(1))
    assert feed(connection, text) == [AckReceived(3), SequenceReceived(1)]
    assert sent(connection.send(Ack(2))) == Ack(2)
    for message in (Ack(1), Sequence(1)):
        with pytest.raises(LocalProtocolError):
            connected().send(message)


@pytest.mark.parametrize(
    ("close", "event"),
    [
        ('{"type":7}', CloseReceived(None, allow_reconnect=False)),
        ('{"type":7,"error":null,"allowReconnect":false}', CloseReceived(None, allow_reconnect=False)),
        ('{"type":7,"error":"E","allowReconnect":true}', CloseReceived("E", allow_reconnect=True)),
    ],
)
def test_nothing_after_close_is_delivered(close: str, event: CloseReceived) -> None:
    connection = connected()
    assert feed(connection, PING + close + "\x1e" + TRADE + TRADE + "part") == [Pinged(), event]
    assert connection.state is ConnectionState.CLOSED
    assert feed(connection, "of it\x1e" + TRADE) == []
    assert connection.statistics().records_dropped == 4


def test_our_own_close() -> None:
    connection = connected()
    call, _ = connection.invoke("A")
    assert connection.close() == '{"type":7}\x1e'
    assert connection.state is ConnectionState.CLOSING
    with pytest.raises(LocalProtocolError):
        connection.ping()
    asks = write_message(Invocation(target="R", arguments=[], invocation_id="s1"))
    done = write_message(Completion(invocation_id=call, result=1))
    assert feed(connection, TRADE + asks + done + '{"type":7}\x1e') == [
        TRADE_EVENT,
        Ignored(Why.AFTER_CLOSE),
        CallCompleted(call, 1),
        CloseReceived(None, allow_reconnect=False),
    ]
    assert sent(connected().close("why")) == Close(error="why")


# -- what cannot be read


def test_a_bad_record_ends_the_connection_after_the_good_ones() -> None:
    connection = connected("close")
    events = feed(connection, TRADE + PING + "{nonsense\x1e" + TRADE)
    assert events[:2] == [TRADE_EVENT, Pinged()]
    assert isinstance(events[2], ConnectionFailed)
    assert len(events) == 3
    assert connection.state is ConnectionState.CLOSED
    assert connection.statistics().malformed == 1
    assert connection.statistics().records_dropped == 1


def test_a_bad_record_is_counted_and_the_connection_goes_on() -> None:
    connection = connected("count")
    bad = '{"type":1}\x1e\x1e[42]\x1e'
    events = feed(connection, TRADE + bad + TRADE)
    assert events[0] == events[-1] == TRADE_EVENT
    assert [type(event) for event in events[1:-1]] == [Malformed] * 3
    assert connection.state is ConnectionState.CONNECTED
    assert connection.statistics().malformed == 3


@pytest.mark.parametrize("malformed", ["close", "count"])
@pytest.mark.parametrize("end", ["", "\x1e"])
def test_a_record_over_the_limit_ends_the_connection(malformed: Literal["close", "count"], end: str) -> None:
    connection = connected(malformed, record_limit=200)
    events = feed(connection, TRADE + "x" * 201 + end + TRADE)
    assert events[0] == TRADE_EVENT
    assert events[1] == ConnectionFailed("a record is longer than the limit of 200 characters")
    assert len(events) == 2
    assert connection.state is ConnectionState.CLOSED


# -- the fast lane


def test_bulk() -> None:
    connection = connected()
    text = TRADE + PING
    assert connection.is_bulk(text)
    connection.bulk_received(2)
    statistics = connection.statistics()
    assert (statistics.bulk, statistics.records_read) == (2, 3)
    assert drain(connection) == []


def test_bulk_is_refused_while_anything_is_unread() -> None:
    connection = connected()
    assert not connection.is_bulk("")
    assert not connection.is_bulk(TRADE + "{")
    connection.receive_text(PING)
    assert not connection.is_bulk(TRADE)
    drain(connection)
    assert connection.is_bulk(TRADE)
    connection.receive_text("{")
    assert not connection.is_bulk(TRADE)
    feed(connection, '"type":6}\x1e')
    assert connection.is_bulk(TRADE)


def test_bulk_is_for_a_live_plain_connection_and_within_the_limit() -> None:
    for state in set(ConnectionState) - {ConnectionState.CONNECTED}:
        assert not brought_to(state).is_bulk(TRADE)
    assert not connected(version=2).is_bulk(TRADE)
    assert not connected(record_limit=len(TRADE) - 1).is_bulk(TRADE)
    assert connected(record_limit=len(TRADE)).is_bulk(TRADE)


# -- properties

RECORDS = st.sampled_from(
    [
        TRADE,
        PING,
        write_message(Invocation(target="R", arguments=["\u20ac"], invocation_id="s1")),
        write_message(StreamItem(invocation_id="1", item=[1])),
        write_message(StreamItem(invocation_id="2", item=[1])),
        write_message(Completion(invocation_id="1", result={"a": 1})),
        write_message(Completion(invocation_id="2")),
        write_message(Completion(invocation_id="2", error="e")),
        write_message(Ack(1)),
        '{"type":42}\x1e',
        '{"type":1}\x1e',
        "\x1e",
        "x" * 90 + "\x1e",
        "x" * 400 + "\x1e",
        write_message(Close(error="bye", allow_reconnect=True)),
    ]
)


def with_calls(malformed: Literal["close", "count"]) -> HubConnection:
    connection = connected(malformed, record_limit=300)
    connection.invoke("A")
    connection.stream("B")
    return connection


@given(st.lists(RECORDS, max_size=8), st.sampled_from(["close", "count"]), st.data())
@settings(max_examples=200)
def test_where_the_text_is_cut_makes_no_difference(
    records: list[str], malformed: Literal["close", "count"], data: st.DataObject
) -> None:
    text = "".join(records)
    at_once = with_calls(malformed)
    expected = feed(at_once, text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    in_pieces = with_calls(malformed)
    events: list[Event] = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        in_pieces.receive_text(text[begin:end])
        if data.draw(st.booleans()):
            events += drain(in_pieces)
    events += drain(in_pieces)
    assert events == expected
    assert attrs.evolve(in_pieces.statistics(), records_dropped=0) == attrs.evolve(
        at_once.statistics(), records_dropped=0
    )


@given(st.lists(RECORDS, max_size=8), st.sampled_from(["close", "count"]), st.integers(0, 5))
def test_every_record_is_counted_exactly_once(
    records: list[str], malformed: Literal["close", "count"], bulk: int
) -> None:
    connection = with_calls(malformed)
    connection.bulk_received(bulk)
    events = feed(connection, "".join(records))
    s = connection.statistics()
    assert s.records_read == 1 + bulk + len(events)
    assert s.records_read == (
        s.handshakes + s.bulk + s.invocations + s.stream_items + s.calls_completed + s.calls_failed
        + s.streams_ended + s.pings + s.closes + s.sequencing + s.malformed + s.ignored
    )  # fmt: skip
    assert s.records_dropped == len(records) - len(events)
    assert (s.records_dropped == 0) or s.state is ConnectionState.CLOSED
    ended = s.calls_completed + s.calls_failed + s.streams_ended
    assert s.open_calls + ended == 2
    assert len(connection.lost("gone")) == s.open_calls


@given(st.lists(st.text() | RECORDS, max_size=6), st.sampled_from(["close", "count"]))
def test_whatever_the_server_says_nothing_raises(
    texts: list[str], malformed: Literal["close", "count"]
) -> None:
    connection = HubConnection(malformed, 300)
    connection.start()
    for text in texts:
        feed(connection, text)
    connection.lost("end")
