"""The client's side of one hub connection over one transport, without the transport.

The caller owns the I/O: what `HubConnection` returns as ``str`` is to be sent, what the transport yields goes
to `HubConnection.receive_text`, and `HubConnection.next_event` is then called until it says `NEED_DATA`.
"""

from __future__ import annotations

from typing import Literal

from trio_projectx._errors import ProtocolError
from trio_projectx._redact import escape
from trio_projectx.signalr._messages import (
    RECORD_SEPARATOR,
    UNSET,
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    JsonValue,
    Message,
    Ping,
    Sequence,
    StreamInvocation,
    StreamItem,
    UnsetType,
)
from trio_projectx.signalr.calls import CallTable
from trio_projectx.signalr.codec import parse_record, write_message
from trio_projectx.signalr.errors import LocalProtocolError
from trio_projectx.signalr.events import (
    NEED_DATA,
    AckReceived,
    CallFailed,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    Handshaken,
    Ignored,
    Malformed,
    NeedData,
    Pinged,
    SequenceReceived,
    Why,
)
from trio_projectx.signalr.handshake import (
    HandshakeRequest,
    parse_handshake_response,
    write_handshake_request,
)
from trio_projectx.signalr.records import DEFAULT_RECORD_LIMIT, RecordBuffer
from trio_projectx.signalr.states import ConnectionState, Step, after
from trio_projectx.signalr.statistics import ConnectionStatistics, Counters

NO_RESULT = "Client didn't provide a result."
"""The answer to a server's call without a handler, or whose handler returned nothing (both clients' text)."""


