"""The first record of each direction, for both sides; it has no ``type`` and is no message."""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from trio_projectx._errors import ProtocolError
from trio_projectx.signalr import _wire
from trio_projectx.signalr._messages import RECORD_SEPARATOR
from trio_projectx.signalr.codec import UNREADABLE, unreadable
from trio_projectx.signalr.errors import LocalProtocolError

_REQUESTS: Final = msgspec.json.Decoder(_wire.HandshakeRequest)
_RESPONSES: Final = msgspec.json.Decoder(_wire.HandshakeResponse)


@attrs.frozen(slots=True)
class HandshakeRequest:
    """What the client wants to speak: ``protocol`` "json", ``version`` 1 (2 for stateful reconnect)."""

    protocol: str = "json"
    version: int = 1


@attrs.frozen(slots=True)
class HandshakeResponse:
    """The server's answer; it agrees unless ``error`` holds text (empty text is no error to both clients)."""

    error: str | None = None
    minor_version: int | None = None


def parse_handshake_request(record: str) -> HandshakeRequest:
    """Return the request in one record (without its separator), as a server reads it.

    :raises ProtocolError: ``protocol`` or ``version`` is missing or no str and int, or it is no JSON object.
    """
    try:
        request = _REQUESTS.decode(record)
    except UNREADABLE as exc:
        raise unreadable("the handshake request", exc) from None
    return HandshakeRequest(request.protocol, request.version)


def parse_handshake_response(record: str) -> HandshakeResponse:
    """Return the answer in one record (without its separator), as a client reads it.

    :raises ProtocolError: it is no JSON object, or it is a hub record (it has a ``type``). Unknown fields are
        ignored.
    """
    try:
        response = _RESPONSES.decode(record)
    except UNREADABLE as exc:
        raise unreadable("the handshake response", exc) from None
    if response.type is not msgspec.UNSET:
        raise ProtocolError("Expected a handshake response from the server, but a hub record came")
    return HandshakeResponse(response.error, response.minor_version)


def write_handshake_request(request: HandshakeRequest) -> str:
    """Return ``request`` as one record, its separator included.

    :raises LocalProtocolError: the protocol's name cannot be said in UTF-8.
    """
    return _written(_wire.HandshakeRequest(request.protocol, request.version))


def write_handshake_response(response: HandshakeResponse) -> str:
    """Return ``response`` as one record, its separator included; ``{}`` when it just agrees.

    :raises LocalProtocolError: the error's text cannot be said in UTF-8.
    """
    return _written(_wire.HandshakeResponse(response.error, response.minor_version))


def _written(record: msgspec.Struct) -> str:
    try:
        return msgspec.json.encode(record).decode() + RECORD_SEPARATOR
    except UnicodeError:
        raise LocalProtocolError("the handshake holds text that is not Unicode (a lone surrogate)") from None
