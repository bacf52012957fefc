from __future__ import annotations

import pytest
import trio

from trio_projectx import AuthError, ConnectError, Credentials
from trio_projectx.connection.auth import TokenRefused, TokenSource, is_token


class Service:
    """Counts logins and answers each after a second, or fails with what is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    async def __call__(self, username: str, api_key: str) -> str:
        self.calls += 1
        await trio.sleep(1)
        if self.error is not None:
            raise self.error
        return f"token-{self.calls}-for-{username}-{api_key}"


async def test_one_login_for_all_who_need_it(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    source = TokenSource(Credentials("me", "key"), service)
    got: list[str] = []

    async def ask() -> None:
        got.append(await source.token())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert got == ["token-1-for-me-key"] * 10
    assert service.calls == source.logins == 1
    assert "token-1" not in repr(source)


async def test_a_cancelled_asker_fails_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    source = TokenSource(Credentials("me", "key"), service)
    got: list[str] = []

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await source.token()

    async def ask() -> None:
        got.append(await source.token())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.sleep(0.1)
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert got == ["token-2-for-me-key"] * 2


async def test_a_refusal_reaches_everyone_and_the_next_one_tries_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service(AuthError("no"))
    source = TokenSource(Credentials("me", "key"), service)
    errors: list[Exception] = []

    async def ask() -> None:
        try:
            await source.token()
        except AuthError as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len({id(e) for e in errors}) == 3
    assert service.calls == 1
    service.error = ConnectError("down")
    with pytest.raises(ConnectError):
        await source.token()


async def test_a_refused_token_is_renewed_once_not_by_each(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "key"), Service())
    old = await source.token()
    source.renew(old)
    new = await source.token()
    source.renew(old)
    assert await source.token() == new != old


async def test_a_given_token_is_used_and_cannot_be_renewed() -> None:
    source = TokenSource(Credentials.from_token("given"), Service())
    assert await source.token() == "given"
    with pytest.raises(AuthError, match="cannot be renewed"):
        source.renew("given")
    assert source.logins == 0


class Refusing:
    """A call that refuses the tokens in ``bad``, and notes what it was called with."""

    def __init__(self, *bad: str) -> None:
        self.bad = bad
        self.tokens: list[str] = []

    async def __call__(self, token: str) -> str:
        self.tokens.append(token)
        await trio.sleep(1)
        if token in self.bad:
            raise TokenRefused("refused (HTTP 401)")
        return f"answer for {token}"


async def test_a_call_is_tried_once_more_with_a_fresh_token(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "key"), Service())
    call = Refusing("token-1-for-me-key")
    assert await source.using(call) == "answer for token-2-for-me-key"
    assert await source.using(call) == "answer for token-2-for-me-key"
    assert source.logins == 2


async def test_a_fresh_token_that_is_refused_too_is_an_auth_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    source = TokenSource(Credentials("me", "key"), Service())
    call = Refusing("token-1-for-me-key", "token-2-for-me-key")
    with pytest.raises(AuthError, match=r"refused \(HTTP 401\), also a fresh one") as raised:
        await source.using(call)
    assert type(raised.value) is AuthError
    assert len(call.tokens) == source.logins == 2


async def test_two_whose_token_expired_together_log_in_once(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "key"), Service())
    await source.token()
    call = Refusing("token-1-for-me-key")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(source.using, call)
    assert source.logins == 2


async def test_other_errors_are_not_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "key"), Service())

    async def forbidden(token: str) -> None:
        raise AuthError("forbidden")

    with pytest.raises(AuthError, match="forbidden"):
        await source.using(forbidden)
    assert source.logins == 1


@pytest.mark.parametrize("text", ["", " ", "a b", "a\nb", "a\r\nb", "\x00", "ü", "a\x7f", "\ud800"])
def test_what_no_header_can_carry_is_no_token(text: str) -> None:
    assert not is_token(text)
    assert is_token("eyJ.a-b_c.d~+/=")
