"""What the end of a connection means for the next one: one table, looked up by the type of the error.

An epoch wraps what it met (`ConnectionLost` where it was live, `ConnectError` where it was not yet) and leaves that
as ``__cause__``; a wrapper that says nothing itself is looked through. Everything that is not named as final is
tried again, under back-off and breaker (FAULTS.md I6, I7).
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, cast

import attrs

from trio_projectx._errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    GatewayError,
    ProtocolError,
    TrioProjectXError,
)
from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.auth import TokenFunctionFailed, TokenRefused
from trio_projectx.connection.endings import (
    HandshakeRefused,
    HubClosed,
    LoggedOut,
    NegotiateRefused,
    NoSuchHub,
    Silent,
)
from trio_projectx.connection.network import TlsError
from trio_projectx.connection.transport import TransportClosed
from trio_projectx.connection.upgrade import UpgradeRefused

#: Policy violation (RFC 6455 section 7.4.1): how a WebSocket server says that it does not want this user.
_POLICY: Final = 1008
#: No Close frame came (RFC 6455 section 7.1.5).
_ABNORMAL: Final = 1006
#: Causes that are looked at, from the error that was raised on down; deeper ones are other libraries' own.
_DEPTH: Final = 16


class Action(enum.Enum):
    """What is to follow."""

    RETRY = "retry"
    """Another connection, when back-off and breaker say."""
    LOGIN = "login"
    """The same after one fresh login; if it ends so again with the fresh token, that is final."""
    FATAL = "fatal"
    """Nothing: the same would come again until somebody changes something."""


@attrs.frozen(slots=True)
class Verdict:
    """What follows from the end of a connection."""

    action: Action
    retry_after_s: float | None
    """How long the service asked to wait; None if it did not."""
    cause: str
    """One word for counters and events, such as ``reset``, ``close_1008`` or ``tls``."""


def _retry(cause: str) -> Verdict:
    return Verdict(Action.RETRY, None, cause)


def _login(cause: str) -> Verdict:
    return Verdict(Action.LOGIN, None, cause)


def _fatal(cause: str) -> Verdict:
    return Verdict(Action.FATAL, None, cause)


#: By the nearest type of an error's family that stands here; the rest is `_by_facts`'s.
_BY_TYPE: Final[Mapping[type[BaseException], Verdict]] = MappingProxyType(
    {
        TokenRefused: _login("unauthorized"),
        TokenFunctionFailed: _retry(
            "token_function"
        ),  # the user's own way to a token has its bad moments too
        AuthError: _fatal("auth"),  # a fresh login was refused, or the user is forbidden (403)
        ConfigError: _fatal("config"),
        TlsError: _fatal("tls"),
        HandshakeRefused: _fatal("handshake"),
        LoggedOut: _login("logged_out"),
        Silent: _retry("silent"),
        ConnectTimeout: _retry("timeout"),
        ProtocolError: _retry("protocol"),
        GatewayError: _retry("rest"),  # the login was answered, by a no that is not about the credentials
        ConnectError: _retry("unreachable"),
        ConnectionLost: _retry("lost"),
        TrioProjectXError: _retry("unknown"),
    }
)


def verdict(error: TrioProjectXError, *, negotiated: bool) -> Verdict:
    """Return what follows from ``error``, with which a connection ended or could not be made.

    ``negotiated`` says that the connection was asked for with the ``id=`` of a negotiation, which serves once: a 404
    then speaks of that id, and otherwise of the hub.
    """
    telling = _telling(error)
    return _by_facts(telling, negotiated=negotiated) or _by_type(telling)


def _telling(error: TrioProjectXError) -> TrioProjectXError:
    """Return the outermost of ``error`` and its causes that is more than a wrapper; ``error`` if none is."""
    each: BaseException | None = error
    for _ in range(_DEPTH):
        if not isinstance(each, TrioProjectXError):
            break
        if type(each) not in (ConnectionLost, ConnectError):
            return each
        each = each.__cause__
    return error


def _by_type(error: TrioProjectXError) -> Verdict:
    nearest = next(kind for kind in type(error).__mro__ if kind in _BY_TYPE)
    return _retry(_why_not_reached(error)) if nearest is ConnectError else _BY_TYPE[nearest]


def _by_facts(error: TrioProjectXError, *, negotiated: bool) -> Verdict | None:
    """Return the verdict on an error whose attributes decide; None for any other."""
    match error:
        case HubClosed(allow_reconnect=allowed):
            return _retry("close_record") if allowed else _fatal("close_record")
        case TransportClosed(code=code):
            return _closed(code, broke=error.__cause__ is not None)
        case NoSuchHub():
            return _answered(404, None, used_id=negotiated)
        case UpgradeRefused(status=status, retry_after=wait_s):
            return _answered(status, wait_s, used_id=negotiated)
        case TryLater(retry_after_s=wait_s):
            return Verdict(Action.RETRY, wait_s, "rest")
        case NegotiateRefused(status=status, retry_after_s=wait_s):
            return _answered(status, wait_s, used_id=False)
        case _:
            return None


def _closed(code: int, *, broke: bool) -> Verdict:
    if code == _ABNORMAL:
        return _retry("reset" if broke else "hung_up")
    return _login("close_1008") if code == _POLICY else _retry(f"close_{code}")


def _answered(status: int, retry_after_s: float | None, *, used_id: bool) -> Verdict:
    """Return the verdict on an HTTP status that stood in the way of a connection."""
    match status:
        case 401:
            return _login("unauthorized")
        case 403:
            return _fatal("forbidden")
        case 404:
            return _retry("stale_id") if used_id else _fatal("no_hub")
        case _:
            return Verdict(Action.RETRY, retry_after_s, f"http_{status}")


def _why_not_reached(error: BaseException) -> str:
    below = tuple(_below(error, _DEPTH))
    if any(isinstance(each, socket.gaierror) for each in below):
        return "dns"
    if any(isinstance(each, ConnectionRefusedError) for each in below):
        return "refused"
    return "unreachable"


def _below(exc: BaseException, depth: int) -> Iterator[BaseException]:
    """Give ``exc`` and its causes; trio puts one for each address of a host into a group."""
    yield exc
    if depth == 0:
        return
    if exc.__cause__ is not None:
        yield from _below(exc.__cause__, depth - 1)
    if isinstance(exc, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from _below(each, depth - 1)
