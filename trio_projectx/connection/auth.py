"""Where the token comes from: one request for all who need it, and no lock.

One task asks the service; whoever comes meanwhile waits for that answer, whether it needs a token or a newer one.
If the asking task is cancelled, the next one that waits asks itself, so no cancellation of one user fails another.
A token is forgotten when there is another, not before: a refresh that fails leaves everything as it was.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
import trio

from trio_projectx._credentials import Credentials, GetToken, Secret
from trio_projectx._errors import (
    AuthError,
    ConnectError,
    ConnectTimeout,
    GatewayError,
    TrioProjectXError,
    again,
    cleaned,
)
from trio_projectx._redact import hide
from trio_projectx.connection.claims import Claims, read_claims

Login = Callable[[str, str], Awaitable[str]]
Validate = Callable[[str], Awaitable[str]]
T = TypeVar("T")

#: Tokens that are remembered so that texts can be cleaned of them: the peer may echo one that is not used any more.
_TOKENS_HIDDEN: Final = 8
#: HTTP statuses of a validate that say "not now" rather than "not this token".
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500


class TokenRefused(AuthError):
    """The service refused the token (HTTP 401): worth one fresh login, see `TokenSource.using`."""


class CredentialsRefused(AuthError):
    """The service refused user name and API key: asking again changes nothing."""


class TokenFunctionFailed(AuthError):
    """The user's own function gave no token this time; ``__cause__`` is what it raised."""


def is_token(text: str) -> bool:
    """Whether ``text`` can be a token: printable ASCII without spaces, as a header and a URL can carry it."""
    return text.isascii() and text.isprintable() and " " not in text and bool(text)


@attrs.frozen(slots=True)
class _Token:
    """A token and how long it lives: from ``got_at`` (trio's clock) and ``got_wall`` (wall clock) on."""

    text: str = attrs.field(repr=False)
    generation: int
    expires_at_ns: int | None
    lifetime_s: float | None
    got_at: float
    got_wall: int


@attrs.define(slots=True, eq=False)
class _Ask:
    """A request for a token that is under way."""

    done: trio.Event = attrs.Factory(trio.Event)
    error: TrioProjectXError | None = None


