from __future__ import annotations

import base64
import json
import math

import pytest
import trio
import trio.testing
from scripted import START_NS, virtual_wall

from trio_projectx import AuthError, ConnectError, ConnectTimeout, Credentials, GatewayError, ProtocolError
from trio_projectx.connection.answers import TryLater
from trio_projectx.connection.auth import TokenFunctionFailed, TokenRefused, TokenSource, is_token
from trio_projectx.connection.rest import RestClient
from trio_projectx.simulator import open_simulator


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


# Refreshing


class Validator:
    """A validate that takes a second; ``answer`` is a new token, or an error."""

    def __init__(self, answer: str | Exception | None = None) -> None:
        self.answer = answer
        self.calls: list[str] = []

    async def __call__(self, token: str) -> str:
        self.calls.append(token)
        await trio.sleep(1)
        if isinstance(self.answer, Exception):
            raise self.answer
        return f"validated-{len(self.calls)}" if self.answer is None else self.answer


def source_with(validate: Validator, service: Service | None = None, **options: object) -> TokenSource:
    return TokenSource(Credentials("me", "key"), service or Service(), validate, **options)  # type: ignore[arg-type]


async def test_a_refresh_validates_and_the_old_token_serves_until_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    validate = Validator()
    source = source_with(validate)
    old = await source.token()
    assert (source.generation, (await source.token(), source.generation)) == (1, (old, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.refresh)
        await trio.sleep(0.5)
        assert await source.token() == old
    assert await source.token() == "validated-1"
    assert (source.generation, source.logins, validate.calls) == (2, 1, [old])


async def test_fifty_who_refresh_at_once_make_one_request(autojump_clock: trio.testing.MockClock) -> None:
    validate = Validator()
    source = source_with(validate)
    await source.token()
    got: list[str] = []

    async def ask() -> None:
        got.append(await source.refresh())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert got == ["validated-1"] * 50
    assert (len(validate.calls), source.logins, source.generation) == (1, 1, 2)


async def test_a_refresh_and_two_hubs_with_a_refused_token_share_one_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """FAULTS.md rows 28 and 51: the answer comes after the token has expired, and all go the same way."""
    validate = Validator()
    source = source_with(validate)
    old = await source.token()
    call = Refusing(old)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.refresh)
        for _ in range(2):
            nursery.start_soon(source.using, call)  # refused when the refresh is answered, or just before
    assert call.tokens[-2:] == ["validated-1"] * 2
    assert (len(validate.calls), source.logins, source.generation) == (1, 1, 2)


async def test_a_refresh_joins_a_login_that_is_under_way(autojump_clock: trio.testing.MockClock) -> None:
    validate, service = Validator(), Service()
    source = source_with(validate, service)
    old = await source.token()
    source.renew(old)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.token)
        await trio.sleep(0.5)
        nursery.start_soon(source.refresh)
    assert (service.calls, validate.calls) == (2, [])
    assert source.generation == 2


async def test_before_the_first_token_a_refresh_is_a_login(autojump_clock: trio.testing.MockClock) -> None:
    validate = Validator()
    source = source_with(validate)
    assert source.generation == 0
    assert await source.refresh() == "token-1-for-me-key"
    assert (validate.calls, source.generation) == ([], 1)


async def test_without_a_validate_a_refresh_is_a_login(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "key"), Service())
    await source.token()
    assert await source.refresh() == "token-2-for-me-key"


