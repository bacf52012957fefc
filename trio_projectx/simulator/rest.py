"""The REST routes below ``/api``: who may ask, how often, and what comes of a request nobody can read."""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from trio_projectx._redact import escape
from trio_projectx.simulator.buckets import HISTORY_LIMIT, OTHER_LIMIT, Buckets
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.desk import Desk
from trio_projectx.simulator.envelope import Handler, Reply, problem_details
from trio_projectx.simulator.exchange import Exchange
from trio_projectx.simulator.forms import UnsupportedMediaType
from trio_projectx.simulator.http import Request, Response, problem
from trio_projectx.simulator.rest_auth import AuthRoutes, bearer
from trio_projectx.simulator.rest_contracts import ContractRoutes
from trio_projectx.simulator.rest_history import HistoryRoutes
from trio_projectx.simulator.rest_orders import OrderRoutes
from trio_projectx.simulator.settings import Settings
from trio_projectx.simulator.tokens import TokenError, TokenOffice

_HISTORY: Final = "/api/history/retrievebars"
_INVALID: Final = "One or more validation errors occurred."
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RestApi:
    """Answers requests below ``/api/``."""

    def __init__(
        self, settings: Settings, clock: MarketClock, tokens: TokenOffice, exchange: Exchange, desk: Desk
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._history, self._others = Buckets(HISTORY_LIMIT), Buckets(OTHER_LIMIT)
        auth = AuthRoutes(settings, tokens, desk)
        self._open = auth.open
        self._guarded: dict[str, Handler] = {
            **auth.guarded,
            **ContractRoutes(clock, desk).guarded,
            **HistoryRoutes(settings, exchange).guarded,
            **OrderRoutes(desk).guarded,
        }

    def answer(self, request: Request) -> Reply:
        """Answer ``request``: 404, 405, 401, 429, 415 and 400 in this order, else what the route says."""
        if request.path == "/api/status/ping":
            return Response(body=b"pong") if request.method == "GET" else _not_allowed("GET")
        route = self._open.get(request.path) or self._guarded.get(request.path)
        if route is None:
            return problem(404, "there is no such route")
        if request.method != "POST":
            return _not_allowed("POST")
        try:
            if (refusal := self._check(request)) is not None:
                return refusal
            return _readable(route, request)
        except TokenError:
            # Which body comes with a 401 is documented nowhere; ASP.NET Core's is empty.
            return Response(401, headers=(("WWW-Authenticate", "Bearer"),))

    def _check(self, request: Request) -> Response | None:
        """Check the token and count the request; return the refusal, if it is one too many."""
        key = ""
        if request.path in self._guarded:
            key = bearer(request)
            self._tokens.check(key)
        if not self._settings.rate_limits:
            return None
        buckets = self._history if request.path == _HISTORY else self._others
        wait_s = buckets.take(key, trio.current_time())
        if not wait_s:
            return None
        return Response(429, headers=(("Retry-After", str(wait_s)),) if self._settings.retry_after else ())


def _readable(route: Handler, request: Request) -> Reply:
    try:
        reply = route(request)
    except UnsupportedMediaType as exc:
        return problem_details(415, "Unsupported Media Type", str(exc), request)
    except _UNREADABLE as exc:
        return _unreadable(exc, request)
    return reply if isinstance(reply, Response) else _awaited(reply, request)


async def _awaited(reply: Reply, request: Request) -> Response:
    if isinstance(reply, Response):
        return reply
    try:
        return await reply
    except _UNREADABLE as exc:
        return _unreadable(exc, request)


def _unreadable(exc: Exception, request: Request) -> Response:
    return problem_details(400, _INVALID, escape(str(exc), 300), request)


def _not_allowed(method: str) -> Response:
    return Response(405, headers=(("Allow", method),))
