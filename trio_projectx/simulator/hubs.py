"""The hubs: who may come in (negotiate and upgrade), who is in, and what is done to those who are."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Final

import trio
from trio_websocket import wrap_server_stream

from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.http import JsonBody, Request, Response, Upgrade, json_response, problem
from trio_projectx.simulator.identity import Identity
from trio_projectx.simulator.link import Link
from trio_projectx.simulator.methods import HubMethods
from trio_projectx.simulator.settings import Counters, Settings
from trio_projectx.simulator.streams import PrefixedStream
from trio_projectx.simulator.tokens import TokenError, TokenOffice

_log = logging.getLogger("trio_projectx")

#: ``silent`` is a market hub that never pings (CONTROL.md).
HUBS: Final = ("market", "user", "silent")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
#: Ids from negotiate that wait for their WebSocket; the oldest goes when there are more.
_NEGOTIATED_MAX: Final = 1024
#: One message (not record) of a client; the real server has no such limit, records are bounded by themselves.
_MESSAGE_BYTES: Final = 1 << 20
_TRANSPORT: Final[JsonBody] = {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}


class Hubs:
    """All hubs of a simulator; a link is found by its connection id."""

    def __init__(
        self, settings: Settings, tokens: TokenOffice, exchange: Exchange, counters: Counters
    ) -> None:
        self.links: dict[str, Link] = {}
        self._settings = settings
        self._tokens = tokens
        self._exchange = exchange
        self._counters = counters
        self._methods = HubMethods(exchange)
        self._negotiated: dict[str, tuple[str, float]] = {}
        self._in_use: set[str] = set()
        self._made = 0
        self._left = trio.lowlevel.ParkingLot()

    def answer(self, request: Request) -> Response | Upgrade:
        """Answer a request below ``/hubs/``; an `Upgrade` is to be followed by `serve`."""
        hub, _, rest = request.path.removeprefix("/hubs/").partition("/")
        if hub not in HUBS or rest not in ("", "negotiate"):
            return problem(404, "there is no such hub")
        try:
            user, token_from = self._authenticate(request)
        except TokenError:
            return Response(401, headers=(("WWW-Authenticate", "Bearer"),))
        if rest:
            return self._negotiate(request)
        return self._upgrade(request, hub, user, token_from)

    async def serve(self, stream: trio.abc.Stream, upgrade: Upgrade, trailing: bytes) -> None:
        """Be the hub on ``stream``, from the answer to the upgrade to the end of the connection."""
        # trio-websocket gets a request of our own making: nothing of the client's but its key (no token that
        # it would log, no host that it would fail to decode, no subprotocol or extension to answer).
        head = (
            f"GET /hubs/{upgrade.identity.hub} HTTP/1.1\r\nHost: simulator\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {upgrade.key}\r\n\r\n"
        ).encode("ascii")
        prefixed = PrefixedStream(stream, head, trailing)
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(
                    nursery, prefixed, max_message_size=_MESSAGE_BYTES, receive_buffer_size=None
                )
                with trio.fail_after(self._settings.send_s):
                    ws = await request.accept()
                prefixed.open()
                await self._run(Link(upgrade.identity, ws, stream, self._settings, self._counters))
                nursery.cancel_scope.cancel(reason="the hub connection is over")
        except* Exception as group:  # noqa: BLE001 -- wsproto's own errors escape trio-websocket's reader
            self._counters.broken_off += 1
            _log.debug("a client broke the WebSocket protocol: %r", group)
        finally:
            self._in_use.discard(upgrade.ticket or "")

    async def close_all(self, last: str, grace_s: float) -> None:
        """Close every hub connection with the record ``last``; those that take longer are dropped."""
        for link in list(self.links.values()):
            link.finish(last)
        with trio.move_on_after(grace_s):
            while self.links:
                await self._left.park()
        for link in list(self.links.values()):
            link.drop()

    async def _run(self, link: Link) -> None:
        connection_id = link.identity.connection_id
        self.links[connection_id] = link
        self._counters.hub_connections += 1
        try:
            self._counters.last_disconnect = await link.run(self._methods.invoke)
        except Exception:  # noqa: BLE001 -- a bug here must not take the other connections with it; it is counted and told
            self._counters.crashes += 1
            _log.exception("the simulator failed on a hub connection")
        finally:
            self._exchange.leave(link)
            del self.links[connection_id]
            self._left.unpark_all()
            self._counters.disconnects += 1

    def _authenticate(self, request: Request) -> tuple[str, str]:
        """Return the user and where the token was; a bad header is not rescued by a good query."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.check(token.strip()), "header"
        return self._tokens.check(request.query.get("access_token", "")), "query"

    def _negotiate(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(405, headers=(("Allow", "POST"),))
        asked = request.query.get("negotiateversion", "0")
        try:
            version = int(asked)
        except ValueError:
            return json_response(
                {"error": f"The client requested an invalid protocol version '{asked[:20]}'"}
            )
        if version < 0:
            told = f"The client requested version '{version}', but the server does not support this version."
            return json_response({"error": told})
        public, secret = self._new_id(), self._new_id()
        body: dict[str, JsonBody] = {
            "negotiateVersion": min(version, 1),
            "connectionId": public,
            "availableTransports": [_TRANSPORT],
        }
        if version:
            body["connectionToken"] = secret
        self._remember(secret if version else public, public)
        return json_response(body)

    def _remember(self, token: str, connection_id: str) -> None:
        now = trio.current_time()
        self._negotiated = {key: value for key, value in self._negotiated.items() if value[1] > now}
        if len(self._negotiated) >= _NEGOTIATED_MAX:
            del self._negotiated[next(iter(self._negotiated))]
        self._negotiated[token] = (connection_id, now + self._settings.negotiated_s)

    def _upgrade(self, request: Request, hub: str, user: str, token_from: str) -> Response | Upgrade:
        if request.method not in ("GET", "POST", "DELETE"):
            return Response(405, headers=(("Allow", "GET, POST, DELETE"),))
        headers = request.headers
        tokens = [part.strip().lower() for part in headers.get("connection", "").split(",")]
        is_websocket = headers.get("upgrade", "").lower() == "websocket" and "upgrade" in tokens
        if request.method != "GET" or not is_websocket:
            return Response(400, b"Connection ID required")
        key = headers.get("sec-websocket-key", "")
        if headers.get("sec-websocket-version") != "13" or not _KEY.fullmatch(key):
            return Response(400, b"", headers=(("Sec-WebSocket-Version", "13"),))
        ticket, connection_id = request.query.get("id"), self._new_id()
        if ticket is not None:
            if ticket in self._in_use:
                return Response(409, b"The connection is already in use")
            known = self._negotiated.pop(ticket, None)
            if known is None or trio.current_time() >= known[1]:
                return Response(404, b"No Connection with that ID")
            connection_id = known[0]
            self._in_use.add(ticket)
        return Upgrade(key, Identity(connection_id, hub, user, token_from), ticket)

    def _new_id(self) -> str:
        self._made += 1
        return hashlib.sha256(f"{self._settings.seed}/connection/{self._made}".encode()).hexdigest()[:22]
