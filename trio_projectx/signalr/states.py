"""The life of one hub connection as a table.

A connection is asymmetric and short of states: the client speaks first (its handshake request), the server
answers once, and from then on both send records in any order until a Close record or the end of the
transport. Nothing brings a connection back: a new transport is a new connection, that starts in IDLE.

``CLOSING`` is for our own Close record: nothing may be sent after it, but what the server had already sent is
still read, up to its own Close or the end of the transport. From ``CLOSED`` no way leads anywhere; that the
transport is lost is news in every state, also when it has been told before.

Who moves it: START, SEND and SEND_CLOSE are what we do; AGREED, REFUSED, RECORD, CLOSE and BROKEN are what
the server sent; LOST is what the transport did. A pair that is not in the table is a fault of the caller,
raised as `LocalProtocolError`, and leaves the state as it was.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from trio_projectx.signalr.errors import LocalProtocolError


class ConnectionState(enum.Enum):
    """Where one hub connection is in its life."""

    IDLE = "idle"
    """The transport is open, nothing was sent."""
    HANDSHAKE = "handshake"
    """The request was sent, the answer has not come."""
    CONNECTED = "connected"
    CLOSING = "closing"
    """We sent Close."""
    CLOSED = "closed"


class Step(enum.Enum):
    """What can happen to a hub connection."""

    START = "send the handshake request"
    AGREED = "read a handshake response that agrees"
    REFUSED = "read a handshake response that refuses, or is none"
    SEND = "send a record"
    SEND_CLOSE = "send Close"
    RECORD = "read a record"
    CLOSE = "read Close"
    BROKEN = "read what breaks the protocol"
    LOST = "lose the transport"


_S = ConnectionState

TRANSITIONS: Final[Mapping[ConnectionState, Mapping[Step, ConnectionState]]] = {
    _S.IDLE: {Step.START: _S.HANDSHAKE, Step.LOST: _S.CLOSED},
    _S.HANDSHAKE: {Step.AGREED: _S.CONNECTED, Step.REFUSED: _S.CLOSED, Step.LOST: _S.CLOSED},
    _S.CONNECTED: {
        Step.SEND: _S.CONNECTED,
        Step.RECORD: _S.CONNECTED,
        Step.SEND_CLOSE: _S.CLOSING,
        Step.CLOSE: _S.CLOSED,
        Step.BROKEN: _S.CLOSED,
        Step.LOST: _S.CLOSED,
    },
    _S.CLOSING: {
        Step.RECORD: _S.CLOSING,
        Step.CLOSE: _S.CLOSED,
        Step.BROKEN: _S.CLOSED,
        Step.LOST: _S.CLOSED,
    },
    _S.CLOSED: {Step.LOST: _S.CLOSED},
}


def after(state: ConnectionState, step: Step) -> ConnectionState:
    """Return the state after ``step``.

    :raises LocalProtocolError: the table has no such step from ``state``.
    """
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise LocalProtocolError(f"cannot {step.value} while the connection is {state.value}") from None
