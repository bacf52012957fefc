"""What a token says of itself: when it ends. Read, not verified: the signature is the service's own matter."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from typing import Final

import attrs
import msgspec

#: Longer than any token that a header carries (Kestrel takes 32 KiB of headers in all).
_LONGEST: Final = 32 << 10
#: int64 nanoseconds end in 2262. A claim in milliseconds lies beyond, and is taken for none.
_LATEST_S: Final = 9_223_372_036


@attrs.frozen(slots=True)
class Claims:
    """When a token ends, and how long it lived at its issue; None where it does not say."""

    expires_at_ns: int | None = None
    """``exp``, as int64 nanoseconds."""
    issued_for_s: float | None = None
    """``exp`` less ``iat`` (or ``nbf``, which .NET sets to the same): both are the service's clock, so that a skew of
    ours does not matter."""


class _Expiry(msgspec.Struct):
    at: int | float = msgspec.field(name="exp")


class _Issue(msgspec.Struct):
    at: int | float = msgspec.field(name="iat")


class _NotBefore(msgspec.Struct):
    at: int | float = msgspec.field(name="nbf")


def read_claims(token: str) -> Claims:
    """Return what ``token`` claims; nothing where it is no JWT, or its claims are none. Never raises."""
    payload = _payload(token)
    exp = _seconds(payload, _Expiry)
    if exp is None:
        return Claims()
    issued = _seconds(payload, _Issue) or _seconds(payload, _NotBefore)
    issued_for_s = float(exp - issued) if issued is not None and issued < exp else None
    return Claims(int(exp * 1_000_000_000), issued_for_s)


def _payload(token: str) -> bytes:
    parts = token.split(".", 3)
    if len(parts) != 3 or len(token) > _LONGEST or not token.isascii():
        return b""
    try:
        return urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return b""


def _seconds(payload: bytes, claim: type[_Expiry | _Issue | _NotBefore]) -> int | float | None:
    """Return one claim by itself, so that a bad one takes no other with it."""
    try:
        value = msgspec.json.decode(payload, type=claim).at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if 0 < value < _LATEST_S else None
