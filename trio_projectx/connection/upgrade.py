"""The HTTP around a WebSocket: what its URL names, what goes with the request, what a refusal says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import attrs
import h11

from trio_projectx._errors import ConfigError, ConnectError
from trio_projectx._redact import escape

ANSWER_LIMIT: Final = 64 << 10
"""The longest answer to an upgrade that is read, in bytes, if it is no 101."""

_SCHEMES: Final = ("http", "https", "ws", "wss")
_HEADER_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(rb"[!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?")


class UpgradeRefused(ConnectError):
    """The server answered the WebSocket upgrade with something else than 101.

    ``status`` is the HTTP status; ``retry_after`` the seconds it asks to wait, or None; ``text`` the answer's
    body, escaped and capped. No redirect is followed: the token would go where nobody sent it.
    """

    def __init__(self, message: str, status: int, retry_after: float | None = None, text: str = "") -> None:
        super().__init__(message, status, retry_after, text)
        self.status = status
        self.retry_after = retry_after
        self.text = text

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def is_auth(self) -> bool:
        """Whether it is the token that was refused (401 or 403)."""
        return self.status in (401, 403)


@attrs.frozen(slots=True)
class Target:
    """What a WebSocket's URL names; ``resource`` is path and query, and a query may hold a token."""

    host: str
    port: int
    tls: bool
    resource: str = attrs.field(repr=False)

    @property
    def where(self) -> str:
        """Host and port, for a sentence."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of the Host header: without the port where it is the scheme's own."""
        is_default = self.port == (443 if self.tls else 80)
        return self.where.removesuffix(f":{self.port}") if is_default else self.where


def parse_target(url: str) -> Target:
    """Take apart a URL of one of the schemes http, https, ws and wss.

    :raises ConfigError: it is none, or cannot be sent as it is. The text never quotes it: what h11 or a codec
        would say of it later does, token and all.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ConfigError("a WebSocket URL holds a character that no URL has; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("a WebSocket URL is malformed") from None
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0 or "@" in parts.netloc:
        raise ConfigError("a WebSocket URL must look like wss://host/path, without user or password")
    tls = parts.scheme in ("https", "wss")
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, port or (443 if tls else 80), tls, resource)


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return ``headers`` as a list; raise `ConfigError`, which quotes no value, if HTTP cannot carry them."""
    for name, value in headers:
        if _HEADER_NAME.fullmatch(name) is None:
            raise ConfigError("a header's name holds a character that no header name has")
        if _HEADER_VALUE.fullmatch(value) is None:
            raise ConfigError(f"the value of the header {name.decode()} holds a character that no value has")
    return list(headers)


def read_refusal(answer: bytes, where: str) -> UpgradeRefused | None:
    """Read an answer, whole or cut, as a refusal of the upgrade; None if not even its head is there."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_LIMIT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "host")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(answer)
    response: h11.Response | h11.InformationalResponse | None = None
    body = bytearray()
    try:
        while isinstance(event := parser.next_event(), (h11.Response, h11.InformationalResponse, h11.Data)):
            if isinstance(event, h11.Data):
                body += event.data
            else:
                response = event
    except h11.RemoteProtocolError:
        pass  # what was read until there counts
    if response is None:
        return None
    text = escape(body.decode("utf-8", "replace").strip(), 500)
    message = f"{where} refused the WebSocket with HTTP {response.status_code}" + (
        f": {text}" if text else ""
    )
    return UpgradeRefused(message, response.status_code, _retry_after(response), text)


def _retry_after(response: h11.Response | h11.InformationalResponse) -> float | None:
    """Return Retry-After in seconds (RFC 9110 section 10.2.3); a date counts from the answer's own Date."""
    values = {name: value.decode("latin-1").strip() for name, value in response.headers}
    wanted = values.get(b"retry-after", "")
    if re.fullmatch("[0-9]{1,9}", wanted):
        return float(wanted)
    try:
        wait = parsedate_to_datetime(wanted) - parsedate_to_datetime(values.get(b"date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())
