from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.connection.claims import Claims, read_claims

EXP = 1_787_172_660
DAY_S = 86_400


def jwt(payload: object, *, raw: bool = False) -> str:
    data = payload if raw else json.dumps(payload).encode()
    assert isinstance(data, bytes)
    return f"eyJhbGciOiJIUzI1NiJ9.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}.c2ln"


@pytest.mark.parametrize(
    ("payload", "claims"),
    [
        ({"exp": EXP}, Claims(EXP * 10**9, None)),
        ({"exp": EXP, "iat": EXP - DAY_S}, Claims(EXP * 10**9, DAY_S)),
        ({"exp": EXP + 0.5, "iat": EXP - 0.5}, Claims(EXP * 10**9 + 500_000_000, 1.0)),
        ({"exp": EXP, "iat": "2026-08-19"}, Claims(EXP * 10**9, None)),
        ({"exp": EXP, "iat": EXP}, Claims(EXP * 10**9, None)),
        ({"exp": EXP, "iat": EXP + 5}, Claims(EXP * 10**9, None)),
        ({"exp": EXP, "iat": None, "sub": {"a": [1]}, "nbf": "x"}, Claims(EXP * 10**9, None)),
        ({"exp": EXP, "nbf": EXP - 60}, Claims(EXP * 10**9, 60)),
        ({"exp": EXP, "iat": "x", "nbf": EXP - 60}, Claims(EXP * 10**9, 60)),
        ({"exp": EXP, "iat": EXP - 50, "nbf": EXP - 60}, Claims(EXP * 10**9, 50)),
        ({"exp": str(EXP)}, Claims()),
        ({"exp": None}, Claims()),
        ({"exp": True}, Claims()),
        ({"exp": EXP * 1000}, Claims()),
        ({"exp": 0}, Claims()),
        ({"exp": -EXP}, Claims()),
        ({"exp": 10**400}, Claims()),
        ({"exp": [EXP]}, Claims()),
        ({"iat": EXP}, Claims()),
        ({}, Claims()),
        ([EXP], Claims()),
        (None, Claims()),
    ],
)
def test_what_is_claimed(payload: object, claims: Claims) -> None:
    assert read_claims(jwt(payload)) == claims


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c",
        "..",
        "a.b.c.d",
        jwt(b'{"exp": NaN}', raw=True),
        jwt(b'{"exp": 1e999}', raw=True),
        jwt(b"\xff\xfe", raw=True),
        jwt(b"[" * 20_000, raw=True),
        jwt(b'{"exp": ' + b"[" * 20_000, raw=True),
        "eyJ.\u00fc.x",
        jwt({"exp": EXP, "pad": "x" * 40_000}),
    ],
)
def test_what_is_no_jwt_claims_nothing(token: str) -> None:
    assert read_claims(token) == Claims()


@given(st.text(max_size=60) | st.binary(max_size=80).map(lambda data: jwt(data, raw=True)))
def test_whatever_comes_nothing_is_raised(token: str) -> None:
    claims = read_claims(token)
    assert claims.expires_at_ns is None or 0 <= claims.expires_at_ns < 1 << 63


@given(st.integers(1, 9_223_372_035), st.integers(0, 10**10))
def test_whole_seconds_are_exact(exp: int, iat: int) -> None:
    claims = read_claims(jwt({"exp": exp, "iat": iat}))
    assert claims.expires_at_ns == exp * 10**9
    assert claims.issued_for_s == (exp - iat if 0 < iat < exp else None)
