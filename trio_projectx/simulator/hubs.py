"""The hubs: who may come in (negotiate and upgrade), who is in, and what is done to those who are."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from typing import Final

import attrs
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_server_stream
from wsproto.utilities import ProtocolError as WireError

from trio_projectx._logs import fields
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.http import JsonBody, Request, Response, Upgrade, json_response
from trio_projectx.simulator.identity import Identity
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.methods import Around, HubMethods
from trio_projectx.simulator.outgoing import event
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.streams import PrefixedStream
from trio_projectx.simulator.tokens import TokenError, TokenOffice
from trio_projectx.simulator.transports import Transport
from trio_projectx.simulator.user_events import UserAction, UserKind, publish

_log = logging.getLogger("trio_projectx")

#: ``silent`` is a market hub that never pings (CONTROL.md).
HUBS: Final = ("market", "user", "silent")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
#: Ids from negotiate that wait for their WebSocket; the oldest goes when there are more.
_NEGOTIATED_MAX: Final = 1024
#: One message (not record) of a client; the real server has no such limit, records are bounded by themselves.
_MESSAGE_BYTES: Final = 1 << 20
_TRANSPORT: Final[JsonBody] = {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}
_INT32: Final = re.compile(r"[+-]?[0-9]{1,10}")
#: What comes of a client that is no WebSocket or goes: wsproto's own errors escape trio-websocket's reader.
_BREACHES: Final = (
    WireError,
    HandshakeError,
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@attrs.frozen(slots=True)
class _Negotiated:
    """An id that negotiate gave out and that waits for its WebSocket."""

    connection_id: str
    until: float
    may_resume: bool


class Hubs:
    """All hubs of a simulator; a link is found by its connection id."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenOffice,
        exchange: Exchange,
        counters: Counters,
        around: Around | None = None,
    ) -> None:
        self.links: dict[str, Link] = {}
        self._settings = settings
        self._tokens = tokens
        self._exchange = exchange
        self._counters = counters
        self._methods = HubMethods(exchange, around)
        self._negotiated: dict[str, _Negotiated] = {}
        self._in_use: dict[str, Link | None] = {}
        self._made = 0
        self._left = trio.lowlevel.ParkingLot()

    def answer(self, request: Request) -> Response | Upgrade:
        """Answer a request below ``/hubs/``; an `Upgrade` is to be followed by `serve`."""
        hub, _, rest = request.path.removeprefix("/hubs/").partition("/")
        if hub not in HUBS or rest not in ("", "negotiate"):
            return Response(404)
        try:
            token, token_from = _token(request)
            user = self._tokens.check(token)
        except TokenError:
            return Response(401, headers=(("WWW-Authenticate", "Bearer"),))
        if rest:
            return self._negotiate(request)
        return self._upgrade(request, hub, user, token_from, self._tokens.expires_ns(token))

    async def serve(self, stream: trio.abc.Stream, upgrade: Upgrade, trailing: bytes) -> None:
        """Be the hub on ``stream``, from the answer to the upgrade to the end of the connection."""
        returning = self._in_use.get(upgrade.ticket or "")
        try:
            if returning is None:
                await self._welcome(stream, upgrade, trailing)
            elif await returning.displace():
                async with trio.open_nursery() as nursery:
                    await returning.resume(await self._accept(nursery, stream, upgrade, trailing))
                    nursery.cancel_scope.cancel(reason="the transport is over")
            else:
                await stream.send_all(_NOT_FOUND)
        except* _BREACHES as group:
            self._counters.broken_off += 1
            _log.debug(
                "a client broke the WebSocket protocol: %r", group, extra=fields("client_broke_protocol")
            )

    async def close_all(self, last: str, grace_s: float) -> None:
        """Close every hub connection with the record ``last``; those that take longer are dropped."""
        for link in list(self.links.values()):
            link.finish(last)
        with trio.move_on_after(grace_s):
            while self.links:
                await self._left.park()
        for link in list(self.links.values()):
            link.drop()

    def publish(
        self, kind: UserKind, account_id: int, action: UserAction, entity: Mapping[str, JsonBody]
    ) -> int:
        """Send an event of ``account_id`` to its subscribers on the user hub; return how many there were.

        ``entity`` is the whole entity as in REST; what is null in it is left out, as on the live stream. Its
        place in the order of events is that of this call.
        """
        return publish(self.links.values(), kind, account_id, action, entity)

    def log_out(self, connection_id: str | None = None) -> int:
        """Send ``GatewayLogout`` to one connection, or to all of both hubs; return to how many.

        Its payload is documented nowhere; it has none here.
        """
        picked = [link for name, link in self.links.items() if connection_id in (None, name)]
        for link in picked:
            if not link.outbox.offer(event("GatewayLogout", ())):
                link.drop_slow()
        return len(picked)

    async def _welcome(self, stream: trio.abc.Stream, upgrade: Upgrade, trailing: bytes) -> None:
        """Serve a new connection from its upgrade to its end."""
        link = Link(
            upgrade.identity, self._settings, self._counters, self._methods, may_resume=upgrade.may_resume
        )
        try:
            async with trio.open_nursery() as nursery:
                transport = await self._accept(nursery, stream, upgrade, trailing)
                if upgrade.may_resume and upgrade.ticket is not None:
                    self._in_use[upgrade.ticket] = link
                await self._run(link, transport)
                nursery.cancel_scope.cancel(reason="the hub connection is over")
        finally:
            self._in_use.pop(upgrade.ticket or "", None)

    async def _accept(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, upgrade: Upgrade, trailing: bytes
    ) -> Transport:
        # trio-websocket gets a request of our own making: nothing of the client's but its key (no token that
        # it would log, no host that it would fail to decode, no subprotocol or extension to answer).
        head = (
            f"GET /hubs/{upgrade.identity.hub} HTTP/1.1\r\nHost: simulator\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {upgrade.key}\r\n\r\n"
        ).encode("ascii")
        prefixed = PrefixedStream(stream, head, trailing)
        request = await wrap_server_stream(
            nursery, prefixed, max_message_size=_MESSAGE_BYTES, receive_buffer_size=None
        )
        with trio.fail_after(self._settings.send_s):
            ws = await request.accept()
        prefixed.open()
        return Transport(ws, stream, upgrade.expires_ns, self._settings.record_bytes)

    async def _run(self, link: Link, transport: Transport) -> None:
        connection_id = link.identity.connection_id
        self.links[connection_id] = link
        self._counters.hub_connections += 1
        try:
            self._counters.last_disconnect = await link.run(transport)
        except Exception:  # noqa: BLE001 -- a bug here must not take the other connections with it; it is counted and told
            self._counters.crashes += 1
            _log.exception("the simulator failed on a hub connection", extra=fields("simulator_failed"))
        finally:
            self._exchange.leave(link)
            del self.links[connection_id]
            self._left.unpark_all()
            self._counters.disconnects += 1

    def _negotiate(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(405, headers=(("Allow", "POST"),))
        asked = request.query.get("negotiateversion", "0")
        if not _INT32.fullmatch(asked) or abs(int(asked)) >= 1 << 31:
            return json_response({"error": "The client requested a non-integer protocol version."})
        version = int(asked)
        if version < 0:
            told = f"The client requested version '{version}', but the server does not support this version."
            return json_response({"error": told})
        may_resume = request.query.get("usestatefulreconnect", "").lower() == "true"
        public, secret = self._new_id(), self._new_id()
        body: dict[str, JsonBody] = {"useStatefulReconnect": True} if may_resume else {}
        body |= {"negotiateVersion": min(version, 1), "connectionId": public}
        if version:
            body["connectionToken"] = secret
        body["availableTransports"] = [_TRANSPORT]
        self._remember(secret if version else public, public, may_resume=may_resume)
        return json_response(body)

    def _remember(self, token: str, connection_id: str, *, may_resume: bool) -> None:
        now = trio.current_time()
        self._negotiated = {key: value for key, value in self._negotiated.items() if value.until > now}
        if len(self._negotiated) >= _NEGOTIATED_MAX:
            del self._negotiated[next(iter(self._negotiated))]
        until = now + self._settings.negotiated_s
        self._negotiated[token] = _Negotiated(connection_id, until, may_resume)

    def _upgrade(
        self, request: Request, hub: str, user: str, token_from: str, expires_ns: int
    ) -> Response | Upgrade:
        if request.method not in ("GET", "POST", "DELETE"):
            return Response(405, headers=(("Allow", "GET, POST, DELETE"),))
        ticket, key = request.query.get("id"), _websocket_key(request)
        if ticket is None:
            if key is None:
                return Response(400, b"Connection ID required")
            identity = Identity(self._new_id(), hub, user, token_from)
            return Upgrade(key, identity, None, expires_ns)
        link = self._in_use.get(ticket)
        if link is not None and key is not None:
            return Upgrade(key, link.identity, ticket, expires_ns)
        if ticket in self._in_use:
            return Response(409)
        known = self._negotiated.get(ticket)
        if key is None or known is None or trio.current_time() >= known.until:
            return Response(404, b"No Connection with that ID")
        del self._negotiated[ticket]
        self._in_use[ticket] = None
        identity = Identity(known.connection_id, hub, user, token_from)
        return Upgrade(key, identity, ticket, expires_ns, known.may_resume)

    def _new_id(self) -> str:
        self._made += 1
        return hashlib.sha256(f"{self._settings.seed}/connection/{self._made}".encode()).hexdigest()[:22]


def _token(request: Request) -> tuple[str, str]:
    """Return the token and where it was; a bad header is not rescued by a good query."""
    scheme, space, token = request.headers.get("authorization", "").partition(" ")
    if space and scheme.lower() == "bearer":
        return token.strip(), "header"
    return request.query.get("access_token", ""), "query"


def _websocket_key(request: Request) -> str | None:
    """Return the key of an upgrade to a WebSocket that can be; None for any other request."""
    headers = request.headers
    tokens = [part.strip().lower() for part in headers.get("connection", "").split(",")]
    key = headers.get("sec-websocket-key", "")
    is_upgrade = (
        request.method == "GET"
        and headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in tokens
        and headers.get("sec-websocket-version") == "13"
    )
    return key if is_upgrade and _KEY.fullmatch(key) else None
