"""Where the token comes from: one login for all who need it, and no lock.

One task asks the service; whoever comes meanwhile waits for that answer. If the asking task is cancelled, the
next one that waits asks itself, so no cancellation of one user fails another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from trio_projectx._config import Credentials
from trio_projectx._errors import AuthError, TrioProjectXError, again, cleaned
from trio_projectx._redact import hide

Login = Callable[[str, str], Awaitable[str]]
T = TypeVar("T")


class TokenRefused(AuthError):
    """The service refused the token (HTTP 401): worth one fresh login, see `TokenSource.using`."""


def is_token(text: str) -> bool:
    """Whether ``text`` can be a token: printable ASCII without spaces, as a header and a URL can carry it."""
    return text.isascii() and text.isprintable() and " " not in text and bool(text)


class TokenSource:
    """Holds the current token of one gateway; its repr shows nothing of it."""

    def __init__(self, credentials: Credentials, login: Login) -> None:
        secret, kind = credentials.reveal()
        self._username = credentials.username
        self._login = login
        self._api_key = secret if kind == "api_key" else None
        self._token = secret if kind == "token" else None
        self._refused: str | None = None
        self._asking: trio.Event | None = None
        self._error: TrioProjectXError | None = None
        self.logins = 0

    async def token(self) -> str:
        """Return the current token, logging in first where there is none.

        :raises AuthError: if the service refuses the credentials.
        :raises ConnectError: if it is not reached within its deadline.
        """
        while self._token is None:
            if self._asking is None:
                await self._ask()
            else:
                await self._wait(self._asking)
        return self._token

    async def using(self, call: Callable[[str], Awaitable[T]]) -> T:
        """Return ``call(token)``; where that raises `TokenRefused`, try once more with a fresh token.

        A token lives for 24 hours (GATEWAY.md section 1), a gateway for longer.

        :raises AuthError: if the fresh token is refused too, or none can be had.
        """
        token = await self.token()
        try:
            return await call(token)
        except TokenRefused:
            self.renew(token)
        try:
            return await call(await self.token())
        except TokenRefused as exc:
            raise AuthError(f"{exc}, also a fresh one; check the account's API access") from exc

    def renew(self, refused: str) -> None:
        """Forget ``refused``, so that the next `token` logs in; AuthError if the token cannot be renewed.

        Where another task has renewed it already, that newer token stays.
        """
        if self._token != refused:
            return
        if self._api_key is None:
            raise AuthError(
                "the service refused the token that was given; get a new one, it cannot be renewed here"
            )
        self._token, self._refused = None, refused

    async def _ask(self) -> None:
        done = self._asking = trio.Event()
        self._error = None
        try:
            self.logins += 1
            self._token = await self._login(self._username, self._api_key or "")
        except TrioProjectXError as exc:
            self._error = exc
            raise
        finally:
            self._asking = None
            done.set()

    async def _wait(self, asking: trio.Event) -> None:
        await asking.wait()
        if self._token is None and self._error is not None:
            raise again(self._error)

    def hide(self, text: str) -> str:
        """Return ``text`` without the secrets of this source: for what the other side may echo."""
        return hide(text, self._secrets())

    def cleaned(self, exc: TrioProjectXError) -> TrioProjectXError:
        """Return ``exc``, or one like it, without the secrets of this source."""
        return cleaned(exc, self._secrets())

    def _secrets(self) -> list[str]:
        return [each for each in (self._token, self._refused, self._api_key) if each]

    def __repr__(self) -> str:
        return f"<TokenSource {'with' if self._token else 'without'} token>"