class HubConnection:
    """One connection, from the handshake request to the end; the table of its life is in `states`.

    ``malformed`` says what a record does that breaks the protocol: "close" (as both official clients) ends
    the connection with `ConnectionFailed`, "count" yields `Malformed` and goes on. A record longer than
    ``record_limit`` characters ends it in either case. ``first_id`` lets the next connection go on counting
    where the last one stopped (`next_id`), so that an id of an old call is never taken for a new one.

    Every method either does what it says or raises `LocalProtocolError` and changes nothing.
    """

    def __init__(
        self,
        malformed: Literal["close", "count"] = "close",
        record_limit: int = DEFAULT_RECORD_LIMIT,
        *,
        first_id: int = 1,
    ) -> None:
        self._malformed = malformed
        self._record_limit = record_limit
        self._buffer = RecordBuffer(record_limit)
        self._calls = CallTable(first_id)
        self._counters = Counters()
        self._state = ConnectionState.IDLE
        self._stateful = False

    @property
    def state(self) -> ConnectionState:
        """Where this connection is in its life."""
        return self._state

    @property
    def next_id(self) -> int:
        """The ``first_id`` for the connection after this one."""
        return self._calls.next_id

    def statistics(self) -> ConnectionStatistics:
        """Return all counters as they are now."""
        return self._counters.snapshot(self._state, self._calls.open_calls, self._calls.owed_answers)

    # -- what comes in

    def receive_text(self, text: str) -> None:
        """Take in what the transport received, in pieces of any size; after the end it is dropped.

        :raises LocalProtocolError: the connection was not started.
        """
        if self._state is ConnectionState.IDLE:
            raise LocalProtocolError("call start() and send its text before giving in what was received")
        if self._state is ConnectionState.CLOSED:
            self._counters.dropped += text.count(RECORD_SEPARATOR)
        else:
            self._buffer.feed(text)

    def next_event(self) -> Event | NeedData:
        """Return the event of the next whole record, or `NEED_DATA` until more is received.

        What the server does wrong is an event, never an exception. After `HandshakeFailed`, `CloseReceived`
        or `ConnectionFailed` the connection is closed: end the transport and call `lost`.
        """
        if self._state is ConnectionState.CLOSED:
            return NEED_DATA
        event = self._next_event()
        if event is not NEED_DATA:
            self._counters.count(event)
        return event

    def is_bulk(self, text: str) -> bool:
        """Whether ``text`` is whole records of a live connection with nothing unread before them.

        The caller may then decode all of it by itself and say so with `bulk_received`, or else fall back to
        `receive_text` with the same text.
        """
        return (
            self._state is ConnectionState.CONNECTED
            and self._buffer.is_empty
            and not self._stateful  # every counted record has to be counted
            and len(text) <= self._record_limit  # then no record in it is longer either
            and text.endswith(RECORD_SEPARATOR)
        )

    def bulk_received(self, records: int) -> None:
        """Count ``records`` that the caller decoded itself, under `is_bulk`."""
        self._state = after(self._state, Step.RECORD)
        self._counters.bulk += records

    def lost(self, reason: str) -> list[CallFailed]:
        """Say that the transport is gone, or about to be; return the failures of all calls that were open.

        It may be called in any state and again: the second time there is nothing left to fail. ``reason`` is
        taken over as it is.
        """
        self._move(Step.LOST)
        return self._calls.fail_all(reason)

    # -- what goes out

    def start(self, version: int = 1) -> str:
        """Return the handshake request to send; ``version`` 2 is for a negotiated stateful reconnect."""
        if version not in (1, 2):
            raise LocalProtocolError("the JSON hub protocol has versions 1 and 2")
        self._state = after(self._state, Step.START)
        self._stateful = version == 2
        self._counters.sent += 1
        return write_handshake_request(HandshakeRequest("json", version))

    def send(self, message: Message) -> str:
        """Return ``message`` as text to send, and note what it opens or ends.

        :raises LocalProtocolError: not connected (or closing), not sayable in JSON, against the protocol, or
            about a call that is not open.
        """
        state = after(self._state, Step.SEND_CLOSE if isinstance(message, Close) else Step.SEND)
        if isinstance(message, Ack | Sequence) and not self._stateful:
            raise LocalProtocolError("Ack and Sequence belong to stateful reconnect")
        text = write_message(message)
        self._calls.sending(message)
        self._state = state
        self._counters.sent += 1
        return text

    def invoke(self, target: str, *arguments: JsonValue) -> tuple[str, str]:
        """Call ``target``; return the id that `CallCompleted` or `CallFailed` will have, and the text."""
        invocation_id = self._calls.fresh_id()
        message = Invocation(target=target, arguments=arguments, invocation_id=invocation_id)
        return invocation_id, self.send(message)

    def send_only(self, target: str, *arguments: JsonValue) -> str:
        """Call ``target`` and return the text; no answer will come, not even an error."""
        return self.send(Invocation(target=target, arguments=arguments))

    def stream(self, target: str, *arguments: JsonValue) -> tuple[str, str]:
        """Start the stream ``target``; return the id of its items and its end, and the text."""
        invocation_id = self._calls.fresh_id()
        message = StreamInvocation(target=target, arguments=arguments, invocation_id=invocation_id)
        return invocation_id, self.send(message)

    def cancel(self, invocation_id: str) -> str:
        """Stop an open stream, or stop waiting for a call; nothing more of it is delivered."""
        return self.send(CancelInvocation(invocation_id=invocation_id))

    def complete(
        self, invocation_id: str, result: JsonValue | UnsetType = UNSET, error: str | None = None
    ) -> str:
        """Answer a call of the server, or end an upload stream; each exactly once.

        A server's call that gets neither a result nor an error is answered with the error `NO_RESULT`. If the
        result cannot be sent, the call still waits for an answer: complete it with an error.
        """
        if error is None and isinstance(result, UnsetType) and self._calls.owes_answer(invocation_id):
            error = NO_RESULT
        return self.send(Completion(invocation_id=invocation_id, result=result, error=error))

    def ping(self) -> str:
        """Return a ping to send."""
        return self.send(Ping())

    def close(self, error: str | None = None) -> str:
        """Return the Close record to send before closing the transport; nothing can be sent after it."""
        return self.send(Close(error=error))

    # -- inside

    @property
    def _handshaking(self) -> bool:
        return self._state is ConnectionState.HANDSHAKE

    def _move(self, step: Step) -> None:
        self._state = after(self._state, step)
        if self._state is ConnectionState.CLOSED:
            self._counters.dropped += self._buffer.discard()

    def _next_event(self) -> Event | NeedData:
        try:
            record = self._buffer.next_record()
        except ProtocolError as exc:
            return self._broken(str(exc))
        if record is None:
            return NEED_DATA
        return self._read_handshake(record) if self._handshaking else self._read(record)

    def _broken(self, reason: str) -> HandshakeFailed | ConnectionFailed:
        if self._handshaking:
            self._move(Step.REFUSED)
            return HandshakeFailed(reason)
        self._move(Step.BROKEN)
        return ConnectionFailed(reason)

    def _read_handshake(self, record: str) -> Handshaken | HandshakeFailed | ConnectionFailed:
        try:
            response = parse_handshake_response(record)
        except ProtocolError as exc:
            return self._broken(str(exc))
        if response.error:
            text = escape(response.error)
            self._move(Step.REFUSED)
            return HandshakeFailed(f"Server returned handshake error: {text}", text)
        self._move(Step.AGREED)
        return Handshaken(response.minor_version)

    def _read(self, record: str) -> Event:
        try:
            message = parse_record(record)
        except ProtocolError as exc:
            if self._malformed == "close":
                return self._broken(str(exc))
            return Malformed(str(exc))
        if isinstance(message, Close):
            self._move(Step.CLOSE)
            error = None if message.error is None else escape(message.error)
            return CloseReceived(error, message.allow_reconnect)
        self._move(Step.RECORD)
        return self._event(message)

    def _event(self, message: Message | None) -> Event:
        match message:
            case Invocation():
                return self._called(message)
            case StreamItem():
                return self._calls.item(message)
            case Completion():
                return self._calls.completed(message)
            case Ping():
                return Pinged()
            case Ack() | Sequence():
                return self._sequencing(message)
            case None:
                return Ignored(Why.UNKNOWN_TYPE)
            case _:
                return Ignored(Why.UNEXPECTED)

    def _called(self, message: Invocation) -> Event:
        if message.invocation_id is not None and self._state is ConnectionState.CLOSING:
            return Ignored(Why.AFTER_CLOSE)
        return self._calls.called(message)

    def _sequencing(self, message: Ack | Sequence) -> Event:
        if not self._stateful:
            return Ignored(Why.NOT_STATEFUL)
        if isinstance(message, Ack):
            return AckReceived(message.sequence_id)
        return SequenceReceived(message.sequence_id)
