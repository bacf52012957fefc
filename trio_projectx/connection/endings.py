"""How a connection of a hub may end, where the public errors say too little: what `verdict` tells apart.

Users see them as the `ConnectionLost` and `ConnectError` that they are. Each is made again from its ``args`` (see
`trio_projectx._errors.again` and ``cleaned``), so that every fact is one of them.
"""

from __future__ import annotations

from trio_projectx._errors import ConnectError, ConnectionLost


class HubClosed(ConnectionLost):
    """The hub sent a Close record. ``text`` is its own, escaped; "" where it gave none."""

    def __init__(self, message: str, allow_reconnect: bool, text: str = "") -> None:
        super().__init__(message, allow_reconnect, text)
        self.allow_reconnect = allow_reconnect
        self.text = text

    def __str__(self) -> str:
        return str(self.args[0])


class LoggedOut(ConnectionLost):
    """The service told that this session is over (``GatewayLogout``)."""


class Silent(ConnectionLost):
    """The connection stood, and nothing came that should have."""


class HandshakeRefused(ConnectError):
    """The hub answered the handshake with an error; ``text`` is its own, escaped.

    An answer that is no handshake response is a `ProtocolError` instead: that may be better the next time.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message, text)
        self.text = text

    def __str__(self) -> str:
        return str(self.args[0])


class NoSuchHub(ConnectError):
    """The upgrade was answered with HTTP 404: no hub, or, where an ``id=`` was sent, no such connection."""


class NegotiateRefused(ConnectError):
    """The negotiate request was answered with another HTTP status than 200.

    ``retry_after_s`` is the time that the answer asks to wait, or None.
    """

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, status, retry_after_s)
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])
