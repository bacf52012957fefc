"""SignalR's negotiate request and the hub's WebSocket URL, as pure functions (SIGNALR.md section 1)."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import attrs
import msgspec

from trio_projectx._errors import ConnectError
from trio_projectx._redact import escape

#: The official JavaScript client gives up after as many.
MAX_REDIRECTS: Final = 100


@attrs.frozen(slots=True)
class Negotiated:
    """The hub granted a connection: ``connection_token`` goes into ``id=`` and is a secret."""

    connection_token: str = attrs.field(repr=False)
    connection_id: str | None
    stateful: bool = False


@attrs.frozen(slots=True)
class Redirected:
    """The hub sends us elsewhere, perhaps with another token for there."""

    url: str = attrs.field(repr=False)
    access_token: str | None = attrs.field(repr=False)


class _Transport(msgspec.Struct):
    transport: str
    transferFormats: list[str] = []  # noqa: N815  the wire's name


class _Wire(msgspec.Struct):
    negotiateVersion: int = 0  # noqa: N815
    connectionId: str | None = None  # noqa: N815
    connectionToken: str | None = None  # noqa: N815
    availableTransports: list[_Transport] = []  # noqa: N815
    useStatefulReconnect: bool = False  # noqa: N815
    url: str | None = None
    accessToken: str | None = None  # noqa: N815
    error: str | None = None
    ProtocolVersion: str | None = None


def negotiate_url(hub_url: str) -> str:
    """Return the URL to POST to; the hub URL's own query is kept."""
    parts = urlsplit(hub_url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("negotiateVersion", "1")])
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/negotiate", query, ""))


def parse_negotiation(body: bytes) -> Negotiated | Redirected:
    """Read the answer to a negotiate request.

    :raises ConnectError: if it is no such answer, holds an error, is ASP.NET SignalR's (not Core's), or offers no
        WebSocket with text.
    """
    try:
        wire = msgspec.json.decode(body, type=_Wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConnectError(f"negotiate: the answer is not a SignalR hub's ({escape(str(exc))}); check the URL") from exc
    if wire.error:
        raise ConnectError(f"negotiate: the hub answered with an error: {escape(wire.error)}")
    if wire.ProtocolVersion is not None:
        raise ConnectError("negotiate: this is an old ASP.NET SignalR server; ASP.NET Core SignalR is needed")
    if wire.url:
        return Redirected(wire.url, wire.accessToken)
    token = wire.connectionToken if wire.negotiateVersion >= 1 else wire.connectionId
    if not token:
        raise ConnectError("negotiate: the answer names no connection; check the hub's URL")
    if not any(t.transport == "WebSockets" and "Text" in t.transferFormats for t in wire.availableTransports):
        raise ConnectError("negotiate: the hub offers no WebSocket with text frames, and nothing else is spoken here")
    return Negotiated(token, wire.connectionId, wire.useStatefulReconnect)


def check_redirect(here: str, there: str) -> str:
    """Return the URL ``there`` if it has the origin of ``here``: a token is never sent to another.

    :raises ConnectError: if it has not.
    """
    a, b = urlsplit(here), urlsplit(there)
    if _origin(a.scheme, a.hostname, a.port) != _origin(b.scheme, b.hostname, b.port):
        raise ConnectError(f"negotiate: refused to follow a redirect to another origin ({escape(b.hostname or '?')})")
    return there


def websocket_url(hub_url: str, *, connection_token: str | None = None, access_token: str | None = None) -> str:
    """Return the URL of the hub's WebSocket; what is put into its query is percent-encoded, and is secret."""
    parts = urlsplit(hub_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    extra = [("id", connection_token), ("access_token", access_token)]
    query = "&".join([parts.query, *(f"{name}={quote(value, safe='')}" for name, value in extra if value)])
    return urlunsplit((scheme, parts.netloc, parts.path, query.strip("&"), ""))


def _origin(scheme: str, host: str | None, port: int | None) -> tuple[str, str | None, int]:
    secure = scheme in ("https", "wss")
    return ("s" if secure else "", host, port or (443 if secure else 80))
