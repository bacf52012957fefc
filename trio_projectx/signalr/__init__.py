"""SignalR's JSON hub protocol without any I/O: text in, events out; values in, text out.

Nothing here opens a socket, reads a clock or starts a task: a `HubConnection` is fed the text of one
transport connection, the timers are told what time it is, and every method returns at once. The layers, from
the bottom: messages and codec, `RecordBuffer`, `HubConnection` (one transport connection), `KeepAlive`,
`HubSession` (connections in a row, under a reconnect policy), `StatefulBuffer` (what survives between them).
"""

from __future__ import annotations

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
from trio_projectx.signalr.actions import (
    Action,
    Called,
    Closed,
    CloseTransport,
    OpenTransport,
    Reconnected,
    Reconnecting,
    SendText,
    Started,
    StartFailed,
)
from trio_projectx.signalr.codec import parse_messages, parse_record, write_message
from trio_projectx.signalr.connection import NO_RESULT, HubConnection
from trio_projectx.signalr.errors import LocalProtocolError
from trio_projectx.signalr.events import (
    NEED_DATA,
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
    NeedData,
    Pinged,
    SequenceReceived,
    StreamEnded,
    StreamItemReceived,
    Why,
)
from trio_projectx.signalr.handshake import (
    HandshakeRequest,
    HandshakeResponse,
    parse_handshake_request,
    parse_handshake_response,
    write_handshake_request,
    write_handshake_response,
)
from trio_projectx.signalr.keepalive import KeepAlive
from trio_projectx.signalr.policy import DEFAULT_DELAYS_S, ReconnectPolicy, RetryContext, delays
from trio_projectx.signalr.records import RecordBuffer
from trio_projectx.signalr.session import HubSession
from trio_projectx.signalr.session_states import SessionState, SessionStatistics
from trio_projectx.signalr.stateful import StatefulBuffer, is_counted
from trio_projectx.signalr.states import ConnectionState
from trio_projectx.signalr.statistics import ConnectionStatistics

__all__ = [
    "DEFAULT_DELAYS_S",
    "NEED_DATA",
    "NO_RESULT",
    "RECORD_SEPARATOR",
    "UNSET",
    "Ack",
    "AckReceived",
    "Action",
    "CallCompleted",
    "CallFailed",
    "Called",
    "CancelInvocation",
    "Close",
    "CloseReceived",
    "CloseTransport",
    "Closed",
    "Completion",
    "ConnectionFailed",
    "ConnectionState",
    "ConnectionStatistics",
    "Event",
    "HandshakeFailed",
    "HandshakeRequest",
    "HandshakeResponse",
    "Handshaken",
    "HubConnection",
    "HubSession",
    "Ignored",
    "Invocation",
    "InvocationReceived",
    "JsonValue",
    "KeepAlive",
    "LocalProtocolError",
    "Malformed",
    "Message",
    "NeedData",
    "OpenTransport",
    "Ping",
    "Pinged",
    "ReconnectPolicy",
    "Reconnected",
    "Reconnecting",
    "RecordBuffer",
    "RetryContext",
    "SendText",
    "Sequence",
    "SequenceReceived",
    "SessionState",
    "SessionStatistics",
    "StartFailed",
    "Started",
    "StatefulBuffer",
    "StreamEnded",
    "StreamInvocation",
    "StreamItem",
    "StreamItemReceived",
    "UnsetType",
    "Why",
    "delays",
    "is_counted",
    "parse_handshake_request",
    "parse_handshake_response",
    "parse_messages",
    "parse_record",
    "write_handshake_request",
    "write_handshake_response",
    "write_message",
]
