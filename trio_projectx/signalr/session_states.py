"""The states of a `HubSession` as a table.

``CONNECTING`` is the first attempt, which is never repeated by itself. ``RECONNECTING`` is all that follows a
loss, be it waiting or trying: DOWN leads there from a live connection, and from there back to it for each
attempt that fails, until one comes UP or the policy gives up (END). A stop is an END in every state but the
first.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from trio_projectx.signalr.errors import LocalProtocolError
from trio_projectx.signalr.statistics import ConnectionStatistics


class SessionState(enum.Enum):
    """Where a session is; the values are the names that the official clients use."""

    DISCONNECTED = "Disconnected"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    RECONNECTING = "Reconnecting"


class Turn(enum.Enum):
    """What can happen to a session."""

    START = "start"
    UP = "come up"
    DOWN = "go down and try again"
    END = "end"


_S = SessionState

TURNS: Final[Mapping[SessionState, Mapping[Turn, SessionState]]] = {
    _S.DISCONNECTED: {Turn.START: _S.CONNECTING},
    _S.CONNECTING: {Turn.UP: _S.CONNECTED, Turn.END: _S.DISCONNECTED},
    _S.CONNECTED: {Turn.DOWN: _S.RECONNECTING, Turn.END: _S.DISCONNECTED},
    _S.RECONNECTING: {Turn.UP: _S.CONNECTED, Turn.DOWN: _S.RECONNECTING, Turn.END: _S.DISCONNECTED},
}


def turned(state: SessionState, turn: Turn) -> SessionState:
    """Return the state after ``turn``.

    :raises LocalProtocolError: the table has no such turn from ``state``.
    """
    try:
        return TURNS[state][turn]
    except KeyError:
        raise LocalProtocolError(f"a session that is {state.value} cannot {turn.value}") from None


@attrs.frozen(slots=True)
class SessionStatistics:
    """A snapshot of a session."""

    state: SessionState
    transports: int
    """Transports asked for, the first and every attempt."""
    reconnects: int
    """Attempts that succeeded."""
    unhandled: int
    """Calls of the server for which there was no handler."""
    stale: int
    """Inputs that came from a transport that was given up before."""
    connection: ConnectionStatistics | None
    """The counters of the connection that is there now, if one is."""
