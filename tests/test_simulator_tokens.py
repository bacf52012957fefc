from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.tokens import ISSUER, REVOKED_KEPT, TokenError, TokenOffice

NOW = 1_787_172_660_000_000_000


def office(now: int = NOW, seed: int = 1) -> TokenOffice:
    return TokenOffice(seed, lambda: now)


def claims(token: str) -> dict:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_token_says_what_it_is_and_when_it_ends() -> None:
    token = office().mint("u", 86_400)
    assert claims(token)["iss"] == ISSUER == "trio_projectx-simulator"
    assert claims(token)["exp"] == NOW // 10**9 + 86_400
    assert office().check(token) == "u"


def test_the_same_seed_mints_the_same_tokens_and_no_two_are_alike() -> None:
    first, again, other = office(), office(), office(seed=2)
    tokens = [first.mint("u", 60) for _ in range(3)]
    assert tokens == [again.mint("u", 60) for _ in range(3)]
    assert len({*tokens, other.mint("u", 60)}) == 4


@pytest.mark.parametrize(
    ("ttl_s", "later_s", "is_good"), [(60, 59, True), (60, 60, False), (-1, 0, False), (0, 0, False)]
)
def test_a_token_ends_at_its_second(ttl_s: float, later_s: int, is_good: bool) -> None:
    token = office().mint("u", ttl_s)
    late = office(NOW + later_s * 10**9)
    if is_good:
        assert late.check(token) == "u"
    else:
        with pytest.raises(TokenError, match="expired"):
            late.check(token)


def test_another_seed_refuses() -> None:
    with pytest.raises(TokenError, match="signature"):
        office(seed=2).check(office(seed=1).mint("u", 60))


def test_a_logged_out_token_is_refused_and_the_others_are_not() -> None:
    desk = office()
    first, second = desk.mint("u", 60), desk.mint("u", 60)
    desk.revoke(first)
    with pytest.raises(TokenError, match="logged out"):
        desk.check(first)
    assert desk.check(second) == "u"


def test_the_memory_of_logged_out_tokens_is_bounded() -> None:
    desk = office()
    for _ in range(REVOKED_KEPT + 10):
        desk.revoke(desk.mint("u", 60))
    assert len(desk._revoked) == REVOKED_KEPT


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()))
def test_no_garbage_passes_or_crashes(garbage: str) -> None:
    desk = office()
    good = desk.mint("u", 60)
    head, body, signature = good.split(".")
    for text in (
        garbage,
        f"{head}.{garbage}.{signature}",
        f"{garbage}.{body}.{signature}",
        f"{good}{garbage}",
    ):
        if text == good:
            continue
        with pytest.raises(TokenError):
            desk.check(text)


def test_a_signed_body_that_is_no_claims_is_refused() -> None:
    desk = office()
    for body in ("a.b", "a", "a." + base64.urlsafe_b64encode(b'{"exp":"x"}').decode().rstrip("=")):
        with pytest.raises(TokenError, match="claims"):
            desk.check(f"{body}.{desk._sign(body)}")
