"""The REST routes below ``/api``: logging in and contracts; the rest comes with the full simulator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import msgspec

from trio_projectx._errors import ContractError
from trio_projectx.simulator.clock import MarketClock
from trio_projectx.simulator.http import JsonBody, Request, Response, json_response, problem
from trio_projectx.simulator.products import Listing, available, listed, search
from trio_projectx.simulator.settings import Settings
from trio_projectx.simulator.tokens import TokenError, TokenOffice

Route: TypeAlias = Callable[[Request], Response]
Body = TypeVar("Body", bound=msgspec.Struct)

#: LoginErrorCode 3, InvalidCredentials (GATEWAY.md 1.5).
_INVALID_CREDENTIALS: Final = 3
_CONTRACT_NOT_FOUND: Final = 1
#: `Contract/search` gives so many at most, without paging.
_FOUND_MAX: Final = 20


class _LoginKey(msgspec.Struct, rename="camel"):
    user_name: str
    api_key: str


class _Search(msgspec.Struct, rename="camel"):
    live: bool
    search_text: str | None = None


class _SearchById(msgspec.Struct, rename="camel"):
    contract_id: str


class _Available(msgspec.Struct):
    live: bool


def _envelope(code: int = 0, **payload: JsonBody) -> Response:
    return json_response({**payload, "success": code == 0, "errorCode": code, "errorMessage": None})


def _body(request: Request, form: type[Body]) -> Body:
    """Return the request's body; what does not fit is msgspec.MsgspecError (a 400, see `RestApi.answer`)."""
    return msgspec.json.decode(request.body, type=form)


class RestApi:
    """Answers requests below ``/api/``."""

    def __init__(self, settings: Settings, clock: MarketClock, tokens: TokenOffice) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens = tokens
        self._open: dict[str, Route] = {"/api/auth/loginkey": self._login_key}
        self._guarded: dict[str, Route] = {
            "/api/auth/validate": self._validate,
            "/api/auth/logout": self._logout,
            "/api/contract/search": self._search,
            "/api/contract/searchbyid": self._search_by_id,
            "/api/contract/available": self._available,
        }

    def answer(self, request: Request) -> Response:
        """Answer ``request``: 404, 405, 401 and 400 in this order, else what the route says."""
        if request.path == "/api/status/ping":
            return Response(body=b"pong") if request.method == "GET" else _not_allowed("GET")
        route = self._open.get(request.path) or self._guarded.get(request.path)
        if route is None:
            return problem(404, "there is no such route")
        if request.method != "POST":
            return _not_allowed("POST")
        try:
            if request.path in self._guarded:
                self._tokens.check(_bearer(request))
            return route(request)
        except TokenError:
            return Response(401, headers=(("WWW-Authenticate", "Bearer"),))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            return problem(400, f"the body cannot be read: {exc}")

    def _login_key(self, request: Request) -> Response:
        body = _body(request, _LoginKey)
        if (body.user_name, body.api_key) != (self._settings.username, self._settings.api_key):
            return _envelope(_INVALID_CREDENTIALS, token=None)
        return _envelope(token=self._tokens.mint(body.user_name, self._settings.token_ttl_s))

    def _validate(self, request: Request) -> Response:
        user = self._tokens.check(_bearer(request))
        return _envelope(newToken=self._tokens.mint(user, self._settings.token_ttl_s))

    def _logout(self, request: Request) -> Response:
        self._tokens.revoke(_bearer(request))
        return _envelope()

    def _search(self, request: Request) -> Response:
        body = _body(request, _Search)
        found = list(search(body.search_text or "", self._clock.now_ns()))[:_FOUND_MAX]
        return _envelope(contracts=_entitled(found, live=body.live))

    def _search_by_id(self, request: Request) -> Response:
        try:
            listing = listed(_body(request, _SearchById).contract_id)
        except ContractError:
            return _envelope(_CONTRACT_NOT_FOUND, contract=None)
        is_active = listing in available(self._clock.now_ns())
        return _envelope(contract=_contract(listing, is_active=is_active))

    def _available(self, request: Request) -> Response:
        body = _body(request, _Available)
        return _envelope(contracts=_entitled(available(self._clock.now_ns()), live=body.live))


def _entitled(listings: list[Listing], *, live: bool) -> JsonBody:
    # The simulator's user has practice credentials: asking for the live tier is an empty success.
    return [] if live else [_contract(listing, is_active=True) for listing in listings]


def _contract(listing: Listing, *, is_active: bool) -> JsonBody:
    return {
        "id": listing.contract_id,
        "name": listing.name,
        "description": listing.description,
        "tickSize": listing.tick_size,
        "tickValue": listing.tick_value,
        "activeContract": is_active,
        "symbolId": listing.symbol_id,
    }


_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def _bearer(request: Request) -> str:
    match = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise TokenError("there is no bearer token")
    return match[1]


def _not_allowed(method: str) -> Response:
    return Response(405, headers=(("Allow", method),))