class TokenSource:
    """Holds the current token of one endpoint; its repr shows nothing of it.

    ``login`` and ``validate`` are those of `RestClient`, which have a deadline each; without ``validate`` a refresh is
    a login. A refresh as a whole, and a call of the user's function, is given up after ``deadline_s``.
    """

    def __init__(
        self,
        credentials: Credentials,
        login: Login,
        validate: Validate | None = None,
        *,
        wall_clock: Callable[[], int] = time.time_ns,
        deadline_s: float = 30.0,
    ) -> None:
        secret, kind = credentials.reveal()
        self._username = credentials.username
        self._login = login
        self._validate = validate
        self._get_token = credentials.get_token
        self._wall_clock = wall_clock
        self._deadline_s = deadline_s
        self._api_key = Secret(secret) if kind == "api_key" else None
        self._token: _Token | None = None
        self._used: deque[Secret] = deque(maxlen=_TOKENS_HIDDEN)
        self._is_refused = False
        self._validate_failed = False
        self._asking: _Ask | None = None
        self.changed = trio.Event()
        """Set when there is another token; there is a new event then."""
        self.logins = 0
        self.failures = 0
        """Requests for a token that came to nothing; one that several tasks waited for counts once."""
        if kind == "token":
            self._adopt(secret, is_fresh=False)

    # -- what there is

    @property
    def generation(self) -> int:
        """The number of the current token: 0 before the first one, and greater with each."""
        return 0 if self._token is None else self._token.generation

    @property
    def expires_at_ns(self) -> int | None:
        """When the current token says that it ends (int64 ns), by the service's clock; None if it does not say."""
        return None if self._token is None else self._token.expires_at_ns

    @property
    def lifetime_s(self) -> float | None:
        """How long the current token lives from the moment it was got; None if it does not say.

        The service's clock alone decides where the token is new and says when it was issued; else our wall clock
        says what is left of it, which may be nothing.
        """
        return None if self._token is None else self._token.lifetime_s

    @property
    def age_s(self) -> float:
        """How long we have had the current token; 0 if there is none. Time that the machine slept counts."""
        token = self._token
        if token is None:
            return 0.0
        # The wall clock since then, not the wall clock: an hour that it is wrong by is in both readings.
        return max(trio.current_time() - token.got_at, (self._wall_clock() - token.got_wall) / 1e9)

    def expires_in_s(self) -> float:
        """Return how long the current token still lives (below 0: it has expired); inf if it does not say."""
        lifetime_s = self.lifetime_s
        return math.inf if lifetime_s is None else lifetime_s - self.age_s

    # -- what tasks wait for

    async def token(self) -> str:
        """Return the current token, getting one first where there is none, or only one that was refused.

        :raises AuthError: if the service refuses the credentials, or the user's function fails.
        :raises ConnectError: if it is not reached within its deadline.
        """
        # A login is bounded by itself, and says what it has not reached.
        deadline_s = math.inf if self._get_token is None else self._deadline_s
        while self._token is None or self._is_refused:
            await self._take_part(deadline_s)
        return self._token.text

    async def refresh(self, deadline_s: float | None = None) -> str:
        """Return a token that is newer than the present one, which stays in use until then, and if this fails.

        By ``validate``, and by a login where the service does not renew it so; a user's function is called again.
        Where somebody asks for a token already, that answer serves here too.

        :raises AuthError: if the service refuses token and credentials, or the user's function fails.
        :raises GatewayError: if it answers, and gives no new token.
        :raises ConnectError: if it is not reached; `ConnectTimeout` after ``deadline_s`` for all of it.
        :raises ProtocolError: if its answer is none.
        """
        seen = self.generation
        while self.generation == seen:
            await self._take_part(self._deadline_s if deadline_s is None else deadline_s)
        return await self.token()

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
        """Note that ``refused`` was, so that the next `token` gets another; AuthError if none can be had.

        Where another task has renewed it already, that newer token stays.
        """
        if self._token is None or self._token.text != refused:
            return
        if self._api_key is None and self._get_token is None:
            raise AuthError(
                "the service refused the token that was given; get a new one, it cannot be renewed here"
            )
        self._is_refused = True

    def renew_generation(self, generation: int) -> None:
        """Do as `renew` with the token of that number, unless there is a newer one."""
        if self._token is not None and self._token.generation == generation:
            self.renew(self._token.text)

    # -- one request at a time

    async def _take_part(self, deadline_s: float) -> None:
        """Ask for a token, or wait for the answer that somebody waits for already; raise what it failed of."""
        ask = self._asking
        if ask is None:
            await self._ask(deadline_s)
            return
        await ask.done.wait()
        if ask.error is not None:
            raise again(ask.error)

    async def _ask(self, deadline_s: float) -> None:
        ask = self._asking = _Ask()
        try:
            self._adopt(await self._bounded(deadline_s), is_fresh=self._get_token is None)
        except TrioProjectXError as exc:
            self.failures += 1
            ask.error = exc
            raise
        finally:
            self._asking = None
            ask.done.set()

    async def _bounded(self, seconds: float) -> str:
        # Around the request, not around each who waits: a hang fails all of them at once, and is not begun anew.
        with trio.move_on_after(seconds):
            return await self._new_token()
        whose = "the service" if self._get_token is None else "the function that gets tokens"
        raise ConnectTimeout(f"{whose} gave no token within {seconds:g} s; is it up?")

    async def _new_token(self) -> str:
        if self._get_token is not None:
            return await _from_user(self._get_token)
        if self._token is None or self._is_refused:
            return await self._log_in()
        return await self._renewed(self._token.text)

    async def _renewed(self, old: str) -> str:
        can_log_in = self._api_key is not None
        if self._validate is None or (can_log_in and self._validate_failed):
            self._validate_failed = False
            return await self._log_in()
        # Until it is known better: a deadline may end this. A validate that hangs must not stand in the way for ever.
        self._validate_failed = True
        try:
            new = await self._validate(old)
        except TrioProjectXError as exc:
            if not can_log_in or _is_passing(exc):
                raise
            new = old
        self._validate_failed = False
        return await self._log_in() if new == old and can_log_in else new

    async def _log_in(self) -> str:
        if self._api_key is None:
            raise AuthError("the token that was given cannot be renewed here; get a new one")
        self.logins += 1
        return await self._login(self._username, self._api_key.reveal())

    def _adopt(self, text: str, *, is_fresh: bool) -> None:
        if self._token is not None and self._token.text == text and not self._is_refused:
            raise GatewayError("the same token was given again, so that nothing is renewed")
        claims, wall = read_claims(text), self._wall_clock()
        lifetime_s = _lifetime(claims, wall, is_fresh=is_fresh)
        now = trio.current_time()
        self._token = _Token(text, self.generation + 1, claims.expires_at_ns, lifetime_s, now, wall)
        self._is_refused = False
        self._used.append(Secret(text))
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    # -- nothing secret in a text

    def hide(self, text: str) -> str:
        """Return ``text`` without the secrets of this source: for what the other side may echo."""
        return hide(text, self._secrets())

    def cleaned(self, exc: TrioProjectXError) -> TrioProjectXError:
        """Return ``exc``, or one like it, without the secrets of this source."""
        return cleaned(exc, self._secrets())

    def _secrets(self) -> list[str]:
        return [each.reveal() for each in (*self._used, self._api_key) if each is not None]

    def __repr__(self) -> str:
        return f"<TokenSource {'with' if self._token else 'without'} token>"


def _lifetime(claims: Claims, wall_ns: int, *, is_fresh: bool) -> float | None:
    """Return how long a token lives that was got at ``wall_ns``; one that is not fresh may have been about."""
    if claims.expires_at_ns is None:
        return None
    left_s = (claims.expires_at_ns - wall_ns) / 1e9
    if claims.issued_for_s is None:
        return left_s
    return claims.issued_for_s if is_fresh else min(left_s, claims.issued_for_s)


def _is_passing(exc: TrioProjectXError) -> bool:
    """Whether a validate failed of the moment rather than of the token: a login would fare no better now."""
    if isinstance(exc, GatewayError):
        return exc.code == _TOO_MANY or (exc.code or 0) >= _SERVER_ERRORS
    return isinstance(exc, ConnectError)


async def _from_user(get_token: GetToken) -> str:
    try:
        token = await get_token()
    except MemoryError:
        raise
    except Exception as exc:  # it is the user's code, and may raise anything; its text may hold a secret
        raise TokenFunctionFailed(f"the function that gets tokens failed ({type(exc).__name__})") from exc
    if not isinstance(token, str) or not is_token(token):
        raise TokenFunctionFailed("the function that gets tokens returned something that is no token")
    return token
