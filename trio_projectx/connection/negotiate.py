"""SignalR's negotiate request and the hub's WebSocket URL, as pure functions (SIGNALR.md section 1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, quote, urlsplit, urlunsplit

import attrs
import msgspec

from trio_projectx._errors import ConnectError
from trio_projectx._redact import escape
from trio_projectx.connection.auth import is_token

#: The official JavaScript client gives up after as many.
MAX_REDIRECTS: Final = 100
_Origin: TypeAlias = tuple[bool, str, int]
_SECURE: Final = MappingProxyType({"http": False, "ws": False, "https": True, "wss": True})


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
    """Return the URL to POST to; the hub URL's own query is kept as it is."""
    parts = urlsplit(hub_url)
    # A redirect may say it already (the official JavaScript client looks, too).
    said = "negotiateVersion" in parse_qs(parts.query, keep_blank_values=True)
    query = parts.query if said else f"{parts.query}&negotiateVersion=1".strip("&")
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/negotiate", query, ""))


def parse_negotiation(body: bytes) -> Negotiated | Redirected:
    """Read the answer to a negotiate request.

    :raises ConnectError: if it is no such answer, holds an error or a token that is none, is ASP.NET
        SignalR's (not Core's), or offers no WebSocket with text.
    """
    try:
        wire = msgspec.json.decode(body, type=_Wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConnectError(
            f"negotiate: not a SignalR hub answered ({escape(str(exc))}); check the URL"
        ) from exc
    if wire.error:
        raise ConnectError(f"negotiate: the hub answered with an error: {escape(wire.error)}")
    if wire.ProtocolVersion is not None:
        raise ConnectError("negotiate: this is an old ASP.NET SignalR server; ASP.NET Core SignalR is needed")
    if wire.url:
        if wire.accessToken and not is_token(wire.accessToken):
            raise ConnectError("negotiate: the redirect's token holds a character that no token has")
        return Redirected(wire.url, wire.accessToken)
    token = wire.connectionToken if wire.negotiateVersion >= 1 else wire.connectionId
    if not token:
        raise ConnectError("negotiate: the answer names no connection; check the hub's URL")
    if not any(t.transport == "WebSockets" and "Text" in t.transferFormats for t in wire.availableTransports):
        raise ConnectError(
            "negotiate: the hub offers no WebSocket with text frames, and nothing else is spoken here"
        )
    return Negotiated(token, wire.connectionId, wire.useStatefulReconnect)


def check_redirect(here: str, there: str, allowed: Sequence[str] = ()) -> str:
    """Return the URL ``there`` if the token may go there: to the origin of ``here``, or to one that is ``allowed``.

    A token that was safe on its way stays so: not even an allowed origin may take it off TLS, or off this machine
    in clear text.

    :raises ConnectError: if it may not, or ``there`` is no URL.
    """
    if not (there.isascii() and there.isprintable()) or " " in there:
        raise ConnectError("negotiate: the hub redirects to something that is no URL")
    try:
        target = urlsplit(there)
        origin = None if "@" in target.netloc else _origin(target)
    except ValueError:  # a port or an IPv6 address that is none
        raise ConnectError("negotiate: the hub redirects to something that is no URL") from None
    shown = escape(target.hostname or "?")
    home = _origin(urlsplit(here))
    if origin is None or (origin != home and origin not in {_origin(urlsplit(each)) for each in allowed}):
        raise ConnectError(f"negotiate: refused to follow a redirect to another origin ({shown})")
    if origin != home and not _is_as_safe(origin, home):
        raise ConnectError(
            f"negotiate: refused to follow a redirect that would send the token in clear ({shown})"
        )
    return there


def websocket_url(
    hub_url: str, *, connection_token: str | None = None, access_token: str | None = None
) -> str:
    """Return the URL of the hub's WebSocket; what is put into its query is percent-encoded, and secret."""
    parts = urlsplit(hub_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    extra = [("id", connection_token), ("access_token", access_token)]
    query = "&".join([parts.query, *(f"{name}={quote(value, safe='')}" for name, value in extra if value)])
    return urlunsplit((scheme, parts.netloc, parts.path, query.strip("&"), ""))


def _is_as_safe(there: _Origin, here: _Origin | None) -> bool:
    """Whether a token is as safe at ``there`` as it was: under TLS, on this machine, or else no worse than before."""
    return there[0] or is_loopback(there[1]) or not (here is None or here[0] or is_loopback(here[1]))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(url: SplitResult) -> _Origin | None:
    secure = _SECURE.get(url.scheme)
    if secure is None or not url.hostname:
        return None
    return secure, url.hostname, url.port or (443 if secure else 80)
