"""Every exception this library raises, by who is at fault.

::

    TrioProjectXError
    |-- ConfigError (ValueError)             you: options that cannot work together or at all
    |   |-- TimeframeError                   you: a timeframe that is not one, or not offered here
    |   `-- ContractError                    you: a contract, ticker or product nobody knows
    |-- ConnectError                         the way to the service: no connection was made
    |   `-- ConnectTimeout                   ... within its deadline
    |-- AuthError                            the service: it refused the credentials or the token
    |-- GatewayError                         the service: it answered and said no
    |   `-- SubscriptionError                ... to one subscription
    |-- ProtocolError                        the service: what it sent breaks the protocol
    |-- SlowConsumer                         you: a stream was read more slowly than it filled
    |-- MemoryExhausted                      the machine: there is no memory left; start again (exit code 75)
    `-- ConnectionLost (BrokenResourceError) the way to the service: a live hub is gone for good

Foreign exceptions (of trio-websocket, httpx2, ssl, sockets) are mapped to these once, at the edge, and stay
visible as ``__cause__``. No message ever holds a token, an API key or the query of a URL.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from trio_projectx._redact import hide


class TrioProjectXError(Exception):
    """The base of all errors of this library: ``except TrioProjectXError`` catches just them."""


class ConfigError(TrioProjectXError, ValueError):
    """An option, or a set of options, that cannot be honoured; the text names it and what to do."""


class TimeframeError(ConfigError):
    """Not a timeframe, or one that is not offered under the anchor asked for."""


class ContractError(ConfigError):
    """A contract id, ticker or product that is malformed or that the service does not know."""


class ConnectError(TrioProjectXError):
    """No connection could be made: unreachable, refused, bad TLS, or an answer that is no gateway's."""


class ConnectTimeout(ConnectError):
    """The other side did not answer within the deadline of this step (the text names step and seconds)."""


class AuthError(TrioProjectXError):
    """The service refused the credentials or the token."""


class GatewayError(TrioProjectXError):
    """The service answered, and the answer is no.

    ``code`` is the service's own integer (``errorCode``), or the HTTP status, or None if it gave none;
    ``text`` is its own message, escaped and capped.
    """

    def __init__(self, message: str, code: int | None = None, text: str | None = None) -> None:
        super().__init__(message, code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return str(self.args[0])


class SubscriptionError(GatewayError):
    """The hub refused one subscription, or did not acknowledge it in time; other streams are not touched."""


class ProtocolError(TrioProjectXError):
    """The other side sent what the SignalR hub protocol or the Gateway's wire does not allow."""


class SlowConsumer(TrioProjectXError):
    """A stream with overflow policy ``ERROR`` was read too slowly, and items had to be dropped.

    ``lost`` is how many items of this stream were dropped, all of them counted in its statistics.
    """

    def __init__(self, message: str, lost: int = 0) -> None:
        super().__init__(message, lost)
        self.lost = lost

    def __str__(self) -> str:
        return str(self.args[0])


class MemoryExhausted(TrioProjectXError):
    """Memory came to its last level (`MemoryLevel.LAST`): what was read reached its streams, and the gateway ended.

    It comes out of ``receive()`` behind what waited, and out of `open_gateway`, journals being sealed on the way. A
    program that leaves with `exit_code` can be started again by whatever watches it (docs/memory.md).
    """

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: try again."""


class ConnectionLost(TrioProjectXError, trio.BrokenResourceError):
    """A hub that was live is gone for good; raised by ``receive()`` of each stream it fed."""


def again(exc: TrioProjectXError) -> TrioProjectXError:
    """Return a new exception equal to ``exc``, for raising one stored failure in several tasks.

    Raising the same object twice would let the tasks' tracebacks grow into each other.
    """
    new = type(exc)(*exc.args)
    new.__cause__ = exc.__cause__
    return new


def cleaned(exc: TrioProjectXError, secrets: Iterable[str]) -> TrioProjectXError:
    """Return ``exc``, or, if one of ``secrets`` stands in it or its causes, a new one without it."""
    secrets = tuple(secrets)
    args = tuple(hide(arg, secrets) if isinstance(arg, str) else arg for arg in exc.args)
    cause = exc.__cause__
    clean_cause = cleaned(cause, secrets) if isinstance(cause, TrioProjectXError) else cause
    if args == exc.args and clean_cause is cause:
        return exc
    new = type(exc)(*args)
    new.__cause__ = clean_cause
    return new
