"""The address of a hub's next connection: its URL and headers, after negotiating where that is asked for."""

from __future__ import annotations

import attrs
import trio

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import AuthError, ConnectError, ConnectTimeout, TrioProjectXError, cleaned
from trio_projectx._redact import escape
from trio_projectx.connection.answers import Answer
from trio_projectx.connection.auth import TokenRefused
from trio_projectx.connection.endings import NegotiateRefused
from trio_projectx.connection.negotiate import (
    MAX_REDIRECTS,
    Redirected,
    check_redirect,
    negotiate_url,
    parse_negotiation,
    websocket_url,
)
from trio_projectx.connection.rest import RestClient


@attrs.frozen(slots=True)
class Where:
    """One connection's URL and headers; both may hold secrets."""

    url: str = attrs.field(repr=False)
    headers: list[tuple[bytes, bytes]] = attrs.field(repr=False)


@attrs.frozen(slots=True)
class HubAddress:
    """Finds out where to connect to; negotiates anew for each connection (an id serves once)."""

    hub_url: str
    config: GatewayConfig
    rest: RestClient = attrs.field(repr=False)

    async def resolve(self, token: str) -> Where:
        """Return where to connect with ``token``.

        :raises TokenRefused: if negotiate answers 401.
        :raises AuthError: if it forbids the user (403).
        :raises ConnectError: for any other answer that is no hub's grant (`NegotiateRefused` for an HTTP status), or
            where there is none within ``connect_s``, redirects included.
        :raises ProtocolError: if an answer is longer than the limit, or compressed.
        """
        url, connection_token = self.hub_url, None
        if self.config.negotiate:
            url, connection_token, token = await self._negotiate(token)
        in_query = self.config.token_transport == "query"  # noqa: S105  a choice, no secret
        access_token = token if in_query else None
        where = websocket_url(url, connection_token=connection_token, access_token=access_token)
        return Where(where, [] if in_query else [bearer(token)])

    async def _negotiate(self, token: str) -> tuple[str, str, str]:
        seconds = self.config.timeouts.connect_s
        sent = [token]
        with trio.move_on_after(seconds):
            try:
                return await self._follow(sent, seconds)
            except TrioProjectXError as exc:
                refusal = exc
            raise cleaned(refusal, sent)  # the other side may echo what it was sent
        raise ConnectTimeout(f"negotiate: no connection was granted within {seconds:g} s")

    async def _follow(self, sent: list[str], seconds: float) -> tuple[str, str, str]:
        """Negotiate, and again where redirects lead; ``sent`` begins with the token, and gets those of redirects."""
        url = self.hub_url
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Authorization": f"Bearer {sent[-1]}"}
            answer = await self.rest.post(negotiate_url(url), b"", headers, seconds)
            _check(answer)
            found = parse_negotiation(answer.body)
            if not isinstance(found, Redirected):
                return url, found.connection_token, sent[-1]
            url = check_redirect(self.hub_url, found.url, self.config.redirect_origins)
            if found.access_token:
                sent.append(found.access_token)
        raise ConnectError(f"negotiate: more than {MAX_REDIRECTS} redirects; the service runs in a circle")


def bearer(token: str) -> tuple[bytes, bytes]:
    """Return the header that carries a token."""
    return b"Authorization", b"Bearer " + token.encode("ascii")


def _check(answer: Answer) -> None:
    text = escape(answer.body[:400].decode("utf-8", "replace"))
    match answer.status:
        case 200:
            return
        case 401:
            raise TokenRefused("negotiate: the hub refused the token (HTTP 401)")
        case 403:
            raise AuthError(f"negotiate: the hub forbids this user (HTTP 403): {text}")
        case 404 | 405:
            why = f"there is no hub at this address (HTTP {answer.status}); check the hub's URL"
        case _:
            why = f"HTTP {answer.status}: {text or 'no text'}"
    raise NegotiateRefused(f"negotiate: {why}", answer.status, answer.retry_after_s)
