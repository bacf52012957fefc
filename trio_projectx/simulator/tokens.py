"""Tokens of the simulator: HS256 JWTs that say what they are.

The claim ``iss`` is `ISSUER` in each of them, so that none can be taken for one of the real service, and the
key they are signed with comes from the seed: it protects nothing and is meant to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import deque
from collections.abc import Callable

import attrs
import msgspec

ISSUER = "trio_projectx-simulator"
#: Logged-out tokens that are remembered; a simulator sees few.
REVOKED_KEPT = 1024


class TokenError(Exception):
    """The token is no good; the text says why (for the log of a test, it goes to no client)."""


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    jti: str
    exp: int


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


_HEADER = _encode(b'{"alg":"HS256","typ":"JWT"}')


@attrs.define(slots=True, eq=False)
class TokenOffice:
    """Mints and checks the tokens of one simulator, by an injected wall clock (int64 ns)."""

    seed: int
    wall_clock: Callable[[], int]
    _minted: int = 0
    _generation: int = 0
    """Part of the key, so that `expire_all` need not know what it gave out."""
    _revoked: deque[str] = attrs.Factory(lambda: deque[str](maxlen=REVOKED_KEPT))

    def mint(self, user: str, ttl_s: float) -> str:
        """Return a new token of ``user`` whose ``exp`` lies ``ttl_s`` from now, cut to the second."""
        self._minted += 1
        jti = hashlib.sha256(f"{self.seed}/{self._minted}".encode()).hexdigest()[:32]
        exp = int(self.wall_clock() / 1e9 + ttl_s)
        body = f"{_HEADER}.{_encode(msgspec.json.encode(_Claims(ISSUER, user, jti, exp)))}"
        return f"{body}.{self._sign(body)}"

    def check(self, token: str) -> str:
        """Return the user of ``token``.

        :raises TokenError: if it is malformed, not ours, expired or logged out.
        """
        claims = self._read(token)
        if claims.exp * 1_000_000_000 <= self.wall_clock():
            raise TokenError("the token has expired")
        if claims.jti in self._revoked:
            raise TokenError("the token was logged out")
        return claims.sub

    def expires_ns(self, token: str) -> int:
        """Return when ``token``, which `check` let pass, ends, as int64 ns of the wall clock."""
        return self._read(token).exp * 1_000_000_000

    def revoke(self, token: str) -> None:
        """Log ``token`` out: `check` refuses it from now on."""
        self._revoked.append(self._read(token).jti)

    def expire_all(self) -> None:
        """Let every token given out so far be refused from now on."""
        self._generation += 1

    def _read(self, token: str) -> _Claims:
        body, _, signature = token.rpartition(".")
        if not token.isascii() or not hmac.compare_digest(signature, self._sign(body)):
            raise TokenError("the signature is not this simulator's")
        try:
            return msgspec.json.decode(_decode(body.partition(".")[2]), type=_Claims)
        except (ValueError, binascii.Error, msgspec.MsgspecError) as exc:
            raise TokenError("the claims cannot be read") from exc

    def _sign(self, body: str) -> str:
        key = hashlib.sha256(f"{ISSUER}/{self.seed}/{self._generation}".encode()).digest()
        return _encode(hmac.new(key, body.encode("ascii"), hashlib.sha256).digest())
