"""Connections in a row under a reconnect policy, as a state machine without I/O, clock or task.

Each input (a transport opened, text came, the transport is lost, time has passed, stop, a call) returns the
list of `Action` that follow from it. There is one timer: whenever `HubSession.next_deadline` has come, say so
with `HubSession.timer_fired`. Times are floats of seconds on one clock that never goes back.

A session has at most one transport at a time. An attempt counts as failed if its transport is not opened, is
lost, or its handshake fails or takes too long. The caller bounds how long opening a transport may take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from trio_projectx.signalr._messages import UNSET, JsonValue, UnsetType
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
from trio_projectx.signalr.connection import HubConnection
from trio_projectx.signalr.errors import LocalProtocolError
from trio_projectx.signalr.events import (
    NEED_DATA,
    CallCompleted,
    CallFailed,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    Handshaken,
    InvocationReceived,
    Malformed,
    StreamEnded,
    StreamItemReceived,
)
from trio_projectx.signalr.keepalive import KeepAlive
from trio_projectx.signalr.policy import ReconnectPolicy, RetryContext, delays, next_delay
from trio_projectx.signalr.records import DEFAULT_RECORD_LIMIT
from trio_projectx.signalr.session_states import SessionState, SessionStatistics, Turn, turned


class HubSession:
    """A client session: at most one live `HubConnection`, replaced as the policy says.

    ``reconnect`` is None (never), a sequence of delays in seconds, or a `ReconnectPolicy`. The server timeout
    should be at least twice the server's keep-alive interval.
    """

    def __init__(
        self,
        *,
        reconnect: ReconnectPolicy | Sequence[float] | None = None,
        server_timeout_s: float = 30.0,
        keep_alive_s: float = 15.0,
        handshake_timeout_s: float = 15.0,
        malformed: Literal["close", "count"] = "close",
        record_limit: int = DEFAULT_RECORD_LIMIT,
    ) -> None:
        self._policy = reconnect if reconnect is None or callable(reconnect) else delays(reconnect)
        self._handshake_timeout_s = handshake_timeout_s
        self._malformed: Literal["close", "count"] = malformed
        self._record_limit = record_limit
        self._keep_alive = KeepAlive(server_timeout_s, keep_alive_s)
        self._state = SessionState.DISCONNECTED
        self._handled: set[str] = set()
        self._epoch = 0
        self._transport_wanted = False
        self._connection: HubConnection | None = None
        self._next_id = 1
        self._handshake_until = self._retry_at = math.inf
        self._failed_attempts = 0
        self._lost_at = 0.0
        self._reconnects = self._unhandled = self._stale = 0

    @property
    def state(self) -> SessionState:
        """Where the session is."""
        return self._state

    @property
    def next_deadline(self) -> float:
        """When `timer_fired` is to be called at the latest; infinite if nothing waits for time to pass."""
        return min(self._retry_at, self._handshake_until, self._keep_alive.next_deadline)

    def statistics(self) -> SessionStatistics:
        """Return all counters as they are now."""
        connection = None if self._connection is None else self._connection.statistics()
        return SessionStatistics(
            self._state, self._epoch, self._reconnects, self._unhandled, self._stale, connection
        )

    def on(self, target: str) -> None:
        """Have calls of ``target`` (ignoring case) told as `Called`; others are counted or refused."""
        self._handled.add(target.casefold())

    def off(self, target: str) -> None:
        """Undo `on`."""
        self._handled.discard(target.casefold())

    # -- inputs of the transport

    def transport_opened(self, epoch: int, now: float) -> list[Action]:
        """Take over the transport that was asked for: the handshake begins."""
        if self._is_stale(epoch) or self._connection is not None:
            return []
        self._connection = HubConnection(self._malformed, self._record_limit, first_id=self._next_id)
        self._handshake_until = now + self._handshake_timeout_s
        return [SendText(epoch, self._connection.start())]

    def text_received(self, epoch: int, text: str, now: float) -> list[Action]:
        """Take in one transport message."""
        connection = self._connection
        if self._is_stale(epoch) or connection is None:
            return []
        self._keep_alive.received(now)
        connection.receive_text(text)
        actions: list[Action] = []
        while (event := connection.next_event()) is not NEED_DATA:
            actions += self._follow(connection, event, now)
        return actions

    def transport_lost(self, epoch: int, reason: str, now: float) -> list[Action]:
        """Note that the transport could not be opened, or has ended."""
        return [] if self._is_stale(epoch) else self._down(reason, now)

    def timer_fired(self, now: float) -> list[Action]:
        """Do the first thing that is due at ``now``; to be called again while `next_deadline` is due."""
        if now >= self._retry_at:
            self._retry_at = math.inf
            return [self._open_transport()]
        if now >= self._handshake_until:
            return self._hang_up("Handshake timeout: the server did not answer the handshake request", now)
        if self._keep_alive.is_dead(now):
            return self._hang_up("Server timeout: nothing was received from the server for too long", now)
        if self._connection is not None and self._keep_alive.ping_due(now):
            return [self._sent(self._connection.ping(), now)]
        return []

    # -- inputs of the user

    def start(self) -> list[Action]:
        """Begin.

        :raises LocalProtocolError: it has begun already.
        """
        self._state = turned(self._state, Turn.START)
        return [self._open_transport()]

    def stop(self, now: float) -> list[Action]:
        """End, in whatever state; a second time nothing follows."""
        if self._state is SessionState.DISCONNECTED:
            return []
        actions: list[Action] = []
        if self._state is SessionState.CONNECTED:
            actions.append(self._sent(self._live().close(), now))
        actions += self._drop_transport("the connection was closed by stop()", close=True)
        return [*actions, self._end("stopped before the connection was up", None)]

    def invoke(self, target: str, *arguments: JsonValue, now: float) -> tuple[str, SendText]:
        """Call ``target``; its id will come back in `CallCompleted` or `CallFailed`. No id is used twice.

        :raises LocalProtocolError: not connected (a call is never kept for later), or not sayable in JSON. So
            do the methods below.
        """
        invocation_id, text = self._live().invoke(target, *arguments)
        return invocation_id, self._sent(text, now)

    def stream(self, target: str, *arguments: JsonValue, now: float) -> tuple[str, SendText]:
        """Start the stream ``target``: items, then `StreamEnded` or `CallFailed`, come under the id."""
        invocation_id, text = self._live().stream(target, *arguments)
        return invocation_id, self._sent(text, now)

    def send_only(self, target: str, *arguments: JsonValue, now: float) -> SendText:
        """Call ``target`` without an answer."""
        return self._sent(self._live().send_only(target, *arguments), now)

    def cancel(self, invocation_id: str, now: float) -> SendText:
        """Stop a stream; nothing more of it is told."""
        return self._sent(self._live().cancel(invocation_id), now)

    def answer(
        self,
        epoch: int,
        invocation_id: str,
        result: JsonValue | UnsetType = UNSET,
        error: str | None = None,
        *,
        now: float,
    ) -> list[Action]:
        """Answer a `Called` with what its handler returned (`UNSET`: nothing) or the text of what it raised.

        Nothing follows if the connection that asked is gone. A result that cannot be said in JSON becomes an
        error, so that the server gets its answer in any case.

        :raises LocalProtocolError: that call was answered before, or never asked for an answer.
        """
        if self._is_stale(epoch) or self._state is not SessionState.CONNECTED:
            return []
        error = "the handler failed" if error == "" else error
        try:
            text = self._live().complete(invocation_id, result if error is None else UNSET, error)
        except LocalProtocolError as exc:
            text = self._live().complete(invocation_id, error=str(exc))
        return [self._sent(text, now)]

    # -- inside

    def _is_stale(self, epoch: int) -> bool:
        stale = epoch != self._epoch or not self._transport_wanted
        self._stale += stale
        return stale

    def _live(self) -> HubConnection:
        if self._connection is None or self._state is not SessionState.CONNECTED:
            raise LocalProtocolError(f"the session is {self._state.value}: calls are not kept for later")
        return self._connection

    def _sent(self, text: str, now: float) -> SendText:
        self._keep_alive.sent(now)
        return SendText(self._epoch, text)

    def _open_transport(self) -> OpenTransport:
        self._epoch += 1
        self._transport_wanted = True
        return OpenTransport(self._epoch)

    def _follow(self, connection: HubConnection, event: Event, now: float) -> list[Action]:
        match event:
            case Handshaken():
                return self._up(connection, now)
            case HandshakeFailed(error=reason) | ConnectionFailed(reason=reason):
                return self._hang_up(reason, now)
            case CloseReceived():
                return self._hang_up(event.error, now, reconnect=event.allow_reconnect)
            case InvocationReceived():
                return self._called(connection, event, now)
            case CallCompleted() | CallFailed() | StreamItemReceived() | StreamEnded() | Malformed():
                return [event]
            case _:
                return []

    def _up(self, connection: HubConnection, now: float) -> list[Action]:
        self._handshake_until = math.inf
        self._keep_alive.start(now)
        first = self._state is SessionState.CONNECTING
        self._state = turned(self._state, Turn.UP)
        self._reconnects += not first
        self._failed_attempts = 0
        return [self._sent(connection.ping(), now), Started() if first else Reconnected()]

    def _called(self, connection: HubConnection, event: InvocationReceived, now: float) -> list[Action]:
        if event.key in self._handled:
            return [Called(self._epoch, event.invocation)]
        self._unhandled += 1
        if event.invocation.invocation_id is None:
            return []
        return [self._sent(connection.complete(event.invocation.invocation_id), now)]

    def _hang_up(self, error: str | None, now: float, *, reconnect: bool = True) -> list[Action]:
        return self._down(error, now, reconnect=reconnect, close=True)

    def _down(
        self, error: str | None, now: float, *, reconnect: bool = True, close: bool = False
    ) -> list[Action]:
        actions = self._drop_transport(error or "the server closed the connection", close=close)
        if self._state is SessionState.CONNECTING or self._policy is None or not reconnect:
            return [*actions, self._end(error or "the server closed the connection", error)]
        if self._state is SessionState.CONNECTED:
            self._lost_at = now
            actions.append(Reconnecting(error))
        else:
            self._failed_attempts += 1
        return actions + self._try_again(self._policy, error, now)

    def _try_again(self, policy: ReconnectPolicy, error: str | None, now: float) -> list[Action]:
        context = RetryContext(self._failed_attempts, now - self._lost_at, error)
        self._state = turned(self._state, Turn.DOWN)
        delay = next_delay(policy, context)
        if isinstance(delay, str):
            detail = delay if error is None else f"{delay}; last failure: {error}"
            return [self._end("", None, detail)]
        self._retry_at = now + delay
        return []

    def _end(self, start_error: str, error: str | None, detail: str = "") -> StartFailed | Closed:
        first = self._state is SessionState.CONNECTING
        self._state = turned(self._state, Turn.END)
        self._failed_attempts = 0
        return StartFailed(start_error) if first else Closed(error, detail)

    def _drop_transport(self, reason: str, *, close: bool) -> list[Action]:
        """Forget the transport and all that waits for it; return the failures of the open calls."""
        actions: list[Action] = [CloseTransport(self._epoch)] if close and self._transport_wanted else []
        if self._connection is not None:
            self._next_id = self._connection.next_id
            actions += self._connection.lost(reason)
        self._connection = None
        self._transport_wanted = False
        self._handshake_until = self._retry_at = math.inf
        self._keep_alive.stop()
        return actions
