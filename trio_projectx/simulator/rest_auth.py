"""The REST routes for logging in, and accounts."""

from __future__ import annotations

import re
from typing import Final

from trio_projectx.simulator import forms
from trio_projectx.simulator.desk import Desk
from trio_projectx.simulator.envelope import Handler, envelope, posting
from trio_projectx.simulator.http import Request, Response
from trio_projectx.simulator.settings import Settings
from trio_projectx.simulator.shown import account
from trio_projectx.simulator.tokens import TokenError, TokenOffice

#: LoginErrorCode (GATEWAY.md 1.5).
_USER_NOT_FOUND: Final = 1
_WRONG_PASSWORD: Final = 2
_INVALID_CREDENTIALS: Final = 3
_APP_NOT_FOUND: Final = 4
_APP_NOT_VERIFIED: Final = 5
_INVALID_DEVICE: Final = 6
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def bearer(request: Request) -> str:
    """Return the token of a request.

    :raises TokenError: if there is none in the header; in the query it does not count for REST.
    """
    match = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise TokenError("there is no bearer token")
    return match[1]


class AuthRoutes:
    """``Auth`` and ``Account``."""

    def __init__(self, settings: Settings, tokens: TokenOffice, desk: Desk) -> None:
        self._settings = settings
        self._tokens = tokens
        self._desk = desk
        self.open: dict[str, Handler] = {
            "/api/auth/loginkey": posting(forms.LoginKey, self._login_key),
            "/api/auth/loginapp": posting(forms.LoginApp, self._login_app),
        }
        self.guarded: dict[str, Handler] = {
            "/api/auth/validate": self._validate,
            "/api/auth/logout": self._logout,
            "/api/account/search": posting(forms.SearchAccounts, self._accounts),
        }

    def _login_key(self, form: forms.LoginKey) -> Response:
        if form.user_name != self._settings.username:
            return envelope(_USER_NOT_FOUND, token=None)
        if form.api_key != self._settings.api_key:
            return envelope(_INVALID_CREDENTIALS, token=None)
        return self._logged_in()

    def _login_app(self, form: forms.LoginApp) -> Response:
        """Log an application in, as old documents say; the API key is the password, any app id does."""
        if form.user_name != self._settings.username:
            return envelope(_USER_NOT_FOUND, token=None)
        if form.password != self._settings.api_key:
            return envelope(_WRONG_PASSWORD, token=None)
        wanted = (
            (form.device_id, _INVALID_DEVICE),
            (form.app_id, _APP_NOT_FOUND),
            (form.verify_key, _APP_NOT_VERIFIED),
        )
        code = next((code for value, code in wanted if not value), 0)
        return envelope(code, token=None) if code else self._logged_in()

    def _logged_in(self) -> Response:
        return envelope(token=self._tokens.mint(self._settings.username, self._settings.token_ttl_s))

    def _validate(self, request: Request) -> Response:
        user = self._tokens.check(bearer(request))
        return envelope(newToken=self._tokens.mint(user, self._settings.token_ttl_s))

    def _logout(self, request: Request) -> Response:
        self._tokens.revoke(bearer(request))
        return envelope()

    def _accounts(self, form: forms.SearchAccounts) -> Response:
        states = [book.ledger.state for book in self._desk.books.values()]
        found = [state for state in states if state.can_trade or not form.only_active_accounts]
        return envelope(accounts=[account(state) for state in found])
