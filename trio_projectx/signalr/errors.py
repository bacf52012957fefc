"""The one error that this package adds: a fault on our side of the protocol."""

from __future__ import annotations

from trio_projectx._errors import ProtocolError


class LocalProtocolError(ProtocolError, ValueError):
    """We were about to do what the hub protocol does not allow; nothing was sent and nothing changed.

    It is a bug of the caller, or a call made while the connection is not there. What the other side does
    wrong raises a plain `ProtocolError` or becomes an event.
    """