REFUSALS = [
    TokenRefused("validate: 401"),
    AuthError("validate: 403"),
    GatewayError("validate: 404", 404),
    GatewayError("validate refused: errorCode 3", 3),
    ProtocolError("garbage"),
]
PASSING = [
    GatewayError("validate: HTTP 500", 500),
    TryLater("validate: HTTP 429", 429, None, 7.0),
    TryLater("validate: HTTP 503", 503),
    ConnectError("reset"),
    ConnectTimeout("hang"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=str)
async def test_where_a_validate_is_refused_the_api_key_logs_in(
    autojump_clock: trio.testing.MockClock, error: Exception
) -> None:
    validate = Validator(error)
    source = source_with(validate)
    await source.token()
    for expected in ("token-2-for-me-key", "token-3-for-me-key"):
        assert await source.refresh() == expected
    assert len(validate.calls) == 2  # asked first each time


@pytest.mark.parametrize("error", PASSING, ids=str)
async def test_a_service_that_is_down_is_not_asked_twice_and_the_next_refresh_logs_in(
    autojump_clock: trio.testing.MockClock, error: Exception
) -> None:
    """A validate that never answers must not stand before a login that would."""
    validate, service = Validator(error), Service()
    source = source_with(validate, service)
    old = await source.token()
    with pytest.raises(type(error)):
        await source.refresh()
    assert (service.calls, await source.token(), source.generation, source.failures) == (1, old, 1, 1)
    assert await source.refresh() == "token-2-for-me-key"
    assert len(validate.calls) == 1
    with pytest.raises(type(error)):
        await source.refresh()
    assert len(validate.calls) == 2


@pytest.mark.parametrize("error", [*REFUSALS, *PASSING], ids=str)
async def test_a_given_token_is_validated_and_stays_where_that_fails(
    autojump_clock: trio.testing.MockClock, error: Exception
) -> None:
    validate = Validator(error)
    source = TokenSource(Credentials.from_token("given"), Service(), validate)
    for _ in range(3):
        with pytest.raises(type(error)):
            await source.refresh()
        assert await source.token() == "given"
    assert (source.logins, len(validate.calls), source.failures) == (0, 3, 3)
    validate.answer = None
    assert await source.refresh() == "validated-4"
    source.renew("given")  # too late to matter
    assert await source.token() == "validated-4"


@pytest.mark.parametrize("answer", ["token-1-for-me-key", "other"])
async def test_a_validate_that_gives_the_same_token_renews_nothing(
    autojump_clock: trio.testing.MockClock, answer: str
) -> None:
    validate = Validator(answer)
    source = source_with(validate)
    await source.token()
    assert await source.refresh() == ("token-2-for-me-key" if answer.startswith("token") else "other")
    given = TokenSource(Credentials.from_token("given"), Service(), Validator("given"))
    with pytest.raises(GatewayError, match="the same token"):
        await given.refresh()
    assert (await given.token(), given.generation) == ("given", 1)


async def test_a_login_that_gives_the_same_token_is_no_refresh_and_no_endless_loop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def login(username: str, api_key: str) -> str:
        await trio.sleep(1)
        return "always"

    source = TokenSource(Credentials("me", "key"), login)
    await source.token()
    with pytest.raises(GatewayError, match="the same token"):
        await source.refresh()
    assert source.generation == 1
    source.renew("always")  # refused by the hub: then it counts as another, which the hub may refuse for good
    assert await source.token() == "always"
    assert source.generation == 2


async def test_a_given_token_without_validate_says_so() -> None:
    source = TokenSource(Credentials.from_token("given"), Service())
    with pytest.raises(AuthError, match="cannot be renewed"):
        await source.refresh()
    assert await source.token() == "given"


async def test_a_failed_refresh_reaches_everyone_once_and_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    validate = Validator(GatewayError("validate: HTTP 500", 500))
    source = source_with(validate)
    old = await source.token()
    errors: list[Exception] = []

    async def ask() -> None:
        try:
            await source.refresh()
        except GatewayError as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert len({id(error) for error in errors}) == 50
    assert (len(validate.calls), source.failures, await source.token()) == (1, 1, old)


async def test_a_cancelled_refresher_fails_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    validate = Validator()
    source = source_with(validate)
    await source.token()
    got: list[str] = []

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await source.refresh()

    async def ask() -> None:
        got.append(await source.refresh())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.sleep(0.1)
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    # What was under way might have hung: the next refresh does not wait for a validate again.
    assert got == ["token-2-for-me-key"] * 2
    assert (len(validate.calls), source.failures, source.generation) == (1, 0, 2)


async def test_cancelling_at_any_moment_leaves_a_source_that_works(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for tenths in range(25):
        source = source_with(Validator(TokenRefused("no")))
        await source.token()
        with trio.move_on_after(tenths / 10):
            await source.refresh()
        with trio.fail_after(3):
            assert (await source.refresh()).startswith("token-")
        assert source.generation in (2, 3)


async def test_a_hang_is_bounded_for_all_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(*_: str) -> str:
        await trio.sleep_forever()
        return ""

    source = TokenSource(Credentials("me", "key"), hang, deadline_s=20)
    errors: list[str] = []

    async def ask(number: int) -> None:
        try:
            await (source.token() if number % 2 else source.refresh(20 if number == 0 else 7))
        except ConnectTimeout as exc:
            errors.append(str(exc))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 0)
        await trio.sleep(1)
        for number in range(1, 50):
            nursery.start_soon(ask, number)
    assert trio.current_time() == pytest.approx(20)  # the first one's deadline serves all
    assert errors == ["the service gave no token within 20 s; is it up?"] * 50
    assert source.failures == 1
    with pytest.raises(ConnectTimeout, match="within 7 s"):
        await source.refresh(7)
    with pytest.raises(ConnectTimeout, match="within 20 s"):
        await source.refresh()


async def test_another_token_is_told(autojump_clock: trio.testing.MockClock) -> None:
    source = source_with(Validator())
    first = source.changed
    await source.token()
    assert first.is_set()
    second = source.changed
    assert not second.is_set()
    await source.refresh()
    assert second.is_set()
    assert source.changed is not second


async def test_a_generation_is_renewed_once(autojump_clock: trio.testing.MockClock) -> None:
    source = source_with(Validator())
    await source.token()
    source.renew_generation(0)
    assert source.logins == 1
    source.renew_generation(1)
    assert await source.token() == "token-2-for-me-key"
    source.renew_generation(1)
    assert await source.token() == "token-2-for-me-key"
    source.renew_generation(2)
    assert await source.token() == "token-3-for-me-key"
    given = TokenSource(Credentials.from_token("given"), Service())
    given.renew_generation(7)
    with pytest.raises(AuthError, match="cannot be renewed"):
        given.renew_generation(1)


async def test_a_login_that_fails_after_a_refusal_keeps_asking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    source = TokenSource(Credentials("me", "key"), service)
    source.renew(await source.token())
    service.error = ConnectError("down")
    for _ in range(2):
        with pytest.raises(ConnectError):
            await source.token()
    service.error = None
    assert await source.token() == "token-4-for-me-key"
    assert source.failures == 2


# A user's own function


class Function:
    """Gives what is put into ``answers``, one after the other."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        await trio.sleep(1)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


def source_of(function: Function, **options: object) -> TokenSource:
    async def nobody(*_: str) -> str:
        raise AssertionError("the service is asked for no token")

    return TokenSource(Credentials.from_callable(function), nobody, nobody, **options)  # type: ignore[arg-type]


async def test_a_function_is_called_for_the_first_token_each_refusal_and_each_refresh(
    autojump_clock: trio.testing.MockClock,
) -> None:
    function = Function("a", "b", "c")
    source = source_of(function)
    assert await source.using(Refusing("a")) == "answer for b"
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(source.refresh)
    assert (await source.token(), function.calls, source.logins, source.generation) == ("c", 3, 0, 3)


@pytest.mark.parametrize(
    "answer", [None, 5, b"x", "", "a b", "line\n", ValueError("the secret is tok-123")], ids=repr
)
async def test_what_a_function_may_do_wrong(autojump_clock: trio.testing.MockClock, answer: object) -> None:
    function = Function("good", answer, "better")
    source = source_of(function)
    await source.token()
    with pytest.raises(TokenFunctionFailed) as raised:
        await source.refresh()
    assert "tok-123" not in str(raised.value)
    if isinstance(answer, Exception):
        assert str(raised.value) == "the function that gets tokens failed (ValueError)"
        assert raised.value.__cause__ is answer
    assert isinstance(raised.value, AuthError)
    assert await source.token() == "good"
    assert await source.refresh() == "better"


async def test_a_function_that_is_no_coroutine_function_is_an_error_of_its_own() -> None:
    source = TokenSource(Credentials.from_callable(lambda: "plain"), Service())  # type: ignore[arg-type,return-value]
    with pytest.raises(TokenFunctionFailed, match="TypeError"):
        await source.token()


async def test_a_function_that_hangs_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    cancelled: list[float] = []

    async def hang() -> str:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())
        return ""

    source = TokenSource(Credentials.from_callable(hang), Service(), deadline_s=30)
    with pytest.raises(ConnectTimeout, match="the function that gets tokens gave no token within 30 s"):
        await source.token()
    assert cancelled == [pytest.approx(30)]


async def test_a_function_that_gives_the_same_again(autojump_clock: trio.testing.MockClock) -> None:
    source = source_of(Function("a", "a", "a", "a"))
    await source.token()
    with pytest.raises(GatewayError, match="the same token"):
        await source.refresh()
    with pytest.raises(AuthError, match="also a fresh one"):
        await source.using(Refusing("a"))


# How long it lives


def jwt(**claims: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln"


@pytest.mark.parametrize("skew_s", [-7200, 0, 7200])
async def test_a_fresh_token_that_says_when_it_was_issued_needs_no_clock_of_ours(
    autojump_clock: trio.testing.MockClock, skew_s: int
) -> None:
    async def login(username: str, api_key: str) -> str:
        return jwt(iat=START_NS // 10**9, exp=START_NS // 10**9 + 3600)

    source = TokenSource(
        Credentials("me", "key"), login, wall_clock=lambda: virtual_wall() + skew_s * 1_000_000_000
    )
    assert (source.lifetime_s, source.expires_at_ns, source.age_s) == (None, None, 0.0)
    assert math.isinf(source.expires_in_s())
    await source.token()
    assert (source.lifetime_s, source.expires_at_ns) == (3600, START_NS + 3_600_000_000_000)
    await trio.sleep(1000)
    assert (source.age_s, source.expires_in_s()) == (pytest.approx(1000), pytest.approx(2600))
    await trio.sleep(3000)
    assert source.expires_in_s() == pytest.approx(-400)


async def test_a_token_that_was_about_has_only_what_is_left_of_it() -> None:
    now_s = START_NS // 10**9

    async def function() -> str:
        return jwt(iat=now_s - 3000, exp=now_s + 600)

    for credentials in (Credentials.from_token(await function()), Credentials.from_callable(function)):
        source = TokenSource(credentials, Service(), wall_clock=lambda: START_NS)
        await source.token()
        assert source.lifetime_s == pytest.approx(600)
        behind = TokenSource(credentials, Service(), wall_clock=lambda: START_NS - 7_200_000_000_000)
        await behind.token()
        assert behind.lifetime_s == pytest.approx(
            3600
        )  # our clock is behind: no token lives longer than it did


async def test_without_the_time_of_issue_our_clock_says_what_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_simulator(port=None, wall_clock=virtual_wall, token_ttl_s=3600) as sim:
        async with RestClient(sim.url, connect=sim.connect, deadline_s=30, body_limit=1 << 20) as rest:
            credentials = Credentials("simulator", "simulator-key")
            source = TokenSource(credentials, rest.login, rest.validate, wall_clock=virtual_wall)
            await source.token()
            assert source.lifetime_s == pytest.approx(3600, abs=1)
            first = source.expires_at_ns
            await trio.sleep(100)
            await source.refresh()
            assert source.expires_at_ns == first + 100_000_000_000
            assert source.logins == 1


async def test_time_that_the_machine_slept_counts(autojump_clock: trio.testing.MockClock) -> None:
    slept_ns = 0
    source = TokenSource(
        Credentials.from_token(jwt(exp=START_NS // 10**9 + 3600)),
        Service(),
        wall_clock=lambda: virtual_wall() + slept_ns,
    )
    await trio.sleep(10)
    slept_ns = 600_000_000_000
    assert source.age_s == pytest.approx(610)
    slept_ns = -600_000_000_000  # a clock that was set back makes no token younger
    assert source.age_s == pytest.approx(10)


# Secrets


async def test_every_token_of_late_is_hidden(autojump_clock: trio.testing.MockClock) -> None:
    source = TokenSource(Credentials("me", "the-api-key"), Service(), Validator())
    used = [await source.token(), *[await source.refresh() for _ in range(7)]]
    text = "|".join([*used, "the-api-key"])
    assert source.hide(text) == "|".join(["[redacted]"] * 9)
    assert str(source.cleaned(GatewayError(f"echo {used[0]}", 500))) == "echo [redacted]"
    for _ in range(1000):
        await source.refresh()
    assert len(source._secrets()) == 9  # the last eight, and the key
    for secret in (*used, await source.token(), "the-api-key"):
        assert secret not in repr(source) + repr(vars(source))


@pytest.mark.parametrize("text", ["", " ", "a b", "a\nb", "a\r\nb", "\x00", "ü", "a\x7f", "\ud800"])
def test_what_no_header_can_carry_is_no_token(text: str) -> None:
    assert not is_token(text)
    assert is_token("eyJ.a-b_c.d~+/=")
