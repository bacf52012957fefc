"""What an error's frames still hold: ours nothing, those of others all, and nobody who waits is ended by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import FrameType, TracebackType

import pytest
import trio
from trio.testing import MockClock

import trio_projectx as px
from trio_projectx._errors import AuthError
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.forgetting import forget_locals

SECRET = "a-secret-of-some-length"


def made(name: str, source: str) -> dict[str, object]:
    """Return what ``source`` defines in a module of that name."""
    space: dict[str, object] = {"__name__": name, "SECRET": SECRET}
    exec(source, space)  # noqa: S102
    return space


def held(exc: BaseException) -> list[FrameType]:
    """Return the frames that have the secret, of ``exc`` and all that it came from."""
    found: list[FrameType] = []
    todo: list[BaseException | None] = [exc]
    while todo:
        each = todo.pop()
        if each is None:
            continue
        todo += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
        step: TracebackType | None = each.__traceback__
        while step is not None:
            found += [step.tb_frame] if SECRET in step.tb_frame.f_locals.values() else []
            step = step.tb_next
    return found


RAISES = """
def raises(inner=None):
    secret = SECRET
    if inner is not None:
        inner()
    raise ValueError
def causes():
    secret = SECRET
    try:
        raises()
    except ValueError as exc:
        raise KeyError from exc
def groups():
    try:
        raises()
    except ValueError as exc:
        raise ExceptionGroup("several", [exc])
"""


@pytest.mark.parametrize("name", ["trio_projectx.x", "trio_projectx", "httpx2", "httpcore2._async", "h11._x"])
@pytest.mark.parametrize("function", ["raises", "causes", "groups"])
def test_frames_of_ours_and_of_our_dependencies_are_cleared(name: str, function: str) -> None:
    raises = made(name, RAISES)[function]
    with pytest.raises(Exception) as info:
        raises()  # type: ignore[operator]
    assert held(info.value)
    forget_locals(info.value, None)
    assert held(info.value) == []


@pytest.mark.parametrize(
    "name", ["__main__", "trio_projectx_more", "h11x", "trio._core._run", "mine.trio_projectx"]
)
def test_frames_of_others_are_left_alone(name: str) -> None:
    raises, outer = made(name, RAISES)["raises"], made("trio_projectx.x", RAISES)["raises"]
    with pytest.raises(ValueError) as info:
        outer(raises)  # type: ignore[operator]
    forget_locals(info.value, None)
    (frame,) = held(info.value)
    assert frame.f_globals["__name__"] == name


def test_what_was_handled_before_is_somebody_elses() -> None:
    raises = made("trio_projectx.x", RAISES)["raises"]
    with pytest.raises(ValueError) as before:
        raises()  # type: ignore[operator]
    with pytest.raises(ValueError) as info:
        raises()  # type: ignore[operator]
    info.value.__context__ = before.value
    forget_locals(info.value, before.value)
    assert held(info.value) == held(before.value) != []


def test_frames_that_still_run_stay() -> None:
    space = made(
        "trio_projectx.x",
        RAISES
        + """
def handles(forget):
    secret = SECRET
    try:
        raises()
    except ValueError as exc:
        forget(exc, None)
        return secret
""",
    )
    assert space["handles"](forget_locals) == SECRET  # type: ignore[operator]


async def never(_: str, __: str) -> str:
    raise AssertionError


@pytest.mark.parametrize("error", [ValueError, AuthError])
async def test_whoever_uses_a_token_leaves_none_in_the_error(
    autojump_clock: MockClock, error: type[Exception]
) -> None:
    source = TokenSource(px.Credentials.from_token(SECRET), never)
    call = made(
        "trio_projectx.x", f"async def call(token):\n    raise {error.__name__}\n{error.__name__} = None"
    )
    call[error.__name__] = error
    calls: Callable[[str], Awaitable[None]] = call["call"]  # type: ignore[assignment]
    with pytest.raises(error) as info:
        await source.using(calls)
    assert held(info.value) == []


async def test_a_task_that_waits_in_our_code_goes_on(autojump_clock: MockClock) -> None:
    source, went_on = TokenSource(px.Credentials.from_token(SECRET), never), False

    async def waits(token: str) -> None:
        nonlocal went_on
        await trio.sleep(1)
        went_on = True

    async def fails(token: str) -> None:
        await trio.sleep(0.5)
        raise AuthError("no")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.using, waits)
        with pytest.raises(AuthError):
            await source.using(fails)
    assert went_on
